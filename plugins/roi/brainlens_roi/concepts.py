"""The analysis `roi.concepts`: what the images of each ROI show, by the text that is closest to them."""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_roi.params import ConceptParams


def score_concepts(
    *, images: xr.Dataset, concepts: xr.Dataset, params: ConceptParams, context: brainlens.Context
) -> xr.Dataset:
    """Score how much of each concept the images of each ROI show.

    Parameters
    ----------
    images
        Images (image.v1), dims (roi, candidate, y, x, rgb), as `roi.paint` makes them.
    concepts
        Embeddings (embedding.v1) of a text for each concept, dims (stimulus, channel), of the model of the embedder.
    params
        Embedder, control, temperature; see `ConceptParams`.
    context
        Its seed draws the bootstrap samples.

    Returns
    -------
    Dataset (score.v1)
        Dims (metric, roi), a metric for each concept: `score`, the mean over images of the share of the concept, a
        softmax of cosines over concepts; `ci_low` and `ci_high`, 95 %, over images, which differ by noise alone;
        `chance`, the share in the control ROI, or the mean over the other ROIs; `n`, images. `named` (metric, roi), the
        share of images whose closest text it is; `lift`, score minus chance, with `lift_low` and `lift_high`, which
        count the images of the control too. Nothing here is a p-value of the brain: it is one pattern of one decoder.

    Raises
    ------
    DimensionError
        If images are not of ROIs, texts of another model, or the control is no ROI.
    """
    image = images["image"]
    if image.dims != ("roi", "candidate", "y", "x", "rgb"):
        raise brainlens.DimensionError(
            f"images: expected dims (roi, candidate, y, x, rgb), found {image.dims}. Paint them by roi.paint."
        )
    rois = [str(name) for name in images["roi"].values]
    if params.control and params.control not in rois:
        near = brainlens.closest(params.control, rois)
        raise brainlens.DimensionError(f"control: expected an ROI of the images, found {params.control!r}. {near}")
    if concepts["embedding"].dims != ("stimulus", "channel"):
        raise brainlens.DimensionError(
            f"concepts: expected dims (stimulus, channel), found {concepts['embedding'].dims}. Embed a text for each."
        )
    shares = _shares(image, concepts, params, context)
    n_rois, n_images, n_concepts = shares.shape
    score = shares.mean(axis=1)
    named = (shares.argmax(axis=2)[..., None] == np.arange(n_concepts)).mean(axis=1)
    drawn = context.rng(0).integers(n_images, size=(params.n_resamples, n_rois, n_images))
    # Images are drawn in each ROI by itself.
    means = np.stack([shares[row][drawn[:, row]].mean(axis=1) for row in range(n_rois)], axis=1)
    chance, chances = (_compared(values, rois, params.control) for values in (score[None], means))
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    lift_low, lift_high = np.quantile(means - chances, [0.025, 0.975], axis=0)
    dims = ("metric", "roi")
    attrs = {key: images.attrs[key] for key in ("subject", "generator") if key in images.attrs}
    attrs |= {"schema": "score.v1", "embedder": params.embedder, "control": params.control or "mean of the others"}
    return xr.Dataset(
        {
            "score": (dims, score.T),
            "chance": (dims, chance[0].T),
            "n": (dims, np.full((n_concepts, n_rois), n_images)),
            "ci_low": (dims, low.T),
            "ci_high": (dims, high.T),
            "named": (dims, named.T),
            "lift": (dims, (score - chance[0]).T),
            "lift_low": (dims, lift_low.T),
            "lift_high": (dims, lift_high.T),
        },
        {"metric": [str(name) for name in concepts["stimulus"].values], "roi": rois},
        attrs,
    )


def _shares(image: xr.DataArray, concepts: xr.Dataset, params: ConceptParams, context: brainlens.Context) -> np.ndarray:
    """Return the share of each concept in each image, (roi, candidate, concept), float64."""
    pixels = image.values
    count = pixels.shape[0] * pixels.shape[1]
    labels = {name: ("trial", np.arange(count)) for name in ("trial", "stimulus_id")}
    flat = xr.Dataset(
        {"image": (("trial", "y", "x", "rgb"), pixels.reshape(count, *pixels.shape[2:]))},
        labels,
        {"schema": "image.v1", "model": "any"},
    )
    embedded = context.call("embedder", images=flat)
    if embedded.attrs["model"] != concepts.attrs["model"]:
        raise brainlens.DimensionError(
            f"concepts: expected texts embedded by the model of the images, {embedded.attrs['model']!r}, found "
            f"{concepts.attrs['model']!r}. Embed them by the same model."
        )
    found, wanted = (each["embedding"].values.astype(np.float64) for each in (embedded, concepts))
    found, wanted = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (found, wanted))
    logits = found @ wanted.T / params.temperature
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return shares.reshape(pixels.shape[0], pixels.shape[1], -1)


def _compared(values: np.ndarray, rois: list[str], control: str) -> np.ndarray:
    """Return what each ROI is compared with, (sample, roi, concept)."""
    if control:
        return np.broadcast_to(values[:, [rois.index(control)]], values.shape)
    if len(rois) == 1:
        return np.full_like(values, 1 / values.shape[2])
    return (values.sum(axis=1, keepdims=True) - values) / (len(rois) - 1)
