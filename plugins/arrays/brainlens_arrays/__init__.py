"""Three importers for files of arrays and images that somebody else made; this module only describes them."""

from __future__ import annotations

import brainlens
from brainlens_arrays.params import EmbeddingParams, ImagesParams, ResponseParams


@brainlens.hookimpl
def brainlens_components() -> list[brainlens.Component]:
    """Describe the importers `arrays`, `arrays.embedding` and `arrays.images`."""
    return [
        brainlens.Component(
            name="arrays",
            role="importer",
            summary="Responses from a matrix in .mat (v5, v7.3), .h5, .npy, .npz, .csv or .tsv.",
            version="1",
            target="brainlens_arrays.responses:read",
            params=ResponseParams,
            output=("response", "embedding"),
        ),
        brainlens.Component(
            name="arrays.embedding",
            role="importer",
            summary="An embedding per stimulus, such as CLIP features or pixel values, from the same formats.",
            version="1",
            target="brainlens_arrays.embedding:read",
            params=EmbeddingParams,
            output=("embedding",),
        ),
        brainlens.Component(
            name="arrays.images",
            role="importer",
            summary="The images in a folder, one stimulus per file.",
            version="1",
            target="brainlens_arrays.images:read",
            params=ImagesParams,
            output=("stimulus_image",),
        ),
    ]
