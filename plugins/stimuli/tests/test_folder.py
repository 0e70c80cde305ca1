from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from brainlens_stimuli.folder import read
from brainlens_stimuli.import_params import FolderParams
from PIL import Image

import brainlens

PHOTOS = Path(__file__).parents[4] / "shared" / "data" / "photos_caltech101_subset" / "images"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat/2.png", "cat/1.png", "dog/1.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def run(folder: Path, context: brainlens.Context, **params: object) -> xr.Dataset:
    return read(params=FolderParams(folder=str(folder), **params), context=context)[""]


def test_subfolders_are_categories(folder: Path, context: brainlens.Context) -> None:
    found = run(folder, context, pattern="*/*.png")
    brainlens.validate(found, "stimulus_image.v1")
    assert found["stimulus"].values.tolist() == ["cat/1", "cat/2", "dog/1"]
    assert found["category"].values.tolist() == ["cat", "cat", "dog"]
    np.testing.assert_array_equal(found["image"][1], np.asarray(Image.open(folder / "cat" / "2.png")))
    assert context.sources == [folder]


def test_a_flat_folder_has_no_categories(folder: Path, context: brainlens.Context) -> None:
    found = run(folder / "cat", context, size=4, fit="crop")
    assert "category" not in found.coords
    assert found["image"].shape == (2, 4, 4, 3)
    assert (found.attrs["fit"], found.attrs["n_resized"]) == ("crop", 2)


def test_a_folder_that_is_not_there_is_refused(folder: Path, context: brainlens.Context) -> None:
    with pytest.raises(brainlens.RegistryError, match="Closest in .*'photos'"):
        run(folder.parent / "photo", context)
    with pytest.raises(brainlens.DimensionError, match="expected square pictures"):
        run(folder, context, pattern="*/*", size=4)


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs the shared photographs")
def test_real_photographs_of_many_sizes_are_read(context: brainlens.Context) -> None:
    with pytest.raises(brainlens.DimensionError, match="expected pictures of one size, found"):
        run(PHOTOS, context)
    found = run(PHOTOS, context, size=64, fit="pad")
    assert found["image"].shape == (303, 64, 64, 3)
    brainlens.validate(found.isel(stimulus=slice(3)), "stimulus_image.v1")
