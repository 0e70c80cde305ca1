"""The importer `retrieval.shards`: .npy files of embeddings, with parquet metadata, as datasets embedding.v1.

A file is mapped, and read when it is stored, in blocks; so it may be larger than memory. Each file is a dataset of its
own, and a gallery grows by bringing in another.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

import brainlens
from brainlens_retrieval.files import find_files, pair_by_number
from brainlens_retrieval.parquet import read_columns
from brainlens_retrieval.search_params import ShardsParams

_DIMS = {2: ("stimulus", "channel"), 3: ("stimulus", "token", "channel")}
_TAKEN = ("embedding", "stimulus", "channel", "token", "trial", "stimulus_id")


def read(*, params: ShardsParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Map files of embeddings.

    Parameters
    ----------
    params
        Which files, whose embeddings they are, and what else is known; see `ShardsParams`.
    context
        Notes the files that are read; shows progress.

    Returns
    -------
    Mapping
        Datasets embedding.v1: under `""` that of a single file, otherwise one for each file under its name without
        suffix. `embedding` has dims (stimulus, channel) or (stimulus, token, channel) and the file's dtype; chosen
        columns are variables (stimulus). Labels are those of `stimulus_column`, or file name and row.

    Raises
    ------
    ParameterError
        If a file is no array of embeddings, or a column is missing or called like something else in the dataset.
    DimensionError
        If files of one gallery have different channels, metadata have another number of rows, or labels repeat.
    RegistryError
        If a file does not exist.
    PluginError
        If metadata are asked for and pyarrow is not installed.

    Examples
    --------
    >>> np.save(tmp_path / "img_emb_0.npy", np.eye(3, 4, dtype=np.float16))
    >>> shards = read(params=ShardsParams(files=tmp_path, model="clip-vit-b-32"), context=brainlens.Context())
    >>> shards["img_emb_0"]["stimulus"].values.tolist()
    ['img_emb_0-0', 'img_emb_0-1', 'img_emb_0-2']
    """
    _check_names(params)
    given = _existing(params.files, context)
    files = find_files(given, params.pattern, suffix=".npy")
    metadata: list[Path | None] = [None] * len(files)
    if params.metadata:
        folder = _existing(params.metadata, context)
        others = find_files(folder, params.metadata_pattern, suffix=".parquet")
        metadata = list(pair_by_number(files, others, what="metadata"))
    datasets = {
        "" if given.is_file() else file.stem: _map_shard(context.source(file), other, params, context)
        for file, other in zip(context.progress(files, label="mapping"), metadata, strict=True)
    }
    _check_alike(files, list(datasets.values()))
    return datasets


def _existing(path: str, context: brainlens.Context) -> Path:
    """Return a path that exists; only its files that are read are noted, not all of a folder."""
    found = context.source(path)
    context.sources.remove(found)
    return found


def _map_shard(file: Path, metadata: Path | None, params: ShardsParams, context: brainlens.Context) -> xr.Dataset:
    embedding = _map_array(file)
    known: dict[str, np.ndarray] = {}
    if metadata is not None:
        names = tuple(dict.fromkeys([*([params.stimulus_column] if params.stimulus_column else []), *params.columns]))
        known = read_columns(context.source(metadata), names, n_rows=len(embedding), of=file)
    # One number width for all rows, so that labels sort as rows do.
    width = len(str(len(embedding) - 1))
    stimuli = np.array([f"{file.stem}-{row:0{width}d}" for row in range(len(embedding))], dtype=object)
    if params.stimulus_column:
        stimuli = _labels(known[params.stimulus_column], f"file {str(metadata)!r}, column {params.stimulus_column!r}")
    variables = {name: ("stimulus", known[name]) for name in params.columns}
    attrs = {"schema": "embedding.v1", "model": params.model}
    attrs |= {name: text for name, text in (("citation", params.citation), ("licence", params.licence)) if text}
    return xr.Dataset({"embedding": (_DIMS[embedding.ndim], embedding), **variables}, {"stimulus": stimuli}, attrs)


def _map_array(file: Path) -> np.ndarray:
    try:
        # Objects are not loaded: that could run code.
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise brainlens.ParameterError(
            f"file {str(file)!r}: expected a .npy array of numbers, found one that cannot be mapped ({error}). Copy it "
            "again."
        ) from error
    if array.ndim not in _DIMS or array.dtype.kind != "f" or array.dtype.itemsize > 8 or not array.size:
        raise brainlens.ParameterError(
            f"file {str(file)!r}: expected embeddings, (stimulus, channel) or (stimulus, token, channel) in floating "
            f"point numbers, found shape {array.shape} of {array.dtype}. Choose other files with pattern=."
        )
    return array


def _labels(values: np.ndarray, where: str) -> np.ndarray:
    if values.dtype.kind not in "Oi":
        raise brainlens.ParameterError(
            f"{where}: expected text or whole numbers as labels, found {values.dtype}. Name another column."
        )
    unique, counts = np.unique(values, return_counts=True)
    if values.dtype.kind == "O" and "" in unique[:1].tolist():
        raise brainlens.ParameterError(
            f"{where}: expected a label for every stimulus, found none for {int(counts[0])}. Name another column."
        )
    if (counts > 1).any():
        raise brainlens.DimensionError(
            f"{where}: expected each label once, found {brainlens.listed(unique[counts > 1])} more than once. Name "
            "another column."
        )
    return values


def _check_names(params: ShardsParams) -> None:
    taken = [name for name in params.columns if name in _TAKEN]
    if taken:
        raise brainlens.ParameterError(
            f"columns: expected names that the dataset does not use itself, found {brainlens.listed(taken)}. Rename "
            "them in the file."
        )
    asked = [name for name in (params.stimulus_column, *params.columns) if name]
    if asked and not params.metadata:
        raise brainlens.ParameterError(
            f"metadata: expected the .parquet files that hold {brainlens.listed(asked)}, found ''. Give their path."
        )


def _check_alike(files: list[Path], datasets: list[xr.Dataset]) -> None:
    first = datasets[0]["embedding"]
    for file, dataset in zip(files, datasets, strict=True):
        if dataset["embedding"].shape[1:] != first.shape[1:]:
            raise brainlens.DimensionError(
                f"file {str(file)!r}: expected rows of shape {first.shape[1:]} as in {str(files[0])!r}, found "
                f"{dataset['embedding'].shape[1:]}. Bring in embeddings of different models one after the other."
            )
