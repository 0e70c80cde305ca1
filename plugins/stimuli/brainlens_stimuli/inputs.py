"""What embedders are given: colour images of stimuli or of trials, or one text for each stimulus, read in pieces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

import brainlens


@dataclass(frozen=True, kw_only=True)
class Items:
    """Things to embed, in order.

    Parameters
    ----------
    dim
        "stimulus" or "trial".
    labels
        Coordinates along it.
    n_items
        How many there are.
    read
        Takes the first and the one behind the last, and returns these: arrays (y, x, rgb), uint8, or texts.
    modality
        "image" or "text".
    about
        What attributes say of them, such as their size.
    """

    dim: str
    labels: Mapping[str, xr.Variable]
    n_items: int
    read: Callable[[int, int], Sequence[Any]]
    modality: str
    about: Mapping[str, Any]


def choose_images(stimuli: xr.Dataset | None, images: xr.Dataset | None) -> Items:
    """Return the images to embed, of stimuli or of trials.

    Parameters
    ----------
    stimuli
        Images shown (stimulus_image.v1), or None.
    images
        Images made from trials (image.v1), or None; exactly one of both is given.

    Raises
    ------
    ParameterError
        If both or neither are given.
    DimensionError
        If images are grey, trials have several candidates, or pixels are not uint8.
    """
    if (stimuli is None) == (images is None):
        found = "neither" if stimuli is None else "both"
        raise brainlens.ParameterError(f"expected stimuli or images, found {found}. Give one of them.")
    source = images if stimuli is None else stimuli
    assert source is not None
    pixels = source["image"]
    dim = "trial" if stimuli is None else "stimulus"
    if pixels.dims != (dim, "y", "x", "rgb") or pixels.sizes["rgb"] != 3:
        raise brainlens.DimensionError(
            f"images: expected dims ({dim}, y, x, rgb) with 3 colours, found {dict(pixels.sizes)}. Store them in "
            "colour, and choose one candidate with isel(candidate=0)."
        )
    if pixels.dtype != np.uint8:
        raise brainlens.DimensionError(
            f"images: expected pixels of uint8, 0 to 255, found {pixels.dtype}. Scale and round them when you store "
            "them."
        )
    names = ("stimulus",) if dim == "stimulus" else ("trial", "stimulus_id")
    return Items(
        dim=dim,
        labels={name: xr.Variable(dim, source[name].values) for name in names},
        n_items=pixels.sizes[dim],
        read=lambda low, high: list(pixels[low:high].values),
        modality="image",
        about={"image_size": [pixels.sizes["y"], pixels.sizes["x"]]},
    )


def choose_texts(texts: xr.Dataset, caption: str) -> Items:
    """Return one text for each stimulus.

    Parameters
    ----------
    texts
        Texts (stimulus_text.v1), (stimulus) or (stimulus, caption).
    caption
        Label or number of a caption, where there are several; "" where there is one each.

    Raises
    ------
    ParameterError
        If the caption does not exist, or has to be named.
    """
    text = texts["text"]
    if "caption" not in text.dims:
        if caption:
            raise brainlens.ParameterError(f"caption: expected '', as there is one text each, found {caption!r}.")
    else:
        labels = texts["caption"].values if "caption" in texts.coords else np.arange(text.sizes["caption"])
        names = [str(name) for name in labels]
        if caption not in names:
            raise brainlens.ParameterError(
                f"caption: expected one of {brainlens.listed(names)}, found {caption!r}. Choose one."
            )
        text = text.isel(caption=names.index(caption))
    return Items(
        dim="stimulus",
        labels={"stimulus": xr.Variable("stimulus", texts["stimulus"].values)},
        n_items=text.sizes["stimulus"],
        read=lambda low, high: [str(each) for each in text[low:high].values.astype(object)],
        modality="text",
        about={"language": texts.attrs["language"], **({"caption": caption} if caption else {})},
    )
