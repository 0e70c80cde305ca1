from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import xarray as xr
from brainlens_formats.params import TableParams
from brainlens_formats.parquet import write
from hypothesis import HealthCheck, given, settings

import brainlens


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_values_labels_and_units_come_back(data: st.DataObject, random: Callable[[], Any]) -> None:
    dataset = data.draw(random())
    with TemporaryDirectory() as folder:
        target = Path(folder) / "a.parquet"
        write(dataset, target, params=TableParams(), context=brainlens.Context())
        table = pq.read_table(target)
    found = table["value"].to_numpy().reshape(dataset["value"].shape)
    np.testing.assert_array_equal(found.astype(dataset["value"].dtype), dataset["value"].values)
    width = dataset.sizes["site"]
    for name in ("trial", "name", "onset"):
        expected = np.repeat(np.asarray(dataset[name].values, object if name == "name" else None), width)
        assert table[name].to_pandas().to_numpy().tolist() == expected.tolist()
    assert table["both"].to_pylist() == dataset["both"].values.ravel().tolist()
    assert json.loads(table.schema.field("value").metadata[b"units"]) == "z"
    about = json.loads(table.schema.metadata[b"brainlens"])
    assert about["attrs"] == dataset.attrs
    assert about["variables"]["name"]["attrs"] == {"note": "as shown"}


def test_pandas_finds_the_attributes_and_the_provenance(export: Any, study: dict[str, xr.Dataset]) -> None:
    frame = pd.read_parquet(export(study["response"], "a.parquet"))
    assert frame.attrs["subject"] == "simulated01"
    assert json.loads(frame.attrs["provenance"])["component"] == "put"
    assert len(frame) == 21_600
