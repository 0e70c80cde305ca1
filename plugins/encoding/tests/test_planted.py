"""A world of the plugin `simulate`, whose responses without noise are known: what a good encoder must find."""

from __future__ import annotations

import numpy as np
import pytest

import brainlens

pytest.importorskip("brainlens_simulate")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """World N1, linear in its latents, and an encoder from those; the same with shuffled stimuli as control."""
    registry = brainlens.open(tmp_path_factory.mktemp("world") / "world.zarr", quiet=True)
    registry.ingest("simulate.world", "w", world="N1", n_voxels=60, n_train=500, n_test=120, n_channels=24)
    latents = registry["w/latents"].load()
    shuffled = np.random.default_rng(0).permutation(latents["stimulus"].values)
    registry.put("w/shuffled", latents.assign_coords(stimulus=shuffled))
    for name in ("latents", "shuffled"):
        given = {"features": f"w/{name}", "response": "w/response", "average": "stimulus_id"}
        registry.predict(
            registry.fit("encoding.ridge", name=f"m/{name}", **given), features=f"w/{name}", name=f"p/{name}"
        )
        registry.compute(
            "encoding.score", predicted=f"p/{name}", measured="w/response", n_permutations=500, name=f"s/{name}"
        )
    return registry


def maps(registry, name):
    return registry[f"s/{name}"]["map"].load().to_pandas().T


def expected_ceiling(registry):
    signal = registry["w/response"]["ncsnr"].values ** 2
    return signal / (signal + 1 / 3)


def test_predictions_are_the_responses_without_noise(world):
    predicted, truth = world["p/latents"].load(), world["w/truth"].load()
    new = ~predicted["in_training"].values
    drive = truth["drive"].sel(stimulus=predicted["stimulus_id"].values[new]).values
    found = predicted["response"].values[new]
    r = np.array(
        [np.corrcoef(found[:, site], drive[:, site])[0, 1] for site in np.flatnonzero(expected_ceiling(world) > 0.3)]
    )
    assert len(r) > 20
    assert r.min() > 0.9
    assert r.mean() > 0.97


def test_the_noise_ceiling_is_that_of_the_world(world):
    expected, found = expected_ceiling(world), maps(world, "latents")["noise_ceiling"].values
    good = expected > 0.3
    assert np.corrcoef(found, expected)[0, 1] > 0.9
    np.testing.assert_allclose(found[good].mean(), expected[good].mean(), atol=0.05)


def test_a_good_model_reaches_the_ceiling_and_all_voxels_with_a_signal_are_found(world):
    found, good = maps(world, "latents"), expected_ceiling(world) > 0.3
    assert 0.85 < found["share_of_ceiling"][good].median() < 1.1
    assert (found["q_value"][good] < 0.05).all()


def test_shuffled_stimuli_find_nothing(world):
    found = maps(world, "shuffled")
    assert (found["q_value"] < 0.05).mean() < 0.1
    assert abs(found["correlation"].mean()) < 0.1
