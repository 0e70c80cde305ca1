from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brainlens_evaluation import brainlens_schemas
from brainlens_evaluation.params import TableParams
from brainlens_evaluation.table import make_table

import brainlens

ScoresOf = Callable[..., xr.Dataset]


def _table(*scores: xr.Dataset, **params: Any) -> xr.Dataset:
    found = make_table(list(scores), params=TableParams(**params), context=brainlens.Context())
    (schema,) = brainlens_schemas()
    brainlens.validate(found, schema)
    return found


def _scores(
    scores_of: ScoresOf, ssim: float, swav: float, *, floor: float = 0.1, subject: str = "subj01"
) -> xr.Dataset:
    each = {
        "ssim": {"reconstructed": [ssim - 0.1, ssim + 0.1], "shuffled": [floor, floor]},
        "swav": {"reconstructed": [swav, swav], "shuffled": [0.9, 0.9]},
    }
    return scores_of(each, subject=subject, lower=("swav",))


def test_means_and_spread_are_over_subjects(scores_of: ScoresOf) -> None:
    first, second = (_scores(scores_of, value, 0.5, subject=f"subj{value}") for value in (0.3, 0.5))
    found = _table(first, second)
    assert found["system"].values.tolist() == ["system"]
    assert found["subject"].values.tolist() == ["subj0.3", "subj0.5"]
    cell = found.sel(system="system", source="reconstructed", metric="ssim")
    np.testing.assert_allclose(cell["score"], [0.3, 0.5])
    assert cell["mean"].item() == pytest.approx(0.4)
    assert cell["standard_error"].item() == pytest.approx(0.1)
    assert cell["n_subjects"].item() == 2
    assert found["n"].values.tolist() == [[[2, 2], [2, 2]]]


def test_the_best_follows_the_direction_of_each_metric(scores_of: ScoresOf) -> None:
    found = _table(_scores(scores_of, 0.5, 0.5), _scores(scores_of, 0.3, 0.4), systems=("high", "low"))
    assert found["best"].sel(system="high").values.tolist() == [True, False]
    assert found["best"].sel(system="low").values.tolist() == [False, True]


def test_equals_are_both_best_and_one_alone_is_not(scores_of: ScoresOf) -> None:
    one = _scores(scores_of, 0.5, 0.5)
    assert _table(one, one, systems=("a", "b"))["best"].values.all()
    assert not _table(one)["best"].values.any()


def test_a_system_of_fewer_subjects_is_not_called_best(scores_of: ScoresOf) -> None:
    few = _scores(scores_of, 0.9, 0.1)
    many = [_scores(scores_of, 0.5, 0.5, subject=name) for name in ("subj01", "subj02")]
    more = [_scores(scores_of, 0.4, 0.6, subject=name) for name in ("subj01", "subj02")]
    found = _table(few, *many, *more, systems=("few", "many", "many", "more", "more"))
    assert found["best"].sel(metric="ssim").values.tolist() == [False, True, False]
    assert found["n_subjects"].sel(source="reconstructed", metric="ssim").values.tolist() == [1, 2, 2]
    assert np.isnan(found["score"].sel(system="few", subject="subj02")).all()


def test_a_floor_that_is_as_good_is_named(scores_of: ScoresOf) -> None:
    found = _table(
        _scores(scores_of, 0.2, 0.95, floor=0.2), _scores(scores_of, 0.21, 0.5, floor=0.2), systems=("a", "b")
    )
    assert found["beaten_by"].values.tolist() == [["shuffled", "shuffled"], ["", ""]]


def test_metrics_of_several_scores_of_a_system_stand_side_by_side(scores_of: ScoresOf) -> None:
    judge = scores_of({"judge": {"reconstructed": [0.8, 0.9], "prior": [0.5, 0.5]}})
    found = _table(_scores(scores_of, 0.5, 0.5), judge)
    assert found["metric"].values.tolist() == ["ssim", "swav", "judge"]
    assert found["source"].values.tolist() == ["reconstructed", "shuffled", "prior"]
    assert found["score"].sel(source="prior", metric="judge").item() == 0.5
    assert np.isnan(found["score"].sel(source="prior", metric="ssim").item())


def test_parts_get_columns_of_their_own() -> None:
    scores = xr.Dataset(
        {
            "score": (("roi", "metric"), [[0.3], [0.2]]),
            "chance": (("roi", "metric"), [[0.1], [0.0]]),
            "noise_ceiling": (("roi", "metric"), [[0.7], [np.nan]]),
            "n": ("metric", [9]),
        },
        {"roi": ["V1", "V4"], "metric": ["brain_correlation"]},
        {"subject": "subj01"},
    )
    found = _table(scores)
    assert found["metric"].values.tolist() == ["brain_correlation V1", "brain_correlation V4"]
    assert found["score"].sel(source="reconstructed").values.ravel().tolist() == [0.3, 0.2]
    assert found["noise_ceiling"].values.ravel()[0] == 0.7
    assert found["chance"].values.ravel().tolist() == [0.1, 0.0]


def test_scores_of_another_plugin_are_taken_as_they_are() -> None:
    pytest.importorskip("brainlens_retrieval")
    values = {"score": ("metric", [0.9, 3.0]), "chance": ("metric", [0.01, 50.0]), "n": ("metric", [80, 80])}
    scores = xr.Dataset(values, {"metric": ["top_1", "median_rank"]}, {"subject": "subj01"})
    found = _table(scores)
    assert found["better"].values.tolist() == ["higher", "lower"]
    assert found["is_rate"].values.tolist() == [True, False]


def test_two_way_identification_is_a_rate_and_a_correlation_is_none(scores_of: ScoresOf) -> None:
    scores = scores_of({"pix_corr": {"reconstructed": [0.3, 0.2]}, "judge": {"reconstructed": [0.9, 0.8]}})
    scores = scores.assign(chance=("metric", [0.5, 0.5]))
    scores = scores.assign_coords(chance_from=("metric", ["shuffled", "definition"]))
    assert _table(scores)["is_rate"].values.tolist() == [False, True]


def test_what_is_absent_has_a_column_and_a_reason(scores_of: ScoresOf) -> None:
    one = _scores(scores_of, 0.5, 0.5).assign_attrs(absent={"clip": "fetch it", "efficientnet": "fetch it"})
    found = _table(one)
    assert found["metric"].values.tolist() == ["ssim", "clip", "efficientnet", "swav"]
    assert found["better"].values.tolist() == ["higher", "higher", "lower", "lower"]
    assert found["is_rate"].values.tolist() == [False, True, False, False]
    assert found["absent"].sel(metric="clip").values.ravel().tolist() == ["fetch it"]
    assert found["n"].sel(metric="clip").item() == 0
    assert np.isnan(found["mean"].sel(source="reconstructed", metric="clip").item())
    assert not found["best"].sel(metric="clip").any()
    assert found["beaten_by"].sel(metric="clip").item() == ""


def test_metrics_are_chosen_and_ordered(scores_of: ScoresOf) -> None:
    found = _table(_scores(scores_of, 0.5, 0.4), metrics=("swav", "ssim"))
    assert found["metric"].values.tolist() == ["swav", "ssim"]
    assert found["score"].sel(source="reconstructed").values.ravel().tolist() == [0.4, 0.5]
    with pytest.raises(brainlens.ParameterError, match="metrics: expected ones that a score has, found 'swaw'.*'swav'"):
        _table(_scores(scores_of, 0.5, 0.4), metrics=("swaw",))


def test_the_same_cell_twice_is_refused(scores_of: ScoresOf) -> None:
    one = _scores(scores_of, 0.5, 0.5)
    with pytest.raises(
        brainlens.DimensionError, match="'ssim' of system 'system' and subject 'subj01' once, found it twice"
    ):
        _table(one, one)


def test_a_metric_computed_in_two_ways_is_refused(scores_of: ScoresOf) -> None:
    one, other = _scores(scores_of, 0.5, 0.5), _scores(scores_of, 0.6, 0.6)
    with pytest.raises(
        brainlens.DimensionError, match="expected 'swav' computed in one way, found weights 'a' and 'b'"
    ):
        _table(one.assign_attrs(weights={"swav": "a"}), other.assign_attrs(weights={"swav": "b"}), systems=("x", "y"))
    sides = ("metric", ["64 x 64", ""])
    with pytest.raises(brainlens.DimensionError, match="expected 'ssim' computed in one way, found preprocessing"):
        _table(one, other.assign_coords(preprocessing=sides), systems=("x", "y"))


def test_labels_must_fit(scores_of: ScoresOf) -> None:
    one = _scores(scores_of, 0.5, 0.5)
    with pytest.raises(brainlens.ParameterError, match="systems: expected one for each of the 1 scores"):
        _table(one, systems=("a", "b"))
    with pytest.raises(brainlens.ParameterError, match="subjects: expected one for each of the 1 scores"):
        _table(one, subjects=("a", "b"))
    assert _table(one, subjects=("sub-01",))["subject"].values.tolist() == ["sub-01"]


def test_other_stimuli_are_said(scores_of: ScoresOf, caplog: pytest.LogCaptureFixture) -> None:
    one, other = _scores(scores_of, 0.5, 0.5), _scores(scores_of, 0.4, 0.4)
    assert _table(one, other, systems=("a", "b")).attrs["same_stimuli"] is True
    found = _table(one, other.assign_coords(stimulus_id=("trial", ["x", "y"])), systems=("a", "b"))
    assert found.attrs["same_stimuli"] is False
    assert "scores are of other stimuli" in caplog.text
    assert "same_stimuli" not in _table(one).attrs


def test_a_registry_stores_and_exports_a_table(scores_of: ScoresOf, tmp_path: Path) -> None:
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    for name, value in (("ours", 0.5), ("theirs", 0.4)):
        registry.put(f"scores/{name}", _scores(scores_of, value, 0.5))
    table = registry.compute("evaluation.table", scores=["scores/ours", "scores/theirs"], systems=("ours", "theirs"))
    assert registry[table].attrs["schema"] == "score_table.v1"
    registry.verify()
    for ending in ("tex", "html"):
        assert "theirs" in registry.export(table, tmp_path / f"table.{ending}").read_text("utf-8")
    with pytest.raises(
        brainlens.DimensionError, match="expected a table that follows score_table.v1, found 'score.v1'"
    ):
        registry.export("scores/ours", tmp_path / "other.tex")
    assert not (tmp_path / "other.tex").exists()
