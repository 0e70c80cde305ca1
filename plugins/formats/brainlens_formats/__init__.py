"""Exporters to the formats that other tools read.

Only the component records are here; their parameters are in `params`, the work is in one module for each format.
"""

from __future__ import annotations

import brainlens
from brainlens_formats.params import (
    BidsParams,
    GiftiParams,
    HubParams,
    NetcdfParams,
    TableParams,
    VariableParams,
    Zarr2Params,
)


@brainlens.hookimpl
def brainlens_components() -> tuple[brainlens.Component, ...]:
    """Return the exporters."""
    return (
        brainlens.Component(
            name="formats.parquet",
            role="exporter",
            summary="variables as a tidy table in Parquet, one row per value, with labels, units and provenance",
            version="1",
            target="brainlens_formats.parquet:write",
            params=TableParams,
            suffixes=(".parquet",),
        ),
        brainlens.Component(
            name="formats.csv",
            role="exporter",
            summary="variables as a tidy table of text, or zipped with its description as a data package",
            version="1",
            target="brainlens_formats.text_table:write",
            params=TableParams,
            suffixes=(".csv", ".tsv", ".csv.gz", ".tsv.gz", ".csv.zip"),
        ),
        brainlens.Component(
            name="formats.netcdf",
            role="exporter",
            summary="a whole dataset as NetCDF-4",
            version="1",
            target="brainlens_formats.netcdf:write",
            params=NetcdfParams,
            suffixes=(".nc",),
        ),
        brainlens.Component(
            name="formats.zarr2",
            role="exporter",
            summary="a whole dataset as Zarr format 2, for readers in R and Julia",
            version="1",
            target="brainlens_formats.zarr2:write",
            params=Zarr2Params,
            suffixes=(".zarr",),
        ),
        brainlens.Component(
            name="formats.gifti",
            role="exporter",
            summary="one variable of one hemisphere as GIfTI, on the mesh that its vertices number",
            version="1",
            target="brainlens_formats.gifti:write",
            params=GiftiParams,
            suffixes=(".func.gii", ".shape.gii", ".gii"),
        ),
        brainlens.Component(
            name="formats.bids",
            role="exporter",
            summary="responses or maps as a folder of BIDS derivatives",
            version="1",
            target="brainlens_formats.bids:write",
            params=BidsParams,
        ),
        brainlens.Component(
            name="formats.rsatoolbox",
            role="exporter",
            summary="observations and channels with descriptors, as rsatoolbox reads them",
            version="1",
            target="brainlens_formats.rsa:write",
            params=VariableParams,
            suffixes=(".rsatoolbox.h5", ".h5", ".hdf5"),
        ),
        brainlens.Component(
            name="formats.bdpy",
            role="exporter",
            summary="responses and labels of trials as BData, as bdpy reads them",
            version="1",
            target="brainlens_formats.bdata:write",
            params=VariableParams,
            suffixes=(".bdpy.h5", ".h5"),
        ),
        brainlens.Component(
            name="formats.hub",
            role="exporter",
            summary="a model as a folder for the Hugging Face hub: config, safetensors, card",
            version="1",
            target="brainlens_formats.hub:write",
            params=HubParams,
        ),
    )
