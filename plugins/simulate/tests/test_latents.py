"""Statistics of simulated images and embeddings."""

from __future__ import annotations

import numpy as np
import pytest
from brainlens_simulate.latents import VARIANCE_SHARES, LatentSpace, draw_latents, draw_space, embed, see
from brainlens_simulate.world_params import WORLDS, Knobs

import brainlens


def make(knobs: Knobs, n_images: int = 4000) -> tuple[LatentSpace, np.ndarray, np.ndarray]:
    space = draw_space(knobs, 256, np.random.default_rng(0))
    latents = draw_latents(space, n_images, np.random.default_rng(1))
    return space, latents, embed(space, latents)


def explained(known: np.ndarray, wanted: np.ndarray) -> float:
    """Return the share of variance that ridge explains in the second half."""
    half = len(known) // 2
    model = brainlens.fit_ridge(known[:half], wanted[:half])
    left = ((model.predict(known[half:]) - wanted[half:]) ** 2).sum()
    return float(1 - left / ((wanted[half:] - wanted[:half].mean(axis=0)) ** 2).sum())


@pytest.mark.parametrize("world", ["A", "N1", "K", "F"])
def test_embeddings_are_unit_vectors_in_a_cone(world):
    _, _, embedding = make(WORLDS[world])
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, rtol=1e-12)
    cosine = embedding[:2000] @ embedding[2000:].T
    assert cosine.mean() == pytest.approx(0.58, abs=0.02)


def test_latents_have_mean_0_and_variance_1():
    _, latents, _ = make(WORLDS["A"], 40_000)
    np.testing.assert_allclose(latents.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(latents.var(axis=0), 1, atol=0.1)


def test_concepts_of_a_group_go_together_and_five_are_independent():
    knobs = WORLDS["A"]
    many = np.corrcoef(make(knobs, 20_000)[1][:, : knobs.n_concepts].T)
    assert many[0, 5] > 0.15
    assert abs(many[0, 1]) < 0.05
    five = np.corrcoef(make(WORLDS["N1"], 20_000)[1][:, :5].T)
    assert np.abs(five - np.eye(5)).max() < 0.05


def test_a_concept_is_absent_in_most_images():
    _, latents, _ = make(WORLDS["N1"])
    absent = (latents[:, :5] == latents[:, :5].min(axis=0)).mean(axis=0)
    assert ((absent > 0.65) & (absent < 0.97)).all()


def test_shares_of_the_variance_are_as_said():
    knobs = WORLDS["A"]
    space, _, _ = make(knobs)
    edges = np.cumsum([knobs.n_concepts, knobs.n_attributes, knobs.n_low_level])
    np.testing.assert_allclose([part.sum() for part in np.split(space.amplitudes**2, edges)], VARIANCE_SHARES)


def test_axes_are_orthonormal_and_the_offset_is_none_of_them():
    space, _, _ = make(WORLDS["A"])
    np.testing.assert_allclose(space.axes @ space.axes.T, np.eye(len(space.axes)), atol=1e-12)
    np.testing.assert_allclose(space.axes @ space.offset, 0, atol=1e-12)


def test_a_linear_world_shows_coordinates_of_the_embedding_and_nothing_private():
    space, latents, embedding = make(WORLDS["N1"])
    seen = see(space, latents, embedding)
    np.testing.assert_allclose(seen, embedding @ space.axes[:15].T)
    assert np.corrcoef(seen[:, 6], latents[:, 6])[0, 1] > 0.95


def test_a_curved_embedding_has_nothing_linear_of_what_is_seen():
    space, latents, embedding = make(WORLDS["K"], 8000)
    seen = see(space, latents, embedding)
    assert abs(explained(seen, embedding)) < 0.005
    offset = space.offset / np.linalg.norm(space.offset)
    along = (embedding @ offset)[:, None]
    # Scaling to length 1 leaves a trace along the offset, where embeddings hardly vary; nowhere else.
    assert along.var() < 0.01 * embedding.var(axis=0).sum()
    assert abs(explained(seen, embedding - along * offset)) < 0.002
    assert abs(explained(embedding - along * offset, seen)) < 0.02


def test_but_it_has_the_rest():
    """Close neighbours in what is seen are close in the embedding, up to what is private."""
    knobs = Knobs(n_concepts=1, n_attributes=1, n_low_level=1, n_private=0, curve=1.0)
    space, latents, embedding = make(knobs)
    nearby = embed(space, latents + 0.01)
    assert (embedding * nearby).sum(axis=1).min() > 0.99


def test_half_a_curve_leaves_half_of_the_variance_linear():
    knobs = Knobs(n_concepts=5, n_attributes=6, n_low_level=4, n_private=0, curve=0.5)
    space, latents, embedding = make(knobs)
    assert explained(latents, embedding) == pytest.approx(0.5, abs=0.06)
