"""The arithmetic against float64 and scikit-learn, in both forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from brainlens_encoding import solver
from sklearn.linear_model import Ridge

ALPHAS = [1e4, 100.0, 1.0, 0.01]
FOLDS = [(0, 9), (9, 20), (20, 30)]


def problem_of(n_features, *, dual, n_trials=30, n_sites=7, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n_trials, n_features))
    responses = features @ rng.standard_normal((n_features, n_sites)) + 3 * rng.standard_normal((n_trials, n_sites))
    features, responses = features - features.mean(axis=0), responses - responses.mean(axis=0)
    space = np.arange(n_features) % 2
    problem = solver.make_problem(
        torch.from_numpy(features.astype(np.float32)), torch.from_numpy(space), folds=FOLDS, dual=dual
    )
    return problem, features, responses, space


# Held-out trials are more than features, fewer, or the features are more than all trials, where only one form is used.
FORMS = [(False, 6), (False, 12), (True, 6), (True, 50)]


@pytest.mark.parametrize(("dual", "n_features"), FORMS)
@pytest.mark.parametrize("scaling", [(1.0, 1.0), (0.9, 0.1), (1.0, 0.0)])
def test_held_out_errors_are_those_of_scikit_learn(dual, n_features, scaling):
    problem, features, responses, space = problem_of(n_features, dual=dual)
    scaled = features * np.sqrt(scaling)[space]
    decomposed = solver.decompose_folds(problem, torch.tensor(scaling), n_alphas=len(ALPHAS))
    errors, null = solver.score_sites(problem, decomposed, torch.from_numpy(responses.astype(np.float32)), ALPHAS)
    expected, nothing = np.zeros(errors.shape), np.zeros(null.shape)
    for start, stop in FOLDS:
        train = np.r_[0:start, stop:30]
        nothing += ((responses[start:stop] - responses[train].mean(axis=0)) ** 2).sum(axis=0)
        for row, alpha in enumerate(ALPHAS):
            model = Ridge(alpha=alpha).fit(scaled[train], responses[train])
            expected[row] += ((model.predict(scaled[start:stop]) - responses[start:stop]) ** 2).sum(axis=0)
    np.testing.assert_allclose(errors, expected, rtol=2e-4)
    np.testing.assert_allclose(null, nothing, rtol=1e-5)


@pytest.mark.parametrize(("dual", "n_features"), FORMS)
def test_weights_are_those_of_scikit_learn(dual, n_features):
    problem, features, responses, space = problem_of(n_features, dual=dual)
    scaling, alphas = torch.tensor([0.7, 0.3]), torch.tensor([0.5, 1, 2, 10, 100, 1e3, 1e4])
    decomposed = solver.decompose_all(problem, scaling)
    found = solver.fit_sites(
        problem, decomposed, torch.from_numpy(responses.astype(np.float32)), scaling=scaling, alphas=alphas
    )
    root = np.sqrt([0.7, 0.3])[space]
    model = Ridge(alpha=alphas.numpy(), fit_intercept=False).fit(features * root, responses)
    expected = model.coef_.T * root[:, None]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_the_smaller_form_is_taken():
    features = torch.zeros((5, 8))
    assert solver.make_problem(features, torch.zeros(8, dtype=torch.int64), folds=[(0, 5)]).dual
    assert not solver.make_problem(features.T, torch.zeros(5, dtype=torch.int64), folds=[(0, 8)]).dual


def test_float32_keeps_the_digits_of_float64():
    """Nearly collinear features on an offset: float32 Gram matrices would lose the small directions."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal((400, 1))
    features = common + 1e-2 * rng.standard_normal((400, 20))
    features -= features.mean(axis=0)
    responses = features @ rng.standard_normal((20, 5)) + 0.01 * rng.standard_normal((400, 5))
    responses -= responses.mean(axis=0)
    features32 = torch.from_numpy(features.astype(np.float32))
    problem = solver.make_problem(features32, torch.zeros(20, dtype=torch.int64), folds=[(0, 400)])
    scaling = torch.ones(1)
    found = solver.fit_sites(
        problem, solver.decompose_all(problem, scaling), torch.from_numpy(responses.astype(np.float32)),
        scaling=scaling, alphas=torch.full((5,), 1e-3),
    )  # fmt: skip
    exact = features.T @ features + 1e-3 * np.eye(20)
    expected = features @ np.linalg.solve(exact, features.T @ responses)
    np.testing.assert_allclose(features @ found.numpy(), expected, atol=2e-4 * np.abs(expected).max())


def test_many_penalties_at_once_have_the_errors_of_each_by_itself():
    problem, _, responses, _ = problem_of(6, dual=False)
    alphas = np.geomspace(1e-3, 1e6, 12).tolist()
    found = []
    for n_alphas in (12, 1):
        decomposed = solver.decompose_folds(problem, torch.tensor([1.0, 0.5]), n_alphas=n_alphas)
        assert all((fold.fractions is None) == (n_alphas == 1) for fold in decomposed)
        found.append(solver.score_sites(problem, decomposed, torch.from_numpy(responses).float(), alphas)[0])
    together, each = found
    torch.testing.assert_close(together, each, rtol=1e-5, atol=1e-4)


def test_features_that_depend_on_each_other_have_the_errors_of_the_dual_form():
    rng = np.random.default_rng(5)
    few = rng.standard_normal((90, 4))
    features = np.concatenate([few, few @ rng.standard_normal((4, 6))], axis=1)
    features -= features.mean(axis=0)
    responses = few @ rng.standard_normal((4, 3)) + rng.standard_normal((90, 3))
    responses -= responses.mean(axis=0)
    given = (torch.from_numpy(features).float(), torch.zeros(10, dtype=torch.long))
    scaling, folds, alphas = torch.ones(1, dtype=torch.float64), [(0, 45), (45, 90)], [0.01, 0.1, 1.0, 10.0]
    found = []
    for dual in (False, True):
        problem = solver.make_problem(*given, folds=folds, dual=dual)
        decomposed = solver.decompose_folds(problem, scaling, n_alphas=len(alphas))
        found.append(solver.score_sites(problem, decomposed, torch.from_numpy(responses).float(), alphas)[0])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-3)
