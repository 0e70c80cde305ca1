"""The analysis `simulate.ceiling`: how often a decoder that knows the forward model identifies what was shown.

No decoder does better on average with the same trials and pools.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_simulate.ceiling_params import CeilingParams
from brainlens_simulate.identification import score_identification
from brainlens_simulate.showings import Showings, find_showings, rows_of

BLOCK_BYTES = 2**26


def ceiling(
    response: xr.Dataset, truth: xr.Dataset, *, params: CeilingParams, context: brainlens.Context
) -> xr.Dataset:
    """Identify trials by their likelihood under the forward model that made them.

    Parameters
    ----------
    response
        Single trials, dims (trial, voxel), in the unit of the forward model; not averaged, not standardised. May be
        lazy: trials are read in blocks.
    truth
        Its forward model, follows schema forward_model.v1, with at least these voxels and stimuli.
    params
        Which trials and voxels, and the pools.
    context
        Its seed decides the bootstrap samples.

    Returns
    -------
    Dataset following schema score.v1
        `image_top_<k>`: given all trials of a stimulus, the stimulus is among the k most likely of a pool.
        `brain_top_<k>`: given a stimulus, its trials are among the k of a pool that speak most for it, by
        log p(y | x) - log p(y) with p(y) the mean over all stimuli. Chance is k / n_gallery; n counts stimuli; ci_low
        and ci_high hold 95 %, over stimuli. A score is the mean over all pools of that size.

    Raises
    ------
    DimensionError
        If the two do not belong together: units, voxels, stimuli, or trials with drift; or noise that is 0.
    ParameterError
        If a k does not fit the pools.

    References
    ----------
    Maximum a posteriori identification with equal priors; the log-likelihoods of trials are summed, since with gain
    or heavy tails the mean over trials is not enough. Interval: Efron & Tibshirani (1993), chapter 13.
    """
    showings = find_showings(response, split=params.split, roi=params.roi, n_repetitions=params.n_repetitions)
    model = _same_voxels(showings, truth)
    scores = sum_log_likelihood(showings, model)
    about = {"subject": response.attrs["subject"], "decoder": "known forward model", "simulated": 1}
    return score_identification(
        scores, pool_size=params.pool_size, top_k=params.top_k, n_resamples=params.n_resamples, seed=context.seed,
        attrs={**about, "n_voxels": showings.trials.sizes["voxel"]},
    )  # fmt: skip


def sum_log_likelihood(showings: Showings, model: xr.Dataset) -> np.ndarray:
    """Return the log-likelihood of all trials of each stimulus under each stimulus.

    Parameters
    ----------
    showings
        Trials and what they show.
    model
        The forward model of the same voxels in the same order.

    Returns
    -------
    array
        Shape (n_stimuli, n_stimuli), float64, up to a constant of each row.
    """
    law = _law(model)
    rows = rows_of(model["stimulus"].values, showings.stimulus, what="stimulus", where="truth")
    shown = brainlens.prepare_stimuli(law, model["drive"].values[rows])
    drift = _drift_courses(showings, model)
    scores = np.zeros((len(rows), len(rows)))
    step = max(1, BLOCK_BYTES // (8 * max(len(rows), len(law.std))))
    for start in range(0, len(showings.code), step):
        block = slice(start, start + step)
        values = showings.trials["response"][block].values.astype(np.float64)
        if drift is not None:
            values -= drift[block] @ model["drift_map"].values
        np.add.at(scores, showings.code[block], brainlens.log_likelihood(values, shown, law))
    return scores


def _same_voxels(showings: Showings, truth: xr.Dataset) -> xr.Dataset:
    """Return the forward model of the voxels of the response."""
    response = showings.trials
    if "voxel" not in response["response"].dims:
        raise brainlens.DimensionError(
            f"response: expected a dim 'voxel', found {response['response'].dims!r}. Give the response that this "
            "forward model made."
        )
    if response.attrs["units"] != truth.attrs["units"]:
        raise brainlens.DimensionError(
            f"attrs/units: expected response and truth in one unit, found {response.attrs['units']!r} and "
            f"{truth.attrs['units']!r}. Give single trials as they were simulated."
        )
    return truth.isel(voxel=rows_of(truth["voxel"].values, response["voxel"].values, what="voxel", where="truth"))


def _law(model: xr.Dataset) -> brainlens.NoiseLaw:
    std = model["noise_std"].values
    silent = model["voxel"].values[~(std > 0)]
    if len(silent):
        raise brainlens.DimensionError(
            f"noise_std: expected noise of its own in every voxel, found none in {len(silent)}: "
            f"{brainlens.listed(silent)}. Leave these out, or simulate them with a little noise."
        )
    gain, tail = float(model.attrs["gain"]), float(model.attrs["tail"])
    return brainlens.noise_law(std, model["noise_map"].values, gain=gain, tail=tail)


def _drift_courses(showings: Showings, model: xr.Dataset) -> np.ndarray | None:
    """Return the size of each pattern of the drift in each trial; shape (n_trials, n_drifts), None without drift."""
    if "drift_course" not in model:
        return None
    if "trial" not in model.coords:
        raise brainlens.DimensionError(
            "truth: expected a coordinate 'trial' beside 'drift_course', found none. Assign it."
        )
    rows = rows_of(model["trial"].values, showings.trials["trial"].values, what="trial", where="truth")
    return np.asarray(model["drift_course"].values[rows])
