"""The importer `public.bold5000_rois`: betas of BOLD5000 release 2.0 cut to ROIs, one array for each, as given out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import brainlens
from brainlens_public import Bold5000RoisParams, terms
from brainlens_public.arrays import Matrix, find_bad_columns, join_rows, open_matrix
from brainlens_public.bold5000 import (
    FETCH,
    PER_RUN,
    ROI_SPELLINGS,
    SIDES,
    SPELLINGS,
    label_trials,
    read_names,
)
from brainlens_public.folders import check_files, choose_one, open_folder
from brainlens_public.rois import add_rois, drop_bad_sites, number_sites


def read(*, params: Bold5000RoisParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read the betas of the ROIs of one subject.

    Parameters
    ----------
    params
        Which copy, subject and ROIs; see `Bold5000RoisParams`.
    context
        Notes the files.

    Returns
    -------
    Mapping
        Under "" one dataset response.v1: `response`, (trial, voxel), float32, % signal change, all trials of the
        subject in order of acquisition, labelled as in `public.bold5000` but for `session`, which the files do not say.
        `voxel` counts through the files in the order of their names; a voxel of two ROIs is there twice. `hemisphere`;
        `roi_mask` (roi, voxel), bool: each half, and both together.

    Raises
    ------
    RegistryError
        If files are missing.
    ParameterError
        If a file is damaged, or voxels carry no signal.
    DimensionError
        If there are not as many names as trials in every file.
    """
    root = open_folder(params.root, what=terms.BOLD5000.title, fetch=FETCH)
    terms.announce(terms.BOLD5000, context)
    files = _find_files(root, params)
    lists = root / "BOLD5000_Stimuli" / "Stimuli_Presentation_Lists" / params.subject
    names_file = f"{params.subject}_imgnames.txt"
    names = choose_one([folder / names_file for folder in (root, lists, next(iter(files.values())).parent)])
    check_files({"image names": names}, what="BOLD5000", fetch=FETCH)
    trials = label_trials(read_names(context.source(names)))
    arrays = {name: _open(context.source(path), len(trials["trial"]), names) for name, path in files.items()}
    dataset = number_sites(_label_sites(arrays), site="voxel")
    parts = list(arrays.values())
    bad = find_bad_columns(parts)
    what = f"betas of {params.subject}"
    dataset = drop_bad_sites(dataset, bad, site="voxel", choice=params.bad_sites, what=what, context=context)
    dataset = brainlens.sort_by_roi(dataset)
    columns = dataset["source_index"].values

    def make(low: int, high: int) -> np.ndarray:
        return join_rows(parts, low, high, columns)

    coords: dict[str, Any] = {name: ("trial", values) for name, values in trials.items() if name != "trial"}
    coords |= {"trial": trials["trial"], "run": ("trial", trials["trial"] // PER_RUN + 1)}
    if params.repeated != "unsplit":
        coords["split"] = ("trial", np.where(trials["is_repeated"], params.repeated, "train"))
    response = brainlens.made_rows(("trial", "voxel"), (len(trials["trial"]), len(columns)), np.float32, make)
    attrs = {"schema": "response.v1", "subject": params.subject, "units": "% signal change", "betas": params.betas}
    labelled = dataset.assign(response=response).assign_coords(coords).assign_attrs(attrs)
    return {"": terms.stamp(labelled, terms.BOLD5000)}


def _find_files(root: Path, params: Bold5000RoisParams) -> dict[str, Path]:
    """Return the file of each half of an ROI, by names such as 'LHPPA', in the order of these names."""
    folders = [root / "BOLD5000_GLMsingle_ROI_betas" / "py", root / "py", root]
    folder = next((one for one in folders if any(one.glob(f"{params.subject}_GLMbetas-*_allses_*.npy"))), folders[0])
    found: dict[str, Path] = {}
    for betas in (params.betas, *SPELLINGS.get(params.betas, ())):
        pattern = re.compile(rf"{params.subject}_GLMbetas-{re.escape(betas)}_allses_(LH|RH)(\w+)\.npy\Z")
        for path in sorted(folder.glob("*.npy")) if folder.is_dir() else ():
            if match := pattern.match(path.name):
                found[f"{match[1]}{ROI_SPELLINGS.get(match[2], match[2])}"] = path
    wanted = {name: path for name, path in found.items() if params.sites == ("all",) or name[2:] in params.sites}
    areas = sorted({name[2:] for name in found})
    strange = [name for name in params.sites if params.sites != ("all",) and name not in areas]
    if strange or not found:
        near = f" {brainlens.closest(strange[0], areas, what='ROIs')}" if strange and areas else f" {FETCH}"
        raise brainlens.RegistryError(
            f"BOLD5000, folder {str(folder)!r}: expected files such as "
            f"'{params.subject}_GLMbetas-{params.betas}_allses_LHPPA.npy' of {brainlens.listed(params.sites)}, found "
            f"none of {brainlens.listed(strange or params.sites)}.{near}"
        )
    return dict(sorted(wanted.items()))


def _open(path: Path, n_trials: int, names: Path) -> Matrix:
    matrix = open_matrix(path, what="betas")
    if matrix.shape[0] != n_trials:
        raise brainlens.DimensionError(
            f"betas {str(path)!r}: expected a row of numbers for each of {n_trials} names of {str(names)!r}, found "
            f"{matrix.shape[0]}. Names or betas are of another subject: get both again."
        )
    return matrix


def _label_sites(arrays: Mapping[str, Matrix]) -> xr.Dataset:
    half = np.repeat(list(arrays), [values.shape[1] for values in arrays.values()])
    rois: dict[str, np.ndarray] = {}
    for area in dict.fromkeys(name[2:] for name in arrays):
        rois[area] = np.isin(half, [f"LH{area}", f"RH{area}"])
    rois |= {name: half == name for name in arrays}
    side = np.array([SIDES[name[:2]] for name in half.tolist()])
    sites = xr.Dataset(coords={"voxel": np.arange(len(half)), "hemisphere": ("voxel", side)})
    return add_rois(sites, rois, site="voxel")
