"""What the shipped models can do, on scenes that none of them was trained on.

Bounds lie a little below what `training/evaluate.py` measured on more scenes, see `evaluation.md`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import xarray as xr

import brainlens

TRAINING = Path(__file__).parents[1] / "training"
KINDS = ("pooled", "cells", "pixels")


@pytest.fixture(scope="module")
def evaluate() -> ModuleType:
    """The script that measured them."""
    sys.path.insert(0, str(TRAINING))
    try:
        return importlib.import_module("evaluate")
    finally:
        sys.path.remove(str(TRAINING))


@pytest.fixture(scope="module")
def images(scenes: brainlens.Registry) -> xr.Dataset:
    return scenes["test/images"].load()


def test_concepts_are_named_without_training_on_them(
    scenes: brainlens.Registry, images: xr.Dataset, evaluate: ModuleType
) -> None:
    found = evaluate.image_text(scenes, images)
    assert found["zero_shot_concept_chance"] == pytest.approx(1 / 7)
    assert found["zero_shot_concept"] >= 0.95
    assert found["zero_shot_place"] >= 0.95
    assert min(found["image_to_sentence_top_1"], found["sentence_to_image_top_1"]) >= 0.9


def test_names_of_shuffled_images_are_right_by_chance(
    scenes: brainlens.Registry, images: xr.Dataset, evaluate: ModuleType
) -> None:
    concepts, axes, _ = evaluate.prompt_axes(scenes, images)
    embedding = scenes[scenes.compute("mini.image", stimuli="test/images", name="test/clip")]["embedding"].values
    single, truth = evaluate.single_objects(images)
    shuffled = np.random.default_rng(0).permutation(single)
    named = np.array(concepts)[(embedding[shuffled] @ axes.T).argmax(axis=1)]
    # Chance is 1/7; five standard errors among some 270.
    assert (named == truth).mean() < 1 / 7 + 0.11


def test_images_come_back_from_latents_better_than_from_a_linear_code(
    scenes: brainlens.Registry, images: xr.Dataset, evaluate: ModuleType
) -> None:
    truth, fitted = images["image"].values[:100], images["image"].values[100:]
    latents = scenes.compute("mini.latents", stimuli="test/images", name="test/latents")
    back = scenes[scenes.compute("mini.decode", latents=latents, name="test/back")]["image"].values[:100]
    linear = evaluate.linear_code(fitted, truth)
    learnt, plain = (
        np.mean([evaluate.similarity(one, other) for one, other in zip(truth, made, strict=True)])
        for made in (back, linear)
    )
    assert learnt >= 0.85
    assert learnt > plain + 0.02


def test_latents_have_the_scale_of_noise(scenes: brainlens.Registry) -> None:
    latents = scenes[scenes.compute("mini.latents", stimuli="test/images", name="test/latents")]["embedding"]
    assert float(latents.std()) == pytest.approx(1, abs=0.1)
    assert float(abs(latents.mean())) < 0.1


def test_the_judge_names_concepts(images: xr.Dataset, evaluate: ModuleType) -> None:
    assert evaluate.judge(images)["concept"] >= 0.95


def test_painted_images_are_told_apart_and_named(
    scenes: brainlens.Registry, images: xr.Dataset, evaluate: ModuleType, tmp_path: Path
) -> None:
    scenes.compute("mini.image", stimuli="test/images", name="test/clip")
    found = evaluate.generator(scenes, images, tmp_path)
    assert found["two_way_identification_pooled"] >= 0.94
    assert found["concept_ratio"] >= 0.78
    assert all(abs(found[f"two_way_identification_{kind}_shuffled"] - 0.5) < 0.05 for kind in KINDS)
    assert found["concept_shuffled"] < 0.3


def test_the_nearest_training_scene_is_the_scene_itself_where_it_is_among_them(
    scenes: brainlens.Registry, images: xr.Dataset, evaluate: ModuleType
) -> None:
    scenes.compute("mini.image", stimuli="test/images", name="test/clip")
    given = argparse.Namespace(nearest=[str(scenes.path), "test"], embeddings=None)
    found = evaluate.nearest_training_scene(scenes, images, given)
    assert found["n_candidates"] == images.sizes["stimulus"]
    assert found["concept_ratio"] == 1
    assert min(found[f"two_way_identification_{kind}"] for kind in KINDS) == 1
    assert max(found[f"two_way_identification_{kind}_shuffled"] for kind in KINDS) < 0.6
