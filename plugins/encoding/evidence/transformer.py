"""Transformer: the query of a region finds where what it reads sits, at a price where nothing is routed.

    python transformer.py SEED [SEED ...]

Writes transformer.json, kept from earlier calls, and transformer.md. Everything here is simulated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from brainlens_encoding.params import ReadoutParams, RidgeParams, TransformerParams
from brainlens_encoding.readout import ReadoutEncoder
from brainlens_encoding.ridge import RidgeEncoder
from brainlens_encoding.transformer import TransformerEncoder
from planted import (
    CONCEPTS,
    GRID,
    N_CHANNELS,
    Rows,
    Scenes,
    as_datasets,
    centres,
    correlations,
    gaussian_field,
    make_scenes,
    run,
    standard,
)

import brainlens

N_TRAIN, N_TEST, N_SITES = 1200, 300, 8
NOISE = 0.7
# Regions, and the concept that their voxels follow or answer to.
ROUTE = {"face 1": 0, "face 2": 0, "animal 1": 1, "animal 2": 1}
CATEGORY = {"vehicle": 2}
REGIONS = (*ROUTE, *CATEGORY, "split", "low", "null")
COLUMNS = {
    "route": "route",
    "category": "category",
    "split": "split",
    "low": "low",
    "null": "null",
    "parameters": "parameters",
}
ABOUT = (
    "# Transformer (simulated)",
    "",
    f"{N_TRAIN} training, {N_TEST} test scenes of two objects. Tokens: {N_CHANNELS} principal components of the",
    f"channels of `mini.judge`, {GRID} x {GRID} places. Regions of {N_SITES} voxels, noise of {NOISE} of the SD of",
    "the signal. Correlation over test scenes with the response without noise (null: with what was measured), mean",
    "over voxels; mean over seeds and its 95 % interval. Settings were chosen on seed 100.",
    "",
    "- route: four regions; each voxel reads a vector at the object of a cue, face or animal, wherever it is",
    "- category: a region that answers to vehicles anywhere",
    "- split: a region of which one half follows tools, the other half animals",
    "- low: a region of Gaussian fields that stay where they are",
    "- null: noise",
    "",
)


def plant(scenes: Scenes, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the noiseless responses of each region (stimulus, voxel)."""
    tokens = scenes.tokens

    def values() -> np.ndarray:
        drawn = rng.standard_normal(N_CHANNELS)
        return np.asarray(tokens @ (drawn / np.linalg.norm(drawn)))

    def routed(cue: int) -> np.ndarray:
        there = scenes.presence[:, cue]
        found = (scenes.places[:, cue] * values()).sum(axis=1)
        return np.where(there, found - found[there].mean(), 0.0)

    made = {name: np.stack([routed(cue) for _ in range(N_SITES)], axis=1) for name, cue in ROUTE.items()}
    for name, cue in CATEGORY.items():
        own = [0.3 * standard(routed(cue)[:, None])[:, 0] for _ in range(N_SITES)]
        made[name] = scenes.presence[:, cue, None] * 2.0 + np.stack(own, axis=1)
    made["split"] = np.stack([routed(3 if number < N_SITES // 2 else 1) for number in range(N_SITES)], axis=1)
    made["low"] = np.stack([values() @ gaussian_field(rng, (0.15, 0.4))[0] for _ in range(N_SITES)], axis=1)
    drive = {name: standard(made[name]) for name in made}
    return {**drive, "null": np.zeros((len(tokens), N_SITES))}


def reduced(features: xr.Dataset, kind: str, basis: np.ndarray | None) -> xr.Dataset:
    """Return features pooled over tokens, or their principal components over all tokens and channels."""
    values = features["embedding"].values
    made = values.mean(axis=1) if basis is None else values.reshape(len(values), -1) @ basis
    coords = {name: coord for name, coord in features.coords.items() if coord.dims == ("trial",)}
    return xr.Dataset({"embedding": (("trial", "channel"), made.astype(np.float32))}, coords, {"model": kind})


def measure(seed: int) -> Rows:
    """Return correlations of each method with each region, and where attention lies."""
    scenes = make_scenes(seed, n_train=N_TRAIN, n_test=N_TEST)
    rng = np.random.default_rng([seed, 2])
    drive = plant(scenes, rng)
    names = np.repeat(REGIONS, N_SITES)
    truth = np.concatenate([drive[name] for name in REGIONS], axis=1)
    masks = {name: names == name for name in REGIONS}
    noise = np.where(names == "null", 1.0, NOISE)
    features, response, test, measured = as_datasets(scenes, truth, noise=noise, rng=rng, **masks)
    truth = np.where(names == "null", measured, truth[:N_TEST])
    flat = features["embedding"].values.reshape(N_TRAIN, -1)
    _, _, axes = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    shuffled = features.assign(embedding=features["embedding"].isel(trial=rng.permutation(N_TRAIN)).variable)
    context = brainlens.Context(seed=seed)
    settings: dict[str, Any] = {"weight_decays": (0.1,), "dropout": 0.3}
    by_region, by_site = (TransformerParams(queries=each, **settings) for each in ("roi", "site"))
    rivals: dict[str, tuple[Any, xr.Dataset, xr.Dataset]] = {
        "ridge, all tokens": (RidgeEncoder(RidgeParams(), context), features, test),
        "ridge, pooled tokens": (
            RidgeEncoder(RidgeParams(), context), reduced(features, "pooled", None), reduced(test, "pooled", None)
        ),
        "ridge, 200 components of all tokens": (
            RidgeEncoder(RidgeParams(), context),
            reduced(features, "pca", axes[:200].T),
            reduced(test, "pca", axes[:200].T),
        ),
        "factorised readout": (ReadoutEncoder(ReadoutParams(), context), features, test),
        "transformer, queries of regions": (TransformerEncoder(by_region, context), features, test),
        "transformer, queries of voxels": (TransformerEncoder(by_site, context), features, test),
        "transformer, shuffled images": (TransformerEncoder(by_region, context), shuffled, test),
    }  # fmt: skip
    rows: Rows = {}
    for name, (encoder, known, new) in rivals.items():
        encoder.fit(known, response)
        r = correlations(encoder.predict(new)["response"].values, truth)
        of = {region: float(r[names == region].mean()) for region in REGIONS}
        rows[name] = {"route": float(np.mean([of[region] for region in ROUTE]))}
        rows[name] |= {"category": of["vehicle"], "split": of["split"], "low": of["low"], "null": of["null"]}
        rows[name]["parameters"] = float(count(encoder))
        if name == "transformer, queries of regions":
            for region, values in attend(encoder, test, scenes).items():
                rows[region] = values
        print(name, {key: round(value, 3) for key, value in rows[name].items()}, flush=True)
    return rows


def count(encoder: Any) -> int:
    """Return how many numbers were learnt."""
    if isinstance(encoder, RidgeEncoder):
        return int(encoder.coef_.size + encoder.intercept_.size)
    return sum(value.numel() for value in encoder.network.parameters())


def attend(encoder: TransformerEncoder, test: xr.Dataset, scenes: Scenes) -> Rows:
    """Return how much attention lies on the object of the cue, beside what maps that know no image put there."""
    with torch.inference_mode():
        found = encoder.network.attend(encoder.tokens(test), slice(0, len(REGIONS))).numpy()
    regions = list(encoder.about["rois"])
    middle = np.exp(-(centres() ** 2).sum(axis=1) / (2 * 0.5**2))
    rows: Rows = {}
    for region, cue in {**ROUTE, **CATEGORY}.items():
        there = scenes.presence[:N_TEST, cue]
        box = scenes.places[:N_TEST, cue][there] > 0
        map_ = found[there, regions.index(region)]
        rows[f"attention of {region}"] = {
            "on_object": float((map_ * box).sum(axis=1).mean()),
            "chance": float(box.mean()),
            "centre": float((middle / middle.sum() * box).sum(axis=1).mean()),
            "mean_map": float((map_.mean(axis=0) * box).sum(axis=1).mean()),
        }
    alike = np.corrcoef(np.stack([found[:, regions.index(region)].ravel() for region in ROUTE]))
    same = np.array([alike[0, 1], alike[2, 3]])
    rows["maps of regions with the same cue"] = {"alike": float(same.mean())}
    rows["maps of regions with different cues"] = {"alike": float(alike[:2, 2:].mean())}
    return rows


if __name__ == "__main__":
    run(
        "transformer",
        measure,
        about=[*ABOUT, f"Cues: {', '.join(CONCEPTS)}.", ""],
        tables={
            "What each predicts": COLUMNS,
            "Share of attention on the object of the cue, where it is": {
                "on_object": "attention",
                "chance": "uniform map",
                "centre": "map of the centre",
                "mean_map": "mean attention over images",
            },
            "Do regions with the same cue look at the same places": {"alike": "correlation of attention maps"},
        },
        first="",
    )
