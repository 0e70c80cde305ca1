"""What takes part in a combination: rules that score candidates by evidence, learnt from training stimuli.

The evidence of a stimulus is its decoded embedding, or the mean response to it. Every rule is learnt without each fold,
for the scores of that fold, which decide the weights, and from all folds, for what is tested.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import brainlens
from brainlens_retrieval.likelihood import make_features
from brainlens_retrieval.rules import error_rule

Score = Callable[[np.ndarray, np.ndarray], np.ndarray]
Learn = Callable[[np.ndarray, np.ndarray], Score]
Candidates = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Member:
    """One of several opinions.

    Attributes
    ----------
    name
        Such as `"decoder 1, lda"`.
    learn
        Takes evidence (n, n_values) and what is known (n, n_known) of training stimuli, row for row; returns what
        scores evidence (m, n_values) under candidates (k, n_known): (m, k), larger is likelier.
    left_out
        Evidence of the training stimuli, of which decoders have not met their own; shape (n, n_values).
    tested
        Evidence of what is tested; shape (n_tested, n_values).
    known
        Of the training stimuli, in the order of `left_out`: true embeddings, or responses that an encoder predicts
        which has not met them; shape (n, n_known).
    candidates
        Takes positions of candidates, and returns what is known of them; shape (k, n_known).
    """

    name: str
    learn: Learn
    left_out: np.ndarray
    tested: np.ndarray
    known: np.ndarray
    candidates: Candidates


def centred_cosine(evidence: np.ndarray, true: np.ndarray) -> Score:
    """Return the cosine of decoded embedding and candidate about the mean of the training targets."""
    centre = true.mean(axis=0)
    return lambda decoded, candidates: _unit(decoded - centre) @ _unit(candidates - centre).T


def projection(evidence: np.ndarray, true: np.ndarray) -> Score:
    """Return how far a decoded embedding goes along the direction of a candidate, both about the mean of the targets.

    The length of what was decoded counts: a mean of decoders that disagree is short.
    """
    centre = true.mean(axis=0)
    return lambda decoded, candidates: (decoded - centre) @ _unit(candidates - centre).T


def lda(evidence: np.ndarray, true: np.ndarray) -> Score:
    """Return the log-likelihood of a decoded embedding under a candidate, by how the decoder missed left-out ones."""
    return error_rule(evidence, true).log_likelihood


def direction_lda(evidence: np.ndarray, true: np.ndarray) -> Score:
    """Take that of the candidates' directions about the mean of the targets: what a contrastive loss teaches."""
    centre = true.mean(axis=0)
    rule = error_rule(evidence - centre, _unit(true - centre))
    return lambda decoded, candidates: rule.log_likelihood(decoded - centre, _unit(candidates - centre))


RULES: dict[str, Learn] = {
    "centred-cosine": centred_cosine,
    "projection": projection,
    "lda": lda,
    "direction-lda": direction_lda,
}


def encoder(n_rectified: int, rng: Callable[[], np.random.Generator]) -> Learn:
    """Return the rule of `retrieval.likelihood`: the log-likelihood of a response under a linear encoder.

    Parameters
    ----------
    n_rectified
        Random rectified directions of the embedding beside the embedding itself.
    rng
        Starts the generator that draws them, anew for each fold: the same directions for all.
    """

    def learn(response: np.ndarray, true: np.ndarray) -> Score:
        mean, spread = response.mean(axis=0), response.std(axis=0)
        features = make_features(true, n_rectified=n_rectified, rng=rng())
        brain = (response - mean) / spread
        ridge = brainlens.fit_ridge(features(true), brain)
        residuals = brain - ridge.left_out
        law = brainlens.noise_law(*brainlens.shrink_covariance(residuals - residuals.mean(axis=0)))

        def score(tested: np.ndarray, candidates: np.ndarray) -> np.ndarray:
            shown = brainlens.prepare_stimuli(law, ridge.predict(features(candidates)))
            return brainlens.log_likelihood((tested - mean) / spread, shown, law)

        return score

    return learn


def stored_encoder(response: np.ndarray, predicted: np.ndarray) -> Score:
    """Return the log-likelihood of a response under what an encoder predicts for a candidate.

    Noise is normal, with mean and covariance of what predictions for stimuli that the encoder had not met left
    unexplained.
    """
    errors = response - predicted
    bias = errors.mean(axis=0)
    law = brainlens.noise_law(*brainlens.shrink_covariance(errors - bias))
    return lambda tested, shown: brainlens.log_likelihood(tested - bias, brainlens.prepare_stimuli(law, shown), law)


def left_out_pools(
    members: Sequence[Member],
    fold: np.ndarray,
    *,
    pool_size: int,
    context: brainlens.Context,
) -> list[np.ndarray]:
    """Score every training stimulus among others of its fold, by rules that were learnt without that fold.

    Parameters
    ----------
    members
        Who scores.
    fold
        Number of the fold of each; shape (n,), from 0.
    pool_size
        A fold of more stimuli is parted at random, into pools of about the same size.
    context
        For the progress bar, and the seed of the parts.

    Returns
    -------
    list of array
        Scores of each pool; shape (n_pool, n_pool, n_members), float64, the true candidate on the diagonal.
    """
    parts = [
        np.sort(part)
        for number in range(int(fold.max()) + 1)
        for part in _parted(np.flatnonzero(fold == number), pool_size, context.rng(1, number))
    ]
    pools = [np.empty((len(part), len(part), len(members))) for part in parts]
    for column, member in enumerate(context.progress(members, label="scoring left-out stimuli")):
        score, of_fold = None, -1
        for part, pool in zip(parts, pools, strict=True):
            if fold[part[0]] != of_fold or score is None:
                of_fold = int(fold[part[0]])
                kept = fold != of_fold
                score = member.learn(member.left_out[kept], member.known[kept])
            pool[..., column] = score(member.left_out[part], member.known[part])
    return pools


def _parted(rows: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    n_parts = -(-len(rows) // size)
    return np.array_split(rng.permutation(rows), n_parts) if n_parts > 1 else [rows]


def _unit(rows: np.ndarray) -> np.ndarray:
    # Rows without a direction become NaN, which `combine` refuses by their labels.
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
