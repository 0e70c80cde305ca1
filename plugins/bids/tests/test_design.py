"""Design matrices against those of nilearn, weights against least squares, and effects that cannot be told apart."""

import numpy as np
import pandas as pd
import pytest
from brainlens_bids import GlmParams
from brainlens_bids.design import RunDesign, find_weights, make_designs
from hypothesis import given, settings, strategies as st
from nilearn.glm.first_level import make_first_level_design_matrix

import brainlens


def design_of(onset, conditions, *, n_volumes=80, duration=2.0, is_trial=None, confounds=None, used=None):
    count = len(onset)
    events = pd.DataFrame(
        {
            "onset": np.asarray(onset, float),
            "duration": np.broadcast_to(np.asarray(duration, float), (count,)),
            "condition": conditions,
            "stimulus": conditions,
            "is_trial": np.ones(count, bool) if is_trial is None else is_trial,
            "row": np.arange(count),
        }
    )
    confounds = np.zeros((n_volumes, 0)) if confounds is None else confounds
    used = np.arange(n_volumes) if used is None else used
    return RunDesign(events, n_volumes, used, confounds, 2.0, 0.5, "events.tsv")


ONSET, KINDS = [4.0, 20.5, 41.0, 66.0, 90.0, 111.5], ["a", "b", "a", "b", "a", "b"]


def theirs(design, kinds, **more):
    events = design.events[["onset", "duration"]].assign(trial_type=kinds)
    return make_first_level_design_matrix(design.times, events, **more)


@pytest.mark.parametrize("hrf_model", ["glover", "spm + derivative", "glover + derivative + dispersion"])
@pytest.mark.parametrize("drift", [{}, {"drift_model": "polynomial", "drift_order": 3}, {"drift_model": None}])
def test_least_squares_all_has_the_columns_of_nilearn(hrf_model, drift):
    design = design_of(ONSET, KINDS)
    given = {**drift, "drift_model": drift.get("drift_model", "cosine") or "none"} if drift else {}
    ((positions, matrix),) = make_designs(design, GlmParams(hrf_model=hrf_model, **given))
    expected = theirs(design, [f"t{row}" for row in range(6)], hrf_model=hrf_model, **drift)
    assert positions.tolist() == list(range(6))
    assert matrix.shape == expected.shape
    np.testing.assert_allclose(matrix[:, :6], expected[[f"t{row}" for row in range(6)]])
    # Whatever the order of the others, the same is explained.
    np.testing.assert_allclose(np.linalg.lstsq(matrix, expected.to_numpy(), rcond=None)[1], 0, atol=1e-12)


@pytest.mark.parametrize("others", ["one", "condition"])
def test_least_squares_separate_has_one_model_for_each_trial(others):
    design = design_of(ONSET, KINDS)
    made = list(make_designs(design, GlmParams(method="lss", others=others)))
    assert [positions.tolist() for positions, _ in made] == [[row] for row in range(6)]
    for row, (_, matrix) in enumerate(made):
        kinds = ["this" if other == row else (KINDS[other] if others == "condition" else "rest") for other in range(6)]
        expected = theirs(design, kinds)
        assert matrix.shape == expected.shape
        np.testing.assert_allclose(matrix[:, 0], expected["this"])
        groups = ["a", "b"] if others == "condition" else ["rest"]
        np.testing.assert_allclose(matrix[:, 1 : 1 + len(groups)], expected[groups], atol=1e-12)


def test_the_only_trial_of_a_condition_leaves_no_empty_column():
    _, matrix = list(make_designs(design_of(ONSET[:3], ["a", "b", "b"]), GlmParams(method="lss")))[0]
    assert (np.linalg.norm(matrix, axis=0) > 0).all()
    assert matrix.shape[1] == 2 + theirs(design_of(ONSET[:3], KINDS[:3]), ["x"] * 3).shape[1] - 1


def test_nuisance_events_have_one_regressor_for_each_condition():
    is_trial = np.array([True, False, True, False, True, False])
    ((positions, matrix),) = make_designs(design_of(ONSET, KINDS, is_trial=is_trial), GlmParams())
    expected = theirs(design_of(ONSET, KINDS), ["t0", "b", "t1", "b", "t2", "b"])
    assert len(positions) == 3
    np.testing.assert_allclose(matrix[:, :4], expected[["t0", "t1", "t2", "b"]])


def test_only_volumes_that_are_used_are_rows():
    used = np.delete(np.arange(80), [3, 40, 41])
    ((_, some),) = make_designs(design_of(ONSET, KINDS, used=used), GlmParams())
    ((_, whole),) = make_designs(design_of(ONSET, KINDS), GlmParams())
    np.testing.assert_array_equal(some, whole[used])


def test_weights_are_those_of_least_squares():
    rng = np.random.default_rng(0)
    matrix, signal = rng.normal(size=(50, 8)) * 10.0 ** np.arange(-4, 4), rng.normal(size=(50, 3))
    expected = np.linalg.lstsq(matrix, signal, rcond=None)[0][:2]
    np.testing.assert_allclose(find_weights(matrix, 2) @ signal, expected, rtol=1e-8)


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(1e-6, 1e9), shift=st.floats(-1e4, 1e4))
def test_scale_and_mean_of_a_confound_do_not_matter(scale, shift):
    noise = np.random.default_rng(1).normal(size=(80, 1))
    weights = [
        find_weights(next(make_designs(design_of(ONSET, KINDS, confounds=confounds), GlmParams()))[1], 6)
        for confounds in (noise, (noise + shift) * scale)
    ]
    np.testing.assert_allclose(weights[1], weights[0], rtol=1e-4, atol=1e-4 * np.abs(weights[0]).max())


def test_confounds_that_say_the_same_do_no_harm():
    noise = np.random.default_rng(1).normal(size=(80, 2))
    both = np.column_stack([noise, noise.sum(axis=1), np.ones(80), np.zeros(80)])
    weights = [
        find_weights(next(make_designs(design_of(ONSET, KINDS, confounds=confounds), GlmParams()))[1], 6)
        for confounds in (noise, both)
    ]
    np.testing.assert_allclose(weights[1], weights[0], atol=1e-8)


def refused(design, **params):
    with pytest.raises(brainlens.ParameterError) as caught:
        list(make_designs(design, GlmParams(**params)))
    return str(caught.value)


def test_a_trial_that_is_a_sum_of_others_is_named():
    assert "found rows 2, 3 that cannot" in refused(design_of([4, 30, 30, 60], ["a", "b", "a", "b"]))
    confound = theirs(design_of(ONSET, KINDS), [f"t{row}" for row in range(6)])[["t4"]].to_numpy()
    assert "found rows 5 that cannot" in refused(design_of(ONSET, KINDS, confounds=confound))
    # For one model each, the two at one time are the same as each other, but in no model is one the other alone.
    both = design_of([30, 30], ["a", "a"])
    assert "found rows 1 that cannot" in refused(both, method="lss")


def test_a_trial_that_no_volume_sees_is_named():
    assert "found rows 6 that cannot" in refused(design_of([*ONSET[:5], 159.9], KINDS))


@pytest.mark.parametrize("onset", [160.0, 500.0, -30.0])
def test_onsets_outside_the_run_are_named(onset):
    message = refused(design_of([*ONSET[:5], onset], KINDS))
    assert message.startswith(
        f"events 'events.tsv': expected onsets within the run, 0 to 160 s, found {onset:g} s in row 6."
    )


def test_an_event_before_the_first_volume_still_has_an_effect():
    ((_, matrix),) = make_designs(design_of([-4.0, *ONSET[1:]], KINDS), GlmParams())
    assert matrix[0, 0] > 0
