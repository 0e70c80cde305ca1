"""How long `linear.decode` takes at the size of Brain-Diffuser's image tokens, and what memory it needs.

    python large.py FOLDER [--trials 8859] [--test 982] [--voxels 15724] [--tokens 257] [--channels 768]

Responses and targets are random; nothing is decoded from them. Writes large.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import threading
import time
from pathlib import Path

import numpy as np
import xarray as xr

import brainlens

HERE = Path(__file__).parent
MIB = 2**20


def make(registry: brainlens.Registry, options: argparse.Namespace) -> None:
    """Store random responses, and random targets as float16."""
    rng = np.random.default_rng(0)
    n_stimuli = options.trials + options.test
    labels = np.arange(n_stimuli)
    if "response" not in registry.list():
        values = rng.standard_normal((n_stimuli, options.voxels), dtype=np.float32).astype(np.float16)
        split = np.where(labels < options.trials, "train", "test")
        coords = {"trial": labels, "stimulus_id": ("trial", labels), "split": ("trial", split)}
        coords |= {"voxel": np.arange(options.voxels)}
        response = xr.Dataset({"response": (("trial", "voxel"), values)}, coords)
        registry.put("response", response.assign_attrs(subject="random", units="z"), schema="response")
    if "target" not in registry.list():
        shape = (n_stimuli, options.tokens, options.channels)
        file = np.lib.format.open_memmap(Path(registry.path).parent / "target.npy", "w+", np.float16, shape)
        for start in range(0, n_stimuli, 256):
            part = file[start : start + 256]
            part[:] = rng.standard_normal(part.shape, dtype=np.float32)
        target = xr.Dataset({"embedding": (("stimulus", "token", "channel"), file)}, {"stimulus": labels})
        registry.put("target", target.assign_attrs(model="random"), schema="embedding")
        Path(registry.path).parent.joinpath("target.npy").unlink()


def own_bytes() -> int:
    """Return the process's own memory, without pages of mapped files."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Measure, and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    for name, value in (("trials", 8859), ("test", 982), ("voxels", 15724), ("tokens", 257), ("channels", 768)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    registry = brainlens.open(options.folder / "large.zarr")
    make(registry, options)
    peak, over = [own_bytes()], threading.Event()
    before = peak[0]

    def watch() -> None:
        while not over.wait(0.02):
            peak[0] = max(peak[0], own_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    lines = ["# `linear.decode` at the size of image tokens (random data)", ""]
    for alphas in ((6e4,), (1e3, 1e4, 1e5)):
        started, worked = time.perf_counter(), time.process_time()
        name = registry.compute(
            "linear.decode", response="response", target="target", alphas=alphas, recompute=True, device="cpu",
            name=f"decoded-{len(alphas)}-{started:.0f}",
        )  # fmt: skip
        wall, work = time.perf_counter() - started, time.process_time() - worked
        said = f"{len(alphas)} penalt{'y' if len(alphas) == 1 else 'ies'}: {wall:.0f} s, {work:.0f} s of processor"
        size_bytes = next(entry.size_bytes for entry in registry.query() if entry.name == name)
        lines.append(f"- {said}, storing {size_bytes / 1e6:.0f} MB included.")
        registry.remove(name)
    over.set()
    watcher.join()
    n_targets = options.tokens * options.channels
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines += [
        f"- {options.trials:,} training and {options.test:,} test stimuli, {options.voxels:,} voxels,",
        f"  {n_targets:,} targets;",
        f"  weights would take {4 * options.voxels * n_targets / 1e9:.1f} GB, which are never made.",
        f"- Own memory at the peak: {peak[0] / MIB:,.0f} MiB, of which {before / MIB:,.0f} before; pages of mapped",
        f"  files are not counted (resident at most {resident:,.0f} MiB).",
        f"- {len(os.sched_getaffinity(0))} cores of {platform.machine()}.",
    ]
    (HERE / "large.md").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
