"""Squared lengths of predictions for all penalties at once, against a product for each in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from brainlens_encoding.fractions import make_fractions, squared_lengths

ALPHAS = np.geomspace(1e-3, 1e9, 25)
SPECTRA = {
    "spread": np.geomspace(1e-4, 1e6, 40),
    "close": 1e3 + np.arange(40) * 1e-2,
    "nearly equal": np.concatenate([np.full(20, 5.0) * (1 + 1e-9 * np.arange(20)), np.arange(20) + 6.0]),
    "dependent": np.concatenate([np.zeros(15), np.geomspace(1, 1e5, 25)]),
    "all equal": np.full(40, 3.0),
}


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_lengths_are_those_of_a_product_for_each_penalty(spectrum: str) -> None:
    rng = np.random.default_rng(0)
    eigenvalues = SPECTRA[spectrum]
    held_out = rng.standard_normal((30, 40)) * np.sqrt(eigenvalues / 40)
    coordinates = (np.sqrt(eigenvalues)[:, None] * rng.standard_normal((40, 6))).astype(np.float32)
    fractions = make_fractions(torch.from_numpy(held_out.T @ held_out), torch.from_numpy(eigenvalues))
    found = squared_lengths(fractions, torch.from_numpy(coordinates), torch.from_numpy(ALPHAS)).numpy()
    shrunk = coordinates / (eigenvalues[:, None] + ALPHAS[:, None, None])
    expected = ((held_out @ shrunk) ** 2).sum(axis=1)
    # What a length is off by must be small beside the responses, which are as long as their coordinates, unshrunk, say.
    scale = (coordinates**2 / np.maximum(eigenvalues, 1)[:, None]).sum(axis=0)
    assert (np.abs(found - expected) / np.maximum(expected, 1e-6 * scale)).max() < 1e-6


def test_eigenvalues_that_agree_are_parted_from_the_others() -> None:
    eigenvalues = torch.tensor([0.0, 0.0, 1.0, 1.0 + 1e-9, 2.0])
    inner = torch.arange(25.0).reshape(5, 5)
    found = make_fractions(inner + inner.T, eigenvalues)
    assert found.rows.tolist() == [0, 1, 2, 3]
    assert found.near.tolist() == [[0, 6, 0, 0], [6, 0, 0, 0], [0, 0, 0, 30], [0, 0, 30, 0]]
    assert float(found.far[0, 1]) == float(found.far[2, 3]) == 0
    assert float(found.far[4, 2]) == pytest.approx(36 / (1 - 2))
