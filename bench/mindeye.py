"""Training MindEye: against a plain loop, against the same with its data in memory, and how much memory it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from paired import Check, Timed

import brainlens

SIZES = {"n_trials": 1_920, "n_voxels": 15_724, "n_channels": 768}
OPTIONS: dict[str, Any] = {
    "width": 1024, "n_blocks": 4, "projector_width": 2048, "batch_size": 64, "prior": "none", "epochs": 1,
    "mixup_share": 0.0,
}  # fmt: skip


def make_study(folder: Path, *, n_trials: int, n_voxels: int, n_channels: int) -> brainlens.Registry:
    """Store noise of a subject's size, float16, once; every trial shows another stimulus."""
    registry = brainlens.open(folder / f"mindeye-{n_trials}.zarr", quiet=True)
    if "response" in registry.list():
        return registry
    rng = np.random.default_rng(0)
    response = np.empty((n_trials, n_voxels), np.float16)
    for start in range(0, n_trials, 1000):
        part = response[start : start + 1000]
        part[:] = rng.standard_normal(part.shape, dtype=np.float32)
    stimuli = np.arange(n_trials)
    labels = {"trial": stimuli, "voxel": np.arange(n_voxels), "stimulus_id": ("trial", stimuli)}
    attrs = {"subject": "noise", "units": "z"}
    registry.put("response", xr.Dataset({"response": (("trial", "voxel"), response)}, labels, attrs), schema="response")
    embedding = rng.standard_normal((n_trials, n_channels), dtype=np.float32)
    target = xr.Dataset({"embedding": (("stimulus", "channel"), embedding)}, {"stimulus": stimuli}, {"model": "noise"})
    registry.put("target", target, schema="embedding")
    return registry


def fitting(registry: brainlens.Registry, *, precision: str = "float32", resident: bool) -> Timed:
    """Return a fit of one epoch of what is stored, read as it is needed or kept in memory."""
    from brainlens_mindeye import feed
    from brainlens_mindeye.decoder import MindEyeDecoder
    from brainlens_mindeye.params import HighLevelParams

    response, target = registry["response"], registry["target"].rename(stimulus="trial")
    if resident:
        response, target = response.load(), target.load()

    def fit() -> None:
        feed.RESIDENT_BYTES = 2**40 if resident else 0
        decoder = MindEyeDecoder(HighLevelParams(**OPTIONS), brainlens.Context(precision=precision))
        decoder.fit(response, target)

    return fit


def plain_loop(registry: brainlens.Registry) -> Timed:
    """Return the same network trained as most studies do: float32, a DataLoader over single trials, torch's AdamW."""
    import torch
    from brainlens_mindeye.high_level import HighLevel
    from brainlens_mindeye.losses import bimixco
    from brainlens_mindeye.network import on_sphere
    from brainlens_mindeye.params import HighLevelParams

    response = registry["response"]["response"].values
    target = registry["target"]["embedding"].values

    class Trials(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
        def __len__(self) -> int:
            return len(response)

        def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.from_numpy(response[row].astype(np.float32)), torch.from_numpy(target[row])

    def fit() -> None:
        module = HighLevel([response.shape[1]], (1, target.shape[1]), HighLevelParams(**OPTIONS)).train()
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, weight_decay=1e-2)
        for voxels, embedding in torch.utils.data.DataLoader(Trials(), 64, shuffle=True, drop_last=True):
            loss = bimixco(on_sphere(module(voxels, 0)[1]), on_sphere(embedding[:, None]), temperature=0.02)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return fit


def _against_plain(folder: Path) -> tuple[Timed, Timed]:
    registry = make_study(folder, **SIZES)
    return fitting(registry, precision="bfloat16", resident=False), plain_loop(registry)


def _against_resident(folder: Path) -> tuple[Timed, Timed]:
    registry = make_study(folder, **SIZES)
    return (
        fitting(registry, precision="bfloat16", resident=False),
        fitting(registry, precision="bfloat16", resident=True),
    )


MEASURE = """
import json, sys, threading, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import mindeye, torch
import brainlens
registry = mindeye.make_study(Path(sys.argv[2]), n_trials=int(sys.argv[3]), n_voxels=15_724, n_channels=768)
from brainlens_mindeye.high_level import HighLevel
from brainlens_mindeye.network import count_parameters
from brainlens_mindeye.params import HighLevelParams

def used(kind):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1]) * 1024

with torch.device("meta"):
    size = 4 * count_parameters(HighLevel([15_724], (1, 768), HighLevelParams(**mindeye.OPTIONS)))
before, peak, over = used("RssAnon"), [0], threading.Event()

def watch():
    while not over.wait(0.02):
        peak[0] = max(peak[0], used("RssAnon"))

threading.Thread(target=watch, daemon=True).start()
name = f"models/{time.time_ns()}"
registry.fit("mindeye", response="response", target="target", device="cpu", name=name, **mindeye.OPTIONS)
over.set()
found = {"model": size, "optimizer": 2 * size, "before": before, "peak": peak[0], "peak_with_mapped": used("VmHWM")}
print(json.dumps(found))
"""


def measure_memory(folder: Path, n_trials: int = 30_000) -> dict[str, float]:
    """Return bytes: weights, the optimiser's state, and a process's own memory before a fit and at its peak.

    Pages of mapped files are counted in `peak_with_mapped` only; the system takes them back when it needs them.
    """
    make_study(folder, n_trials=n_trials, n_voxels=15_724, n_channels=768)
    command = [sys.executable, "-c", MEASURE, str(Path(__file__).parent), str(folder), str(n_trials)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


CHECKS = [
    Check("MindEye, an epoch from the registry", 0.667, "a plain float32 loop over a DataLoader", _against_plain,
          rounds=5),
    Check("MindEye, an epoch streamed", 1.1, "the same with all data in memory", _against_resident, rounds=5),
]  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(measure_memory(Path(sys.argv[1]), int(sys.argv[2])), indent=1))
