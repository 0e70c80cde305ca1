from __future__ import annotations

import numpy as np
import pytest
import torch
from brainlens_encoding import sites, solver

import brainlens

ALPHAS = (0.1, 10.0, 1000.0)


def make(n_sites=11, n_trials=40, n_features=6):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((n_trials, n_features)).astype(np.float32)
    features -= features.mean(axis=0)
    responses = 5 + features @ rng.standard_normal((n_features, n_sites)) + rng.standard_normal((n_trials, n_sites)) * 2
    problem = solver.make_problem(
        torch.from_numpy(features), torch.from_numpy(np.arange(n_features) % 2), folds=[(0, 20), (20, 40)]
    )
    return problem, responses.astype(np.float32)


def run(problem, responses, budget, *, scalings=None, alpha_per="site", n_workers=0):
    scalings = np.array([[0.5, 0.5], [1, 0], [0.2, 0.8]]) if scalings is None else scalings
    read = lambda columns: responses[:, columns]  # noqa: E731
    choice = sites.choose(
        problem, read, responses.shape[1], alphas=ALPHAS, scalings=scalings, alpha_per=alpha_per, budget=budget,
        context=brainlens.Context(), n_workers=n_workers,
    )  # fmt: skip
    fitted = sites.fit(
        problem, read, choice, scalings=scalings, budget=budget, context=brainlens.Context(), n_workers=n_workers
    )
    return choice, *fitted


def test_batches_make_no_difference():
    problem, responses = make()
    whole = run(problem, responses, sites.Budget(read=100, solve=100))
    parts = run(problem, responses, sites.Budget(read=4, solve=3))
    np.testing.assert_array_equal(whole[0].alpha, parts[0].alpha)
    np.testing.assert_array_equal(whole[0].scaling, parts[0].scaling)
    np.testing.assert_allclose(whole[1], parts[1], atol=1e-5)
    np.testing.assert_allclose(whole[2], responses.mean(axis=0), rtol=1e-5)
    assert len(set(whole[0].alpha.tolist())) > 1


@pytest.mark.parametrize("scalings", [None, np.ones((1, 2))])
def test_workers_come_to_the_same_numbers(scalings):
    problem, responses = make()
    budget = sites.Budget(read=4, solve=3)
    alone = run(problem, responses, budget, scalings=scalings)
    spread = run(problem, responses, budget, scalings=scalings, n_workers=2)
    np.testing.assert_array_equal(alone[0].alpha, spread[0].alpha)
    np.testing.assert_array_equal(alone[0].scaling, spread[0].scaling)
    np.testing.assert_allclose(alone[0].score, spread[0].score, rtol=1e-5)
    np.testing.assert_allclose(alone[1], spread[1], atol=1e-6)
    np.testing.assert_array_equal(alone[2], spread[2])


def test_no_more_sites_are_read_at_once_than_the_budget_allows():
    problem, responses = make()
    seen = []

    def read(columns):
        seen.append(columns.stop - columns.start)
        return responses[:, columns]

    budget = sites.Budget(read=3, solve=2)
    choice = sites.choose(
        problem, read, 11, alphas=ALPHAS, scalings=np.ones((1, 2)), alpha_per="site", budget=budget,
        context=brainlens.Context(),
    )  # fmt: skip
    sites.fit(problem, read, choice, scalings=np.ones((1, 2)), budget=budget, context=brainlens.Context())
    assert seen == [3, 3, 3, 2] * 2


@pytest.mark.parametrize("memory_mb", [0.001, 1, 64])
def test_a_budget_is_kept(memory_mb):
    problem, _ = make()
    budget = sites.make_budget(problem, memory_mb=memory_mb)
    assert budget.read >= 1
    assert 1 <= budget.solve <= sites.MOST_COLUMNS
    assert budget.read == 1 or budget.read * 40 * 4 * 3 <= memory_mb * 2**19


def test_one_penalty_and_scaling_need_no_choice():
    problem, responses = make()
    choice = sites.choose(
        problem, lambda columns: responses[:, columns], 11, alphas=(5.0, 5.0), scalings=np.ones((1, 2)),
        alpha_per="site", budget=sites.Budget(read=5, solve=5), context=brainlens.Context(),
    )  # fmt: skip
    assert choice.score is None
    assert choice.alpha.tolist() == [5.0] * 11


def test_all_sites_together_choose_what_is_best_on_average():
    problem, responses = make()
    budget = sites.Budget(read=4, solve=4)
    together = run(problem, responses, budget, alpha_per="all")[0]
    assert len(set(together.alpha.tolist())) == len(set(together.scaling.tolist())) == 1
    means = []
    for scaling in [[0.5, 0.5], [1, 0], [0.2, 0.8]]:
        for alpha in ALPHAS:
            decomposed = solver.decompose_folds(problem, torch.tensor(scaling, dtype=torch.float64), n_alphas=1)
            centred = torch.from_numpy(responses - responses.mean(axis=0))
            errors, null = solver.score_sites(problem, decomposed, centred, [alpha])
            means.append((float((1 - errors[0] / null).mean()), alpha))
    best = max(means)
    assert together.alpha[0] == best[1]
    np.testing.assert_allclose(together.score, best[0], rtol=1e-4)


def test_a_constant_site_has_no_score_and_its_mean_as_prediction():
    problem, responses = make()
    responses[:, 4] = 0.1
    choice, weights, mean = run(problem, responses, sites.Budget(read=4, solve=4))
    assert np.isnan(choice.score).tolist() == [number == 4 for number in range(11)]
    assert (weights[:, 4] == 0).all()
    assert mean[4] == np.float32(0.1)


def test_constant_sites_only_are_refused():
    problem, responses = make()
    text = "^response: expected a site that varies over the 40 training trials, found 11 constant ones."
    with pytest.raises(brainlens.DimensionError, match=text):
        run(problem, np.ones_like(responses), sites.Budget(read=4, solve=4))
