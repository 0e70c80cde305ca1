"""How likely each trial's responses are under each stimulus, when what is expected of each and the noise are known.

No matrix of sites by sites is made: the covariance is a diagonal and a few shared patterns throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Nodes of the integral over the size of the noise, in SD of its posterior. With many voxels the integrand is normal and
# steps of 1 would do; with one it is skewed and needs these.
_NODES = np.linspace(-9, 9, 25)
_REFINEMENTS = 4


@dataclass(frozen=True)
class NoiseLaw:
    """The noise y - m(x) = gain g m(x) + s (noise_map' z + noise_std e), with g, z, e standard normal.

    The scatter of what s multiplies is S = diag(std^2) + noise_map' noise_map.

    Attributes
    ----------
    std
        SD of the noise that is independent between sites; shape (n_voxels,), all above 0; unit of the responses.
    loading
        noise_map divided by `std`; shape (n_factors, n_voxels).
    root
        Inverse of the lower Cholesky factor of I + loading loading'; shape (n_factors, n_factors).
    gain
        SD of the gain of a trial, no unit.
    tail
        Degrees of freedom of s = sqrt(tail / chi2(tail)); 0: s is 1.
    """

    std: np.ndarray
    loading: np.ndarray
    root: np.ndarray
    gain: float = 0.0
    tail: float = 0.0


@dataclass(frozen=True)
class Candidates:
    """What the likelihood needs of the noiseless responses m of some stimuli.

    Attributes
    ----------
    filters
        S^-1 m; shape (n_stimuli, n_voxels).
    information
        m' S^-1 m; shape (n_stimuli,).
    """

    filters: np.ndarray
    information: np.ndarray


def noise_law(noise_std: np.ndarray, noise_map: np.ndarray, *, gain: float = 0.0, tail: float = 0.0) -> NoiseLaw:
    """Prepare the law of the noise.

    Parameters
    ----------
    noise_std
        Shape (n_voxels,), all above 0; unit of the responses.
    noise_map
        Shape (n_factors, n_voxels), any number of factors, also none; unit of the responses.
    gain, tail
        As in `NoiseLaw`.

    References
    ----------
    Woodbury identity: Hager (1989), doi:10.1137/1031049.

    Examples
    --------
    >>> law = noise_law(np.ones(3), np.zeros((0, 3)))
    >>> squared_lengths(law, np.array([[1.0, 2.0, 0.0]]))
    array([5.])
    """
    std = np.asarray(noise_std, dtype=np.float64)
    loading = np.asarray(noise_map, dtype=np.float64) / std
    factor = np.linalg.cholesky(np.eye(len(loading)) + loading @ loading.T)
    return NoiseLaw(std=std, loading=loading, root=np.linalg.inv(factor), gain=gain, tail=tail)


def squared_lengths(law: NoiseLaw, rows: np.ndarray) -> np.ndarray:
    """Return y' S^-1 y of each row y; rows of shape (n_rows, n_voxels), result (n_rows,)."""
    scaled = rows / law.std
    shared = (scaled @ law.loading.T) @ law.root.T
    return np.asarray(np.einsum("ij,ij->i", scaled, scaled) - np.einsum("ij,ij->i", shared, shared))


def prepare_stimuli(law: NoiseLaw, drive: np.ndarray) -> Candidates:
    """Prepare stimuli to be compared with trials.

    Parameters
    ----------
    law
        Of the noise.
    drive
        Noiseless responses; shape (n_stimuli, n_voxels); unit of the responses.

    Examples
    --------
    >>> prepare_stimuli(noise_law(np.array([0.5]), np.zeros((0, 1))), np.array([[1.0]])).information
    array([4.])
    """
    means = np.asarray(drive, dtype=np.float64)
    scaled = means / law.std
    shared = (scaled @ law.loading.T) @ law.root.T
    filters = (scaled - (shared @ law.root) @ law.loading) / law.std
    return Candidates(filters=filters, information=np.einsum("ij,ij->i", filters, means))


def log_likelihood(responses: np.ndarray, shown: Candidates, law: NoiseLaw) -> np.ndarray:
    """Return log p(y | x) of every trial y under every stimulus x, up to a constant of the trial.

    Parameters
    ----------
    responses
        One row for each trial; shape (n_trials, n_voxels).
    shown
        The stimuli.
    law
        Of the noise.

    Returns
    -------
    array
        Shape (n_trials, n_stimuli), float64.

    References
    ----------
    Without gain: the normal and the multivariate t density; Kotz & Nadarajah (2004), Multivariate t Distributions and
    Their Applications, chapter 1. The gain adds gain^2 m m' to the covariance: Sherman-Morrison. With both, the normal
    density with gain is integrated over s numerically, to six digits or more.

    Examples
    --------
    >>> law = noise_law(np.ones(2), np.zeros((0, 2)))
    >>> shown = prepare_stimuli(law, np.array([[0.0, 0.0], [1.0, 1.0]]))
    >>> log_likelihood(np.array([[0.0, 0.1], [1.0, 0.8]]), shown, law).argmax(axis=1)
    array([0, 1])
    """
    rows = np.asarray(responses, dtype=np.float64)
    match, information = rows @ shown.filters.T, shown.information
    if not law.tail:
        residual = information - 2 * match
        left = _without_gain(residual, match, information, law)
        return np.asarray(-(left + np.log1p(law.gain**2 * information)) / 2)
    residual = squared_lengths(law, rows)[:, None] + information - 2 * match
    # A trial that is a stimulus's noiseless response leaves nothing but rounding.
    np.maximum(residual, 0, out=residual)
    if not law.gain:
        return np.asarray(-(law.tail + len(law.std)) / 2 * np.log1p(residual / law.tail))
    return _over_sizes(residual, match - information, information, law)


def _without_gain(residual: np.ndarray, match: np.ndarray, information: np.ndarray, law: NoiseLaw) -> np.ndarray:
    """Take from a squared residual what the gain explains; shapes (n_trials, n_stimuli), information (n_stimuli,)."""
    explained = law.gain**2 * (match - information) ** 2 / (1 + law.gain**2 * information)
    return np.asarray(residual - explained)


def _over_sizes(residual: np.ndarray, along: np.ndarray, information: np.ndarray, law: NoiseLaw) -> np.ndarray:
    """Integrate the density over the size of the noise.

    With w = 1 / s^2 the density is that of chi2(tail) / tail, and given w the responses are normal. In log w the
    integrand is a narrow peak, found by iteration; there the rule of trapezia converges faster than any power.
    """
    n_sites, variance = len(law.std), law.gain**2
    peak = np.ones_like(residual)
    for _ in range(_REFINEMENTS):
        left = residual - variance * peak * along**2 / (1 + variance * peak * information)
        peak = (law.tail + n_sites) / (law.tail + left)
    step = np.sqrt(2 / (law.tail + n_sites))
    highest = np.full_like(residual, -np.inf)
    total = np.zeros_like(residual)
    for node in _NODES:
        weight = peak * np.exp(node * step)
        spread = 1 + variance * weight * information
        left = law.tail + residual - variance * weight * along**2 / spread
        density = ((law.tail + n_sites) * np.log(weight) - weight * left - np.log(spread)) / 2
        above = np.maximum(highest, density)
        total = total * np.exp(highest - above) + np.exp(density - above)
        highest = above
    return np.asarray(highest + np.log(total))
