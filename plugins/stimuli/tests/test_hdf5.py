from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from brainlens_stimuli.hdf5 import read
from brainlens_stimuli.import_params import Hdf5Params
from PIL import Image

import brainlens

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "stack.h5", "w") as stack:
        stack["images/bytes"] = PIXELS
        stack["images/first"] = PIXELS.transpose(0, 3, 1, 2)
        stack["images/unit"] = (PIXELS / 255).astype(np.float32)
        stack["images/wide"] = PIXELS.astype(np.float32)
        stack["names"] = [f"s{number}" for number in range(5)]
        stack["twice"] = [1, 2, 3, 4, 4]
    return tmp_path / "stack.h5"


def run(file: Path, **params: object) -> xr.Dataset:
    params = {"key": "images/bytes", **params}
    return read(params=Hdf5Params(file=str(file), **params), context=brainlens.Context())[""]


@pytest.mark.parametrize(
    "params",
    [{}, {"key": "images/first", "axes": "stimulus_rgb_y_x"}, {"key": "images/unit", "values": "unit"}],
)
def test_a_stack_is_read_lazily_whatever_its_axes(file: Path, params: dict) -> None:
    found = run(file, **params)
    assert not isinstance(found["image"].variable._data, np.ndarray)
    brainlens.validate(found, "stimulus_image.v1")
    np.testing.assert_array_equal(found["image"], PIXELS)
    np.testing.assert_array_equal(found["image"][[3, 1]], PIXELS[[3, 1]])
    assert found["stimulus"].values.tolist() == [0, 1, 2, 3, 4]


def test_identifiers_may_come_from_the_file(file: Path) -> None:
    assert run(file, stimulus_key="names")["stimulus"].values.tolist() == ["s0", "s1", "s2", "s3", "s4"]


def test_pictures_are_resized_as_asked_for(file: Path) -> None:
    found = run(file, size=4, fit="stretch", resample="lanczos")
    expected = [np.asarray(Image.fromarray(each).resize((4, 4), Image.Resampling.LANCZOS)) for each in PIXELS]
    np.testing.assert_array_equal(found["image"], expected)
    assert found.attrs["n_resized"] == 5


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"key": "image/bytes"}, "expected 'image/bytes' to be a stack of 4 axes, found none. Closest: 'images/bytes'"),
        ({"key": "names"}, r"found shape \(5,\)"),
        ({"key": "images/unit"}, r"with 3 colours and values bytes \(uint8\), found shape .* of float32"),
        ({"values": "unit"}, "floating point.*found shape .* of uint8"),
        ({"axes": "stimulus_rgb_y_x"}, "expected axes stimulus_rgb_y_x with 3 colours"),
        ({"stimulus_key": "twice"}, "expected every identifier once, found 1 again"),
        ({"stimulus_key": "none"}, "expected 5 identifiers in 'none', found none"),
        ({"size": 4}, "expected square pictures with fit='exact'"),
    ],
)
def test_what_does_not_fit_is_refused(file: Path, params: dict, message: str) -> None:
    with pytest.raises(brainlens.BrainlensError, match=message):
        run(file, **params)


def test_values_outside_of_their_range_are_refused_when_they_are_read(file: Path) -> None:
    found = run(file, key="images/wide", values="unit")
    with pytest.raises(
        brainlens.DimensionError, match="expected values from 0 to 1 with values='unit', found 0 to 255"
    ):
        found["image"].load()


def test_a_file_that_was_cut_off_is_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:700])
    with pytest.raises(brainlens.ParameterError, match="expected HDF5, found what cannot be read"):
        run(file)
