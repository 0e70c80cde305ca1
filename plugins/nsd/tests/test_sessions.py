"""Moments against numpy, and what is kept of a session."""

import gc
import json

import h5py
import numpy as np
import pytest
from brainlens_nsd.files import inspect_betas
from brainlens_nsd.sessions import Folder, Moments, cut_session, find_bad_sites, pool
from hypothesis import given, settings, strategies as st

N_TRIALS = 750


def moments_of(values):
    mean = values.mean(axis=0) if len(values) else np.zeros(values.shape[1])
    return Moments(len(values), mean, ((values - mean) ** 2).sum(axis=0))


@pytest.fixture
def file(tmp_path):
    values = np.random.default_rng(2).integers(-3000, 3000, (N_TRIALS, 9)).astype(np.int16)
    with h5py.File(tmp_path / "lh.betas_session01.hdf5", "w") as made:
        made["betas"] = values
    return inspect_betas(tmp_path / "lh.betas_session01.hdf5"), values


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, 20), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_pooled_moments_are_those_of_all_trials(sizes, seed):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(rng.normal(0, 50), 3, (size, 4)) for size in [3, *sizes]]
    pooled, expected = pool([moments_of(part) for part in parts]), moments_of(np.concatenate(parts))
    assert pooled.n == expected.n
    np.testing.assert_allclose(pooled.mean, expected.mean, rtol=1e-9)
    np.testing.assert_allclose(pooled.squares, expected.squares, rtol=1e-9)


def test_moments_that_begin_with_no_trial_are_pooled():
    values = np.random.default_rng(0).normal(size=(5, 2))
    pooled = pool([moments_of(values[:0]), moments_of(values)])
    np.testing.assert_allclose(pooled.squares, moments_of(values).squares)


def test_a_session_knows_its_values_and_moments(file, tmp_path):
    betas, values = file
    is_training = np.arange(N_TRIALS) % 3 > 0
    sites = np.array([1, 4, 8])
    session = cut_session(1, [betas], sites, is_training, Folder(tmp_path))
    np.testing.assert_array_equal(session.values(), values[:, sites])
    expected = moments_of(values[is_training][:, sites].astype(float))
    assert session.training.n == is_training.sum()
    np.testing.assert_allclose(session.training.mean, expected.mean)
    np.testing.assert_allclose(session.training.squares, expected.squares)
    np.testing.assert_allclose(session.all.mean, values[:, sites].mean(axis=0))
    np.testing.assert_array_equal(session.lowest, values[:, sites].min(axis=0))
    np.testing.assert_array_equal(session.highest, values[:, sites].max(axis=0))


def test_sites_of_both_hemispheres_lie_side_by_side(file, tmp_path):
    betas, values = file
    session = cut_session(1, [betas, betas], np.array([2, 7, 9, 12]), np.ones(N_TRIALS, bool), Folder(tmp_path))
    np.testing.assert_array_equal(session.values(), values[:, [2, 7, 0, 3]])


@pytest.mark.parametrize("change", ["sites", "training", "record"])
def test_other_sites_or_trials_or_a_missing_record_are_read_anew(file, tmp_path, monkeypatch, change):
    from brainlens_nsd import sessions

    betas, _ = file
    sites, is_training = np.arange(4), np.ones(N_TRIALS, bool)
    cut_session(1, [betas], sites, is_training, Folder(tmp_path))
    read = []
    extract = sessions.extract
    monkeypatch.setattr(sessions, "extract", lambda *given: (read.append(1), extract(*given)))
    cut_session(1, [betas], sites, is_training, Folder(tmp_path))
    assert not read
    if change == "record":
        (tmp_path / "session01.json").unlink()
    changed = np.arange(5) if change == "sites" else sites
    cut_session(1, [betas], changed, is_training & (np.arange(N_TRIALS) > (change == "training")), Folder(tmp_path))
    assert read == [1]
    assert set(json.loads((tmp_path / "session01.json").read_text())) == {"files", "sites"}


def test_bad_sites_have_a_reason(file, tmp_path):
    betas, _ = file
    session = cut_session(1, [betas], np.arange(3), np.ones(N_TRIALS, bool), Folder(tmp_path))
    session.lowest[:] = [np.nan, 4, 5]
    session.highest[:] = [np.nan, 4, 6]
    found = find_bad_sites([session])
    assert found["not finite"].tolist() == [True, False, False]
    assert found["constant within a session"].tolist() == [False, True, False]


def test_a_folder_of_its_own_goes_with_the_sessions(file):
    betas, values = file
    session = cut_session(1, [betas], np.arange(9), np.ones(N_TRIALS, bool), Folder(None))
    path = session.folder.path
    np.testing.assert_array_equal(session.values(), values)
    del session
    gc.collect()
    assert not path.exists()
