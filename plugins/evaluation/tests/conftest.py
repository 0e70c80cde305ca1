"""Images with a known answer, and the real networks with random weights, saved as they are published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
import xarray as xr
from safetensors.torch import save_file

import brainlens


def make_stimuli(n: int = 10, side: int = 40, *, seed: int = 0, grey: bool = False) -> xr.Dataset:
    """Smooth images in random colours, with a little noise."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((n, 3, 5, 5)))
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").permute(0, 2, 3, 1).numpy()
    pixels = np.clip(255 * smooth + 10 * rng.standard_normal(smooth.shape), 0, 255).astype(np.uint8)
    dims = ("stimulus", "y", "x") if grey else ("stimulus", "y", "x", "rgb")
    labels = {"stimulus": [f"s{number:02d}" for number in range(n)]}
    return xr.Dataset({"image": (dims, pixels[..., 0] if grey else pixels)}, labels, {"schema": "stimulus_image.v1"})


def make_reconstructions(
    stimuli: xr.Dataset, n: int = 6, *, noise: float = 40.0, repetitions: int = 1, seed: int = 1
) -> xr.Dataset:
    """The last n stimuli in another order, with noise; each as many times as it was shown."""
    rng = np.random.default_rng(seed)
    shown = np.repeat(stimuli.sizes["stimulus"] - 1 - np.arange(n), repetitions)
    pixels = stimuli["image"].values[shown]
    pixels = np.clip(pixels + noise * rng.standard_normal(pixels.shape), 0, 255).astype(np.uint8)
    labels = {"trial": np.arange(len(shown)) + 100, "stimulus_id": ("trial", stimuli["stimulus"].values[shown])}
    dims = ("trial", *stimuli["image"].dims[1:])
    return xr.Dataset({"image": (dims, pixels)}, labels, {"schema": "image.v1", "model": "toy", "subject": "planted"})


@pytest.fixture
def context() -> brainlens.Context:
    return brainlens.Context(seed=0)


@pytest.fixture(name="stimuli")
def stimuli_fixture() -> xr.Dataset:
    return make_stimuli()


@pytest.fixture(name="reconstructions")
def reconstructions_fixture(stimuli: xr.Dataset) -> xr.Dataset:
    return make_reconstructions(stimuli)


@pytest.fixture(name="stimuli_of")
def stimuli_of_fixture() -> Callable[..., xr.Dataset]:
    return make_stimuli


@pytest.fixture(name="reconstructions_of")
def reconstructions_of_fixture() -> Callable[..., xr.Dataset]:
    return make_reconstructions


@pytest.fixture(scope="session")
def models() -> dict[str, torch.nn.Module]:
    """The networks as torchvision builds them, with random weights."""
    torch.manual_seed(0)
    swav = torchvision.models.resnet50(weights=None)
    swav.fc = torch.nn.Identity()
    made = {
        "alexnet": torchvision.models.alexnet(weights=None),
        "inception_v3": torchvision.models.inception_v3(weights=None, init_weights=False, transform_input=True),
        "efficientnet_b1": torchvision.models.efficientnet_b1(weights=None),
        "swav": swav,
    }
    return {name: model.eval() for name, model in made.items()}


@pytest.fixture(scope="session")
def weights(models: dict[str, torch.nn.Module], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights: three converted, and SwAV as it is published, with what belongs to its training."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ("alexnet", "inception_v3", "efficientnet_b1"):
        save_file(models[name].state_dict(), folder / f"{name}.safetensors")
    state = {f"module.{name}": value for name, value in models["swav"].state_dict().items()}
    state |= {"module.projection_head.0.weight": torch.zeros(4, 4), "module.prototypes.weight": torch.zeros(3, 4)}
    torch.save(state, folder / "swav_800ep_pretrain.pth.tar")
    return folder


def make_scores(
    values: dict[str, dict[str, list[float]]], *, subject: str = "subj01", lower: tuple[str, ...] = ()
) -> xr.Dataset:
    """Scores with these values of trials, by metric and source."""
    metrics = list(values)
    sources = list(values[metrics[0]])
    cube = np.array([[values[metric][source] for metric in metrics] for source in sources])
    labels = {
        "source": sources,
        "metric": metrics,
        "stimulus_id": ("trial", [f"s{number}" for number in range(cube.shape[2])]),
        "trial": np.arange(cube.shape[2]),
        "better": ("metric", ["lower" if metric in lower else "higher" for metric in metrics]),
        "chance_from": ("metric", ["shuffled"] * len(metrics)),
        "preprocessing": ("metric", [""] * len(metrics)),
        "layer": ("metric", [""] * len(metrics)),
    }
    return xr.Dataset(
        {
            "score": (("source", "metric"), cube.mean(axis=2)),
            "ci_low": (("source", "metric"), cube.min(axis=2)),
            "ci_high": (("source", "metric"), cube.max(axis=2)),
            "chance": ("metric", np.zeros(len(metrics))),
            "n": ("metric", np.full(len(metrics), cube.shape[2])),
            "value": (("source", "metric", "trial"), cube),
        },
        labels,
        {"schema": "score.v1", "subject": subject},
    )


@pytest.fixture(name="scores_of")
def scores_of_fixture() -> Callable[..., xr.Dataset]:
    return make_scores
