"""Ridge by kernels: the numbers of `brainlens.fit_ridge`, and of the sites that a sum or difference stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from brainlens_roi import kernels

import brainlens


def made(n_sites: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return training rows and test rows, centred on the training mean, and targets that depend on them."""
    rng = np.random.default_rng(seed)
    train, test = rng.standard_normal((30, n_sites)), rng.standard_normal((7, n_sites))
    targets = train @ rng.standard_normal((n_sites, 5)) + rng.standard_normal((30, 5)) * [0.1, 1, 5, 25, 100] + 3
    return train - train.mean(axis=0), test - train.mean(axis=0), targets


def decoded(basis: kernels.Basis, targets: np.ndarray) -> np.ndarray:
    return kernels.predict(basis, torch.from_numpy(targets)).numpy() + targets.mean(axis=0)


@pytest.mark.parametrize("n_sites", [1, 8, 29, 30, 31, 90])
def test_every_target_is_predicted_as_the_ridge_of_the_core_does(n_sites):
    train, test, targets = made(n_sites)
    expected = brainlens.fit_ridge(train, targets)
    given = torch.from_numpy(train), torch.from_numpy(test)
    for basis in (
        kernels.from_sites(*given),
        kernels.from_kernels(*kernels.kernels_of(*given), n_sites=n_sites),
    ):
        chosen, errors = kernels.choose_penalties(basis, torch.from_numpy(targets))
        assert np.allclose(np.array(kernels.ALPHAS)[chosen], expected.alpha)
        np.testing.assert_allclose(errors, ((targets - expected.left_out) ** 2).sum(axis=0), rtol=1e-6)
        np.testing.assert_allclose(decoded(basis, targets), expected.predict(test), atol=1e-6)


def test_what_is_left_of_a_kernel_is_that_of_the_other_sites():
    train, test, targets = made(90)
    given = torch.from_numpy(train), torch.from_numpy(test)
    whole, part = kernels.kernels_of(*given), kernels.kernels_of(given[0][:, :40], given[1][:, :40])
    rest = kernels.from_kernels(whole[0] - part[0], whole[1] - part[1], n_sites=50)
    expected = brainlens.fit_ridge(train[:, 40:], targets).predict(test[:, 40:])
    np.testing.assert_allclose(decoded(rest, targets), expected, atol=1e-6)


def test_sites_without_anything_predict_the_mean():
    nothing = torch.zeros(30, 4, dtype=torch.float64)
    targets = made(4)[2]
    found = decoded(kernels.from_sites(nothing, torch.zeros(7, 4, dtype=torch.float64)), targets)
    np.testing.assert_allclose(found, np.tile(targets.mean(axis=0), (7, 1)))


def test_kept_penalties_are_those_of_the_first_targets():
    train, test, targets = made(8)
    basis = kernels.from_sites(torch.from_numpy(train), torch.from_numpy(test))
    others = np.random.default_rng(9).standard_normal((2, 30, 5))
    hats = kernels.hat_matrices(basis, torch.from_numpy(targets))
    found = kernels.predict_alike(hats, torch.from_numpy(np.concatenate(others, axis=1))).numpy()
    alpha = brainlens.fit_ridge(train, targets).alpha
    for number, each in enumerate(others):
        for column in range(5):
            expected = brainlens.fit_ridge(train, each[:, [column]], (float(alpha[column]),)).predict(test)[:, 0]
            np.testing.assert_allclose(found[:, 5 * number + column] + each[:, column].mean(), expected, atol=1e-9)
    same = kernels.predict_alike(hats, torch.from_numpy(targets))
    np.testing.assert_allclose(same, kernels.predict(basis, torch.from_numpy(targets)), atol=1e-9)


def test_single_precision_predicts_nearly_the_same():
    train, test, targets = made(90)
    basis = kernels.from_sites(torch.from_numpy(train), torch.from_numpy(test))
    rough = kernels.predict(kernels.rounded(basis), torch.from_numpy(targets).float())
    exact = kernels.predict(basis, torch.from_numpy(targets))
    np.testing.assert_allclose(rough, exact, atol=1e-3 * float(exact.abs().max()))
