"""The seeds of noise: one for each trial and candidate, drawn here or brought along by the embedding."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

import brainlens

# The stream from which `mini.generate` draws too, so that a seed means the same noise everywhere.
_NOISE_STREAM = 11


def choose_seeds(embedding: xr.Dataset, context: brainlens.Context, n_candidates: int) -> np.ndarray:
    """Return the seed of each trial and candidate.

    Parameters
    ----------
    embedding
        Embeddings of trials, stimuli or ROIs. Where they have a coordinate `noise_seed` along that dim, or along that
        dim and candidate, it holds the seeds: rows that were taken from a larger dataset, with the seeds of the images
        that were painted of it, are painted as they were.
    context
        Its seed decides where there is no such coordinate.
    n_candidates
        Images for each embedding.

    Returns
    -------
    ndarray
        (trial, candidate), int64, from 0.

    Raises
    ------
    DimensionError
        If `noise_seed` has other dims, or as many candidates as were not asked for.
    ParameterError
        If a seed is not a whole number from 0.
    """
    dim = str(embedding["embedding"].dims[0])
    n_trials = embedding.sizes[dim]
    if "noise_seed" not in embedding.coords:
        return noise_seeds(context, n_trials, n_candidates)
    given = embedding["noise_seed"]
    if given.dims not in ((dim,), (dim, "candidate")) or given.sizes.get("candidate", 1) != n_candidates:
        raise brainlens.DimensionError(
            f"noise_seed of the embedding: expected dims ({dim}) or ({dim}, candidate) with {n_candidates} for each "
            f"{dim}, found {dict(given.sizes)}. Set 'n_candidates' to how many seeds there are, or leave them out by "
            "drop_vars('noise_seed')."
        )
    if given.dtype.kind not in "iu" or not 0 <= int(given.min()) <= int(given.max()) < 2**63:
        raise brainlens.ParameterError(
            f"noise_seed of the embedding: expected whole numbers from 0 to 2**63 - 1, found {given.dtype} from "
            f"{given.values.min()!s} to {given.values.max()!s}. Take those of images that were painted."
        )
    return given.values.astype(np.int64).reshape(n_trials, n_candidates)


def noise_seeds(context: brainlens.Context, n_trials: int, n_candidates: int) -> np.ndarray:
    """Return a seed for each trial and candidate: (trial, candidate), int64, from 0.

    Each depends on the context's seed and its own position alone, not on how many there are.

    Examples
    --------
    >>> context = brainlens.Context(seed=3)
    >>> bool((noise_seeds(context, 2, 1)[:, 0] == noise_seeds(context, 5, 4)[:2, 0]).all())
    True
    """
    drawn = [context.rng(_NOISE_STREAM, trial).integers(2**62, size=n_candidates) for trial in range(n_trials)]
    return np.array(drawn, dtype=np.int64).reshape(n_trials, n_candidates)


def make_generators(seeds: np.ndarray) -> list[torch.Generator]:
    """Return one random generator for each seed; all draw on the CPU, so that every device sees the same noise."""
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds.ravel()]


def draw_noise(generators: list[torch.Generator], shape: tuple[int, ...]) -> torch.Tensor:
    """Return normal noise (image, *shape), float32, each image's from its own generator."""
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])
