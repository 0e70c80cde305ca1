"""The parameters of the exporters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

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
        description="Variables to write, one column each, repeated along dims that they lack; none takes all beside "
        "roi_mask, if their dims lie within those of one of them.",
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

    compression: int = Field(0, ge=0, le=9, description="Level of zlib for all arrays; 0 is none.")


class VariableParams(brainlens.Params):
    """Parameters of the exporters `formats.rsatoolbox` and `formats.bdpy`."""

    variable: str = Field("", description="Variable to write; '' takes the only one that fits, beside roi_mask.")


class GiftiParams(brainlens.Params):
    """Parameters of the exporter `formats.gifti`."""

    variable: str = Field("", description="Variable to write; '' takes the only one with a dim vertex beside roi_mask.")
    hemisphere: Literal["", "left", "right"] = Field(
        "", description="Hemisphere to write; '' takes the only one that the dataset has."
    )
    n_vertices: int = Field(
        0, ge=0, description="Vertices in the mesh of one hemisphere; 0 takes those of the space fsaverage, or all."
    )
    fill: float = Field(0.0, description="Value at vertices that the dataset does not have, in the variable's unit.")


class BidsParams(brainlens.Params):
    """Parameters of the exporter `formats.bids`."""

    variable: str = Field("", description="Variable to write; '' takes the only one with sites beside roi_mask.")
    subject: str = Field("", description="Label of the subject in file names; '' is the dataset's, without 'sub-'.")
    session: str = Field("", description="Label of the session in file names; '' leaves it out.")
    task: str = Field(min_length=1, description="Label of the task in file names, which BIDS demands.")
    space: str = Field("", description="Label of the space in file names; '' is the dataset's.")
    desc: str = Field("", description="Label that tells this map from others; '' is the variable's name.")
    title: str = Field("brainlens export", min_length=1, description="Name in dataset_description.json.")
    license: str = Field("", description="License in dataset_description.json; '' leaves it out.")
    fill: float = Field(0.0, description="Value outside the dataset's sites, in the unit of the variable.")
    n_vertices: int = Field(
        0, ge=0, description="Vertices in the mesh of one hemisphere; 0 takes those of the space fsaverage, or all."
    )


class HubParams(brainlens.Params):
    """Parameters of the exporter `formats.hub`."""

    title: str = Field("", description="Heading of the model card; '' is the component and the subject.")
    description: str = Field("", description="What the model is for, in the card.")
    license: str = Field("unknown", min_length=1, description="Licence in the card, as the hub spells it.")
    tags: Texts = Field((), description="Further tags of the card.")
