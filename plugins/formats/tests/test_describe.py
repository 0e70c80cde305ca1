from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_formats.describe import as_json, as_text, choose_variable, describe

import brainlens


def test_numbers_of_numpy_become_plain() -> None:
    dataset = xr.Dataset(
        {"a": ("x", np.array(["ä"], np.dtypes.StringDType()))}, attrs={"n": np.int64(3), "l": np.ones(2)}
    )
    found = describe(dataset)
    assert found["attrs"] == {"n": 3, "l": [1.0, 1.0]}
    assert found["variables"]["a"]["dtype"] == "string"
    assert as_json({"a": "ä"}) == '{"a": "ä"}'


def test_text_of_any_dtype_becomes_that_of_python() -> None:
    for values in (np.array(["a", ""]), np.array(["a", ""], np.dtypes.StringDType()), np.array(["a", ""], object)):
        assert [type(item) for item in as_text(values)] == [str, str]


def test_the_only_variable_is_chosen_and_others_must_be_named(study: dict[str, xr.Dataset]) -> None:
    response = study["response"]
    assert choose_variable(response, "", ("voxel",), exporter="f").name == "response"
    assert choose_variable(response, "roi_mask", ("voxel",), exporter="f").name == "roi_mask"
    two = response.assign(other=response["response"])
    with pytest.raises(brainlens.ParameterError, match="since several have dim 'voxel'.*'other'"):
        choose_variable(two, "", ("voxel",), exporter="f")
    with pytest.raises(brainlens.ParameterError, match="found 'respons'. Closest: 'response'"):
        choose_variable(response, "respons", ("voxel",), exporter="f")
    with pytest.raises(brainlens.DimensionError, match="f: expected a variable with dim 'vertex' or 'time'"):
        choose_variable(response, "", ("vertex", "time"), exporter="f")
