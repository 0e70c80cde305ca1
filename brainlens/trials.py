"""Make trials ready for a decoder or encoder: which trials, which sites, and which of them a model has met."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import pandas as pd
import xarray as xr

from brainlens.averages import Standardize, average_trials
from brainlens.errors import DimensionError, ParameterError, closest, listed
from brainlens.labels import SPLITS
from brainlens.records import Entry
from brainlens.rois import select_roi
from brainlens.schema import row_blocks
from brainlens.selection import join_targets

_ORIGIN_WORDS = {"mask_sha256": "mask", "volume_shape": "volume shape", "units": "unit"}


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How trials are made ready.

    Parameters
    ----------
    roi
        ROI expression; all sites when left out.
    average
        Coordinates (trial) over which repetitions are averaged, such as `("stimulus_id",)`; single trials when empty.
    standardize
        `"training"`: z-score each site with mean and standard deviation of the training trials; `"center"`: subtract
        their mean; `"none"`.
    split
        Which trials to take by their coordinate `split`: `"train"`, `"val"`, `"test"`, or `"all"`. Left out, fitting
        takes `train` and predicting takes `test` where there is a `split`, and all trials where there is none.
    """

    roi: str | None = None
    average: tuple[str, ...] = ()
    standardize: Standardize = "training"
    split: str | None = None

    def __post_init__(self) -> None:
        if self.standardize not in get_args(Standardize):
            raise ParameterError(
                f"standardize: unknown choice {self.standardize!r}. {closest(self.standardize, get_args(Standardize))}"
            )
        if self.split is not None and self.split not in (*SPLITS, "all"):
            raise ParameterError(f"split: unknown choice {self.split!r}. {closest(self.split, (*SPLITS, 'all'))}")

    def options(self) -> dict[str, Any]:
        """Return the choices as they are recorded."""
        return {"roi": self.roi, "average": list(self.average), "standardize": self.standardize, "split": self.split}


@dataclass(frozen=True, kw_only=True)
class Trials:
    """The trials of one response: chosen, made ready, and embeddings of the same stimuli, row for row.

    Parameters
    ----------
    entry
        The stored response.
    chosen, response
        Its trials before and after averaging; not standardised.
    aligned
        By input: an embedding of those trials, a list of several, or None where none was given.
    embeddings
        As they are stored: those whose labels a model keeps.
    """

    entry: Entry
    chosen: xr.Dataset
    response: xr.Dataset
    aligned: Mapping[str, Any]
    embeddings: Sequence[xr.Dataset]

    def select(self, rows: np.ndarray) -> Trials:
        """Keep some of the trials that were made ready, by position."""
        aligned = {key: _select_rows(each, rows) for key, each in self.aligned.items()}
        return replace(self, response=self.response.isel(trial=rows), aligned=aligned)


def _select_rows(embedding: Any, rows: np.ndarray) -> Any:
    if isinstance(embedding, list):
        return [each.isel(trial=rows) for each in embedding]
    return None if embedding is None else embedding.isel(trial=rows)


@contextlib.contextmanager
def named(what: str, *, of: int) -> Iterator[None]:
    """Say of which dataset an error is, where there are several."""
    try:
        yield
    except (DimensionError, ParameterError) as error:
        if of == 1:
            raise
        raise type(error)(f"{what}: {error}") from error


def coordinate_names(average: str | Sequence[str], *, called: str = "average") -> tuple[str, ...]:
    """Return names of coordinates, which as text are separated by commas.

    Raises
    ------
    ParameterError
        If it is something else; `called` is what the error calls it.

    Examples
    --------
    >>> coordinate_names("stimulus_id, session")
    ('stimulus_id', 'session')
    """
    if isinstance(average, str):
        return tuple(name.strip() for name in average.split(",") if name.strip())
    if not isinstance(average, Sequence) or not all(isinstance(name, str) for name in average):
        raise ParameterError(
            f"{called}: expected names of coordinates (trial), such as 'stimulus_id', found {average!r}. Leave it out "
            "for single trials."
        )
    return tuple(average)


def select_trials(
    response: xr.Dataset, preparation: Preparation, *, default: str, called: str = "response"
) -> xr.Dataset:
    """Keep the trials of one part of `split`; `default` says which part where the user did not.

    Raises
    ------
    DimensionError
        If no trial is in that part, or there is no `split` to choose by.
    """
    part = preparation.split or (default if "split" in response.coords else "all")
    if part == "all":
        return response
    if "split" not in response.coords:
        raise DimensionError(
            f"split {part!r}: the {called} has no coordinate 'split'. Make one with brainlens.split_trials, or use "
            "split='all'."
        )
    inside = np.flatnonzero(np.asarray(response["split"].values, dtype=str) == part)
    if not inside.size:
        raise DimensionError(
            f"split {part!r}: no trial is in it. "
            f"{closest(part, np.unique(response['split'].values.astype(str)), what='there are')}"
        )
    return response.isel(trial=inside)


def prepare_sites(response: xr.Dataset, preparation: Preparation) -> xr.Dataset:
    """Select the ROI, as asked."""
    return response if preparation.roi is None else select_roi(response, preparation.roi)


def prepare_trials(response: xr.Dataset, preparation: Preparation) -> xr.Dataset:
    """Average repetitions, as asked."""
    return average_trials(response, by=preparation.average) if preparation.average else response


def align_targets(
    response: xr.Dataset, target: xr.Dataset, *, unused: np.ndarray | None = None, called: str = "target"
) -> xr.Dataset:
    """Return the targets of trials, row for row, with the trials' labels.

    Parameters
    ----------
    response
        With `stimulus_id` (trial).
    target
        With a dim `stimulus`, or with a dim `trial` and the same trials.
    unused
        Labels of trials that were left out of the response by their split, and so are left out of the target.
    called
        What errors call the target.

    Raises
    ------
    DimensionError
        If a trial has no target, or labels are ambiguous.
    """
    if unused is not None and "trial" in target.coords:
        target = target.isel(trial=np.flatnonzero(~np.isin(target["trial"].values, unused)))
    rows = join_targets(response, target, called=called)
    if "stimulus" in target.dims:
        aligned = target.isel(stimulus=rows).drop_vars("stimulus").rename(stimulus="trial")
    else:
        aligned = target.isel(trial=rows)
    return aligned.assign_coords({name: coord for name, coord in response.coords.items() if coord.dims == ("trial",)})


def trial_digests(response: xr.Dataset) -> np.ndarray:
    """Return a digest of each trial's values, by which the same trial is known in another dataset.

    Returns
    -------
    array
        Shape (n_trials,); uint64; the first 8 bytes of BLAKE2b of the values as float32.
    """
    variable = response["response"].variable.transpose("trial", ...)
    rows = (row for _, block in row_blocks(variable) for row in np.ascontiguousarray(block, dtype="<f4"))
    return np.array([int.from_bytes(hashlib.blake2b(row, digest_size=8).digest(), "little") for row in rows], np.uint64)


def training_rows(chosen: xr.Dataset, digest: str) -> xr.Dataset:
    """Return what a model keeps of the trials that it was fitted on, by which they are known again.

    Parameters
    ----------
    chosen
        The trials, before they are averaged.
    digest
        Of the stored response that they are from.

    Returns
    -------
    Dataset
        `training_digest` (training_trial), uint64, and the labels of the trials and of the stimuli that they showed;
        `attrs["training_responses"]`.
    """
    rows = xr.Dataset({"training_digest": ("training_trial", trial_digests(chosen))})
    labels: dict[str, Any] = {"training_trial": chosen["trial"].values}
    if "stimulus_id" in chosen.coords:
        labels["training_stimulus"] = ("training_trial", chosen["stimulus_id"].values)
    return rows.assign_coords(labels).assign_attrs(training_responses=[digest])


def rows_of_model(fitted: xr.Dataset, digest: str) -> xr.Dataset:
    """Return the training rows of a stored model; `digest` is that of its response where it has but one."""
    rows = fitted[["training_digest"]].drop_attrs(deep=False)
    return rows.assign_attrs(training_responses=fitted.attrs.get("training_responses", [digest])).load()


def join_training_rows(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Put training rows together, each trial of each response once.

    Returns
    -------
    Dataset
        As `training_rows`; with trials of more than one response also `training_response` (training_trial), int, the
        position in `attrs["training_responses"]`. Labels become text where those of some responses are text already.
    """
    if len(parts) == 1:
        return parts[0]
    digests = list(dict.fromkeys(digest for part in parts for digest in part.attrs["training_responses"]))
    codes = [
        np.array([digests.index(item) for item in part.attrs["training_responses"]])[_codes(part)] for part in parts
    ]
    labels = [name for name in ("training_trial", "training_stimulus") if all(name in part.coords for part in parts)]
    columns = {name: _joined([part[name].values for part in parts]) for name in (*labels, "training_digest")}
    columns["training_response"] = np.concatenate(codes)
    table = pd.DataFrame(columns).drop_duplicates()
    rows = xr.Dataset({name: ("training_trial", table[name].to_numpy()) for name in columns})
    rows = rows.set_coords(["training_response", *labels]).assign_attrs(training_responses=digests)
    return rows.drop_vars("training_response") if len(digests) == 1 else rows


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Put labels behind each other, as text where those of some are text."""
    mixed = len({array.dtype.kind in "OUT" for array in arrays}) > 1
    return np.concatenate([array.astype(str) for array in arrays] if mixed else arrays)


def add_training_rows(frame: xr.Dataset, rows: xr.Dataset) -> xr.Dataset:
    """Add training rows to the dataset that is stored of a model; of one response, its digest is in the provenance."""
    several = {"training_responses": rows.attrs["training_responses"]} if "training_response" in rows.coords else {}
    return frame.assign(rows.data_vars).assign_coords(rows.coords).assign_attrs(several)


def _codes(rows: xr.Dataset) -> np.ndarray:
    if "training_response" in rows.coords:
        return np.asarray(rows["training_response"].values)
    return np.zeros(rows.sizes["training_trial"], np.int64)


def mark_training(response: xr.Dataset, rows: xr.Dataset, *, digest: str, average: tuple[str, ...] = ()) -> xr.Dataset:
    """Say of each trial whether the model was fitted on it, so that no score on training trials goes unnoticed.

    Parameters
    ----------
    response
        Sites as in the model; not averaged yet.
    rows
        Of the model, as `rows_of_model` returns them.
    digest
        Of the stored response. Trials of a response that the model was fitted on are known by their labels, all
        others by their values.
    average
        Coordinates that trials will be averaged over: a mean is marked if any of its trials is.
    """
    same = np.array([item == digest for item in rows.attrs["training_responses"]])[_codes(rows)]
    labels, trained = response["trial"].values, rows["training_trial"].values[same]
    if trained.dtype.kind in "OUT":
        labels, trained = labels.astype(str), trained.astype(str)
    seen = np.isin(labels, trained)
    if not same.all():
        seen |= np.isin(trial_digests(response), rows["training_digest"].values[~same])
    if all(name in response.coords for name in average) and average:
        groups = pd.DataFrame({name: response[name].values for name in average})
        seen = pd.Series(seen).groupby([groups[name] for name in average], dropna=False).transform("any").to_numpy()
    return response.assign_coords(in_training=("trial", seen))


def mark_stimuli(trials: xr.Dataset, rows: xr.Dataset) -> xr.Dataset:
    """Say of each trial whether its stimulus was shown in a trial that the model was fitted on.

    Parameters
    ----------
    trials
        With `stimulus_id` (trial).
    rows
        Of the model, as `rows_of_model` returns them.
    """
    return trials.assign_coords(
        in_training=("trial", same_labels(trials["stimulus_id"].values, rows["training_stimulus"].values))
    )


def same_labels(labels: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return of each label whether it is among those that are known; as text where either are text."""
    if {labels.dtype.kind, known.dtype.kind} & set("OUT"):
        return np.asarray(pd.Index(list(map(str, labels.tolist()))).isin(set(map(str, known.tolist()))))
    return np.isin(labels, known)


def refuse_other_origin(response: xr.Dataset, fitted: xr.Dataset, model: str) -> None:
    """Refuse to predict for another subject, space or unit than the model was fitted on.

    Raises
    ------
    DimensionError
        If both say what theirs is, and they differ.
    """
    place = "Sites of the same label are not the same place there."
    reasons = {
        "subject": place,
        "mask_sha256": place,
        "space": place,
        "volume_shape": place,
        "units": "The model's statistics are in its own unit; convert the response.",
    }
    for key, why in reasons.items():
        expected, found = fitted.attrs.get(key), response.attrs.get(key)
        if expected is not None and found is not None and not np.array_equal(expected, found):
            raise DimensionError(
                f"model {model!r}: expected a response of {_ORIGIN_WORDS.get(key, key)} {expected!r}, found "
                f"{found!r}. {why}"
            )


def select_sites(response: xr.Dataset, fitted: xr.Dataset) -> xr.Dataset:
    """Take the sites that a model was fitted on, by label, in the model's order.

    Raises
    ------
    DimensionError
        If the response lacks any of them, has another kind of site, or has a site of the same label elsewhere.
    """
    site = site_of(fitted)
    if site not in response.dims:
        raise DimensionError(
            f"response: expected dim {site!r} as in the model, found {', '.join(map(str, response.sizes))}."
        )
    wanted = fitted[site].values
    positions = pd.Index(response[site].values).get_indexer(pd.Index(wanted))
    if (positions < 0).any():
        missing = wanted[positions < 0]
        raise DimensionError(
            f"response: expected the model's {len(wanted)} {site}s, found {len(missing)} of them missing: "
            f"{listed(missing)}. "
            "Predict for a response with the same sites, or fit the model on those that both have (roi=…)."
        )
    ordered = np.array_equal(positions, np.arange(response.sizes[site]))
    response = response if ordered else response.isel({site: positions})
    for name in ("i", "j", "k"):
        if name in response.coords and name in fitted.coords:
            moved = wanted[response[name].values != fitted[name].values]
            if moved.size:
                raise DimensionError(
                    f"response: expected each {site} where the model has it, found another {name!r} for {len(moved)} "
                    f"of {len(wanted)}: {listed(moved)}. The two number their {site}s differently."
                )
    return response


def site_of(dataset: xr.Dataset) -> str:
    """Return the dim of the measurement sites, `voxel` or `vertex`."""
    for dim in ("voxel", "vertex"):
        if dim in dataset.dims:
            return dim
    raise DimensionError(f"response: expected dim 'voxel' or 'vertex', found {', '.join(map(str, dataset.sizes))}.")
