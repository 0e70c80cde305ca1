"""The importer `stimuli.folder`: the pictures in a folder, one stimulus a file, decoded when they are read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

import brainlens
from brainlens_stimuli.import_params import FolderParams
from brainlens_stimuli.pictures import SUFFIXES, find_files, read_lazily, stem


def read(*, params: FolderParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read every picture in a folder.

    Parameters
    ----------
    params
        Which files, and how they come to one size; see `FolderParams`.
    context
        Notes the folder; shows progress.

    Returns
    -------
    Mapping
        Under `""` one dataset stimulus_image.v1: `image`, dims (stimulus, y, x, rgb), uint8, sRGB. `stimulus` has the
        paths without suffix, sorted; `category` (stimulus) the subfolders, where files lie in some.

    Raises
    ------
    ParameterError
        If nothing matches, a file is no picture or broken, has several frames or more than 8 bits, or two files have
        one name.
    DimensionError
        If sizes differ and no size is asked for, or a picture is not square and `fit` is "exact".
    RegistryError
        If the folder does not exist.
    """
    folder = context.source(params.folder)
    files = find_files(folder, params.pattern, SUFFIXES, what="pictures")
    pictures, attrs = read_lazily(files, params, context, where=f"folder {str(folder)!r}")
    coords = {"stimulus": np.array([stem(path, folder) for path in files])}
    made = xr.Dataset({"image": pictures}, coords, {"schema": "stimulus_image.v1", **attrs})
    parents = [path.parent.relative_to(folder).as_posix() for path in files]
    if any(parent != "." for parent in parents):
        made = made.assign_coords(category=("stimulus", np.array(parents)))
    return {"": made}
