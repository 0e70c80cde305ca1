"""Splits and folds that never share a group, targets that are joined by label, the texts of errors."""

from collections import Counter

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings, strategies as st

from brainlens.errors import DimensionError, ParameterError
from brainlens.selection import folds, join_targets, match_folds, split_trials

# A busy machine is slow now and then; pytest-timeout catches what hangs.
examples = settings(deadline=None, max_examples=50)

LABELS = st.lists(st.integers(0, 12), min_size=4, max_size=40).filter(lambda labels: len(set(labels)) > 3)


def trials(labels, **others):
    return xr.Dataset(
        {"response": (("trial", "voxel"), np.arange(len(labels) * 2.0).reshape(-1, 2))},
        {"trial": np.arange(len(labels)), "stimulus_id": ("trial", labels), "voxel": [4, 5]}
        | {name: ("trial", values) for name, values in others.items()},
    )


def parts(dataset, by="stimulus_id"):
    """Return the set of labels in each part."""
    return {part: set(rows[by].values.tolist()) for part, rows in dataset.groupby("split")}


@examples
@given(LABELS, st.integers(0, 60), st.integers(0, 40), st.integers(0, 5))
def test_no_label_is_on_two_sides_and_shares_are_met(labels, test, val, seed):
    percentages = {"train": 100 - test - val, "val": val, "test": test}
    fractions = {part: percentage / 100 for part, percentage in percentages.items() if percentage}
    found = parts(split_trials(trials(labels), test=test / 100, val=val / 100, seed=seed))
    assert found.keys() == fractions.keys()
    assert sum(map(len, found.values())) == len(set(labels)) == len(set().union(*found.values()))
    for part, fraction in fractions.items():
        # Within one of the exact share, unless a part that would be empty was given a label.
        assert abs(len(found[part]) - fraction * len(set(labels))) < 1 + (len(fractions) == 3)


@examples
@given(LABELS, st.randoms(use_true_random=False))
def test_a_split_depends_on_the_set_of_labels_only(labels, random):
    first = parts(split_trials(trials(labels), val=0.2))
    more = labels + random.choices(labels, k=9)
    random.shuffle(more)
    assert parts(split_trials(trials(more), val=0.2)) == first
    assert parts(split_trials(trials(np.array(more, dtype="uint8")), val=0.2)) == first


def test_another_seed_gives_another_split():
    dataset = trials(np.arange(50))
    assert len({tuple(split_trials(dataset, seed=seed)["split"].values) for seed in range(5)}) == 5


def test_every_label_is_as_likely_to_be_held_out():
    held_out = Counter()
    for seed in range(400):
        held_out.update(parts(split_trials(trials(np.arange(10)), seed=seed))["test"])
    assert sum(held_out.values()) == 800
    # Four standard deviations of a count with p = 0.2.
    assert all(abs(count - 80) < 4 * 8 for count in held_out.values())


@pytest.mark.parametrize(
    ("n", "test", "val", "expected"),
    [
        (10, 0.2, 0.0, {"train": 8, "test": 2}),
        (10, 0.3, 0.1, {"train": 6, "val": 1, "test": 3}),
        (3, 0.01, 0.01, {"train": 1, "val": 1, "test": 1}),
        (3, 0.49, 0.49, {"train": 1, "val": 1, "test": 1}),
        (5, 1.0, 0.0, {"test": 5}),
        (5, 0.7, 0.3, {"val": 2, "test": 3}),
        (5, 0.0, 0.0, {"train": 5}),
        (982, 0.1, 0.0, {"train": 884, "test": 98}),
    ],
)
def test_groups_are_shared_out_by_rounding(n, test, val, expected):
    assert {
        part: len(labels) for part, labels in parts(split_trials(trials(np.arange(n)), test=test, val=val)).items()
    } == expected


def test_trials_are_split_by_run_or_session_and_keep_everything_else():
    dataset = trials(np.arange(8), run=[1, 1, 2, 2, 3, 3, 4, 4], session=list("aabbccdd"))
    by_run = split_trials(dataset, by="run", test=0.25)
    assert {part: len(runs) for part, runs in parts(by_run, "run").items()} == {"train": 3, "test": 1}
    assert parts(split_trials(dataset, by="session"), "session").keys() == {"train", "test"}
    xr.testing.assert_identical(by_run.drop_vars("split"), dataset)


def test_a_split_that_is_there_is_replaced():
    dataset = trials(np.arange(5), split=["val"] * 5)
    assert parts(split_trials(dataset)).keys() == {"train", "test"}


@pytest.mark.parametrize("fractions", [{"test": -0.1}, {"test": 0.7, "val": 0.4}, {"test": float("nan")}, {"test": 2}])
def test_impossible_fractions_are_refused(fractions):
    with pytest.raises(ParameterError, match="fractions from 0 to 1 that add up to 1 at most, found test="):
        split_trials(trials(np.arange(9)), **fractions)


def test_too_few_groups_are_refused():
    with pytest.raises(DimensionError) as caught:
        split_trials(trials([7, 7, 8, 8]), val=0.1)
    assert str(caught.value) == (
        "split by 'stimulus_id': expected at least 3 different values, one for each part, found 2: 7, 8. "
        "Split by another coordinate, or ask for fewer parts."
    )


def test_a_missing_coordinate_is_answered_with_the_closest():
    with pytest.raises(DimensionError) as caught:
        split_trials(trials([1, 2, 3], session=[1, 1, 2]), by="sesion")
    assert str(caught.value) == (
        "trials: expected a coordinate 'sesion' (trial), found none. "
        "Closest: 'session'. Known: 'session', 'stimulus_id', 'trial'."
    )
    with pytest.raises(DimensionError, match=r"expected a coordinate 'voxel' \(trial\), found none"):
        folds(trials([1, 2, 3]), "voxel")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([1.0, np.nan, 2.0]), "expected a label everywhere, found nan at position 1"),
        (np.array(["a", None, "b"], dtype=object), "expected a label everywhere, found (None|nan) at position 1"),
        (np.array(["a", 1, "b"], dtype=object), "expected text only or numbers only, found text and 1"),
    ],
)
def test_labels_that_cannot_be_grouped_are_refused(labels, message):
    with pytest.raises(DimensionError, match=message):
        split_trials(trials(labels))


@pytest.mark.parametrize("dtype", ["O", "T", "U3"])
def test_all_kinds_of_text_split_alike(dtype):
    labels = [f"s{n}" for n in range(20)]
    assert parts(split_trials(trials(np.array(labels, dtype=dtype)))) == parts(split_trials(trials(labels)))


@examples
@given(LABELS, st.none() | st.integers(2, 4), st.integers(0, 3))
def test_folds_hold_out_every_trial_once_and_no_label_twice(labels, n_folds, seed):
    made = folds(trials(labels), "stimulus_id", n_folds=n_folds, seed=seed)
    assert len(made) == (n_folds or len(set(labels)))
    assert sorted(np.concatenate([fold.test for fold in made])) == list(range(len(labels)))
    for fold in made:
        train, test = ({labels[position] for position in positions} for positions in (fold.train, fold.test))
        assert train
        assert test
        assert not train & test
        assert sorted([*fold.train, *fold.test]) == list(range(len(labels)))
        assert (np.diff(fold.train) > 0).all()
        assert (np.diff(fold.test) > 0).all()
    sizes = [len({labels[position] for position in fold.test}) for fold in made]
    assert max(sizes) - min(sizes) <= 1


def test_folds_are_named_after_what_is_left_out():
    made = folds(trials([1, 2, 3, 4], run=[10, 9, 10, 2]), "run")
    assert [fold.label for fold in made] == ["2", "9", "10"]
    assert made[2].test.tolist() == [0, 2]
    assert [fold.label for fold in folds(trials([1, 2, 3, 4]), "stimulus_id", n_folds=2)] == ["fold 1", "fold 2"]


def test_shuffled_folds_depend_on_the_seed_and_the_set_of_labels_only():
    def held_out(labels, seed):
        return [
            {labels[position] for position in fold.test}
            for fold in folds(trials(labels), "stimulus_id", n_folds=3, seed=seed)
        ]

    assert held_out([5, 6, 7, 8, 9, 5, 5], 1) == held_out([9, 8, 7, 6, 5], 1)
    assert len({str(held_out(list(range(12)), seed)) for seed in range(5)}) == 5


def test_impossible_folds_are_refused():
    for n_folds in (1, 4, 0):
        with pytest.raises(
            ParameterError, match=f"n_folds: expected 2 to 3, the number of different values of 'run', found {n_folds}"
        ):
            folds(trials([1, 2, 3], run=[1, 2, 3]), "run", n_folds=n_folds)
    with pytest.raises(
        DimensionError, match="folds by 'run': expected at least 2 different values, found 1. Choose another"
    ):
        folds(trials([1, 2, 3], run=[1, 1, 1]), "run")


@examples
@given(labels=st.lists(st.integers(0, 9), min_size=2).filter(lambda drawn: len(set(drawn)) > 1), most=st.integers(2, 9))
def test_most_folds_are_as_many_as_there_are_values_or_that_number(labels, most):
    parts = [(fold.label, *fold.test) for fold in folds(trials(labels), "stimulus_id", most=most, seed=2)]
    n_folds = most if len(set(labels)) > most else None
    same = folds(trials(labels), "stimulus_id", n_folds=n_folds, seed=2)
    assert parts == [(fold.label, *fold.test) for fold in same]
    assert len(parts) == min(most, len(set(labels)))


@pytest.mark.parametrize(("more", "found"), [({"most": 1}, "1 and n_folds=None"), ({"most": 3, "n_folds": 2}, "3 and")])
def test_most_folds_are_at_least_two_and_stand_alone(more, found):
    text = f"^most: expected a whole number from 2 and no n_folds, found {found}"
    with pytest.raises(ParameterError, match=text):
        folds(trials([1, 2, 3]), "stimulus_id", **more)


def test_folds_leave_out_what_was_averaged_over_their_trials():
    fitted, left = trials([1, 2, 1, 3], run=[1, 1, 2, 2]), trials([3, 1, 2], run=[2, 1, 1])
    parts = folds(fitted, "stimulus_id", n_folds=2)
    for before, after in zip(parts, match_folds(parts, fitted, left, "stimulus_id"), strict=True):
        assert (after.label, after.train.tolist()) == (before.label, before.train.tolist())
        named = [set(each["stimulus_id"].values[rows]) for each, rows in ((fitted, before.test), (left, after.test))]
        assert named[0] == named[1]
    with pytest.raises(
        DimensionError, match="average_predicted: expected averages within one fold, found some that mi"
    ):
        match_folds(folds(fitted, "run"), fitted, left.drop_vars("run"), "run")


def gallery(ids):
    return xr.Dataset({"embedding": (("stimulus", "channel"), np.zeros((len(ids), 2)))}, {"stimulus": ids})


@examples
@given(st.permutations(range(6)), st.lists(st.integers(0, 5), min_size=1))
def test_each_trial_gets_the_row_of_its_stimulus(ids, shown):
    target = gallery(ids)
    rows = join_targets(trials(shown), target)
    assert target["stimulus"].values[rows].tolist() == shown


@pytest.mark.parametrize("dtype", ["O", "T", "U3"])
def test_texts_of_all_kinds_are_joined(dtype):
    assert join_targets(trials(["b", "a", "b"]), gallery(np.array(["a", "b"], dtype=dtype))).tolist() == [1, 0, 1]


def test_large_identifiers_of_either_sign_are_not_rounded_together():
    ids = np.array([2**63 - 1, 2**63 - 2, 5], dtype="uint64")
    assert join_targets(trials(np.array([2**63 - 2, 5], dtype="int64")), gallery(ids)).tolist() == [1, 2]


def test_missing_stimuli_are_listed_with_counts():
    with pytest.raises(DimensionError) as caught:
        join_targets(trials([3, 1, 9, 9, 8]), gallery([1, 2, 3]))
    assert str(caught.value) == (
        "target: expected a row for each of 4 stimulus labels of the response, found none for 2 of them, "
        "in 3 of 5 trials: 8, 9. The target has 3: 1, 2, 3. Add the missing ones, or drop those trials."
    )


@pytest.mark.parametrize(("shown", "ids"), [([1, 2], ["1", "2"]), (["1", "2"], [1, 2]), ([1.0, 2.0], [1, 2])])
def test_numbers_never_match_texts(shown, ids):
    with pytest.raises(
        DimensionError, match=r"1 and '1' are never taken for the same. Convert one side, such as dataset\."
    ):
        join_targets(trials(shown), gallery(ids))


def test_ambiguous_targets_are_refused():
    with pytest.raises(DimensionError, match="'stimulus': expected unique labels, found 2 more than once"):
        join_targets(trials([2]), gallery([2, 2, 3]))
    with pytest.raises(DimensionError, match="dim 'stimulus': expected a coordinate of that name with labels"):
        join_targets(trials([2]), gallery([2, 3]).drop_vars("stimulus"))
    with pytest.raises(DimensionError, match=r"expected a dim 'stimulus' or 'trial', found \('voxel',\)"):
        join_targets(trials([2]), xr.Dataset(coords={"voxel": [1]}))


def test_targets_of_the_same_trials_are_joined_by_trial_in_any_order():
    response = trials([7, 7, 8])
    target = response.isel(trial=[2, 0, 1])
    rows = join_targets(response, target)
    xr.testing.assert_identical(target.isel(trial=rows), response)


def test_targets_of_other_trials_are_refused():
    response = trials([7, 7, 8])
    with pytest.raises(DimensionError, match=r"expected the 3 trials of the response, found 2\. Select or average"):
        join_targets(response, response.isel(trial=[0, 1]))
    with pytest.raises(
        DimensionError, match="each of 3 trial labels of the response, found none for 1 of them, in 1 of 3"
    ):
        join_targets(response, response.assign_coords(trial=[0, 1, 3]))


def test_trials_of_one_label_that_show_different_stimuli_are_refused():
    response = trials([7, 7, 8])
    with pytest.raises(
        DimensionError, match="the same stimulus in trials of the same label, found others in 2 of 3 trials: 1, 2"
    ):
        join_targets(response, trials([7, 8, 7]))
