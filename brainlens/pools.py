"""How often the true candidate comes first in a pool, from similarities or likelihoods.

Pools are not drawn: the share of all pools of a size in which something is found follows from its rank.
"""

from __future__ import annotations

import numpy as np


def hit_rates(scores: np.ndarray, *, pool_size: int, top_k: int = 1, own: np.ndarray | None = None) -> np.ndarray:
    """Return for each row the probability that its own column is among the best of a random pool.

    Parameters
    ----------
    scores
        Shape (n, m); larger is closer. Ties count against the own column.
    pool_size
        Candidates in a pool, the true one among them, at most m.
    top_k
        Among how many it counts as found.
    own
        Own column of each row, shape (n,); the diagonal when left out.

    Returns
    -------
    array
        Shape (n,), in [0, 1]: the mean over all pools, each as likely. Of m - 1 others, b of them closer, a pool has
        pool_size - 1 without order: a hypergeometric probability.

    Examples
    --------
    >>> scores = np.array([[3.0, 1.0, 2.0], [0.0, 1.0, 2.0], [5.0, 4.0, 3.0]])
    >>> hit_rates(scores, pool_size=2)
    array([1. , 0.5, 0. ])
    """
    own = np.arange(len(scores)) if own is None else own
    closer = (scores >= np.take_along_axis(scores, own[:, None], axis=1)).sum(axis=1) - 1
    return pool_rates(closer, n_candidates=scores.shape[1], pool_size=pool_size, top_k=top_k)


def pool_rates(closer: np.ndarray, *, n_candidates: int, pool_size: int, top_k: int = 1) -> np.ndarray:
    """Return how likely a candidate is among the best of a random pool, by how many are closer.

    Parameters
    ----------
    closer
        How many of the other candidates are at least as close; any shape, whole numbers.
    n_candidates
        How many there are, the one in question among them.
    pool_size, top_k
        As in `hit_rates`.

    Returns
    -------
    array
        The shape of `closer`, in [0, 1].

    Examples
    --------
    >>> pool_rates(np.array([0, 1, 2]), n_candidates=3, pool_size=2)
    array([1. , 0.5, 0. ])
    """
    n_others, n_drawn = n_candidates - 1, pool_size - 1
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n_others + 1)))])

    def log_choose(total: np.ndarray, taken: np.ndarray) -> np.ndarray:
        possible = (taken >= 0) & (taken <= total)
        total, taken = np.where(possible, total, 0), np.where(possible, taken, 0)
        ways = log_factorial[total] - log_factorial[taken] - log_factorial[total - taken]
        return np.where(possible, ways, -np.inf)

    counts, found = np.arange(n_candidates), np.arange(top_k)[:, None]
    log_pools = log_choose(counts, found) + log_choose(n_others - counts, n_drawn - found)
    rates = np.exp(log_pools - log_choose(np.array(n_others), np.array(n_drawn))).sum(axis=0)
    return np.asarray(np.clip(rates, 0, 1)[closer])


def over_marginal(log_likelihood: np.ndarray) -> np.ndarray:
    """Return log p(y | x) - log p(y): how well responses fit a stimulus beyond how well they fit any.

    Parameters
    ----------
    log_likelihood
        Shape (n_responses, n_stimuli), up to a constant of each row.

    Returns
    -------
    array
        The same shape; p(y) is the mean over the stimuli.

    Examples
    --------
    >>> over_marginal(np.log(np.array([[1.0, 3.0], [10.0, 30.0]]))).round(3)
    array([[-0.693,  0.405],
           [-0.693,  0.405]])
    """
    highest = log_likelihood.max(axis=1, keepdims=True)
    marginal = highest + np.log(np.exp(log_likelihood - highest).mean(axis=1, keepdims=True))
    return np.asarray(log_likelihood - marginal)
