"""How long a training step takes, beside the least that the device could take for it.

    python step.py [--device cuda:0] [--precision bfloat16] [--batch 32] [--size paper|small] [--steps 20]

Adds a row for the device to step.json and step.md. The data are noise, in memory: this is about the step.

The floor is what cannot be avoided at the ceilings that are measured in the same process. Weights are float32, read
once forward and once backward, gradients are written once, and AdamW reads weight, gradient and both moments and writes
all but the gradient. The optimiser waits for the gradients, so its bytes are added to the longer one of two: the
arithmetic of the networks, as torch counts it, and the bytes of weights and gradients. Activations are not counted.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import xarray as xr
from brainlens_mindeye.decoder import MindEyeDecoder
from brainlens_mindeye.high_level import HighLevel
from brainlens_mindeye.network import count_parameters
from brainlens_mindeye.params import HighLevelParams
from tables import load, save
from torch.utils.flop_counter import FlopCounterMode

import brainlens

# Voxels, tokens and channels, and the networks.
SIZES: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {
    "paper": (
        (15_724, 257, 768),
        {"width": 4096, "projector_width": 2048, "prior_depth": 6, "prior_heads": 12, "prior_head_width": 64},
    ),
    "small": ((15_724, 1, 768), {"width": 1024, "projector_width": 2048, "prior_depth": 4, "prior_heads": 4}),
}
WARM_UP = 3
FORWARD_BYTES, BACKWARD_BYTES, ADAMW_BYTES = 4, 4 + 4, 4 * 4 + 3 * 4
ABOUT = [
    "# A training step beside what the device could do at best",
    "",
    "Contrastive losses and diffusion prior, float32 weights, noise as data. Floor: see step.py. Ceilings are measured",
    "in the same process: a copy of 1 GiB, and a product of square matrices in the precision of the step.",
    "",
    "| device | size | precision | batch | parameters | GFLOP | step, ms | floor, ms | ratio | GB/s | TFLOP/s |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
]


@dataclass(frozen=True, kw_only=True)
class Clock(brainlens.Context):
    """A context whose progress bar notes when each step ended."""

    ends: list[float] = field(default_factory=list)

    def progress(
        self, items: Iterable[Any], *, total: int | None = None, label: str = "", note: Any = None
    ) -> Iterator[Any]:
        """Iterate, and note the time after each item."""
        for item in items:
            yield item
            if label == "training":
                wait(self.device)
                self.ends.append(time.perf_counter())


def wait(device: str) -> None:
    """Return when the device has done what it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def fit(sizes: tuple[int, int, int], options: dict[str, Any], n_steps: int, context: brainlens.Context) -> None:
    """Fit to noise, for so many steps of one epoch each."""
    n_voxels, n_tokens, n_channels = sizes
    rng = np.random.default_rng(0)
    n = options["batch_size"]
    labels = {"trial": np.arange(n), "stimulus_id": ("trial", np.arange(n))}
    response = xr.Dataset(
        {"response": (("trial", "voxel"), rng.standard_normal((n, n_voxels), dtype=np.float32))},
        {**labels, "voxel": np.arange(n_voxels)},
        {"subject": "noise"},
    )
    values = rng.standard_normal((n, n_tokens, n_channels), dtype=np.float32)
    dims = ("trial", "token", "channel") if n_tokens > 1 else ("trial", "channel")
    target = xr.Dataset({"embedding": (dims, values if n_tokens > 1 else values[:, 0])}, labels, {"model": "noise"})
    params = HighLevelParams(prior="diffusion", epochs=n_steps, mixup_share=1.0, **options)
    MindEyeDecoder(params, context).fit(response, target)


def best_of(work: Callable[[], Any], device: str, rounds: int = 5) -> float:
    """Return the seconds of the fastest round."""
    found = []
    for _ in range(rounds + 1):
        wait(device)
        started = time.perf_counter()
        work()
        wait(device)
        found.append(time.perf_counter() - started)
    return min(found[1:])


def ceilings(device: str, precision: str) -> tuple[float, float]:
    """Return bytes and floating-point operations a second."""
    n_bytes = 2**30
    one = torch.empty(n_bytes, dtype=torch.uint8, device=device).fill_(1)
    other = torch.empty_like(one)
    bandwidth = 2 * n_bytes / best_of(lambda: other.copy_(one), device)
    side = 8192 if torch.device(device).type == "cuda" else 2048
    left, right = (torch.randn(side, side, device=device, dtype=getattr(torch, precision)) for _ in range(2))
    return bandwidth, 2 * side**3 / best_of(lambda: left @ right, device)


def main() -> None:
    """Measure, and add a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--batch", type=int, default=32, help="trials in a step (MindEye: 32)")
    parser.add_argument("--size", choices=tuple(SIZES), default="paper" if torch.cuda.is_available() else "small")
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    sizes, networks = SIZES[given.size]
    options = {**networks, "batch_size": given.batch}
    clock = Clock(device=given.device, precision=given.precision)
    fit(sizes, options, WARM_UP + given.steps, clock)
    seconds = float(np.median(np.diff(clock.ends)[WARM_UP - 1 :]))
    with FlopCounterMode(display=False) as counter:
        fit(sizes, options, 1, brainlens.Context(device=given.device, precision=given.precision))
    flops = counter.get_total_flops()
    with torch.device("meta"):
        module = HighLevel([sizes[0]], sizes[1:], HighLevelParams(prior="diffusion", **options))
    n_parameters = count_parameters(module)
    bandwidth, rate = ceilings(given.device, given.precision)
    networks_s = max(flops / rate, n_parameters * (FORWARD_BYTES + BACKWARD_BYTES) / bandwidth)
    floor = networks_s + n_parameters * ADAMW_BYTES / bandwidth
    on_gpu = torch.device(given.device).type == "cuda"
    device = (
        torch.cuda.get_device_name(given.device)
        if on_gpu
        else f"{platform.machine()}, {torch.get_num_threads()} threads"
    )
    entries = load("step")
    entries[f"{device}, {given.size}, {given.precision}, {given.batch}"] = {
        "device": device, "size": given.size, "precision": given.precision, "batch": given.batch,
        "parameters": n_parameters, "flops": flops, "step_s": seconds, "floor_s": floor,
        "bytes_per_s": bandwidth, "flops_per_s": rate,
    }  # fmt: skip
    save("step", entries, [*ABOUT, *map(row, entries.values())])
    print(row(entries[f"{device}, {given.size}, {given.precision}, {given.batch}"]))


def row(found: dict[str, Any]) -> str:
    """Return a row of the table."""
    return (
        f"| {found['device']} | {found['size']} | {found['precision']} | {found['batch']} | {found['parameters']:,} "
        f"| {found['flops'] / 1e9:,.0f} | {1e3 * found['step_s']:.1f} | {1e3 * found['floor_s']:.1f} "
        f"| {found['step_s'] / found['floor_s']:.2f} | {found['bytes_per_s'] / 1e9:,.0f} "
        f"| {found['flops_per_s'] / 1e12:.2f} |"
    )


if __name__ == "__main__":
    main()
