"""Datasets of every dtype, at random, and a registry to export them from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import xarray as xr

import brainlens
from brainlens.testing import synthetic_study

Export = Callable[..., Path]
# No NUL, which ends text in HDF5; no surrogates, which UTF-8 cannot spell.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
NUMBERS = ("bool", "int8", "uint8", "int32", "int64", "uint64", "float16", "float32", "float64")


@st.composite
def random_datasets(draw: st.DrawFn, dtypes: tuple[str, ...] = NUMBERS) -> xr.Dataset:
    """Return a dataset with two dims, labels of text, numbers and times, and values of any dtype, NaN among them."""
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=4))
    values = draw(hnp.arrays(np.dtype(draw(st.sampled_from(dtypes))), shape))
    names = draw(st.lists(TEXT, min_size=shape[0], max_size=shape[0]))
    onsets = draw(hnp.arrays("int64", shape[0], elements=st.integers(-(10**18), 10**18))).astype("M8[ns]")
    return xr.Dataset(
        {"value": (("trial", "site"), values, {"units": "z", "long_name": draw(TEXT)})},
        {
            "trial": np.arange(shape[0]) + draw(st.integers(-5, 5)),
            "name": ("trial", np.array(names, np.dtypes.StringDType()), {"note": "as shown"}),
            "onset": ("trial", onsets),
            "both": (("trial", "site"), np.arange(shape[0] * shape[1]).reshape(shape)),
            "subject": "s01",
        },
        {"units": "z", "note": draw(TEXT), "flag": draw(st.booleans()), "list": draw(st.lists(st.integers(-9, 9)))},
    )


@pytest.fixture
def study() -> dict[str, xr.Dataset]:
    """A small simulated subject."""
    return synthetic_study()


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """Store a dataset and export it from the registry; return where it lies."""
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)

    def run(dataset: xr.Dataset, target: str, **given: Any) -> Path:
        if "a" in registry.list():
            registry.remove("a")
        registry.put("a", dataset)
        return registry.export("a", tmp_path / target, **given)

    return run


@pytest.fixture
def random() -> Callable[..., st.SearchStrategy[xr.Dataset]]:
    """The strategy above: test files cannot import a conftest."""
    return random_datasets
