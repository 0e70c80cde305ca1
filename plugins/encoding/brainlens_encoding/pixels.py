"""The embedder `encoding.pixels`: images as tokens, one for each pixel, so that encoders may learn from them."""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_encoding.params import PixelsParams

COLOURS = ("red", "green", "blue")


def embed_pixels(
    *, stimuli: xr.Dataset | None, images: xr.Dataset | None, params: PixelsParams, context: brainlens.Context
) -> xr.Dataset:
    """Return images as a grid of tokens.

    Parameters
    ----------
    stimuli
        Images (stimulus_image.v1): dims (stimulus, y, x, rgb) or (stimulus, y, x), uint8; or None.
    images
        Images made from trials (image.v1): dims (trial, y, x, rgb), uint8, where there are no stimuli; or None.
    params
        How many pixels across become one.
    context
        Not used.

    Returns
    -------
    Dataset (embedding.v1)
        `embedding` (stimulus or trial, token, channel), float32, from 0 to 1; channels red, green and blue, or grey;
        tokens row by row from the top left, on the grid in `attrs["grid"]`, rows and columns. Made when it is read.

    Raises
    ------
    ParameterError
        If stimuli and images are given, or neither.
    DimensionError
        If images cannot be cut into squares of that many pixels, or there are several for a trial.
    """
    if (stimuli is None) == (images is None):
        found = "neither" if stimuli is None else "both"
        raise brainlens.ParameterError(f"expected stimuli or images, found {found}. Give one of them.")
    source = images if stimuli is None else stimuli
    assert source is not None
    image, shrink = source["image"], params.shrink
    row = str(image.dims[0])
    if "candidate" in image.dims or row not in ("stimulus", "trial"):
        raise brainlens.DimensionError(
            f"images: expected dims (stimulus or trial, y, x, rgb), found {image.dims}. Choose one of several with "
            "isel(candidate=0)."
        )
    grid = _find_grid(image.sizes["y"], image.sizes["x"], shrink)
    channels = list(COLOURS) if "rgb" in image.dims else ["grey"]
    n_images = image.sizes[row]

    def make(low: int, high: int) -> np.ndarray:
        pixels = np.asarray(image.isel({row: slice(low, high)}).values)
        return _shrink(pixels, grid, len(channels)) / np.float32(255)

    shape = (n_images, grid[0] * grid[1], len(channels))
    made = brainlens.made_rows((row, "token", "channel"), shape, np.float32, make)
    labels = {name: each.variable for name, each in source.coords.items() if each.dims == (row,)}
    labels |= {"token": np.arange(shape[1]), "channel": channels}
    kept = {"simulated": source.attrs["simulated"]} if "simulated" in source.attrs else {}
    attrs = {**kept, "schema": "embedding.v1", "model": f"pixels/{grid[0]}x{grid[1]}", "grid": list(grid)}
    return xr.Dataset({"embedding": made}, labels, attrs)


def differentiate_pixels(
    *, pixels: np.ndarray, params: PixelsParams, context: brainlens.Context
) -> brainlens.Differentiated:
    """Return images as a grid of tokens, and say how a gradient comes back from these to the pixels.

    Parameters
    ----------
    pixels
        (image, y, x, rgb), float32, from 0 to 1.
    params, context
        As in `embed_pixels`.

    Returns
    -------
    Differentiated
        `value`: `embedding` (trial, token, channel) as `embed_pixels` makes it. `pull_back` takes an array like it, and
        returns one like `pixels`: of the pixels of a token each gets its share.

    Raises
    ------
    DimensionError
        As in `embed_pixels`.
    """
    n_images, height, width, n_channels = pixels.shape
    shrink = params.shrink
    grid = _find_grid(height, width, shrink)

    def pull_back(gradient: np.ndarray) -> np.ndarray:
        cells = gradient.reshape(n_images, grid[0], 1, grid[1], 1, n_channels) / np.float32(shrink**2)
        return np.broadcast_to(cells, (n_images, grid[0], shrink, grid[1], shrink, n_channels)).reshape(pixels.shape)

    made = _shrink(pixels, grid, n_channels)
    labels = {name: ("trial", np.arange(n_images)) for name in ("trial", "stimulus_id")}
    axes = {"token": np.arange(made.shape[1]), "channel": list(COLOURS)}
    attrs = {"schema": "embedding.v1", "model": f"pixels/{grid[0]}x{grid[1]}", "grid": list(grid)}
    value = xr.Dataset({"embedding": (("trial", "token", "channel"), made)}, {**labels, **axes}, attrs)
    return brainlens.Differentiated(value, pull_back)


def _find_grid(height: int, width: int, shrink: int) -> tuple[int, int]:
    if height % shrink or width % shrink:
        raise brainlens.DimensionError(
            f"shrink={shrink}: expected a divisor of the images' {height} x {width} pixels, so that nothing is cut "
            "off, found a remainder. Choose another, or store the images in another size."
        )
    return height // shrink, width // shrink


def _shrink(pixels: np.ndarray, grid: tuple[int, int], n_channels: int) -> np.ndarray:
    """Return the mean of the pixels of each token, (image, token, channel), float32."""
    shrink = pixels.shape[1] // grid[0]
    cut = pixels.reshape(len(pixels), grid[0], shrink, grid[1], shrink, n_channels)
    means: np.ndarray = cut.mean(axis=(2, 4), dtype=np.float32)
    return means.reshape(len(pixels), -1, n_channels)
