"""The rule that knows how a decoder misses, against dense normal densities and against what it must not look at."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval.params import RankParams
from brainlens_retrieval.rank import rank
from brainlens_retrieval.rules import error_rule, training_pairs
from scipy import stats

import brainlens


def missed(n: int, seed: int, n_values: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """True embeddings, and decoded ones that shrink, shift and err most along one direction."""
    rng = np.random.default_rng(seed)
    true = rng.standard_normal((n, n_values))
    errors = rng.standard_normal((n, n_values)) * 0.5 + 3 * rng.standard_normal((n, 1)) * np.eye(n_values)[0]
    return 0.6 * true + 1 + errors, true


def test_differences_are_those_of_normal_densities():
    left_out, true = missed(4000, 0)
    rule = error_rule(left_out, true)
    decoded, candidates = missed(20, 1)
    found = rule.log_likelihood(decoded, candidates)
    covariance = 0.25 * np.eye(6)
    covariance[0, 0] += 9
    law = stats.multivariate_normal(np.zeros(6), covariance)
    expected = np.array([[law.logpdf(one - 0.6 * other - 1) for other in candidates] for one in decoded])
    difference = (found - found[:, :1]) - (expected - expected[:, :1])
    assert np.abs(difference).max() < 0.1 * np.abs(expected - expected[:, :1]).max()


def test_what_is_said_outside_the_span_of_training_embeddings_counts_for_nothing():
    rng = np.random.default_rng(2)
    true = rng.standard_normal((50, 2)) @ rng.standard_normal((2, 5))
    rule = error_rule(true + 0.1 * rng.standard_normal(true.shape), true)
    assert rule.axes.shape == (5, 2)
    outside = np.linalg.svd(true)[2][-1]
    decoded = true[:3] + 100 * outside
    np.testing.assert_allclose(rule.log_likelihood(decoded, true), rule.log_likelihood(true[:3], true), atol=1e-6)


def as_datasets(n_training: int = 300, n_test: int = 60) -> tuple[xr.Dataset, ...]:
    left_out, true = missed(n_training, 3)
    decoded, tested = missed(n_test, 4)
    names = [[f"{part}{number:03d}" for number in range(n)] for part, n in (("a", n_training), ("b", n_test))]
    attrs = {"schema": "embedding.v1", "model": "toy"}

    def of_trials(values: np.ndarray, stimuli: list[str]) -> xr.Dataset:
        labels = {"trial": np.arange(len(values)), "stimulus_id": ("trial", stimuli), "channel": np.arange(6)}
        return xr.Dataset({"embedding": (("trial", "channel"), values)}, labels, attrs)

    def of_stimuli(values: np.ndarray, stimuli: list[str]) -> xr.Dataset:
        labels = {"stimulus": stimuli, "channel": np.arange(6)}
        return xr.Dataset({"embedding": (("stimulus", "channel"), values)}, labels, attrs)

    return (
        of_trials(decoded, names[1]), of_stimuli(tested, names[1]), of_trials(left_out, names[0]),
        of_stimuli(true, names[0]),
    )  # fmt: skip


def ranked(decoded, gallery, left_out=None, target=None, **params) -> xr.Dataset:
    return rank(
        decoded, gallery, left_out=left_out, target=target, params=RankParams(**params), context=brainlens.Context()
    )


def test_knowing_how_a_decoder_misses_helps():
    decoded, gallery, left_out, target = as_datasets()
    plain = ranked(decoded, gallery, metric="cosine")
    ruled = ranked(decoded, gallery, left_out, target, metric="lda")
    brainlens.validate(ruled, "ranking.v1")
    assert ruled.attrs["likelihood"] == 1
    assert ruled.attrs["metric"] == "lda"
    assert "likelihood" not in plain.attrs
    assert (ruled["rank"] == 1).mean() > (plain["rank"] == 1).mean() + 0.2


def test_it_does_not_look_at_other_test_trials():
    decoded, gallery, left_out, target = as_datasets()
    whole = ranked(decoded, gallery, left_out, target, metric="lda")
    few = ranked(decoded.isel(trial=slice(3)), gallery, left_out, target, metric="lda")
    np.testing.assert_allclose(few["similarity"], whole["similarity"][:3], atol=1e-9)


def test_inputs_of_the_rule_are_wanted_with_it_and_only_then():
    decoded, gallery, left_out, target = as_datasets()
    with pytest.raises(brainlens.ParameterError, match="expected 'left_out' and 'target', found neither"):
        ranked(decoded, gallery, metric="lda")
    with pytest.raises(brainlens.ParameterError, match="expected 'left_out' and 'target', found 'left_out'"):
        ranked(decoded, gallery, left_out, metric="lda")
    with pytest.raises(
        brainlens.ParameterError, match="left_out: expected it with metric='lda' alone, found metric='cos"
    ):
        ranked(decoded, gallery, left_out, target, metric="cosine")


def test_what_was_tested_or_trained_on_is_refused():
    decoded, gallery, left_out, target = as_datasets()
    tested = decoded["stimulus_id"].values
    inside = left_out.assign_coords(stimulus_id=("trial", [tested[0], *left_out["stimulus_id"].values[1:]]))
    with pytest.raises(brainlens.DimensionError, match="stimuli that are not tested, found 1 that are: 'b000'"):
        ranked(decoded, gallery, inside, target, metric="lda")
    trained = left_out.assign_coords(in_training=("trial", np.arange(300) < 4))
    with pytest.raises(brainlens.DimensionError, match="not fitted on, found 4 of 300 that it was"):
        ranked(decoded, gallery, trained, target, metric="lda")
    with pytest.raises(brainlens.DimensionError, match="every left-out stimulus, found 290 missing: 'a010'"):
        ranked(decoded, gallery, left_out, target.isel(stimulus=slice(10)), metric="lda")
    with pytest.raises(brainlens.DimensionError, match="left_out and target of one model, found 'other' and 'toy'"):
        ranked(decoded, gallery, left_out.assign_attrs(model="other"), target, metric="lda")
    with pytest.raises(brainlens.DimensionError, match="enough trials .* found 2"):
        training_pairs(left_out.isel(trial=slice(2)), target, tested=tested)
