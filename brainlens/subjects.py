"""Several subjects in one model: which responses go together, and the sites of all of them in one dataset.

What is done to the trials of each subject is in `brainlens.trials`; it is done to each alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from brainlens.errors import DimensionError, closest
from brainlens.trials import site_of

# What says where the sites of one subject lie; those of another lie elsewhere.
ORIGIN = ("space", "affine", "volume_shape", "mask_sha256")


def refuse_apart(
    responses: Mapping[str, xr.Dataset], targets: Mapping[str, xr.Dataset], *, called: str = "targets"
) -> None:
    """Refuse responses that one model cannot be fitted to; both by the names that they are stored under.

    Raises
    ------
    DimensionError
        If two responses are of one subject, of different units or kinds of site, or the targets are of different
        models, channels or tokens. `called` is what these are called.
    """
    names: dict[str, str] = {}
    for name, response in responses.items():
        subject = response.attrs.get("subject")
        if not isinstance(subject, str):
            raise DimensionError(
                f"fit: expected attrs['subject'] to say whose response {name!r} is, found {subject!r}. Store it so."
            )
        if subject in names:
            raise DimensionError(
                f"fit: expected each response of another subject, found {names[subject]!r} and {name!r} both of "
                f"{subject!r}. Put all trials of a subject into one response."
            )
        names[subject] = name
    _refuse_differing(responses, "responses of one unit", lambda each: each.attrs.get("units"), "Convert one of them.")
    _refuse_differing(responses, "sites of one kind", site_of, "Fit volumes and surfaces apart.")
    remedy = f"Give {called} of one model, with the same labels."
    _refuse_differing(targets, f"{called} of one model", lambda each: each.attrs.get("model"), remedy)
    (first, one), *others = targets.items()
    for name, other in others:
        for dim in ("token", "channel"):
            if _labels(one, dim) != _labels(other, dim):
                found = f"{other.sizes.get(dim, 0)} in {name!r} and {one.sizes.get(dim, 0)} in {first!r}"
                raise DimensionError(
                    f"fit: expected the same {dim} labels in all {called}, found others: {found}. {remedy}"
                )


def join_models(models: Sequence[xr.Dataset]) -> xr.Dataset:
    """Put what is stored of models of one subject each into one dataset.

    Returns
    -------
    Dataset
        Sites are numbered from 0; `subject` (voxel) says whose each one is, `source_voxel` (voxel) its label in that
        subject's response, or `source_vertex`. Other labels of sites are kept where all subjects have them; the
        names of the others are in `attrs["dropped_coords"]`. `attrs["origins"]` holds, as JSON text, what says where
        the sites of each subject lie.

    Raises
    ------
    DimensionError
        If labels of sites are text in one subject and numbers in another.
    """
    first, site = models[0], site_of(models[0])
    source = f"source_{site}"
    subjects = [str(model.attrs["subject"]) for model in models]
    own = [{name for name, coord in model.coords.items() if coord.dims == (site,)} for model in models]
    shared = set.intersection(*own) - {site, source, "subject"}
    dropped = sorted(map(str, set.union(*own) - shared - {site}))
    coords: dict[Hashable, Any] = {name: coord for name, coord in first.coords.items() if coord.dims != (site,)}
    coords |= {name: (site, _joined(models, name, subjects)) for name in sorted(shared, key=str)}
    coords |= {source: (site, _joined(models, site, subjects))}
    coords["subject"] = (site, np.repeat(np.array(subjects, dtype=object), [model.sizes[site] for model in models]))
    coords[site] = np.arange(sum(model.sizes[site] for model in models))
    variables = {name: (site, _joined(models, name, subjects)) for name in ("training_mean", "training_std")}
    origins = [{key: model.attrs[key] for key in ORIGIN if key in model.attrs} for model in models]
    common = {
        key: value
        for key, value in first.attrs.items()
        if key not in ORIGIN or all(key in origin and np.array_equal(origin[key], value) for origin in origins)
    }
    attrs = {**common, "subject": ", ".join(subjects), "origins": _as_json(dict(zip(subjects, origins, strict=True)))}
    return xr.Dataset(variables, coords, attrs | ({"dropped_coords": dropped} if dropped else {}))


def model_of_subject(fitted: xr.Dataset, response: xr.Dataset, model: str) -> xr.Dataset:
    """Return what a model holds of the subject of a response, as if it had been fitted to that subject alone.

    Raises
    ------
    DimensionError
        If the model was fitted to several subjects, and this is none of them.
    """
    if "origins" not in fitted.attrs:
        return fitted
    site, subject = site_of(fitted), response.attrs.get("subject")
    origins: dict[str, Any] = json.loads(fitted.attrs["origins"])
    if subject not in origins:
        raise DimensionError(
            f"model {model!r}: expected a response of one of its {len(origins)} subjects, found {subject!r}. "
            f"{closest(subject, origins)} Fit a model to that subject, with start={model!r} where the decoder can."
        )
    own = fitted.isel({site: np.flatnonzero(fitted["subject"].values == subject)})
    labels = own[f"source_{site}"].values
    own = own.drop_vars(["subject", f"source_{site}", site]).assign_coords({site: labels})
    kept = {key: value for key, value in fitted.attrs.items() if key not in (*ORIGIN, "origins")}
    own.attrs = {**kept, **origins[subject], "subject": subject}
    return own


def _refuse_differing(
    datasets: Mapping[str, xr.Dataset], expected: str, look: Callable[[xr.Dataset], Any], remedy: str
) -> None:
    (first, one), *others = datasets.items()
    for name, other in others:
        if look(one) != look(other):
            found = f"{look(one)!r} in {first!r} and {look(other)!r} in {name!r}"
            raise DimensionError(f"fit: expected {expected}, found {found}. {remedy}")


def _labels(target: xr.Dataset, dim: str) -> list[Any] | None:
    return target[dim].values.tolist() if dim in target.dims else None


def _joined(models: Sequence[xr.Dataset], name: Hashable, subjects: Sequence[str]) -> np.ndarray:
    """Return the values of all subjects behind each other, unchanged."""
    parts = [np.asarray(model[name].values) for model in models]
    joined = np.concatenate(parts)
    for subject, part in zip(subjects, parts, strict=True):
        # Otherwise numpy would turn numbers into text, and large whole numbers into others.
        if _kind(part) != _kind(joined):
            raise DimensionError(
                f"fit: expected {name!r} of one kind in all subjects, found {part.dtype} in {subject!r} and others "
                "elsewhere. Convert one of them."
            )
    return joined


def _kind(values: np.ndarray) -> str:
    kind = values.dtype.kind
    return "text" if kind in "OUT" else "whole" if kind in "iu" else kind


def _as_json(value: Any) -> str:
    return json.dumps(value, default=lambda item: item.tolist(), ensure_ascii=False, sort_keys=True)
