"""Write the archive of the format that this version writes; run once for every new format, and never again.

python tests/archives/make_archive.py

An archive is a registry of a few kilobytes, with what it must read back as in `expected.json`. Archives of earlier
formats stay as they are: they prove that what was stored can be opened for ever.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import xarray as xr

from brainlens import layout, manifest
from brainlens.records import Schema
from brainlens.schema import builtin_schemas
from brainlens.store import open_place, put_dataset

FREE = Schema(name="free.v1", document={})


def make_response() -> xr.Dataset:
    """Return a response in raw chunks, the last of them padded."""
    rng = np.random.default_rng(1)
    return xr.Dataset(
        {
            "response": (("trial", "voxel"), rng.normal(size=(5, 4)).astype("float32"), {"units": "z"}),
            "roi_mask": (("roi", "voxel"), np.array([[1, 1, 0, 0], [0, 1, 1, 0]], bool)),
        },
        coords={
            "trial": np.arange(5),
            "voxel": np.arange(4),
            "roi": ["V1", "V2"],
            "stimulus_id": ("trial", ["cat", "dog", "cat", "日本", ""]),
        },
        attrs={"subject": "subj01", "units": "z", "affine": [float(number) for number in range(16)]},
    )


def make_others() -> xr.Dataset:
    """Return one variable of every other dtype, and nested attributes."""
    whole = np.array([-3, 0, 7])
    dtypes = ["int8", "int16", "int32", "int64", "float16", "float64", "complex64", "bool"]
    found = {dtype: ("x", whole.astype(dtype)) for dtype in dtypes}
    found["uint64"] = ("x", np.array([0, 1, 2**64 - 1], "uint64"))
    found["day"] = ("x", np.array(["2020-02-29", "1700-01-01", "NaT"], "datetime64[ns]"))
    found["span"] = ("x", np.array([-1, 0, 10**18], "timedelta64[ns]"))
    found["scalar"] = ((), 2.5)
    found["empty"] = ("nothing", np.zeros(0, "float32"))
    return xr.Dataset(found, attrs={"nested": {"list": [1, None, {"deep": True}], "text": "é"}})


def main() -> None:
    """Write the archive anew."""
    folder = Path(__file__).parent / f"format-{manifest.FORMAT}"
    shutil.rmtree(folder, ignore_errors=True)
    layout.RAW_FROM_BYTES, layout.CHUNK_BYTES = 64, 48
    place = open_place(folder, must_exist=False)
    datasets = {"subj01/response": (make_response(), builtin_schemas()["response.v1"]), "others": (make_others(), FREE)}
    expected = {}
    for name, (dataset, schema) in datasets.items():
        entry = put_dataset(place, name, dataset, schema, provenance={"component": "put", "created": "2026-01-01"})
        values = {variable: dataset[variable].astype(str).values.tolist() for variable in dataset.variables}
        expected[name] = {"digest": entry.digest, "values": values, "attrs": dataset.attrs}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n", "utf-8")
    # The folder of the registry's own is made anew where it is missing, and is not committed.
    shutil.rmtree(folder / ".brainlens")
    sys.stdout.write(f"{folder.name}: {sum(path.is_file() for path in folder.rglob('*'))} files\n")


if __name__ == "__main__":
    main()
