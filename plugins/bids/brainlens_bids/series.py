"""Everything about the runs of an import that is known before the first voxel is read, checked against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import brainlens
from brainlens_bids import RunsParams, SitesParams, StudyParams
from brainlens_bids.confounds import Confounds, read_confounds
from brainlens_bids.events import read_events
from brainlens_bids.images import Image, check_same_grid, header_t_r, open_image, read_sites
from brainlens_bids.layout import (
    Run,
    check_sources,
    find_events,
    find_runs,
    open_dataset,
    read_sidecars,
)
from brainlens_bids.pieces import digest_arrays
from brainlens_bids.regions import find_sites, given_mask, handle_empty_rois, run_masks
from brainlens_bids.surfaces import Surface, check_same_vertices, open_surface, place_vertices, read_vertices

# Header and sidecar round differently.
_T_R_TOLERANCE_S = 1e-3


@dataclass(frozen=True)
class Series:
    """One run: its image, confounds and events; `events_path` is '' where there are none."""

    run: Run
    image: Image | Surface
    confounds: Confounds
    events: pd.DataFrame
    events_path: str


@dataclass(frozen=True)
class Study:
    """All runs of an import, the sites that are read of each, `t_r` in s, and `slice_time_ref` in parts of it.

    `mask`: bool, shape of the grid; or of all vertices, left before right.
    """

    series: Sequence[Series]
    mask: np.ndarray
    sites: xr.Dataset
    t_r: float
    slice_time_ref: float

    @property
    def site(self) -> str:
        """Dim of the sites, `voxel` or `vertex`."""
        return "voxel" if "voxel" in self.sites.dims else "vertex"

    @property
    def sites_digest(self) -> str:
        """Digest of which sites are read."""
        return digest_arrays(self.mask, np.array([str(self.sites.attrs["space"])]))


def prepare(params: StudyParams, context: brainlens.Context, *, want_events: bool) -> Study:
    """Find and check the files of all runs; of the images, only headers are read.

    Parameters
    ----------
    params
        Which runs and voxels.
    context
        Notes every file.
    want_events
        Whether the events of the raw dataset are read.

    Raises
    ------
    ParameterError
        If a file is missing, empty or of another subject, or runs differ in their repetition time.
    DimensionError
        If runs, masks or ROIs lie on different grids, or a table does not fit its image.
    RegistryError
        If a dataset is missing.
    """
    runs = find_runs(params, context)
    raw = open_dataset(params.raw, context) if params.raw else None
    images = _open_images(runs, context)
    fields = [_read_fields(run, params, raw, context) for run in runs]
    t_r = _agree_t_r(params, runs, images, fields)
    tables: list[tuple[pd.DataFrame, str]] = [(pd.DataFrame(), "")] * len(runs)
    if want_events:
        paths = [context.source(find_events(run, _raw(raw))) for run in runs]
        tables = [(read_events(path), str(path)) for path in paths]
    confounds = [read_confounds(params, run, image.n_volumes, context) for run, image in zip(runs, images, strict=True)]
    mask, sites = _choose_sites(params, runs, images[0], context)
    series = [
        Series(run, image, chosen, table, path)
        for run, image, chosen, (table, path) in zip(runs, images, confounds, tables, strict=True)
    ]
    return Study(series, mask, sites, t_r, _agree_slice_time(fields, t_r))


def read_run(series: Series, mask: np.ndarray) -> tuple[np.ndarray, str]:
    """Read the wanted sites of one run: (time, site), float32, and the digest of what was read.

    Raises
    ------
    ParameterError
        If the file is damaged or cut short.
    """
    values = np.empty((series.image.n_volumes, int(mask.sum())), np.float32)
    if isinstance(series.image, Surface):
        return values, read_vertices(series.image, values)
    return values, read_sites(series.image, mask, values, what="bold")


def find_bad_voxels(values: np.ndarray, *, of_mean: bool) -> dict[str, np.ndarray]:
    """Find voxels of one run that cannot be analysed.

    Parameters
    ----------
    values
        Shape (n_volumes, n_voxels), as in the file.
    of_mean
        Whether % of the mean are wanted, which must then be above 0.

    Returns
    -------
    dict
        Reason to bool of shape (n_voxels,); a voxel has one reason at most.
    """
    broken = ~np.isfinite(values).all(axis=0)
    constant = (values == values[0]).all(axis=0) & ~broken & (len(values) > 1)
    low = np.zeros(len(broken), bool)
    if of_mean:
        with np.errstate(invalid="ignore", over="ignore"):
            low = ~(values.mean(axis=0, dtype=np.float64) > 0) & ~broken & ~constant
    return {"not finite": broken, "constant within a run": constant, "mean not above 0 in a run": low}


def drop_bad_voxels(
    sites: xr.Dataset, facts: Sequence[Mapping[str, np.ndarray]], params: SitesParams, context: brainlens.Context
) -> xr.Dataset:
    """Refuse or drop voxels that are bad in some run; an ROI that loses all its voxels is empty.

    Raises
    ------
    ParameterError
        If there are bad voxels and they are not to be dropped, or none is left.
    """
    reasons = {reason: np.any([found[reason] for found in facts], axis=0) for reason in facts[0] if reason != "digest"}
    any_bad = np.any(list(reasons.values()), axis=0)
    if not any_bad.any():
        return sites
    site = "voxel" if "voxel" in sites.dims else "vertex"
    told = "; ".join(
        f"{bad.sum()} {reason} (first at {_place(sites, site, bad)})" for reason, bad in reasons.items() if bad.any()
    )
    of = "voxels of the mask" if site == "voxel" else "vertices"
    found = f"{any_bad.sum()} of {any_bad.size} {of}: {told}"
    if params.bad_voxels == "error" or any_bad.all():
        raise brainlens.ParameterError(
            f"images: expected finite values that change within each run, found something else in {found}. Use a "
            "tighter mask, or leave these voxels out with bad_voxels='drop'."
        )
    context.log.warning("bids: dropped %s", found)
    name = "n_dropped_voxels" if site == "voxel" else "n_dropped_vertices"
    kept = sites.isel({site: ~any_bad}).assign_attrs({name: int(any_bad.sum())})
    return handle_empty_rois(kept, params=params, where="among the voxels that are not bad")


def _place(sites: xr.Dataset, site: str, bad: np.ndarray) -> str:
    if site == "vertex":
        return f"vertex {sites[site].values[bad][0]}"
    return f"i, j, k = {tuple(int(sites[name].values[bad][0]) for name in 'ijk')}"


def _open_images(runs: Sequence[Run], context: brainlens.Context) -> list[Image | Surface]:
    """Look at the files of all runs, and compare their sites."""
    if runs[0].right is not None:
        pairs = [(context.source(run.bold), context.source(str(run.right))) for run in runs]
        surfaces = [open_surface(*pair) for pair in pairs]
        for surface in surfaces[1:]:
            check_same_vertices(surface, surfaces[0])
        return list(surfaces)
    images = [open_image(context.source(run.bold), what="bold", n_dims=4) for run in runs]
    for image in images[1:]:
        check_same_grid(image, images[0], what="bold")
    return list(images)


def _choose_sites(
    params: StudyParams, runs: Sequence[Run], reference: Image | Surface, context: brainlens.Context
) -> tuple[np.ndarray, xr.Dataset]:
    """Return which sites are read, and their labels and ROIs."""
    if isinstance(reference, Surface):
        return np.ones(sum(reference.n_vertices), bool), place_vertices(reference, space=params.space)
    subject = {"subject": params.subject, "space": params.space or "native"}
    if params.mask:
        mask = given_mask(params, context, reference=reference, **subject)
    else:
        mask = run_masks(params, runs, context, reference=reference)
    return mask, find_sites(params, context, reference=reference, mask=mask, **subject)


def _raw(raw: Path | None) -> Path:
    if raw is None:
        raise brainlens.ParameterError(
            "raw: expected the folder of the raw dataset, which holds the events, found ''. Give raw."
        )
    return raw


def _read_fields(
    run: Run, params: RunsParams, raw: Path | None, context: brainlens.Context
) -> tuple[dict[str, Any], str]:
    """Return what the sidecars say, those of the derivatives before those of the raw data, and the first one's path."""
    roots = [open_dataset(params.derivatives, context)] if params.derivatives else []
    fields: dict[str, Any] = {}
    used: list[Path] = []
    for root in [*roots, *([raw] if raw else [])]:
        found, paths = read_sidecars(run, root)
        if paths and root in roots:
            check_sources(run, found, paths)
        fields = {**found, **fields}
        used += [context.source(path) for path in paths]
    return fields, str(used[0]) if used else ""


def _agree_t_r(
    params: RunsParams,
    runs: Sequence[Run],
    images: Sequence[Image | Surface],
    fields: Sequence[tuple[dict[str, Any], str]],
) -> float:
    """Return the repetition time that sidecars and headers agree on."""
    if params.t_r:
        return params.t_r
    found: list[tuple[float, str]] = []
    for run, image, (field, path) in zip(runs, images, fields, strict=True):
        header, sidecar = header_t_r(image) if isinstance(image, Image) else 0.0, field.get("RepetitionTime", 0)
        if "VolumeTiming" in field:
            raise brainlens.ParameterError(
                f"sidecar {path!r}, field 'VolumeTiming': expected volumes at one distance, field 'RepetitionTime', "
                "found volumes with times of their own, which are not read. Give t_r in s if they are regular."
            )
        if not isinstance(sidecar, int | float) or sidecar < 0:
            raise brainlens.ParameterError(
                f"sidecar {path!r}, field 'RepetitionTime': expected seconds above 0, found {sidecar!r}. Repair it, or "
                "give t_r in s."
            )
        if header and sidecar and abs(header - sidecar) > _T_R_TOLERANCE_S:
            raise brainlens.ParameterError(
                f"bold {str(run.bold)!r}: expected the repetition time of its sidecar {path!r}, {sidecar} s, found "
                f"{header} s in its header. Give t_r in s, whichever is right."
            )
        if not (header or sidecar):
            raise brainlens.ParameterError(
                f"bold {str(run.bold)!r}: expected a repetition time in its sidecar, field 'RepetitionTime', or its "
                "header, found none. Give t_r in s."
            )
        found.append((float(sidecar or header), str(run.bold)))
    for t_r, path in found[1:]:
        if abs(t_r - found[0][0]) > _T_R_TOLERANCE_S:
            raise brainlens.ParameterError(
                f"bold {path!r}: expected the repetition time of {found[0][1]!r}, {found[0][0]} s, found {t_r} s. "
                "Import these runs apart, or give t_r in s."
            )
    return found[0][0]


def _agree_slice_time(fields: Sequence[tuple[dict[str, Any], str]], t_r: float) -> float:
    """Return the moment that slice timing was corrected to, in parts of t_r; 0 where nothing says it."""
    starts = [float(field["StartTime"]) if _is_number(field.get("StartTime")) else 0.0 for field, _ in fields]
    for start, (_, path) in zip(starts, fields, strict=True):
        if not 0 <= start <= t_r or abs(start - starts[0]) > _T_R_TOLERANCE_S:
            raise brainlens.ParameterError(
                f"sidecar {path!r}, field 'StartTime': expected the same part of the repetition time {t_r} s in all "
                f"runs, {starts[0]} s in the first, found {start} s. Repair it, or import these runs apart."
            )
    return round(starts[0] / t_r, 6)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
