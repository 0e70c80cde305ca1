"""The importer `nsd.stimuli`: images as they were shown, from the file of all 73,000, read when they are stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from PIL import Image

import brainlens
from brainlens_nsd import ImageParams, StimuliParams
from brainlens_nsd.design import N_IMAGES, last_session, read_design, subject_images
from brainlens_nsd.files import reading
from brainlens_nsd.layout import open_copy, parse_sessions

SIZE = 425
NUMBERING = "number in the 73k list, from 1; the row in imgBrick is one less"


def read(*, params: StimuliParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read the images of a subject, or the shared ones.

    Parameters
    ----------
    params
        Which images of which copy, and their size; see `StimuliParams`.
    context
        Notes the files; shows progress.

    Returns
    -------
    Mapping
        Under `""` one dataset stimulus_image.v1: `image`, dims (stimulus, y, x, rgb), uint8, 0 to 255, sRGB;
        `stimulus`, number in the 73k list, from 1, ascending; `is_shared` (stimulus).

    Raises
    ------
    ParameterError
        If a file is damaged, or not as it was published.
    RegistryError
        If a file is missing.
    """
    images, shared = choose_images(params, context)
    path = context.source(open_copy(params.root, context).stimuli)
    _check_brick(path)
    side = params.size or SIZE
    make = _maker(path, images, params, context)
    dataset = xr.Dataset(
        {
            "image": brainlens.made_rows(
                ("stimulus", "y", "x", "rgb"), (len(images), side, side, 3), np.dtype(np.uint8), make
            )
        },
        {"stimulus": images, "is_shared": ("stimulus", np.isin(images, shared))},
        {"schema": "stimulus_image.v1", "numbering": NUMBERING, **image_attrs(params)},
    )
    resized = {"resample": params.resample} if side != SIZE else {}
    return {"": dataset.assign_attrs(degrees=8.4, **resized)}


def choose_images(params: ImageParams, context: brainlens.Context) -> tuple[np.ndarray, np.ndarray]:
    """Return the 73k numbers of the images that are asked for, from 1, ascending, and of all shared images.

    Raises
    ------
    ParameterError
        If the sessions do not exist, or the design is damaged.
    RegistryError
        If the copy or its design is missing.
    """
    design = read_design(open_copy(params.root, context), params.subject, context)
    if params.images == "shared1000":
        return np.sort(design.shared), design.shared
    last = last_session(params.subject)
    sessions = parse_sessions(params.sessions, last, subject=params.subject) if params.sessions else []
    return subject_images(design, sessions), design.shared


def image_attrs(params: ImageParams) -> dict[str, Any]:
    """Return what datasets about images say of their choice."""
    return {"images": params.images, **({"subject": params.subject} if params.subject else {})}


def _check_brick(path: Path) -> None:
    with reading(path, what="stimuli"), h5py.File(path, "r") as file:
        brick = file.get("imgBrick")
        shape, dtype = getattr(brick, "shape", None), getattr(brick, "dtype", None)
    if shape != (N_IMAGES, SIZE, SIZE, 3) or dtype != np.uint8:
        raise brainlens.ParameterError(
            f"stimuli {str(path)!r}, dataset 'imgBrick': expected {(N_IMAGES, SIZE, SIZE, 3)} of uint8, found "
            f"{shape or 'none'}{f' of {dtype}' if dtype else ''}. Download nsd_stimuli.hdf5 again."
        )


def _maker(
    path: Path, images: np.ndarray, params: StimuliParams, context: brainlens.Context
) -> Callable[[int, int], np.ndarray]:
    resample = Image.Resampling[params.resample.upper()]
    side = params.size or SIZE

    def make(low: int, high: int) -> np.ndarray:
        made = np.empty((high - low, side, side, 3), np.uint8)
        with reading(path, what="stimuli"), h5py.File(path, "r") as file:
            brick = file["imgBrick"]
            for place, image in enumerate(context.progress(images[low:high].tolist(), label=f"images from {low}")):
                pixels = brick[image - 1]
                if side != SIZE:
                    pixels = np.asarray(Image.fromarray(pixels).resize((side, side), resample))
                made[place] = pixels
        return made

    return make
