"""The rivals that MindEye is shown beside, and the combination of all of them: scores of test trials under candidates.

Every rival is fitted on training stimuli alone and then scores mean responses (trial, voxel) against embeddings of
candidates (stimulus, channel): larger is likelier. Nothing here looks at other test trials.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from brainlens_mindeye.decoder import MindEyeDecoder
from brainlens_mindeye.params import HighLevelParams
from brainlens_retrieval.members import Member, direction_lda, encoder as encoder_rule, lda, left_out_pools, projection
from brainlens_retrieval.weights import fit_weights

import brainlens

# Frozen on seed 100 of worlds E and N1; the recipe of the notes that we started from, 40 passes over three showings.
MINDEYE: dict[str, Any] = {
    "width": 256, "n_blocks": 2, "projector_width": 256, "batch_size": 256, "epochs": 120, "learning_rate": 3e-3,
    "weight_decay": 0.1, "dropout": 0.3, "prior": "none",
}  # fmt: skip
LINEAR: dict[str, Any] = {**MINDEYE, "entry": "linear", "backbone": "linear", "projector_width": 0}
N_FOLDS = 5
N_FEATURES = 800
Scorer = Callable[[np.ndarray, np.ndarray], np.ndarray]
ENCODER = encoder_rule(0, lambda: np.random.default_rng(7))
ENCODER_NONLINEAR = encoder_rule(N_FEATURES, lambda: np.random.default_rng(7))
RULES: dict[str, Any] = {
    "mindeye": projection, "mindeye, error covariance": direction_lda, "ridge LDA": lda, "encoder": ENCODER,
    "encoder, nonlinear": ENCODER_NONLINEAR,
}  # fmt: skip


@dataclass(frozen=True)
class Training:
    """Standardised responses of training stimuli, and their embeddings.

    Parameters
    ----------
    trials
        Single showings (trial, voxel), z-scored with the statistics of these.
    row
        Position of each trial's stimulus.
    means
        Mean showing of each stimulus (stimulus, voxel).
    embedding
        (stimulus, channel), float64.
    """

    trials: np.ndarray
    row: np.ndarray
    means: np.ndarray
    embedding: np.ndarray

    def select(self, stimuli: np.ndarray) -> Training:
        """Keep some stimuli, by position."""
        place = np.full(len(self.means), -1)
        place[stimuli] = np.arange(len(stimuli))
        kept = np.flatnonzero(place[self.row] >= 0)
        return Training(self.trials[kept], place[self.row[kept]], self.means[stimuli], self.embedding[stimuli])


def unit(rows: np.ndarray) -> np.ndarray:
    """Return rows of length 1."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def ridge_raw(training: Training) -> Scorer:
    """Cosine of ridge's prediction with candidates: what most studies call the linear baseline."""
    ridge = brainlens.fit_ridge(training.means, training.embedding)
    return lambda brain, shown: unit(ridge.predict(brain)) @ unit(shown).T


def ridge_centred(training: Training) -> Scorer:
    """Take that cosine about the mean of the training embeddings."""
    ridge, mean = brainlens.fit_ridge(training.means, training.embedding), training.embedding.mean(axis=0)
    return lambda brain, shown: unit(ridge.predict(brain) - mean) @ unit(shown - mean).T


def ridge_lda(training: Training) -> Scorer:
    """Ridge, with the covariance of its left-out errors."""
    ridge = brainlens.fit_ridge(training.means, training.embedding)
    rule = lda(ridge.left_out, training.embedding)
    return lambda brain, shown: rule(ridge.predict(brain), shown)


def encoder(training: Training) -> Scorer:
    """Likelihood of the response under a linear encoder from embeddings, with the covariance of its left-out errors."""
    return ENCODER(training.means, training.embedding)


def encoder_nonlinear(training: Training) -> Scorer:
    """Take that likelihood from the embedding and random rectified directions of it."""
    return ENCODER_NONLINEAR(training.means, training.embedding)


class MindEye:
    """MindEye's retrieval variant, as the direction that is compared with candidates about the training mean."""

    def __init__(self, training: Training, *, seed: int, precision: str = "float32", **params: Any) -> None:
        embedding = training.embedding[training.row].astype(np.float32)
        response = as_response(training.trials, training.row)
        target = xr.Dataset({"embedding": (("trial", "channel"), embedding)}, {"trial": response["trial"].values})
        context = brainlens.Context(seed=seed, precision=precision)
        self.decoder = MindEyeDecoder(HighLevelParams(**{**MINDEYE, **params}), context)
        self.decoder.fit(response, target)
        self.mean = training.embedding.mean(axis=0)

    def directions(self, brain: np.ndarray) -> np.ndarray:
        """Return predictions minus the training mean, of length 1 (trial, channel)."""
        found = self.predict(brain)
        return unit(found["embedding"].sel(variant="retrieval").values.astype(np.float64) - found["target_mean"].values)

    def predict(self, brain: np.ndarray) -> xr.Dataset:
        """Return the decoder's own output."""
        return self.decoder.predict(as_response(brain, np.arange(len(brain))))

    def __call__(self, brain: np.ndarray, shown: np.ndarray) -> np.ndarray:
        """Return cosines."""
        return self.directions(brain) @ unit(shown - self.mean).T


def as_response(trials: np.ndarray, stimulus: np.ndarray) -> xr.Dataset:
    """Return standardised responses as a dataset."""
    labels = {
        "trial": np.arange(len(trials)),
        "voxel": np.arange(trials.shape[1]),
        "stimulus_id": ("trial", stimulus),
    }
    return xr.Dataset(
        {"response": (("trial", "voxel"), trials.astype(np.float32))}, labels, {"subject": "simulated", "units": "z"}
    )


class Ensemble:
    """All of them together, as `retrieval.combine` does it, weighed by how well they name stimuli that were left out.

    The training stimuli are parted into folds. MindEye and ridge are fitted without each; on new data MindEye's
    networks of all folds are averaged, as `cross_predict(..., also="test")` does, and ridge is fitted to all. Then
    every member's scores of left-out stimuli, among those of the same fold, decide the members' weights.
    """

    def __init__(self, training: Training, *, seed: int) -> None:
        n = len(training.means)
        fold = np.random.default_rng(seed).permutation(n) % N_FOLDS
        parts = [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(N_FOLDS)]
        self.networks = [
            MindEye(training.select(kept), seed=seed * N_FOLDS + number) for number, (kept, _) in enumerate(parts)
        ]
        self.ridge = brainlens.fit_ridge(training.means, training.embedding)
        self.mean = training.embedding.mean(axis=0)
        decoded, linear = np.empty_like(training.embedding), np.empty_like(training.embedding)
        for network, (kept, held) in zip(self.networks, parts, strict=True):
            part = training.select(kept)
            decoded[held] = part.embedding.mean(axis=0) + network.directions(training.means[held])
            linear[held] = brainlens.fit_ridge(part.means, part.embedding).predict(training.means[held])
        evidence = (decoded, decoded, linear, training.means, training.means)
        true = training.embedding
        members = [
            Member(name, learn, each, each[:0], true, lambda rows: true[rows])
            for (name, learn), each in zip(RULES.items(), evidence, strict=True)
        ]
        pools = left_out_pools(members, fold, pool_size=n, context=brainlens.Context(seed=seed, quiet=True))
        self.weights = fit_weights(pools).of_score
        self.scores = [member.learn(member.left_out, true) for member in members]

    def __call__(self, brain: np.ndarray, shown: np.ndarray) -> np.ndarray:
        """Return the weighted sum of the members' scores."""
        decoded = self.mean + np.mean([network.directions(brain) for network in self.networks], axis=0)
        evidence = (decoded, decoded, self.ridge.predict(brain), brain, brain)
        parts = [score(each, shown) for score, each in zip(self.scores, evidence, strict=True)]
        return np.asarray(sum(weight * each for weight, each in zip(self.weights, parts, strict=True)))
