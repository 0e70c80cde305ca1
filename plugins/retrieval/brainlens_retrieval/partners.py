"""Who takes part in a combination, made ready: chosen, averaged, brought into one order; or refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

import brainlens
from brainlens_retrieval.likelihood import mean_responses, site_statistics
from brainlens_retrieval.members import RULES, Candidates, Learn, Member, encoder, stored_encoder
from brainlens_retrieval.params import CombineParams
from brainlens_retrieval.rank import candidate_columns, check_spaces


@dataclass(frozen=True)
class _Decoder:
    """What one decoder says: one trial for each stimulus, those that were left out in the order of their labels."""

    label: str
    rules: Sequence[str]
    left_out: xr.Dataset
    tested: xr.Dataset


@dataclass(frozen=True)
class Gathered:
    """Who takes part, and in what.

    Attributes
    ----------
    members
        Whose evidence is of the same stimuli in the same order.
    fold
        Number of the fold of each left-out stimulus, from 0.
    tested
        What the first decoder says of the tested stimuli, in their order.
    """

    members: list[Member]
    fold: np.ndarray
    tested: xr.Dataset


def gather(
    decoded: Sequence[xr.Dataset],
    left_out: Sequence[xr.Dataset] | None,
    target: xr.Dataset,
    gallery: xr.Dataset,
    *,
    response: xr.Dataset | None,
    encoded: Sequence[xr.Dataset],
    encoded_left_out: Sequence[xr.Dataset],
    models: Sequence[xr.Dataset],
    params: CombineParams,
    context: brainlens.Context,
) -> Gathered:
    """Make ready what `combine` is given, and refuse what does not go together.

    Parameters
    ----------
    decoded, left_out, target, gallery, response, encoded, encoded_left_out, models, params, context
        As in `combine`.

    Raises
    ------
    ParameterError, DimensionError
        As in `combine`, but for scores that are not finite.
    """
    makers = _decoders(decoded, decoded if left_out is None else left_out, params)
    first = makers[0]
    for each in makers:
        check_spaces(each.left_out, target, names=(f"left_out of {each.label}", "target"))
        check_spaces(each.tested, gallery, names=(f"decoded of {each.label}", "gallery"))
        _check_folds(each, first)
    _refuse_tested(first, models)
    candidate_columns(first.tested, gallery)
    known, shown = _labels(first.left_out), _labels(first.tested)
    true = _flat(target.isel(stimulus=candidate_columns(first.left_out, target, name="target")), "stimulus")

    def candidates(rows: np.ndarray) -> np.ndarray:
        return _flat(gallery.isel(stimulus=rows), "stimulus")

    members = [
        Member(name, learn, left, tested, true, candidates)
        for each in makers
        for name, learn, left, tested in _rules(each, known, shown)
    ]
    if response is not None:
        members += _encoders(response, first, true, candidates, params, context)
    members += _stored_encoders(response, encoded, encoded_left_out, gallery, first, params)
    fold = np.unique(first.left_out["fold"].values.astype(str), return_inverse=True)[1]
    return Gathered(members, fold, first.tested)


def _decoders(decoded: Sequence[xr.Dataset], left_out: Sequence[xr.Dataset], params: CombineParams) -> list[_Decoder]:
    n = len(decoded)
    labels = params.labels or tuple(f"decoder {number}" for number in range(1, n + 1))
    variants = params.variants or ("",) * n
    rules = params.rules * n if len(params.rules) == 1 else params.rules
    for name, values in (("left_out", left_out), ("labels", labels), ("variants", variants), ("rules", rules)):
        if len(values) != n:
            found = "" if name == "left_out" else f": {brainlens.listed(values)}"
            raise brainlens.ParameterError(
                f"{name}: expected one for each of the {n} decoded, found {len(values)}{found}. Give them in the same "
                "order."
            )
    makers = []
    for label, variant, entry, tested, held in zip(labels, variants, rules, decoded, left_out, strict=True):
        parts = {f"decoded of {label}": (tested, params.test), f"left_out of {label}": (held, params.train)}
        chosen = []
        for where, (dataset, part) in parts.items():
            dataset = _of_part(brainlens.choose_variant(dataset, variant, name=where), part, where)
            _refuse_met(dataset, where)
            if where.startswith("left_out"):
                _check_whole(dataset, where)
            chosen.append(_averaged(dataset))
        makers.append(_Decoder(label, params.rules_of(entry), _by_label(chosen[1]), chosen[0]))
    return makers


def _of_part(dataset: xr.Dataset, part: str, where: str) -> xr.Dataset:
    """Keep the trials of a part of `split`, where there is one."""
    if "split" not in dataset.coords:
        return dataset
    split = dataset["split"].values.astype(str)
    rows = np.flatnonzero(split == part)
    if not rows.size:
        raise brainlens.DimensionError(
            f"{where}: expected trials with split {part!r}, found {brainlens.listed(np.unique(split))}. Name the parts "
            "with train= and test=."
        )
    return dataset if len(rows) == len(split) else dataset.isel(trial=rows)


def _refuse_met(dataset: xr.Dataset, where: str) -> None:
    if "in_training" in dataset.coords and dataset["in_training"].values.any():
        n_inside = int(dataset["in_training"].values.sum())
        raise brainlens.DimensionError(
            f"{where}: expected trials that their model was not fitted on, found {n_inside} of "
            f"{dataset.sizes['trial']} that it was. Predict training trials with cross_predict, and test trials with a "
            "model that has not met them."
        )


def _check_whole(dataset: xr.Dataset, where: str) -> None:
    """Refuse left-out trials without folds, and folds that share a stimulus."""
    if "fold" not in dataset.coords:
        raise brainlens.DimensionError(
            f"{where}: expected a coordinate 'fold' (trial), found none. Decode the training trials with "
            "cross_predict(..., split='train', leave_out='stimulus_id', n_folds=5)."
        )
    pairs = set(zip(_labels(dataset), dataset["fold"].values.astype(str).tolist(), strict=True))
    labels = [label for label, _ in pairs]
    if len(set(labels)) < len(labels):
        several = sorted({label for label in labels if labels.count(label) > 1}, key=str)
        raise brainlens.DimensionError(
            f"{where}: expected every stimulus in one fold, found {len(several)} in several: "
            f"{brainlens.listed(several)}; their decoders have met them. Use leave_out='stimulus_id'."
        )


def _averaged(dataset: xr.Dataset) -> xr.Dataset:
    shown = _labels(dataset)
    return dataset if len(set(shown)) == len(shown) else brainlens.average_trials(dataset)


def _by_label(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.isel(trial=np.argsort(dataset["stimulus_id"].values.astype(str), kind="stable"))


def _check_folds(each: _Decoder, first: _Decoder) -> None:
    """Refuse other stimuli or folds than those of the first decoder, and folds that are too few or too small."""
    for part, ours, theirs in (("left_out", first.left_out, each.left_out), ("decoded", first.tested, each.tested)):
        _refuse_other_stimuli(_labels(ours), _labels(theirs), where=f"{part} of {each.label}", than=first.label)
    codes = [np.unique(one.left_out["fold"].values.astype(str), return_inverse=True)[1] for one in (first, each)]
    counts = np.bincount(codes[0])
    if len(counts) < 2 or counts.min() < 2:
        raise brainlens.DimensionError(
            f"left_out of {first.label}: expected at least 2 folds of at least 2 stimuli, found {len(counts)}, the "
            f"smallest of {counts.min()}. Put the stimuli into folds with n_folds=5."
        )
    if len(np.unique(codes[0] * len(codes[0]) + codes[1])) != len(counts) or codes[1].max() != codes[0].max():
        raise brainlens.DimensionError(
            f"left_out of {each.label}: expected the folds of {first.label}, found other ones. Use the same leave_out, "
            "n_folds and seed for all decoders."
        )


def _refuse_other_stimuli(ours: list[Any], theirs: list[Any], *, where: str, than: str) -> None:
    missing, more = set(ours) - set(theirs), set(theirs) - set(ours)
    if missing or more:
        raise brainlens.DimensionError(
            f"{where}: expected the {len(ours)} stimuli of {than}, found {len(missing)} missing and {len(more)} more: "
            f"{brainlens.listed(sorted(missing | more, key=str))}. Give the same stimuli to all."
        )


def _refuse_tested(first: _Decoder, models: Sequence[xr.Dataset]) -> None:
    """Refuse test stimuli that decided anything."""
    tested = first.tested["stimulus_id"].values.astype(str)
    both = np.intersect1d(first.left_out["stimulus_id"].values.astype(str), tested)
    if both.size:
        raise brainlens.DimensionError(
            f"left_out: expected stimuli that are not tested, found {both.size} that are: {brainlens.listed(both)}. "
            "Decode the training trials alone, with cross_predict(..., split='train')."
        )
    for number, model in enumerate(models, start=1):
        if "training_stimulus" not in model.coords:
            continue
        met = np.intersect1d(model["training_stimulus"].values.astype(str), tested)
        if met.size:
            raise brainlens.DimensionError(
                f"models: expected models that have not met what is tested, found {met.size} of {len(tested)} stimuli "
                f"in the training of number {number}: {brainlens.listed(met)}. Split by stimulus, with "
                "brainlens.split_trials, and fit again."
            )


def _rules(each: _Decoder, known: list[Any], shown: list[Any]) -> list[tuple[str, Learn, np.ndarray, np.ndarray]]:
    """Return name, rule and evidence of what is left out and of what is tested."""
    left_out = _flat(each.left_out, "trial")[_rows(each.left_out, known)]
    tested = _flat(each.tested, "trial")[_rows(each.tested, shown)]
    return [(f"{each.label}, {rule}", RULES[rule], left_out, tested) for rule in each.rules]


def _mean_responses(response: xr.Dataset, first: _Decoder, params: CombineParams) -> tuple[xr.Dataset, xr.Dataset]:
    """Return mean responses to the stimuli of the decoders, left out and tested, in their order."""
    parts = mean_responses(response, train=params.train, test=params.test)
    ordered = []
    for part, dataset, decoder in zip((params.train, params.test), parts, (first.left_out, first.tested), strict=True):
        stimuli = _labels(decoder)
        _refuse_other_stimuli(stimuli, _labels(dataset), where=f"response, split {part!r}", than="the decoders")
        ordered.append(dataset.isel(trial=_rows(dataset, stimuli)))
    site_statistics(ordered[0])
    return ordered[0], ordered[1]


def _encoders(
    response: xr.Dataset,
    first: _Decoder,
    true: np.ndarray,
    candidates: Candidates,
    params: CombineParams,
    context: brainlens.Context,
) -> list[Member]:
    if params.roi:
        response = brainlens.select_roi(response, params.roi)
    left_out, tested = (_sites(each) for each in _mean_responses(response, first, params))
    return [
        Member(
            f"encoder, {number} rectified" if number else "encoder",
            encoder(number, lambda: context.rng(0)),
            left_out,
            tested,
            true,
            candidates,
        )
        for number in params.n_rectified
    ]


def _stored_encoders(
    response: xr.Dataset | None,
    encoded: Sequence[xr.Dataset],
    left_out: Sequence[xr.Dataset],
    gallery: xr.Dataset,
    first: _Decoder,
    params: CombineParams,
) -> list[Member]:
    if len(encoded) != len(left_out) or (encoded and response is None):
        given = "no response" if response is None else "a response"
        raise brainlens.ParameterError(
            f"encoded: expected as many encoded_left_out, and a response, found {len(encoded)}, {len(left_out)} and "
            f"{given}. Predict the candidates with predict, and training stimuli with cross_predict."
        )
    if response is not None and not (encoded or params.n_rectified):
        raise brainlens.ParameterError(
            "n_rectified: expected at least one encoder for the response, found none. Give a number, or no response."
        )
    members = []
    for number, (shown, held) in enumerate(zip(encoded, left_out, strict=True), start=1):
        name = f"stored encoder {number}"
        held = _of_part(held, params.train, f"encoded_left_out of {name}")
        _refuse_met(held, f"encoded_left_out of {name}")
        _check_whole(held, f"encoded_left_out of {name}")
        held = _by_label(_averaged(held))
        _check_folds(_Decoder(name, (), held, first.tested), first)
        candidates = gallery["stimulus"].values.tolist()
        _refuse_other_stimuli(candidates, _labels(shown), where=f"encoded of {name}", than="the gallery")
        _refuse_met(shown.isel(trial=_rows(shown, _labels(first.tested))), f"encoded of {name}")
        assert response is not None
        own = _of_sites(response, held, name)
        evidence = [_sites(each) for each in _mean_responses(own, first, params)]
        known = _sites(held)[_rows(held, _labels(first.left_out))]
        shown = _of_sites(shown, held, name).isel(trial=_rows(shown, candidates))
        members.append(Member(name, stored_encoder, evidence[0], evidence[1], known, _reader(shown)))
    return members


def _reader(shown: xr.Dataset) -> Candidates:
    return lambda rows: _sites(shown.isel(trial=rows))


def _of_sites(dataset: xr.Dataset, like: xr.Dataset, name: str) -> xr.Dataset:
    """Return the sites of a prediction, by their labels."""
    site = str(like["response"].dims[1])
    labels = like[site].values
    missing = np.setdiff1d(labels, dataset[site].values) if site in dataset.coords else labels
    if missing.size:
        raise brainlens.DimensionError(
            f"{name}: expected the {len(labels)} labels of {site!r} that it predicts in response and encoded, found "
            f"{missing.size} missing: {brainlens.listed(missing)}. Give the response that it was fitted to."
        )
    position = {label: column for column, label in enumerate(dataset[site].values.tolist())}
    return dataset.isel({site: [position[label] for label in labels.tolist()]})


def _sites(dataset: xr.Dataset) -> np.ndarray:
    return np.asarray(dataset["response"].values, np.float64)


def _labels(dataset: xr.Dataset) -> list[Any]:
    return list(dataset["stimulus_id"].values.tolist())


def _rows(dataset: xr.Dataset, stimuli: list[Any]) -> np.ndarray:
    """Return the row of each stimulus."""
    position = {label: row for row, label in enumerate(_labels(dataset))}
    return np.array([position[label] for label in stimuli], dtype=np.int64)


def _flat(dataset: xr.Dataset, dim: str) -> np.ndarray:
    """Return embeddings as rows (n, tokens x channels), float64."""
    return np.asarray(dataset["embedding"].values.reshape(dataset.sizes[dim], -1), np.float64)
