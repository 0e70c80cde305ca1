"""Parameters of `retrieval.search` and of the importers of galleries."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

import brainlens


class SearchParams(brainlens.Params):
    """What counts as close, how many hits, and how they are looked for."""

    without_effect = frozenset({"n_workers"})

    metric: Literal["correlation", "cosine", "centred-cosine"] = Field(
        default="correlation",
        description="Similarity over all tokens and channels, in [-1, 1], larger is closer; centred-cosine: the "
        "cosine after the mean of the decoder's training targets is taken off both sides.",
    )
    variant: str = Field(
        default="",
        description="Which variant of the decoded embedding, where its decoder gave several; '' where it has none.",
    )
    k: int = Field(default=10, ge=1, description="Hits for each query; fewer where the gallery has fewer items.")
    oversample: int = Field(
        default=4,
        ge=1,
        description="Candidates that the first pass keeps for each hit; changes only how long it takes.",
    )
    first_pass: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="Precision of the first pass for many queries; changes only how long it takes: every hit is "
        "decided in float64. auto: bfloat16 in shards of more than 20,000 items where the processor has it.",
    )
    index: Literal["exact", "faiss"] = Field(
        default="exact", description="Compare with every item, or with those that an inverted file of faiss suggests."
    )
    n_lists: int = Field(
        default=0, ge=0, description="faiss: lists that each shard is divided into; 0: 4 times the root of its items."
    )
    n_probe: int = Field(default=8, ge=1, description="faiss: lists that are looked through for each query.")
    recall_sample: int = Field(
        default=100, ge=0, description="faiss: queries that are also searched exactly to report the recall; 0: none."
    )
    n_workers: int = Field(
        default=0,
        ge=0,
        description="Processes that search shards at the same time, with the same result; 0: this process alone. "
        "Where a dask.distributed client is active, its cluster is used.",
    )


class ShardsParams(brainlens.Params):
    """Which files of embeddings make a gallery, which model made them, and what else is known of the stimuli."""

    files: str = Field(description="Path of a .npy file, or of a folder of them.")
    pattern: str = Field(
        default="*.npy", min_length=1, description="Which files in the folder, such as 'img_emb_*.npy'."
    )
    model: str = Field(min_length=1, description="Which model's space the embeddings live in, such as 'clip-vit-l-14'.")
    metadata: str = Field(
        default="",
        description="Path of the .parquet file that belongs to the file, or of the folder that holds one for each, "
        "with the same number in its name (img_emb_0012.npy, metadata_0012.parquet); '': none.",
    )
    metadata_pattern: str = Field(
        default="*.parquet", min_length=1, description="Which files in that folder, such as 'metadata_*.parquet'."
    )
    stimulus_column: str = Field(
        default="", description="Column of unique labels; '': labels are made of file name and row."
    )
    columns: tuple[str, ...] = Field(
        default=(), description="Columns that are kept beside the embedding as text, such as ('caption', 'url')."
    )
    citation: str = Field(default="", description="What to cite for these data; kept in attrs, text.")
    licence: str = Field(default="", description="Terms under which the data may be used; kept in attrs, text.")


class TarParams(brainlens.Params):
    """Which tar shards of images and texts, and how the images are brought to one size."""

    files: str = Field(description="Path of a .tar file, or of a folder of them.")
    pattern: str = Field(default="*.tar", min_length=1, description="Which files in the folder, such as '00*.tar'.")
    size: int = Field(default=0, ge=0, description="Height and width in pixels; 0: as they are, all the same.")
    fit: Literal["exact", "crop", "pad"] = Field(
        default="exact",
        description="How to make an image square before it is resized: it is so already, cut the longer side at both "
        "ends, or add `pad_value` to the shorter.",
    )
    pad_value: int = Field(default=0, ge=0, le=255, description="Grey level around padded images, 0 to 255.")
    colour: Literal["rgb", "grey"] = Field(default="rgb", description="Three channels, or luma (ITU-R 601) alone.")
    json_keys: tuple[str, ...] = Field(
        default=(), description="Keys of each stimulus's .json that are kept as text, such as ('url', 'license')."
    )
    citation: str = Field(default="", description="What to cite for these data; kept in attrs, text.")
    licence: str = Field(default="", description="Terms under which the data may be used; kept in attrs, text.")
