"""Measure the shipped models on scenes that none of them was trained on, and draw contact sheets.

    python evaluate.py --registry test.zarr --out .. --pictures ../../../docs/figures
    python evaluate.py ... --nearest train.zarr train1 train2 --embeddings build/embeddings.npy

Makes the scenes if they are not there; writes `evaluation.json`, `evaluation.md` and pictures. Everything goes through
the components of the plugin, as a user's own script would. The second line also asks what can be expected of a
generator that sees nothing but the embedding: in the place of a painted image it shows the training scene whose
embedding is nearest. That takes the training scenes; without them the value of an earlier evaluation is kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from brainlens_mini.judge import judge_images
from brainlens_mini.weights import WEIGHTS, file_sha256
from scenes import Scenes
from skimage.metrics import structural_similarity

import brainlens

# Seeds of the scenes; training used 1001 and 1002, and choices were made on scenes of seed 900.
TEST_SEED, PCA_SEED = 910, 911
N_TEST, N_PCA, N_GENERATED, N_TIMED, POOL = 4000, 3000, 2000, 8, 256
# Embeddings that are compared with at a time.
BLOCK = 20_000
PATCH, LATENTS = 8, 16
PLACES = ("indoor", "outdoor", "backdrop")


def main() -> None:
    """Evaluate everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--registry", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--nearest", nargs="+", metavar=("REGISTRY", "SCENES"), help="registry of training scenes")
    parser.add_argument("--embeddings", type=Path, help="embeddings of the first of these scenes, if they are there")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    registry = brainlens.open(given.registry)
    registry.ingest("simulate.scenes", "test", n=N_TEST, seed=TEST_SEED)
    registry.ingest("simulate.scenes", "pca", n=N_PCA, seed=PCA_SEED, annotate=False)
    scenes = registry["test/images"].load()
    file = given.out / "evaluation.json"
    results = {
        "image-text": image_text(registry, scenes),
        "autoencoder": autoencoder(registry, scenes, given.pictures),
        "judge": judge(scenes),
        "generator": generator(registry, scenes, given.pictures),
        "nearest-training-scene": nearest_training_scene(registry, scenes, given) if given.nearest else kept(file),
        "size_mb": round(sum(path.stat().st_size for path in WEIGHTS.rglob("*.safetensors")) / 1e6, 1),
    }
    file.write_text(json.dumps(results, indent=1) + "\n")
    (given.out / "evaluation.md").write_text(as_table(results))


def image_text(registry: brainlens.Registry, scenes: Any) -> dict[str, float]:
    """Return zero-shot accuracies and retrieval among captions."""
    images = registry[registry.compute("mini.image", stimuli="test/images", name="test/clip")]["embedding"].values
    concepts, concept_axes, place_axes = prompt_axes(registry, scenes)
    names, words = scenes["object_concept"].values, np.array(concepts)
    count = (names != "").sum(axis=1)
    named = words[(images @ concept_axes.T).argmax(axis=1)]
    single = count == 1
    results = {
        "zero_shot_concept": float((named == names[:, 0])[single].mean()),
        "zero_shot_concept_n": int(single.sum()),
        "zero_shot_concept_chance": 1 / len(concepts),
    }
    largest = np.where(names != "", scenes["object_size"].values, -1).argmax(axis=1)
    several = count > 1
    main = np.take_along_axis(names, largest[:, None], axis=1)[:, 0]
    results["zero_shot_largest_of_several"] = float((named == main)[several].mean())
    for low, high, size in ((0, 0.19, "small"), (0.19, 0.27, "medium"), (0.27, 1, "large")):
        here = single & (scenes["object_size"].values[:, 0] >= low) & (scenes["object_size"].values[:, 0] < high)
        results[f"zero_shot_concept_{size}"] = float((named == names[:, 0])[here].mean())
    placed = np.array(PLACES)[(images @ place_axes.T).argmax(axis=1)]
    results |= {"zero_shot_place": float((placed == scenes["place"].values).mean()), "zero_shot_place_chance": 1 / 3}
    for caption in ("tag", "sentence", "paragraph"):
        texts = registry[registry.compute("mini.text", texts="test/captions", caption=caption, name=f"test/{caption}")]
        said = registry["test/captions"]["text"].sel(caption=caption).values
        forward, backward = retrieve(images, texts["embedding"].values, said)
        results |= {f"image_to_{caption}_top_1": forward, f"{caption}_to_image_top_1": backward}
    return {**results, "retrieval_pool": POOL, "retrieval_chance": 1 / POOL}


def prompt_axes(registry: brainlens.Registry, scenes: Any) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the concepts, and the mean direction of many short texts about each concept and each place."""
    pairs = sorted({*zip(scenes["object_concept"].values.ravel(), scenes["object_name"].values.ravel(), strict=True)})
    things = [(concept, name) for concept, name in pairs if concept]
    settings = sorted({*zip(scenes["place"].values, scenes["kind"].values, strict=True)})
    texts, about, where = [], [], []
    for concept, name in things:
        thing = concept if concept == name else f"{concept}, {name}"
        for place, kind in settings:
            texts.append(f"{thing}, {place}, {kind}")
            about.append(concept)
            where.append(place)
    dataset = {"text": ("stimulus", np.array(texts, dtype=object))}
    prompts = text_dataset(dataset, [f"prompt-{number}" for number in range(len(texts))])
    put_once(registry, "prompts", prompts)
    rows = registry[registry.compute("mini.text", texts="prompts", name="prompts-embedded")]["embedding"].values
    concepts = sorted(set(about))
    return concepts, means(rows, about, concepts), means(rows, where, PLACES)


def put_once(registry: brainlens.Registry, name: str, dataset: xr.Dataset) -> None:
    """Store a dataset unless an earlier evaluation has."""
    if name not in [entry.name for entry in registry.query()]:
        registry.put(name, dataset)


def text_dataset(variables: Mapping[str, Any], labels: list[str]) -> Any:
    """Return texts as a dataset."""
    return xr.Dataset(variables, {"stimulus": labels}, {"schema": "stimulus_text.v1", "language": "en"})


def means(rows: np.ndarray, labels: list[str], wanted: Any) -> np.ndarray:
    """Return the direction of the mean of the rows of each label."""
    found = np.stack([rows[np.array(labels) == label].mean(axis=0) for label in wanted])
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def retrieve(images: np.ndarray, texts: np.ndarray, said: np.ndarray) -> tuple[float, float]:
    """Return how often the nearest text of a pool says what the own one says, and the nearest image is the own one."""
    forward, backward = [], []
    for low in range(0, len(images) - POOL + 1, POOL):
        part = slice(low, low + POOL)
        similarity, same = images[part] @ texts[part].T, said[part][:, None] == said[part][None]
        forward.append(same[np.arange(POOL), similarity.argmax(axis=1)].mean())
        backward.append(same[similarity.argmax(axis=0), np.arange(POOL)].mean())
    return float(np.mean(forward)), float(np.mean(backward))


def autoencoder(registry: brainlens.Registry, scenes: Any, pictures: Path) -> dict[str, float]:
    """Return similarity of images to what comes back from their latents, beside a linear code of the same size."""
    registry.compute("mini.latents", stimuli="test/images", name="test/latents")
    back = registry[registry.compute("mini.decode", latents="test/latents", name="test/back")]["image"].values
    truth = scenes["image"].values
    linear = linear_code(registry["pca/images"]["image"].values, truth)
    rows = [("scene", truth[:10]), ("autoencoder", back[:10]), ("linear code", linear[:10])]
    (pictures / "mini-autoencoder.png").write_bytes(brainlens.contact_sheet(rows))
    several = range(0, len(truth), 4)
    return {
        "ssim": float(np.mean([similarity(truth[row], back[row]) for row in several])),
        "ssim_linear": float(np.mean([similarity(truth[row], linear[row]) for row in several])),
        "psnr": signal_to_noise(truth, back),
        "psnr_linear": signal_to_noise(truth, linear),
        "n": len(several),
    }


def linear_code(fitted: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return images after the best linear code of patches, of the autoencoder's size, fitted on other scenes."""
    patches = to_patches(fitted).reshape(-1, 3 * PATCH**2)
    mean = patches.mean(axis=0)
    axes = np.linalg.eigh(np.cov((patches - mean).T))[1][:, -LATENTS:]
    coded = (to_patches(images) - mean) @ axes @ axes.T + mean
    side = images.shape[1] // PATCH
    pixels = coded.reshape(-1, side, side, PATCH, PATCH, 3).transpose(0, 1, 3, 2, 4, 5).reshape(images.shape)
    return pixels.clip(0, 255).round().astype(np.uint8)


def to_patches(images: np.ndarray) -> np.ndarray:
    """Return patches (image, row, column, value), float32."""
    n, side = len(images), images.shape[1] // PATCH
    split = images.astype(np.float32).reshape(n, side, PATCH, side, PATCH, 3).transpose(0, 1, 3, 2, 4, 5)
    return split.reshape(n, side, side, -1)


def similarity(first: np.ndarray, second: np.ndarray) -> float:
    """Return the structural similarity of two colour images (Wang et al. 2004), flat window of 7 pixels."""
    return float(structural_similarity(first, second, channel_axis=-1, data_range=255))


def signal_to_noise(truth: np.ndarray, other: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    return float(10 * np.log10(255**2 / np.mean((truth.astype(float) - other) ** 2)))


def judge(scenes: Any) -> dict[str, float]:
    """Return how often the judge names the concept of a scene with one object."""
    single, concepts = single_objects(scenes)
    found = judge_images(scenes["image"].values[single])
    return {"concept": float((found.concepts == concepts).mean()), "n": len(single)}


def single_objects(scenes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return which scenes have one object, and its concept."""
    names = scenes["object_concept"].values
    single = np.flatnonzero((names != "").sum(axis=1) == 1)
    return single, names[single, 0]


def generator(registry: brainlens.Registry, scenes: Any, pictures: Path) -> dict[str, float]:
    """Return what the judge makes of images painted from true embeddings, and how long eight of them take."""
    chosen, concepts = single_objects(scenes)
    chosen, concepts = chosen[:N_GENERATED], concepts[:N_GENERATED]
    put_once(registry, f"generated/from-{len(chosen)}", registry["test/clip"].isel(stimulus=chosen).load())
    put_once(registry, "generated/few-from", registry["test/clip"].isel(stimulus=chosen[:N_TIMED]).load())
    painted, few = (
        registry[registry.compute("mini.generate", embedding=f"generated/{part}", name=f"generated/{made}")]
        for part, made in ((f"from-{len(chosen)}", f"{len(chosen)}-{weights()}"), ("few-from", f"few-{weights()}"))
    )
    real, made = scenes["image"].values[chosen], painted["image"].values
    rows = [(name, part[row : row + 10]) for row in (0, 10, 20) for name, part in (("scene", real), ("painted", made))]
    (pictures / "mini-generator.png").write_bytes(brainlens.contact_sheet(rows))
    return {**compare(made, real, concepts), "seconds_for_eight": seconds(few)}


def weights() -> str:
    """Return a name of the shipped weights, so that what others made is not taken for theirs."""
    return file_sha256(WEIGHTS / "digests.json")[:12]


def seconds(made: xr.Dataset) -> float:
    """Return how long a component took for a dataset, opening its weights included."""
    return float(json.loads(made.attrs["provenance"])["wall_s"])


def nearest_training_scene(registry: brainlens.Registry, scenes: Any, given: argparse.Namespace) -> dict[str, float]:
    """Return what the judge makes of the training scenes whose embeddings are nearest to those that were painted from.

    They are scenes without a flaw that agree in all that the embedding tells, and differ in the rest, such as where
    things are: a yardstick for what is painted from the embedding alone, though not a bound.
    """
    chosen, concepts = single_objects(scenes)
    chosen, concepts = chosen[:N_GENERATED], concepts[:N_GENERATED]
    wanted = registry["test/clip"]["embedding"].values[chosen]
    path, *names = given.nearest
    training = brainlens.open(path, quiet=True)
    if given.embeddings:
        parts = [np.load(given.embeddings, mmap_mode="r")]
    else:
        embedded = [training.compute("mini.image", stimuli=f"{name}/images") for name in names]
        parts = [training[name]["embedding"] for name in embedded]
    best, nearest = np.full(len(wanted), -np.inf, np.float32), np.zeros(len(wanted), int)
    first = 0
    for part in parts:
        for low in range(0, len(part), BLOCK):
            similarity = wanted @ np.asarray(part[low : low + BLOCK], np.float32).T
            row = similarity.argmax(axis=1)
            value = similarity[np.arange(len(wanted)), row]
            nearest = np.where(value > best, first + low + row, nearest)
            best = np.maximum(best, value)
        first += len(part)
    found = Scenes(training, names, labels=False).pixels(nearest)
    return {**compare(found, scenes["image"].values[chosen], concepts), "n_candidates": first}


def compare(made: np.ndarray, real: np.ndarray, concepts: np.ndarray) -> dict[str, float]:
    """Return how well images are told apart and named by the judge, beside images in another order.

    Parameters
    ----------
    made, real
        Images, and the scenes that they should show (image, y, x, rgb), uint8.
    concepts
        Concept of each scene (image,).

    Returns
    -------
    dict
        Two-way identification by three kinds of features: `pooled`, mean and maximum of the judge's over the cells,
        which is what the field does with networks for photographs; `cells`, all of them, which asks for the layout too;
        `pixels`. Concepts named on the scenes and on the images, and their ratio. 95 % intervals are over images.
    """
    seen, judged = judge_images(real), judge_images(made)
    order = np.random.default_rng(0).permutation(len(made))
    kinds = {
        "pooled": (judged.pooled, seen.pooled),
        "cells": (judged.features, seen.features),
        "pixels": (made.reshape(len(made), -1), real.reshape(len(real), -1)),
    }
    results = {}
    for kind, (ours, theirs) in kinds.items():
        each = two_way(ours, theirs)
        results[f"two_way_identification_{kind}"] = float(each.mean())
        low, high = brainlens.bootstrap_interval(each)
        results |= {f"two_way_identification_{kind}_ci_low": low, f"two_way_identification_{kind}_ci_high": high}
        results[f"two_way_identification_{kind}_shuffled"] = float(two_way(ours[order], theirs).mean())
    on_real, on_made = (float((found.concepts == concepts).mean()) for found in (seen, judged))
    low, high = brainlens.wilson_interval(int((judged.concepts == concepts).sum()), len(made))
    return {
        **results,
        "concept_made_ci_low": low,
        "concept_made_ci_high": high,
        "concept_real": on_real,
        "concept_made": on_made,
        "concept_ratio": on_made / on_real,
        "concept_shuffled": float((judged.concepts[order] == concepts).mean()),
        "n": len(made),
    }


def kept(file: Path) -> dict[str, float]:
    """Return what an earlier evaluation found for the nearest training scenes."""
    found: dict[str, float] = json.loads(file.read_text()).get("nearest-training-scene", {}) if file.exists() else {}
    return found


def two_way(made: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Return in how many comparisons each image is more like its own scene than like another (image,); chance 0.5."""
    own = np.arange(len(made))
    return np.asarray(brainlens.two_way_identification(brainlens.correlate(made, real), own))


def as_table(results: Mapping[str, Any]) -> str:
    """Return the results as a Markdown table."""
    lines = ["| model | measure | value |", "| --- | --- | --- |"]
    for part, values in results.items():
        for name, value in values.items() if isinstance(values, Mapping) else [("", values)]:
            shown = f"{value:.3f}" if isinstance(value, float) else str(value)
            lines.append(f"| {part} | {name.replace('_', ' ')} | {shown} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
