"""The analysis `roi.paint`: images of each ROI, from what was decoded from its pattern."""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_roi.params import PaintParams

_NOISE_STREAM = 11


def paint(
    *, decoded: xr.Dataset, target: xr.Dataset | None, params: PaintParams, context: brainlens.Context
) -> xr.Dataset:
    """Paint several images from the embedding of each ROI.

    Parameters
    ----------
    decoded
        Embeddings (embedding.v1), dims (roi, channel) or (roi, token, channel), with a dim variant before these where
        the decoder gave several.
    target
        Embeddings (embedding.v1) of stimuli, (stimulus, ...), that the decoder learnt from, or None. Where given, what
        was decoded is moved to their mean distance from the mean, since one active ROI moves a decoder little; a
        decoder that emits `target_mean` says what the mean is.
    params
        Generator, how many images, and perhaps a fixed `length` in place of that distance, for which the mean has to be
        known, but no target; see `PaintParams`.
    context
        Its seed and the number of the image decide the noise: the same for every ROI, so that ROIs differ by their
        embeddings alone.

    Returns
    -------
    Dataset (image.v1)
        `image` (roi, candidate, y, x, rgb), uint8; `noise_seed` (candidate).

    Raises
    ------
    ParameterError
        If a variant has to be chosen, or the generator is told what this analysis decides.
    DimensionError
        If there are no ROIs, the target is no embeddings like those decoded, or a `length` is asked for and nothing
        says what the mean is.
    PluginError
        If the generator fails, or does not paint by the seeds that it is given.

    References
    ----------
    Ozcelik & VanRullen (2023), whose released code takes the intercept off, divides the whole embedding by its
    Euclidean length, multiplies by 15 (images) or 9 (texts), and puts the intercept back: `length`. Differs: the mean
    of the training targets stands for the intercept, which is what a ridge predicts where all sites are at their mean.
    """
    for name in ("variant", "n_candidates"):
        if name in params.generator_params:
            raise brainlens.ParameterError(
                f"generator_params: expected no {name!r}, found {params.generator_params[name]!r}: the analysis "
                "decides it. Set 'variant' or 'n_images' beside generator_params."
            )
    decoded = brainlens.choose_variant(decoded, params.variant, name="decoded")
    embedding = decoded["embedding"]
    if embedding.dims[0] != "roi":
        raise brainlens.DimensionError(
            f"decoded: expected embeddings of ROIs, dims (roi, ...), found {embedding.dims}. Predict from patterns "
            "that roi.patterns made."
        )
    values = _stretch(decoded, target, params.length)
    rng = context.rng(_NOISE_STREAM, 0)
    seeds = rng.integers(2**62, size=params.n_images)
    rois = decoded["roi"].values.tolist()
    axes = {name: coord.variable for name, coord in embedding.coords.items() if "roi" not in coord.dims and coord.ndim}
    parts = []
    for row in context.progress(range(len(rois)), label="painting ROIs"):
        # Every image is a trial of its own to the generator, which so needs to know nothing of ROIs.
        trials = xr.Dataset(
            {"embedding": (("trial", *embedding.dims[1:]), np.repeat(values[[row]], len(seeds), axis=0))},
            {
                **axes,
                "trial": np.arange(len(seeds)),
                "stimulus_id": ("trial", np.full(len(seeds), str(rois[row]), dtype=object)),
                "noise_seed": ("trial", seeds),
            },
            {"schema": "embedding.v1", "model": decoded.attrs["model"]},
        )
        made = context.call("generator", embedding=trials)
        if "noise_seed" not in made or not np.array_equal(made["noise_seed"].values, seeds):
            raise brainlens.PluginError(
                "generator: expected one that paints by the coordinate 'noise_seed' of its embeddings and returns it, "
                f"found {'other seeds' if 'noise_seed' in made else 'none'}. Choose one that does, such as "
                "'mini.generate'."
            )
        parts.append(made["image"].values)
    attrs = {key: decoded.attrs[key] for key in ("subject",) if key in decoded.attrs}
    attrs |= {"schema": "image.v1", "model": str(made.attrs["model"]), "generator": params.generator}
    return xr.Dataset(
        {
            "image": (("roi", "candidate", "y", "x", "rgb"), np.stack(parts)),
            "noise_seed": ("candidate", seeds),
        },
        {"roi": rois, "candidate": np.arange(len(seeds))},
        attrs,
    )


def _stretch(decoded: xr.Dataset, target: xr.Dataset | None, length: float | None) -> np.ndarray:
    """Return what was decoded, moved away from the mean as far as stimuli lie on average, or to a fixed length."""
    embedding = decoded["embedding"]
    if target is not None:
        true = target["embedding"]
        if true.dims != ("stimulus", *embedding.dims[1:]) or true.shape[1:] != embedding.shape[1:]:
            raise brainlens.DimensionError(
                f"target: expected embeddings of stimuli like those decoded, (stimulus, ...) of {embedding.shape[1:]}, "
                f"found {dict(true.sizes)}. Give what the decoder was fitted to."
            )
    elif length is None:
        return np.asarray(embedding.values)
    elif "target_mean" not in decoded:
        raise brainlens.DimensionError(
            "decoded: expected 'target_mean', from which a length is counted, found none. Give the embeddings that the "
            "decoder was fitted to as 'target'."
        )
    mean = decoded["target_mean"].values if "target_mean" in decoded else true.values.mean(axis=0, dtype=np.float64)
    others = tuple(range(1, embedding.ndim))
    if length is None:
        length = np.sqrt(((true.values - mean) ** 2).sum(axis=others, dtype=np.float64)).mean()
    moved = embedding.values - mean
    found = np.sqrt((moved**2).sum(axis=others, keepdims=True, dtype=np.float64))
    stretched: np.ndarray = (mean + moved * length / np.maximum(found, 1e-12)).astype(np.float32)
    return stretched
