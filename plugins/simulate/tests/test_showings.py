"""Which trials are taken, and how they are sorted by stimulus."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_simulate.showings import find_showings, rows_of

import brainlens


def make_response() -> xr.Dataset:
    """Nine trials of stimuli c, a and b; the value says stimulus and repetition."""
    stimulus = np.array(list("cacbabcab"))
    repetition = np.array([2, 0, 0, 1, 2, 0, 1, 1, 2])
    values = np.array(["abc".index(name) * 10 for name in stimulus]) + repetition
    return xr.Dataset(
        {
            "response": (("trial", "voxel"), np.stack([values, -values], axis=1).astype(np.float32)),
            "roi_mask": (("roi", "voxel"), np.eye(2, dtype=bool)),
        },
        {
            "trial": np.arange(9), "voxel": [5, 6], "roi": ["V1", "V2"], "stimulus_id": ("trial", stimulus),
            "repetition": ("trial", repetition), "split": ("trial", np.where(stimulus == "b", "train", "test")),
        },
        {"schema": "response.v1", "subject": "toy", "units": "z"},
    )  # fmt: skip


def test_stimuli_come_in_order_of_first_appearance_with_their_means():
    showings = find_showings(make_response(), split="")
    assert showings.stimulus.tolist() == ["c", "a", "b"]
    np.testing.assert_array_equal(showings.stimulus[showings.code], make_response()["stimulus_id"])
    np.testing.assert_allclose(showings.means(), [[21, -21], [1, -1], [11, -11]])


def test_the_split_and_the_roi_are_selected():
    showings = find_showings(make_response(), split="train", roi="V2")
    assert showings.stimulus.tolist() == ["b"]
    np.testing.assert_allclose(showings.means(), [[-11]])


def test_the_first_repetitions_are_kept():
    showings = find_showings(make_response(), split="", n_repetitions=2)
    assert showings.stimulus.tolist() == ["a", "c", "b"]
    np.testing.assert_allclose(showings.means()[:, 0], [0.5, 20.5, 10.5])


def test_without_repetition_trials_count_as_stored():
    response = make_response().drop_vars("repetition")
    np.testing.assert_allclose(find_showings(response, split="", n_repetitions=1).means()[:, 0], [22, 0, 11])


def test_more_repetitions_than_there_are_are_refused():
    response = make_response().isel(trial=slice(7))
    with pytest.raises(brainlens.DimensionError, match="found 3 with fewer trials of 2 stimuli: 'a', 'b'. Ask for 2"):
        find_showings(response, split="", n_repetitions=3)


def test_a_split_that_is_not_there_is_refused():
    with pytest.raises(brainlens.DimensionError, match="of the split 'val', found 'test', 'train' only"):
        find_showings(make_response(), split="val")
    with pytest.raises(brainlens.DimensionError, match="expected a coordinate 'split'"):
        find_showings(make_response().drop_vars("split"), split="test")


def test_rows_of_finds_labels_and_names_missing_ones():
    assert rows_of(np.array(["a", "b"]), np.array(["b", "a", "b"]), what="stimulus", where="truth").tolist() == [
        1,
        0,
        1,
    ]
    with pytest.raises(brainlens.DimensionError, match="truth: expected each voxel .* its 2, found 1 missing: 9"):
        rows_of(np.array([1, 2]), np.array([2, 9]), what="voxel", where="truth")
