"""Writers of files in the layouts that are read, without the code under test, and real data where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import xarray as xr

import brainlens
from brainlens.schema import builtin_schemas

SHARED = Path(__file__).parents[3] / "../shared/data"
AFFINE = np.array([[-3.5, 0, 0, 60.5], [0, 3.75, 0, -50], [0, 0, 3.5, -30], [0, 0, 0, 1]])


def write_image(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE, *, t_r: float = 0.0) -> Path:
    image = nib.Nifti1Image(values, affine)
    if t_r:
        image.header.set_zooms((*image.header.get_zooms()[:3], t_r))
    image.header.set_xyzt_units("mm", "sec" if t_r else "unknown")
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def check_all(made: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    for dataset in made.values():
        brainlens.validate(dataset, builtin_schemas()[dataset.attrs["schema"]])
        assert {"citation", "licence", "source"} <= set(dataset.attrs)
    return dict(made)


@pytest.fixture(scope="session")
def save_image() -> Callable[..., Path]:
    return write_image


@pytest.fixture
def valid() -> Callable[[Mapping[str, xr.Dataset]], dict[str, xr.Dataset]]:
    """Return a function that checks datasets against their schemas, and that they say licence and citation."""
    return check_all


@pytest.fixture
def shared() -> Callable[[str], Path]:
    def find(name: str) -> Path:
        if not (SHARED / name).exists():
            pytest.skip(f"real data '../shared/data/{name}' are not here")
        return SHARED / name

    return find


@pytest.fixture
def refused() -> Callable[..., str]:
    """Return a function that calls another one, and returns the text of the error that it must raise."""

    def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
        with pytest.raises(brainlens.BrainlensError) as caught:
            function(*args, **kwargs)
        return str(caught.value)

    return call


def cut_each(load: Callable[[], Mapping[str, xr.Dataset]], files: Iterable[Path]) -> None:
    """Cut every file short in several places: what is read must be refused by its name, or be what it was."""

    def loaded() -> dict[str, xr.Dataset]:
        return {name: dataset.load() for name, dataset in load().items()}

    whole, refused = loaded(), 0
    for path in files:
        content = path.read_bytes()
        for size in (0, 1, len(content) // 2, len(content) - 9, len(content) - 1):
            path.write_bytes(content[:size])
            message = ""
            try:
                found = loaded()
            except brainlens.BrainlensError as error:
                message, found = str(error), whole
            assert all(found[name].identical(whole[name]) for name in whole), (path.name, size)
            assert not message or path.name in message, (size, message)
            refused += bool(message)
        path.write_bytes(content)
    assert refused


@pytest.fixture
def cut() -> Callable[..., None]:
    return cut_each
