"""What importers of ready betas have in common: which trials a file holds, and how files become one response."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import brainlens
from brainlens_bids import FilesParams
from brainlens_bids.entities import entity_of, parse
from brainlens_bids.events import choose_trials, label_trials, read_events
from brainlens_bids.glm import join_trials
from brainlens_bids.images import Image, check_same_grid, open_image, read_mask
from brainlens_bids.layout import check_content, check_subject
from brainlens_bids.pieces import Folder, Piece, file_state, keep_piece, refuse_copies
from brainlens_bids.regions import find_sites
from brainlens_bids.series import drop_bad_voxels, find_bad_voxels


@dataclass(frozen=True)
class BetasFile:
    """One file of betas: how many trials it holds, and what reads them.

    `fill` is given an array (trial, voxel of the mask), float32, fills it, and returns the digest of what it read.
    """

    path: Path
    n_trials: int
    fill: Callable[[np.ndarray], str]


@dataclass(frozen=True)
class Events:
    """The events of all files: as `read_events` and `choose_trials` return them, session and run of each table."""

    tables: Sequence[pd.DataFrame]
    chosen: Sequence[pd.DataFrame]
    runs: Sequence[tuple[str, str]]

    @property
    def counts(self) -> list[int]:
        """Number of trials of each table."""
        return [int(made["is_trial"].sum()) for made in self.chosen]


def open_files(params: FilesParams, context: brainlens.Context) -> list[Path]:
    """Return the files of betas, after checking that each is there once, has content and is the subject's.

    Raises
    ------
    ParameterError
        If not.
    RegistryError
        If one is missing.
    """
    twice = sorted({path for path in params.betas if params.betas.count(path) > 1})
    if twice:
        raise brainlens.ParameterError(
            f"betas: expected every file once, found {brainlens.listed(twice)} more than once. Leave it out once."
        )
    paths = [context.source(path) for path in params.betas]
    for path in paths:
        check_content(path, what="betas")
        check_subject(path, params.subject, what="betas")
    return paths


def open_events(params: FilesParams, context: brainlens.Context) -> Events:
    """Read the tables of events, in the order given; runs are named after their files.

    Raises
    ------
    ParameterError
        If a table is damaged or of another subject, or a column or value is unknown.
    RegistryError
        If one is missing.
    """
    paths = [context.source(path) for path in params.events]
    for path in paths:
        check_content(path, what="events")
        check_subject(path, params.subject, what="events")
    tables = [read_events(path) for path in paths]
    chosen = choose_trials(tables, params, where=list(map(str, paths)))
    return Events(tables, chosen, _name_runs(paths))


def check_counts(files: Sequence[BetasFile], events: Events, params: FilesParams) -> None:
    """Refuse files that do not hold the trials of whole tables, in the order given.

    Raises
    ------
    DimensionError
        Naming the file from which on they do not fit.
    """
    ends = np.cumsum(events.counts).tolist()
    stop = 0
    for file in files:
        start, stop = stop, stop + file.n_trials
        if stop not in ends:
            inside = [
                (table, n) for table, n, end in zip(params.events, events.counts, ends, strict=True) if end > start
            ]
            told = ", ".join(f"{n} in {table!r}" for table, n in inside[:3])
            raise brainlens.DimensionError(
                f"betas {str(file.path)!r}: expected the trials of one or several tables of events, found "
                f"{file.n_trials}, where the tables from there on have {told or 'none'}. Give files and tables in one "
                "order, and say with condition_column, trials and rest which events are trials."
            )
    if stop != ends[-1]:
        raise brainlens.DimensionError(
            f"betas: expected {ends[-1]} trials, those of {len(params.events)} tables of events, found {stop} in "
            f"{len(files)} files. A file is missing, or there are too many tables."
        )


def open_sites(
    params: FilesParams, context: brainlens.Context, *, reference: Image | None
) -> tuple[np.ndarray, xr.Dataset]:
    """Read mask and ROIs.

    Parameters
    ----------
    reference
        Image whose grid they must have; None takes the mask's.

    Returns
    -------
    tuple
        Mask, bool, shape of the grid; its voxels as `find_sites` returns them.

    Raises
    ------
    ParameterError
        If there is no mask.
    DimensionError
        If grids differ.
    """
    if not params.mask:
        raise brainlens.ParameterError(
            "mask: expected a 3-D mask, whose voxels are read, found ''. Give that of the brain, such as fMRIPrep's "
            "desc-brain_mask, or of a region."
        )
    path = context.source(params.mask)
    check_subject(path, params.subject, what="mask")
    image = open_image(path, what="mask", n_dims=3)
    if reference is not None:
        check_same_grid(image, reference, what="mask")
    mask = read_mask(image, what="mask")
    found = find_sites(
        params, context, reference=reference or image, mask=mask, subject=params.subject, space=params.space
    )
    return mask, found


def make_response(
    files: Sequence[BetasFile],
    events: Events,
    sites: xr.Dataset,
    params: FilesParams,
    context: brainlens.Context,
    *,
    attrs: Mapping[str, Any],
) -> xr.Dataset:
    """Read the betas of all files, and put response and labels together.

    Parameters
    ----------
    files
        In the order of the trials.
    events
        Trials of all.
    sites
        Voxels of the mask.
    params, context
        Of the importer.
    attrs
        Unit, and what else is known.

    Raises
    ------
    ParameterError
        If a file is damaged, two hold the same values, or voxels are bad.
    """
    folder = Folder(context.scratch)
    pieces = [
        _cut(number, file, sites, folder)
        for number, file in enumerate(context.progress(files, total=len(files), label="reading betas"))
    ]
    refuse_copies(pieces, [file.path for file in files], what="betas")
    sites = drop_bad_voxels(sites, [piece.facts for piece in pieces], params, context)
    if "roi_mask" in sites:
        sites = brainlens.sort_by_roi(sites)
    counts = [file.n_trials for file in files]
    response = join_trials(pieces, counts, sites["source_index"].values, "voxel")
    labels = label_trials(events.chosen, events.tables, events.runs, params)
    made = sites.assign(response=response).assign_coords(labels.coords)
    return made.assign_attrs({"schema": "response.v1", "subject": f"sub-{params.subject}", **attrs})


def _cut(number: int, file: BetasFile, sites: xr.Dataset, folder: Folder) -> Piece:
    stamp = {"file": file_state(file.path), "mask": sites.attrs["mask_sha256"]}

    def make(path: Path) -> Mapping[str, np.ndarray]:
        shape = (file.n_trials, sites.sizes["voxel"])
        out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        digest = file.fill(out)
        out.flush()
        return {**find_bad_voxels(out, of_mean=False), "digest": np.array(digest)}

    return keep_piece(folder, f"file{number}", stamp, make)


def _name_runs(paths: Sequence[Path]) -> list[tuple[str, str]]:
    """Name session and run of each table after its entities; where these do not tell tables apart, by position."""
    # Names with an entity for the subject claim to follow the standard, and are held to it.
    found = [dict(parse(path.name).entities) if entity_of(path.name, "sub") else {} for path in paths]
    labels = [{key: entities.get(key, "") for key in ("ses", "run")} for entities in found]
    names = ["_".join(f"{key}-{text}" for key, text in label.items() if text) for label in labels]
    if len(set(names)) < len(names) or not all(names):
        names = [f"table-{number}" for number in range(1, len(paths) + 1)]
    return [(f"ses-{label['ses']}" if label["ses"] else "", name) for label, name in zip(labels, names, strict=True)]
