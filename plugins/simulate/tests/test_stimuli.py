"""Shared and own stimuli."""

import numpy as np
import pytest
from brainlens_simulate.params import ScenesParams
from brainlens_simulate.scenes import read
from brainlens_simulate.stimuli import Stimuli, make_stimuli, reference_features
from brainlens_simulate.subject_params import SubjectParams

import brainlens

CONTEXT = brainlens.Context(seed=0)
PARAMS = SubjectParams(n_stimuli=6, n_shared=4, n_sessions=1, population=7)


@pytest.fixture(scope="module")
def stimuli() -> Stimuli:
    return make_stimuli(PARAMS, CONTEXT, own_seed=2**32 + 1)


def test_shared_stimuli_are_the_scenes_of_the_population(stimuli: Stimuli) -> None:
    scenes = read(params=ScenesParams(n=4, annotate=False), context=brainlens.Context(seed=7))
    for name, found in (("images", stimuli.images), ("captions", stimuli.captions), ("factors", stimuli.factors)):
        assert found.isel(stimulus=slice(4)).compute().identical(scenes[name].compute())


def test_subjects_share_stimuli_and_have_their_own(stimuli: Stimuli) -> None:
    other = make_stimuli(PARAMS, CONTEXT, own_seed=2**32 + 2)
    same = stimuli.images["stimulus"].values == other.images["stimulus"].values
    assert same.tolist() == [True] * 4 + [False] * 6
    equal = (stimuli.images["image"].values == other.images["image"].values).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(equal, same)


def test_all_parts_are_about_the_same_stimuli(stimuli: Stimuli) -> None:
    names = stimuli.images["stimulus"].values
    assert len(set(names)) == 10
    for part in (stimuli.captions, stimuli.factors):
        np.testing.assert_array_equal(part["stimulus"].values, names)
    assert len(stimuli.features.latent) == len(stimuli.features.maps) == 10


def test_features_do_not_depend_on_the_size_that_is_stored(stimuli: Stimuli) -> None:
    large = make_stimuli(PARAMS.model_copy(update={"size": 96}), CONTEXT, own_seed=2**32 + 1)
    assert large.images["image"].shape[1:3] == (96, 96)
    np.testing.assert_array_equal(large.features.maps, stimuli.features.maps)


def test_annotations_come_when_asked_for(stimuli: Stimuli) -> None:
    annotated = make_stimuli(PARAMS.model_copy(update={"annotate": True}), CONTEXT, own_seed=2**32 + 1)
    assert {"object_map", "depth"} <= set(annotated.images.data_vars)
    assert not {"object_map", "depth"} & set(stimuli.images.data_vars)


@pytest.mark.parametrize("empty", ["n_stimuli", "n_shared"])
def test_either_kind_of_stimuli_may_be_missing(empty: str) -> None:
    made = make_stimuli(PARAMS.model_copy(update={empty: 0}), CONTEXT, own_seed=2**32 + 1)
    assert made.images.sizes["stimulus"] == 10 - getattr(PARAMS, empty)


def test_reference_scenes_are_the_same_for_all_subjects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brainlens_simulate.stimuli.N_REFERENCE", 5)
    first, second = (reference_features(PARAMS.model_copy(update={"subject": name})) for name in ("a", "b"))
    np.testing.assert_array_equal(first.maps, second.maps)
