"""What is scored: the reconstructions, and the floors that a score has to be read against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr

import brainlens
from brainlens_evaluation.resize import to_tensor

# Side at which the nearest training image is looked for: what is where, without detail.
NEAREST_SIDE = 32
_BLOCK = 256


@dataclass(frozen=True, kw_only=True)
class Source:
    """Images of one origin, and which of them belongs to each trial.

    Parameters
    ----------
    name
        In the scores.
    pixels
        (image, y, x, rgb) or (image, y, x), uint8; may be lazy.
    rows
        Which image belongs to each trial; shape (n_trials,).
    """

    name: str
    pixels: xr.DataArray
    rows: np.ndarray


def read(pixels: xr.DataArray, rows: np.ndarray) -> np.ndarray:
    """Read images by row; a row that is asked for several times is read once, in stored order."""
    wanted, inverse = np.unique(rows, return_inverse=True)
    images: np.ndarray = np.asarray(pixels[wanted].values)
    return images[inverse]


def choose_candidate(images: xr.Dataset, candidate: int, *, name: str) -> xr.DataArray:
    """Return images of trials, one for each.

    Parameters
    ----------
    images
        Follows schema image.v1.
    candidate
        Which one of several, from 0; -1 where there are none.
    name
        Of the input, for messages.

    Raises
    ------
    DimensionError
        If they are not of trials, or there are no such candidates.
    ParameterError
        If a candidate has to be chosen, or is chosen where there are none.
    """
    pixels = images["image"]
    if pixels.dims[0] != "trial":
        raise brainlens.DimensionError(
            f"{name}: expected images of trials, found dims ({', '.join(map(str, pixels.dims))}). Images of ROIs show "
            "no stimulus that they could be compared with."
        )
    if "candidate" not in pixels.dims:
        if candidate >= 0:
            raise brainlens.ParameterError(
                f"candidate: expected -1, as {name} has one image for each trial, found {candidate}. Leave it out."
            )
        return pixels
    n_candidates = pixels.sizes["candidate"]
    if not 0 <= candidate < n_candidates:
        raise brainlens.ParameterError(
            f"candidate: expected a number from 0 to {n_candidates - 1}, as {name} has {n_candidates} for each trial, "
            f"found {candidate}. Choose one; choosing the best by what was seen would be cheating."
        )
    return pixels.isel(candidate=candidate, drop=True)


def refuse_other_colours(named: Sequence[tuple[str, xr.DataArray]]) -> None:
    """Refuse grey images beside ones in colour.

    Raises
    ------
    DimensionError
        Naming the inputs.
    """
    colours = {name: "colour" if "rgb" in pixels.dims else "grey" for name, pixels in named}
    if len(set(colours.values())) > 1:
        found = ", ".join(f"{name} in {colour}" for name, colour in colours.items())
        raise brainlens.DimensionError(
            f"images: expected all in colour or all grey, found {found}. Convert one side, and say so."
        )


def rows_of_stimuli(seen: xr.Dataset, stimuli: np.ndarray) -> np.ndarray:
    """Return the rows of some stimuli.

    Raises
    ------
    DimensionError
        If a stimulus has no image.
    """
    position = {label: row for row, label in enumerate(seen["stimulus"].values.tolist())}
    missing = [label for label in stimuli.tolist() if label not in position]
    if len(missing) == len(stimuli):
        raise brainlens.DimensionError(
            f"seen: expected the stimuli of the trials, such as {stimuli.tolist()[0]!r}, found none of them, but such "
            f"as {next(iter(position), None)!r}. Give the images that were shown, under the same identifiers."
        )
    if missing:
        raise brainlens.DimensionError(
            f"seen: expected the image of every stimulus of the trials, found {len(missing)} of {len(stimuli)} "
            f"missing: {brainlens.listed(missing)}. Give all images that were shown, or leave those trials out."
        )
    return np.array([position[label] for label in stimuli.tolist()])


def rows_of_trials(floor: xr.Dataset, reconstructed: xr.Dataset, name: str) -> np.ndarray:
    """Return the row of each trial in images that were made of the same trials.

    Raises
    ------
    DimensionError
        If a trial is missing, or shows another stimulus.
    """
    position = {label: row for row, label in enumerate(floor["trial"].values.tolist())}
    trials = reconstructed["trial"].values
    missing = [label for label in trials.tolist() if label not in position]
    if missing:
        raise brainlens.DimensionError(
            f"floors, {name}: expected an image of every trial, found {len(missing)} of {len(trials)} missing: "
            f"{brainlens.listed(missing)}. Make them for the same trials."
        )
    rows = np.array([position[label] for label in trials.tolist()])
    differ = np.flatnonzero(floor["stimulus_id"].values[rows] != reconstructed["stimulus_id"].values)
    if differ.size:
        raise brainlens.DimensionError(
            f"floors, {name}: expected trials of the same stimuli, found {differ.size} of others, first trial "
            f"{trials[differ[0]]!r}. Make them for the same trials."
        )
    return rows


def training_rows(training: xr.Dataset, shown: np.ndarray) -> np.ndarray:
    """Return the rows of training images that no scored trial shows.

    Raises
    ------
    DimensionError
        If none is left.
    """
    labels, tested = training["stimulus"].values.tolist(), set(shown.tolist())
    rows = np.array([row for row, label in enumerate(labels) if label not in tested], dtype=np.int64)
    if not rows.size:
        raise brainlens.DimensionError(
            f"training: expected images that no scored trial shows, found {len(labels)} and all of them shown. Give "
            "the images that the decoder was fitted on."
        )
    return rows


def mean_image(pixels: xr.DataArray, rows: np.ndarray, n_trials: int) -> Source:
    """Return the mean of training images, the same for every trial, rounded to whole values."""
    total, shape = np.float64(0), pixels.shape[1:]
    for block in _blocks(rows):
        total = total + read(pixels, block).sum(axis=0, dtype=np.float64)
    mean = np.rint(total / len(rows)).astype(np.uint8).reshape(1, *shape)
    return Source(name="mean_image", pixels=xr.DataArray(mean, dims=pixels.dims), rows=np.zeros(n_trials, np.int64))


def nearest_training(pixels: xr.DataArray, rows: np.ndarray, made: Source, context: brainlens.Context) -> Source:
    """Return for each trial the training image that is most like its reconstruction.

    Nearest is which correlates best over the pixels at 32 x 32. The stimulus that was seen takes no part in the
    choice, so this is what a system would score that only knew its training images.

    Parameters
    ----------
    pixels
        Training images.
    rows
        Which of them are used.
    made
        The reconstructions.
    context
        Device and progress.
    """
    wanted, inverse = np.unique(made.rows, return_inverse=True)
    ours = torch.cat([_thumbnails(read(made.pixels, block), context.device) for block in _blocks(wanted)])
    best = torch.full((len(ours),), -torch.inf, device=ours.device)
    nearest = torch.zeros(len(ours), dtype=torch.int64, device=ours.device)
    for block in context.progress(list(_blocks(rows)), label="nearest training image"):
        similarity = ours @ _thumbnails(read(pixels, block), context.device).T
        value, column = similarity.max(dim=1)
        is_better = value > best
        best = torch.where(is_better, value, best)
        nearest = torch.where(is_better, torch.from_numpy(block).to(column.device)[column], nearest)
    return Source(name="nearest_training", pixels=pixels, rows=nearest.cpu().numpy()[inverse])


def _thumbnails(images: np.ndarray, device: str) -> torch.Tensor:
    """Return small images without their mean and of length 1; zeros for one colour only."""
    tensor = to_tensor(images, device)
    size = (NEAREST_SIDE, NEAREST_SIDE)
    small = F.interpolate(tensor, size=size, mode="bilinear", align_corners=False, antialias=True)
    flat = small.flatten(1)
    flat = flat - flat.mean(dim=1, keepdim=True)
    return F.normalize(flat, dim=1)


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), _BLOCK):
        yield rows[start : start + _BLOCK]
