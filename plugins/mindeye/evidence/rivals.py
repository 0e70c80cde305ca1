"""The rivals that MindEye is shown beside, and the combination of all of them: scores of test trials under candidates.

Every rival is fitted on training stimuli alone and then scores mean responses (trial, voxel) against embeddings of
candidates (stimulus, channel): larger is likelier. Nothing here looks at other test trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from brainlens_mindeye.decoder import MindEyeDecoder
from brainlens_mindeye.params import HighLevelParams

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
    rule = error_rule(ridge.left_out, training.embedding)
    return lambda brain, shown: rule(ridge.predict(brain), shown)


def encoder(training: Training) -> Scorer:
    """Likelihood of the response under a linear encoder from embeddings, with the covariance of its left-out errors."""
    return _encoder(training, lambda rows: rows)


def encoder_nonlinear(training: Training) -> Scorer:
    """Take that likelihood from the embedding and random rectified directions of it."""
    mean = training.embedding.mean(axis=0)
    centred = training.embedding - mean
    rng = np.random.default_rng(7)
    weights = rng.standard_normal((centred.shape[1], N_FEATURES))
    weights /= (centred @ weights).std(axis=0)
    shift, scale = 0.7 * rng.standard_normal(N_FEATURES), centred.std()

    def features(rows: np.ndarray) -> np.ndarray:
        away = rows - mean
        return np.concatenate([away / scale, np.maximum(away @ weights + shift, 0)], axis=1)

    return _encoder(training, features)


def _encoder(training: Training, features: Callable[[np.ndarray], np.ndarray]) -> Scorer:
    ridge = brainlens.fit_ridge(features(training.embedding), training.means)
    law = _law(training.means - ridge.left_out)
    return lambda brain, shown: brainlens.log_likelihood(
        brain, brainlens.prepare_stimuli(law, ridge.predict(features(shown))), law
    )


def error_rule(left_out: np.ndarray, embedding: np.ndarray) -> Scorer:
    """Return the rule that knows how predictions miss: prediction = A embedding + b + error, of normal errors.

    What predictions say outside the span of the embeddings is left away: it says nothing of the stimulus, and every
    network says something else there.
    """
    _, size, axes = np.linalg.svd(embedding - embedding.mean(axis=0), full_matrices=False)
    axes = axes[size > 1e-3 * size[0]].T
    expected = brainlens.fit_ridge(embedding @ axes, left_out @ axes)
    law = _law(left_out @ axes - expected.left_out)
    return lambda predicted, shown: brainlens.log_likelihood(
        predicted @ axes, brainlens.prepare_stimuli(law, expected.predict(shown @ axes)), law
    )


def _law(errors: np.ndarray) -> Any:
    return brainlens.noise_law(*brainlens.shrink_covariance(errors - errors.mean(axis=0)))


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
    """All of them together, weighted by how well they name stimuli that they were not fitted on.

    The training stimuli are parted into folds. MindEye is trained without each, and its predictions for the fold left
    out give the covariance of its errors; on new data the networks of all folds are averaged. Then every member's
    scores of left-out stimuli, among those of the same fold, decide the members' weights: those that make the true
    stimulus likeliest.
    """

    MEMBERS: tuple[str, ...] = ("mindeye", "mindeye, error covariance", "ridge LDA", "encoder", "encoder, nonlinear")

    def __init__(self, training: Training, *, seed: int) -> None:
        n = len(training.means)
        fold = np.random.default_rng(seed).permutation(n) % N_FOLDS
        parts = [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(N_FOLDS)]
        self.mean = training.embedding.mean(axis=0)
        self.networks = [
            MindEye(training.select(kept), seed=seed * N_FOLDS + number) for number, (kept, _) in enumerate(parts)
        ]
        left_out = np.empty_like(training.embedding)
        for network, (_, held) in zip(self.networks, parts, strict=True):
            left_out[held] = network.directions(training.means[held])
        known = unit(training.embedding - self.mean)
        held_scores: dict[str, list[np.ndarray]] = {name: [] for name in self.MEMBERS}
        for kept, held in parts:
            rule, part = error_rule(left_out[kept], known[kept]), training.select(kept)
            scores = (
                left_out[held] @ known[held].T,
                rule(left_out[held], known[held]),
                *(make(part)(training.means[held], training.embedding[held]) for make in _LIKELIHOODS),
            )
            for name, each in zip(self.MEMBERS, scores, strict=True):
                held_scores[name].append(each)
        self.weights = fit_weights([held_scores[name] for name in self.MEMBERS])
        self.rule = error_rule(left_out, known)
        self.others = [make(training) for make in _LIKELIHOODS]

    def parts(self, brain: np.ndarray, shown: np.ndarray) -> dict[str, np.ndarray]:
        """Return the scores of every member."""
        predicted = np.mean([network.directions(brain) for network in self.networks], axis=0)
        known = unit(shown - self.mean)
        scores = (
            predicted @ known.T, self.rule(predicted, known), *(other(brain, shown) for other in self.others)
        )  # fmt: skip
        return dict(zip(self.MEMBERS, scores, strict=True))

    def __call__(self, brain: np.ndarray, shown: np.ndarray) -> np.ndarray:
        """Return the weighted sum of the members' scores."""
        parts = self.parts(brain, shown).values()
        return np.asarray(sum(weight * each for weight, each in zip(self.weights, parts, strict=True)))


_LIKELIHOODS = (ridge_lda, encoder, encoder_nonlinear)


def fit_weights(scores: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Return the weights under which the true candidate is likeliest among those of its fold; a convex problem.

    Parameters
    ----------
    scores
        For each member, for each fold: scores (trial, candidate), the true candidate on the diagonal.

    Returns
    -------
    array
        One weight for each member.
    """
    # What a trial adds to all of its scores says nothing, and would drown what tells candidates apart.
    spread = np.array(
        [np.mean([(fold - fold.mean(axis=1, keepdims=True)).std() for fold in member]) for member in scores]
    )
    folds = [
        torch.from_numpy(
            np.stack([member[number] / size for member, size in zip(scores, spread, strict=True)], axis=-1)
        )
        for number in range(len(scores[0]))
    ]
    weights = torch.full((len(scores),), 1 / len(scores), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=500, line_search_fn="strong_wolfe")

    def missed() -> torch.Tensor:
        optimizer.zero_grad()
        total = 1e-4 * weights.square().sum()
        for fold in folds:
            total = total - torch.log_softmax(fold @ weights, dim=1).diagonal().mean() / len(folds)
        total.backward()
        return total

    optimizer.step(missed)
    return np.asarray(weights.detach().numpy() / spread)
