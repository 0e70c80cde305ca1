"""The encoder `encoding.banded`: several feature spaces, each with a penalty of its own in each site."""

from __future__ import annotations

import numpy as np

from brainlens_encoding.ridge import RidgeEncoder


class BandedEncoder(RidgeEncoder):
    """Predict responses from several feature spaces, whose scalings each site chooses among random ones.

    As `RidgeEncoder`; the scalings that are tried add up to 1 in each combination: equal ones, each space alone, and
    draws from Dirichlet distributions. The penalty of space s in a site is `alpha_ / band_scaling_[s]`.

    References
    ----------
    Nunez-Elizalde et al. (2019), doi:10.1016/j.neuroimage.2019.04.012; random search: Dupre la Tour et al. (2022),
    doi:10.1016/j.neuroimage.2022.119728.
    """

    def scalings(self, n_spaces: int) -> np.ndarray:
        """Return the scalings of the feature spaces that are tried; shape (n_combinations, n_spaces)."""
        return draw_scalings(
            self.context.rng(), n_spaces, self.params.n_scalings, concentration=self.params.concentration
        )


def draw_scalings(
    rng: np.random.Generator, n_spaces: int, n_scalings: int, *, concentration: tuple[float, ...]
) -> np.ndarray:
    """Return combinations of scalings that add up to 1: equal ones, each space alone, then random ones.

    Parameters
    ----------
    rng
        Random generator.
    n_spaces, n_scalings
        How many feature spaces, and how many combinations.
    concentration
        Of the Dirichlet distributions, taken in turn.

    Returns
    -------
    Array
        Shape (n_scalings, n_spaces), float64; one row where there is one space.

    Examples
    --------
    >>> draw_scalings(np.random.default_rng(0), 2, 3, concentration=(1.0,)).tolist()
    [[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]
    """
    if n_spaces == 1:
        return np.ones((1, 1))
    fixed = np.concatenate([np.full((1, n_spaces), 1 / n_spaces), np.eye(n_spaces)])
    n_random = max(0, n_scalings - len(fixed))
    drawn = [rng.dirichlet(np.full(n_spaces, concentration[row % len(concentration)])) for row in range(n_random)]
    return np.concatenate([fixed, *(row[None] for row in drawn)])[:n_scalings]
