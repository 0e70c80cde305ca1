"""Sums over folds: those that the ridge of the core gives set by set, and the same in any grouping of sets."""

from __future__ import annotations

import numpy as np
import pytest
from brainlens_roi.cases import prepare
from brainlens_roi.decode import _pose
from brainlens_roi.params import DecodeParams
from brainlens_roi.tally import Problem, tally

import brainlens
from brainlens.testing import synthetic_study

CONTEXT = brainlens.Context(seed=1)


@pytest.fixture(scope="module")
def study():
    """Return a study with more sites than training rows, so that kernels are summed."""
    return synthetic_study(n_stimuli=40, n_voxels=150)


def posed(study, **given) -> Problem:
    params = DecodeParams(**{"n_permutations": 0, **given})
    return _pose(study["response"], study["target"], params, CONTEXT)[0]


def by_hand(study, sites: np.ndarray, standardize: str) -> tuple[float, float]:
    """Return two-way identification and R2 by the functions of the core, fold by fold."""
    rows, cases = prepare(study["response"], study["target"], DecodeParams(standardize=standardize), CONTEXT)
    values, shown = rows["response"].values[:, sites].astype(np.float64), cases.items[cases.code]
    identified, errors, spread = [], 0.0, 0.0
    for fold in cases.folds:
        scale = values[fold.train].std(axis=0) if standardize == "training" else 1
        fitted = brainlens.fit_ridge(values[fold.train] / scale, shown[fold.train])
        mean = shown[fold.train].mean(axis=0)
        decoded, truth = fitted.predict(values[fold.test] / scale) - mean, shown[fold.test] - mean
        unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (decoded, truth)]
        identified.append(brainlens.two_way_identification(unit[0] @ unit[1].T, np.arange(len(truth))))
        errors, spread = errors + ((decoded - truth) ** 2).sum(), spread + (truth**2).sum()
    return float(np.concatenate(identified).mean()), float(1 - errors / spread)


@pytest.mark.parametrize("standardize", ["training", "center", "none"])
@pytest.mark.parametrize("mode", ["alone", "left_out", "growing"])
def test_every_set_scores_as_by_hand(study, mode, standardize):
    problem = posed(study, mode=mode, standardize=standardize)
    found = tally(problem, range(len(problem.sets)), CONTEXT)
    gained, possible = found.gained.sum(axis=2), found.possible.sum(axis=2)
    for number in range(len(problem.sets)):
        two_way, r2 = by_hand(study, problem.sets.sites(number), standardize)
        assert gained[number, 0] / possible[number, 0] == pytest.approx(two_way, abs=1e-9)
        assert 1 - gained[number, 2] / possible[number, 2] == pytest.approx(r2, abs=1e-6)


@pytest.mark.parametrize(
    "given", [{"mode": "left_out"}, {"mode": "growing", "order": "score"}, {"n_voxels": 5, "n_draws": 2}]
)
def test_sets_do_not_depend_on_their_company(study, given):
    problem = posed(study, n_permutations=5, channels=("1",), **given)
    together = tally(problem, range(len(problem.sets)), CONTEXT)
    for numbers in ([0], [1, 2], [2]):
        apart = tally(problem, numbers, CONTEXT)
        for name in ("gained", "possible", "of_draw", "null_gained", "null_possible"):
            np.testing.assert_array_equal(getattr(apart, name), getattr(together, name)[numbers])
        assert apart.orders == together.orders


def test_the_order_of_a_fold_is_that_of_its_training_rows(study):
    problem = posed(study, mode="growing", order="score")
    orders = tally(problem, [0], CONTEXT).orders
    assert all(order[-1] == 2 for order in orders), "the region without signal comes last"
    # Test rows of a fold, made worthless, must not change its order.
    fold = problem.cases.folds[0]
    broken = problem.values.copy()
    broken[fold.test] = 1e3 * np.random.default_rng(0).standard_normal((len(fold.test), broken.shape[1]))
    spoilt = Problem(**{**vars(problem), "values": broken})
    assert tally(spoilt, [0], CONTEXT).orders[0] == orders[0]


def test_sites_that_do_not_vary_are_said(study):
    problem = posed(study, rois=("V1",))
    stuck = problem.values.copy()
    stuck[:, 3] = 7
    with pytest.raises(brainlens.DimensionError, match="fold 'fold 1': expected sites that vary.*found 1 of 50 that"):
        tally(Problem(**{**vars(problem), "values": stuck}), [0], CONTEXT)
    relaxed = DecodeParams(rois=("V1",), standardize="center", n_permutations=0)
    found = tally(Problem(**{**vars(problem), "values": stuck, "params": relaxed}), [0], CONTEXT)
    assert np.isfinite(found.gained).all()
