"""What a dataset says of itself beside its values, as JSON that goes into files without a place for it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

import brainlens


def describe(dataset: xr.Dataset) -> dict[str, Any]:
    """Return attributes, with the provenance, and dims, dtype and attributes of every variable.

    Examples
    --------
    >>> dataset = xr.Dataset({"score": ("metric", np.zeros(2), {"units": "r"})}, attrs={"schema": "score.v1"})
    >>> describe(dataset)["variables"]["score"]
    {'dims': ['metric'], 'dtype': 'float64', 'attrs': {'units': 'r'}}
    """
    return {
        "attrs": plain(dataset.attrs),
        "dims": {str(dim): size for dim, size in dataset.sizes.items()},
        "coordinates": [str(name) for name in dataset.coords],
        "variables": {
            str(name): {
                "dims": list(map(str, variable.dims)),
                "dtype": "string" if variable.dtype.kind in "OUT" else str(variable.dtype),
                "attrs": plain(variable.attrs),
            }
            for name, variable in dataset.variables.items()
        },
    }


def plain(value: Any) -> Any:
    """Return attributes as plain JSON values: numbers of numpy become numbers of Python."""
    return json.loads(as_json(value))


def as_json(value: Any) -> str:
    """Return JSON text; numbers and arrays of numpy are taken as well."""
    return json.dumps(value, default=_plain_values, ensure_ascii=False)


def choose_variable(dataset: xr.Dataset, name: str, dims: tuple[str, ...], *, exporter: str) -> xr.DataArray:
    """Return the variable of that name, or the only one beside `roi_mask` with one of these dims.

    Raises
    ------
    DimensionError
        If no variable has such a dim.
    ParameterError
        If there is no such variable, or several could be meant.
    """
    usable = [str(key) for key in dataset.data_vars if set(dims) & set(dataset[key].dims)]
    wanted = " or ".join(map(repr, dims))
    if not usable:
        raise brainlens.DimensionError(
            f"{exporter}: expected a variable with dim {wanted}, found dims {brainlens.listed(dataset.sizes)}. "
            "Export a dataset that has one, or as another format."
        )
    if name:
        if name not in usable:
            raise brainlens.ParameterError(
                f"variable: expected one with dim {wanted}, found {name!r}. "
                f"{brainlens.closest(name, usable, what='variables')}"
            )
        return dataset[name]
    candidates = [key for key in usable if key != "roi_mask"] or usable
    if len(candidates) > 1:
        raise brainlens.ParameterError(
            f"variable: expected a name, since several have dim {wanted}, found ''. Variables: "
            f"{brainlens.listed(candidates)}."
        )
    return dataset[candidates[0]]


def as_text(values: np.ndarray) -> np.ndarray:
    """Return text of any dtype as Python's own, in an array of objects."""
    return np.asarray(values, dtype=object)


def _plain_values(item: Any) -> Any:
    values = np.asarray(item)
    return values.astype(str).tolist() if values.dtype.kind in "MmT" else values.tolist()
