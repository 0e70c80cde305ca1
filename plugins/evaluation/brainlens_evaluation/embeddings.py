"""The analysis `evaluation.embeddings`: two-way identification by any network whose embeddings are there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr

import brainlens
from brainlens_evaluation.identification import Compared, Rows, identify
from brainlens_evaluation.params import EmbeddingParams
from brainlens_evaluation.sources import rows_of_stimuli, rows_of_trials
from brainlens_evaluation.summary import (
    MADE,
    SHUFFLED,
    About,
    check_names,
    permuted_stimuli,
    summarise,
    wrong_stimuli,
)


def score_embeddings(
    *,
    reconstructed: xr.Dataset,
    seen: xr.Dataset,
    floors: Sequence[xr.Dataset] | None,
    params: EmbeddingParams,
    context: brainlens.Context,
) -> xr.Dataset:
    """Score reconstructions by embeddings of theirs, against those of what was seen.

    Parameters
    ----------
    reconstructed
        Follows schema embedding.v1: `embedding` (trial, channel) or (trial, token, channel), what a network sees in the
        reconstruction of each trial.
    seen
        Follows schema embedding.v1: the same network's embedding of every stimulus of the trials, (stimulus, ...).
    floors
        As `reconstructed`, of images that no brain helped to make, of the same trials.
    params
        Name of the metric, variant.
    context
        Seed and device.

    Returns
    -------
    Dataset following schema score.v1
        As `evaluation.images`, with two metrics: two-way identification among the stimuli of the trials, under the name
        that was given, and one minus the correlation, under that name with `_distance`.

    Raises
    ------
    DimensionError
        If stimuli or trials are missing, channels differ, or there are fewer than two stimuli.
    ParameterError
        If a variant has to be chosen, or the names of floors do not fit.

    References
    ----------
    As `evaluation.images`. A network whose embeddings conditioned the generator is no independent judge.

    Examples
    --------
    >>> values = np.random.default_rng(0).standard_normal((4, 8))
    >>> made = xr.Dataset({"embedding": (("trial", "channel"), values)}, {"trial": range(4)}, {"model": "toy"})
    >>> made = made.assign_coords(stimulus_id=("trial", list("abcd")))
    >>> seen = xr.Dataset({"embedding": (("stimulus", "channel"), values)}, {"stimulus": list("abcd")})
    >>> seen.attrs["model"] = "toy"
    >>> given = {"reconstructed": made, "seen": seen, "floors": None}
    >>> scores = score_embeddings(**given, params=EmbeddingParams(), context=brainlens.Context())
    >>> scores["score"].sel(source="reconstructed", metric="judge").item()
    1.0
    """
    floors = list(floors or ())
    check_names(params.floor_names, len(floors))
    reconstructed = brainlens.choose_variant(reconstructed, params.variant, name="reconstructed")
    for name, dataset in (("reconstructed", reconstructed), *zip(params.floor_names, floors, strict=False)):
        _refuse_other(dataset, seen, name, dim="trial")
    _refuse_other(seen, seen, "seen", dim="stimulus")
    stimuli, truth = np.unique(reconstructed["stimulus_id"].values, return_inverse=True)
    if len(stimuli) < 2:
        raise brainlens.DimensionError(
            f"reconstructed: expected trials of at least 2 stimuli, found {len(stimuli)}. One shows neither chance nor "
            "spread."
        )
    wrong = wrong_stimuli(truth, len(stimuli), params.n_shuffles, context.rng(1))
    orders = permuted_stimuli(truth, params.n_permutations, context.rng(2))
    own = np.arange(len(truth))
    compared = [
        Compared(
            features=_rows_of(reconstructed, own, params.metric, context),
            rows=own,
            truths={MADE: truth[None], SHUFFLED: wrong},
            orders=orders,
        )
    ]
    for name, floor in zip(params.floor_names, floors, strict=False):
        order = rows_of_trials(floor, reconstructed, name)
        features = _rows_of(floor, order, params.metric, context)
        compared.append(Compared(features=features, rows=own, truths={name: truth[None]}, orders=orders))
    found = identify(
        _rows_of(seen, rows_of_stimuli(seen, stimuli), params.metric, context),
        len(stimuli),
        compared,
        context=context,
        batch_size=params.batch_size,
        label=str(seen.attrs["model"]),
    )[params.metric]
    distance = f"{params.metric}_distance"
    values = {
        params.metric: {name: each.two_way for name, each in found.items()},
        distance: {name: each.distance for name, each in found.items()},
    }
    null = {
        params.metric: {name: each.null_two_way for name, each in found.items()},
        distance: {name: each.null_distance for name, each in found.items()},
    }
    about = {
        params.metric: About(better="higher", layer=str(seen.attrs["model"]), chance=0.5),
        distance: About(better="lower", layer=str(seen.attrs["model"])),
    }
    trials = {name: reconstructed[name].variable for name in ("trial", "stimulus_id")}
    attrs = {key: reconstructed.attrs[key] for key in ("model", "subject") if key in reconstructed.attrs}
    return summarise(values, about, trials, null=null, params=params, context=context, attrs=attrs)


def _rows_of(dataset: xr.Dataset, order: np.ndarray, metric: str, context: brainlens.Context) -> Rows:
    """Return embeddings by position in an order of rows, tokens behind one another."""

    def features(rows: np.ndarray) -> dict[str, torch.Tensor]:
        wanted, inverse = np.unique(order[rows], return_inverse=True)
        values = np.asarray(dataset["embedding"][wanted].values, np.float32)[inverse]
        return {metric: torch.from_numpy(values.reshape(len(values), -1)).to(context.device)}

    return features


def _refuse_other(dataset: xr.Dataset, seen: xr.Dataset, name: str, *, dim: str) -> None:
    """Refuse embeddings of other things, of another model, or in other channels."""
    embedding, expected = dataset["embedding"], seen["embedding"]
    if embedding.dims[0] != dim or embedding.dims[1:] != expected.dims[1:]:
        wanted = ", ".join((dim, *map(str, expected.dims[1:])))
        found = ", ".join(map(str, embedding.dims))
        raise brainlens.DimensionError(
            f"{name}: expected dims ({wanted}) of 'embedding', found ({found}). Embed both with the same component."
        )
    if dataset.attrs["model"] != seen.attrs["model"]:
        raise brainlens.DimensionError(
            f"{name}: expected embeddings of the model of seen, {seen.attrs['model']!r}, found "
            f"{dataset.attrs['model']!r}. Embed both with the same component."
        )
    for axis in embedding.dims[1:]:
        ours, theirs = (
            each[axis].values if axis in each.coords else np.arange(each.sizes[axis]) for each in (dataset, seen)
        )
        if not np.array_equal(ours, theirs):
            raise brainlens.DimensionError(
                f"{name}: expected the {len(theirs)} labels of {axis!r} that seen has, found {len(ours)}, other ones "
                "or in another order. Embed both with the same component."
            )
