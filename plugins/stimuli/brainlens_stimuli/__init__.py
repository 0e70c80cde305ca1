"""Stimuli from folders, stacks, tables and videos, and their embeddings; this module only describes the components."""

from __future__ import annotations

import brainlens
from brainlens_stimuli.import_params import FolderParams, Hdf5Params, TableParams, VideoParams
from brainlens_stimuli.params import (
    OpenClipImageParams,
    OpenClipTextParams,
    TimmParams,
    TransformersImageParams,
    TransformersTextParams,
)

_CLIP = "Radford et al. (2021). Learning transferable visual models from natural language supervision. ICML."
_OPEN_CLIP = "Cherti et al. (2023). Reproducible scaling laws for contrastive language-image learning. CVPR."

_TIMM = "Wightman (2019). PyTorch Image Models. doi:10.5281/zenodo.4414861."
_TRANSFORMERS = "Wolf et al. (2020). Transformers: state-of-the-art natural language processing. EMNLP demonstrations."

# Stimuli, or images that were made from trials: one of both.
_LOOKED_AT = {
    "stimuli": brainlens.Input("stimulus_image", optional=True),
    "images": brainlens.Input("image", optional=True),
}


@brainlens.hookimpl
def brainlens_components() -> tuple[brainlens.Component, ...]:
    """Return importers and embedders."""
    return (
        brainlens.Component(
            name="stimuli.folder",
            role="importer",
            summary="the pictures in a folder, one stimulus a file, subfolders as categories",
            version="1",
            target="brainlens_stimuli.folder:read",
            params=FolderParams,
            output=("stimulus_image",),
        ),
        brainlens.Component(
            name="stimuli.table",
            role="importer",
            summary="pictures and captions that a table (.csv, .tsv) or a .json lists",
            version="1",
            target="brainlens_stimuli.table:read",
            params=TableParams,
            output=("stimulus_image", "stimulus_text"),
        ),
        brainlens.Component(
            name="stimuli.hdf5",
            role="importer",
            summary="a stack of pictures in an HDF5 file",
            version="1",
            target="brainlens_stimuli.hdf5:read",
            params=Hdf5Params,
            output=("stimulus_image",),
        ),
        brainlens.Component(
            name="stimuli.video",
            role="importer",
            summary="frames of video files at stated times, as videos or as pictures",
            version="1",
            target="brainlens_stimuli.video:read",
            params=VideoParams,
            output=("stimulus_video", "stimulus_image"),
        ),
        brainlens.Component(
            name="stimuli.open_clip_image",
            role="embedder",
            summary="images by any open_clip model: pooled, projected, tokens, or any layer",
            version="1",
            target="brainlens_stimuli.open_clip_model:embed_images",
            derivative="brainlens_stimuli.open_clip_model:differentiate_images",
            params=OpenClipImageParams,
            inputs=_LOOKED_AT,
            output=("embedding",),
            uses_device=True,
            citations=(_CLIP, _OPEN_CLIP),
        ),
        brainlens.Component(
            name="stimuli.open_clip_text",
            role="embedder",
            summary="texts by the text tower of any open_clip model",
            version="1",
            target="brainlens_stimuli.open_clip_model:embed_texts",
            params=OpenClipTextParams,
            inputs={"texts": "stimulus_text"},
            output=("embedding",),
            uses_device=True,
            citations=(_CLIP, _OPEN_CLIP),
        ),
        brainlens.Component(
            name="stimuli.timm",
            role="embedder",
            summary="images by any timm model: pooled, features before pooling, or any layer",
            version="1",
            target="brainlens_stimuli.timm_model:embed_images",
            derivative="brainlens_stimuli.timm_model:differentiate_images",
            params=TimmParams,
            inputs=_LOOKED_AT,
            output=("embedding",),
            uses_device=True,
            citations=(_TIMM,),
        ),
        brainlens.Component(
            name="stimuli.transformers_image",
            role="embedder",
            summary="images by any model of transformers: pooled, projected, or any hidden state",
            version="1",
            target="brainlens_stimuli.transformers_model:embed_images",
            params=TransformersImageParams,
            inputs=_LOOKED_AT,
            output=("embedding",),
            uses_device=True,
            citations=(_TRANSFORMERS,),
        ),
        brainlens.Component(
            name="stimuli.transformers_text",
            role="embedder",
            summary="texts by any language model of transformers: pooled, projected, or any hidden state",
            version="1",
            target="brainlens_stimuli.transformers_model:embed_texts",
            params=TransformersTextParams,
            inputs={"texts": "stimulus_text"},
            output=("embedding",),
            uses_device=True,
            citations=(_TRANSFORMERS,),
        ),
    )
