"""Shuffled batches, whole reads, ROI columns and durable writes, at the size of one subject's responses."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import xarray as xr
from paired import Check, Prepare, Timed

import brainlens

N_TRIALS, N_VOXELS = 16_384, 15_724


def make_registry(folder: Path) -> brainlens.Registry:
    """Store one subject's responses, 515 MB in float16, and the same as a plain .npy file."""
    registry = brainlens.open(folder / "big.zarr")
    if "subj01/response" not in registry:
        rng = np.random.default_rng(0)
        values = np.empty((N_TRIALS, N_VOXELS), "float16")
        for start in range(0, N_TRIALS, 1024):
            values[start : start + 1024] = rng.standard_normal((1024, N_VOXELS), dtype="float32")
        np.save(folder / "big.npy", values)
        registry.put("subj01/response", make_response(values), schema="response")
    return registry


def make_response(values: np.ndarray) -> xr.Dataset:
    """Return values as a response dataset with two ROIs, sorted."""
    n_trials, n_voxels = values.shape
    mask = np.zeros((2, n_voxels), bool)
    mask[0, : n_voxels // 10] = True
    mask[1, n_voxels // 10 :] = True
    coords = {
        "trial": np.arange(n_trials),
        "voxel": np.arange(n_voxels),
        "stimulus_id": ("trial", np.arange(n_trials)),
        "roi": ["V1", "rest"],
    }
    variables = {"response": (("trial", "voxel"), values), "roi_mask": (("roi", "voxel"), mask)}
    return xr.Dataset(variables, coords, {"subject": "noise", "units": "z"})


def _batch(size: int) -> Prepare:
    def prepare(folder: Path) -> tuple[Timed, Timed]:
        registry = make_registry(folder)
        mapped = np.load(folder / "big.npy", mmap_mode="r")
        out = np.empty((size, N_VOXELS), "float16")
        rng = np.random.default_rng(1)
        batches = registry.batches("subj01/response", "response", batch_size=size)
        for _ in batches.epoch(0):
            pass
        np.asarray(mapped).max()
        steps = {"epoch": 1, "iterator": batches.epoch(1)}

        def ours() -> None:
            if next(steps["iterator"], None) is None:
                steps["epoch"] += 1
                steps["iterator"] = batches.epoch(steps["epoch"])
                next(steps["iterator"])

        def base() -> None:
            np.take(mapped, rng.integers(0, N_TRIALS, size), axis=0, out=out, mode="clip")

        return ours, base

    return prepare


def _epoch(folder: Path) -> tuple[Timed, Timed]:
    registry = make_registry(folder)
    mapped = np.load(folder / "big.npy", mmap_mode="r")
    out = np.empty((128, N_VOXELS), "float16")
    batches = registry.batches("subj01/response", "response", batch_size=128)

    def ours() -> None:
        for _ in batches.epoch(0):
            pass

    def base() -> None:
        order = np.random.default_rng(0).permutation(N_TRIALS)
        for start in range(0, N_TRIALS, 128):
            np.take(mapped, order[start : start + 128], axis=0, out=out, mode="clip")

    return ours, base


def _whole(folder: Path) -> tuple[Timed, Timed]:
    response = make_registry(folder)["subj01/response"]["response"]
    return lambda: response.values, lambda: np.load(folder / "big.npy")


def _whole_zarr(folder: Path) -> tuple[Timed, Timed]:
    make_registry(folder)
    response = xr.open_zarr(folder / "big.zarr" / "subj01" / "response", chunks=None)["response"]
    return lambda: response.copy().values, lambda: np.load(folder / "big.npy")


def _roi(folder: Path) -> tuple[Timed, Timed]:
    dataset = make_registry(folder)["subj01/response"]
    mapped = np.load(folder / "big.npy", mmap_mode="r")
    return (
        lambda: brainlens.select_roi(dataset, "V1")["response"].values,
        lambda: np.array(mapped[:, : N_VOXELS // 10]),
    )


def _write(folder: Path) -> tuple[Timed, Timed]:
    make_registry(folder)
    values = np.load(folder / "big.npy", mmap_mode="r")[:8192]
    dataset = make_response(np.array(values))
    registry = brainlens.open(folder / "written.zarr")

    def ours() -> None:
        registry.put("response", dataset, schema="response")
        registry.remove("response")

    def base() -> None:
        path = folder / "written.npy"
        with path.open("wb") as file:
            np.save(file, dataset["response"].values)
            file.flush()
            os.fsync(file.fileno())
        path.unlink()

    return ours, base


CHECKS = [
    Check("shuffled batch of 128 rows", 1.2, "np.take of a memory map into a buffer", _batch(128), rounds=31, calls=20),
    Check("shuffled batch of 512 rows", 1.2, "np.take of a memory map into a buffer", _batch(512), rounds=21, calls=10),
    Check("shuffled batch of 32 rows", 2.0, "np.take of a memory map into a buffer", _batch(32), rounds=31, calls=50),
    Check("shuffled epoch, batches of 128", 1.25, "a loop of np.take over a memory map", _epoch, rounds=9),
    Check("whole read through the registry", 1.0, "np.load", _whole, rounds=9),
    Check("whole read by plain xarray and zarr, checked", 1.5, "np.load, which checks nothing", _whole_zarr, rounds=9),
    Check("one contiguous ROI, all trials", 1.5, "the same columns of a memory map", _roi, rounds=9),
    Check("durable write of 258 MB, checked and digested", 2.0, "np.save and fsync", _write, rounds=7),
]
