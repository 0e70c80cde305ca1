from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from brainlens_evaluation.sources import (
    Source,
    choose_candidate,
    mean_image,
    nearest_training,
    read,
    refuse_other_colours,
    rows_of_stimuli,
    rows_of_trials,
    training_rows,
)

import brainlens


def _candidates(reconstructions: xr.Dataset, n: int) -> xr.Dataset:
    image = reconstructions["image"].expand_dims(candidate=n, axis=1).copy()
    image.values[:, -1] //= 2
    return reconstructions.assign(image=image)


def test_rows_are_read_in_the_order_that_is_asked_for(stimuli: xr.Dataset) -> None:
    rows = np.array([3, 0, 3, 9])
    np.testing.assert_array_equal(read(stimuli["image"], rows), stimuli["image"].values[rows])


def test_a_candidate_is_chosen_by_number(reconstructions: xr.Dataset) -> None:
    several = _candidates(reconstructions, 3)
    chosen = choose_candidate(several, 2, name="reconstructed")
    np.testing.assert_array_equal(chosen.values, reconstructions["image"].values // 2)
    assert choose_candidate(reconstructions, -1, name="reconstructed").identical(reconstructions["image"])


@pytest.mark.parametrize("candidate", [-1, 3])
def test_several_candidates_need_a_choice(reconstructions: xr.Dataset, candidate: int) -> None:
    with pytest.raises(brainlens.ParameterError, match="candidate: expected a number from 0 to 2.*would be cheating"):
        choose_candidate(_candidates(reconstructions, 3), candidate, name="reconstructed")


def test_a_choice_without_candidates_is_refused(reconstructions: xr.Dataset) -> None:
    with pytest.raises(brainlens.ParameterError, match="candidate: expected -1, as reconstructed has one image"):
        choose_candidate(reconstructions, 0, name="reconstructed")


def test_images_of_rois_are_refused(reconstructions: xr.Dataset) -> None:
    of_rois = xr.Dataset({"image": _candidates(reconstructions, 1)["image"].rename(trial="roi")})
    with pytest.raises(
        brainlens.DimensionError, match=r"expected images of trials, found dims \(roi, candidate, y, x, rgb\)"
    ):
        choose_candidate(of_rois, 0, name="reconstructed")


def test_grey_beside_colour_is_refused(reconstructions: xr.Dataset, stimuli_of: Callable[..., xr.Dataset]) -> None:
    grey = stimuli_of(grey=True)
    with pytest.raises(brainlens.DimensionError, match="found reconstructed in colour, seen in grey"):
        refuse_other_colours([("reconstructed", reconstructions["image"]), ("seen", grey["image"])])
    refuse_other_colours([("a", grey["image"]), ("b", grey["image"])])


def test_stimuli_are_found_by_their_labels(stimuli: xr.Dataset) -> None:
    assert rows_of_stimuli(stimuli, np.array(["s07", "s00"])).tolist() == [7, 0]


def test_missing_stimuli_are_refused(stimuli: xr.Dataset) -> None:
    with pytest.raises(brainlens.DimensionError, match="found 1 of 2 missing: 'x'"):
        rows_of_stimuli(stimuli, np.array(["s07", "x"]))
    with pytest.raises(brainlens.DimensionError, match="such as 'x', found none of them, but such as 's00'"):
        rows_of_stimuli(stimuli, np.array(["x", "y"]))


def test_floors_are_joined_by_trial(reconstructions: xr.Dataset) -> None:
    assert rows_of_trials(reconstructions.isel(trial=[5, 4, 3, 2, 1, 0]), reconstructions, "prior").tolist() == [
        5,
        4,
        3,
        2,
        1,
        0,
    ]


def test_floors_of_other_trials_are_refused(reconstructions: xr.Dataset) -> None:
    with pytest.raises(
        brainlens.DimensionError, match=r"floors, prior: expected an image of every trial, found 2 of 6 missing"
    ):
        rows_of_trials(reconstructions.isel(trial=slice(4)), reconstructions, "prior")
    other = reconstructions.assign_coords(stimulus_id=("trial", reconstructions["stimulus_id"].values[::-1]))
    with pytest.raises(brainlens.DimensionError, match=r"floors, prior: expected trials of the same stimuli, found 6"):
        rows_of_trials(other, reconstructions, "prior")


def test_training_images_are_never_those_that_are_tested(stimuli: xr.Dataset) -> None:
    shown = stimuli["stimulus"].values[[0, 4]]
    assert training_rows(stimuli, shown).tolist() == [1, 2, 3, 5, 6, 7, 8, 9]
    with pytest.raises(
        brainlens.DimensionError, match="training: expected images that no scored trial shows, found 10"
    ):
        training_rows(stimuli, stimuli["stimulus"].values)


def test_the_mean_image_is_the_mean(stimuli: xr.Dataset) -> None:
    rows = np.array([1, 4, 6])
    found = mean_image(stimuli["image"], rows, 5)
    assert found.rows.tolist() == [0] * 5
    expected = np.rint(stimuli["image"].values[rows].mean(axis=0))
    np.testing.assert_array_equal(found.pixels.values[0], expected.astype(np.uint8))


def test_the_nearest_training_image_is_that_which_the_reconstruction_resembles(
    stimuli_of: Callable[..., xr.Dataset], context: brainlens.Context
) -> None:
    training = stimuli_of(300, 24)["image"]
    wanted = np.array([7, 280, 7, 111])
    # Darker and of less contrast: a correlation does not care.
    made = Source(name="made", pixels=training[wanted].astype(np.float32) * 0.5 + 20, rows=np.arange(4))
    made = Source(name="made", pixels=made.pixels.astype(np.uint8), rows=made.rows)
    found = nearest_training(training, np.arange(300), made, context)
    assert found.rows.tolist() == wanted.tolist()
    without = np.setdiff1d(np.arange(300), wanted)
    assert set(nearest_training(training, without, made, context).rows.tolist()) <= set(without.tolist())
