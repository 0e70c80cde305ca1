"""The embedder `encoding.pixels`: images as tokens, one for each pixel, so that encoders may learn from them."""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_encoding.params import PixelsParams

COLOURS = ("red", "green", "blue")


def embed_pixels(*, stimuli: xr.Dataset, params: PixelsParams, context: brainlens.Context) -> xr.Dataset:
    """Return images as a grid of tokens.

    Parameters
    ----------
    stimuli
        Images (stimulus_image.v1): dims (stimulus, y, x, rgb) or (stimulus, y, x), uint8.
    params
        How many pixels across become one.
    context
        Not used.

    Returns
    -------
    Dataset (embedding.v1)
        `embedding` (stimulus, token, channel), float32, from 0 to 1; channels red, green and blue, or grey; tokens row
        by row from the top left, on the grid in `attrs["grid"]`, rows and columns. Made when it is read.

    Raises
    ------
    DimensionError
        If images cannot be cut into squares of that many pixels.
    """
    image, shrink = stimuli["image"], params.shrink
    height, width = image.sizes["y"], image.sizes["x"]
    if height % shrink or width % shrink:
        raise brainlens.DimensionError(
            f"shrink={shrink}: expected a divisor of the images' {height} x {width} pixels, so that nothing is cut "
            "off, found a remainder. Choose another, or store the images in another size."
        )
    grid = (height // shrink, width // shrink)
    channels = list(COLOURS) if "rgb" in image.dims else ["grey"]
    n_stimuli = image.sizes["stimulus"]

    def make(low: int, high: int) -> np.ndarray:
        pixels = np.asarray(image.isel(stimulus=slice(low, high)).values)
        cut = pixels.reshape(len(pixels), grid[0], shrink, grid[1], shrink, len(channels))
        means: np.ndarray = cut.mean(axis=(2, 4), dtype=np.float32) / np.float32(255)
        return means.reshape(len(pixels), -1, len(channels))

    shape = (n_stimuli, grid[0] * grid[1], len(channels))
    made = brainlens.made_rows(("stimulus", "token", "channel"), shape, np.float32, make)
    labels = {"stimulus": stimuli["stimulus"].values, "token": np.arange(shape[1]), "channel": channels}
    kept = {"simulated": stimuli.attrs["simulated"]} if "simulated" in stimuli.attrs else {}
    attrs = {**kept, "schema": "embedding.v1", "model": f"pixels/{grid[0]}x{grid[1]}", "grid": list(grid)}
    return xr.Dataset({"embedding": made}, labels, attrs)
