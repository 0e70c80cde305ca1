"""The importer `public.things`: single-trial responses of THINGS-fMRI, from the release as tables (`betas_csv`).

The wanted voxels are turned into rows of trials once and kept; rows are read from there when they are stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import brainlens
from brainlens_public import ThingsParams, terms
from brainlens_public.folders import check_files, choose_one, open_folder
from brainlens_public.frames import Frame, fill_transposed, open_frame
from brainlens_public.kept import Shelf, Target, find_bad_sites, keep
from brainlens_public.rois import add_rois, drop_bad_sites, number_sites
from brainlens_public.series import Run, count_repetitions, time_rows
from brainlens_public.sessions import parse_sessions
from brainlens_public.tables import check_columns, numbers, read_table, whole_numbers
from brainlens_public.volumes import open_volumes, place_sites, read_mask

FETCH = "Get betas_csv from plus.figshare.com, THINGS-data: fMRI Single Trial Responses (table format)."
TRIAL_COLUMNS = ("trial_type", "session", "run", "subject_id", "trial_id", "stimulus")
PLACES = ("voxel_x", "voxel_y", "voxel_z")
# Columns of a voxel that are no ROI; each becomes a coordinate, with its unit.
FACTS = MappingProxyType(
    {
        "nc_singletrial": "noise ceiling of a trial, % of variance",
        "nc_testset": "noise ceiling of the mean of 12 test trials, % of variance",
        "splithalf_uncorrected": "correlation of halves of the test trials",
        "splithalf_corrected": "correlation of halves of the test trials, after Spearman and Brown",
        "prf-eccentricity": "degrees of visual angle, as published",
        "prf-polarangle": "as published",
        "prf-rsquared": "as published",
        "prf-size": "degrees of visual angle, as published",
    }
)
SPLITS = ("train", "test")
ENDINGS = (".jpg", ".jpeg", ".png")
ATLAS = "glasser-"


@dataclass(frozen=True)
class Tables:
    """What the three files of a subject say."""

    frame: Frame
    trials: pd.DataFrame
    voxels: pd.DataFrame
    rois: Mapping[str, np.ndarray]


def read(*, params: ThingsParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read the responses of one subject.

    Parameters
    ----------
    params
        Which copy, subject, sessions and voxels; see `ThingsParams`.
    context
        Notes the files. The voxels are kept in its scratch folder, where the next call finds them.

    Returns
    -------
    Mapping
        Under "" one dataset response.v1: `response`, (trial, voxel), float32. `trial`, trial_id; `stimulus_id`, the
        image's name without ending; `concept` where the file has it; `session`; `run` from 1 over all sessions;
        `run_in_session`; `repetition` from 0, over all sessions; `split` train or test. `voxel`, voxel_id; `i`, `j`,
        `k`; noise ceilings and population receptive fields as published; `roi_mask` (roi, voxel), bool, also of both
        hemispheres together. With `mask` also `x_mm`, `y_mm`, `z_mm`, affine and shape of the volume.

    Raises
    ------
    RegistryError
        If files are missing.
    ParameterError
        If a file is damaged, of another subject, or has unknown columns.
    DimensionError
        If the three files do not fit together.

    References
    ----------
    Hebart et al. (2023), doi:10.7554/eLife.82580.
    """
    root = open_folder(params.root, what=terms.THINGS.title, fetch=FETCH)
    terms.announce(terms.THINGS, context)
    tables = _read_tables(root, params, context)
    chosen, columns = _choose_trials(tables, params)
    dataset = number_sites(_find_sites(tables, params, context), site="voxel")
    rows = dataset["source_row"].values

    def fill(out: Target) -> None:
        fill_transposed(tables.frame, rows, columns, out, what="responses")

    shelf = Shelf(context.scratch)
    shape = (len(columns), len(rows))
    piece = keep("responses", tables.frame.path, shape, fill, shelf, sites=np.concatenate([rows, columns]))
    bad = find_bad_sites([piece], within="all trials")
    what = f"responses of sub-{params.subject}"
    dataset = drop_bad_sites(dataset, bad, site="voxel", choice=params.bad_sites, what=what, context=context)
    if "roi_mask" in dataset:
        dataset = brainlens.sort_by_roi(dataset)
    response = time_rows([Run(1, piece, slice(0, len(columns)))], dataset["source_index"].values, dim="trial")
    labelled = dataset.drop_vars("source_row").assign(response=response).assign_coords(_label_trials(chosen))
    attrs = {
        "schema": "response.v1",
        "subject": f"sub-{params.subject}",
        "space": f"sub-{params.subject} functional",
        "units": "response amplitude, as published",
        "sessions": sorted(set(chosen["session"].tolist())),
    }
    return {"": terms.stamp(labelled.assign_attrs(attrs), terms.THINGS)}


def _read_tables(root: Path, params: ThingsParams, context: brainlens.Context) -> Tables:
    folder = choose_one([root / "betas_csv", root / "derivatives" / "betas_csv", root])
    names = ("ResponseData.h5", "StimulusMetadata.csv", "VoxelMetadata.csv")
    files = {name: folder / f"sub-{params.subject}_{name}" for name in names}
    check_files(files, what="THINGS-fMRI", fetch=FETCH)
    paths = {name: context.source(path) for name, path in files.items()}
    trials = read_table(paths["StimulusMetadata.csv"], what="StimulusMetadata")
    voxels = read_table(paths["VoxelMetadata.csv"], what="VoxelMetadata")
    trials = _check_trials(trials, paths["StimulusMetadata.csv"], params)
    voxels, rois = _check_voxels(voxels, paths["VoxelMetadata.csv"], params)
    frame = open_frame(paths["ResponseData.h5"], what="responses")
    if frame.shape != (len(voxels), len(trials)):
        raise brainlens.DimensionError(
            f"responses {str(frame.path)!r}: expected {len(voxels)} voxels and {len(trials)} trials, as the tables "
            f"beside it, found {frame.shape}. Files are of different subjects, or cut short: get all three again."
        )
    ids = voxels["voxel_id"].to_numpy()
    if frame.whole and not any(np.array_equal(column, ids) for column in frame.whole):
        raise brainlens.DimensionError(
            f"responses {str(frame.path)!r}, column 'voxel_id': expected the voxels of VoxelMetadata, found others. "
            "Files are of different subjects: get all three again."
        )
    return Tables(frame, trials, voxels, rois)


def _check_trials(table: pd.DataFrame, path: Path, params: ThingsParams) -> pd.DataFrame:
    what = "StimulusMetadata"
    check_columns(table, path, what=what, needed=TRIAL_COLUMNS, known=("concept",))
    made = pd.DataFrame({name: whole_numbers(table, name, path, what=what) for name in TRIAL_COLUMNS[1:5]})
    made["stimulus"], made["trial_type"] = table["stimulus"], table["trial_type"]
    if "concept" in table:
        made["concept"] = table["concept"]
    _check_subject(made["subject_id"].to_numpy(), path, params, what=what)
    unnamed = table["stimulus"][~table["stimulus"].str.lower().str.endswith(ENDINGS)]
    if len(unnamed):
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}, column 'stimulus': expected names of images, found {unnamed.iloc[0]!r} in row "
            f"{unnamed.index[0] + 1}. The file is cut short, or of another set: get it again."
        )
    strange = [kind for kind in pd.unique(made["trial_type"]) if kind not in SPLITS]
    if strange or made["trial_id"].duplicated().any():
        found = brainlens.listed(strange) if strange else "a trial_id twice"
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected trial_type train or test, and every trial_id once, found {found}. Get the "
            "published file again."
        )
    return made


def _check_voxels(
    table: pd.DataFrame, path: Path, params: ThingsParams
) -> tuple[pd.DataFrame, Mapping[str, np.ndarray]]:
    what = "VoxelMetadata"
    known = ("voxel_id", "subject_id", *PLACES, *FACTS)
    check_columns(table, path, what=what, needed=("voxel_id", "subject_id", *PLACES), known=table.columns)
    made = pd.DataFrame({name: whole_numbers(table, name, path, what=what) for name in known[:5]})
    _check_subject(made["subject_id"].to_numpy(), path, params, what=what)
    if made["voxel_id"].duplicated().any():
        raise brainlens.ParameterError(f"{what} {str(path)!r}: expected every voxel_id once. Get the file again.")
    for name in FACTS:
        if name in table:
            made[name] = numbers(table, name, path, what=what)
    rois = {}
    for name in table.columns:
        if name in known:
            continue
        values = numbers(table, name, path, what=what)
        if not np.isin(values, (0, 1)).all():
            raise brainlens.ParameterError(
                f"{what} {str(path)!r}, column {name!r}: expected an ROI of 0 and 1, found "
                f"{values[~np.isin(values, (0, 1))][0].item()!r}. The column is not known: get the published file, or "
                "take it out."
            )
        rois[name] = values == 1
    return made, rois


def _check_subject(found: np.ndarray, path: Path, params: ThingsParams, *, what: str) -> None:
    others = found[found != int(params.subject)]
    if len(others):
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}, column 'subject_id': expected {int(params.subject)}, found {int(others[0])}. The "
            "file is of another subject: get it again."
        )


def _choose_trials(tables: Tables, params: ThingsParams) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the trials of the chosen sessions, and their columns in the table of responses."""
    trials = tables.trials.copy()
    if tables.frame.labels is not None:
        place = {label: column for column, label in enumerate(tables.frame.labels.tolist())}
        missing = sorted(set(trials["trial_id"].tolist()) - set(place))
        if missing:
            raise brainlens.DimensionError(
                f"responses {str(tables.frame.path)!r}: expected a column for every trial_id, found none for "
                f"{brainlens.listed(missing)}. Files are of different releases: get all three again."
            )
        trials["column"] = [place[label] for label in trials["trial_id"].tolist()]
    elif trials["trial_id"].tolist() == list(range(len(trials))):
        trials["column"] = trials["trial_id"]
    else:
        raise brainlens.DimensionError(
            f"responses {str(tables.frame.path)!r}: expected names of columns, since trial_id does not count from 0, "
            "found none that are whole numbers. Get the published files again."
        )
    trials["repetition"] = count_repetitions(trials["stimulus"].to_numpy(dtype=str))
    trials["run_number"] = trials.groupby(["session", "run"], sort=True).ngroup() + 1
    there = sorted(set(trials["session"].tolist()))
    chosen = parse_sessions(params.sessions, there, what=f"sub-{params.subject}")
    kept = trials[trials["session"].isin(chosen)].reset_index(drop=True)
    return kept, kept["column"].to_numpy(np.int64)


def _find_sites(tables: Tables, params: ThingsParams, context: brainlens.Context) -> xr.Dataset:
    rois = _merge(tables.rois)
    if params.sites == ("all",):
        chosen = np.ones(len(tables.voxels), bool)
    else:
        wanted = [name for name in tables.rois if not name.startswith(ATLAS)]
        wanted = wanted if params.sites == ("rois",) else list(params.sites)
        for name in wanted:
            if name not in rois:
                raise brainlens.ParameterError(
                    f"sites: expected 'rois', 'all' or ROIs of sub-{params.subject}, found {name!r}. "
                    f"{brainlens.closest(name, rois, what='ROIs')}"
                )
        chosen = np.any([rois[name] for name in wanted], axis=0) if wanted else np.zeros(len(tables.voxels), bool)
    rows = np.flatnonzero(chosen)
    if not len(rows):
        raise brainlens.ParameterError(
            f"sites: expected at least one voxel in {brainlens.listed(params.sites)}, found none. Choose others."
        )
    shown = rois if params.atlas else {name: mask for name, mask in rois.items() if not name.startswith(ATLAS)}
    dataset = add_rois(xr.Dataset(coords={"voxel": rows}), shown, site="voxel")
    table = tables.voxels.iloc[rows]
    coords: dict[str, Any] = {"voxel": table["voxel_id"].to_numpy(), "source_row": ("voxel", rows)}
    for axis, name in zip("ijk", PLACES, strict=True):
        coords[axis] = ("voxel", table[name].to_numpy(np.int32))
    for name, units in FACTS.items():
        if name in table:
            coords[name.replace("-", "_")] = ("voxel", table[name].to_numpy(), {"units": units})
    dataset = dataset.assign_coords(coords)
    return _place(dataset, tables, params, context) if params.mask else dataset


def _merge(rois: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Add ROIs of both hemispheres, such as FFA of lFFA and rFFA."""
    pairs = {name[1:]: (name, f"r{name[1:]}") for name in rois if name.startswith("l") and f"r{name[1:]}" in rois}
    both = {whole: rois[left] | rois[right] for whole, (left, right) in pairs.items() if whole not in rois}
    return {**both, **rois}


def _place(dataset: xr.Dataset, tables: Tables, params: ThingsParams, context: brainlens.Context) -> xr.Dataset:
    image = open_volumes(context.source(params.mask), what="mask", n_dims=3)
    mask = read_mask(image.path, None, what="mask")
    index = tables.voxels[list(PLACES)].to_numpy()
    outside = ((index < 0) | (index >= image.shape)).any(axis=1)
    if outside.any() or int(mask.sum()) != len(index) or not mask[tuple(index.T)].all():
        raise brainlens.DimensionError(
            f"mask {str(image.path)!r}: expected the {len(index)} voxels of VoxelMetadata, found {int(mask.sum())}, or "
            "others. It is of another space or subject: take sub-XX_space-T1w_brainmask.nii.gz of the same subject."
        )
    ijk = np.stack([dataset[axis].values for axis in "ijk"])
    placed = place_sites(np.ravel_multi_index(tuple(ijk), image.shape), image)
    places = {f"{axis}_mm": ("voxel", placed[f"{axis}_mm"].values) for axis in "xyz"}
    return dataset.assign_coords(places).assign_attrs(placed.attrs)


def _label_trials(trials: pd.DataFrame) -> dict[str, Any]:
    stimulus = trials["stimulus"].str.replace(r"\.[A-Za-z]+$", "", regex=True).to_numpy(dtype=str)
    coords: dict[str, Any] = {
        "trial": trials["trial_id"].to_numpy(),
        "stimulus_id": ("trial", stimulus),
        "session": ("trial", trials["session"].to_numpy()),
        "run": ("trial", trials["run_number"].to_numpy()),
        "run_in_session": ("trial", trials["run"].to_numpy()),
        "repetition": ("trial", trials["repetition"].to_numpy()),
        "split": ("trial", trials["trial_type"].to_numpy(dtype=str)),
    }
    if "concept" in trials:
        coords["concept"] = ("trial", trials["concept"].to_numpy(dtype=str))
    return coords
