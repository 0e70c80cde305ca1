"""The analysis `evaluation.brain_correlation`: responses that an encoder predicts of images, against measured ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

import brainlens
from brainlens_evaluation.params import BrainParams

# Fewer sites have no pattern to speak of.
FEWEST_SITES = 3
_SITES = 1024


def correlate_brains(
    *, predicted: xr.Dataset, measured: xr.Dataset, params: BrainParams, context: brainlens.Context
) -> xr.Dataset:
    """Correlate the responses that an encoder predicts for reconstructions with the responses that were measured.

    Parameters
    ----------
    predicted
        Follows schema response.v1: `response` (trial, voxel) or (trial, vertex), with `stimulus_id`; predicted by an
        encoder from the reconstructed images.
    measured
        Follows schema response.v1: the same sites in the same order, and at least the same stimuli; repetitions are
        averaged. With `roi_mask` for ROIs, and a coordinate `ncsnr` of the sites for the ceiling.
    params
        ROI expressions.
    context
        Its seed decides samples and permutations.

    Returns
    -------
    Dataset following schema score.v1
        Dims (roi, metric): score; ci_low and ci_high, 95 %, over stimuli; chance; p_value, one-sided, by permuting
        which stimulus belongs to which; noise_ceiling, NaN where it is not known. Metrics: `brain_correlation`, over
        the sites of an ROI for each stimulus, then averaged over stimuli, with the mean over all wrong pairs as chance;
        `site_correlation`, over stimuli for each site, then averaged over sites, with chance 0. n (metric), the number
        of stimuli; n_sites and `undefined` (roi), sites whose prediction or measurement never varies, which count as 0;
        value (roi, stimulus), the brain correlation of each stimulus. ROIs that are not named and have fewer than three
        sites are left out, and listed in the attribute `left_out_rois`; `n_in_training` counts predictions for stimuli
        that the encoder was fitted to, where these say so.

    Raises
    ------
    DimensionError
        If sites differ, fewer than three stimuli are in both, stimuli of the predictions were not measured, or an ROI
        that is named has fewer than three sites.
    ParameterError
        If an ROI expression does not fit.

    References
    ----------
    Scotti et al. (2024), arXiv:2403.11207, correlate over the voxels of each image. Where sites have means of their own
    this is high for any image, see the chance beside it; `site_correlation` is not. Ceiling: Allen et al. (2022), Nat
    Neurosci 25:116, doi:10.1038/s41593-021-00962-x, here the mean over sites of the root of
    ncsnr^2 / (ncsnr^2 + mean of 1 / repetitions).

    Examples
    --------
    >>> values = np.random.default_rng(0).standard_normal((5, 8))
    >>> labels = {"trial": range(5), "stimulus_id": ("trial", list("abcde")), "voxel": range(8)}
    >>> response = xr.Dataset({"response": (("trial", "voxel"), values)}, labels)
    >>> given = {"predicted": response, "measured": response}
    >>> scores = correlate_brains(**given, params=BrainParams(), context=brainlens.Context())
    >>> scores["score"].sel(roi="all").values.round(6)
    array([1., 1.])
    """
    site = _same_sites(predicted, measured)
    stimuli = _shared_stimuli(predicted, measured)
    ours, theirs = (_averaged(each, stimuli) for each in (predicted, measured))
    repetitions = theirs["n_repetitions"].values
    drawn = context.rng(0).multinomial(len(stimuli), np.full(len(stimuli), 1 / len(stimuli)), params.n_resamples)
    orders = context.rng(1).permuted(np.tile(np.arange(len(stimuli)), (params.n_permutations, 1)), axis=1)
    rois, left_out = _sites_of_rois(measured, site, params.rois)
    rows: dict[str, list[Any]] = {}
    for name, labels in context.progress(rois.items(), label="ROIs"):
        part = theirs.sel({site: labels})
        x, y = (np.asarray(each["response"].sel({site: labels}).values, np.float64) for each in (ours, theirs))
        row = _score(x, y, drawn, orders)
        ceiling = _ceiling(part["ncsnr"].values, repetitions) if "ncsnr" in part.coords else np.nan
        for key, value in {**row, "noise_ceiling": [np.nan, ceiling], "n_sites": x.shape[1]}.items():
            rows.setdefault(key, []).append(value)
        if row["undefined"]:
            context.log.warning(
                "evaluation.brain_correlation: %d of %d sites of %s never vary, in what was predicted or in what was "
                "measured; they count as 0 in site_correlation.",
                row["undefined"], x.shape[1], name,
            )  # fmt: skip
    dims = {"value": ("roi", "stimulus"), "n_sites": ("roi",), "undefined": ("roi",)}
    attrs = {key: measured.attrs[key] for key in ("subject", "units") if key in measured.attrs}
    attrs |= _count_training(predicted, context)
    return xr.Dataset(
        {
            **{key: (dims.get(key, ("roi", "metric")), np.array(values)) for key, values in rows.items()},
            "n": ("metric", np.full(2, len(stimuli))),
        },
        {
            "roi": list(rois),
            "metric": ["brain_correlation", "site_correlation"],
            "better": ("metric", ["higher", "higher"]),
            "chance_from": ("metric", ["wrong pairs", "definition"]),
            "stimulus": stimuli,
        },
        {**attrs, "schema": "score.v1", "left_out_rois": left_out},
    )


def _count_training(predicted: xr.Dataset, context: brainlens.Context) -> dict[str, int]:
    """Count predictions for stimuli that their encoder was fitted to, and say so."""
    if "in_training" not in predicted.coords:
        return {}
    n_inside = int(predicted["in_training"].values.sum())
    if n_inside:
        context.log.warning(
            "evaluation.brain_correlation: %d of %d predictions are for stimuli that the encoder was fitted to; their "
            "scores are too good.",
            n_inside, predicted.sizes["trial"],
        )  # fmt: skip
    return {"n_in_training": n_inside}


def _score(x: np.ndarray, y: np.ndarray, drawn: np.ndarray, orders: np.ndarray) -> dict[str, Any]:
    """Score predictions (stimulus, site) of measurements; metrics in the order over sites, over stimuli."""
    n_stimuli = len(x)
    over_sites = _unit(x, 1) @ _unit(y, 1).T  # (predicted stimulus, measured stimulus)
    unit_x, unit_y = _unit(x, 0), _unit(y, 0)
    over_stimuli = unit_x @ unit_y.T / x.shape[1]
    value, per_site = np.diag(over_sites), (unit_x * unit_y).sum(axis=0)
    wrong = (over_sites.sum() - value.sum()) / (n_stimuli * (n_stimuli - 1))
    p_values = [
        brainlens.permutation_p_value(
            round(float(np.trace(matrix)), 9), np.round(matrix[np.arange(n_stimuli), orders].sum(axis=1), 9)
        )
        for matrix in (over_sites, over_stimuli)
    ]
    bounds = [
        np.quantile(values, [0.025, 0.975]) for values in (drawn @ value / n_stimuli, _resampled_sites(x, y, drawn))
    ]
    return {
        "score": [value.mean(), per_site.mean()],
        "chance": [wrong, 0.0],
        "p_value": p_values,
        "ci_low": [low for low, _ in bounds],
        "ci_high": [high for _, high in bounds],
        "value": value,
        "undefined": int((~unit_x.any(axis=0) | ~unit_y.any(axis=0)).sum()),
    }


def _resampled_sites(x: np.ndarray, y: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return the mean correlation over stimuli when each counts as often as it was drawn; shape (n_samples,)."""
    total, n_stimuli = np.zeros(len(drawn)), len(x)
    times = drawn / n_stimuli
    for start in range(0, x.shape[1], _SITES):
        a, b = (_unit(each[:, start : start + _SITES], 0) for each in (x, y))
        mean_a, mean_b = times @ a, times @ b
        variance = (times @ a**2 - mean_a**2) * (times @ b**2 - mean_b**2)
        covariance = times @ (a * b) - mean_a * mean_b
        # Rows of length 1 have variances of 1 / n: what is far below is a constant, rounded.
        varies = variance > (1e-12 / n_stimuli) ** 2
        total += np.where(varies, covariance / np.sqrt(np.where(varies, variance, 1)), 0).sum(axis=1)
    return total / x.shape[1]


def _unit(values: np.ndarray, axis: int) -> np.ndarray:
    """Take the mean along an axis off, and scale to length 1; zeros where nothing varies."""
    constant = values.max(axis=axis, keepdims=True) == values.min(axis=axis, keepdims=True)
    centred = np.where(constant, 0.0, values - values.mean(axis=axis, keepdims=True))
    return np.asarray(centred / np.where(constant, 1.0, np.linalg.norm(centred, axis=axis, keepdims=True)))


def _ceiling(ncsnr: np.ndarray, repetitions: np.ndarray) -> float:
    """Return the mean over sites of the correlation that a perfect prediction has with the mean of so many trials."""
    squared = np.asarray(ncsnr, np.float64) ** 2
    return float(np.sqrt(squared / (squared + (1 / repetitions).mean())).mean())


def _same_sites(predicted: xr.Dataset, measured: xr.Dataset) -> str:
    """Return the dim of the sites, which both share."""
    site = str(measured["response"].dims[1])
    if predicted["response"].dims[1] != site or not np.array_equal(predicted[site].values, measured[site].values):
        raise brainlens.DimensionError(
            f"predicted: expected the {measured.sizes[site]} labels of {site!r} that measured has, in their order, "
            f"found {predicted['response'].shape[1]} of {str(predicted['response'].dims[1])!r}, other ones or in "
            "another order. Predict with an encoder that was fitted to these responses."
        )
    return site


def _shared_stimuli(predicted: xr.Dataset, measured: xr.Dataset) -> np.ndarray:
    """Return the stimuli of the predictions, all of which were measured."""
    for name, each in (("predicted", predicted), ("measured", measured)):
        if "stimulus_id" not in each.coords:
            raise brainlens.DimensionError(
                f"{name}: expected a coordinate 'stimulus_id' of trials, found none. Add it."
            )
    stimuli = np.unique(predicted["stimulus_id"].values)
    known = set(measured["stimulus_id"].values.tolist())
    missing = [label for label in stimuli.tolist() if label not in known]
    if missing:
        raise brainlens.DimensionError(
            f"measured: expected responses to every stimulus of the predictions, found {len(missing)} of "
            f"{len(stimuli)} missing: {brainlens.listed(missing)}. Give the responses to the stimuli that were "
            "reconstructed."
        )
    if len(stimuli) < 3:
        raise brainlens.DimensionError(
            f"predicted: expected at least 3 stimuli, found {len(stimuli)}. Fewer have no correlation to speak of."
        )
    return stimuli


def _averaged(response: xr.Dataset, stimuli: np.ndarray) -> xr.Dataset:
    """Average the trials of each stimulus, and bring them into the order of the stimuli."""
    kept = response.isel(trial=np.flatnonzero(np.isin(response["stimulus_id"].values, stimuli)))
    averaged = brainlens.average_trials(kept, by="stimulus_id")
    return averaged.isel(trial=np.argsort(averaged["stimulus_id"].values))


def _sites_of_rois(measured: xr.Dataset, site: str, wanted: tuple[str, ...]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the labels of the sites of each ROI, and ROIs that are too small and were not asked for."""
    sizes = brainlens.list_rois(measured)
    left_out = [] if wanted else [name for name, size in sizes.items() if size < FEWEST_SITES]
    names = wanted or tuple(name for name in sizes if name not in left_out)
    found = {name: brainlens.select_roi(measured, _quoted(name, wanted))[site].values for name in names}
    if not wanted and "all" not in found:
        found["all"] = measured[site].values
    small = [name for name, labels in found.items() if len(labels) < FEWEST_SITES]
    if small:
        raise brainlens.DimensionError(
            f"rois: expected at least {FEWEST_SITES} sites, found {len(found[small[0]])} in {small[0]!r}. Leave it "
            "out, or join it with another."
        )
    return found, left_out


def _quoted(name: str, wanted: tuple[str, ...]) -> str:
    """Return an ROI that is not an expression of the user's as one, whatever its name holds."""
    if wanted:
        return name
    return f'"{name}"' if "'" in name else f"'{name}'"
