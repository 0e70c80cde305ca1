"""What was found, as pictures: the stimulus that was seen, and the best candidates, trial by trial."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

import brainlens
from brainlens_retrieval.columns import true_columns
from brainlens_retrieval.params import PictureParams, SheetParams


def draw_hits(
    ranking: xr.Dataset,
    stimuli: xr.Dataset,
    *,
    made: xr.Dataset | None = None,
    params: PictureParams,
    context: brainlens.Context,
) -> xr.Dataset:
    """Put the stimulus of each trial beside its best candidates.

    Parameters
    ----------
    ranking
        Follows schema ranking.v1.
    stimuli
        `image` (stimulus, y, x, rgb) or (stimulus, y, x), uint8, of at least the true and the best candidates.
    made
        `image` (trial, ...) of the same trials, such as what a generator painted from the same embedding, of the same
        size; the first candidate where there are several.
    params
        How many trials and hits.
    context
        Not used.

    Returns
    -------
    Dataset following schema image.v1
        `image` (trial, candidate, y, x, rgb), uint8, where `candidate` names "seen", "made" and "hit 1" and so on;
        `candidate_stimulus` (trial, candidate), whose picture it is, as text, "" for what was made; `found` (trial),
        the rank of the true stimulus.

    Raises
    ------
    DimensionError
        If a stimulus has no image, sizes differ, or `made` lacks a trial.

    Examples
    --------
    >>> variables = {"similarity": (("trial", "stimulus"), np.eye(3)), "rank": ("trial", np.ones(3, int))}
    >>> labels = {"stimulus": list("abc"), "stimulus_id": ("trial", list("abc")), "trial": range(3)}
    >>> ranking = xr.Dataset(variables, labels, {"metric": "cosine"})
    >>> images = np.zeros((3, 4, 4, 3), np.uint8)
    >>> stimuli = xr.Dataset({"image": (("stimulus", "y", "x", "rgb"), images)}, {"stimulus": list("abc")})
    >>> drawn = draw_hits(ranking, stimuli, params=PictureParams(n_hits=2), context=brainlens.Context())
    >>> drawn["candidate_stimulus"].values[0].tolist()
    ['a', 'a', 'b']
    """
    part = ranking.isel(trial=slice(params.n_trials))
    n_hits = min(params.n_hits, part.sizes["stimulus"])
    best = np.argsort(-part["similarity"].values, axis=1, kind="stable")[:, :n_hits]
    columns = np.concatenate([true_columns(part)[:, None], best], axis=1)
    labels = part["stimulus"].values[columns]
    pixels = _images_of(stimuli, labels)
    names = ["seen", *(f"hit {number + 1}" for number in range(n_hits))]
    shown = labels.astype(str)
    if made is not None:
        pixels = np.insert(pixels, 1, _made_of(made, part["trial"].values, pixels.shape[2:]), axis=1)
        names.insert(1, "made")
        shown = np.insert(shown, 1, "", axis=1)
    dims = ("trial", "candidate", "y", "x", "rgb")[: pixels.ndim]
    kept = {str(name): coord.variable for name, coord in part.coords.items() if coord.dims == ("trial",)}
    attrs = {key: part.attrs[key] for key in ("model", "subject") if key in part.attrs}
    return xr.Dataset(
        {
            "image": (dims, pixels),
            "candidate_stimulus": (("trial", "candidate"), shown),
            "found": ("trial", part["rank"].values),
        },
        {**kept, "candidate": names},
        {**attrs, "schema": "image.v1", "similarity": part.attrs["metric"]},
    )


def write_sheet(dataset: xr.Dataset, target: Path, *, params: SheetParams, context: brainlens.Context) -> None:
    """Write images as a contact sheet, labelled: as many of them as are asked for, and no more in memory.

    Parameters
    ----------
    dataset
        `image` (..., y, x, rgb) or (..., y, x), uint8. A column for each trial, by its stimulus, or stimulus, and a row
        for each candidate; of ROIs and others, a row for each, and columns for the last dim.
    target
        A `.png` file.
    params
        Where the sheet is wrapped, how many images it has, and how large they are.
    context
        Its log is told how many images are left out.

    Raises
    ------
    DimensionError
        If there are no images, or `first` is behind the last.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> image = ("roi", "candidate", "y", "x"), np.zeros((3, 2, 8, 8), np.uint8)
    >>> painted = xr.Dataset({"image": image}, {"roi": ["V1", "FFA", "PPA"]})
    >>> with TemporaryDirectory() as folder:
    ...     target = Path(folder, "painted.png")
    ...     write_sheet(painted, target, params=SheetParams(n_columns=2), context=brainlens.Context())
    ...     target.read_bytes()[1:4]
    b'PNG'
    """
    content, left_out = brainlens.image_sheet(
        dataset,
        n_columns=params.n_columns,
        max_images=params.max_images,
        first=params.first,
        max_side=params.max_side,
    )
    if left_out:
        context.log.warning("retrieval.sheet: %s Go on with 'first', or raise 'max_images'.", left_out)
    target.write_bytes(content)


def _images_of(stimuli: xr.Dataset, labels: np.ndarray) -> np.ndarray:
    """Return the images of labels, reading each once; shape (*labels.shape, y, x, ...)."""
    wanted, code = np.unique(labels, return_inverse=True)
    position = {label: row for row, label in enumerate(stimuli["stimulus"].values.tolist())}
    missing = [label for label in wanted.tolist() if label not in position]
    if missing:
        raise brainlens.DimensionError(
            f"stimuli: expected the image of every stimulus that was seen or found, found {len(missing)} of "
            f"{len(wanted)} missing: {brainlens.listed(missing)}. Give the images that the gallery was made from."
        )
    images = stimuli["image"].isel(stimulus=[position[label] for label in wanted.tolist()]).values
    return np.asarray(images[code.reshape(labels.shape)])


def _made_of(made: xr.Dataset, trials: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    image = made["image"].isel(candidate=0) if "candidate" in made["image"].dims else made["image"]
    position = {label: row for row, label in enumerate(made["trial"].values.tolist())}
    missing = [label for label in trials.tolist() if label not in position]
    if missing:
        raise brainlens.DimensionError(
            f"made: expected an image of every trial, found {len(missing)} of {len(trials)} missing: "
            f"{brainlens.listed(missing)}. Give what was made from the embeddings that were ranked."
        )
    if image.shape[1:] != shape:
        raise brainlens.DimensionError(
            f"made: expected images of {shape[0]} x {shape[1]} like the stimuli, found "
            f"{' x '.join(map(str, image.shape[1:3]))}. Bring both to one size."
        )
    return np.asarray(image.isel(trial=[position[label] for label in trials.tolist()]).values)
