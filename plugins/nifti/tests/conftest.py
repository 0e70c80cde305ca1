"""Small studies on disk for the tests of this plugin, and the real data where they are present."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from brainlens_nifti import NiftiParams
from brainlens_nifti.bold import read

import brainlens
from brainlens.schema import builtin_schemas

SHARED = Path(__file__).parents[3] / "../shared/data"

# Rotated about two axes and mirrored, with unequal voxels: nothing about it is round.
OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.3, -0.2, 0.1) @ np.diag([-3.1, 2.5, 3.75]), [60.45, -35.6, -12.3]
).astype(np.float32)
SHAPE = (5, 4, 3)
LABELS = ["rest", "face", "face", "rest", "house", "house", "house", "rest", "face", "rest"]
RUNS = [0, 1]


@dataclass
class Study:
    """Two runs of ten volumes on an oblique grid, with a mask that leaves out a corner."""

    folder: Path
    bold: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    labels: np.ndarray
    runs: np.ndarray

    def save(
        self, name: str, values: np.ndarray, *, affine: np.ndarray = OBLIQUE, t_r: float = 2.0, **header: Any
    ) -> str:
        image = nib.Nifti1Image(values, affine, dtype=values.dtype)
        image.header.set_xyzt_units("mm", header.get("time_unit", "sec"))
        if values.ndim == 4:
            image.header.set_zooms((*image.header.get_zooms()[:3], t_r))
        if "slope" in header:
            image.header.set_slope_inter(header["slope"], header["inter"])
        nib.save(image, self.folder / name)
        return str(self.folder / name)

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def params(self, **changes: Any) -> dict[str, Any]:
        files = {
            "bold": str(self.folder / "bold.nii.gz"),
            "mask": str(self.folder / "mask.nii.gz"),
            "labels": str(self.folder / "labels.txt"),
            "subject": "sub-01",
            "space": "native",
        }
        return {**files, **changes}

    def read(self, **changes: Any) -> dict[str, xr.Dataset]:
        return import_valid(**self.params(**changes))

    def error(self, **changes: Any) -> str:
        with pytest.raises(brainlens.BrainlensError) as caught:
            self.read(**changes)
        return str(caught.value)


def import_valid(**params: Any) -> dict[str, xr.Dataset]:
    """Import and check every dataset against its schema."""
    made = dict(read(params=NiftiParams(**params), context=brainlens.Context()))
    for dataset in made.values():
        brainlens.validate(dataset, builtin_schemas()[dataset.attrs["schema"]])
    return made


@pytest.fixture
def study(tmp_path: Path) -> Study:
    rng = np.random.default_rng(3)
    bold = rng.integers(100, 3000, (*SHAPE, 20)).astype(np.int16)
    mask = np.ones(SHAPE, np.uint8)
    mask[0, 0] = mask[2, 3, 1] = 0
    made = Study(tmp_path, bold, mask, OBLIQUE, np.array(LABELS * 2), np.repeat(RUNS, len(LABELS)))
    made.save("bold.nii.gz", bold)
    made.save("mask.nii.gz", mask)
    made.write("labels.txt", "".join(f"{label} {run}\n" for run in RUNS for label in LABELS))
    return made


@pytest.fixture
def read_valid() -> Callable[..., dict[str, xr.Dataset]]:
    return import_valid


@pytest.fixture
def shared() -> Callable[[str], Path]:
    def find(name: str) -> Path:
        if not (SHARED / name).exists():
            pytest.skip(f"real data {name!r} not found in ../shared/data")
        return SHARED / name

    return find


@pytest.fixture
def haxby(shared: Callable[[str], Path]) -> dict[str, Any]:
    folder = shared("haxby2001_pymvpa")
    return {
        "bold": folder / "bold.nii.gz",
        "mask": folder / "mask.nii.gz",
        "labels": folder / "attributes_literal.txt",
        "subject": "sub001",
        "space": "native",
    }
