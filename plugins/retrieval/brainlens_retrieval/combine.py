"""Several decoders and encoders as one: scores weighed by how well they name training stimuli that were left out.

No test trial, and no candidate that is tested, takes part in the choice of weights. Who takes part is made ready in
`partners`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

import brainlens
from brainlens_retrieval.members import Member, Score, left_out_pools
from brainlens_retrieval.params import CombineParams
from brainlens_retrieval.partners import gather
from brainlens_retrieval.rank import candidate_columns, trial_coords
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
    gathered = gather(
        decoded, left_out, target, gallery, response=response, encoded=encoded or (),
        encoded_left_out=encoded_left_out or (), models=models or (), params=params, context=context,
    )  # fmt: skip
    members, first, fold = gathered.members, gathered.tested, gathered.fold
    own = candidate_columns(first, gallery)
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
    attrs = {key: first.attrs[key] for key in ("model", "subject") if key in first.attrs}
    weights = np.array([float(each.of_score[0]) for each in alone])
    with np.errstate(divide="ignore"):
        temperature = np.where(weights > 0, 1 / weights, np.inf)
    of_members: dict[str, Any] = {
        "weight": joint.of_score,
        "standard_weight": joint.of_score * joint.spread,
        "temperature": temperature,
        "left_out_loss": np.array([each.loss for each in alone]),
        "left_out_top_1": np.array([each.n_named for each in alone]) / len(fold),
    }
    return xr.Dataset(
        {
            "rank": ("trial", ranks[-1]),
            "similarity": (("trial", "stimulus"), similarity),
            **{name: ("member", values) for name, values in of_members.items()},
            "member_rank": (("member", "trial"), ranks[:-1]),
        },
        {
            **trial_coords(first),
            "stimulus": gallery["stimulus"].values,
            "member": [member.name for member in members],
        },
        {
            **attrs,
            "schema": "ranking.v1",
            "metric": "combined",
            "likelihood": 1,
            "left_out_loss": joint.loss,
            "left_out_top_1": joint.n_named / len(fold),
            "chance_loss": chance,
            "n_left_out": len(fold),
            "n_folds": int(fold.max()) + 1,
        },
    )


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
