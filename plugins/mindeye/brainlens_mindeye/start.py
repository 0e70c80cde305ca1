"""What a training may start from: whether a model knows the same voxels and targets, and which weights go on where.

A subject that the model knows keeps its entry, so its sites must be those of the model; another subject's may be any.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import brainlens

# What of a network belongs to single subjects: an entry for each.
ENTRIES = "entries."
# What says where sites of the same label are the same place.
ORIGIN = {"space": "space", "volume_shape": "volume shape", "mask_sha256": "mask"}
SITES = ("voxel", "vertex")


@dataclass(frozen=True)
class Known:
    """A subject that the model knows.

    Parameters
    ----------
    entry
        The number of its entry there.
    columns
        Where the model has each site of the response; shape (n_sites,).
    """

    entry: int
    columns: np.ndarray


def known_subjects(model: xr.Dataset, subjects: Sequence[str], responses: Sequence[xr.Dataset]) -> dict[int, Known]:
    """Return which responses are of subjects that a model knows, by position.

    Parameters
    ----------
    model
        What is stored of it beside the weights.
    subjects
        Those of the model, in the order of its entries.
    responses
        With labels of sites, and `attrs["subject"]`.

    Raises
    ------
    DimensionError
        If a subject is known by other sites.
    """
    found = {}
    for number, response in enumerate(responses):
        subject = str(response.attrs.get("subject", ""))
        if subject in subjects:
            columns = match_sites(sites_of(model, subject), response, subject)
            found[number] = Known(list(subjects).index(subject), columns)
    return found


def sites_of(model: xr.Dataset, subject: str) -> xr.Dataset:
    """Return what a model holds of the sites of one of its subjects, labelled as in that subject's response."""
    if "origins" not in model.attrs:
        return model
    site = site_of(model)
    own = model.isel({site: np.flatnonzero(model["subject"].values == subject)})
    labels = own[f"source_{site}"].values
    own = own.drop_vars([site]).assign_coords({site: labels})
    return own.assign_attrs(json.loads(model.attrs["origins"])[subject])


def match_sites(known: xr.Dataset, response: xr.Dataset, subject: str) -> np.ndarray:
    """Return where each site of a response is among those of a model, whatever their order.

    Parameters
    ----------
    known
        Sites of the model, with their labels; with `i`, `j`, `k` and attributes of their origin where they are known.
    response
        With the same.
    subject
        Whose they are, for errors.

    Returns
    -------
    array
        Shape (n_sites,), int.

    Raises
    ------
    DimensionError
        If either has a site that the other lacks, or sites of the same label lie elsewhere.
    """
    site = site_of(known)
    start = f"start: expected the {known.sizes[site]} {site}s of {subject!r} that the model was fitted to, found"
    remedy = (
        "Select those (roi=...), or give this response another name in attrs['subject'] for an entry of its own, or "
        "fit without start."
    )
    if site not in response.dims:
        raise brainlens.DimensionError(f"{start} {', '.join(map(str, response.sizes))}. {remedy}")
    for key, word in ORIGIN.items():
        expected, found = known.attrs.get(key), response.attrs.get(key)
        if expected is not None and found is not None and not np.array_equal(expected, found):
            raise brainlens.DimensionError(f"{start} {site}s of {word} {found!r} instead of {expected!r}. {remedy}")
    wanted, given = known[site].values.tolist(), response[site].values.tolist()
    place = {label: number for number, label in enumerate(wanted)}
    unknown = [label for label in given if label not in place]
    there = set(given)
    missing = [label for label in wanted if label not in there]
    if unknown or missing:
        parts = [
            f"{len(labels)} {what} ({brainlens.listed(labels)})"
            for what, labels in (("that it does not know", unknown), ("of its own missing", missing))
            if labels
        ]
        raise brainlens.DimensionError(f"{start} {len(given)}: {' and '.join(parts)}. {remedy}")
    columns = np.array([place[label] for label in given], np.intp)
    for name in ("i", "j", "k"):
        if name in known.coords and name in response.coords:
            moved = response[site].values[known[name].values[columns] != response[name].values]
            if moved.size:
                raise brainlens.DimensionError(
                    f"{start} {moved.size} with another {name!r}: {brainlens.listed(moved)}. The two number their "
                    f"{site}s differently. {remedy}"
                )
    return columns


def refuse_other_target(model: xr.Dataset, target: xr.Dataset) -> None:
    """Refuse targets of another model, or with other labels, than a model was fitted to.

    Raises
    ------
    DimensionError
        If names or labels differ.
    """
    remedy = "Give the target of that model, or fit without start."
    expected, found = model.attrs.get("model"), target.attrs.get("model")
    if expected is not None and found is not None and expected != found:
        raise brainlens.DimensionError(
            f"start: expected a target of {expected!r}, which the model was fitted to, found {found!r}. {remedy}"
        )
    for dim in ("token", "channel"):
        if dim in model.coords and dim in target.dims and model[dim].values.tolist() != target[dim].values.tolist():
            raise brainlens.DimensionError(
                f"start: expected a target with the {dim} labels that the model was fitted to, in their order, found "
                f"others: {brainlens.listed(target[dim].values)} instead of {brainlens.listed(model[dim].values)}. "
                f"{remedy}"
            )


def take_over(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], known: Mapping[int, Known], *, but: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """Return the weights that a network begins with.

    Parameters
    ----------
    own
        Its weights, fresh.
    given
        Those of the network that it starts from.
    known
        Which entries are of subjects that that network knows.
    but
        Beginnings of names that are left behind.
    """
    weights = {**own, **{name: value for name, value in given.items() if name in own and ENTRIES not in name}}
    weights.update({name: value for name, value in own.items() if name.startswith(but)} if but else {})
    for number, subject in known.items():
        mine = [name for name in own if f"{ENTRIES}{number}." in name]
        first = first_weight({name: own[name] for name in mine})
        for name in mine:
            value = given[name.replace(f"{ENTRIES}{number}.", f"{ENTRIES}{subject.entry}.")]
            weights[name] = value[:, torch.from_numpy(subject.columns)] if name == first else value
    return weights


def first_weight(weights: Mapping[str, Tensor]) -> str:
    """Return the name of the matrix that an entry's voxels meet first."""
    return next(name for name, value in weights.items() if name.endswith("weight") and value.ndim == 2)


def site_of(dataset: xr.Dataset) -> str:
    """Return the dim of the sites, `voxel` or `vertex`.

    Raises
    ------
    DimensionError
        If there is none.
    """
    for site in SITES:
        if site in dataset.dims:
            return site
    found = ", ".join(map(str, dataset.sizes)) or "none"
    raise brainlens.DimensionError(
        f"start: expected labels of voxels or vertices beside the weights of the model, found dims {found}. Give "
        "start_from the dataset that is stored of the model."
    )
