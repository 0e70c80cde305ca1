"""Candidates by seed, the best by similarity, kills, and the small models that come with brainlens, end to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brainlens_diffusion.reconstruct import reconstruct
from brainlens_diffusion.reconstruct_params import ReconstructParams
from brainlens_diffusion.seeds import noise_seeds

import brainlens

N_TRIALS, N_CHANNELS = 7, 12


def make_decoded(variants: tuple[str, ...] = ("retrieval", "reconstruction")) -> xr.Dataset:
    shape = (*((len(variants),) if variants else ()), N_TRIALS, N_CHANNELS)
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    dims = (*(("variant",) if variants else ()), "trial", "channel")
    coords: dict[str, Any] = {
        "trial": [f"t{number}" for number in range(N_TRIALS)],
        "stimulus_id": ("trial", [f"s{number}" for number in range(N_TRIALS)]),
        "session": ("trial", np.arange(N_TRIALS)),
    }
    coords |= {"variant": list(variants)} if variants else {}
    return xr.Dataset({"embedding": (dims, values)}, coords, {"schema": "embedding.v1", "model": "toy", "subject": "x"})


def paint(embedding: xr.Dataset, initial: xr.Dataset | None = None) -> xr.Dataset:
    """Paint what can be undone: an image is its embedding, some noise of its seed, and the image it started from."""
    seeds = embedding["noise_seed"].values
    noise = np.stack([np.random.default_rng(seed).integers(-40, 40, N_CHANNELS) for seed in seeds])
    values = 128 + 20 * embedding["embedding"].values + noise
    if initial is not None:
        values = values + initial["image"].values.reshape(len(values), -1)[:, :N_CHANNELS] - 128.0
    pixels = values.round().clip(0, 255).astype(np.uint8).reshape(-1, 2, 2, 3)
    labels = {name: ("trial", embedding[name].values) for name in ("trial", "stimulus_id")}
    made = xr.Dataset({"image": (("trial", "y", "x", "rgb"), pixels)}, labels, {"schema": "image.v1", "model": "brush"})
    return made.assign(noise_seed=("trial", seeds))


def embed(images: xr.Dataset, model: str = "toy") -> xr.Dataset:
    values = (images["image"].values.reshape(-1, N_CHANNELS) - 128.0) / 20
    labels = {name: ("trial", images[name].values) for name in ("trial", "stimulus_id")}
    return xr.Dataset({"embedding": (("trial", "channel"), values)}, labels, {"schema": "embedding.v1", "model": model})


def make_context(scratch: Path | None = None, *, seed: int = 3, **components: Callable[..., Any]) -> brainlens.Context:
    return brainlens.Context(
        seed=seed, scratch=scratch, components={"generator": paint, "embedder": embed, **components}
    )


def cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    one, other = (each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (one, other))
    return np.sum(one * other, axis=-1)


@pytest.mark.parametrize("trials_at_once", [1, 3, 100])
def test_the_best_candidate_is_the_most_similar_to_what_is_compared(trials_at_once, tmp_path):
    decoded, context = make_decoded(), make_context(tmp_path)
    params = ReconstructParams(n_candidates=5, trials_at_once=trials_at_once, keep_candidates=True)
    made = reconstruct(decoded=decoded, initial=None, params=params, context=context)
    seeds = noise_seeds(context, N_TRIALS, 5)
    np.testing.assert_array_equal(made["noise_seed"], seeds)
    one_by_one = decoded.sel(variant="reconstruction")
    for trial in range(N_TRIALS):
        alone = one_by_one.isel(trial=[trial] * 5).assign_coords(noise_seed=("trial", seeds[trial]))
        painted = paint(alone)
        np.testing.assert_array_equal(made["image"][trial], painted["image"])
        wanted = decoded["embedding"].sel(variant="retrieval").values[trial]
        similarity = cosine(embed(painted)["embedding"].values, wanted)
        np.testing.assert_allclose(made["similarity"][trial], similarity, atol=1e-6)
        assert made["chosen"][trial] == similarity.argmax()
    assert made["chosen"].dtype == np.int64
    assert len(np.unique(made["chosen"])) > 1
    assert made["session"].values.tolist() == decoded["session"].values.tolist()
    assert made.attrs == {
        "schema": "image.v1", "subject": "x", "model": "brush", "generator": "mini.generate", "embedder": "mini.image",
        "metric": "cosine",
    }  # fmt: skip


def test_without_the_others_the_chosen_one_stays():
    decoded, context = make_decoded(()), make_context()
    every = ReconstructParams(n_candidates=4, keep_candidates=True)
    kept = reconstruct(decoded=decoded, initial=None, params=every, context=context)
    best = reconstruct(decoded=decoded, initial=None, params=ReconstructParams(n_candidates=4), context=context)
    chosen = kept["chosen"].values
    for name in ("image", "similarity", "noise_seed"):
        np.testing.assert_array_equal(best[name], kept[name].values[np.arange(N_TRIALS), chosen])
    assert best["image"].dims == ("trial", "y", "x", "rgb")


def test_a_single_candidate_is_compared_with_nothing():
    def fail(**_: Any) -> xr.Dataset:
        raise AssertionError

    context = make_context(embedder=fail)
    made = reconstruct(decoded=make_decoded(), initial=None, params=ReconstructParams(n_candidates=1), context=context)
    assert "similarity" not in made
    assert not made["chosen"].any()


def test_initial_images_go_with_their_trials():
    decoded, context = make_decoded(()), make_context()
    pixels = np.random.default_rng(5).integers(100, 150, (N_TRIALS, 2, 2, 3), dtype=np.uint8)
    labels = {name: ("trial", decoded[name].values) for name in ("trial", "stimulus_id")}
    initial = xr.Dataset({"image": (("trial", "y", "x", "rgb"), pixels)}, labels, {"schema": "image.v1", "model": "l"})
    params = ReconstructParams(n_candidates=2, trials_at_once=3, keep_candidates=True)
    made = reconstruct(decoded=decoded, initial=initial, params=params, context=context)
    for trial in (0, 4):
        alone = decoded.isel(trial=[trial]).assign_coords(noise_seed=("trial", [made["noise_seed"].values[trial, 1]]))
        expected = paint(alone, initial.isel(trial=[trial]))["image"].values[0]
        np.testing.assert_array_equal(made["image"].values[trial, 1], expected)
    with pytest.raises(brainlens.DimensionError, match="initial: expected images of the 7 trials of 'decoded' in the"):
        reconstruct(decoded=decoded, initial=initial.isel(trial=slice(None, None, -1)), params=params, context=context)


def test_centred_similarities_are_about_the_mean_of_the_targets():
    mean = np.linspace(-1, 1, N_CHANNELS)
    decoded = make_decoded(()).assign(target_mean=("channel", mean))
    params = ReconstructParams(n_candidates=3, keep_candidates=True, metric="centred-cosine")
    made = reconstruct(decoded=decoded, initial=None, params=params, context=make_context())
    values = (made["image"].values.reshape(N_TRIALS, 3, N_CHANNELS) - 128.0) / 20
    wanted = decoded["embedding"].values[:, None]
    np.testing.assert_allclose(made["similarity"], cosine(values - mean, wanted - mean), atol=1e-6)
    with pytest.raises(brainlens.DimensionError, match="metric: expected 'target_mean' in what was decoded for"):
        reconstruct(decoded=make_decoded(()), initial=None, params=params, context=make_context())


def test_stimuli_become_trials():
    decoded = (
        make_decoded(()).drop_vars(["trial", "session"]).rename(stimulus_id="stimulus").swap_dims(trial="stimulus")
    )
    params = ReconstructParams(n_candidates=1)

    def by_stimulus(embedding: xr.Dataset) -> xr.Dataset:
        return paint(embedding.rename(stimulus="trial").assign_coords(stimulus_id=embedding["stimulus"].rename(
            stimulus="trial").drop_vars("trial")))  # fmt: skip

    context = make_context(generator=by_stimulus)
    made = reconstruct(decoded=decoded, initial=None, params=params, context=context)
    assert made["trial"].values.tolist() == made["stimulus_id"].values.tolist() == decoded["stimulus"].values.tolist()


@pytest.mark.parametrize(
    ("given", "components", "error", "text"),
    [
        (
            {"generator_params": {"n_candidates": 3}}, {}, brainlens.ParameterError,
            "generator_params: expected no 'n_candidates', found 3: the analysis decides it.",
        ),
        (
            {"painted": "recon"}, {}, brainlens.ParameterError,
            "variant: expected one that decoded has, found 'recon'. Closest: 'reconstruction'",
        ),
        (
            {}, {"embedder": lambda images: embed(images, "other")}, brainlens.DimensionError,
            "embedder: expected one of the model that was decoded, 'toy', found 'mini.image' of 'other'.",
        ),
        (
            {}, {"embedder": lambda images: embed(images).isel(channel=slice(5))}, brainlens.DimensionError,
            "embedder: expected embeddings of dims (12,) as decoded, found (5,).",
        ),
        (
            {}, {"generator": lambda embedding: paint(embedding).drop_vars("noise_seed")}, brainlens.PluginError,
            "generator: expected one that paints by the coordinate 'noise_seed' of its embeddings and returns it, "
            "found none. Choose one that does, such as 'mini.generate'.",
        ),
        (
            {}, {"generator": lambda embedding: paint(embedding.assign_coords(noise_seed=embedding.noise_seed + 1))},
            brainlens.PluginError, "generator: expected one that paints by the coordinate 'noise_seed'",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_reconstructed_is_said(given, components, error, text):
    params = ReconstructParams(**{"n_candidates": 2, **given})
    with pytest.raises(error) as caught:
        reconstruct(decoded=make_decoded(), initial=None, params=params, context=make_context(**components))
    assert str(caught.value).startswith(text)


def make_registry(path: Path, n_stimuli: int) -> brainlens.Registry:
    registry = brainlens.open(path, quiet=True)
    options = {"n_stimuli": n_stimuli, "n_shared": 6, "n_voxels": 120, "n_repetitions": 1}
    registry.ingest("simulate", "sim", seed=1, subject="sim", **options)
    registry.compute("mini.image", stimuli="sim/images", name="clip", device="cpu")
    return registry


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> brainlens.Registry:
    return make_registry(tmp_path_factory.mktemp("study") / "study.zarr", 20)


OPTIONS: dict[str, Any] = {"n_candidates": 3, "generator_params": {"n_steps": 2}, "device": "cpu"}


def test_the_small_models_reconstruct_through_the_registry(study):
    made = study[study.compute("diffusion.reconstruct", decoded="clip", trials_at_once=7, **OPTIONS)]
    whole = study[study.compute("mini.generate", embedding="clip", n_candidates=3, n_steps=2, device="cpu")]
    seeds = whole["noise_seed"].values[np.arange(len(made["trial"])), made["chosen"].values]
    np.testing.assert_array_equal(made["noise_seed"], seeds)
    chosen = whole["image"].values[np.arange(len(seeds)), made["chosen"].values]
    assert np.abs(chosen.astype(int) - made["image"].values.astype(int)).max() <= 1
    embedded = study[study.compute("mini.image", images=study.put("made", made.load()), device="cpu")]
    found = cosine(embedded["embedding"].values, study["clip"]["embedding"].values)
    np.testing.assert_allclose(made["similarity"], found, atol=1e-4)
    assert made["similarity"].mean() > 0.1
    assert "calls" in study.show(made.encoding["source"].rsplit("study.zarr/", 1)[1])["provenance"]


KILLED = """
import os, signal, sys
from brainlens_diffusion import candidates
import brainlens

add = candidates.Board.add

def add_and_die(board, rows, found, *, model):
    add(board, rows, found, model=model)
    if rows[0] == 6:
        os.kill(os.getpid(), signal.SIGKILL)

candidates.Board.add = add_and_die
brainlens.open(sys.argv[1], quiet=True).compute(
    "diffusion.reconstruct", decoded="clip", name="again", trials_at_once=3, seed=9, n_candidates=3,
    generator_params={"n_steps": 2}, device="cpu",
)
"""


def test_a_reconstruction_that_was_killed_goes_on_to_the_same_images(study, monkeypatch):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(study.path)], check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert killed.returncode == -signal.SIGKILL
    assert "again" not in study.list()
    from brainlens_diffusion import candidates

    added: list[int] = []
    add = candidates.Board.add

    def count(board: Any, rows: np.ndarray, found: Any, *, model: str) -> None:
        added.append(int(rows[0]))
        add(board, rows, found, model=model)

    monkeypatch.setattr(candidates.Board, "add", count)
    name = study.compute("diffusion.reconstruct", decoded="clip", name="again", trials_at_once=3, seed=9, **OPTIONS)
    assert added[0] == 9
    whole = study.compute(
        "diffusion.reconstruct", decoded="clip", name="whole", trials_at_once=3, seed=9, recompute=True, **OPTIONS
    )
    again, straight = study[name].load(), study[whole].load()
    # The process that was killed computed on one thread, this one on as many as there are, which rounds otherwise.
    np.testing.assert_allclose(again["similarity"], straight["similarity"], atol=1e-5)
    assert np.abs(again["image"].values.astype(int) - straight["image"].values.astype(int)).max() <= 1
    for variable in ("chosen", "noise_seed", "trial", "stimulus_id"):
        np.testing.assert_array_equal(again[variable], straight[variable])
    study.verify(name)
