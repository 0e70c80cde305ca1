"""What the evidence of this folder is made of: scenes, frozen tokens, and voxels whose way of reading them is planted.

Everything here is simulated: a method that wins where its assumption was planted does what its idea says, which is no
proof that brains do the same.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import brainlens

HERE = Path(__file__).parent
GRID = 8
N_CHANNELS = 32
# Concepts of the objects in the scenes; the first ones are cues that voxels follow.
CONCEPTS = ("face", "animal", "vehicle", "tool")
Rows = dict[str, dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Scenes as voxels and encoders see them.

    Parameters
    ----------
    tokens
        Features of the frozen judge, (stimulus, token, channel), float32: principal components of its channels over
        other scenes.
    pixels
        (stimulus, y, x, rgb), uint8, 64 pixels wide.
    places
        Share of objects of a concept in each cell (stimulus, concept, token), adding up to 1 where there are any.
    presence
        (stimulus, concept), bool.
    n_test
        How many of the first stimuli are tested.
    """

    tokens: np.ndarray
    pixels: np.ndarray
    places: np.ndarray
    presence: np.ndarray
    n_test: int


def make_scenes(seed: int, *, n_train: int, n_test: int, n_objects: int = 2) -> Scenes:
    """Render scenes and let the frozen network look at them."""
    with tempfile.TemporaryDirectory() as folder:
        registry = brainlens.open(Path(folder) / "scenes.zarr", quiet=True)
        for name, count, number in (("other", 200, seed + 10_000), ("seen", n_train + n_test, seed)):
            registry.ingest(
                "simulate.scenes", name, n=count, seed=number, n_objects=n_objects, concepts=CONCEPTS, co_occurrence=0.0
            )
            registry.compute("mini.judge", stimuli=f"{name}/images", layer="features", name=f"{name}/tokens",
                             device="cpu")  # fmt: skip
        other = registry["other/tokens"]["embedding"].values
        seen = registry["seen/tokens"]["embedding"].values
        images = registry["seen/images"].load()
    flat = other.reshape(-1, other.shape[-1])
    mean = flat.mean(axis=0)
    _, values, axes = np.linalg.svd(flat - mean, full_matrices=False)
    tokens = (seen - mean) @ axes[:N_CHANNELS].T / (values[:N_CHANNELS] / np.sqrt(len(flat)))
    maps, concept = images["object_map"].values, images["object_concept"].values
    side = maps.shape[1] // GRID
    places = np.zeros((len(maps), len(CONCEPTS), GRID * GRID), np.float32)
    for row, name in enumerate(CONCEPTS):
        for thing in range(concept.shape[1]):
            here = (maps == thing + 1) & (concept[:, thing] == name)[:, None, None]
            cells = here.reshape(len(maps), GRID, side, GRID, side).mean(axis=(2, 4))
            places[:, row] += cells.reshape(len(maps), -1)
    total = places.sum(axis=2, keepdims=True)
    return Scenes(
        tokens=tokens.astype(np.float32),
        pixels=images["image"].values,
        places=places / np.maximum(total, 1e-9),
        presence=total[..., 0] > 0,
        n_test=n_test,
    )


def centres() -> np.ndarray:
    """Return the centre of each cell (token, 2): x and y, -1 to 1."""
    line = (2 * np.arange(GRID) + 1) / GRID - 1
    return np.stack([np.tile(line, GRID), np.repeat(line, GRID)], axis=1)


def gaussian_field(rng: np.random.Generator, sizes: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return a Gaussian field (token,), adding up to 1, and its centre."""
    centre, size = rng.uniform(-0.7, 0.7, 2), rng.uniform(*sizes)
    field = np.exp(-((centres() - centre) ** 2).sum(axis=1) / (2 * size**2))
    return field / field.sum(), centre


def standard(values: np.ndarray) -> np.ndarray:
    """Return responses (stimulus, voxel) with mean 0 and variance 1."""
    return (values - values.mean(axis=0)) / values.std(axis=0)


def as_datasets(scenes: Scenes, drive: np.ndarray, *, noise: float, rng: np.random.Generator, **roi: np.ndarray) -> Any:
    """Return features and responses of training stimuli, features of test stimuli, and what was measured there.

    Parameters
    ----------
    scenes
        What was seen.
    drive
        Noiseless responses (stimulus, voxel).
    noise
        Standard deviation of the noise, that of the drive being 1.
    rng
        For the noise.
    **roi
        Masks (voxel,) by name.
    """
    values = (drive + noise * rng.standard_normal(drive.shape)).astype(np.float32)
    features = stimuli_dataset(scenes.tokens, "judge, 32 components")
    trials = {"trial": np.arange(len(values)), "stimulus_id": ("trial", np.arange(len(values)))}
    variables: dict[str, Any] = {"response": (("trial", "voxel"), values)}
    if roi:
        variables["roi_mask"] = (("roi", "voxel"), np.stack(list(roi.values())))
    labels = {**trials, "voxel": np.arange(drive.shape[1]), **({"roi": list(roi)} if roi else {})}
    attrs = {"schema": "response.v1", "subject": "planted", "units": "z", "simulated": 1}
    response = xr.Dataset(variables, labels, attrs)
    training, test = slice(scenes.n_test, None), slice(0, scenes.n_test)
    return features.isel(trial=training), response.isel(trial=training), features.isel(trial=test), values[test]


def stimuli_dataset(tokens: np.ndarray, model: str, **attrs: Any) -> xr.Dataset:
    """Return tokens as features, row for row the trials."""
    trials = {"trial": np.arange(len(tokens)), "stimulus_id": ("trial", np.arange(len(tokens)))}
    return xr.Dataset({"embedding": (("trial", "token", "channel"), tokens)}, trials, {"model": model, **attrs})


def correlations(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the correlation over stimuli for each voxel; 0 where a prediction is constant."""
    one, other = (each - each.mean(axis=0) for each in (found.astype(np.float64), truth.astype(np.float64)))
    lengths = np.linalg.norm(one, axis=0) * np.linalg.norm(other, axis=0)
    return (one * other).sum(axis=0) / np.maximum(lengths, 1e-12)


def run(
    name: str,
    measure: Callable[[int], Rows],
    *,
    about: Sequence[str],
    tables: Mapping[str, Mapping[str, str]],
    first: str,
    where: Path = HERE,
) -> None:
    """Measure the seeds that the command line asks for; go on where an earlier call stopped.

    Parameters
    ----------
    name
        Of the script and its files.
    measure
        Returns a seed's rows; a row's values are named as the columns.
    about
        Lines above the tables.
    tables
        By heading: columns, and their headings. A row without any of them is left out.
    first
        Heading of the rows' names.
    where
        Folder of the files.
    """
    parser = argparse.ArgumentParser(prog=f"{name}.py")
    parser.add_argument("seeds", nargs="+", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    file = where / f"{name}.json"
    entries: dict[str, Rows] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    for seed in options.seeds:
        if str(seed) in entries:
            continue
        started = time.perf_counter()
        entries[str(seed)] = measure(seed)
        file.write_text(json.dumps(entries, indent=1) + "\n", "utf-8")
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
    lines = [*about, f"Seeds {', '.join(sorted(entries, key=int))}. Written by {name}.py.", ""]
    for heading, columns in tables.items():
        lines += [f"## {heading}", "", *table(first, columns, entries), ""]
    (where / f"{name}.md").write_text("\n".join(lines).rstrip() + "\n", "utf-8")


def table(first: str, columns: Mapping[str, str], entries: Mapping[str, Rows]) -> list[str]:
    """Return a Markdown table: mean over seeds, and in brackets its 95 % interval by Student's t."""
    lines = [f"| {first} | {' | '.join(columns.values())} |", "|---|" + "---|" * len(columns)]
    quantile = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}
    for name in next(iter(entries.values())):
        cells = []
        for column in columns:
            values = np.array([rows[name][column] for rows in entries.values() if column in rows[name]])
            if not len(values):
                cells.append("")
                continue
            if values.mean() >= 100:
                cells.append(f"{values.mean():,.0f}")
                continue
            half = quantile.get(len(values), 2.0) * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0
            cells.append(f"{values.mean():.3f} [{values.mean() - half:.3f}, {values.mean() + half:.3f}]")
        if any(cells):
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines
