"""What embedding costs beside the network itself: processor time, memory, and a kill half way.

    python cost.py FOLDER

Stores some GB in FOLDER, and writes cost.json and cost.md. Models have random weights; pictures are random, too. Times
are of the processor, on one thread, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import xarray as xr
from PIL import Image
from safetensors.torch import save_file

import brainlens

HERE = Path(__file__).parent
MODEL, N_PHOTOS, N_ROUNDS = "vit_tiny_patch16_224", 128, 3
FEW, MANY = 500, 6000


def main() -> None:
    """Measure everything, or one thing that needs a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=["embed"], help="used by this script itself")
    parser.add_argument("--stimuli", default="")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.only:
        print(json.dumps(embed(given.folder, given.stimuli)))
        return
    shutil.rmtree(given.folder, ignore_errors=True)
    given.folder.mkdir(parents=True)
    save_file(timm.create_model(MODEL).state_dict(), given.folder / "model.safetensors")
    save_file(timm.create_model("test_vit").state_dict(), given.folder / "small.safetensors")
    found = {"time": measure_time(given.folder), **measure_memory(given.folder), "kill": measure_kill(given.folder)}
    found["machine"] = f"{platform.machine()}, torch {torch.__version__}, timm {timm.__version__}"
    (HERE / "cost.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    (HERE / "cost.md").write_text(report(found), "utf-8")


def measure_time(folder: Path) -> dict[str, float]:
    """Compare files to embeddings by the two commands with a loop over timm's own calls."""
    photos = folder / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for number in range(N_PHOTOS):
        coarse = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
        coarse.resize((480, 320), Image.Resampling.BICUBIC).save(photos / f"{number:03d}.jpg")
    model = timm.create_model(MODEL, checkpoint_path=str(folder / "model.safetensors")).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    registry = brainlens.open(folder / "time.zarr", quiet=True)
    spent: dict[str, list[float]] = {"loop": [], "ingest": [], "compute": []}
    for number in range(N_ROUNDS + 1):
        started = time.process_time()
        files, rows = sorted(photos.iterdir()), []
        with torch.inference_mode():
            for low in range(0, N_PHOTOS, 32):
                batch = torch.stack([transform(Image.open(file)) for file in files[low : low + 32]])
                rows.append(model.forward_head(model.forward_features(batch), pre_logits=True))
        marks = [started, time.process_time()]
        images, made = f"images{number}", f"embedding{number}"
        registry.ingest("stimuli.folder", images, folder=str(photos), size=248, fit="crop")
        marks.append(time.process_time())
        weights = str(folder / "model.safetensors")
        registry.compute("stimuli.timm", stimuli=images, model=MODEL, weights=weights, name=made)
        marks.append(time.process_time())
        for key, (first, last) in zip(spent, itertools.pairwise(marks), strict=True):
            spent[key].append(last - first)
    difference = np.abs(registry[made]["embedding"].values - torch.cat(rows).numpy()).max()
    # The first round warms up.
    return {**{key: float(np.median(each[1:])) for key, each in spent.items()}, "difference": float(difference)}


def store_images(folder: Path, n_images: int) -> str:
    """Store random pictures that never lie in memory together."""

    def make(low: int, high: int) -> np.ndarray:
        shape = (64, 64, 3)
        return np.stack(
            [np.random.default_rng(row).integers(0, 256, shape, dtype=np.uint8) for row in range(low, high)]
        )

    lazy = brainlens.made_rows(("stimulus", "y", "x", "rgb"), (n_images, 64, 64, 3), np.uint8, make)
    dataset = xr.Dataset({"image": lazy}, {"stimulus": np.arange(n_images)}, {"schema": "stimulus_image.v1"})
    name = f"images/{n_images}"
    brainlens.open(folder / "memory.zarr", quiet=True).put(name, dataset, schema="stimulus_image")
    return name


def embed(folder: Path, stimuli: str) -> dict[str, float]:
    """Embed all tokens of stored pictures; return processor time, own memory and size of the result."""
    registry = brainlens.open(folder / "memory.zarr", quiet=True)
    started = time.process_time()
    name = registry.compute(
        "stimuli.timm", stimuli=stimuli, model="test_vit", weights=str(folder / "small.safetensors"), layer="features",
        name=f"embedding/{os.getpid()}",
    )  # fmt: skip
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    # Without the pages of mapped files, which the system takes back when it needs them.
    own = int(status["RssAnon"].split()[0]) / 1000
    size = registry[name]["embedding"].nbytes / 1e6
    return {"cpu_s": time.process_time() - started, "anonymous_mb": own, "result_mb": size, "pid": os.getpid()}


def call(folder: Path, stimuli: str) -> dict[str, Any]:
    """Embed in a process of its own, and note its largest memory while it works."""
    process = start(folder, stimuli)
    largest = 0.0
    while process.poll() is None:
        lines = read_status(process.pid)
        largest = max(largest, int(lines.get("RssAnon", "0 kB").split()[0]) / 1000)
        time.sleep(0.05)
    assert process.stdout is not None
    return {**json.loads(process.stdout.read()), "largest_mb": largest}


def start(folder: Path, stimuli: str) -> subprocess.Popen[str]:
    """Begin to embed in a process of its own."""
    command = [sys.executable, __file__, str(folder), "--only", "embed", "--stimuli", stimuli]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def read_status(pid: int) -> dict[str, str]:
    """Return what the system says of a process."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    return dict(line.split(":", 1) for line in text.splitlines())


def measure_memory(folder: Path) -> dict[str, Any]:
    """Compare few pictures with many."""
    return {"few": call(folder, store_images(folder, FEW)), "many": call(folder, store_images(folder, MANY))}


def measure_kill(folder: Path) -> dict[str, float]:
    """Kill a call when about half of the rows are there, and make it again."""
    registry = brainlens.open(folder / "memory.zarr", quiet=True)
    whole = next(
        name for name in registry.list() if name.startswith("embedding/") and registry[name].sizes["stimulus"] == MANY
    )
    process = start(folder, f"images/{MANY}")
    rows = folder / "memory.zarr" / ".brainlens" / "scratch"
    row_bytes = registry[whole]["embedding"][0].nbytes
    while sum(file.stat().st_size for file in rows.glob("*/*.sqlite")) < MANY * row_bytes / 2:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    again = call(folder, f"images/{MANY}")
    found, expected = (registry[name]["embedding"] for name in (f"embedding/{again['pid']}", whole))
    steps = range(0, MANY, 500)
    differences = [np.abs(found[low : low + 500].values - expected[low : low + 500].values).max() for low in steps]
    return {"cpu_s": again["cpu_s"], "difference": float(max(differences))}


def report(found: dict[str, Any]) -> str:
    """Return everything as a page."""
    spent, few, many = found["time"], found["few"], found["many"]
    return f"""# What embedding costs beside the network

Made by `cost.py`, on one thread ({found["machine"]}); random weights and pictures.

| {N_PHOTOS} pictures of 480 x 320, {MODEL}, median of {N_ROUNDS} | processor time |
| --- | --- |
| a loop over timm's own calls, files to embeddings | {spent["loop"]:.2f} s |
| `stimuli.folder` | {spent["ingest"]:.2f} s |
| `stimuli.timm` | {spent["compute"]:.2f} s |
| both, against the loop | {(spent["ingest"] + spent["compute"]) / spent["loop"]:.2f} times |

The largest difference between the two was {spent["difference"]:.1g}.

| all tokens of test_vit | {FEW} pictures | {MANY} pictures |
| --- | --- | --- |
| result | {few["result_mb"]:.0f} MB | {many["result_mb"]:.0f} MB |
| most memory of the process, mapped files left out | {few["largest_mb"]:.0f} MB | {many["largest_mb"]:.0f} MB |
| processor time | {few["cpu_s"]:.1f} s | {many["cpu_s"]:.1f} s |

Killed with about half of the rows of the {MANY} finished, the same call then took {found["kill"]["cpu_s"]:.1f} s, and
its result differed by {found["kill"]["difference"]:.1g} from that of the call that was not killed.
"""


if __name__ == "__main__":
    main()
