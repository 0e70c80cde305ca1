import numpy as np
import pandas as pd
import pytest
from brainlens_nifti.events import find_events, join_events
from hypothesis import given, strategies as st


def table(*events):
    return "onset\tduration\ttrial_type\n" + "".join(f"{a}\t{b}\t{c}\n" for a, b, c in events)


@pytest.fixture
def runs(study):
    """Give files of one run each."""
    return [study.save(f"{run}.nii", study.bold[..., study.runs == run]) for run in (0, 1)]


def test_events_give_what_labels_of_the_volumes_give(study, runs):
    by_labels = study.read(average_over="block")
    text = table((2.0, 4.0, "face"), (8.0, 6.0, "house"), (16, 1.999, "face"))
    events = [study.write(f"{run}.tsv", text) for run in (0, 1)]
    by_events = study.read(bold=runs, labels="", events=events, average_over="block")
    for name in by_labels:
        assert by_labels[name].identical(by_events[name])


def test_events_without_a_word_on_their_delay_are_said_to_have_none(study, runs, caplog):
    events = study.write("e.tsv", table((0, 4, "face")))
    study.read(bold=runs[0], labels="", events=events)
    assert "with no haemodynamic delay. The response comes some 5 s later: say delay=5, or delay=0" in caplog.text
    caplog.clear()
    study.read(bold=runs[0], labels="", events=events, delay=0)
    assert "delay" not in caplog.text


def test_a_delay_moves_events_to_later_volumes(study, runs):
    events = study.write("e.tsv", table((0, 4, "face")))
    bold = study.read(bold=runs[0], labels="", events=events, delay=5.0)["bold"]
    np.testing.assert_array_equal(np.flatnonzero(bold["stimulus_id"] == "face"), [3, 4])


def test_neighbouring_events_of_one_kind_stay_two_blocks(study, runs):
    events = study.write("e.tsv", table((0, 4, "face"), (4, 4, "face")))
    response = study.read(bold=runs[0], labels="", events=events, average_over="block")["response"]
    assert response["n_volumes"].values.tolist() == [2, 2]


def test_the_column_can_be_chosen_and_rest_events_are_left_out(study, runs):
    text = "onset\tduration\tevent_type\tstimulus_id\n"
    text += "0\t4\trest\tn/a\nn/a\tn/a\trest\tn/a\n4\t4\tstimulus\t1518878.005958\n"
    events = study.write("e.tsv", text)
    made = study.read(bold=runs[0], labels="", events=events, label_column="stimulus_id", rest="n/a")
    assert set(made["response"]["stimulus_id"].values) == {"1518878.005958"}


@pytest.mark.parametrize(
    ("events", "text"),
    [
        (
            [(0, 4, "face"), (2, 4, "house")],
            "expected at most one event at a time, found 'face', 'house' together in the volume at",
        ),
        (
            [(0, 4, "face"), (4.5, 0.5, "house")],
            "found none in 1 of 2, first 'house' at 4.5 s for 0.5 s. The run has 10 volumes",
        ),
        ([(30, 4, "face")], "found none in 1 of 1, first 'face' at 30.0 s for 4.0 s"),
        ([("n/a", 4, "face")], "found onset nan, duration 4.0 for 'face' in row 1"),
        ([(0, -1, "face")], "found onset 0.0, duration -1.0 for 'face' in row 1"),
        ([(0, 4, "Rest")], "rest: expected labels that occur in events, found 'rest'. Closest: 'Rest'"),
    ],
)
def test_events_that_volumes_cannot_show_are_refused(study, runs, events, text):
    path = study.write("e.tsv", table(*events))
    assert text in study.error(bold=runs[0], labels="", events=path)


def test_tables_and_images_must_be_as_many(study):
    path = study.write("e.tsv", table((0, 4, "face")))
    assert study.error(labels="", events=[path, study.write("f.tsv", table((0, 4, "face")))]) == (
        "events: expected one table per image, 1 in all, found 2. Where one image holds all runs, give labels instead."
    )


def test_a_missing_column_is_named(study, runs):
    path = study.write("e.tsv", "onset\tduration\tcondition\n0\t4\tface\n")
    assert f"events {path!r}: expected a column 'trial_type', found none." in study.error(
        bold=runs[0], labels="", events=path
    )


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), min_size=1, max_size=8),
    st.sampled_from([0.72, 1.0, 1.35, 2.5]),
    st.integers(0, 3),
)
def test_each_event_covers_exactly_its_volumes(gaps, t_r, delay):
    starts = np.cumsum([gap for gap, _ in gaps]) + np.cumsum([0, *[length for _, length in gaps[:-1]]])
    lengths = np.array([length for _, length in gaps])
    expected = np.full(starts[-1] + lengths[-1] + delay, -1)
    for number, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        expected[start + delay : start + delay + length] = number
    # Tables round times to ms.
    events = pd.DataFrame(
        {"onset": np.round(starts * t_r, 3), "duration": np.round(lengths * t_r, 3), "label": "a", "file": "x"}
    )
    found = find_events(np.arange(len(expected)) * t_r, events, delay=delay * t_r)
    np.testing.assert_array_equal(found, expected)


def test_close_events_of_one_label_can_be_joined():
    events = pd.DataFrame(
        {"onset": [0, 2, 4.0, 6, 12], "duration": 0.5, "label": ["a", "a", "b", "b", "b"], "file": "x"}
    )
    joined = join_events(events.sample(frac=1, random_state=0), gap=1.5)
    assert joined[["onset", "duration", "label"]].values.tolist() == [[0, 2.5, "a"], [4, 2.5, "b"], [12, 0.5, "b"]]


def test_real_tables_with_one_event_per_picture_give_blocks(study, shared):
    path = sorted(shared("bids_events_haxby_god").glob("ds000105/**/sub-1_*run-01_events.tsv"))[0]
    values = np.random.default_rng(0).integers(0, 9, (*study.mask.shape, 121)).astype(np.int16)
    timed = {"bold": study.save("long.nii", values, t_r=2.5), "labels": "", "events": path, "average_over": "block"}
    assert "found none in 77 of 96, first 'scissors' at 12.0 s for 0.5 s" in study.error(**timed)
    found = study.read(**timed, event_gap=1.5)["response"]
    assert sorted(found["stimulus_id"].values) == [
        "bottle", "cat", "chair", "face", "house", "scissors", "scrambledpix", "shoe"
    ]  # fmt: skip
    assert set(found["n_volumes"].values) == {9}
