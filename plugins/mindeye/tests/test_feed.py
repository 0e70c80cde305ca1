import threading

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_mindeye.feed import Order, Rows, blocks, hold_out, make_subject, read_ahead

import brainlens


def test_trials_are_grouped_by_stimulus(planted):
    response, target = planted(n_stimuli=9, n_repetitions=3)
    subject = make_subject(response, target)
    shown = response["stimulus_id"].values
    for first, count in zip(subject.first, subject.count, strict=True):
        assert len(set(shown[subject.trials[first : first + count]])) == 1
        assert count == 3
    assert sorted(subject.trials) == list(range(27))
    assert subject.target.dims == ("trial", "token", "channel")


def test_dims_of_another_kind_are_refused(planted):
    response, target = planted()
    with pytest.raises(brainlens.DimensionError, match=r"expected \(trial, channel\) or \(trial, token, channel\)"):
        make_subject(response, target.transpose("channel", "trial"))


def test_a_step_never_shows_a_stimulus_twice_and_all_trials_take_turns(planted):
    response, target = planted(n_stimuli=20, n_repetitions=3)
    subject, shown = make_subject(response, target), response["stimulus_id"].values
    order = Order(subject, size=5, seed=[0])
    assert order.steps_per_pass == 4
    steps = [order.rows(step) for step in range(12)]
    assert all(len(set(shown[rows])) == 5 for rows in steps)
    assert all((np.diff(rows) > 0).all() for rows in steps)
    for number in range(3):
        assert sorted(shown[np.concatenate(steps[4 * number : 4 * number + 4])]) == list(range(20))
    assert sorted(np.concatenate(steps)) == list(range(60))


def test_a_step_is_the_same_whatever_came_before(planted):
    subject = make_subject(*planted(n_stimuli=23, n_repetitions=2))
    straight = [Order(subject, size=5, seed=[3]).rows(step) for step in range(30)]
    order = Order(subject, size=5, seed=[3])
    for step in (29, 0, 17, 17, 4):
        assert np.array_equal(order.rows(step), straight[step])
    assert not np.array_equal(Order(subject, size=5, seed=[4]).rows(0), straight[0])


def test_stimuli_that_miss_a_pass_come_in_others(planted):
    subject = make_subject(*planted(n_stimuli=23, n_repetitions=1))
    order = Order(subject, size=5, seed=[0])
    assert order.steps_per_pass == 4
    assert len(set(np.concatenate([order.rows(step) for step in range(20)]))) == 23


def test_whole_stimuli_are_held_out(planted):
    response, target = planted(n_stimuli=40, n_repetitions=2)
    shown = response["stimulus_id"].values
    kept, held = hold_out(make_subject(response, target), 0.2, rng=np.random.default_rng(0))
    assert held is not None
    assert held.n_stimuli == 8
    assert not set(shown[kept.trials]) & set(shown[held.trials])
    assert sorted([*kept.trials, *held.trials]) == list(range(80))
    assert hold_out(kept.select(np.arange(2)), 0.5, rng=np.random.default_rng(0))[0].n_stimuli == 0
    assert hold_out(kept, 0.0, rng=np.random.default_rng(0))[1] is None
    assert hold_out(kept, 0.001, rng=np.random.default_rng(0))[1].n_stimuli == 2


def test_rows_are_the_same_kept_and_read(planted):
    array = planted(n_stimuli=10)[0]["response"].astype("float16")
    rows = np.array([1, 4, 4, 19])
    kept, read = Rows(array, device="cpu"), Rows(array, device="cpu", resident_bytes=0)
    assert kept.resident
    assert not read.resident
    assert kept.take(rows).dtype == torch.float32
    assert torch.equal(kept.take(rows), read.take(rows))
    assert np.array_equal(read.take(rows).numpy(), array.values[rows].astype("float32"))


def test_a_large_array_is_read_row_by_row_and_never_as_a_whole(planted):
    array = planted(n_stimuli=10)[0]["response"]
    asked: list[int] = []

    class Watched(xr.backends.BackendArray):
        shape, dtype = array.shape, array.dtype

        def __getitem__(self, key):
            found = array.values[tuple(np.asarray(each) if not isinstance(each, slice) else each for each in key.tuple)]
            asked.append(len(found))
            return found

    lazy = xr.DataArray(xr.Variable(array.dims, xr.core.indexing.LazilyIndexedArray(Watched())))
    rows = Rows(lazy, device="cpu", resident_bytes=0)
    for step in range(6):
        rows.take(np.array([step, step + 3]))
    assert asked == [2] * 6


def test_blocks_cover_every_trial_once(planted, monkeypatch):
    array = planted(n_stimuli=10)[0]["response"]
    monkeypatch.setattr("brainlens_mindeye.feed.BLOCK_BYTES", 7 * 4 * array.shape[1])
    found = list(blocks(array))
    assert [rows.stop - rows.start for rows, _ in found] == [7, 7, 6]
    assert np.array_equal(np.concatenate([block for _, block in found]), array.values)


def test_reading_ahead_gives_the_same_and_ends_its_thread():
    before = threading.active_count()
    assert list(read_ahead(lambda step: step * 2, range(3, 20))) == [2 * step for step in range(3, 20)]
    endless = read_ahead(lambda step: step, range(10**9))
    assert [next(endless) for _ in range(3)] == [0, 1, 2]
    endless.close()
    assert threading.active_count() == before


def test_an_error_while_reading_comes_where_its_step_is_due():
    def read(step: int) -> int:
        if step == 4:
            raise brainlens.RegistryError("chunk 4: altered")
        return step

    ahead = read_ahead(read, range(9))
    assert [next(ahead) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(brainlens.RegistryError, match="chunk 4: altered"):
        next(ahead)
