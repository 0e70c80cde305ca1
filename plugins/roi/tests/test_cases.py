"""Rows, folds and shuffles: what belongs together stays together."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_roi.cases import as_shown, candidates, prepare, shuffled
from brainlens_roi.params import DecodeParams

import brainlens


@pytest.fixture
def target() -> xr.Dataset:
    values = np.random.default_rng(5).standard_normal((50, 3)).astype(np.float32)
    return xr.Dataset(
        {"embedding": (("stimulus", "channel"), values)}, {"stimulus": np.arange(50)[::-1], "channel": list("abc")}
    )


@pytest.fixture
def runs(response) -> xr.Dataset:
    """Ten stimuli, each shown twice in each of four runs."""
    order = np.tile(np.repeat(np.arange(10), 2), 4)
    made = response.isel(trial=slice(0, 80)).drop_vars("split")
    return made.assign_coords(
        stimulus_id=("trial", order), run=("trial", np.repeat(np.arange(4), 20)),
        kind=("trial", np.where(order < 5, "face", "house")),
    )  # fmt: skip


def prepared(response, target=None, **given):
    return prepare(response, target, DecodeParams(**given), brainlens.Context(seed=3))


def test_every_stimulus_is_a_row_with_its_own_embedding(response, target):
    rows, cases = prepared(response.drop_vars("split"), target)
    assert rows.sizes["trial"] == 44
    assert cases.channels == ("a", "b", "c")
    shown = target["embedding"].sel(stimulus=rows["stimulus_id"].values).values
    np.testing.assert_array_equal(cases.items[cases.code], shown)
    assert sorted(np.concatenate([fold.test for fold in cases.folds])) == list(range(44))
    for fold in cases.folds:
        assert not set(fold.train) & set(fold.test)


def test_showings_stay_apart_where_one_says_so(response, target):
    rows, cases = prepared(response, target, average=False)
    assert rows.sizes["trial"] == 88
    for fold in cases.folds:
        assert not set(cases.code[fold.train]) & set(cases.code[fold.test])


def test_runs_are_folds_whose_showings_are_averaged(runs, target):
    rows, cases = prepared(runs, target, cv_by="run", n_folds=0)
    assert rows.sizes["trial"] == 40
    assert [fold.label for fold in cases.folds] == ["0", "1", "2", "3"]
    assert cases.n_units == 4
    assert not cases.by_stimulus


def test_fewer_runs_than_folds_by_default_are_left_out_one_by_one(runs, target, caplog):
    caplog.set_level("INFO", logger="brainlens")
    _, cases = prepared(runs, target, cv_by="run")
    assert [fold.label for fold in cases.folds] == ["0", "1", "2", "3"]
    assert caplog.messages == ["4 folds, one for each value of 'run' that there is"]
    with pytest.raises(brainlens.ParameterError, match="^n_folds: expected 2 to 4, .* of 'run', found 5"):
        prepared(runs, target, cv_by="run", n_folds=5)
    assert len(prepared(runs, target)[1].folds) == 5


def test_stimuli_are_shuffled_whole_and_runs_within(response, runs, target):
    rng = np.random.default_rng(0)
    _, cases = prepared(response, target, average=False)
    labels = shuffled(cases, 20, rng)
    for codes in labels.codes:
        assert len(set(zip(cases.code.tolist(), codes.tolist(), strict=True))) == 44
        assert sorted(np.unique(codes)) == sorted(np.unique(cases.code))
    assert not (labels.codes == cases.code).all(axis=1).any()
    _, cases = prepared(runs, target, cv_by="run", n_folds=0)
    labels = shuffled(cases, 20, rng)
    for run in range(4):
        inside = cases.unit == run
        assert (np.sort(labels.codes[:, inside], axis=1) == np.arange(10)).all()
    assert not (labels.codes == cases.code).all(axis=1).any()


@pytest.mark.parametrize("how", ["stimuli", "runs", "classes"])
def test_the_true_candidate_is_what_the_label_says(response, runs, target, how):
    given = {
        "stimuli": (response, target, {}), "runs": (runs, target, {"cv_by": "run", "n_folds": 0}),
        "classes": (runs, None, {"classes": "kind", "cv_by": "run", "n_folds": 0}),
    }[how]  # fmt: skip
    _, cases = prepared(given[0], given[1], **given[2])
    for labels in (as_shown(cases), shuffled(cases, 5, np.random.default_rng(1))):
        for fold in cases.folds:
            items, columns = candidates(cases, labels, fold)
            np.testing.assert_array_equal(np.take_along_axis(items, columns, axis=1), labels.codes[:, fold.test])
            assert all(len(set(each)) == items.shape[1] for each in items.tolist())


def test_classes_are_one_hot(runs):
    _, cases = prepared(runs, classes="kind", cv_by="run", n_folds=0)
    assert cases.channels == ("face", "house")
    np.testing.assert_array_equal(cases.items, np.eye(2))
    assert cases.all_items


def test_tokens_are_channels_too(response, target):
    grid = xr.Dataset(
        {"embedding": (("stimulus", "token", "channel"), np.random.default_rng(0).standard_normal((50, 2, 2)))},
        {"stimulus": np.arange(50)},
    )
    _, cases = prepared(response, grid)
    assert cases.channels == ("0 0", "0 1", "1 0", "1 1")
    np.testing.assert_array_equal(cases.items[0], grid["embedding"].values[0].ravel())


def test_train_and_test_are_those_of_the_response(response, target):
    rows, cases = prepared(response, target, cv_by="split")
    (fold,) = cases.folds
    assert set(rows["split"].values[fold.train]) == {"train"}
    assert set(rows["split"].values[fold.test]) == {"test"}


def test_what_does_not_fit_is_said(response, runs, target):
    with pytest.raises(brainlens.DimensionError, match="expected an embedding of each of 44 stimuli.*none for 24: 20"):
        prepared(response, target.isel(stimulus=slice(30, None)))
    with pytest.raises(brainlens.DimensionError, match="1 and '1' are not the same"):
        prepared(response.assign_coords(stimulus_id=response["stimulus_id"].astype(str)), target)
    broken = target.copy(deep=True)
    broken["embedding"].values[49 - 3] = np.nan
    with pytest.raises(brainlens.DimensionError, match="expected finite embeddings, found others of 1 stimuli"):
        prepared(response, broken)
    with pytest.raises(brainlens.DimensionError, match="at least two different items"):
        prepared(response, target * 0)
    with pytest.raises(brainlens.DimensionError, match=r"expected dims \(stimulus, channel\).*found \('trial'"):
        prepared(response, target.rename(stimulus="trial"))
    with pytest.raises(brainlens.DimensionError, match="fold '0': expected at least 2 different stimuli.*found 1"):
        prepared(response, target, n_folds=0)
    with pytest.raises(brainlens.DimensionError, match="expected classes that its training trials show"):
        prepared(response)
    with pytest.raises(brainlens.DimensionError, match="classes: expected a coordinate of the trials, found 'kinds'"):
        prepared(runs, classes="kinds", cv_by="run", n_folds=0)
    with pytest.raises(brainlens.DimensionError, match="Averaging dropped it"):
        prepared(runs.assign_coords(odd=("trial", np.arange(80))), classes="odd", cv_by="run", n_folds=0)
    with pytest.raises(brainlens.DimensionError, match="cv_by='split': expected a coordinate 'split'"):
        prepared(runs, target, cv_by="split")
    with pytest.raises(brainlens.DimensionError, match="expected trials of 'train' and 'test', found only 'train'"):
        prepared(response.isel(trial=response["split"].values == "train"), target, cv_by="split")
