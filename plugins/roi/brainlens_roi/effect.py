"""The analysis `roi.effect`: what is decoded otherwise once a region is silent, scrambled or amplified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.stats
import xarray as xr

import brainlens
from brainlens_roi.lesion import INTACT
from brainlens_roi.params import EffectParams

_BOOTSTRAP, _EXCHANGED = 3, 4
CHANGE, IDENTIFICATION = "change", "two_way_identification"

# Turns weights of trials (sample, trial) and one value for each trial, or one for each sample and trial, into scores.
Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What one metric compares: the values of each lesion and of the intact trials, and how values become a score."""

    metric: str
    lesioned: np.ndarray
    intact: np.ndarray
    measure: Measure
    chance: float


def score_effects(
    *,
    decoded: xr.Dataset,
    lesions: xr.Dataset | None,
    target: xr.Dataset | None,
    concepts: xr.Dataset | None,
    params: EffectParams,
    context: brainlens.Context,
) -> xr.Dataset:
    """Compare what was decoded from lesioned responses with what was decoded from the same responses intact.

    Parameters
    ----------
    decoded
        Embeddings (embedding.v1), dims (trial, ...), that a model predicted from what `roi.lesion` made, or of the
        images that were painted from these.
    lesions
        That response, where `decoded` has lost the coordinates `lesion` and `intact_trial`, as images do.
    target
        Embeddings of the stimuli, (stimulus, ...), of the same model, or None.
    concepts
        Embeddings of a text for each concept, (stimulus, channel), of the same model, or None.
    params
        Exchanges, resamples, temperature; see `EffectParams`.
    context
        Its seed draws exchanges and resamples.

    Returns
    -------
    Dataset (score.v1)
        Dims (metric, roi), one ROI for each lesion: `score` with the lesion, `intact` without, `drop` = intact - score,
        with `ci_low` and `ci_high` of the score, `drop_low` and `drop_high`, 95 %, over stimuli; `drop_p_value`,
        one-sided, lesioned and intact exchanged for whole stimuli, and `drop_q_value`, Benjamini and Hochberg over
        ROIs; `chance` and `n`, trials.

        Metrics: `change`, the mean of 1 - cosine of both, minus the training mean; its chance, and what is intact, is
        0, and it has no p-value, as nothing changes by chance. With a target `two_way_identification` among the stimuli
        shown. With concepts `moved CONCEPT`, the mean absolute change of its share, a softmax of cosines over concepts;
        with both also `CONCEPT`, the correlation over trials of the decoded share with that of the true embedding.

    Raises
    ------
    DimensionError
        If trials do not say which lesion they are of, are not all there in each lesion, stimuli have no target, or
        models differ.
    ParameterError
        If a variant has to be chosen.
    """
    decoded = brainlens.choose_variant(decoded, params.variant)
    names, rows = _versions(decoded, lesions)
    values = decoded["embedding"].values.reshape(decoded.sizes["trial"], -1).astype(np.float64)
    stimulus, unit = np.unique(decoded["stimulus_id"].values[rows[0]], return_inverse=True)
    true = None if target is None else _of_stimuli(decoded, target, stimulus)
    mean = decoded["target_mean"].values.ravel() if "target_mean" in decoded else values[rows[0]].mean(axis=0)
    compared = [_changes(values, rows, mean)]
    if true is not None:
        compared.append(_identified(values, rows, true, unit, mean))
    if concepts is not None:
        compared += _concepts(decoded, values, rows, concepts, None if true is None else true[unit], params)
    made = _as_scores(compared, names, unit, decoded, params, context)
    return made.assign_attrs(n_in_training=_n_met(decoded, rows))


def _versions(decoded: xr.Dataset, lesions: xr.Dataset | None) -> tuple[list[str], np.ndarray]:
    """Return names of the lesions, and rows of decoded, those of intact trials first; (1 + lesion, trial)."""
    labels = decoded
    if lesions is not None and "lesion" in lesions.coords and "lesion" not in decoded.coords:
        position = {label: row for row, label in enumerate(lesions["trial"].values.tolist())}
        unknown = [label for label in decoded["trial"].values.tolist() if label not in position]
        if unknown:
            raise brainlens.DimensionError(
                f"lesions: expected the {decoded.sizes['trial']} trials of decoded, found {len(unknown)} missing: "
                f"{brainlens.listed(unknown)}. Give the response that it was decoded from."
            )
        labels = lesions[["lesion", "intact_trial"]].isel(
            trial=[position[label] for label in decoded["trial"].values.tolist()]
        )
    if "lesion" not in labels.coords or "intact_trial" not in labels.coords:
        raise brainlens.DimensionError(
            "decoded: expected coordinates 'lesion' and 'intact_trial' (trial), found none. Predict from what "
            "roi.lesion made, or give that as 'lesions'."
        )
    lesion = np.array(list(map(str, labels["lesion"].values)))
    names = list(dict.fromkeys(lesion.tolist()))
    if INTACT not in names or len(names) < 2:
        raise brainlens.DimensionError(
            f"decoded: expected trials of lesion {INTACT!r} and of others, found {brainlens.listed(names)}."
        )
    names.remove(INTACT)
    found = []
    for name in (INTACT, *names):
        own = np.flatnonzero(lesion == name)
        found.append(own[np.argsort(labels["intact_trial"].values[own], kind="stable")])
    trials = labels["intact_trial"].values[found[0]]
    for name, own in zip(names, found[1:], strict=True):
        if not np.array_equal(labels["intact_trial"].values[own], trials):
            raise brainlens.DimensionError(
                f"decoded: expected each of {len(trials)} intact trials once in lesion {name!r}, found {len(own)} "
                "trials that are not the same. Predict from all that roi.lesion made."
            )
    return names, np.stack(found)


def _of_stimuli(decoded: xr.Dataset, target: xr.Dataset, stimuli: np.ndarray) -> np.ndarray:
    _refuse_other_model(decoded, target, "target")
    position = {label: row for row, label in enumerate(target["stimulus"].values.tolist())}
    missing = [label for label in stimuli.tolist() if label not in position]
    if missing:
        raise brainlens.DimensionError(
            f"target: expected an embedding of each of {len(stimuli)} stimuli, found none for {len(missing)}: "
            f"{brainlens.listed(missing)}. Embed these too."
        )
    chosen = target["embedding"].isel(stimulus=[position[label] for label in stimuli.tolist()])
    values = chosen.values.reshape(len(stimuli), -1).astype(np.float64)
    if values.shape[1] != int(np.prod(decoded["embedding"].shape[1:])):
        raise brainlens.DimensionError(
            f"target: expected embeddings like those decoded, {dict(decoded['embedding'].sizes)}, found "
            f"{dict(target['embedding'].sizes)}."
        )
    return values


def _refuse_other_model(decoded: xr.Dataset, other: xr.Dataset, what: str) -> None:
    if other.attrs["model"] != decoded.attrs["model"]:
        raise brainlens.DimensionError(
            f"{what}: expected embeddings of the model that was decoded, {decoded.attrs['model']!r}, found "
            f"{other.attrs['model']!r}. Embed them by the same model."
        )


def _unit_rows(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)
    return found


def _changes(values: np.ndarray, rows: np.ndarray, mean: np.ndarray) -> Compared:
    unit = _unit_rows(values - mean)[rows]
    changed = 1 - np.einsum("lij,ij->li", unit[1:], unit[0])
    return Compared(metric=CHANGE, lesioned=changed, intact=np.zeros(rows.shape[1]), measure=_mean, chance=0.0)


def _identified(
    values: np.ndarray, rows: np.ndarray, true: np.ndarray, column: np.ndarray, mean: np.ndarray
) -> Compared:
    if len(true) < 2:
        raise brainlens.DimensionError(f"decoded: expected at least 2 stimuli to tell apart, found {len(true)}.")
    similar = _unit_rows(values - mean) @ _unit_rows(true - mean).T
    scores = np.stack([brainlens.two_way_identification(similar[own], column) for own in rows])
    return Compared(metric=IDENTIFICATION, lesioned=scores[1:], intact=scores[0], measure=_mean, chance=0.5)


def _concepts(
    decoded: xr.Dataset,
    values: np.ndarray,
    rows: np.ndarray,
    concepts: xr.Dataset,
    true: np.ndarray | None,
    params: EffectParams,
) -> list[Compared]:
    _refuse_other_model(decoded, concepts, "concepts")
    texts = concepts["embedding"].values
    if concepts["embedding"].dims != ("stimulus", "channel") or texts.shape[1] != values.shape[1]:
        raise brainlens.DimensionError(
            f"concepts: expected dims (stimulus, channel) with {values.shape[1]} channels, found "
            f"{dict(concepts['embedding'].sizes)}. Embed a text for each concept."
        )
    shares = _shares(values, texts, params)[rows]
    known = None if true is None else _shares(true, texts, params)
    found = []
    for column, name in enumerate(map(str, concepts["stimulus"].values)):
        moved = np.abs(shares[1:, :, column] - shares[0, :, column])
        zero = np.zeros(rows.shape[1])
        found.append(Compared(metric=f"moved {name}", lesioned=moved, intact=zero, measure=_mean, chance=0.0))
        if known is not None and np.ptp(known[:, column]) > 0:
            own = shares[:, :, column]
            measure = _Correlation(known[:, column])
            found.append(Compared(metric=name, lesioned=own[1:], intact=own[0], measure=measure, chance=0.0))
    return found


def _shares(values: np.ndarray, texts: np.ndarray, params: EffectParams) -> np.ndarray:
    """Return the share of each concept in each row, (row, concept)."""
    logits = _unit_rows(values) @ _unit_rows(texts.astype(np.float64)).T / params.temperature
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: np.ndarray = shares / shares.sum(axis=1, keepdims=True)
    return found


def _mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    found: np.ndarray = (weights * values).sum(axis=1) / weights.sum(axis=1)
    return found


class _Correlation:
    """Weighted correlation of values with others that are known; 0 where values do not vary."""

    def __init__(self, known: np.ndarray) -> None:
        self.known = known

    def __call__(self, weights: np.ndarray, values: np.ndarray) -> np.ndarray:
        share = weights / weights.sum(axis=1, keepdims=True)
        x, y = (each - (share * each).sum(axis=1, keepdims=True) for each in (values, self.known))
        spread = (share * x**2).sum(axis=1) * (share * y**2).sum(axis=1)
        found: np.ndarray = (share * x * y).sum(axis=1) / np.sqrt(np.maximum(spread, 1e-30))
        return found


def _as_scores(
    compared: list[Compared],
    names: list[str],
    unit: np.ndarray,
    decoded: xr.Dataset,
    params: EffectParams,
    context: brainlens.Context,
) -> xr.Dataset:
    n_units = int(unit.max()) + 1
    drawn = context.rng(_BOOTSTRAP).multinomial(n_units, np.full(n_units, 1 / n_units), size=params.n_resamples)
    exchanged = context.rng(_EXCHANGED).integers(2, size=(params.n_permutations, n_units)).astype(bool)[:, unit]
    keys = ("score", "intact", "drop", "ci_low", "ci_high", "drop_low", "drop_high", "drop_p_value")
    found = {key: np.full((len(compared), len(names)), np.nan) for key in keys}
    weights, once = drawn[:, unit].astype(np.float64), np.ones((1, len(unit)))
    for row, each in enumerate(compared):
        again = each.measure(weights, each.intact)
        intact = float(each.measure(once, each.intact)[0])
        for column, values in enumerate(each.lesioned):
            score = float(each.measure(once, values)[0])
            scores = each.measure(weights, values)
            found["score"][row, column], found["intact"][row, column] = score, intact
            found["drop"][row, column] = intact - score
            found["ci_low"][row, column], found["ci_high"][row, column] = np.quantile(scores, [0.025, 0.975])
            lost = np.quantile(again - scores, [0.025, 0.975])
            found["drop_low"][row, column], found["drop_high"][row, column] = lost
            if params.n_permutations and each.intact.any():
                null = each.measure(once, np.where(exchanged, values, each.intact)) - each.measure(
                    once, np.where(exchanged, each.intact, values)
                )
                # Rounding must not make an exchange of equals smaller than what it is compared with.
                reached = np.count_nonzero(null >= intact - score - 1e-12)
                found["drop_p_value"][row, column] = (1 + reached) / (1 + params.n_permutations)
    found["drop_q_value"] = np.full_like(found["drop_p_value"], np.nan)
    tested = ~np.isnan(found["drop_p_value"]).any(axis=1)
    if tested.any():
        found["drop_q_value"][tested] = scipy.stats.false_discovery_control(found["drop_p_value"][tested], axis=1)
    dims = ("metric", "roi")
    chance = np.tile([[each.chance] for each in compared], (1, len(names)))
    variables = {**found, "chance": chance, "n": np.full(chance.shape, len(unit))}
    attrs = {key: decoded.attrs[key] for key in ("subject", "model") if key in decoded.attrs}
    return xr.Dataset(
        {name: (dims, values) for name, values in variables.items()},
        {"metric": [each.metric for each in compared], "roi": names},
        {**attrs, "schema": "score.v1", "n_stimuli": n_units, "n_permutations": params.n_permutations},
    )


def _n_met(decoded: xr.Dataset, rows: np.ndarray) -> int:
    return int(decoded["in_training"].values[rows[0]].sum()) if "in_training" in decoded.coords else 0
