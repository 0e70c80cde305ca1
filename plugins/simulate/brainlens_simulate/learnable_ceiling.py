"""The analysis `simulate.learnable_ceiling`: identification by an encoder that is given the true features.

Between it and `simulate.ceiling` lies what more training trials could bring; below it, what a better decoder could.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_simulate.ceiling_params import LearnableCeilingParams
from brainlens_simulate.identification import score_identification
from brainlens_simulate.showings import find_showings, rows_of


def learnable_ceiling(
    response: xr.Dataset, features: xr.Dataset, *, params: LearnableCeilingParams, context: brainlens.Context
) -> xr.Dataset:
    """Fit responses by features on the split `train`, and identify the trials of another by likelihood.

    Parameters
    ----------
    response
        Dims (trial, voxel) or (trial, vertex), any unit, with `split` (trial).
    features
        `embedding` of dims (stimulus, channel), such as the true latents, or any embedding: then this is an encoder
        with likelihood matching, a rival for decoders.
    params
        Which trials and sites, the pools, and whether products of features are fitted too.
    context
        Its seed decides the bootstrap samples.

    Returns
    -------
    Dataset following schema score.v1
        The metrics of `simulate.ceiling`.

    Raises
    ------
    DimensionError
        If there is no split, a stimulus has no features, there are fewer than three to train on, or a site does not
        vary over them.
    ParameterError
        If a k does not fit the pools.

    References
    ----------
    Kay et al. (2008), doi:10.1038/nature06713: identification by an encoding model. Differs: ridge whose penalty each
    site chooses by exact leave-one-out, and Mahalanobis distance with the covariance of left-out residuals, shrunk by
    Ledoit & Wolf (2004), doi:10.1016/S0047-259X(03)00096-4, in place of correlation.
    """
    known = find_showings(response, split="train", roi=params.roi)
    tested = find_showings(response, split=params.split, roi=params.roi, n_repetitions=params.n_repetitions)
    train, test = (_features(features, each.stimulus, degree=params.degree) for each in (known, tested))
    targets = known.means()
    _check_sites(targets, known.trials)
    model = brainlens.fit_ridge(train, targets)
    # The noise of a mean is that of as many trials as there are in the test.
    noisy = find_showings(response, split="train", roi=params.roi, n_repetitions=params.n_repetitions).means()
    residuals = noisy - model.left_out
    law = brainlens.noise_law(*brainlens.shrink_covariance(residuals - residuals.mean(axis=0)))
    scores = brainlens.log_likelihood(tested.means(), brainlens.prepare_stimuli(law, model.predict(test)), law)
    attrs = {key: response.attrs[key] for key in ("simulated", "subject") if key in response.attrs}
    return score_identification(
        scores, pool_size=params.pool_size, top_k=params.top_k, n_resamples=params.n_resamples, seed=context.seed,
        attrs={**attrs, "decoder": "fitted encoder", "features": features.attrs["model"], "n_voxels": targets.shape[1]},
    )  # fmt: skip


def with_products(features: np.ndarray) -> np.ndarray:
    """Append squares and products of two features; shape (n, n_features) to (n, n_features (n_features + 3) / 2).

    Examples
    --------
    >>> with_products(np.array([[2.0, 3.0]]))
    array([[2., 3., 4., 6., 9.]])
    """
    first, second = np.triu_indices(features.shape[1])
    return np.concatenate([features, features[:, first] * features[:, second]], axis=1)


def _features(features: xr.Dataset, stimulus: np.ndarray, *, degree: int) -> np.ndarray:
    if features["embedding"].dims != ("stimulus", "channel"):
        raise brainlens.DimensionError(
            f"features: expected dims (stimulus, channel), found ({', '.join(map(str, features['embedding'].dims))}). "
            "Give one row of features for each stimulus."
        )
    rows = rows_of(features["stimulus"].values, stimulus, what="stimulus", where="features")
    values = features["embedding"].values[rows].astype(np.float64)
    return with_products(values) if degree == 2 else values


def _check_sites(targets: np.ndarray, trials: xr.Dataset) -> None:
    if len(targets) < 3:
        raise brainlens.DimensionError(
            f"response: expected at least 3 stimuli in the split 'train', found {len(targets)}. Give more."
        )
    constant = np.flatnonzero(np.ptp(targets, axis=0) == 0)
    if len(constant):
        site = str(trials["response"].dims[1])
        raise brainlens.DimensionError(
            f"response: expected every {site} to vary over the split 'train', found one value only in "
            f"{len(constant)}: {brainlens.listed(trials[site].values[constant])}. Leave these out by an ROI."
        )
