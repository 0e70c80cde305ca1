"""Several decoders and encoders as one: scores weighed by how well they name training stimuli that were left out.

No test trial, and no candidate that is tested, takes part in the choice of weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

import brainlens
from brainlens_retrieval.likelihood import mean_responses, site_statistics
from brainlens_retrieval.members import (
    RULES,
    Candidates,
    Learn,
    Member,
    Score,
    encoder,
    left_out_pools,
    stored_encoder,
)
from brainlens_retrieval.params import CombineParams
from brainlens_retrieval.rank import candidate_columns, check_spaces, trial_coords
from brainlens_retrieval.weights import Weights, fit_weights

# Room for the scores of one block of candidates.
BLOCK_BYTES = 2**27
# A score that is this close to another, relative to its size, is a tie: products of other blocks round otherwise.
_TIE = 1e-12


def combine(
    decoded: Sequence[xr.Dataset],
    target: xr.Dataset,
    gallery: xr.Dataset,
    *,
    left_out: Sequence[xr.Dataset] | None = None,
    response: xr.Dataset | None = None,
    encoded: Sequence[xr.Dataset] | None = None,
    encoded_left_out: Sequence[xr.Dataset] | None = None,
    models: Sequence[xr.Dataset] | None = None,
    params: CombineParams,
    context: brainlens.Context,
) -> xr.Dataset:
    """Rank candidates by a weighted sum of what several decoders, and encoders, say of each test stimulus.

    Parameters
    ----------
    decoded
        Of each decoder the test stimuli: `embedding` (trial, channel) or (trial, token, channel), with a dim variant
        before these where `params.variants` chooses. Where there is a coordinate `split`, trials of `params.test`.
        Repetitions of a stimulus are averaged. All decoders have the same stimuli, in any order.
    target
        `embedding` (stimulus, ...) of the training stimuli.
    gallery
        The candidates, dims as in `target`. May be lazy; it is read in blocks.
    left_out
        Of the same decoders, in the same order, the training stimuli, decoded without them: from `cross_predict` with
        `split="train"` and `leave_out="stimulus_id"`, with its coordinate `fold`; the same folds for all. Where there
        is a coordinate `split`, trials of `params.train`. Not needed where `decoded` holds both parts, as that of
        `cross_predict(..., also="test")` does.
    response
        `response` (trial, voxel) or (trial, vertex) with `split`, of the same training and test stimuli: encoders take
        part then, as in `retrieval.likelihood`.
    encoded
        Of stored encoders: the responses that each predicts for the candidates, from `predict(model, features=...)`;
        `response` (trial, voxel) or (trial, vertex) with `stimulus_id`, one trial for each candidate, in any order.
        Sites of `response` are chosen by their labels. Needs `response`.
    encoded_left_out
        Of the same encoders, in the same order, what they predict for the training stimuli without them, from
        `cross_predict` as that of the decoders, with the same folds.
    models
        Stored models behind `decoded`. Test stimuli that one of them was fitted on are refused.
    params
        Names, variants, rules, encoders and parts.
    context
        Its seed decides rectified directions, and the parts of large folds. The matrix of all trials and candidates
        lies in its scratch folder, where there is one.

    Returns
    -------
    Dataset following schema ranking.v1
        One trial for each test stimulus, in the order of the first decoder: similarity (trial, stimulus), the weighted
        sum, a log-probability up to a constant of the trial, which `attrs["likelihood"]` = 1 says; rank (trial), int64,
        from 1, ties get the worst. For each member, that is each rule of each decoder and each encoder: weight
        (member), what its scores are multiplied by; standard_weight, that times the spread of its scores, so that
        members can be compared; temperature, what its scores would be divided by if it spoke alone, inf where it knows
        nothing; left_out_loss, its mean of -log p of the true stimulus then, in nats; left_out_top_1, how often it
        comes first then; member_rank (member, trial), its own ranks. `attrs`: left_out_loss and left_out_top_1 of the
        combination, chance_loss, n_left_out, n_folds.

    Raises
    ------
    ParameterError
        If there are not as many `left_out`, labels, variants or rules as decoders, or variants do not exist.
    DimensionError
        If a left-out stimulus is tested, a trial or tested stimulus was in the training of its decoder, folds are
        missing, differ between decoders, share stimuli or are too small, a member lacks a stimulus or has more than
        others, dims, models or labels differ, or scores are not finite.

    References
    ----------
    Stacking: Wolpert (1992), doi:10.1016/S0893-6080(05)80023-1; LeBlanc & Tibshirani (1996), JASA 91:1641. Differs: the
    loss is that of naming the stimulus among others, and weights may be negative.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> true, shown = rng.standard_normal((60, 5)), np.arange(60)
    >>> target = xr.Dataset({"embedding": (("stimulus", "channel"), true)}, {"stimulus": shown}, {"model": "toy"})
    >>> def decode(noise):
    ...     values = true + noise * rng.standard_normal((60, 5))
    ...     labels = {"trial": shown, "stimulus_id": ("trial", shown), "fold": ("trial", shown % 4)}
    ...     found = xr.Dataset({"embedding": (("trial", "channel"), values)}, labels, {"model": "toy"})
    ...     return found.isel(trial=slice(40, 60)), found.isel(trial=slice(0, 40))
    >>> good, bad = decode(0.5), decode(5.0)
    >>> params = CombineParams(labels=("good", "bad"), rules=("projection",))
    >>> gallery = target.isel(stimulus=slice(40, 60))
    >>> found = combine([good[0], bad[0]], target, gallery, left_out=[good[1], bad[1]], params=params,
    ...                 context=brainlens.Context(quiet=True))
    >>> bool(found["standard_weight"][0] > 5 * abs(found["standard_weight"][1]))
    True
    """
    makers = _decoders(decoded, decoded if left_out is None else left_out, params)
    first = makers[0]
    for each in makers:
        check_spaces(each.left_out, target, names=(f"left_out of {each.label}", "target"))
        check_spaces(each.tested, gallery, names=(f"decoded of {each.label}", "gallery"))
        _check_folds(each, first)
    _refuse_tested(first, models or ())
    known, shown = _labels(first.left_out), _labels(first.tested)
    own = candidate_columns(first.tested, gallery)
    true = _flat(target.isel(stimulus=candidate_columns(first.left_out, target, name="target")), "stimulus")
    fold = np.unique(first.left_out["fold"].values.astype(str), return_inverse=True)[1]

    def candidates(rows: np.ndarray) -> np.ndarray:
        return _flat(gallery.isel(stimulus=rows), "stimulus")

    members = [
        Member(name, learn, left, tested, true, candidates)
        for each in makers
        for name, learn, left, tested in _rules(each, known, shown)
    ]
    if response is not None:
        members += _encoders(response, first, true, candidates, params, context)
    members += _stored_encoders(response, encoded or (), encoded_left_out or (), gallery, first, params)
    pools = left_out_pools(members, fold, pool_size=params.pool_size, context=context)
    for column, member in enumerate(members):
        for pool in pools:
            _refuse_not_finite(member, pool[..., column])
    joint = fit_weights(pools)
    alone = [fit_weights([pool[..., [column]] for pool in pools]) for column in range(len(members))]
    chance = float(np.mean([np.log(len(pool)) for pool in pools]))
    del pools
    scores = [member.learn(member.left_out, member.known) for member in members]
    similarity, ranks = _score_gallery(members, scores, joint, gallery["stimulus"].values, own, context)
    attrs = {key: first.tested.attrs[key] for key in ("model", "subject") if key in first.tested.attrs}
    weights = np.array([float(each.of_score[0]) for each in alone])
    with np.errstate(divide="ignore"):
        temperature = np.where(weights > 0, 1 / weights, np.inf)
    of_members: dict[str, Any] = {
        "weight": joint.of_score,
        "standard_weight": joint.of_score * joint.spread,
        "temperature": temperature,
        "left_out_loss": np.array([each.loss for each in alone]),
        "left_out_top_1": np.array([each.n_named for each in alone]) / len(known),
    }
    return xr.Dataset(
        {
            "rank": ("trial", ranks[-1]),
            "similarity": (("trial", "stimulus"), similarity),
            **{name: ("member", values) for name, values in of_members.items()},
            "member_rank": (("member", "trial"), ranks[:-1]),
        },
        {
            **trial_coords(first.tested),
            "stimulus": gallery["stimulus"].values,
            "member": [member.name for member in members],
        },
        {
            **attrs,
            "schema": "ranking.v1",
            "metric": "combined",
            "likelihood": 1,
            "left_out_loss": joint.loss,
            "left_out_top_1": joint.n_named / len(known),
            "chance_loss": chance,
            "n_left_out": len(known),
            "n_folds": int(fold.max()) + 1,
        },
    )


@dataclass(frozen=True)
class _Decoder:
    """What one decoder says: one trial for each stimulus, those that were left out in the order of their labels."""

    label: str
    rules: Sequence[str]
    left_out: xr.Dataset
    tested: xr.Dataset


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


def _score_gallery(
    members: Sequence[Member],
    scores: Sequence[Score],
    joint: Weights,
    labels: np.ndarray,
    own: np.ndarray,
    context: brainlens.Context,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the combined scores (trial, stimulus), and ranks (member, trial) with those of the combination behind."""
    n_trials, n_stimuli = len(own), len(labels)
    width = max(n_trials * (len(members) + 2), 2 * max(member.tested.shape[1] for member in members))
    step = max(1, BLOCK_BYTES // (8 * width))

    def of_block(rows: slice, columns: np.ndarray) -> np.ndarray:
        """Return scores of some trials, (member, trial, candidate), with the weighted sum behind."""
        found = np.empty((len(members) + 1, len(own[rows]), len(columns)))
        found[-1] = 0
        # Most members read the same candidates.
        read = {make: make(columns) for make in {member.candidates for member in members}}
        for number, (member, score) in enumerate(zip(members, scores, strict=True)):
            found[number] = score(member.tested[rows], read[member.candidates])
            _refuse_not_finite(member, found[number], labels=labels[columns])
            found[-1] += joint.of_score[number] * found[number]
        return found

    of_own = np.empty((len(members) + 1, n_trials))
    for start in range(0, n_trials, min(step, 256)):
        rows = slice(start, start + min(step, 256))
        of_own[:, rows] = np.einsum("mii->mi", of_block(rows, own[rows]))
    spread = np.append(joint.spread, np.abs(joint.of_score) @ joint.spread)
    bar = of_own - _TIE * (np.abs(of_own) + spread[:, None])
    similarity = _room((n_trials, n_stimuli), context)
    ranks = np.ones((len(members) + 1, n_trials), np.int64)
    for start in context.progress(range(0, n_stimuli, step), label="comparing with the gallery"):
        block = of_block(slice(None), np.arange(start, min(start + step, n_stimuli)))
        here = np.flatnonzero((own >= start) & (own < start + step))
        block[-1, here, own[here] - start] = of_own[-1, here]
        similarity[:, start : start + step] = block[-1]
        closer = block >= bar[..., None]
        closer[:, here, own[here] - start] = False
        ranks += closer.sum(axis=2)
    return similarity, ranks


def _room(shape: tuple[int, int], context: brainlens.Context) -> np.ndarray:
    """Return an array to be filled: in the scratch folder, so that memory is not what limits it."""
    if context.scratch is None:
        return np.empty(shape)
    return np.lib.format.open_memmap(context.scratch / "similarity.npy", mode="w+", dtype=np.float64, shape=shape)


def _refuse_not_finite(member: Member, scores: np.ndarray, *, labels: np.ndarray | None = None) -> None:
    """Refuse scores (trial, candidate) of a member that are not finite; without labels those of left-out stimuli."""
    bad = ~np.isfinite(scores)
    if bad.any():
        whose = "left-out stimuli" if labels is None else brainlens.listed(labels[bad.any(axis=0)])
        raise brainlens.DimensionError(
            f"{member.name}: expected finite scores of every candidate, found NaN or infinite ones for {whose}. An "
            "embedding is not finite, or is the mean of the training targets itself; drop it, or the rule."
        )


def _labels(dataset: xr.Dataset) -> list[Any]:
    return list(dataset["stimulus_id"].values.tolist())


def _rows(dataset: xr.Dataset, stimuli: list[Any]) -> np.ndarray:
    """Return the row of each stimulus."""
    position = {label: row for row, label in enumerate(_labels(dataset))}
    return np.array([position[label] for label in stimuli], dtype=np.int64)


def _flat(dataset: xr.Dataset, dim: str) -> np.ndarray:
    """Return embeddings as rows (n, tokens x channels), float64."""
    return np.asarray(dataset["embedding"].values.reshape(dataset.sizes[dim], -1), np.float64)
