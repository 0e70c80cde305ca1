"""What a registry holds: a mapping of names to plain lazy datasets, with listings, checks and batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import brainlens
from brainlens.plugins import PluginHost


def make_response(n_voxels: int = 4, subject: str = "subj01") -> xr.Dataset:
    values = np.random.default_rng(0).standard_normal((6, n_voxels), dtype=np.float32)
    mask = np.arange(n_voxels) < 2
    return xr.Dataset(
        {"response": (("trial", "voxel"), values), "roi_mask": (("roi", "voxel"), mask[None])},
        {"trial": range(6), "voxel": range(n_voxels), "roi": ["V1"], "stimulus_id": ("trial", list("aabbcc"))},
        {"schema": "response.v1", "subject": subject, "units": "z"},
    )


@pytest.fixture
def registry(tmp_path: Path) -> brainlens.Registry:
    made = brainlens.open(tmp_path / "study.zarr", host=PluginHost([]), quiet=True)
    made.put("subj01/response", make_response())
    made.put("subj02/response", make_response(subject="subj02"))
    return made


def test_it_is_a_mapping_of_names_to_datasets(registry: brainlens.Registry) -> None:
    assert list(registry) == ["subj01/response", "subj02/response"]
    assert len(registry) == 2
    assert "subj01/response" in registry
    assert "subj01" not in registry
    assert {name: dataset.attrs["subject"] for name, dataset in registry.items()} == {
        "subj01/response": "subj01",
        "subj02/response": "subj02",
    }


def test_a_dataset_is_a_plain_one_of_xarray(registry: brainlens.Registry) -> None:
    dataset = registry["subj01/response"]
    assert type(dataset) is xr.Dataset
    xr.testing.assert_equal(dataset.compute(), make_response())


def test_getting_what_is_not_there_gives_the_default(registry: brainlens.Registry) -> None:
    assert registry.get("subj03/response") is None
    assert registry.get("subj03/response", 5) == 5
    assert registry.get("subj01/response").attrs["subject"] == "subj01"


def test_what_is_not_there_is_an_error_with_the_closest(registry: brainlens.Registry) -> None:
    for ask in (registry.__getitem__, registry.show, registry.lineage, registry.verify, registry.rois, registry.remove):
        with pytest.raises(
            brainlens.RegistryError, match=r"no dataset 'subj1/response' in .* Closest: 'subj01/response'"
        ):
            ask("subj1/response")


def test_its_text_says_where_and_how_many(registry: brainlens.Registry) -> None:
    assert repr(registry) == f"<brainlens.Registry {registry.path!r}: 2 datasets>"


def test_listing_takes_a_beginning(registry: brainlens.Registry) -> None:
    assert registry.list("subj02") == ["subj02/response"]
    assert registry.list("subj") == list(registry)
    assert registry.list("x") == []


def test_queries_take_all_conditions_together(registry: brainlens.Registry) -> None:
    assert [entry.name for entry in registry.query(kind="response")] == list(registry)
    assert [entry.name for entry in registry.query(kind="response", subject="subj02")] == ["subj02/response"]
    assert registry.query(kind="response", subject="subj02", component="linear") == []
    (entry,) = registry.query(subject="subj01", plugin="brainlens", component="put")
    assert (entry.schema, dict(entry.dims)) == ("response.v1", {"trial": 6, "voxel": 4, "roi": 1})


def test_put_takes_a_schema_by_kind(registry: brainlens.Registry) -> None:
    assert (
        registry.put("new", make_response().drop_attrs().assign_attrs(subject="s", units="z"), schema="response")
        == "new"
    )
    assert registry["new"].attrs["schema"] == "response.v1"


@pytest.mark.parametrize(
    ("dataset", "schema", "text"),
    [
        (
            np.zeros(3),
            None,
            r"put 'x': expected an xarray.Dataset, found ndarray. Name its dims and labels: xarray.Dataset\("
            r"{'response': \(\('trial', 'voxel'\), array\)}, {'trial': …}\); what it needs is said by 'brainlens "
            "schemas response'.$",
        ),
        (
            make_response()["response"],
            "stat_map",
            r"put 'x': expected an xarray.Dataset, found DataArray. Name the variable, as in .to_dataset\(name="
            r"'response'\); what it needs is said by 'brainlens schemas stat_map'.$",
        ),
        (make_response().drop_attrs(), None, r"put 'x': expected a schema, found none. Say which, as in put\("),
        (make_response(), "respons", "no schema 'respons'. Closest: 'response.v1'."),
        (
            make_response().drop_vars("stimulus_id"),
            None,
            "dataset 'x': 1 problem with response.v1\n  coords/stimulus_id: miss",
        ),
    ],
)
def test_what_cannot_be_put_is_refused(
    registry: brainlens.Registry, dataset: Any, schema: str | None, text: str
) -> None:
    with pytest.raises(brainlens.SchemaError, match=f"^{text}"):
        registry.put("x", dataset, schema=schema)
    assert "x" not in registry


def test_a_stored_dataset_never_changes(registry: brainlens.Registry) -> None:
    before = registry.show("subj01/response")
    with pytest.raises(
        brainlens.RegistryError, match=r"dataset 'subj01/response' exists .*; stored datasets never change"
    ):
        registry.put("subj01/response", make_response(5))
    assert registry.show("subj01/response") == before


def test_a_dataset_can_be_stored_from_the_one_that_was_opened(registry: brainlens.Registry) -> None:
    registry.put("copy", registry["subj01/response"])
    assert registry.show("copy")["digest"] == registry.show("subj01/response")["digest"]


def test_removing_makes_room_for_another(registry: brainlens.Registry) -> None:
    registry.remove("subj01/response")
    assert registry.list() == ["subj02/response"]
    registry.put("subj01/response", make_response(5))
    assert registry["subj01/response"].sizes["voxel"] == 5


@pytest.mark.parametrize("name", ["../study.zarr", "", "/", "."])
def test_a_bad_name_removes_nothing(registry: brainlens.Registry, name: str) -> None:
    with pytest.raises(brainlens.RegistryError, match="dataset name"):
        registry.remove(name)
    assert len(registry) == 2


def test_verify_names_what_it_checked_and_all_that_is_damaged(registry: brainlens.Registry) -> None:
    assert registry.verify() == list(registry)
    for name in registry:
        file = Path(registry.path) / name / "voxel" / "zarr.json"
        file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(brainlens.RegistryError) as caught:
        registry.verify()
    assert str(caught.value).count("is damaged:\n  voxel/zarr.json: expected") == 2


def test_rois_are_counted(registry: brainlens.Registry) -> None:
    assert registry.rois("subj01/response") == {"V1": 2}


@pytest.mark.parametrize("n_voxels", [4, 100_000])
def test_batches_hold_every_row_once(registry: brainlens.Registry, n_voxels: int) -> None:
    registry.put("large", make_response(n_voxels))
    values = make_response(n_voxels)["response"].values
    seen = []
    for rows, batch in registry.batches("large", "response", batch_size=4, rows=np.array([5, 3, 1, 0, 2])).epoch(0):
        np.testing.assert_array_equal(batch, values[rows])
        seen += rows.tolist()
    assert sorted(seen) == [0, 1, 2, 3, 5]


def test_batches_of_what_is_not_there_are_refused(registry: brainlens.Registry) -> None:
    with pytest.raises(
        brainlens.RegistryError, match="dataset 'subj01/response': no variable 'respons'. Closest: 'response'"
    ):
        registry.batches("subj01/response", "respons")
    with pytest.raises(brainlens.RegistryError, match="no dataset 'subj01/beta'"):
        registry.batches("subj01/beta", "response")
