"""The rows of a decoding: averaged trials with what they show, folds, and how labels are shuffled under the null."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

import brainlens
from brainlens_roi.params import DecodeParams

STIMULUS = "stimulus_id"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One fold: its label, and positions of rows, ascending."""

    label: str
    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Cases:
    """Rows that are decoded, and what from.

    Attributes
    ----------
    items
        What may be shown: embeddings of stimuli, or classes one-hot; dims (item, channel), float64.
    channels
        Labels of the channels.
    code
        Which item each row shows; shape (n_rows,).
    unit
        Which independent unit each row belongs to, a stimulus or a value of the folds' coordinate; shape (n_rows,).
    folds
        Of the cross-validation.
    by_stimulus
        Whether units are stimuli, which are shuffled whole; rows are shuffled within their unit otherwise.
    all_items
        Whether a row is looked for among all items; among those that its fold tests otherwise.
    """

    items: np.ndarray
    channels: tuple[str, ...]
    code: np.ndarray
    unit: np.ndarray
    folds: tuple[Part, ...]
    by_stimulus: bool
    all_items: bool

    @property
    def n_units(self) -> int:
        """How many independent units there are."""
        return int(self.unit.max()) + 1


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What rows show in the data, or in several shuffles of them; `codes` (n_shuffles, n_rows)."""

    codes: np.ndarray
    of_unit: np.ndarray


def prepare(
    response: xr.Dataset, target: xr.Dataset | None, params: DecodeParams, context: brainlens.Context
) -> tuple[xr.Dataset, Cases]:
    """Average trials, and join them with what they show.

    Parameters
    ----------
    response
        Responses of one subject; may be lazy.
    target
        Embeddings of its stimuli, or None to decode the coordinate `params.classes`.
    params
        Folds, averages and classes.
    context
        Its seed deals the values of `cv_by` out to folds.

    Returns
    -------
    Dataset
        The rows, as averaged; lazy if nothing was averaged.
    Cases
        What they show.

    Raises
    ------
    DimensionError
        If a coordinate is missing, a stimulus has no target, targets are not finite or do not vary, or a fold cannot be
        tested.
    ParameterError
        If there are fewer values than folds.
    """
    by_stimulus = params.cv_by in (STIMULUS, "split")
    if params.average:
        response = brainlens.average_trials(response, by=(STIMULUS,) if by_stimulus else (params.cv_by, STIMULUS))
    folds = _folds(response, params, context)
    if target is None:
        items, channels, code = _classes(response, params)
    else:
        items, channels, code = _targets(response, target)
    if not (items.std(axis=0) > 0).any():
        raise brainlens.DimensionError(
            f"target: expected at least two different items to tell apart, found {len(items)} that are all the same."
        )
    unit = np.unique(response[STIMULUS if by_stimulus else params.cv_by].values, return_inverse=True)[1]
    cases = Cases(
        items=items,
        channels=channels,
        code=code,
        unit=unit,
        folds=folds,
        by_stimulus=by_stimulus,
        all_items=target is None,
    )
    _check_folds(cases)
    return response, cases


def as_shown(cases: Cases) -> Labels:
    """Return the labels as they are, as one shuffle that leaves everything in place."""
    return Labels(codes=cases.code[None], of_unit=_code_of_unit(cases)[None])


def shuffled(cases: Cases, n_shuffles: int, rng: np.random.Generator) -> Labels:
    """Shuffle labels: those of whole stimuli among all stimuli, or those of rows within each unit.

    Rows of one stimulus keep a common label in the first case. In the second, units such as runs are what was scanned
    independently, and labels are exchanged only inside them.
    """
    of_unit = _code_of_unit(cases)
    if cases.by_stimulus:
        moved = np.stack([of_unit[rng.permutation(len(of_unit))] for _ in range(n_shuffles)])
        return Labels(codes=moved[:, cases.unit], of_unit=moved)
    codes = np.tile(cases.code, (n_shuffles, 1))
    for unit in range(cases.n_units):
        rows = np.flatnonzero(cases.unit == unit)
        codes[:, rows] = rng.permuted(codes[:, rows], axis=1)
    return Labels(codes=codes, of_unit=np.tile(of_unit, (n_shuffles, 1)))


def candidates(cases: Cases, labels: Labels, fold: Part) -> tuple[np.ndarray, np.ndarray]:
    """Return among which items the rows of a fold are looked for, and which of them is the true one.

    Returns
    -------
    items
        Dims (n_shuffles, n_candidates).
    columns
        Position of each row's item among them; dims (n_shuffles, test).
    """
    codes = labels.codes[:, fold.test]
    if cases.all_items:
        return np.tile(np.arange(len(cases.items)), (len(codes), 1)), codes
    if cases.by_stimulus:
        units, columns = np.unique(cases.unit[fold.test], return_inverse=True)
        return labels.of_unit[:, units], np.tile(columns, (len(codes), 1))
    # Shuffling within units that are tested whole does not change what is tested.
    known = np.unique(cases.code[fold.test])
    return np.tile(known, (len(codes), 1)), np.searchsorted(known, codes)


def _code_of_unit(cases: Cases) -> np.ndarray:
    first = np.unique(cases.unit, return_index=True)[1]
    found: np.ndarray = cases.code[first]
    return found


def _folds(response: xr.Dataset, params: DecodeParams, context: brainlens.Context) -> tuple[Part, ...]:
    if params.cv_by == "split":
        if "split" not in response.coords:
            raise brainlens.DimensionError(
                "cv_by='split': expected a coordinate 'split' with 'train' and 'test', found none. Assign it with "
                "brainlens.split_trials, or choose other folds."
            )
        train, test = (np.flatnonzero(response["split"].values == part) for part in ("train", "test"))
        if not (len(train) and len(test)):
            found = brainlens.listed(np.unique(response["split"].values).tolist())
            raise brainlens.DimensionError(f"cv_by='split': expected trials of 'train' and 'test', found only {found}.")
        return (Part(label="test", train=train, test=test),)
    if "n_folds" in params.model_fields_set:
        made = brainlens.folds(response, params.cv_by, n_folds=params.n_folds or None, seed=context.seed)
    else:
        made = brainlens.folds(response, params.cv_by, most=params.n_folds, seed=context.seed)
        if len(made) < params.n_folds:
            context.log.info("%d folds, one for each value of %r that there is", len(made), params.cv_by)
    return tuple(Part(label=each.label, train=each.train, test=each.test) for each in made)


def _classes(response: xr.Dataset, params: DecodeParams) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    name = params.classes
    known = [str(coord) for coord, array in response.coords.items() if array.dims == ("trial",)]
    if name not in known:
        dropped = " Averaging dropped it, since it differs between trials that are averaged." * (
            name in response.attrs.get("dropped_coords", ())
        )
        raise brainlens.DimensionError(
            f"classes: expected a coordinate of the trials, found {name!r}. {brainlens.closest(name, known)}{dropped}"
        )
    labels, code = np.unique(_plain(response[name].values), return_inverse=True)
    return np.eye(len(labels)), tuple(map(str, labels)), code


def _targets(response: xr.Dataset, target: xr.Dataset) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    embedding = target["embedding"]
    if embedding.dims not in (("stimulus", "channel"), ("stimulus", "token", "channel")):
        raise brainlens.DimensionError(
            f"target: expected dims (stimulus, channel) or (stimulus, token, channel), found {embedding.dims}. Give "
            "embeddings of stimuli."
        )
    shown, code = np.unique(_plain(response[STIMULUS].values), return_inverse=True)
    position = {label: row for row, label in enumerate(_plain(target["stimulus"].values).tolist())}
    missing = [label for label in shown.tolist() if label not in position]
    if missing:
        raise brainlens.DimensionError(
            f"target: expected an embedding of each of {len(shown)} stimuli of the response, found none for "
            f"{len(missing)}: {brainlens.listed(missing)}. The target has {len(position)}: "
            f"{brainlens.listed(list(position))}. Embed the missing ones; 1 and '1' are not the same."
        )
    rows = np.array([position[label] for label in shown.tolist()])
    values = embedding.isel(stimulus=rows).values.reshape(len(rows), -1).astype(np.float64)
    if not np.isfinite(values).all():
        raise brainlens.DimensionError(
            f"target: expected finite embeddings, found others of {int((~np.isfinite(values)).any(axis=1).sum())} "
            "stimuli. Embed these again."
        )
    channels = _channel_names(embedding)
    return values, channels, code


def _channel_names(embedding: xr.DataArray) -> tuple[str, ...]:
    axes: list[list[Any]] = [
        embedding[dim].values.tolist() if dim in embedding.coords else list(range(embedding.sizes[dim]))
        for dim in embedding.dims[1:]
    ]
    if len(axes) == 1:
        return tuple(map(str, axes[0]))
    return tuple(f"{token} {channel}" for token in axes[0] for channel in axes[1])


def _check_folds(cases: Cases) -> None:
    """Refuse folds in which nothing can be told apart, or that test what training cannot have met."""
    for fold in cases.folds:
        n_items = len(np.unique(cases.code[fold.test]))
        if n_items < 2 and not cases.all_items:
            raise brainlens.DimensionError(
                f"fold {fold.label!r}: expected at least 2 different stimuli to tell apart, found {n_items}. Make "
                "fewer folds, or folds by another coordinate."
            )
        unmet = np.setdiff1d(cases.code[fold.test], cases.code[fold.train])
        if cases.all_items and len(unmet):
            raise brainlens.DimensionError(
                f"fold {fold.label!r}: expected classes that its training trials show, found "
                f"{brainlens.listed([cases.channels[code] for code in unmet])} in the test only. Make folds by another "
                "coordinate, such as cv_by='run', or decode other classes."
            )


def _plain(labels: np.ndarray) -> np.ndarray:
    return np.array(labels.tolist(), dtype=str) if labels.dtype.kind in "OT" else labels
