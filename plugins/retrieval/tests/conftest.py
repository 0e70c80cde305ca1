"""Embeddings and rankings with a known answer, for the tests of this plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval.combine import combine
from brainlens_retrieval.params import CombineParams

import brainlens


def make_embeddings(
    n_stimuli: int = 12,
    n_channels: int = 20,
    *,
    repetitions: int = 2,
    noise: float = 1.0,
    tokens: int = 0,
    seed: int = 0,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Decoded embeddings are those of the gallery with noise; trials are in random order."""
    rng = np.random.default_rng(0)
    shape = (n_channels, tokens)[: 1 + bool(tokens)][::-1]
    dims = ("token", "channel")[-len(shape) :]
    gallery = rng.standard_normal((n_stimuli, *shape)).astype(np.float32)
    shown = rng.permutation(np.repeat(np.arange(n_stimuli), repetitions))
    decoded = gallery[shown] + noise * rng.standard_normal((len(shown), *shape)).astype(np.float32)
    names = np.array([f"image{number:02d}" for number in range(n_stimuli)])
    labels = {"channel": np.arange(n_channels) * 2}
    attrs = {"schema": "embedding.v1", "model": "toy"}
    trials = {"trial": np.arange(len(shown)) + 50, "stimulus_id": ("trial", names[shown]), "run": ("trial", shown % 3)}
    return (
        xr.Dataset({"embedding": (("trial", *dims), decoded)}, {**trials, **labels}, {**attrs, "subject": "planted"}),
        xr.Dataset({"embedding": (("stimulus", *dims), gallery)}, {"stimulus": names, **labels}, attrs),
    )


def join_variants(parts: dict[str, xr.Dataset]) -> xr.Dataset:
    """Decoded embeddings of the same trials, as a decoder with several variants gives them."""
    first = next(iter(parts.values()))
    values = np.stack([part["embedding"].values for part in parts.values()])
    joined = first.assign(embedding=(("variant", *first["embedding"].dims), values))
    return joined.assign_coords(variant=list(parts))


def make_ranking(similarity: np.ndarray, true_column: np.ndarray) -> xr.Dataset:
    """A ranking of these similarities, candidates numbered from 0."""
    similarity, true_column = np.asarray(similarity), np.asarray(true_column)
    return xr.Dataset(
        {
            "similarity": (("trial", "stimulus"), similarity),
            "rank": ("trial", brainlens.rank_of_true(similarity, true_column)),
        },
        {
            "trial": np.arange(len(similarity)),
            "stimulus_id": ("trial", true_column),
            "stimulus": np.arange(similarity.shape[1]),
        },
        {"schema": "ranking.v1", "metric": "correlation"},
    )


QUIET = brainlens.Context(quiet=True)
N_TRAIN, N_TEST, N_CHANNELS, N_FOLDS = 200, 60, 6, 4


class Study:
    """Embeddings, and decoders of them whose noise is known along every channel."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.true = self.rng.standard_normal((N_TRAIN + N_TEST, N_CHANNELS)) + 2
        self.names = np.array([f"s{number:03d}" for number in range(N_TRAIN + N_TEST)])
        self.target = self.embeddings(self.true[:N_TRAIN], self.names[:N_TRAIN])
        self.gallery = self.embeddings(self.true[N_TRAIN:], self.names[N_TRAIN:])

    @staticmethod
    def embeddings(values: np.ndarray, names: np.ndarray) -> xr.Dataset:
        labels = {"stimulus": names, "channel": np.arange(values.shape[1])}
        return xr.Dataset({"embedding": (("stimulus", "channel"), values)}, labels, {"model": "toy"})

    def decoder(self, noise: Any, *, repetitions: int = 1) -> tuple[xr.Dataset, xr.Dataset]:
        """Return what it decodes of test stimuli, and of training stimuli that were left out."""
        row = np.repeat(np.arange(len(self.true)), repetitions)
        values = self.true[row] + noise * self.rng.standard_normal((len(row), N_CHANNELS))
        labels = {
            "trial": np.arange(len(row)), "channel": np.arange(N_CHANNELS), "stimulus_id": ("trial", self.names[row]),
            "fold": ("trial", [f"fold {number % N_FOLDS}" for number in row]),
            "in_training": ("trial", np.zeros(len(row), bool)),
        }  # fmt: skip
        found = xr.Dataset({"embedding": (("trial", "channel"), values)}, labels, {"model": "toy", "subject": "s1"})
        return found.isel(trial=row >= N_TRAIN).drop_vars("fold"), found.isel(trial=row < N_TRAIN)

    def response(self) -> xr.Dataset:
        """Return responses that are a mixture of the embedding."""
        values = self.true @ self.rng.standard_normal((N_CHANNELS, 9)) + self.rng.standard_normal((len(self.true), 9))
        labels = {
            "trial": np.arange(len(values)), "voxel": np.arange(9), "stimulus_id": ("trial", self.names),
            "split": ("trial", np.where(np.arange(len(values)) < N_TRAIN, "train", "test")),
        }  # fmt: skip
        return xr.Dataset({"response": (("trial", "voxel"), values)}, labels, {"subject": "s1", "units": "z"})

    def encoder(self, response: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
        """Return what a linear encoder predicts for the gallery, in another order, and for folds it has not met."""
        values, predicted = response["response"].values, np.empty((len(self.true), 9))
        fold = np.where(np.arange(len(self.true)) < N_TRAIN, np.arange(len(self.true)) % N_FOLDS, -1)
        for number in range(-1, N_FOLDS):
            kept = (fold != number) & (fold >= 0)
            weights, *_ = np.linalg.lstsq(self.true[kept], values[kept], rcond=None)
            predicted[fold == number] = self.true[fold == number] @ weights
        labels = {
            "trial": np.arange(len(predicted)), "voxel": np.arange(9), "stimulus_id": ("trial", self.names),
            "fold": ("trial", fold), "in_training": ("trial", np.zeros(len(predicted), bool)),
        }  # fmt: skip
        found = xr.Dataset({"response": (("trial", "voxel"), predicted)}, labels)
        return found.isel(trial=slice(None, N_TRAIN - 1, -1), voxel=slice(None, None, -1)), found.isel(
            trial=slice(N_TRAIN)
        )

    def combine(self, *decoders: tuple[xr.Dataset, xr.Dataset], **options: Any) -> xr.Dataset:
        given = {name: options.pop(name) for name in ("target", "gallery") if name in options}
        given = {"target": self.target, "gallery": self.gallery, **given}
        further = ("response", "models", "encoded", "encoded_left_out")
        given |= {name: options.pop(name) for name in further if name in options}
        context = options.pop("context", QUIET)
        decoded, left_out = (list(each) for each in zip(*decoders, strict=True))
        return combine(decoded, **given, left_out=left_out, params=CombineParams(**options), context=context)


@pytest.fixture(name="study")
def study_fixture() -> Study:
    """A study whose decoders and encoder are known."""
    return Study()


@pytest.fixture(name="embeddings")
def embeddings_fixture() -> Callable[..., tuple[xr.Dataset, xr.Dataset]]:
    """Make decoded embeddings and their gallery."""
    return make_embeddings


@pytest.fixture(name="as_variants")
def as_variants_fixture() -> Callable[..., xr.Dataset]:
    """Join decoded embeddings along variant."""
    return join_variants


@pytest.fixture(name="as_ranking")
def as_ranking_fixture() -> Callable[..., xr.Dataset]:
    """Make a ranking of given similarities."""
    return make_ranking
