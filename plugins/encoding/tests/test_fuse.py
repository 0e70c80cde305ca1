from __future__ import annotations

import numpy as np
import pytest

import brainlens


@pytest.fixture
def spaces(registry, study):
    """Two feature spaces, the second with tokens and its stimuli in another order."""
    values = study["noise"]["embedding"].values[::-1].reshape(-1, 3, 4)
    grid = (
        study["noise"]
        .drop_vars(["embedding", "channel", "stimulus"])
        .assign(embedding=(("stimulus", "token", "channel"), values))
    )
    registry.put(
        "grid", grid.assign_coords(stimulus=study["noise"]["stimulus"].values[::-1]).assign_attrs(model="grid")
    )
    return registry


def test_spaces_lie_side_by_side_by_stimulus(spaces, study):
    made = spaces[spaces.compute("encoding.fuse", embeddings=["target", "grid"])].load()
    expected = np.concatenate([study["target"]["embedding"].values, study["noise"]["embedding"].values], axis=1)
    np.testing.assert_array_equal(made["embedding"].values, expected)
    np.testing.assert_array_equal(made["stimulus"].values, study["target"]["stimulus"].values)
    assert made["feature_space"].values.tolist() == ["simulated"] * 12 + ["grid"] * 12
    assert (made.attrs["model"], made.attrs["simulated"]) == ("simulated + grid", 1)


def test_a_projection_has_the_size_that_was_asked_for_and_keeps_distances(spaces, study):
    made = spaces[spaces.compute("encoding.fuse", embeddings=["target"], n_channels=400)]
    assert made.attrs["model"] == "400 random channels of simulated, seed 0"
    wide, few = made["embedding"].values / np.sqrt(400 / 12), study["target"]["embedding"].values
    kept = np.linalg.norm(wide[1:] - wide[0], axis=1) / np.linalg.norm(few[1:] - few[0], axis=1)
    np.testing.assert_allclose(kept.mean(), 1, atol=0.05)
    assert kept.std() < 0.1


def test_seeds_decide_the_projection(spaces):
    given = {"embeddings": ["target"], "n_channels": 3}
    first, again, other = (
        spaces[spaces.compute("encoding.fuse", **given, seed=seed, name=f"seed/{number}")]["embedding"].values
        for number, seed in enumerate((1, 1, 2))
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_products_depend_on_both_and_multiply_inner_products(spaces, study):
    given = {"embeddings": ["target", "noise"], "n_channels": 20_000, "products": True}
    made = spaces[spaces.compute("encoding.fuse", **given)]
    assert made.attrs["model"] == "20000 random products of simulated x noise, seed 0"
    assert "feature_space" not in made.coords
    values = made["embedding"].values[:8].astype(np.float64)
    one, other = (study[name]["embedding"].values[:8].astype(np.float64) for name in ("target", "noise"))
    expected = (one @ one.T) * (other @ other.T) / 12**2
    found = values @ values.T / 20_000
    np.testing.assert_allclose(found, expected, atol=0.1 * expected.max())
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


def test_products_need_two_spaces_and_a_size(spaces):
    text = "^embeddings: expected two or more with products, found 'simulated' alone. Name another, or leave out"
    with pytest.raises(brainlens.ParameterError, match=text):
        spaces.compute("encoding.fuse", embeddings=["target"], n_channels=4, products=True)
    with pytest.raises(brainlens.ParameterError, match="n_channels: expected at least 1 with products, found 0"):
        spaces.compute("encoding.fuse", embeddings=["target", "noise"], products=True)


def test_fused_features_are_a_space_of_their_own(spaces):
    spaces.compute("encoding.fuse", embeddings=["target", "grid"], model="fused", name="fused")
    spaces.fit("encoding.ridge", features="fused", response="response", alphas=(10.0,), name="m")
    assert spaces["m"].attrs["model"] == "fused"
    with pytest.raises(brainlens.DimensionError, match="^model 'm': expected features of 'fused', found 'simulated'"):
        spaces.predict("m", features="target")


def test_another_projection_is_another_space(spaces):
    for seed in (0, 1):
        spaces.compute("encoding.fuse", embeddings=["target"], n_channels=6, seed=seed, name=f"fused{seed}")
    spaces.fit("encoding.ridge", features="fused0", response="response", alphas=(10.0,), name="m")
    with pytest.raises(brainlens.DimensionError, match="expected features of '6 random channels of simulated, seed 0'"):
        spaces.predict("m", features="fused1")


def test_other_stimuli_and_repeats_are_refused(spaces, study):
    spaces.put("few", study["noise"].isel(stimulus=slice(4)))
    text = "^embedding 'noise': expected the 100 stimuli of 'simulated', found 4, of which 96 are missing: "
    with pytest.raises(brainlens.DimensionError, match=text):
        spaces.compute("encoding.fuse", embeddings=["target", "few"])
    with pytest.raises(brainlens.ParameterError, match="^embeddings: expected each once, found 'simulated' twice."):
        spaces.compute("encoding.fuse", embeddings=["target", "target"])
    trials = study["target"].rename(stimulus="trial").assign_coords(stimulus_id=("trial", np.arange(100)))
    spaces.put("trials", trials)
    with pytest.raises(
        brainlens.DimensionError, match="^embedding 'simulated': expected a dim 'stimulus', found trial"
    ):
        spaces.compute("encoding.fuse", embeddings=["trials"])
