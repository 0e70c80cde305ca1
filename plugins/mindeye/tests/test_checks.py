import numpy as np
import pytest
import xarray as xr
from brainlens_mindeye.checks import (
    refuse_apart,
    refuse_not_finite,
    refuse_repeated,
    refuse_small_batch,
    refuse_too_few,
)
from brainlens_mindeye.feed import make_subject

import brainlens


def test_a_subject_may_come_once():
    refuse_repeated(["s1", "s2"])
    with pytest.raises(brainlens.DimensionError, match="found 2 of 's2'. Put all trials of a subject into one"):
        refuse_repeated(["s1", "s2", "s2"])


def test_a_step_has_room_for_every_subject():
    refuse_small_batch(3, 3)
    with pytest.raises(brainlens.DimensionError, match="each of 4 subjects in every step, found 3. Choose 4 times"):
        refuse_small_batch(3, 4)


@pytest.mark.parametrize(("batch_size", "expected"), [(20, 10), (7, 3), (4, 2), (2, 2)])
def test_every_subject_needs_the_stimuli_of_its_share(planted, batch_size: int, expected: int):
    enough, few = (make_subject(*planted(n_stimuli=n, subject=f"n{n}")) for n in (expected, expected - 1))
    refuse_too_few([enough, enough], batch_size)
    message = f"response of 'n{expected - 1}': expected at least the {expected} stimuli .* found {expected - 1}"
    with pytest.raises(brainlens.DimensionError, match=message):
        refuse_too_few([enough, few], batch_size)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named_by_their_trial(value: float, monkeypatch):
    array = xr.DataArray(np.ones((9, 4, 2), np.float32), {"trial": np.arange(9) + 50}, ("trial", "token", "channel"))
    monkeypatch.setattr("brainlens_mindeye.feed.BLOCK_BYTES", 4 * 4 * 8)
    refuse_not_finite(array, "features")
    array[6, 1, 1] = value
    with pytest.raises(brainlens.DimensionError, match="features: expected finite values, .* 1 trials of a block: 56"):
        refuse_not_finite(array, "features")


def test_the_sum_of_large_values_is_no_infinity():
    refuse_not_finite(xr.DataArray(np.full((2, 8), 3e38, np.float32), dims=("trial", "channel")), "target")


def test_embeddings_of_one_model_and_width_go_together():
    one = xr.Dataset({"embedding": (("trial", "channel"), np.zeros((2, 4)))}, attrs={"model": "a"})
    refuse_apart([one, one], "features")
    with pytest.raises(brainlens.DimensionError, match="the same model for all subjects, found 'a' and 'b'. Give feat"):
        refuse_apart([one, one.assign_attrs(model="b")], "features")
    with pytest.raises(brainlens.DimensionError, match="the same channels for all subjects, found 4 and 3"):
        refuse_apart([one, one.isel(channel=slice(3))], "features")
