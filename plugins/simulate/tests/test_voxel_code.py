"""What voxels answer: families, forms, and exactly linear answers where a world is linear."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from brainlens_simulate.voxel_code import FAMILIES, VoxelCode, draw_code, noiseless
from brainlens_simulate.world_params import WORLDS, Knobs


def make(knobs: Knobs = WORLDS["N1"], n_voxels: int = 400) -> tuple[VoxelCode, np.ndarray]:
    seen = np.random.default_rng(0).standard_normal((2000, 15)) * np.linspace(0.5, 2, 15) + 3
    return draw_code(knobs, n_voxels, seen, np.random.default_rng(1)), seen


def test_each_family_has_a_quarter_of_the_voxels():
    code, _ = make()
    assert [int((code.family == family).sum()) for family in FAMILIES] == [100] * 4


def test_families_read_their_latents():
    code, _ = make()
    assert (code.first[:11, code.family == "low"] == 0).all()
    assert (code.first[11:, code.family == "semantic"] == 0).all()
    assert (code.first[:, code.family == "mixed"] != 0).all()
    assert (code.first[:, code.family == "null"] == 0).all()


@pytest.mark.parametrize("world", ["N1", "E"])
def test_answers_have_mean_0_and_variance_1_and_null_voxels_none(world):
    code, seen = make(WORLDS[world])
    answers, null = noiseless(code, seen), code.family == "null"
    np.testing.assert_allclose(answers.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(answers[:, ~null].std(axis=0), 1, rtol=1e-9)
    assert (answers[:, null] == 0).all()


def test_linear_voxels_are_exactly_linear():
    code, seen = make()
    a, b = noiseless(code, seen[:50]), noiseless(code, seen[50:100])
    np.testing.assert_allclose(noiseless(code, 0.3 * seen[:50] + 0.7 * seen[50:100]), 0.3 * a + 0.7 * b, atol=1e-9)


def test_even_voxels_do_not_know_the_sign():
    code, seen = make(dataclasses.replace(WORLDS["E"], even=1.0))
    mirrored = 2 * code.seen_mean - seen
    np.testing.assert_allclose(noiseless(code, mirrored), noiseless(code, seen), atol=1e-9)


def test_forms_are_dealt_out_in_the_shares_asked_for():
    code, _ = make(dataclasses.replace(WORLDS["N1"], nonlinear=0.8, even=0.5), 4000)
    sighted = code.form[code.family != "null"]
    for form in ("linear", "energy", "product", "relu", "tanh"):
        assert (sighted == form).mean() == pytest.approx(0.2, abs=0.03)
    assert (code.form[code.family == "null"] == "none").all()


def test_neighbours_are_alike():
    code, seen = make(n_voxels=900)
    answers = noiseless(code, seen)
    sighted = np.flatnonzero(code.family != "null")
    similar = np.corrcoef(answers[:, sighted].T)
    distance = np.abs(code.position[sighted][:, None] - code.position[sighted]).sum(axis=2)
    assert similar[distance == 1].mean() > np.abs(similar[distance > 15]).mean() + 0.1
