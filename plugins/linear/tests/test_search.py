"""Inner folds and the choice among candidates."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_linear import search

import brainlens


def labelled(stimuli):
    return xr.Dataset(coords={"stimulus_id": ("trial", np.asarray(stimuli))})


def test_trials_of_one_stimulus_share_a_fold():
    stimuli = np.random.default_rng(0).integers(23, size=200)
    fold = search.inner_folds(labelled(stimuli), "stimulus_id", n_folds=5, seed=4)
    assert set(fold) == set(range(5))
    assert all(len(set(fold[stimuli == stimulus])) == 1 for stimulus in stimuli)


def test_few_labels_are_left_out_one_by_one():
    fold = search.inner_folds(labelled(["a", "b", "c", "a"]), "stimulus_id", n_folds=5, seed=0)
    assert len(set(fold)) == 3
    assert fold[0] == fold[3]


def test_the_seed_decides_the_folds():
    stimuli = np.arange(50)
    folds = [search.inner_folds(labelled(stimuli), "stimulus_id", n_folds=5, seed=seed).tolist() for seed in (1, 1, 2)]
    assert folds[0] == folds[1] != folds[2]


def test_a_single_label_is_refused():
    with pytest.raises(brainlens.ParameterError) as caught:
        search.inner_folds(labelled(["face"] * 3), "stimulus_id", n_folds=5, seed=0)
    assert str(caught.value) == (
        "cv_by='stimulus_id': expected at least 2 labels to make inner folds of, found 'face' in all 3 training "
        "trials. Give another coordinate, or one alpha, which needs no folds."
    )


def test_an_unknown_coordinate_is_named_with_the_closest():
    with pytest.raises(brainlens.DimensionError, match=r"'stimulus'.*Closest: 'stimulus_id'"):
        search.inner_folds(labelled([1, 2]), "stimulus", n_folds=5, seed=0)


@pytest.mark.parametrize("alpha_per", ["target", "all"])
def test_targets_that_all_are_constant_are_refused(make_trials, fit, alpha_per):
    response, target = make_trials()
    target["embedding"][:] = 2
    with pytest.raises(brainlens.DimensionError, match="expected a channel that varies .* found 5 constant ones"):
        fit(response, target, alpha_per=alpha_per)


def test_ties_go_to_the_larger_penalty(make_trials, fit):
    response, target = make_trials()
    response["response"][:] = 0
    decoder = fit(response, target, alphas=(1.0, 100.0, 10.0))
    assert (decoder.alpha_ == 100).all()
