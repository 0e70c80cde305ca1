"""Embeddings and rankings with a known answer, for the tests of this plugin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

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
