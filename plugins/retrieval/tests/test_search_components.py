"""The components in a registry, as users call them."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
from brainlens_retrieval import search_components
from brainlens_retrieval.search_components import COMPONENTS, hits_schema

import brainlens


def test_components_name_what_they_take_and_give():
    by_name = {component.name: component for component in COMPONENTS}
    assert sorted(by_name) == ["retrieval.search", "retrieval.shards", "retrieval.tar"]
    assert by_name["retrieval.search"].inputs["gallery"].many
    assert by_name["retrieval.search"].output == (hits_schema().kind,)


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(hits_schema().document)
    assert json.loads(json.dumps(hits_schema().document))["$id"] == "brainlens:hits.v1"


def test_the_plugin_names_them():
    import brainlens_retrieval

    named = {component.name for component in brainlens_retrieval.brainlens_components()}
    assert {component.name for component in COMPONENTS} <= named
    assert [schema.name for schema in brainlens_retrieval.brainlens_schemas()] == ["hits.v1"]


def test_a_gallery_grows_by_ingesting_and_is_searched_as_one(tmp_path, embeddings):
    registry = brainlens.open(tmp_path / "study")
    decoded, gallery = embeddings(n_stimuli=20, noise=0.2)
    for number, part in enumerate((slice(0, 12), slice(12, 20))):
        np.save(tmp_path / f"img_emb_{number}.npy", gallery["embedding"].values[part])
        registry.ingest("retrieval.shards", files=tmp_path / f"img_emb_{number}.npy", model="toy", name=f"web/{number}")
    registry.put("decoded", decoded.drop_vars("channel"), schema="embedding")
    name = registry.compute("retrieval.search", decoded="decoded", gallery=["web/0", "web/1"], k=3, name="hits")
    hits = registry[name]
    assert hits.sizes["hit"] == 3
    truth = np.array([int(label.removeprefix("image")) for label in decoded["stimulus_id"].values])
    np.testing.assert_array_equal(hits["shard"].values[:, 0] * 12 + hits["position"].values[:, 0], truth)
    assert hits["gallery"].values.tolist() == ["0", "1"]


def test_loading_the_components_imports_nothing_heavy():
    import subprocess
    import sys

    heavy = {"torch", "faiss", "dask", "pyarrow", "PIL"}
    code = f"import sys, brainlens_retrieval.search_components; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert search_components.COMPONENTS is COMPONENTS
