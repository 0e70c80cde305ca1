"""The tree of what a dataset was made from, down to the raw files, and what is said of inputs that are gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import brainlens

HOOKS = """
import brainlens
from pydantic import Field


class Params(brainlens.Params):
    folder: str = Field(description="Path of a folder of .npy files.")


def component(name, role, function, **more):
    return brainlens.Component(
        name=name, role=role, summary="Toy.", version="1", target=f"brainlens_toy_decoder:{function}", **more
    )


@brainlens.hookimpl
def brainlens_components():
    return [
        component("toy", "importer", "read", params=Params),
        component("toy.same", "analysis", "same", inputs={"first": "response"}),
    ]
"""

WORK = """
import numpy as np
import xarray as xr


def read(*, params, context):
    folder = context.source(params.folder)
    values = np.load(folder / "a.npy")
    return {
        "response": xr.Dataset(
            {"response": (("trial", "voxel"), values)},
            {"trial": range(6), "voxel": range(4), "stimulus_id": ("trial", list("aabbcc"))},
            {"schema": "response.v1", "subject": "subj01", "units": "z"},
        )
    }


def same(first, *, params, context):
    return first
"""


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw" / "more").mkdir(parents=True)
    np.save(tmp_path / "raw" / "a.npy", np.random.default_rng(0).standard_normal((6, 4)))
    (tmp_path / "raw" / "more" / "notes.txt").write_text("notes")
    return tmp_path / "raw"


@pytest.fixture
def registry(tmp_path: Path, plugin_folder: Any, raw: Path) -> brainlens.Registry:
    plugin_folder.add("toy", HOOKS, decoder=WORK)
    plugin_folder.add("mean")
    made = brainlens.open(tmp_path / "study.zarr", host=plugin_folder.host(), quiet=True)
    made.ingest("toy", "subj01", folder=str(raw))
    made.put("target", xr.Dataset(
        {"embedding": (("stimulus", "channel"), np.eye(3))}, {"stimulus": list("abc")},
        {"schema": "embedding.v1", "model": "toy"},
    ))  # fmt: skip
    made.fit("mean", response="subj01/response", target="target", name="m", device="cpu")
    made.predict("m", response="subj01/response", name="decoded", device="cpu")
    return made


def test_the_tree_goes_down_to_the_raw_files(registry: brainlens.Registry, raw: Path) -> None:
    tree = registry.lineage("decoded")
    assert (tree["name"], tree["component"]) == ("decoded", "mean")
    assert tree["digest"] == registry.show("decoded")["digest"]
    model, response = tree["inputs"]
    assert (model["name"], response["name"]) == ("m", "subj01/response")
    assert [item["name"] for item in model["inputs"]] == ["subj01/response", "target"]
    assert model["inputs"][0] == response
    assert response["component"] == "toy"
    assert response["params"] == {"folder": str(raw)}
    (source,) = response["sources"]
    assert (source["path"], source["n_files"]) == (str(raw), 2)
    assert source["size_bytes"] == sum(file.stat().st_size for file in (raw / "a.npy", raw / "more" / "notes.txt"))
    assert response["inputs"] == []


def test_the_digest_of_a_folder_follows_every_file(registry: brainlens.Registry, raw: Path) -> None:
    before = registry.lineage("subj01/response")["sources"][0]["sha256"]
    (raw / "more" / "notes.txt").write_text("Notes")
    registry.ingest("toy", "again", folder=str(raw))
    assert registry.lineage("again/response")["sources"][0]["sha256"] != before


def test_an_input_that_was_removed_is_missing(registry: brainlens.Registry) -> None:
    digest = registry.show("target")["digest"]
    registry.remove("target")
    model = registry.lineage("m")
    assert model["inputs"][1] == {"name": "target", "digest": digest, "missing": True, "inputs": []}


def test_an_input_that_is_another_by_now_is_said_to_be_replaced(registry: brainlens.Registry) -> None:
    used, target = registry.show("target")["digest"], registry["target"].load()
    registry.remove("target")
    registry.put("target", target.assign(embedding=target["embedding"] * 2))
    model = registry.lineage("m")
    assert model["inputs"][1] == {"name": "target", "digest": used, "replaced": True, "inputs": []}
    assert "replaced" not in model["inputs"][0]


def test_an_input_that_was_stored_again_unchanged_is_the_same(registry: brainlens.Registry) -> None:
    target = registry["target"].load()
    registry.remove("target")
    registry.put("target", target)
    assert registry.lineage("m")["inputs"][1].keys().isdisjoint({"missing", "replaced"})


def test_datasets_that_were_made_from_each_other_end(registry: brainlens.Registry) -> None:
    registry.compute("toy.same", first="subj01/response", name="b")
    registry.compute("toy.same", first="b", name="a")
    registry.remove("b")
    registry.compute("toy.same", first="a", name="b")
    tree = registry.lineage("b")
    assert tree["inputs"][0]["name"] == "a"
    (last,) = tree["inputs"][0]["inputs"]
    assert (last["name"], last["replaced"]) == ("b", True)


def test_a_damaged_manifest_on_the_way_is_an_error(registry: brainlens.Registry) -> None:
    file = Path(registry.path) / "target" / "manifest.json"
    file.write_bytes(file.read_bytes().replace(b"embedding", b"enbedding", 1))
    with pytest.raises(brainlens.RegistryError, match="dataset 'target' in .*: it was altered"):
        registry.lineage("m")
