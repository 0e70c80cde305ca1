import logging

import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval.columns import refuse_other_dims, refuse_top_k, scored_attrs, true_columns

import brainlens


def test_a_stimulus_that_is_no_candidate_is_named(as_ranking):
    ranking = as_ranking(np.eye(3), np.arange(3)).assign_coords(stimulus_id=("trial", [0, 7, 9]))
    with pytest.raises(
        brainlens.DimensionError, match=r"every stimulus_id among its 3 candidates, found 2 missing: 7, 9"
    ):
        true_columns(ranking)


def test_numbers_that_every_ranking_reaches_are_refused():
    refuse_top_k((1, 4), 5)
    with pytest.raises(brainlens.ParameterError, match="expected numbers under the 5 candidates, found 5, which every"):
        refuse_top_k((1, 5), 5)
    with pytest.raises(brainlens.ParameterError, match=r"expected each number once, found \(1, 1\)"):
        refuse_top_k((1, 1), 5)


def test_embeddings_of_trials_are_refused():
    decoded = xr.Dataset({"embedding": (("trial", "channel"), np.eye(2))})
    with pytest.raises(brainlens.DimensionError, match=r"gallery: expected dims .* found \(trial, channel\)"):
        refuse_other_dims(decoded, "gallery")


def test_trials_of_the_training_are_counted_and_warned_of(as_ranking, caplog):
    ranking = as_ranking(np.eye(3), np.arange(3)).assign_coords(in_training=("trial", [True, False, True]))
    with caplog.at_level(logging.WARNING, logger="brainlens"):
        attrs = scored_attrs(ranking, brainlens.Context(), component="retrieval.pools")
    assert attrs == {"schema": "score.v1", "similarity": "correlation", "n_in_training": 2}
    assert caplog.messages == [
        "retrieval.pools: 2 of 3 trials were in the training of their decoder; their scores are too good."
    ]
