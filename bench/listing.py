"""Listing, opening and indexing 10,000 small datasets."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import xarray as xr
from paired import Check, Timed, absolute

import brainlens
from brainlens.index import Index

N_DATASETS = 10_000


def make_registry(folder: Path) -> Path:
    """Make a registry of 10,000 datasets: one is stored, the others are copies of its folder."""
    root = folder / "many.zarr"
    if root.exists():
        return root
    registry = brainlens.open(root)
    dataset = xr.Dataset(
        {"embedding": (("stimulus", "channel"), np.eye(4, dtype="float32"))}, {"stimulus": np.arange(4)}
    )
    registry.put("subject-000/result-0000", dataset.assign_attrs(model="toy"), schema="embedding")
    first = root / "subject-000" / "result-0000"
    for number in range(1, N_DATASETS):
        target = root / f"subject-{number % 100:03d}" / f"result-{number:04d}"
        shutil.copytree(first, target, copy_function=os.link)
    Index(root).rebuild()
    return root


def _list_python(folder: Path) -> tuple[Timed, Timed]:
    registry = brainlens.open(make_registry(folder))
    assert len(registry.list()) == N_DATASETS
    return registry.list, absolute(0.1)


def _list_command(folder: Path) -> tuple[Timed, Timed]:
    command = [str(Path(sys.executable).with_name("brainlens")), "list", "--registry", str(make_registry(folder))]
    start = [str(Path(sys.executable).with_name("brainlens")), "--version"]

    def listed() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def started() -> None:
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL)
        absolute(0.1)()

    return listed, started


def _query(folder: Path) -> tuple[Timed, Timed]:
    registry = brainlens.open(make_registry(folder))
    return lambda: registry.query(subject="nobody"), absolute(0.1)


def _rebuild(folder: Path) -> tuple[Timed, Timed]:
    root = make_registry(folder)
    manifests = sorted(root.glob("*/*/manifest.json"))
    return Index(root).rebuild, lambda: [path.read_bytes() for path in manifests]


def _open_one(folder: Path) -> tuple[Timed, Timed]:
    root = make_registry(folder)
    registry = brainlens.open(root)
    name = "subject-000/result-0000"
    return lambda: registry[name], lambda: xr.open_zarr(root / name, chunks=None)


CHECKS = [
    Check("list of 10,000 datasets in Python, against 0.1 s", 1.0, "0.1 s", _list_python),
    Check("brainlens list of 10,000, against start-up + 0.1 s", 1.0, "brainlens --version, then 0.1 s", _list_command),
    Check("query of 10,000 datasets, against 0.1 s", 1.0, "0.1 s", _query),
    Check("rebuild the index of 10,000", 2.0, "reading the manifests' bytes", _rebuild, rounds=7),
    Check("open one dataset, checked", 3.5, "xarray.open_zarr of the same folder", _open_one, calls=10),
]
