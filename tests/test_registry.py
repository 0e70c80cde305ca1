"""The registry as users open it, for writing and for reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import brainlens
from brainlens.plugins import PluginHost


def make_response(n_voxels: int = 4, subject: str = "subj01") -> xr.Dataset:
    values = np.random.default_rng(0).standard_normal((6, n_voxels), dtype=np.float32)
    mask = np.arange(n_voxels) < 2
    return xr.Dataset(
        {"response": (("trial", "voxel"), values), "roi_mask": (("roi", "voxel"), mask[None])},
        {"trial": range(6), "voxel": range(n_voxels), "roi": ["V1"], "stimulus_id": ("trial", list("aabbcc"))},
        {"schema": "response.v1", "subject": subject, "units": "z"},
    )


@pytest.fixture
def registry(tmp_path: Path) -> brainlens.Registry:
    made = brainlens.open(tmp_path / "study.zarr", host=PluginHost([]), quiet=True)
    made.put("subj01/response", make_response())
    made.put("subj02/response", make_response(subject="subj02"))
    return made


def test_opening_makes_nothing(tmp_path: Path) -> None:
    assert brainlens.open(tmp_path / "new.zarr").list() == []
    assert not (tmp_path / "new.zarr").exists()


def test_a_registry_that_must_exist_is_refused_when_it_does_not(tmp_path: Path) -> None:
    with pytest.raises(brainlens.RegistryError, match="expected a folder, found nothing"):
        brainlens.open(tmp_path / "new.zarr", mode="r")


@pytest.mark.parametrize("mode", ["w", "", None])
def test_an_unknown_mode_is_refused(tmp_path: Path, mode: Any) -> None:
    with pytest.raises(brainlens.RegistryError, match=f"^mode: expected 'a' or 'r', found {mode!r}.$"):
        brainlens.open(tmp_path, mode=mode)


def test_plugins_and_path_are_at_hand(registry: brainlens.Registry, tmp_path: Path) -> None:
    assert registry.path == str(tmp_path / "study.zarr")
    assert registry.plugins.plugins() == []


def test_a_registry_opened_for_reading_changes_nothing(tmp_path: Path) -> None:
    writable = brainlens.open(tmp_path / "study.zarr")
    dataset = xr.Dataset({"embedding": (("stimulus", "channel"), np.eye(2))}, {"stimulus": [0, 1]}, {"model": "toy"})
    writable.put("a", dataset, schema="embedding")
    registry = brainlens.open(tmp_path / "study.zarr", mode="r")
    for change in (
        lambda: registry.put("b", dataset, schema="embedding"),
        lambda: registry.remove("a"),
        lambda: registry.compute("retrieval.rank", decoded="a", gallery="a"),
        lambda: registry.fit("linear", response="a", target="a"),
    ):
        with pytest.raises(
            brainlens.RegistryError, match=r"found mode 'r'. Nothing was changed. Open it with mode='a'."
        ):
            change()
    assert registry.list() == registry.verify() == ["a"]
    assert registry["a"].sizes == {"stimulus": 2, "channel": 2}
    assert registry.export("a", tmp_path / "out.zarr").is_dir()
