"""What the volumes of an exported image are: for its header, as far as that has room, and as JSON beside it.

Keys follow the sidecars of BIDS where it has them; `Volumes` and `brainlens` are our own.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

# The variable whose unit the attribute `units` of a dataset is, in the schemas that have one.
MEASURED = ("bold", "map", "response", "weights")
# NIfTI keeps that many bytes, the last of which ends the text.
DESCRIP_BYTES, INTENT_BYTES = 79, 15


def describe(dataset: xr.Dataset, variable: xr.DataArray) -> dict[str, Any]:
    """Return what an image of a variable holds, as JSON.

    Parameters
    ----------
    dataset
        Where the variable is from; its attributes and provenance are kept.
    variable
        With the dim voxel, and the others that became volumes, or a label in place of one of them.

    Returns
    -------
    dict
        `Description`, `Units` where they are known, `SpatialReference`, `Dims` of the volumes, and `Volumes`: for each
        the labels along every dim, such as `map_name` and `meaning`.

    Examples
    --------
    >>> values = xr.DataArray(np.zeros((2, 3)), {"map_name": ["r2", "p"]}, ("map_name", "voxel"), "map")
    >>> describe(xr.Dataset({"map": values}, attrs={"units": "1"}), values)["Volumes"]
    [{'map_name': 'r2'}, {'map_name': 'p'}]
    """
    dims = [str(dim) for dim in variable.dims if dim != "voxel"]
    sizes = [variable.sizes[dim] for dim in dims]
    names = [str(name) for name, coord in variable.coords.items() if "voxel" not in coord.dims]
    volumes: list[dict[str, Any]] = [{} for _ in range(math.prod(sizes))]
    for name in sorted(names, key=lambda name: name not in (*dims, "map_name")):
        along = [str(dim) for dim in variable[name].dims]
        for volume, position in zip(volumes, np.ndindex(*sizes), strict=True):
            where = dict(zip(dims, position, strict=True))
            volume[name] = _plain(variable[name].values[tuple(where[dim] for dim in along)])
    for dim in (dim for dim in dims if dim not in names):
        for volume, position in zip(volumes, np.ndindex(*sizes), strict=True):
            volume[dim] = position[dims.index(dim)]
    units = variable.attrs.get("units", dataset.attrs.get("units") if variable.name in MEASURED else None)
    attrs = {str(key): _plain(value) for key, value in {**dataset.attrs, **variable.attrs}.items()}
    if isinstance(attrs.get("provenance"), str):
        # Stored as text, since not every format has nested attributes.
        attrs["provenance"] = json.loads(attrs["provenance"])
    known = {
        "Description": str(variable.attrs.get("long_name", variable.name)),
        "Units": units,
        "SpatialReference": dataset.attrs.get("space"),
        "Dims": dims,
        "Volumes": volumes,
        "brainlens": attrs,
    }
    return {key: value for key, value in known.items() if value is not None}


def labels_along(variable: xr.DataArray, dim: str) -> list[str]:
    """Return the labels along a dim as text, or positions from 0."""
    return [str(label) for label in (variable[dim].values if dim in variable.coords else range(variable.sizes[dim]))]


def header_words(described: dict[str, Any], beside: str) -> tuple[bytes, bytes]:
    """Return `descrip` and `intent_name`: the names of the volumes where they fit, or where else they are.

    Examples
    --------
    >>> volumes = [{"map_name": "r2", "meaning": "share of variance"}]
    >>> header_words({"Description": "map", "Dims": [], "Volumes": volumes}, "maps.json")
    (b'r2: share of variance', b'r2')
    """
    volumes, variable = described["Volumes"], described["Description"]
    if len(volumes) == 1:
        (volume,) = volumes
        first = str(next(iter(volume.values()), variable))
        words = f"{first}: {volume['meaning']}" if "meaning" in volume else first
        return _cut(words, DESCRIP_BYTES), _cut(first, INTENT_BYTES)
    named = [next(iter(volume.values())) for volume in volumes]
    words = ", ".join(name for name in named if isinstance(name, str))
    if not words or len(words.encode()) > DESCRIP_BYTES:
        where = f", named in {beside}" if beside else ""
        words = f"{len(volumes)} volumes by {', '.join(described['Dims'])}{where}"
    return _cut(words, DESCRIP_BYTES), _cut(variable, INTENT_BYTES)


def sidecar_path(image: Path) -> Path:
    """Return where the sidecar of an image lies.

    Examples
    --------
    >>> sidecar_path(Path("maps.nii.gz")).name
    'maps.json'
    """
    return image.with_name(image.name.removesuffix(".gz").removesuffix(".nii") + ".json")


def write_sidecar(described: dict[str, Any], path: Path) -> None:
    """Write the sidecar of an image, a volume in each line."""
    text = {key: json.dumps(value, ensure_ascii=False, indent=1) for key, value in described.items()}
    text = {key: value.replace("\n", "\n ") for key, value in text.items()}
    lines = (json.dumps(volume, ensure_ascii=False) for volume in described["Volumes"])
    text["Volumes"] = "[\n  " + ",\n  ".join(lines) + "\n ]"
    path.write_text(
        "{\n" + ",\n".join(f" {json.dumps(key)}: {value}" for key, value in text.items()) + "\n}\n", "utf-8"
    )


def _cut(words: str, n_bytes: int) -> bytes:
    content = words.encode()
    # A letter that takes several bytes is not cut in two.
    return content if len(content) <= n_bytes else content[: n_bytes - 3].decode(errors="ignore").encode() + b"..."


def _plain(value: Any) -> Any:
    """Return a label or attribute as JSON has it, without numbers that it lacks."""
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.datetime64 | np.timedelta64):
        return str(value)
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | dict) or value is None else str(value)
