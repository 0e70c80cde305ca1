from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_diffusion.seeds import choose_seeds, draw_noise, make_generators, noise_seeds

import brainlens

Make = Callable[..., xr.Dataset]


def with_seeds(embedding: xr.Dataset, seeds: object) -> xr.Dataset:
    values = np.asarray(seeds)
    return embedding.assign_coords(noise_seed=(("trial", "candidate")[: values.ndim], values))


def test_seeds_differ_between_trials_and_candidates() -> None:
    assert len(np.unique(noise_seeds(brainlens.Context(seed=1), 50, 8))) == 400


def test_seeds_are_those_of_the_other_generator(random_embedding: Make, context: brainlens.Context) -> None:
    other = pytest.importorskip("brainlens_mini.generator")
    np.testing.assert_array_equal(choose_seeds(random_embedding(4), context, 3), other.noise_seeds(context, 5, 3))


def test_seeds_that_an_embedding_brings_are_taken(random_embedding: Make, context: brainlens.Context) -> None:
    embedding = random_embedding(4)
    drawn = choose_seeds(embedding, context, 2)
    brought = with_seeds(embedding, drawn).isel(trial=[3, 1])
    np.testing.assert_array_equal(choose_seeds(brought, brainlens.Context(seed=77), 2), drawn[[3, 1]])
    single = with_seeds(embedding, [5, 4, 3, 2, 1])
    assert choose_seeds(single, context, 1).tolist() == [[5], [4], [3], [2], [1]]


def test_seeds_go_through_a_registry(random_embedding: Make, tmp_path: Path) -> None:
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    for name, seeds in (("one", np.arange(5)), ("two", np.arange(10).reshape(5, 2))):
        registry.put(name, with_seeds(random_embedding(4), seeds))
        np.testing.assert_array_equal(
            choose_seeds(registry[name], brainlens.Context(), seeds.size // 5), seeds.reshape(5, -1)
        )


def test_seeds_of_a_stimulus_are_taken(random_embedding: Make, context: brainlens.Context) -> None:
    of_stimuli = random_embedding(4).drop_vars("stimulus_id").rename(trial="stimulus")
    given = of_stimuli.assign_coords(noise_seed=("stimulus", np.arange(5)))
    assert choose_seeds(given, context, 1).ravel().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("seeds", [np.arange(5), np.arange(15).reshape(5, 3)])
def test_as_many_seeds_as_candidates_are_expected(
    random_embedding: Make, context: brainlens.Context, seeds: np.ndarray
) -> None:
    given = with_seeds(random_embedding(4), seeds)
    with pytest.raises(brainlens.DimensionError) as caught:
        choose_seeds(given, context, 2)
    assert str(caught.value) == (
        "noise_seed of the embedding: expected dims (trial) or (trial, candidate) with 2 for each trial, found "
        f"{dict(given['noise_seed'].sizes)}. Set 'n_candidates' to how many seeds there are, or "
        "leave them out by drop_vars('noise_seed')."
    )


def test_seeds_of_other_dims_are_refused(random_embedding: Make, context: brainlens.Context) -> None:
    embedding = random_embedding(5)
    for given in (
        embedding.assign_coords(noise_seed=7),
        embedding.assign_coords(noise_seed=("channel", np.arange(5))),
        embedding.assign_coords(noise_seed=(("candidate", "trial"), np.zeros((1, 5), int))),
    ):
        with pytest.raises(brainlens.DimensionError, match="noise_seed of the embedding: expected dims"):
            choose_seeds(given, context, 1)


@pytest.mark.parametrize("seeds", [[-1, 0, 1, 2, 3], [0.5] * 5, np.full(5, 2**63, np.uint64)])
def test_what_is_no_seed_is_refused(random_embedding: Make, context: brainlens.Context, seeds: object) -> None:
    with pytest.raises(brainlens.ParameterError, match=r"expected whole numbers from 0 to 2\*\*63 - 1, found"):
        choose_seeds(with_seeds(random_embedding(4), seeds), context, 1)


def test_noise_depends_on_its_seed_alone() -> None:
    together, alone = (draw_noise(make_generators(np.array(seeds)), (4, 8, 8)) for seeds in ([5, 6, 7], [7]))
    assert torch.equal(together[2:], alone)
    assert not torch.equal(together[0], together[1])
    assert torch.equal(alone[0], torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(7)))
