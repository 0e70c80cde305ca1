"""The analysis `roi.activation`: how much an encoder says that images drive the ROIs that they are of."""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_roi.guide import predict_activation, read_activations
from brainlens_roi.guide_params import ActivationParams
from brainlens_roi.sets import quoted


def score_activation(
    *,
    images: xr.Dataset,
    model: xr.Dataset,
    baseline: xr.Dataset | None,
    params: ActivationParams,
    context: brainlens.Context,
) -> xr.Dataset:
    """Score the activation that images of each ROI would evoke in it, by an encoder.

    An encoder always says that images drive an ROI which it guided itself. To be told something, ask one that was
    fitted to other trials, from other features (BrainDiVE, Luo et al. 2023, judges so, too).

    Parameters
    ----------
    images
        Images (image.v1), dims (roi, candidate, y, x, rgb), as `roi.guide` and `roi.paint` make them.
    model
        An encoder of one subject, fitted to a response with these ROIs.
    baseline
        Other images (image.v1) of the same ROIs, such as unguided ones, (roi, candidate, y, x, rgb), or None.
    params
        Embedder of the encoder's features, resamples; see `ActivationParams`.
    context
        Its seed draws bootstrap samples and permutations.

    Returns
    -------
    Dataset (score.v1)
        Dims (metric, roi), one metric, `activation`: `score`, the mean over images of the mean predicted response of
        the ROI's sites in SDs of the training trials, of a contrast the difference of two; `ci_low`, `ci_high`, 95 %,
        over images; `chance`, the same of the baseline's images, or, without one, of the images of the other ROIs;
        `n`, images. `gain`, score minus chance, with `gain_low` and `gain_high`, which count the images of both, and
        `p_value`, one-sided, of images exchanged between both. `activation` (roi, candidate): of each image.
        Uncertainty is that of the noise that images are painted from, not that of the encoder.

    Raises
    ------
    DimensionError
        If images are not of ROIs that the model has, the baseline is of others, there is one ROI and no baseline, or
        the embedder is of another space than the model.
    ParameterError
        If the model is no encoder.
    """
    encoder = context.encoder("model")
    rois = _check(images, "images")
    if baseline is not None and _check(baseline, "baseline") != rois:
        raise brainlens.DimensionError(
            f"baseline: expected images of the ROIs of 'images' in the same order, {brainlens.listed(rois)}, found "
            f"{brainlens.listed(baseline['roi'].values.tolist())}. Paint those."
        )
    if baseline is None and len(rois) == 1:
        raise brainlens.DimensionError(
            f"images: expected several ROIs, of which each is compared with the others, or a baseline, found "
            f"{rois[0]!r} alone. Give unguided images as baseline: roi.guide with scale=0."
        )
    known = {str(name) for name in encoder.frame["roi"].values} if "roi" in encoder.frame.coords else set()
    texts = tuple(quoted(roi) if roi in known else roi for roi in rois)
    weights = np.stack(list(read_activations(encoder.frame, texts).values()))
    values = _activations(images, weights, encoder, context)
    own = values[np.arange(len(rois)), np.arange(len(rois))]
    if baseline is None:
        others = [np.delete(values[row], row, axis=0).ravel() for row in range(len(rois))]
    else:
        others = list(_activations(baseline, weights, encoder, context)[np.arange(len(rois)), np.arange(len(rois))])
    score, chance = own.mean(axis=1), np.array([each.mean() for each in others])
    rng = context.rng(0)
    bounds = np.array([_bounds(*pair, params.n_resamples, rng) for pair in zip(own, others, strict=True)])
    dims = ("metric", "roi")
    variables = {
        "score": (dims, score[None]),
        "chance": (dims, chance[None]),
        "n": (dims, np.full((1, len(rois)), own.shape[1])),
        "ci_low": (dims, bounds[None, :, 0]),
        "ci_high": (dims, bounds[None, :, 1]),
        "gain": (dims, (score - chance)[None]),
        "gain_low": (dims, bounds[None, :, 2]),
        "gain_high": (dims, bounds[None, :, 3]),
        "activation": (("roi", "candidate"), own.astype(np.float32), {"units": "SD of training trials"}),
    }
    if params.n_permutations:
        p_values = [_p_value(*pair, params.n_permutations, rng) for pair in zip(own, others, strict=True)]
        variables["p_value"] = (dims, np.array(p_values)[None])
    attrs = {key: encoder.frame.attrs[key] for key in ("subject", "simulated") if key in encoder.frame.attrs}
    attrs |= {"schema": "score.v1", "embedder": params.embedder}
    attrs |= {"compared_with": "the baseline" if baseline is not None else "images of the other ROIs"}
    candidates = {"candidate": images["candidate"].variable} if "candidate" in images.coords else {}
    return xr.Dataset(variables, {"metric": ["activation"], "roi": rois, **candidates}, attrs)


def _check(images: xr.Dataset, name: str) -> list[str]:
    image = images["image"]
    if image.dims != ("roi", "candidate", "y", "x", "rgb"):
        raise brainlens.DimensionError(
            f"{name}: expected dims (roi, candidate, y, x, rgb), found {image.dims}. Paint them by roi.guide or "
            "roi.paint."
        )
    return [str(roi) for roi in images["roi"].values]


def _activations(
    images: xr.Dataset, weights: np.ndarray, encoder: brainlens.Encoder, context: brainlens.Context
) -> np.ndarray:
    """Return the activation of each ROI by the images of each, (roi, images' roi, candidate), float64."""
    found = []
    # One ROI at a time: embeddings may be large.
    for row in context.progress(range(images.sizes["roi"]), label="looking at images"):
        pixels = images["image"].isel(roi=row).values
        labels = {name: ("trial", np.arange(len(pixels))) for name in ("trial", "stimulus_id")}
        flat = xr.Dataset(
            {"image": (("trial", "y", "x", "rgb"), pixels)}, labels, {"schema": "image.v1", "model": "any"}
        )
        features = context.call("embedder", images=flat)
        found.append(predict_activation(weights.T, encoder, features).T)
    return np.stack(found, axis=1).astype(np.float64)


def _bounds(own: np.ndarray, other: np.ndarray, n_resamples: int, rng: np.random.Generator) -> list[float]:
    """Return 95 % bounds of the mean of own values, and of its difference from that of others."""
    mine, theirs = (each[rng.integers(len(each), size=(n_resamples, len(each)))].mean(axis=1) for each in (own, other))
    return [*np.quantile(mine, [0.025, 0.975]), *np.quantile(mine - theirs, [0.025, 0.975])]


def _p_value(own: np.ndarray, other: np.ndarray, n_permutations: int, rng: np.random.Generator) -> float:
    """Return the one-sided p-value of the difference of two means, values exchanged between both."""
    both = np.concatenate([own, other])
    orders = rng.permuted(np.tile(both, (n_permutations, 1)), axis=1)
    null = orders[:, : len(own)].mean(axis=1) - orders[:, len(own) :].mean(axis=1)
    return brainlens.permutation_p_value(float(own.mean() - other.mean()), null)
