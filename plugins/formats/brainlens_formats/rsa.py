"""The exporter `formats.rsatoolbox`: observations and channels, as `rsatoolbox.data.load_dataset` reads them.

The file is written without the library, piece by piece; the tests read it with the library.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

import brainlens
from brainlens_formats.blocks import blocks
from brainlens_formats.describe import as_json, as_text, choose_variable, plain
from brainlens_formats.params import VariableParams

OBSERVATIONS = ("trial", "stimulus")
# The release whose layout this is: the library writes it into its files, and reads files without asking for it.
LAYOUT = "0.3.2"


def write(dataset: xr.Dataset, target: Path, *, params: VariableParams, context: brainlens.Context) -> None:
    """Write one variable as an rsatoolbox `Dataset`, or a `TemporalDataset` where it has a dim `time`.

    Parameters
    ----------
    dataset
        With a variable of dims (trial, channel), such as (trial, voxel), or (trial, channel, time); `stimulus` may
        stand for `trial`. May be lazy and larger than memory.
    target
        File to write, .h5 or .hdf5.
    params
        `variable`.
    context
        Shows progress.

    Raises
    ------
    DimensionError
        If the dims are others.
    ParameterError
        If the variable is not named where there are several, or is no number.

    Notes
    -----
    Coordinates become descriptors of observations, channels and times, ROIs descriptors `roi_...` of channels, and
    attributes descriptors of the dataset: nested ones as JSON text. Booleans and float16 become float32.
    """
    variable = choose_variable(dataset, params.variable, OBSERVATIONS, exporter="formats.rsatoolbox")
    observation = next(dim for dim in OBSERVATIONS if dim in variable.dims)
    others = [str(dim) for dim in variable.dims if dim not in (observation, "time")]
    if len(others) != 1:
        raise brainlens.DimensionError(
            f"formats.rsatoolbox: expected dims ({observation}, channel) or ({observation}, channel, time), with any "
            f"dim for channel, found {variable.dims!r}. Select or average over one of them first."
        )
    dims = (observation, others[0], *(("time",) if "time" in variable.dims else ()))
    if variable.dtype.kind not in "biuf":
        raise brainlens.ParameterError(
            f"variable {variable.name!r}: expected real numbers, found dtype {variable.dtype}. Choose another one."
        )
    whole = variable.variable.transpose(*dims)
    dtype = np.dtype(np.float32) if whole.dtype.itemsize < 4 and whole.dtype.kind in "bf" else whole.dtype
    kinds = ("obs_descriptors", "channel_descriptors", "time_descriptors")
    with h5py.File(target, "w", libver=("v110", "latest")) as file:
        file.attrs["rsatoolbox_version"] = LAYOUT
        file.attrs["type"] = "TemporalDataset" if "time" in dims else "Dataset"
        _write_descriptors(file.create_group("descriptors"), _attributes(dataset, variable))
        for dim, kind in zip(dims, kinds, strict=False):
            _write_descriptors(file.create_group(kind), _labels(dataset, dim))
        measurements = file.create_dataset("measurements", whole.shape, dtype)
        for piece in context.progress(list(blocks(whole.shape)), label="writing measurements"):
            measurements[piece] = np.asarray(whole[piece].values).astype(dtype, copy=False)


def _attributes(dataset: xr.Dataset, variable: xr.DataArray) -> dict[str, Any]:
    attrs = plain({**dataset.attrs, **variable.attrs, "variable": str(variable.name)})
    scalars = {str(name): plain(coord.values) for name, coord in dataset.coords.items() if not coord.dims}
    return {
        key: value if isinstance(value, str | int | float) else as_json(value)
        for key, value in {**attrs, **scalars}.items()
    }


def _labels(dataset: xr.Dataset, dim: str) -> dict[str, np.ndarray]:
    labels = {str(name): coord.values for name, coord in dataset.coords.items() if coord.dims == (dim,)}
    if dim == "time":
        labels.setdefault("time", np.arange(dataset.sizes[dim]))
    mask = dataset.get("roi_mask")
    if mask is not None and dim in mask.dims and "roi" in mask.coords:
        names = mask["roi"].values.tolist()
        labels |= {f"roi_{name}": row for name, row in zip(names, mask.transpose("roi", dim).values, strict=True)}
    return labels


def _write_descriptors(group: h5py.Group, labels: dict[str, Any]) -> None:
    for name, value in labels.items():
        if not isinstance(value, np.ndarray):
            # As an array without dims, the library could not compute with it.
            group.attrs[name] = value
        elif value.dtype.kind in "OUTMm":
            _write_text(group, name, as_text(value.astype(str) if value.dtype.kind in "Mm" else value))
        else:
            group[name] = value


def _write_text(group: h5py.Group, name: str, text: np.ndarray) -> None:
    # The library reads fixed-width text as ASCII only, and text of any kind from attributes.
    if all(map(str.isascii, text.tolist())):
        group[name] = text.astype("S")
    else:
        group.attrs.create(name, text, dtype=h5py.string_dtype())
