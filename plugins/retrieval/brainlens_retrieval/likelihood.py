"""Rank candidates by the likelihood of the response itself, under an encoder from embeddings to responses.

The encoder and the covariance of what it leaves unexplained come from training trials. No decoder takes part.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

import brainlens
from brainlens_retrieval.columns import refuse_other_dims
from brainlens_retrieval.params import LikelihoodParams

# Rectified directions start to answer this far from the mean, in SD, on average.
_THRESHOLD_SD = 0.7
Features = Callable[[np.ndarray], np.ndarray]


def rank_by_likelihood(
    response: xr.Dataset,
    target: xr.Dataset,
    gallery: xr.Dataset,
    *,
    params: LikelihoodParams,
    context: brainlens.Context,
) -> xr.Dataset:
    """Ask of every test stimulus under which candidate its mean response is likeliest.

    Parameters
    ----------
    response
        `response` (trial, voxel) or (trial, vertex) with `stimulus_id` and `split` (trial). Repetitions are averaged by
        stimulus, and sites standardised with mean and SD of the training averages. Sites that do not vary there are
        refused.
    target
        `embedding` (stimulus, channel) or (stimulus, token, channel) of at least the training stimuli.
    gallery
        The candidates, dims as in `target`, of the same model.
    params
        Sites, parts of `split`, and whether rectified directions are added.
    context
        Its seed decides the rectified directions.

    Returns
    -------
    Dataset following schema ranking.v1
        One trial for each test stimulus: similarity (trial, stimulus), log p(response | candidate) up to a constant of
        the trial, which `attrs["likelihood"]` = 1 says; rank (trial), from 1, ties get the worst;
        `attrs["n_training"]`, how many stimuli the encoder was fitted to.

    Raises
    ------
    DimensionError
        If `split` is missing or lacks a part, stimuli are missing from target or gallery, a stimulus is in both parts,
        models or dims differ, a site is constant, or stimuli differ in how often they were shown in the test part.

    References
    ----------
    Ridge from embeddings to each site, penalty by exact leave-one-out; covariance of its left-out residuals by Ledoit &
    Wolf (2004), doi:10.1016/S0047-259X(03)00096-4. Identification by an encoder: Kay et al. (2008),
    doi:10.1038/nature06713, there by correlation.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> shown, embedding = np.arange(40), rng.standard_normal((40, 3))
    >>> values = embedding @ rng.standard_normal((3, 5)) + 0.1 * rng.standard_normal((40, 5))
    >>> split = np.where(shown < 30, "train", "test")
    >>> labels = {"trial": shown, "stimulus_id": ("trial", shown), "split": ("trial", split)}
    >>> response = xr.Dataset({"response": (("trial", "voxel"), values)}, labels)
    >>> target = xr.Dataset({"embedding": (("stimulus", "channel"), embedding)}, {"stimulus": shown}, {"model": "toy"})
    >>> gallery = target.isel(stimulus=slice(30, 40))
    >>> params, context = LikelihoodParams(), brainlens.Context()
    >>> rank_by_likelihood(response, target, gallery, params=params, context=context)["rank"].values
    array([1, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    """
    if params.roi:
        response = brainlens.select_roi(response, params.roi)
    _check_models(target, gallery)
    training, tested = mean_responses(response, train=params.train, test=params.test)
    known = _rows(target, training["stimulus_id"].values, name="target")
    candidates = gallery["embedding"].values.reshape(gallery.sizes["stimulus"], -1).astype(np.float64)
    own = _positions(gallery, tested["stimulus_id"].values, name="gallery")
    mean, spread = site_statistics(training)
    brain, brain_tested = ((each["response"].values.astype(np.float64) - mean) / spread for each in (training, tested))
    features = make_features(known, n_rectified=params.n_rectified, rng=context.rng(0))
    ridge = brainlens.fit_ridge(features(known), brain)
    residuals = brain - ridge.left_out
    law = brainlens.noise_law(*brainlens.shrink_covariance(residuals - residuals.mean(axis=0)))
    shown = brainlens.prepare_stimuli(law, ridge.predict(features(candidates)))
    similarity = brainlens.log_likelihood(brain_tested, shown, law)
    attrs = {key: each.attrs[key] for each, key in ((gallery, "model"), (response, "subject")) if key in each.attrs}
    kept = {name: coord.variable for name, coord in tested.coords.items() if coord.dims == ("trial",)}
    return xr.Dataset(
        {"rank": ("trial", brainlens.rank_of_true(similarity, own)), "similarity": (("trial", "stimulus"), similarity)},
        {**kept, "stimulus": gallery["stimulus"].values},
        {**attrs, "schema": "ranking.v1", "metric": "likelihood", "likelihood": 1, "n_training": len(known)},
    )


def make_features(known: np.ndarray, *, n_rectified: int, rng: np.random.Generator) -> Features:
    """Return what turns embeddings (n, n_values) into features of an encoder.

    Parameters
    ----------
    known
        Training embeddings; shape (n, n_values).
    n_rectified
        Random directions, of unit spread over the training embeddings, of which what is above a random threshold is
        kept; beside the embedding itself, which is scaled to the same spread. 0: the embedding alone, as it is.
    rng
        Draws directions and thresholds.

    References
    ----------
    Random features: Rahimi & Recht (2007), NeurIPS 20.
    """
    if not n_rectified:
        return lambda rows: rows
    mean = known.mean(axis=0)
    centred = known - mean
    directions = rng.standard_normal((known.shape[1], n_rectified))
    directions /= (centred @ directions).std(axis=0)
    threshold, scale = _THRESHOLD_SD * rng.standard_normal(n_rectified), centred.std()

    def features(rows: np.ndarray) -> np.ndarray:
        away = rows - mean
        return np.concatenate([away / scale, np.maximum(away @ directions + threshold, 0)], axis=1)

    return features


def mean_responses(response: xr.Dataset, *, train: str, test: str) -> tuple[xr.Dataset, xr.Dataset]:
    """Return mean responses of training and of test stimuli, by the parts of `split` that they are in.

    Raises
    ------
    DimensionError
        If `split` is missing or lacks a part, a stimulus is in both, or those of the test part were not shown equally
        often.
    """
    if "split" not in response.coords:
        raise brainlens.DimensionError(
            "response: expected a coordinate 'split' (trial) that says which trials are for training, found none. "
            "Add one with brainlens.split_trials."
        )
    split = response["split"].values.astype(str)
    rows = [np.flatnonzero(split == part) for part in (train, test)]
    for part, found in zip((train, test), rows, strict=True):
        if not found.size:
            raise brainlens.DimensionError(
                f"response: expected trials with split {part!r}, found {brainlens.listed(np.unique(split))}. Name the "
                "parts with train= and test=."
            )
    shown = [response["stimulus_id"].values[found].astype(str) for found in rows]
    both = np.intersect1d(*shown)
    if both.size:
        raise brainlens.DimensionError(
            f"response: expected stimuli of the parts to differ, found {both.size} in both: {brainlens.listed(both)}. "
            "Split by stimulus, with brainlens.split_trials."
        )
    first, second = (brainlens.average_trials(response.isel(trial=found)) for found in rows)
    _check_showings(second)
    return first, second


def site_statistics(training: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and SD of each site over the training stimuli.

    Raises
    ------
    DimensionError
        If a site does not vary.
    """
    values = training["response"].values.astype(np.float64)
    spread = values.std(axis=0)
    flat = np.flatnonzero(spread == 0)
    if flat.size:
        dim = str(training["response"].dims[1])
        labels = training[dim].values[flat] if dim in training.coords else flat
        raise brainlens.DimensionError(
            f"response: expected sites that vary over the training stimuli, found {flat.size} of {len(spread)} that do "
            f"not: {brainlens.listed(labels)}. Select others with roi=."
        )
    return values.mean(axis=0), spread


def _check_showings(tested: xr.Dataset) -> None:
    """Refuse averages of test stimuli that differ in noise: one covariance holds for all."""
    counts = np.unique(tested["n_repetitions"].values)
    if len(counts) > 1:
        raise brainlens.DimensionError(
            f"response: expected every test stimulus as often, found {brainlens.listed(counts)} showings. One noise "
            "cannot hold for all: drop showings until they agree."
        )


def _check_models(target: xr.Dataset, gallery: xr.Dataset) -> None:
    refuse_other_dims(target, "target")
    refuse_other_dims(gallery, "gallery")
    models = target.attrs.get("model"), gallery.attrs.get("model")
    if models[0] != models[1]:
        raise brainlens.DimensionError(
            f"attrs/model: expected target and gallery of one model, found {models[0]!r} and {models[1]!r}. "
            "Embed the candidates with the model of the target."
        )
    shapes = [each["embedding"].isel(stimulus=0).sizes for each in (target, gallery)]
    if shapes[0] != shapes[1]:
        raise brainlens.DimensionError(
            f"embedding: expected target and gallery with the same tokens and channels, found {dict(shapes[0])} and "
            f"{dict(shapes[1])}. Select the same in both."
        )


def _positions(dataset: xr.Dataset, stimuli: np.ndarray, *, name: str) -> np.ndarray:
    position = {label: row for row, label in enumerate(dataset["stimulus"].values.tolist())}
    missing = sorted({label for label in stimuli.tolist() if label not in position}, key=str)
    if missing:
        raise brainlens.DimensionError(
            f"{name}: expected every stimulus of the {len(stimuli)} that were shown, found {len(missing)} missing: "
            f"{brainlens.listed(missing)}. Add them, or drop their trials."
        )
    return np.array([position[label] for label in stimuli.tolist()], dtype=np.int64)


def _rows(dataset: xr.Dataset, stimuli: np.ndarray, *, name: str) -> np.ndarray:
    rows = dataset["embedding"].isel(stimulus=_positions(dataset, stimuli, name=name)).values
    return np.asarray(rows.reshape(len(rows), -1), np.float64)
