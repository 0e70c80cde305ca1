"""ROIs of vertices: labels of a mesh in GIfTI or FreeSurfer's .annot, read at the sites of a response."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.parsers.expat import ExpatError

import nibabel as nib
import numpy as np
import xarray as xr
from nibabel.filebasedimages import ImageFileError

import brainlens
from brainlens_roi.attach_params import AttachParams
from brainlens_roi.names import refuse_repeated, without_background
from brainlens_roi.volumes import Region

SIDES = ("left", "right")


def read_regions(response: xr.Dataset, params: AttachParams, context: brainlens.Context) -> Iterator[Region]:
    """Read the labels of each hemisphere at the vertices of a response; a name in both is one ROI.

    Raises
    ------
    DimensionError
        If vertices are not numbered, or a hemisphere has another mesh.
    ParameterError
        If a file holds no labels.
    """
    members: dict[str, np.ndarray] = {}
    sizes: dict[str, int] = {}
    n_left = 0
    for side in SIDES:
        given = params.left if side == "left" else params.right
        if not given:
            continue
        path = context.source(given)
        labels, names = _read_labels(path, f"{side} {str(path)!r}")
        names = without_background(names, params)
        refuse_repeated(list(names.values()), f"{side} {str(path)!r}")
        sites, index = _vertices(response, side, len(labels), n_left)
        for label, name in names.items():
            own = members.setdefault(name, np.zeros(response.sizes["vertex"], bool))
            own[sites] |= labels[index] == label
            sizes[name] = sizes.get(name, 0) + int(np.count_nonzero(labels == label))
        n_left = len(labels)
    for name, own in members.items():
        yield Region(name=name, members=own, n_source=sizes[name], n_grid=sizes[name])


def _read_labels(path: Path, what: str) -> tuple[np.ndarray, dict[int, str]]:
    """Return the label of every vertex of a mesh, and names of labels."""
    try:
        if path.name.endswith(".annot"):
            # What is no such file shows itself by sizes that overflow.
            with np.errstate(over="raise"):
                labels, _, texts = nib.freesurfer.read_annot(path)
            return np.asarray(labels), {number: text.decode("utf-8") for number, text in enumerate(texts)}
        image = nib.load(path)
    except (ImageFileError, ExpatError, OSError, EOFError, ValueError, IndexError, FloatingPointError) as error:
        raise brainlens.ParameterError(
            f"{what}: expected labels of vertices, .label.gii or .annot, found {error}."
        ) from error
    arrays = getattr(image, "darrays", [])
    table = image.labeltable.get_labels_as_dict() if arrays else {}
    if len(arrays) != 1 or not table or arrays[0].data.dtype.kind not in "iu":
        raise brainlens.ParameterError(
            f"{what}: expected one array of whole-number labels with a table of names, found {len(arrays)} arrays and "
            f"{len(table)} names. A .func.gii or .shape.gii holds values; give a .label.gii."
        )
    # 0 is background by the convention of every tool that writes such files.
    return np.asarray(arrays[0].data).ravel(), {int(key): str(name) for key, name in table.items() if int(key) != 0}


def _vertices(response: xr.Dataset, side: str, n_vertices: int, n_left: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which sites lie in a hemisphere, and their numbers in its mesh."""
    if response["vertex"].dtype.kind not in "iu":
        raise brainlens.DimensionError(
            f"response: expected the numbers of the vertices as labels of 'vertex', found {response['vertex'].dtype}."
        )
    numbers = response["vertex"].values.astype(np.int64)
    if "hemisphere" in response.coords:
        sites = np.flatnonzero(response["hemisphere"].values == side)
    else:
        raise brainlens.DimensionError(
            "response: expected a coordinate 'hemisphere' (vertex) with 'left' and 'right', found none. Assign it: a "
            "file of labels is of one hemisphere."
        )
    index = numbers[sites]
    # Vertices of the right hemisphere may be numbered behind those of the left.
    if side == "right" and len(index) and index.min() >= (n_left or n_vertices):
        index = index - (n_left or n_vertices)
    if len(index) and index.max() >= n_vertices:
        raise brainlens.DimensionError(
            f"{side} hemisphere: expected labels of the mesh of the response, whose vertices go up to {index.max()}, "
            f"found {n_vertices} labels. Surfaces are not resampled here; take the labels of that mesh."
        )
    return sites, index
