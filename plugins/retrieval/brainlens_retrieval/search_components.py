"""What the plugin provides for searching galleries and for bringing them in: components and the schema of hits."""

from __future__ import annotations

import functools
import importlib.resources
import json
from typing import Any

import brainlens
from brainlens_retrieval.search_params import SearchParams, ShardsParams, TarParams

COMPONENTS = [
    brainlens.Component(
        name="retrieval.search",
        role="analysis",
        summary="The most similar items of a gallery of any size with their texts and tags, exact or through an index.",
        version="1",
        target="brainlens_retrieval.search:search",
        params=SearchParams,
        inputs={"decoded": "embedding", "gallery": brainlens.Input("embedding", many=True)},
        output=("hits",),
        uses_device=True,
        citations=("Douze et al. (2024), The Faiss library, doi:10.48550/arXiv.2401.08281",),
    ),
    brainlens.Component(
        name="retrieval.shards",
        role="importer",
        summary="Galleries of embeddings as large image-text sets publish them: .npy shards with parquet metadata.",
        version="1",
        target="brainlens_retrieval.npy_shards:read",
        params=ShardsParams,
        output=("embedding",),
    ),
    brainlens.Component(
        name="retrieval.tar",
        role="importer",
        summary="Images with their texts and tags from webdataset-style tar shards, without unpacking them.",
        version="1",
        target="brainlens_retrieval.tar_shards:read",
        params=TarParams,
        output=("stimulus_image",),
    ),
]


@functools.cache
def hits_schema() -> brainlens.Schema:
    """Return the schema of what `retrieval.search` finds.

    Examples
    --------
    >>> hits_schema().name
    'hits.v1'
    """
    file = importlib.resources.files(__name__.partition(".")[0]).joinpath("hits.v1.json")
    document: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return brainlens.Schema(name="hits.v1", document=document)
