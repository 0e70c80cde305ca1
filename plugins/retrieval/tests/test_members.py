"""Rules of members, against the components that rank by them alone, and what they are learnt without."""

from __future__ import annotations

import numpy as np
import pytest
from brainlens_retrieval.likelihood import make_features
from brainlens_retrieval.members import (
    RULES,
    Member,
    centred_cosine,
    direction_lda,
    encoder,
    left_out_pools,
    projection,
    stored_encoder,
)
from brainlens_retrieval.rules import error_rule
from scipy import stats
from sklearn.metrics.pairwise import cosine_similarity

import brainlens

QUIET = brainlens.Context(quiet=True)


def training(n: int = 80, n_values: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.standard_normal((n, n_values)) + 3
    return true + 0.5 * rng.standard_normal(true.shape), true


def unread(rows: np.ndarray) -> np.ndarray:
    raise AssertionError(f"candidates {rows} were read for the weights")


def test_a_cosine_is_about_the_mean_of_the_targets():
    decoded, true = training()
    other, candidates = training(7, seed=1)
    expected = cosine_similarity(other - true.mean(axis=0), candidates - true.mean(axis=0))
    np.testing.assert_allclose(centred_cosine(decoded, true)(other, candidates), expected, atol=1e-12)


def test_a_projection_is_that_cosine_times_the_length_of_what_was_decoded():
    decoded, true = training()
    other, candidates = training(7, seed=1)
    length = np.linalg.norm(other - true.mean(axis=0), axis=1, keepdims=True)
    expected = length * centred_cosine(decoded, true)(other, candidates)
    np.testing.assert_allclose(projection(decoded, true)(other, candidates), expected, atol=1e-12)


def test_the_lda_of_directions_takes_no_notice_of_how_long_candidates_are():
    decoded, true = training()
    other, candidates = training(7, seed=1)
    centre = true.mean(axis=0)
    learnt = direction_lda(decoded, true)
    found = learnt(other, candidates)
    np.testing.assert_allclose(learnt(other, centre + 2 * (candidates - centre)), found, atol=1e-9)
    rows = [(each - centre) / np.linalg.norm(each - centre, axis=1, keepdims=True) for each in (true, candidates)]
    expected = error_rule(decoded, rows[0]).log_likelihood(other, rows[1])
    away = [each - each.mean(axis=1, keepdims=True) for each in (found, expected)]
    np.testing.assert_allclose(away[0], away[1], rtol=1e-6, atol=1e-6)


def test_a_direction_that_is_not_there_is_not_a_number():
    decoded, true = training()
    found = projection(decoded, true)(decoded[:2], np.stack([true[0], true.mean(axis=0)]))
    assert np.isfinite(found[:, 0]).all()
    assert np.isnan(found[:, 1]).all()


@pytest.mark.parametrize("n_rectified", [0, 20])
def test_an_encoder_scores_by_the_density_of_its_own_errors(n_rectified):
    true = training(200)[1]
    rng = np.random.default_rng(3)
    response = true @ rng.standard_normal((4, 6)) + rng.standard_normal((200, 6))
    score = encoder(n_rectified, lambda: np.random.default_rng(5))(response, true)
    features = make_features(true, n_rectified=n_rectified, rng=np.random.default_rng(5))
    ridge = brainlens.fit_ridge(features(true), response)
    std, shared = brainlens.shrink_covariance(response - ridge.left_out - (response - ridge.left_out).mean(axis=0))
    inverse = np.linalg.inv(np.diag(std**2) + shared.T @ shared)
    away = response[:9, None] - ridge.predict(features(true[:11]))
    expected = -np.einsum("icv,vw,icw->ic", away, inverse, away) / 2
    found = score(response[:9], true[:11])
    np.testing.assert_allclose(found - found[:, :1], expected - expected[:, :1], atol=1e-8)


def test_a_stored_encoder_scores_by_the_density_of_its_errors_on_what_it_had_not_met():
    rng = np.random.default_rng(0)
    predicted = rng.standard_normal((4000, 3))
    mixing = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 2.0]])
    response = predicted + 7 + rng.standard_normal((4000, 3)) @ mixing
    score = stored_encoder(response, predicted)
    law = stats.multivariate_normal(np.full(3, 7), mixing.T @ mixing)
    expected = np.array([[law.logpdf(one - other) for other in predicted[:8]] for one in response[:9]])
    found = score(response[:9], predicted[:8])
    np.testing.assert_allclose(found - found[:, :1], expected - expected[:, :1], rtol=0.1, atol=0.3)


def test_every_stimulus_is_scored_once_among_its_fold_by_a_rule_that_has_not_met_it():
    decoded, true = training(50)
    fold = np.arange(50) % 3
    learnt: list[set[float]] = []

    def learn(evidence: np.ndarray, known: np.ndarray):
        learnt.append(set(known[:, 0]))

        def score(tested: np.ndarray, candidates: np.ndarray) -> np.ndarray:
            assert not learnt[-1] & set(candidates[:, 0])
            # Which trial it is and which candidate, to be looked up below.
            return tested[:, :1] + 1j * candidates[:, 0]

        return score

    spy = Member("spy", lambda *rows: lambda *each: learn(*rows)(*each).real, decoded, decoded[:1], true, unread)
    pools = left_out_pools([spy], fold, pool_size=6, context=QUIET)
    assert all(2 <= len(pool) <= 6 for pool in pools)
    rows = np.concatenate([pool[:, 0, 0] for pool in pools])
    assert sorted(rows) == sorted(decoded[:, 0])
    assert {len(each) for each in learnt} == {50 - 17, 50 - 16}


def test_a_fold_is_one_pool_where_it_is_small_enough():
    decoded, true = training(30)
    members = [Member(name, rule, decoded, decoded[:1], true, unread) for name, rule in RULES.items()]
    pools = left_out_pools(members, np.arange(30) % 2, pool_size=15, context=QUIET)
    assert [pool.shape for pool in pools] == [(15, 15, 4)] * 2
    kept, held = slice(1, None, 2), slice(0, None, 2)
    for column, rule in enumerate(RULES.values()):
        expected = rule(decoded[kept], true[kept])(decoded[held], true[held])
        np.testing.assert_allclose(pools[0][..., column], expected)
