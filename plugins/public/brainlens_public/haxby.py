"""The importer `public.haxby`: blocks of eight categories of objects, from the folder that nilearn's fetcher leaves.

PyMVPA's copy of half a slice of the first subject, a folder of another layout, is read as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import xarray as xr

import brainlens
from brainlens_public import HaxbyParams, terms
from brainlens_public.folders import check_files, open_folder
from brainlens_public.kept import Shelf, find_bad_sites, keep
from brainlens_public.rois import add_rois, drop_bad_sites, number_sites
from brainlens_public.series import (
    UNITS,
    Run,
    average_trials,
    check_runs,
    count_repetitions,
    number_trials,
    time_rows,
)
from brainlens_public.sessions import parse_sessions
from brainlens_public.tables import check_columns, read_table, whole_numbers
from brainlens_public.volumes import Volumes, fill_rows, open_volumes, place_sites, read_mask

# nilearn gives it, for copies whose header does not.
T_R = 2.5
REST = "rest"
ROIS = MappingProxyType(
    {
        "vt": "mask4_vt.nii.gz",
        "face": "mask8b_face_vt.nii.gz",
        "house": "mask8b_house_vt.nii.gz",
        "face_little": "mask8_face_vt.nii.gz",
        "house_little": "mask8_house_vt.nii.gz",
    }
)
SLICE_LABELS = "attributes_literal.txt"
SLICE_SUBJECT = "subj1"


@dataclass(frozen=True)
class Copy:
    """Where the files of one subject lie; `rois` without the brain."""

    terms: terms.Terms
    bold: Path
    labels: Path
    brain: Path
    rois: Mapping[str, Path]
    usual: tuple[str, ...]
    named_columns: bool


def read(*, params: HaxbyParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read one subject.

    Parameters
    ----------
    params
        Which copy, subject, voxels and trials; see `HaxbyParams`.
    context
        Notes the files. The voxels are kept in its scratch folder, where the next call finds them.

    Returns
    -------
    Mapping
        "response": response.v1, (trial, voxel), float32; `stimulus_id` is the category, `run` the chunk from 0,
        `repetition` from 0, `n_volumes`. "categories": embedding.v1, one-hot (stimulus, channel). With
        `outputs="bold"` or `"both"` also "bold": bold.v1, (time, voxel), as in the file. Voxels sorted by ROI, with
        places and `roi_mask` (roi, voxel), bool.

    Raises
    ------
    RegistryError
        If files are missing.
    ParameterError
        If a file is damaged, the table of labels has other columns, or voxels carry no signal.
    DimensionError
        If masks lie on another grid, or there are not as many labels as volumes.

    References
    ----------
    Haxby et al. (2001), doi:10.1126/science.1063736.
    """
    copy = _open_copy(params)
    terms.announce(copy.terms, context)
    image = open_volumes(context.source(copy.bold), what="bold", n_dims=4)
    stimulus, chunk = _read_labels(copy, image, context)
    edges = np.flatnonzero(np.diff(chunk, prepend=chunk[0] - 1))
    groups = [slice(int(a), int(b)) for a, b in zip(edges, [*edges[1:], len(chunk)], strict=True)]
    dataset = number_sites(_find_sites(copy, params, image, context), site="voxel")
    sites = dataset["voxel"].values
    piece = keep(
        params.subject,
        image.path,
        (image.n_volumes, len(sites)),
        lambda out: fill_rows(image, sites, out, what="bold"),
        Shelf(context.scratch),
        sites=sites,
        groups=groups,
    )
    labels = [int(chunk[group.start]) for group in groups]
    wanted = parse_sessions(params.runs, labels, what=params.subject, field="runs")
    chosen = [number for number, label in enumerate(labels) if label in wanted]
    rows = np.concatenate([np.arange(groups[number].start, groups[number].stop) for number in chosen])
    stimulus, chunk = stimulus[rows], chunk[rows]
    if (stimulus == REST).all():
        raise brainlens.ParameterError(
            f"labels {str(copy.labels)!r}: expected categories beside {REST!r} in the chosen runs, found none. "
            "Choose other runs, or get the published file again."
        )
    piece = replace(piece, lowest=piece.lowest[chosen], highest=piece.highest[chosen])
    bad = find_bad_sites([piece], within="a run")
    dataset = drop_bad_sites(
        dataset, bad, site="voxel", choice=params.bad_sites, what=f"bold of {params.subject}", context=context
    )
    dataset = brainlens.sort_by_roi(dataset)
    runs = [Run(labels[number], piece, groups[number]) for number in chosen]
    check_runs(runs, params)
    space = {"subject": params.subject, "space": f"{params.subject} functional"}
    dataset = terms.stamp(dataset.assign_attrs(space), copy.terms)
    made: dict[str, xr.Dataset] = {}
    if params.outputs != "response":
        made["bold"] = _form_bold(dataset, runs, stimulus, chunk, image)
    if params.outputs != "bold":
        made["response"] = _form_response(dataset, runs, stimulus, chunk, params)
        made["categories"] = terms.stamp(_form_categories(made["response"]["stimulus_id"].values), copy.terms)
    return made


def _open_copy(params: HaxbyParams) -> Copy:
    fetch = f"Get them with nilearn.datasets.fetch_haxby(subjects=[{params.subject[-1]}])."
    root = open_folder(params.root, what=terms.HAXBY.title, fetch=fetch)
    if (root / SLICE_LABELS).exists():
        if params.subject != SLICE_SUBJECT:
            raise brainlens.ParameterError(
                f"subject: expected {SLICE_SUBJECT!r}, the only one in {str(root)!r}, PyMVPA's half slice, found "
                f"{params.subject!r}. {fetch}"
            )
        paths = {name: root / name for name in ("bold.nii.gz", SLICE_LABELS, "mask.nii.gz")}
        check_files(paths, what="haxby2001_pymvpa", fetch="Copy them again from PyMVPA's mvpa2/data.")
        bold, labels, brain = paths.values()
        return Copy(terms.HAXBY_SLICE, bold, labels, brain, {}, ("brain",), named_columns=False)
    folder = root / params.subject
    rois = {name: folder / file for name, file in ROIS.items()}
    files = {"bold": folder / "bold.nii.gz", "labels": folder / "labels.txt", **rois}
    brain = root / "mask.nii.gz"
    check_files(files | ({"brain": brain} if "brain" in params.sites else {}), what="haxby2001", fetch=fetch)
    return Copy(terms.HAXBY, files["bold"], files["labels"], brain, rois, ("vt",), named_columns=True)


def _read_labels(copy: Copy, image: Volumes, context: brainlens.Context) -> tuple[np.ndarray, np.ndarray]:
    """Return category and chunk of every volume."""
    path = context.source(copy.labels)
    names = None if copy.named_columns else ("labels", "chunks")
    table = read_table(path, what="labels", separator=" ", names=names)
    check_columns(table, path, what="labels", needed=("labels", "chunks"))
    if len(table) != image.n_volumes:
        raise brainlens.DimensionError(
            f"labels {str(path)!r}: expected a row for each of {image.n_volumes} volumes of {str(image.path)!r}, found "
            f"{len(table)}. One of them is of another subject, or cut short: get both again."
        )
    chunk = whole_numbers(table, "chunks", path, what="labels")
    starts = chunk[np.flatnonzero(np.diff(chunk, prepend=chunk[0] - 1))]
    if len(np.unique(starts)) < len(starts):
        twice = pd.Series(starts)[pd.Series(starts).duplicated()].iloc[0]
        raise brainlens.ParameterError(
            f"labels {str(path)!r}, column 'chunks': expected each run in one piece, found run {twice} twice. Get the "
            "published file again."
        )
    return table["labels"].to_numpy(dtype=str), chunk


def _find_sites(copy: Copy, params: HaxbyParams, image: Volumes, context: brainlens.Context) -> xr.Dataset:
    chosen = copy.usual if params.sites == ("usual",) else params.sites
    known = {**copy.rois, "brain": copy.brain}
    for name in chosen:
        if name not in known:
            raise brainlens.ParameterError(
                f"sites: expected ROIs of {str(copy.bold.parent)!r}, found {name!r}. "
                f"{brainlens.closest(name, known, what='ROIs')}"
            )
    wanted = dict.fromkeys([*copy.rois, *chosen])
    masks = {name: read_mask(context.source(known[name]), image, what=f"ROI {name!r}") for name in wanted}
    sites = np.flatnonzero(np.any([masks[name] for name in chosen], axis=0))
    if not len(sites):
        raise brainlens.ParameterError(
            f"sites: expected at least one voxel in {brainlens.listed(chosen)}, found none. Get the masks again."
        )
    return add_rois(place_sites(sites, image), {name: masks[name] for name in copy.rois}, site="voxel")


def _form_bold(
    dataset: xr.Dataset, runs: list[Run], stimulus: np.ndarray, chunk: np.ndarray, image: Volumes
) -> xr.Dataset:
    t_r = image.t_r or T_R
    onset = np.concatenate([np.arange(run.rows.stop - run.rows.start) * t_r for run in runs])
    labelled = dataset.assign(bold=time_rows(runs, dataset["source_index"].values)).assign_coords(
        time=np.arange(len(stimulus)), run=("time", chunk), onset=("time", onset), stimulus_id=("time", stimulus)
    )
    return labelled.assign_attrs(schema="bold.v1", units="scanner units", t_r=t_r)


def _form_response(
    dataset: xr.Dataset, runs: list[Run], stimulus: np.ndarray, chunk: np.ndarray, params: HaxbyParams
) -> xr.Dataset:
    trials = number_trials(stimulus, chunk, REST, average_over=params.average_over)
    order = np.argsort(trials, kind="stable")[int((trials < 0).sum()) :]
    first = order[np.flatnonzero(np.diff(trials[order], prepend=-1))]
    response = average_trials(runs, trials, dataset["source_index"].values, params)
    labelled = dataset.assign(response=response).assign_coords(
        trial=np.arange(len(first)),
        stimulus_id=("trial", stimulus[first]),
        run=("trial", chunk[first]),
        repetition=("trial", count_repetitions(stimulus[first])),
        n_volumes=("trial", np.bincount(trials[trials >= 0])),
    )
    units = UNITS[params.standardize_runs] or "scanner units"
    how = {"average_over": params.average_over, "detrend": params.detrend}
    return labelled.assign_attrs(schema="response.v1", units=units, **how)


def _form_categories(stimulus: np.ndarray) -> xr.Dataset:
    names = np.unique(stimulus)
    return xr.Dataset(
        {"embedding": (("stimulus", "channel"), np.eye(len(names), dtype=np.float32))},
        {"stimulus": names, "channel": names},
        {"schema": "embedding.v1", "model": "one-hot"},
    )
