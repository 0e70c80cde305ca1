"""The importer `nifti`: 4-D images to a BOLD dataset and, with labels or events, to trials and their categories.

Reading, labelling, ROIs and cleaning are in the modules beside this one; here they are put together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import xarray as xr

import brainlens
from brainlens_nifti import NiftiParams
from brainlens_nifti.clean import clean_runs, find_bad_voxels, read_confounds
from brainlens_nifti.images import (
    check_same_grid,
    grid_attributes,
    mask_digest,
    open_image,
    read_mask,
    read_t_r,
    read_voxels,
)
from brainlens_nifti.labels import number_trials, time_volumes
from brainlens_nifti.regions import handle_empty_rois, read_rois


def read(*, params: NiftiParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read BOLD images within a mask; form trials where labels or events are given.

    Parameters
    ----------
    params
        Files and choices.
    context
        Notes every file that is read.

    Returns
    -------
    Mapping
        With labels or events: "bold", following bold.v1; "response", following response.v1, with
        `stimulus_id` = label; "categories", following embedding.v1, one-hot (stimulus, channel), the decoding
        target. Otherwise "": the BOLD dataset alone.

    Raises
    ------
    DimensionError
        If grids, or numbers of volumes and rows, differ.
    ParameterError
        If a file is damaged or does not hold what it should, or choices contradict each other.
    RegistryError
        If a file does not exist.
    """
    _check_choices(params)
    images = [open_image(context.source(path), what="BOLD", n_dims=4) for path in params.bold]
    mask = _read_mask(images, params=params, context=context)
    t_r = params.t_r or _read_t_r(images)
    sizes = [(Path(path), image.shape[3]) for path, image in zip(params.bold, images, strict=True)]
    if params.events and "delay" not in params.model_fields_set:
        context.log.warning(
            "nifti: volumes belong to events as they are timed, with no haemodynamic delay. The response comes some "
            "5 s later: say delay=5, or delay=0 where onsets have been moved."
        )
    tables = [context.source(path) for path in params.labels or params.events]
    volumes = time_volumes(params, tables, images=sizes, t_r=t_r)
    confounds = read_confounds(params, [context.source(path) for path in params.confounds], images=sizes)
    rois = read_rois(params, context, reference=images[0], mask=mask)

    bold = _assemble(_read_signal(images, mask, context=context), volumes, mask=mask, image=images[0], params=params)
    bold = bold.assign_attrs(t_r=t_r).merge(rois, combine_attrs="no_conflicts")
    bold = _drop_bad_voxels(bold, params=params, context=context)
    if rois:
        bold = brainlens.sort_by_roi(bold)
    signal = bold["bold"].values
    if params.smoothing_fwhm:
        signal = _read_signal(images, mask, context=context, smoothing_fwhm=params.smoothing_fwhm)[
            :, bold["voxel"].values
        ]
    signal = clean_runs(signal, bold["run"].values, params=params, t_r=t_r, confounds=confounds)
    bold = bold.assign(bold=(("time", "voxel"), signal))
    if not tables:
        return {"": bold}
    response = form_response(bold, number_trials(volumes, average_over=params.average_over))
    return {"bold": bold, "response": response, "categories": form_categories(response["stimulus_id"].values)}


def form_response(bold: xr.Dataset, trials: np.ndarray) -> xr.Dataset:
    """Average the volumes of each trial.

    Parameters
    ----------
    bold
        Dataset following bold.v1 with `stimulus_id` (time).
    trials
        Trial of each volume, from 0; -1 for none. Volumes of one trial share run and stimulus.

    Returns
    -------
    Dataset following response.v1
        `response` (trial, voxel), float32, unit of `bold`; coordinates `stimulus_id`, `run`, `repetition` (how
        often the stimulus came before) and `n_volumes` of each trial; everything on voxels as in `bold`.
    """
    n_trials = int(trials.max()) + 1
    signal = bold["bold"].values
    response = np.empty((n_trials, signal.shape[1]), np.float32)
    for trial in range(n_trials):
        response[trial] = signal[trials == trial].mean(axis=0, dtype=np.float64)
    first = np.array([np.flatnonzero(trials == trial)[0] for trial in range(n_trials)])
    stimulus = bold["stimulus_id"].values[first]
    dataset = bold.drop_dims("time").assign(response=(("trial", "voxel"), response))
    dataset = dataset.assign_coords(
        trial=np.arange(n_trials),
        stimulus_id=("trial", stimulus),
        run=("trial", bold["run"].values[first]),
        repetition=("trial", pd.Series(stimulus).groupby(stimulus).cumcount().to_numpy()),
        n_volumes=("trial", np.bincount(trials[trials >= 0])),
    )
    kept = {key: value for key, value in bold.attrs.items() if key != "t_r"}
    return dataset.drop_attrs(deep=False).assign_attrs(kept | {"schema": "response.v1"})


def form_categories(stimulus: np.ndarray) -> xr.Dataset:
    """Code each label as a vector of its own, the target for decoding categories.

    Returns
    -------
    Dataset following embedding.v1
        `embedding` (stimulus, channel), float32: 1 where stimulus and channel have one name, else 0; both are the
        sorted labels.
    """
    names = np.unique(stimulus)
    return xr.Dataset(
        {"embedding": (("stimulus", "channel"), np.eye(len(names), dtype=np.float32))},
        coords={"stimulus": names, "channel": names},
        attrs={"schema": "embedding.v1", "model": "one-hot"},
    )


def _check_choices(params: NiftiParams) -> None:
    """Refuse parameters that contradict each other or would have no effect."""
    timed = bool(params.labels or params.events)
    twice = sorted({path for path in params.bold if params.bold.count(path) > 1})
    wrong = {
        f"bold: expected every image once, found {brainlens.listed(twice)} more than once": twice,
        "labels and events: expected one of them, found both": params.labels and params.events,
        f"delay: expected 0 without events, found {params.delay!r}": params.delay and not params.events,
        f"event_gap: expected 0 without events, found {params.event_gap!r}": params.event_gap and not params.events,
        f"average_over: expected labels or events beside {params.average_over!r}, found neither": (
            params.average_over != "volume" and not timed
        ),
        f"confounds: expected tables for columns {brainlens.listed(params.confound_columns)}, found none": (
            params.confound_columns and not params.confounds
        ),
    }
    for text, applies in wrong.items():
        if applies:
            raise brainlens.ParameterError(f"{text}. Leave out one, or add the other.")


def _read_mask(images: Sequence[nib.Nifti1Image], *, params: NiftiParams, context: brainlens.Context) -> np.ndarray:
    for image in images[1:]:
        check_same_grid(image, images[0], what="BOLD")
    image = open_image(context.source(params.mask), what="mask", n_dims=3)
    check_same_grid(image, images[0], what="mask")
    mask = read_mask(image, what="mask")
    if not mask.any():
        raise brainlens.ParameterError(
            f"mask {params.mask!r}: expected at least 1 voxel, found none; all values are 0."
        )
    return mask


def _read_t_r(images: Sequence[nib.Nifti1Image]) -> float:
    found = [read_t_r(image) for image in images]
    for image, t_r in zip(images, found, strict=True):
        if t_r != found[0]:
            raise brainlens.DimensionError(
                f"BOLD {image.get_filename()!r}: expected the repetition time {found[0]} s of "
                f"{images[0].get_filename()!r}, "
                f"found {t_r} s. Import these runs apart, or give t_r in s if a header is wrong."
            )
    return found[0]


def _read_signal(
    images: Sequence[nib.Nifti1Image], mask: np.ndarray, *, context: brainlens.Context, smoothing_fwhm: float = 0.0
) -> np.ndarray:
    """Read all images into one array: (n_volumes of all, n_voxels), float32."""
    signal = np.empty((sum(image.shape[3] for image in images), int(mask.sum())), np.float32)
    start = 0
    for image in context.progress(images, label="reading BOLD"):
        signal[start : start + image.shape[3]] = read_voxels(image, mask, smoothing_fwhm=smoothing_fwhm)
        start += image.shape[3]
    return signal


def _assemble(
    signal: np.ndarray, volumes: pd.DataFrame, *, mask: np.ndarray, image: nib.Nifti1Image, params: NiftiParams
) -> xr.Dataset:
    """Label the signal: volumes in time, voxels in space."""
    indices = np.argwhere(mask)
    places = nib.affines.apply_affine(image.affine, indices)
    coords: dict[str, Any] = {
        "time": np.arange(len(volumes)),
        "run": ("time", _as_plain(volumes["run"])),
        "onset": ("time", volumes["onset"].to_numpy(np.float64)),
        "voxel": np.arange(len(indices)),
        "source_index": ("voxel", np.arange(len(indices))),
    }
    if "label" in volumes:
        coords["stimulus_id"] = ("time", _as_plain(volumes["label"]))
    coords |= {name: ("voxel", indices[:, axis].astype(np.int32)) for axis, name in enumerate("ijk")}
    coords |= {f"{name}_mm": ("voxel", places[:, axis]) for axis, name in enumerate("xyz")}
    if params.hemispheres == "from_x":
        coords["hemisphere"] = ("voxel", _name_hemispheres(places[:, 0], image))
    units = {"none": params.units, "zscore_sample": "z within run", "psc": "% signal change"}[params.standardize_runs]
    described = {"schema": "bold.v1", "subject": params.subject, "space": params.space, "units": units}
    attrs = described | grid_attributes(image) | {"mask_sha256": mask_digest(mask, image.affine)}
    return xr.Dataset({"bold": (("time", "voxel"), signal)}, coords=coords, attrs=attrs)


def _as_plain(column: pd.Series) -> np.ndarray:
    """Return integers as they are, and text as numpy text rather than as pandas keeps it."""
    return column.to_numpy() if pd.api.types.is_integer_dtype(column) else column.to_numpy(dtype=str)


def _name_hemispheres(x_mm: np.ndarray, image: nib.Nifti1Image) -> np.ndarray:
    """Call what lies at x < 0 left, and everything else, the midline plane x = 0 included, right."""
    if not (int(image.header["sform_code"]) or int(image.header["qform_code"])):
        raise brainlens.ParameterError(
            "hemispheres: expected an image that says where right is, found sform_code and qform_code 0 in "
            f"{image.get_filename()!r}. "
            "Use hemispheres='none', or set the sform of the image."
        )
    return np.where(x_mm < 0, "left", "right")


def _drop_bad_voxels(bold: xr.Dataset, *, params: NiftiParams, context: brainlens.Context) -> xr.Dataset:
    """Refuse or drop voxels without usable signal; an ROI that loses all its voxels is empty."""
    bad = find_bad_voxels(bold["bold"].values, bold["run"].values, standardize_runs=params.standardize_runs)
    if not bad:
        return bold
    any_bad = np.any(list(bad.values()), axis=0)
    ijk = np.stack([bold[name].values for name in "ijk"], axis=1)
    reasons = "; ".join(
        f"{n.sum()} {reason} (first at i, j, k = {tuple(ijk[n][0].tolist())})" for reason, n in bad.items()
    )
    found = f"{any_bad.sum()} of {any_bad.size} voxels of mask {params.mask!r}: {reasons}"
    if params.bad_voxels == "error" or any_bad.all():
        raise brainlens.ParameterError(
            f"bold: expected finite values that change within each run, found something else in {found}. "
            "Use a tighter mask, or leave these voxels out with bad_voxels='drop'."
        )
    context.log.warning("nifti: dropped %s", found)
    kept = bold.isel(voxel=~any_bad).assign_attrs(n_dropped_voxels=int(any_bad.sum()))
    if "roi_mask" not in kept:
        return kept
    return handle_empty_rois(kept, params=params, where=f"among the voxels of mask {params.mask!r} that are not bad")
