from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xarray as xr
from brainlens_formats.params import TableParams
from brainlens_formats.table import plan_table, table_batches

import brainlens

CONTEXT = brainlens.Context()


def _tabulate(dataset: xr.Dataset, *, rows_at_once: int = 7, **given: object) -> pd.DataFrame:
    table = plan_table(dataset, TableParams(**given), CONTEXT, exporter="formats.csv")
    return pa.concat_tables(table_batches(table, CONTEXT, rows_at_once=rows_at_once)).to_pandas()


def _refused(dataset: xr.Dataset, **given: object) -> str:
    with pytest.raises(brainlens.BrainlensError) as caught:
        plan_table(dataset, TableParams(**given), CONTEXT, exporter="formats.csv")
    return str(caught.value)


def test_rows_are_those_of_xarray_whatever_the_size_of_the_pieces(study: dict[str, xr.Dataset]) -> None:
    response = study["response"].isel(trial=slice(5), voxel=slice(4))
    expected = response.drop_vars(["roi_mask", "roi"]).to_dataframe(dim_order=["trial", "voxel"]).reset_index()
    for rows_at_once in (1, 3, 8, 100):
        found = _tabulate(response, rows_at_once=rows_at_once)
        pd.testing.assert_frame_equal(found[expected.columns], expected, check_dtype=False)


def test_dims_in_another_order_and_with_fewer_dims_are_matched_by_name() -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    wide = xr.DataArray(values, dims=("a", "b", "c"))
    dataset = xr.Dataset(
        {
            "wide": wide,
            "turned": wide.transpose("c", "a", "b") * 2,
            "part": wide.isel(b=0, drop=True).transpose("c", "a"),
        }
    ).assign_coords(label=wide.isel(a=1, drop=True).transpose("c", "b"))
    found = _tabulate(dataset, variables=["wide", "turned", "part"], rows_at_once=5)
    assert found["turned"].tolist() == (found["wide"] * 2).tolist()
    assert found["part"].tolist() == [values[a, 0, c] for a, b, c in np.ndindex(2, 3, 4)]
    assert found["label"].tolist() == [values[1, b, c] for a, b, c in np.ndindex(2, 3, 4)]
    assert found["b"].tolist() == [b for a, b, c in np.ndindex(2, 3, 4)]


def test_attributes_and_rois_become_columns_when_asked_for(study: dict[str, xr.Dataset]) -> None:
    response = study["response"].isel(trial=slice(2))
    found = _tabulate(response, attributes="subject", rois=True, coordinates="run")
    assert list(found) == ["trial", "voxel", "run", "subject", "roi_V1", "roi_FFA", "roi_empty", "response"]
    assert set(found["subject"]) == {"simulated01"}
    assert (
        found["roi_V1"].to_numpy().reshape(2, 60).tolist() == [response["roi_mask"].sel(roi="V1").values.tolist()] * 2
    )


def test_rows_without_any_value_go_only_when_asked() -> None:
    dataset = xr.Dataset({"a": ("x", [1.0, np.nan, np.nan]), "b": ("x", [np.nan, 2.0, np.nan])})
    assert len(_tabulate(dataset)) == 3
    assert _tabulate(dataset, drop_missing=True)["x"].tolist() == [0, 1]


def test_rows_are_announced_before_they_are_refused(
    study: dict[str, xr.Dataset], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "brainlens")
    message = _refused(study["response"], max_rows=21_599)
    assert caplog.messages == ["formats.csv: 21,600 rows (trial 360 x voxel 60), 16 columns."]
    assert message == (
        "max_rows: expected at most 21,599 rows, found 21,600 (trial 360 x voxel 60). Export a part or an average, or "
        "as '.nc' or '.zarr', or allow them with max_rows=21600."
    )
    assert plan_table(study["response"], TableParams(max_rows=21_600), CONTEXT, exporter="f").n_rows == 21_600


def test_variables_of_fewer_dims_are_repeated() -> None:
    similarity = np.arange(6.0).reshape(2, 3)
    dataset = xr.Dataset({"rank": ("trial", [1, 2]), "similarity": (("trial", "stimulus"), similarity), "one": 7})
    found = _tabulate(dataset)
    assert list(found) == ["trial", "stimulus", "rank", "similarity", "one"]
    assert found["rank"].tolist() == [1, 1, 1, 2, 2, 2]
    assert found["similarity"].tolist() == list(range(6))
    assert set(found["one"]) == {7}
    assert list(_tabulate(dataset, variables="rank")["trial"]) == [0, 1]


def test_variables_of_dims_apart_must_be_named() -> None:
    dataset = xr.Dataset({"rank": ("trial", [1, 2]), "similarity": (("trial", "stimulus"), np.zeros((2, 3)))})
    apart = dataset.assign(other=("channel", [1.0]))
    assert _refused(apart) == (
        "variables: expected names, since their dims do not lie within those of one of them, found none. Variables: "
        "rank (trial), similarity (trial, stimulus), other (channel). Name those that belong into one table; those "
        "with fewer dims are repeated."
    )
    assert "found 'other' with 'channel' beside 'similarity'" in _refused(apart, variables=["similarity", "other"])
    two = xr.Dataset({"a": (("x", "y"), np.zeros((1, 1))), "b": (("x", "z"), np.zeros((1, 1)))})
    assert "Variables: a (x, y), b (x, z)." in _refused(two)


def test_columns_of_what_was_stored_have_the_order_in_which_it_was_made(tmp_path: Path) -> None:
    """Coordinates first, then score, chance and what else there is: not by name, as Zarr lists them."""
    names = ["score", "chance", "ci_low", "another"]
    values = {name: (("metric", "roi"), np.random.default_rng(0).random((2, 3))) for name in names}
    values["n"] = ("metric", "roi"), np.ones((2, 3), int)
    scores = xr.Dataset(
        values | {"ceiling": ("roi", [0.5, 0.25, 0.125])}, {"metric": ["top_1", "r2"], "roi": list("cab")}
    )
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    registry.put("scores", scores.assign_coords(unit=("roi", list("xyz")), area=("roi", [1, 2, 3])), schema="score")
    found = pd.read_csv(registry.export("scores", tmp_path / "scores.csv"))
    assert list(found) == ["metric", "roi", "unit", "area", *names, "n", "ceiling"]
    assert found["ceiling"].tolist() == [0.5, 0.25, 0.125] * 2
    assert list(pd.read_parquet(registry.export("scores", tmp_path / "scores.parquet"))) == list(found)


def test_what_cannot_be_a_column_is_refused_by_name(study: dict[str, xr.Dataset]) -> None:
    response = study["response"]
    assert "found 'respons'. Closest: 'response'" in _refused(response, variables="respons")
    assert "found 'runn'. Closest: 'run'" in _refused(response, coordinates="runn")
    assert "found 'subjekt'. Closest: 'subject'" in _refused(response, attributes="subjekt")
    assert "attributes: expected one number or text in 'affine'" in _refused(response, attributes="affine")
    assert "rois: expected a variable 'roi_mask'" in _refused(response.drop_vars("roi_mask"), rois=True)
    assert "with dtype complex128" in _refused(xr.Dataset({"a": ("x", [1j])}))
    assert "the attribute 'x' beside another column" in _refused(
        xr.Dataset({"a": ("x", [1])}, attrs={"x": 1}), attributes="x"
    )
    assert "found coordinates only" in _refused(xr.Dataset(coords={"x": [1]}))
