"""Both forms of the solution against each other and against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from brainlens_linear import solver


def made(n_trials, n_voxels, n_targets=4, *, dual, n_bands=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    responses = torch.randn(n_trials, n_voxels, generator=generator)
    targets = torch.randn(n_trials, n_targets, generator=generator)
    folds = [(0, n_trials // 3), (n_trials // 3, n_trials // 2), (n_trials // 2, n_trials)]
    band = torch.arange(n_voxels) % n_bands
    problem = solver.prepare(responses - responses.mean(0), band, folds=folds, dual=dual)
    return problem, targets - targets.mean(0)


@pytest.mark.parametrize(("n_trials", "n_voxels"), [(40, 7), (24, 24), (20, 50)])
@pytest.mark.parametrize("scaling", [(1.0, 1.0), (0.1, 1.0), (1.0, 0.0)])
def test_primal_and_dual_agree_on_errors_and_weights(n_trials, n_voxels, scaling):
    alphas, scaling = (0.5, 5.0, 500.0), torch.tensor(scaling)
    results = []
    for dual in (False, True):
        problem, targets = made(n_trials, n_voxels, dual=dual, n_bands=2)
        errors, null = solver.score_batch(problem, solver.find_bases(problem, scaling), targets, alphas)
        each = torch.tensor([0.5, 5.0, 500.0, 5.0])
        factored = solver.solve(solver.scaled_gram(problem, scaling), each)
        weights = solver.fit_batch(problem, factored, targets, scaling=scaling, alphas=each)
        weights = solver.weights_of(problem, weights, scaling) if dual else weights
        results.append((errors.numpy(), null.numpy(), weights.numpy()))
    for primal, dual in zip(*results, strict=True):
        np.testing.assert_allclose(dual, primal, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dual", [False, True])
def test_one_penalty_and_several_solve_the_same_equations(dual):
    problem, targets = made(30, 20, dual=dual)
    scaling, gram = torch.ones(1), solver.scaled_gram(problem, torch.ones(1))
    same = torch.full((4,), 2.0)
    mixed = torch.tensor([2.0, 2.0, 2.0, 3.0])
    by_cholesky = solver.fit_batch(problem, solver.solve(gram, same), targets, scaling=scaling, alphas=same)
    by_eigenvectors = solver.fit_batch(problem, solver.solve(gram, mixed), targets, scaling=scaling, alphas=mixed)
    np.testing.assert_allclose(by_cholesky[:, :3], by_eigenvectors[:, :3], atol=1e-5)
    assert not np.allclose(by_cholesky[:, 3], by_eigenvectors[:, 3], atol=1e-3)


def test_a_gram_matrix_below_zero_by_rounding_is_solved_all_the_same():
    gram = torch.diag(torch.tensor([-1e-3, 1.0, 2.0], dtype=torch.float64))
    solved = solver.solve(gram, torch.full((2,), 1e-4)).apply(torch.ones(3, 2), torch.full((2,), 1e-4))
    np.testing.assert_allclose(solved[1:, 0], [1 / 1.0001, 1 / 2.0001], rtol=1e-5)
    assert torch.isfinite(solved).all()


@pytest.mark.parametrize("dual", [False, True])
def test_errors_of_held_out_trials_equal_numpy(dual):
    problem, targets = made(40, 7, dual=dual)
    errors, null = solver.score_batch(problem, solver.find_bases(problem, torch.ones(1)), targets, (3.0,))
    x, y = problem.centred.double().numpy(), targets.double().numpy()
    expected, expected_null = np.zeros(4), np.zeros(4)
    for start, stop in problem.folds:
        test = np.zeros(40, dtype=bool)
        test[start:stop] = True
        xm, ym = x[~test].mean(0), y[~test].mean(0)
        weights = np.linalg.solve(
            (x[~test] - xm).T @ (x[~test] - xm) + 3 * np.eye(7), (x[~test] - xm).T @ (y[~test] - ym)
        )
        expected += ((y[test] - ym - (x[test] - xm) @ weights) ** 2).sum(0)
        expected_null += ((y[test] - ym) ** 2).sum(0)
    np.testing.assert_allclose(errors[0], expected, rtol=1e-5)
    np.testing.assert_allclose(null, expected_null, rtol=1e-5)


@pytest.mark.parametrize("rank", [1, 5])
def test_responses_of_low_rank_are_no_problem(rank):
    generator = torch.Generator().manual_seed(0)
    responses = torch.randn(30, rank, generator=generator) @ torch.randn(rank, 10, generator=generator)
    targets = torch.randn(30, 2, generator=generator)
    results = []
    for dual in (False, True):
        problem = solver.prepare(
            responses - responses.mean(0), torch.zeros(10, dtype=torch.long), folds=[(0, 15), (15, 30)], dual=dual
        )
        bases = solver.find_bases(problem, torch.ones(1))
        results.append(solver.score_batch(problem, bases, targets - targets.mean(0), (0.1, 10.0))[0])
    np.testing.assert_allclose(results[1], results[0], rtol=1e-3)


@pytest.mark.parametrize("dual", [False, True])
def test_large_gram_matrices_are_handled_in_float32(monkeypatch, dual):
    scaling, alphas = torch.ones(1), torch.full((4,), 2.0)
    fitted = []
    for limit in (4096, 10):
        monkeypatch.setattr(solver, "DOUBLE_UP_TO", limit)
        problem, targets = made(30, 20, dual=dual)
        factored = solver.solve(solver.scaled_gram(problem, scaling), alphas)
        errors, _ = solver.score_batch(problem, solver.find_bases(problem, scaling), targets, (2.0,))
        weights = solver.fit_batch(problem, factored, targets, scaling=scaling, alphas=alphas)
        fitted.append((problem.grams[0].dtype, factored.factor.dtype, errors, weights))
    double, single = fitted
    assert double[:2] == (torch.float64, torch.float64)
    assert single[:2] == (torch.float32, torch.float32)
    for expected, found in zip(double[2:], single[2:], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
