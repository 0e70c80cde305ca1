"""The parameters of the exporters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

import brainlens


def _as_texts(value: Any) -> Any:
    """Let one name stand for a tuple of one."""
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, Mapping | bytes) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_as_texts)]


class TableParams(brainlens.Params):
    """Parameters of the exporters `formats.parquet` and `formats.csv`."""

    variables: Texts = Field(
        (),
        description="Variables to write, one column each; none takes all beside roi_mask if their dims are the same.",
    )
    coordinates: Texts = Field((), description="Coordinates to write beside those of the dims; none takes all.")
    attributes: Texts = Field((), description="Attributes of the dataset to repeat in every row, such as 'subject'.")
    rois: bool = Field(False, description="Add a column of true and false for each ROI, 'roi_' before its name.")
    drop_missing: bool = Field(False, description="Leave out rows in which every variable is NaN.")
    max_rows: int = Field(5_000_000, ge=1, description="Refuse to write more rows than that.")


class NetcdfParams(brainlens.Params):
    """Parameters of the exporter `formats.netcdf`."""

    compression: int = Field(0, ge=0, le=9, description="Level of zlib for variables from 1 MiB; 0 is none.")


class Zarr2Params(brainlens.Params):
    """Parameters of the exporter `formats.zarr2`."""

    compression: int = Field(1, ge=0, le=9, description="Level of zlib for all arrays; 0 is none.")
