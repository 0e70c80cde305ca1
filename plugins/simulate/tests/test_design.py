"""The order of trials."""

import numpy as np
from brainlens_simulate.design import MOST_IN_RUN, REST_S, TRIAL_S, Design, draw_design, run_length


def made(n_stimuli: int = 50, n_repetitions: int = 3, n_sessions: int = 4) -> Design:
    rng = np.random.default_rng(0)
    return draw_design(rng, n_stimuli=n_stimuli, n_repetitions=n_repetitions, n_sessions=n_sessions)


def test_every_stimulus_is_shown_equally_often() -> None:
    assert set(np.bincount(made().row)) == {3}


def test_repetitions_count_from_zero_in_order() -> None:
    design = made()
    for row in range(50):
        assert design.repetition[design.row == row].tolist() == [0, 1, 2]


def test_sessions_are_equally_long() -> None:
    counts = np.bincount(made().session)[1:]
    assert counts.max() - counts.min() <= 1


def test_runs_belong_to_one_session_and_hold_at_most_63_trials() -> None:
    design = made(n_stimuli=300)
    for run in np.unique(design.run):
        here = design.run == run
        assert len(set(design.session[here])) == 1
        assert here.sum() <= MOST_IN_RUN
    assert np.all(np.diff(design.run) >= 0)


def test_onsets_count_from_the_start_of_the_run() -> None:
    design = made()
    for run in np.unique(design.run):
        onset = design.onset[design.run == run]
        np.testing.assert_allclose(onset, REST_S + TRIAL_S * np.arange(len(onset)))
        assert onset[-1] + TRIAL_S < run_length(len(onset))
