"""The importer `public.god`: BData of Generic Object Decoding, Deep Image Reconstruction or any other study.

Trials of several files of one subject are joined; values stay in the files until they are stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import brainlens
from brainlens_public import BDataParams, terms
from brainlens_public.bdata import BData, find_bad_columns, open_bdata
from brainlens_public.rois import add_rois, drop_bad_sites, number_sites
from brainlens_public.series import count_repetitions

TERMS = MappingProxyType({"god": terms.GOD, "deep_reconstruction": terms.DEEP_RECONSTRUCTION, "other": terms.BDATA})
# As Generic Object Decoding numbers them.
DATA_TYPES = MappingProxyType({1: "training", 2: "perception", 3: "imagery"})
SPLITS = MappingProxyType({"training": "train", "perception": "test", "imagery": "test"})
STIMULUS_KEYS = ("stimulus_id", "stimulus_name", "Label")
# Identifiers of synsets in WordNet have 7 or 8 digits.
SMALLEST_SYNSET = 1_000_000
DECIMALS = 6


def read(*, params: BDataParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read the trials of one subject.

    Parameters
    ----------
    params
        Which files, trials and voxels; see `BDataParams`.
    context
        Notes the files.

    Returns
    -------
    Mapping
        Under "" one dataset response.v1: `response`, (trial, voxel), float32, in the order of the files. `stimulus_id`:
        text, such as 'n01518878_5958' for 1518878.005958, or the number where it is whole; `category_id` such as
        'n01518878'. `run` counts runs over all files from 1; `source_run`, `session`, `block`, `data_type` and `split`
        where the files say it. `voxel` is the column in the file; `x_mm`, `y_mm`, `z_mm`; `roi_mask` (roi, voxel).

    Raises
    ------
    ParameterError
        If a file is damaged or no BData, a key is missing, a stimulus is not a number, or voxels carry no signal.
    DimensionError
        If files do not have the same voxels.
    RegistryError
        If a file is missing.

    References
    ----------
    Horikawa & Kamitani (2017), doi:10.1038/ncomms15037; Shen et al. (2019), doi:10.1371/journal.pcbi.1006633. The
    format: github.com/KamitaniLab/bdpy.
    """
    terms.announce(TERMS[params.study], context)
    files = [open_bdata(context.source(path)) for path in params.files]
    columns = files[0].columns("VoxelData")
    for data in files[1:]:
        _check_same_voxels(data, files[0], columns)
    trials = pd.concat([_list_trials(data, number, params) for number, data in enumerate(files)], ignore_index=True)
    if trials.empty:
        raise brainlens.ParameterError(
            f"data_types: expected trials of {brainlens.listed(params.data_types)}, found none in "
            f"{brainlens.listed(params.files)}. Choose others."
        )
    dataset = number_sites(_find_sites(files[0], columns, params), site="voxel")
    chosen = dataset["voxel"].values
    bad = _find_bad(files, trials, chosen)
    what = f"VoxelData of {params.subject}"
    dataset = drop_bad_sites(dataset, bad, site="voxel", choice=params.bad_sites, what=what, context=context)
    if "roi_mask" in dataset:
        dataset = brainlens.sort_by_roi(dataset)
    return {"": terms.stamp(_assemble(dataset, files, trials, params), TERMS[params.study])}


def name_stimuli(values: np.ndarray) -> np.ndarray:
    """Name stimuli after the numbers that files hold.

    Parameters
    ----------
    values
        Shape (n,), float64, finite. A number with decimals is a synset of WordNet and, in six decimals, an image of it.

    Returns
    -------
    ndarray
        Whole numbers where all are whole; otherwise text.

    Raises
    ------
    ParameterError
        If a number has more decimals.

    Examples
    --------
    >>> name_stimuli(np.array([1518878.005958, 4086273.005433])).tolist()
    ['n01518878_5958', 'n04086273_5433']
    >>> name_stimuli(np.array([3.0, 17.0])).tolist()
    [3, 17]
    """
    if (values == np.round(values)).all():
        return values.astype(np.int64)
    scaled = values * 10**DECIMALS
    # Of a number with eight digits before the point float64 keeps eight behind it.
    off = np.abs(scaled - np.round(scaled)) > 0.01
    if off.any():
        raise brainlens.ParameterError(
            f"stimulus_key: expected numbers with at most {DECIMALS} decimals, found {float(values[off][0])!r}. Name "
            "the column of the stimulus with stimulus_key."
        )
    parts = [f"{value:.{DECIMALS}f}".split(".") for value in values.tolist()]
    return np.array(
        [
            f"n{int(synset):08d}_{int(image)}" if int(synset) >= SMALLEST_SYNSET else f"{synset}.{image}"
            for synset, image in parts
        ]
    )


def _check_same_voxels(data: BData, reference: BData, columns: np.ndarray) -> None:
    found = data.columns("VoxelData")
    same = np.array_equal(found, columns)
    for key in ("voxel_x", "voxel_y", "voxel_z", *_roi_keys(reference)):
        if same and key in reference.metadata:
            mine, theirs = data.metadata.get(key), reference.metadata[key]
            same = mine is not None and np.array_equal(mine[columns], theirs[columns], equal_nan=True)
        if not same:
            raise brainlens.DimensionError(
                f"BData {str(data.path)!r}, {key!r}: expected the voxels of {str(reference.path)!r}, "
                f"{len(columns)} in all, found {len(found)} others. One of them is of another subject: import it apart."
            )


def _list_trials(data: BData, number: int, params: BDataParams) -> pd.DataFrame:
    n_samples = data.shape[0]
    table = pd.DataFrame({"file": number, "row": np.arange(n_samples)})
    if data.has("DataType"):
        codes = data.label("DataType")
        strange = ~np.isin(codes, list(DATA_TYPES))
        if strange.any():
            raise brainlens.ParameterError(
                f"BData {str(data.path)!r}, column 'DataType': expected 1 (training), 2 (perception) and 3 (imagery), "
                f"found {float(codes[strange][0])!r}. Files of other studies are read without this column, with splits."
            )
        table["data_type"] = [DATA_TYPES[int(code)] for code in codes]
        table["split"] = table["data_type"].map(SPLITS)
    elif params.splits:
        table["split"] = params.splits[number]
    for key, name in (("Session", "session"), ("Run", "source_run"), ("Block", "block")):
        if data.has(key):
            table[name] = _whole(data, key)
    key = params.stimulus_key or next((name for name in STIMULUS_KEYS if data.has(name)), STIMULUS_KEYS[0])
    table["stimulus"] = data.label(key)
    kept = table["data_type"].isin(list(params.data_types)) if "data_type" in table else np.ones(n_samples, bool)
    table = table[kept]
    missing = ~np.isfinite(table["stimulus"].to_numpy())
    if missing.any() and params.unlabelled == "error":
        first = int(table["row"].iloc[np.flatnonzero(missing)[0]]) + 1
        raise brainlens.ParameterError(
            f"BData {str(data.path)!r}, column {key!r}: expected a stimulus in every row, found none in "
            f"{int(missing.sum())} of {len(table)}, first row {first}. "
            "Leave these rows out with unlabelled='drop'."
        )
    table = table[~missing].reset_index(drop=True)
    names = data.names.get(key)
    if names:
        unknown = sorted(set(table["stimulus"]) - set(names))
        if unknown:
            raise brainlens.ParameterError(
                f"BData {str(data.path)!r}, vmap {key!r}: expected a name for every stimulus, found none for "
                f"{brainlens.listed(unknown)}. The file is damaged: get it again."
            )
        table["stimulus_id"] = [names[value] for value in table["stimulus"]]
    else:
        table["stimulus_id"] = name_stimuli(table["stimulus"].to_numpy())
    return table


def _whole(data: BData, key: str) -> np.ndarray:
    values = data.label(key)
    if not (np.isfinite(values) & (values == np.round(values))).all():
        raise brainlens.ParameterError(
            f"BData {str(data.path)!r}, column {key!r}: expected whole numbers, found others. The file is damaged, or "
            "of another study: get it again."
        )
    return values.astype(np.int64)


def _roi_keys(data: BData) -> list[str]:
    return [key for key in data.metadata if key.startswith("ROI_")]


def _find_sites(data: BData, columns: np.ndarray, params: BDataParams) -> xr.Dataset:
    rois = {key.removeprefix("ROI_"): data.metadata[key] == 1 for key in _roi_keys(data)}
    if params.sites != ("all",):
        for name in params.sites:
            if name not in rois:
                raise brainlens.ParameterError(
                    f"sites: expected ROIs of {str(data.path)!r}, found {name!r}. "
                    f"{brainlens.closest(name, rois, what='ROIs')}"
                )
        columns = columns[np.any([rois[name][columns] for name in params.sites], axis=0)]
        if not len(columns):
            raise brainlens.ParameterError(
                f"sites: expected at least one voxel in {brainlens.listed(params.sites)}, found none. Choose others."
            )
    coords: dict[str, Any] = {"voxel": columns}
    for axis in "xyz":
        place = data.metadata.get(f"voxel_{axis}")
        if place is not None and np.isfinite(place[columns]).all():
            coords[f"{axis}_mm"] = ("voxel", place[columns])
    return add_rois(xr.Dataset(coords=coords), rois, site="voxel")


def _find_bad(files: Sequence[BData], trials: pd.DataFrame, columns: np.ndarray) -> Mapping[str, np.ndarray]:
    bounds = []
    for number, data in enumerate(files):
        wanted = np.zeros(data.shape[0], bool)
        wanted[trials.loc[trials["file"] == number, "row"]] = True
        if wanted.any():
            bounds.append(find_bad_columns(data, columns, wanted))
    lowest, highest = (np.stack(part) for part in zip(*bounds, strict=True))
    broken = np.isnan(lowest).any(axis=0)
    constant = ~broken & (lowest.min(axis=0) == highest.max(axis=0))
    found = {"not finite": broken, "constant": constant}
    return {reason: mask for reason, mask in found.items() if mask.any()}


def _assemble(dataset: xr.Dataset, files: Sequence[BData], trials: pd.DataFrame, params: BDataParams) -> xr.Dataset:
    owner, row = trials["file"].to_numpy(), trials["row"].to_numpy()
    columns = dataset["voxel"].values

    def make(low: int, high: int) -> np.ndarray:
        made = np.empty((high - low, len(columns)), np.float32)
        for number in np.unique(owner[low:high]):
            here = np.flatnonzero(owner[low:high] == number)
            wanted = row[low:high][here]
            first = int(wanted.min())
            made[here] = files[number].rows(first, int(wanted.max()) + 1, columns)[wanted - first]
        return made

    stimulus = _as_labels(trials["stimulus_id"])
    coords: dict[str, Any] = {
        "trial": np.arange(len(trials)),
        "stimulus_id": ("trial", stimulus),
        "repetition": ("trial", count_repetitions(stimulus)),
    }
    for name in ("data_type", "split", "session", "source_run", "block"):
        if name in trials and trials[name].notna().all():
            coords[name] = ("trial", _as_labels(trials[name]))
    keys = [name for name in ("file", "data_type", "session", "source_run") if name in coords or name == "file"]
    if "source_run" in coords:
        coords["run"] = ("trial", trials.groupby(keys, sort=False).ngroup().to_numpy() + 1)
    if stimulus.dtype.kind == "U" and all(name.startswith("n") and "_" in name for name in stimulus.tolist()):
        coords["category_id"] = ("trial", np.array([name.partition("_")[0] for name in stimulus.tolist()]))
    response = brainlens.made_rows(("trial", "voxel"), (len(trials), len(columns)), np.float32, make)
    attrs = {"schema": "response.v1", "subject": params.subject, "units": params.units, "study": params.study}
    return dataset.assign(response=response).assign_coords(coords).assign_attrs(attrs)


def _as_labels(column: pd.Series) -> np.ndarray:
    whole = pd.api.types.is_integer_dtype(column)
    return column.to_numpy(np.int64) if whole else column.to_numpy(dtype=str)
