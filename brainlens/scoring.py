"""Scores on plain arrays: correlation, ranks, identification, and what chance and uncertainty make of them.

Only numpy is used, in blocks of rows, so that memory stays bounded whatever the number of trials and candidates.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from brainlens.errors import DimensionError, ParameterError, listed

BLOCK_BYTES = 64 * 2**20


def correlate(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Correlate every row of one array with every row of another (Pearson).

    Parameters
    ----------
    a
        Shape (n_a, n_values); any real numbers.
    b
        Shape (n_b, n_values); any real numbers, in the same unit or another.

    Returns
    -------
    array
        Shape (n_a, n_b); in [-1, 1]. float64 if an input is float64 or int32 and wider, else float32.

    Raises
    ------
    DimensionError
        If the shapes do not fit, a value is not finite, or a row is constant, which has no correlation.

    Examples
    --------
    >>> correlate([[1.0, 2.0, 3.0]], [[2.0, 4.0, 6.0], [3.0, 2.0, 1.0]])
    array([[ 1., -1.]])
    """
    left, right = _matrix(a, "a"), _matrix(b, "b")
    if left.shape[1] != right.shape[1] or left.shape[1] < 2:
        raise DimensionError(
            "correlate: expected rows of one length, at least 2, in both arrays, "
            f"found shapes {left.shape!r} and {right.shape!r}. Select the same voxels or channels in both."
        )
    dtype = np.result_type(left, right, np.float32)
    row_bytes = left.shape[1] * dtype.itemsize
    left_scale, right_scale = (_row_scale(array, dtype, name) for array, name in ((left, "a"), (right, "b")))
    result = np.empty((len(left), len(right)), dtype=dtype)
    for rows in _row_slices(len(left), row_bytes):
        unit_rows = _unit_rows(left, rows, left_scale)
        for columns in _row_slices(len(right), row_bytes):
            np.matmul(unit_rows, _unit_rows(right, columns, right_scale).T, out=result[rows, columns])
    # Rounding can leave a perfect correlation a hair above 1, which arctanh and arccos do not forgive.
    return np.clip(result, -1, 1, out=result)


def rank_of_true(similarity: ArrayLike, true_column: ArrayLike) -> np.ndarray:
    """Rank the true candidate of each trial by similarity.

    Parameters
    ----------
    similarity
        Shape (n_trials, n_candidates); larger is closer.
    true_column
        Shape (n_trials,); int; which candidate is the true one.

    Returns
    -------
    array
        Shape (n_trials,); int64; from 1, the best. Ties get the worst rank, so that a decoder which answers
        the same for everything is not called right.

    Raises
    ------
    DimensionError
        If shapes do not fit, a similarity is not a number, or a column does not exist.

    Examples
    --------
    >>> rank_of_true([[0.9, 0.1, 0.5], [0.2, 0.2, 0.1]], [2, 0])
    array([2, 2])
    """
    values, true = _similarity(similarity, true_column)
    ranks = np.empty(len(values), dtype=np.int64)
    for rows in _row_slices(len(values), values.shape[1] * values.itemsize):
        block = values[rows]
        ranks[rows] = (block >= _true_values(block, true[rows])).sum(axis=1)
    return ranks


def two_way_identification(similarity: ArrayLike, true_column: ArrayLike) -> np.ndarray:
    """Score each trial by the fraction of wrong candidates that are less similar than the true one.

    Parameters
    ----------
    similarity
        Shape (n_trials, n_candidates), at least two candidates; larger is closer.
    true_column
        Shape (n_trials,); int; which candidate is the true one.

    Returns
    -------
    array
        Shape (n_trials,); float64; in [0, 1], chance 0.5. A tie counts as half.

    Raises
    ------
    DimensionError
        If shapes do not fit, a similarity is not a number, or a column does not exist.

    References
    ----------
    Ozcelik & VanRullen (2023), Sci Rep 13:15666, doi:10.1038/s41598-023-42891-8. Differs: ties count as half.

    Examples
    --------
    >>> two_way_identification([[0.9, 0.1, 0.5], [0.2, 0.2, 0.1]], [2, 0])
    array([0.5 , 0.75])
    """
    values, true = _similarity(similarity, true_column)
    if values.shape[1] < 2:
        raise DimensionError(
            f"two_way_identification: expected at least 2 candidates, found {values.shape[1]}. Add some to the gallery."
        )
    score = np.empty(len(values))
    for rows in _row_slices(len(values), values.shape[1] * values.itemsize):
        block = values[rows]
        of_true = _true_values(block, true[rows])
        # The true candidate ties with itself and is not a distractor.
        ties = (block == of_true).sum(axis=1) - 1
        score[rows] = ((block < of_true).sum(axis=1) + ties / 2) / (values.shape[1] - 1)
    return score


def chance_top_k(k: int, n: int) -> float:
    """Return the probability that the true one is among the first `k` of `n` candidates by chance.

    Raises
    ------
    ParameterError
        If `k` is not between 1 and `n`.

    Examples
    --------
    >>> chance_top_k(5, 50)
    0.1
    """
    if not 1 <= k <= n:
        raise ParameterError(f"top k: expected k from 1 to the number of candidates, {n!r}, found {k!r}.")
    return k / n


def permutation_p_value(observed: float, null: ArrayLike) -> float:
    """Return the one-sided p-value of an observed score against scores under permutation.

    Parameters
    ----------
    observed
        The score; larger is better.
    null
        Any shape; scores of permuted data, the observed one not among them.

    Returns
    -------
    float
        In (0, 1], never 0: (1 + number of null scores that reach the observed one) / (1 + number of null scores).

    Raises
    ------
    DimensionError
        If there is no null score, or a score is not a number.

    References
    ----------
    Phipson & Smyth (2010), Stat Appl Genet Mol Biol 9:39, doi:10.2202/1544-6115.1585.

    Examples
    --------
    >>> permutation_p_value(0.9, [0.1, 0.2, 0.95])
    0.5
    """
    scores = np.asarray(null, dtype=np.float64)
    if scores.size == 0 or np.isnan(scores).any() or np.isnan(observed):
        raise DimensionError(
            "permutation_p_value: expected an observed score and at least one null score, none of them NaN, found "
            f"{observed!r} and {scores.size} null scores, of which NaN: {int(np.isnan(scores).sum())}. Recompute those."
        )
    return float((1 + np.count_nonzero(scores >= observed)) / (1 + scores.size))


def bootstrap_interval(
    values: ArrayLike,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> tuple[float, float]:
    """Bound the mean of some cases by resampling them, or whole groups of them.

    Parameters
    ----------
    values
        Shape (n_cases,); one score for each case.
    level
        Coverage, between 0 and 1.
    n_resamples
        How often to resample.
    seed
        Of the random generator; the same seed gives the same interval.
    groups
        Shape (n_cases,); labels, such as the stimulus of each trial. Cases of one group are not independent, so
        whole groups are drawn.

    Returns
    -------
    tuple of float
        Lower and upper bound, in the unit of the values.

    Raises
    ------
    DimensionError
        If a value is not finite, groups have another length, or there are fewer than two cases or groups.
    ParameterError
        If `level` or `n_resamples` is out of range.

    References
    ----------
    Percentile interval: Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.
    Groups: Davison & Hinkley (1997), Bootstrap Methods and their Application, section 3.8, groups drawn whole.

    Examples
    --------
    >>> lower, upper = bootstrap_interval([0.0, 1.0] * 50)
    >>> lower < 0.5 < upper
    True
    """
    _check_level(level)
    if n_resamples < 1:
        raise ParameterError(f"n_resamples: expected at least 1, found {n_resamples!r}.")
    sums, counts = _group_sums(np.asarray(values, dtype=np.float64), groups)
    rng = np.random.default_rng(seed)
    means = np.empty(n_resamples)
    for part in _row_slices(n_resamples, len(sums) * 16):
        drawn = rng.integers(len(sums), size=(part.stop - part.start, len(sums)))
        means[part] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    lower, upper = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(lower), float(upper)


def wilson_interval(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Bound a proportion, such as a top-k accuracy, of `hits` in `n` independent trials with coverage `level`.

    Returns
    -------
    tuple of float
        Lower and upper bound, in [0, 1].

    Raises
    ------
    ParameterError
        If an argument is out of range.

    References
    ----------
    Wilson (1927), J Am Stat Assoc 22:209-212, doi:10.1080/01621459.1927.10502953; no continuity correction.

    Examples
    --------
    >>> lower, upper = wilson_interval(8, 10)
    >>> round(lower, 3), round(upper, 3)
    (0.49, 0.943)
    """
    _check_level(level)
    if n < 1 or not 0 <= hits <= n:
        raise ParameterError(
            f"wilson_interval: expected hits from 0 to n and n of at least 1, found {hits!r} of {n!r}."
        )
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = hits / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half_width = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    # At 0 and n hits one bound is exactly 0 or 1; rounding must not carry it past.
    lower = 0.0 if hits == 0 else max(0.0, centre - half_width)
    upper = 1.0 if hits == n else min(1.0, centre + half_width)
    return float(lower), float(upper)


def _row_slices(n_rows: int, row_bytes: int) -> Iterator[slice]:
    step = max(1, BLOCK_BYTES // max(1, row_bytes))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def _matrix(array: ArrayLike, name: str) -> np.ndarray:
    matrix = np.asarray(array)
    if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
        raise DimensionError(
            f"correlate: expected two dims and real numbers in {name!r}, found shape {matrix.shape!r} and "
            f"dtype {matrix.dtype}. Reshape to (rows, values)."
        )
    return matrix


def _row_scale(matrix: np.ndarray, dtype: np.dtype, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and one over the length of each centred row; shapes (n_rows, 1)."""
    means, factors = np.empty((len(matrix), 1), dtype), np.empty((len(matrix), 1), dtype)
    for rows in _row_slices(len(matrix), matrix.shape[1] * dtype.itemsize):
        block = matrix[rows].astype(dtype, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            span = block.max(axis=1, keepdims=True) - block.min(axis=1, keepdims=True)
        _refuse_rows(~np.isfinite(span), f"finite values in {name!r}, found others in row", rows.start)
        # Below the smallest normal number a scale would be infinite.
        _refuse_rows(
            span < np.finfo(dtype).tiny, f"rows that vary in {name!r}, found one value only in row", rows.start
        )
        means[rows] = block.mean(axis=1, dtype=np.float64, keepdims=True)
        # Scaling by the span first keeps the squares of very large and very small values representable.
        scaled = (block - means[rows]) / span
        factors[rows] = 1 / (span * np.sqrt(np.einsum("ij,ij->i", scaled, scaled))[:, None])
    return means, factors


def _unit_rows(matrix: np.ndarray, rows: slice, scale: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    means, factors = scale
    unit: np.ndarray = np.subtract(matrix[rows], means[rows], dtype=means.dtype)
    unit *= factors[rows]
    return unit


def _refuse_rows(wrong: np.ndarray, sentence: str, start: int) -> None:
    if wrong.any():
        where = listed(np.flatnonzero(wrong) + start)
        raise DimensionError(f"correlate: expected {sentence} {where}. Drop those rows.")


def _similarity(similarity: ArrayLike, true_column: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    values, true = np.asarray(similarity), np.asarray(true_column)
    if values.ndim != 2 or true.shape != values.shape[:1] or true.dtype.kind not in "iu":
        raise DimensionError(
            "similarity: expected dims (trial, candidate) and one whole number for each trial in true_column, "
            f"found shapes {values.shape!r} and {true.shape!r} with dtype {true.dtype}."
        )
    outside = np.flatnonzero((true < 0) | (true >= values.shape[1]))
    if len(outside):
        raise DimensionError(
            f"true_column: expected columns from 0 to {values.shape[1] - 1}, found {listed(true[outside])} "
            f"in trial {listed(outside)}. Join trials and candidates by their stimulus identifiers."
        )
    return values, true


def _true_values(block: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the similarity of the true candidate of each row; shape (n_rows, 1)."""
    # A NaN compares as unequal to everything and would count as beaten.
    if np.isnan(block).any():
        raise DimensionError(
            f"similarity: expected numbers, found NaN in {int(np.isnan(block).sum())} of {block.size} values. "
            "Look for constant or missing rows in what was compared."
        )
    return np.take_along_axis(block, true[:, None], axis=1)


def _group_sums(values: np.ndarray, groups: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Return sum and number of the cases of each unit that is drawn."""
    if values.ndim != 1 or not np.isfinite(values).all():
        raise DimensionError(
            f"bootstrap_interval: expected finite values with one dim, found shape {values.shape!r} with "
            f"{int((~np.isfinite(values)).sum())} not finite. Drop or recompute those."
        )
    if groups is None:
        sums, counts, what = values, np.ones(len(values)), "values"
    else:
        labels = np.asarray(groups)
        if labels.shape != values.shape:
            raise DimensionError(
                f"bootstrap_interval: expected a group for each of {len(values)} values, found shape {labels.shape!r}."
            )
        codes = np.unique(labels, return_inverse=True)[1]
        sums, counts, what = np.bincount(codes, weights=values), np.bincount(codes).astype(np.float64), "groups"
    if len(sums) < 2:
        raise DimensionError(
            f"bootstrap_interval: expected at least 2 {what}, found {len(sums)}; one cannot show its spread."
        )
    return sums, counts


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ParameterError(f"level: expected a number between 0 and 1, such as 0.95, found {level!r}.")
