"""What each candidate would score in each trial: ranks, two-way and n-way identification."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import brainlens


def score_candidates(similarity: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Score some candidates in every trial as if each were the true one.

    Parameters
    ----------
    similarity
        Shape (n_trials, n_candidates), larger is closer.
    columns
        Which candidates to score; shape (n_columns,).

    Returns
    -------
    ranks
        Shape (n_trials, n_columns), int64; from 1, ties get the worst.
    two_way
        Same shape, float64; fraction of all other candidates that are less similar, ties count half.

    Examples
    --------
    >>> score_candidates(np.array([[0.9, 0.1, 0.5, 0.1, 0.2]]), np.array([0, 1, 2]))
    (array([[1, 5, 2]]), array([[1.   , 0.125, 0.75 ]]))
    """
    n_trials, n_candidates = similarity.shape
    ranks = np.empty((n_trials, len(columns)), dtype=np.int64)
    two_way = np.empty((n_trials, len(columns)))
    for row, values in enumerate(similarity):
        ascending = np.sort(values)
        below = np.searchsorted(ascending, values[columns], side="left")
        not_above = np.searchsorted(ascending, values[columns], side="right")
        ranks[row] = n_candidates - below
        two_way[row] = (below + not_above - 1) / (2 * (n_candidates - 1))
    return ranks, two_way


@dataclass(frozen=True)
class Measures:
    """What every candidate would score in every trial, if it were the true one.

    Attributes
    ----------
    ranks, two_way
        As `score_candidates` returns them.
    n_gallery
        Number of candidates.
    top_k, n_way
        As in `ScoreParams`.
    """

    ranks: np.ndarray
    two_way: np.ndarray
    n_gallery: int
    top_k: tuple[int, ...]
    n_way: tuple[int, ...] = ()

    def of(self, truth: np.ndarray) -> dict[str, np.ndarray]:
        """Return what each metric is the mean or median of; same shape as `truth`, trials last."""
        trials = np.arange(len(self.ranks))
        of_truth = self.ranks[trials, truth]
        hits = {f"top_{k}": (of_truth <= k).astype(np.float64) for k in self.top_k}
        first = {f"{n}_way_identification": chance_first(self.n_gallery, n)[of_truth - 1] for n in self.n_way}
        others = {"two_way_identification": self.two_way[trials, truth], "median_rank": of_truth.astype(np.float64)}
        return {**hits, **first, **others}

    def chance(self) -> list[float]:
        """Return what is expected of each metric without information."""
        top = [brainlens.chance_top_k(k, self.n_gallery) for k in self.top_k]
        return [*top, *(1 / n for n in self.n_way), 0.5, (self.n_gallery + 1) / 2]


def chance_first(n_candidates: int, n: int) -> np.ndarray:
    """Return how likely each rank comes first among n - 1 others drawn from all others; shape (n_candidates,).

    Examples
    --------
    >>> chance_first(5, 3)
    array([1.        , 0.5       , 0.16666667, 0.        , 0.        ])
    """
    # Of the others, rank - 1 are closer: none of them may be drawn.
    behind = n_candidates - 1 - np.arange(n_candidates)
    rates = np.ones(n_candidates)
    for drawn in range(n - 1):
        rates *= np.clip((behind - drawn) / (n_candidates - 1 - drawn), 0, None)
    return rates
