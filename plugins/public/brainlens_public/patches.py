"""Contrast images of 10 x 10 patches: rows of 100 numbers become pictures, identifiers, and a target to decode."""

from __future__ import annotations

import numpy as np
import xarray as xr

SIDE = 10
N_PATCHES = SIDE * SIDE
NUMBERING = "the 100 patches as hexadecimal digits, first patch first; column by column, as in the files"


def name_patches(patches: np.ndarray) -> np.ndarray:
    """Name images by what is on them, so that a name is the same whichever runs are read.

    Parameters
    ----------
    patches
        0 and 1, shape (n_images, 100).

    Returns
    -------
    ndarray
        Text, shape (n_images,): 25 hexadecimal digits, four patches each.

    Examples
    --------
    >>> name_patches(np.eye(1, 100, dtype=int)).tolist()
    ['8000000000000000000000000']
    """
    packed = np.packbits(np.asarray(patches, bool), axis=1)
    return np.array([row.tobytes().hex()[:25] for row in packed])


def form_images(names: np.ndarray, patches: np.ndarray) -> xr.Dataset:
    """Return the images as pictures: stimulus_image.v1, `image` (stimulus, y, x), uint8, 0 and 255, by name.

    Parameters
    ----------
    names, patches
        Of shown images, shapes (n,) and (n, 100); each image may occur several times.
    """
    stimulus, first = np.unique(names, return_index=True)
    pixels = np.asarray(patches)[first].reshape(-1, SIDE, SIDE).transpose(0, 2, 1).astype(np.uint8) * 255
    attrs = {"schema": "stimulus_image.v1", "numbering": NUMBERING}
    return xr.Dataset({"image": (("stimulus", "y", "x"), pixels)}, {"stimulus": stimulus}, attrs)


def form_target(names: np.ndarray, patches: np.ndarray) -> xr.Dataset:
    """Return the images as points in a space of 100 patches: embedding.v1, `embedding` (stimulus, channel), 0 and 1.

    Channels have coordinates `y` and `x`, row and column of the patch from the top left.
    """
    stimulus, first = np.unique(names, return_index=True)
    channel = np.arange(N_PATCHES)
    return xr.Dataset(
        {"embedding": (("stimulus", "channel"), np.asarray(patches)[first].astype(np.float32))},
        {
            "stimulus": stimulus,
            "channel": channel,
            "patch_y": ("channel", channel % SIDE),
            "patch_x": ("channel", channel // SIDE),
        },
        {"schema": "embedding.v1", "model": "patches", "numbering": NUMBERING},
    )
