"""Trials made ready for a decoder: parts, sites, targets, and which of them were trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings, strategies as st

import brainlens
from brainlens.errors import ParameterError
from brainlens.trials import (
    Preparation,
    add_training_rows,
    align_targets,
    coordinate_names,
    join_training_rows,
    mark_stimuli,
    mark_training,
    prepare_sites,
    prepare_trials,
    rows_of_model,
    select_sites,
    select_trials,
    site_of,
    training_rows,
    trial_digests,
)


def make_response(n_trials: int = 6, seed: int = 0) -> xr.Dataset:
    values = np.random.default_rng(seed).standard_normal((n_trials, 4), dtype=np.float32)
    return xr.Dataset(
        {"response": (("trial", "voxel"), values)},
        {
            "trial": np.arange(n_trials) + 50,
            "voxel": [3, 5, 7, 9],
            "stimulus_id": ("trial", [f"s{number // 2}" for number in range(n_trials)]),
            "split": ("trial", ["train"] * (n_trials - 2) + ["test"] * 2),
        },
        {"subject": "subj01"},
    )


def make_target(n_stimuli: int = 3) -> xr.Dataset:
    return xr.Dataset(
        {"embedding": (("stimulus", "channel"), np.arange(2.0 * n_stimuli).reshape(n_stimuli, 2))},
        {"stimulus": [f"s{number}" for number in range(n_stimuli)], "channel": [0, 1]},
        {"model": "toy"},
    )


def test_without_a_choice_the_default_part_is_taken() -> None:
    response = make_response()
    assert select_trials(response, Preparation(), default="test")["trial"].values.tolist() == [54, 55]
    assert select_trials(response.drop_vars("split"), Preparation(), default="test").sizes["trial"] == 6


def test_a_choice_comes_before_the_default() -> None:
    assert select_trials(make_response(), Preparation(split="train"), default="test").sizes["trial"] == 4
    assert select_trials(make_response(), Preparation(split="all"), default="test").sizes["trial"] == 6


def test_nothing_is_averaged_or_selected_unasked() -> None:
    response = make_response()
    assert prepare_trials(prepare_sites(response, Preparation()), Preparation()) is response


def test_choices_are_recorded_as_plain_values() -> None:
    made = Preparation(roi="V1", average=("stimulus_id",), standardize="center", split="train")
    assert made.options() == {"roi": "V1", "average": ["stimulus_id"], "standardize": "center", "split": "train"}


@settings(max_examples=30)
@given(st.permutations(range(4)))
def test_sites_are_taken_by_label_in_the_order_of_the_model(order: list[int]) -> None:
    response = make_response()
    found = select_sites(response.isel(voxel=order), response.isel(voxel=[2, 0]))
    np.testing.assert_array_equal(found["response"].values, response["response"].values[:, [2, 0]])
    assert found["voxel"].values.tolist() == [7, 3]


def test_targets_are_aligned_row_for_row() -> None:
    response = make_response().isel(trial=[4, 0, 3])
    aligned = align_targets(response, make_target())
    np.testing.assert_array_equal(aligned["embedding"].values, [[4, 5], [0, 1], [2, 3]])
    assert aligned["trial"].values.tolist() == [54, 50, 53]
    assert set(aligned.coords) == {"trial", "stimulus_id", "split", "channel"}


def test_unused_trials_are_left_out_of_the_target() -> None:
    response = make_response()
    target = align_targets(response, make_target()).assign_attrs(model="toy").drop_vars("split")
    chosen = response.isel(trial=[3, 1])
    with pytest.raises(brainlens.DimensionError, match="target: expected the 2 trials of the response, found 6"):
        align_targets(chosen, target)
    unused = np.setdiff1d(response["trial"].values, chosen["trial"].values)
    np.testing.assert_array_equal(align_targets(chosen, target, unused=unused)["embedding"].values, [[2, 3], [0, 1]])


def test_digests_tell_trials_apart_and_know_them_again() -> None:
    response = make_response(200)
    digests = trial_digests(response)
    assert (digests.shape, digests.dtype) == ((200,), np.uint64)
    assert len(np.unique(digests)) == 200
    order = np.random.default_rng(1).permutation(200)
    np.testing.assert_array_equal(trial_digests(response.isel(trial=order)), digests[order])
    np.testing.assert_array_equal(trial_digests(response.transpose("voxel", "trial")), digests)
    np.testing.assert_array_equal(trial_digests(response.astype(np.float64)), digests)


def test_trials_are_known_by_label_in_the_same_response_and_by_value_in_another() -> None:
    response = make_response()
    rows = training_rows(response.isel(trial=[0, 5]), "sha256:a")
    for dataset, digest in ((response, "sha256:a"), (response.assign_coords(trial=np.arange(6)), "sha256:b")):
        marked = mark_training(dataset, rows, digest=digest)
        assert marked["in_training"].values.tolist() == [True, False, False, False, False, True]
    assert not mark_training(make_response(seed=1), rows, digest="sha256:b")["in_training"].values.any()


def test_trials_that_will_be_averaged_are_marked_together() -> None:
    response = make_response().drop_vars("split")
    rows = training_rows(response.isel(trial=[0]), "sha256:a")
    marked = mark_training(response, rows, digest="sha256:a", average=("stimulus_id",))
    assert marked["in_training"].values.tolist() == [True, True, False, False, False, False]
    averaged = prepare_trials(marked, Preparation(average=("stimulus_id",)))
    assert averaged["in_training"].values.tolist() == [True, False, False]


def test_the_same_label_in_another_response_is_another_trial() -> None:
    first, second = make_response(), make_response(seed=1)
    rows = join_training_rows(
        [training_rows(first.isel(trial=[0, 1]), "sha256:a"), training_rows(second.isel(trial=[1, 2]), "sha256:b")]
    )
    assert rows["training_trial"].values.tolist() == [50, 51, 51, 52]
    assert rows["training_response"].values.tolist() == [0, 0, 1, 1]
    for dataset, digest, expected in ((first, "sha256:a", [0, 1]), (second, "sha256:b", [1, 2])):
        marked = mark_training(dataset, rows, digest=digest)
        assert np.flatnonzero(marked["in_training"].values).tolist() == expected
    elsewhere = mark_training(second.isel(trial=[5, 2, 0]), rows, digest="sha256:c")
    assert elsewhere["in_training"].values.tolist() == [False, True, False]


def test_text_and_numbers_as_labels_of_trials_go_together() -> None:
    first, second = make_response(), make_response(seed=1)
    second = second.assign_coords(trial=[f"t{number}" for number in range(6)])
    rows = join_training_rows(
        [training_rows(first.isel(trial=[0]), "sha256:a"), training_rows(second.isel(trial=[3]), "sha256:b")]
    )
    assert rows["training_trial"].values.tolist() == ["50", "t3"]
    for dataset, digest, expected in ((first, "sha256:a", [0]), (second, "sha256:b", [3])):
        marked = mark_training(dataset, rows, digest=digest)
        assert np.flatnonzero(marked["in_training"].values).tolist() == expected


def test_what_is_kept_of_training_trials_comes_back_from_a_model() -> None:
    first, second = make_response(), make_response(seed=1)
    parts = [training_rows(first, "sha256:a"), training_rows(second, "sha256:b")]
    once, several = join_training_rows(parts[:1]), join_training_rows(parts)
    frame = xr.Dataset({"training_mean": ("voxel", np.zeros(4))}, {"voxel": [3, 5, 7, 9]}, {"standardize": "none"})
    for rows in (once, several):
        xr.testing.assert_identical(rows_of_model(add_training_rows(frame, rows), "sha256:a"), rows)
    stored = add_training_rows(frame, once)
    assert set(stored.coords) == {"voxel", "training_trial", "training_stimulus"}
    assert stored.attrs == {"standardize": "none"}


def test_a_trial_that_was_met_twice_is_kept_once() -> None:
    response = make_response()
    parts = [
        training_rows(response.isel(trial=[0, 1]), "sha256:a"),
        training_rows(response.isel(trial=[1]), "sha256:a"),
    ]
    rows = join_training_rows(parts)
    assert rows["training_trial"].values.tolist() == [50, 51]
    assert "training_response" not in rows.coords


def test_stimuli_of_models_that_did_not_keep_them_are_left_out() -> None:
    response = make_response()
    before = training_rows(response.isel(trial=[0]), "sha256:a").drop_vars("training_stimulus")
    rows = join_training_rows([before, training_rows(response.isel(trial=[1]), "sha256:a")])
    assert set(rows.coords) == {"training_trial"}
    assert rows["training_trial"].values.tolist() == [50, 51]


@pytest.mark.parametrize(
    ("shown", "met"), [(["s0", "s1"], ["s1", "s2"]), ([0, 1], [1, 2]), ([0, 1], ["1", "2"]), (["0", "1"], [1, 2])]
)
def test_stimuli_that_were_met_are_marked_whatever_their_labels_are_stored_as(shown: list[Any], met: list[Any]) -> None:
    for dtype in (None, object, np.dtypes.StringDType()) if isinstance(shown[0], str) else (None,):
        trials = xr.Dataset(coords={"stimulus_id": ("trial", np.array(shown, dtype=dtype))})
        rows = xr.Dataset(coords={"training_stimulus": ("training_trial", np.array(met))})
        assert mark_stimuli(trials, rows)["in_training"].values.tolist() == [False, True]


def test_names_of_coordinates_may_be_text() -> None:
    assert coordinate_names("") == coordinate_names(()) == ()
    assert coordinate_names(["a, b", "c"]) == ("a, b", "c")


@pytest.mark.parametrize("wrong", [True, 3, None, ["stimulus_id", 1], {"stimulus_id"}])
def test_what_names_no_coordinates_is_refused(wrong):
    with pytest.raises(ParameterError) as caught:
        coordinate_names(wrong)
    assert str(caught.value) == (
        f"average: expected names of coordinates (trial), such as 'stimulus_id', found {wrong!r}. Leave it out for "
        "single trials."
    )
    with pytest.raises(ParameterError, match="^average_predicted: expected names of coordinates"):
        coordinate_names(wrong, called="average_predicted")


@pytest.mark.parametrize(("dims", "expected"), [(("trial", "voxel"), "voxel"), (("trial", "vertex"), "vertex")])
def test_the_dim_of_the_sites(dims: tuple[str, str], expected: str) -> None:
    assert site_of(xr.Dataset({"response": (dims, np.zeros((2, 2)))})) == expected


def test_a_dataset_without_sites_is_refused() -> None:
    with pytest.raises(
        brainlens.DimensionError, match="^response: expected dim 'voxel' or 'vertex', found stimulus, channel"
    ):
        site_of(make_target())


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"split": "training"}, "split: unknown choice 'training'. Closest: 'train'."),
        ({"standardize": None}, "standardize: unknown choice None. "),
    ],
)
def test_unknown_choices_are_refused(given: dict[str, Any], text: str) -> None:
    with pytest.raises(brainlens.ParameterError, match=f"^{text}"):
        Preparation(**given)
