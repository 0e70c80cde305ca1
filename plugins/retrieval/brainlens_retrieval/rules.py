"""The rule that knows how a decoder misses: errors on left-out training stimuli tell which candidate is likeliest.

Decoded = A embedding + b + error, with normal errors. A, b and the covariance of the errors come from training stimuli
that the decoder was not fitted on when it decoded them, so nothing of a test set is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

import brainlens

# Directions of the embeddings that are smaller than this share of the largest say nothing and are left away.
_SMALLEST = 1e-3


@dataclass(frozen=True)
class ErrorRule:
    """What is expected of decoded embeddings, and how they scatter about it.

    Attributes
    ----------
    axes
        Directions that training embeddings vary in; shape (n_values, n_axes). What decoded embeddings say outside of
        their span is left away: it says nothing of the stimulus.
    expected
        Ridge from embeddings to decoded embeddings, both along the axes.
    law
        Of the errors, along the axes.
    n
        Training stimuli or trials behind it.
    """

    axes: np.ndarray
    expected: brainlens.Ridge
    law: brainlens.NoiseLaw
    n: int

    def log_likelihood(self, decoded: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Return log p(decoded | candidate), up to a constant of each row, of rows (n, n_values) and (m, n_values)."""
        shown = brainlens.prepare_stimuli(self.law, self.expected.predict(candidates @ self.axes))
        return brainlens.log_likelihood(decoded @ self.axes, shown, self.law)


def error_rule(left_out: np.ndarray, true: np.ndarray) -> ErrorRule:
    """Fit the rule.

    Parameters
    ----------
    left_out
        Decoded embeddings of training trials by decoders that were fitted without them; shape (n, n_values).
    true
        Their true embeddings, row for row; same shape.

    Returns
    -------
    ErrorRule

    References
    ----------
    Linear discriminant analysis with many classes and one covariance; covariance by Ledoit & Wolf (2004),
    doi:10.1016/S0047-259X(03)00096-4.

    Examples
    --------
    >>> true = np.random.default_rng(0).standard_normal((200, 3))
    >>> left_out = 0.5 * true + np.random.default_rng(1).standard_normal((200, 3))
    >>> rule = error_rule(left_out, true)
    >>> rule.log_likelihood(np.array([[1.0, 0.0, 0.0]]), np.array([[2.0, 0.0, 0.0], [-2.0, 0.0, 0.0]])).argmax(axis=1)
    array([0])
    """
    left_out, true = left_out.astype(np.float64), true.astype(np.float64)
    _, size, axes = np.linalg.svd(true - true.mean(axis=0), full_matrices=False)
    kept = axes[size > _SMALLEST * size[0]].T
    found = left_out @ kept
    expected = brainlens.fit_ridge(true @ kept, found)
    errors = found - expected.left_out
    law = brainlens.noise_law(*brainlens.shrink_covariance(errors - errors.mean(axis=0)))
    return ErrorRule(axes=kept, expected=expected, law=law, n=len(true))


def training_pairs(left_out: xr.Dataset, target: xr.Dataset, *, tested: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return left-out decoded embeddings and the true ones, row for row, each (n, tokens x channels).

    Parameters
    ----------
    left_out
        `embedding` (trial, channel) or (trial, token, channel), from `cross_predict` on training trials.
    target
        `embedding` (stimulus, ...) that holds their stimuli.
    tested
        Stimuli that are to be looked for.

    Raises
    ------
    DimensionError
        If a left-out stimulus is tested too, a trial was in the training of its decoder, a stimulus is not in
        `target`, the two differ in model or dims, or there are fewer than three trials.
    """
    shown = left_out["stimulus_id"].values
    both = np.intersect1d(shown.astype(str), tested.astype(str))
    if both.size:
        raise brainlens.DimensionError(
            f"left_out: expected stimuli that are not tested, found {both.size} that are: {brainlens.listed(both)}. "
            "Decode the training trials alone, with cross_predict(..., split='train')."
        )
    if "in_training" in left_out.coords and left_out["in_training"].values.any():
        n_inside = int(left_out["in_training"].values.sum())
        raise brainlens.DimensionError(
            f"left_out: expected trials that their decoder was not fitted on, found {n_inside} of {len(shown)} that it "
            "was; their errors are too small. Decode them with cross_predict."
        )
    position = {label: row for row, label in enumerate(target["stimulus"].values.tolist())}
    missing = sorted({label for label in shown.tolist() if label not in position}, key=str)
    if missing:
        raise brainlens.DimensionError(
            f"target: expected the embedding of every left-out stimulus, found {len(missing)} missing: "
            f"{brainlens.listed(missing)}. Give the embeddings that the decoder was fitted to."
        )
    if len(shown) < 3:
        raise brainlens.DimensionError(
            f"left_out: expected enough trials to tell how the decoder misses, found {len(shown)}. Give all of them."
        )
    rows = target["embedding"].isel(stimulus=[position[label] for label in shown.tolist()]).values
    found = left_out["embedding"].values
    return found.reshape(len(found), -1), rows.reshape(len(rows), -1)
