"""The exporter `formats.gifti`: one variable of one hemisphere as GIfTI, on the mesh that its vertices number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xarray as xr
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData

import brainlens
from brainlens_formats.blocks import rows
from brainlens_formats.describe import as_json, choose_variable, plain
from brainlens_formats.params import GiftiParams

STRUCTURES = {"left": "CortexLeft", "right": "CortexRight"}
# Vertices in one hemisphere of FreeSurfer's average subject, an icosahedron of that order.
KNOWN_MESHES = {
    "fsaverage": 163_842,
    "fsaverage3": 642,
    "fsaverage4": 2_562,
    "fsaverage5": 10_242,
    "fsaverage6": 40_962,
    "fsaverage7": 163_842,
}


def write(dataset: xr.Dataset, target: Path, *, params: GiftiParams, context: brainlens.Context) -> None:
    """Write one hemisphere of a variable, one array for each place along its other dims.

    Parameters
    ----------
    dataset
        With dim `vertex`, whose labels are the numbers of the vertices in the mesh. With both hemispheres, those of the
        right one go on behind the left: the first is `n_vertices`. May be lazy and larger than memory.
    target
        File to write, .func.gii, .shape.gii or .gii.
    params
        `variable`, `hemisphere`, `n_vertices` of the mesh, and `fill` for vertices that the dataset does not have.
    context
        Shows progress.

    Raises
    ------
    DimensionError
        If there are no vertices, or their labels are no numbers within the mesh.
    ParameterError
        If hemisphere or size of the mesh must be said, or values do not fit the dtypes of GIfTI.

    Notes
    -----
    GIfTI has uint8, int32 and float32: float64 is rounded to float32. Labels along the other dims are in the metadata
    of each array, in JSON; attributes and provenance in that of the file.
    """
    variable = choose_variable(dataset, params.variable, ("vertex",), exporter="formats.gifti")
    side = choose_hemisphere(dataset, params.hemisphere)
    sites, index, n_vertices = place_vertices(dataset, side, params.n_vertices)
    values = variable.variable.transpose(..., "vertex")
    meta = {
        **({"AnatomicalStructurePrimary": STRUCTURES[side]} if side else {}),
        "brainlens": as_json({"variable": str(variable.name), "attrs": plain({**dataset.attrs, **variable.attrs})}),
    }
    with target.open("wb") as file:
        maps = _maps(dataset, values, sites, index, n_vertices, params.fill)
        count = int(np.prod(values.shape[:-1], dtype=int))
        _write_image(file, GiftiMetaData(meta), context.progress(maps, total=count, label="writing maps"), count)


def choose_hemisphere(dataset: xr.Dataset, given: str) -> str:
    """Return which hemisphere is meant; empty where the dataset does not say.

    Raises
    ------
    ParameterError
        If there are two and none was named, or there is none of that name.
    """
    found = list(dict.fromkeys(dataset["hemisphere"].values.tolist())) if "hemisphere" in dataset.coords else []
    if given and given not in (found or [given]):
        raise brainlens.ParameterError(
            f"hemisphere: expected one that the dataset has, found {given!r}. It has {brainlens.listed(found)}."
        )
    if not given and len(found) > 1:
        raise brainlens.ParameterError(
            "hemisphere: expected 'left' or 'right', since the dataset has both and a GIfTI file has one, found ''. "
            "Export each into a file of its own."
        )
    return given or (found[0] if found else "")


def place_vertices(dataset: xr.Dataset, side: str, n_vertices: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return which vertices of the dataset are in the hemisphere, their numbers in its mesh, and the mesh's size.

    Raises
    ------
    DimensionError
        If labels are no numbers within the mesh.
    ParameterError
        If the size of the mesh is not known.
    """
    if "vertex" not in dataset.coords or dataset["vertex"].dtype.kind not in "iu":
        raise brainlens.DimensionError(
            "formats.gifti: expected the numbers of the vertices as labels of 'vertex', found "
            f"{dataset['vertex'].dtype if 'vertex' in dataset.coords else 'none'}. Assign them as coordinate 'vertex'."
        )
    labels = dataset["vertex"].values.astype(np.int64)
    sided = side and "hemisphere" in dataset.coords
    sites = np.flatnonzero(dataset["hemisphere"].values == side) if sided else np.arange(len(labels))
    index = labels[sites]
    size = n_vertices or KNOWN_MESHES.get(str(dataset.attrs.get("space", "")), 0)
    if not size and not np.array_equal(np.sort(index), np.arange(len(index))):
        raise brainlens.ParameterError(
            f"n_vertices: expected the number of vertices in the mesh of one hemisphere, since {len(index)} vertices "
            f"with labels from {index.min()} to {index.max()} do not fill one, found 0. "
            "FreeSurfer's fsaverage has 163842."
        )
    size = size or len(index)
    if side == "right" and len(index) and index.min() >= size:
        index = index - size
    if len(index) and not (index.min() >= 0 and index.max() < size):
        raise brainlens.DimensionError(
            f"formats.gifti: expected vertices from 0 to {size - 1}, or behind those of the left hemisphere, found "
            f"labels from {index.min()} to {index.max()}. Give the mesh's size as n_vertices."
        )
    return sites, index, size


def _maps(
    dataset: xr.Dataset, values: xr.Variable, sites: np.ndarray, index: np.ndarray, n_vertices: int, fill: float
) -> Iterator[GiftiDataArray]:
    dims = values.dims[:-1]
    for place, found in rows(values):
        labels = {str(dim): _label(dataset, dim, number) for dim, number in zip(dims, place, strict=True)}
        row = _convert(found[sites], fill)
        whole = np.full(n_vertices, fill, row.dtype)
        whole[index] = row
        name = " ".join(map(str, labels.values()))
        meta = GiftiMetaData({**({"Name": name} if labels else {}), "labels": as_json(labels)})
        yield GiftiDataArray(whole, intent="NIFTI_INTENT_NONE", datatype=_CODES[row.dtype.name], meta=meta)


_CODES = {"uint8": "NIFTI_TYPE_UINT8", "int32": "NIFTI_TYPE_INT32", "float32": "NIFTI_TYPE_FLOAT32"}


def _convert(values: np.ndarray, fill: float) -> np.ndarray:
    kind = values.dtype.kind
    if kind not in "biuf":
        raise brainlens.ParameterError(f"variable: expected numbers or booleans, found dtype {values.dtype}.")
    written = {"b": "uint8", "f": "float32"}.get(kind, "uint8" if values.dtype == np.uint8 else "int32")
    if kind == "f":
        with np.errstate(over="ignore"):
            made = values.astype(np.float32)
        if np.isinf(made).sum() > np.isinf(values).sum():
            raise brainlens.ParameterError(
                f"variable: expected values that fit float32, found up to {np.nanmax(np.abs(values))}. Rescale them "
                "first."
            )
        return made
    limits = np.iinfo(written)
    if values.size and not (limits.min <= int(values.min()) and int(values.max()) <= limits.max):
        raise brainlens.ParameterError(
            f"variable: expected values that fit {written}, found {values.min()} to {values.max()}. Rescale them first."
        )
    if not (limits.min <= fill <= limits.max and fill == int(fill)):
        raise brainlens.ParameterError(f"fill: expected a value that fits {written}, found {fill!r}.")
    return values.astype(written)


def _label(dataset: xr.Dataset, dim: Any, number: int) -> Any:
    return plain(dataset[dim].values[number]) if dim in dataset.coords else number


def _write_image(file: BinaryIO, meta: GiftiMetaData, maps: Iterator[GiftiDataArray], count: int) -> None:
    """Write an image map by map: nibabel would make the text of all maps at once."""
    frame = GiftiImage(meta=meta).to_xml()
    opened, closed = b'NumberOfDataArrays="0"', b"</GIFTI>"
    head = frame.replace(opened, f'NumberOfDataArrays="{count}"'.encode(), 1)
    file.write(head[: head.rindex(closed)])
    for each in maps:
        file.write(each.to_xml())
    file.write(closed)
