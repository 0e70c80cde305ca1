"""The exporter `formats.bids`: responses or maps as a folder of BIDS derivatives.

Maps go to NIfTI or GIfTI with a sidecar, labels of trials and sites to tables, ROIs to masks. Names follow the order of
entities in the BIDS schema; what the standard has no place for is listed in `.bidsignore`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import brainlens
from brainlens_formats.describe import as_text, choose_variable, plain
from brainlens_formats.gifti import write as write_gifti
from brainlens_formats.params import BidsParams, GiftiParams
from brainlens_formats.volume import write_volume

BIDS_VERSION = "1.10.0"
# https://bids-specification.readthedocs.io, appendix on entities: those that are used here, in the standard's order.
ENTITIES = ("sub", "ses", "task", "hemi", "space", "label", "desc")
SITES = ("voxel", "vertex")
_COLUMNS = {
    "trial": "identifier of the showing of a stimulus",
    "stimulus_id": "identifier of the stimulus that was shown",
    "repetition": "which showing of the same stimulus, from 0",
    "session": "scanner visit",
    "run": "scanner run",
    "split": "train, val or test",
    "voxel": "identifier of the voxel",
    "vertex": "number of the vertex",
    "hemisphere": "left or right",
    "i": "index along the first axis of the volume, from 0",
    "j": "index along the second axis of the volume, from 0",
    "k": "index along the third axis of the volume, from 0",
    "x_mm": "world coordinate to the right, in mm",
    "y_mm": "world coordinate to the front, in mm",
    "z_mm": "world coordinate upwards, in mm",
    "noise_ceiling": "best score that can be reached at the site",
}
HEMISPHERES = {"left": "L", "right": "R"}
# The standard has no suffix for maps of statistics yet; nilearn and FitLins call them so.
IGNORED = ("*_statmap.*", "*_trials.*", "*_sites.*", "*_maps.*")


def write(dataset: xr.Dataset, target: Path, *, params: BidsParams, context: brainlens.Context) -> None:
    """Write one variable as BIDS derivatives.

    Parameters
    ----------
    dataset
        With dim `voxel` and its place in the volume, or with dim `vertex` (see `formats.gifti`). May be lazy and larger
        than memory.
    target
        Folder to write.
    params
        `variable`, and the labels in the names of files.
    context
        Shows progress.

    Raises
    ------
    DimensionError
        If there are no sites, or they do not say where they lie.
    ParameterError
        If the variable is not named where there are several, or a label has other characters than letters and digits.

    Notes
    -----
    Volumes follow the other dims in their stored order, the last one fastest; the table `_trials.tsv` (or `_maps.tsv`,
    for other dims) has a row for each volume, with its labels. `_sites.tsv` has a row for each site. A table of trials
    with `onset` and `duration` is `_events.tsv`.
    """
    variable = choose_variable(dataset, params.variable, SITES, exporter="formats.bids")
    site = next(dim for dim in SITES if dim in variable.dims)
    entities = _entities(dataset, str(variable.name), params)
    folder = target / (f"sub-{entities['sub']}" if entities["sub"] else "")
    folder = folder / (f"ses-{entities['ses']}" if entities["ses"] else "") / "func"
    folder.mkdir(parents=True)
    sidecar = _sidecar(dataset, variable)
    images = _write_images(dataset, variable, site, folder, entities, params, context)
    for image in images:
        _write_json(_beside(image, ".json"), sidecar)
    rows = [str(dim) for dim in variable.dims if dim != site]
    if rows:
        _write_table(folder, entities, _rows(dataset, rows), _suffix(dataset, rows))
    _write_table(folder, entities, _site_labels(dataset, site), "sites")
    _write_description(target, dataset, params)


def name_file(entities: dict[str, str], ending: str) -> str:
    """Return the name of a file: its entities in the order of the standard, then suffix and extension.

    Examples
    --------
    >>> name_file({"desc": "beta", "sub": "01", "space": "T1w", "ses": ""}, "statmap.nii.gz")
    'sub-01_space-T1w_desc-beta_statmap.nii.gz'
    """
    return "_".join([*(f"{key}-{entities[key]}" for key in ENTITIES if entities.get(key)), ending])


def _entities(dataset: xr.Dataset, variable: str, params: BidsParams) -> dict[str, str]:
    subject = params.subject or str(dataset.attrs.get("subject", "")).removeprefix("sub-")
    found = {
        "sub": ("subject", subject),
        "ses": ("session", params.session.removeprefix("ses-")),
        "task": ("task", params.task),
        "space": ("space", params.space or str(dataset.attrs.get("space", ""))),
        "desc": ("desc", params.desc or re.sub("[^A-Za-z0-9]", "", variable)),
    }
    for parameter, label in found.values():
        if label and not re.fullmatch("[A-Za-z0-9]+", label):
            raise brainlens.ParameterError(
                f"{parameter}: expected a label of letters and digits, as BIDS has it in names of files, found "
                f"{label!r}. Give another one as {parameter}=…."
            )
    return {key: label for key, (_, label) in found.items()}


def _write_images(
    dataset: xr.Dataset,
    variable: xr.DataArray,
    site: str,
    folder: Path,
    entities: dict[str, str],
    params: BidsParams,
    context: brainlens.Context,
) -> list[Path]:
    if site == "voxel":
        image = folder / name_file(entities, "statmap.nii.gz")
        write_volume(dataset, variable.variable, image, fill=params.fill, context=context, exporter="formats.bids")
        inside = xr.Variable(("voxel",), np.ones(dataset.sizes["voxel"], bool))
        about = {"Type": "ROI", "SpatialReference": str(dataset.attrs.get("space", entities["space"]))}
        masks = {"sites": inside, **_rois(dataset)}
        for name, mask in masks.items():
            path = folder / name_file({**entities, "label": name, "desc": ""}, "mask.nii.gz")
            write_volume(dataset, mask, path, fill=0, context=context, exporter="formats.bids")
            _write_json(_beside(path, ".json"), {**about, "Description": f"1 inside {name}."})
        return [image]
    sides = dataset["hemisphere"].values.tolist() if "hemisphere" in dataset.coords else []
    if not sides:
        raise brainlens.DimensionError(
            "formats.bids: expected a coordinate 'hemisphere' on 'vertex', since the names of files say it, found "
            "none. Assign it, or export as '.func.gii'."
        )
    images = []
    for side in dict.fromkeys(sides):
        image = folder / name_file({**entities, "hemi": HEMISPHERES[side]}, "statmap.func.gii")
        given = {"hemisphere": side, "n_vertices": params.n_vertices, "fill": params.fill}
        write_gifti(dataset, image, params=GiftiParams(variable=str(variable.name), **given), context=context)
        images.append(image)
    return images


def _rois(dataset: xr.Dataset) -> dict[str, xr.Variable]:
    mask = dataset.get("roi_mask")
    if mask is None or "voxel" not in mask.dims:
        return {}
    rows = mask.transpose("roi", "voxel")
    names = [re.sub("[^A-Za-z0-9]", "", str(name)) or "unnamed" for name in mask["roi"].values.tolist()]
    twice = next((name for name in ["sites", *names] if ["sites", *names].count(name) > 1), None)
    if twice is not None:
        raise brainlens.ParameterError(
            f"formats.bids: expected ROIs whose names differ in letters and digits, found {twice!r} twice. Rename one."
        )
    return {name: rows[number].variable for number, name in enumerate(names)}


def _suffix(dataset: xr.Dataset, rows: list[str]) -> str:
    if rows != ["trial"]:
        return "maps"
    return "events" if {"onset", "duration"} <= set(dataset.coords) else "trials"


def _rows(dataset: xr.Dataset, dims: list[str]) -> dict[str, xr.DataArray]:
    """Return a column for each label of the volumes, `onset` and `duration` first, as BIDS wants them."""
    shape = xr.DataArray(np.zeros([dataset.sizes[dim] for dim in dims], bool), dims=dims)
    columns = {
        dim: dataset[dim] if dim in dataset.coords else xr.DataArray(np.arange(dataset.sizes[dim]), dims=dim)
        for dim in dims
    }
    columns |= {
        str(name): coord for name, coord in dataset.coords.items() if coord.dims and set(coord.dims) <= set(dims)
    }
    columns = {name: columns[name] for name in ("onset", "duration") if name in columns} | columns
    return {
        name: column.reset_coords(drop=True).broadcast_like(shape).transpose(*dims) for name, column in columns.items()
    }


def _site_labels(dataset: xr.Dataset, site: str) -> dict[str, xr.DataArray]:
    labels = {str(name): coord for name, coord in dataset.coords.items() if coord.dims == (site,)}
    mask = dataset.get("roi_mask")
    if mask is not None and site in mask.dims and "roi" in mask.coords:
        for number, name in enumerate(mask["roi"].values.tolist()):
            labels[f"roi_{name}"] = mask.transpose("roi", site)[number].astype(np.int8)
    return labels


def _write_table(folder: Path, entities: dict[str, str], columns: dict[str, xr.DataArray], suffix: str) -> None:
    """Write a table with its sidecar: tabs, UTF-8, n/a for what is missing."""
    if not columns:
        return
    # Events belong to what was acquired, whichever map was made of it.
    entities = {**entities, "space": "", "desc": ""} if suffix == "events" else entities
    path = folder / name_file(entities, f"{suffix}.tsv")
    text = [[_cell(value) for value in _plain_values(column)] for column in columns.values()]
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("\t".join(columns) + "\n")
        file.writelines("\t".join(row) + "\n" for row in zip(*text, strict=True))
    _write_json(_beside(path, ".json"), {name: _describe_column(name, column) for name, column in columns.items()})


def _plain_values(column: xr.DataArray) -> list[Any]:
    values = column.values.ravel()
    kind = values.dtype.kind
    # The shortest text of a float32 is that of its own dtype.
    return (
        as_text(values.astype(str) if kind in "Mmf" else values).tolist()
        if kind != "b"
        else values.astype(int).tolist()
    )


def _cell(value: Any) -> str:
    text = str(value)
    if text in ("nan", "NaT", ""):
        return "n/a"
    if "\t" in text or "\n" in text or "\r" in text:
        raise brainlens.ParameterError(
            f"formats.bids: expected labels without tabs and ends of lines, which a .tsv cannot hold, found {text!r}. "
            "Replace them."
        )
    return text


def _describe_column(name: str, column: xr.DataArray) -> dict[str, Any]:
    attrs = plain(column.attrs)
    units = {"Units": attrs.pop("units")} if "units" in attrs else {}
    about = attrs.pop("long_name", _COLUMNS.get(name, f"{name}, as the dataset has it"))
    return {"Description": about, **units, **attrs}


def _sidecar(dataset: xr.Dataset, variable: xr.DataArray) -> dict[str, Any]:
    scalars = {str(name): coord.values for name, coord in variable.coords.items() if not coord.dims}
    attrs = plain({**scalars, **dataset.attrs, **variable.attrs})
    known = {
        "Description": str(attrs.get("long_name", variable.name)),
        "Units": attrs.get("units"),
        "SpatialReference": attrs.get("space"),
        "Dims": list(map(str, variable.dims)),
    }
    found = {key: value for key, value in known.items() if value is not None}
    return found | {"brainlens": {key: _unpacked(value) for key, value in attrs.items()}}


def _unpacked(value: Any) -> Any:
    """Return provenance as JSON, not as text of JSON."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def _write_description(target: Path, dataset: xr.Dataset, params: BidsParams) -> None:
    attrs = plain(dataset.attrs)
    made = {"Name": "brainlens", "Version": str(attrs.get("brainlens_version", brainlens.__version__))}
    if attrs.get("component"):
        made["Description"] = f"{attrs['component']} of the plugin {attrs.get('plugin', 'brainlens')}"
    description = {
        "Name": params.title,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        **({"License": params.license} if params.license else {}),
        "GeneratedBy": [made],
    }
    _write_json(target / "dataset_description.json", description)
    (target / ".bidsignore").write_text("\n".join(IGNORED) + "\n", "utf-8")
    (target / "README").write_text(
        f"{params.title}\n\nExported by brainlens. The sidecars say under 'brainlens' what each file was made from.\n",
        "utf-8",
    )


def _beside(path: Path, ending: str) -> Path:
    stem = path.name
    for extension in (".nii.gz", ".func.gii", ".tsv"):
        stem = stem.removesuffix(extension)
    return path.with_name(stem + ending)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
