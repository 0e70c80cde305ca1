from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_encoding.schemas import ATTENTION

import brainlens

SCHEMA = brainlens.Schema(name="attention.v1", document=ATTENTION)


def attention(dims=("stimulus", "roi", "y", "x"), dtype=np.float32):
    coords = {"stimulus": [4, 5], "roi": ["V1"], "y": [0, 1], "x": [0, 1, 2]}
    values = np.full([len(coords.get(dim, [0, 1])) for dim in dims], 1 / 6, dtype)
    attrs = {"schema": "attention.v1", "subject": "s", "model": "m"}
    return xr.Dataset({"attention": (dims, values)}, {dim: coords[dim] for dim in dims if dim in coords}, attrs)


def test_attention_of_regions_in_images_is_valid():
    brainlens.validate(attention(), SCHEMA)


@pytest.mark.parametrize(
    "wrong",
    [
        attention(("roi", "stimulus", "y", "x")),
        attention(dtype=np.float64),
        attention().drop_vars("x"),
        attention().assign_coords(stimulus=[4, 4]),
        attention().assign_attrs(subject=""),
        attention() * np.nan,
    ],
)
def test_other_things_are_not(wrong):
    with pytest.raises(brainlens.SchemaError):
        brainlens.validate(wrong, SCHEMA)
