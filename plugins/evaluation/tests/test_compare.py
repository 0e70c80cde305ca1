from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brainlens_evaluation.compare import compare
from brainlens_evaluation.params import CompareParams

import brainlens

ScoresOf = Callable[..., xr.Dataset]


def _compare(scores: xr.Dataset, other: xr.Dataset, **params: Any) -> xr.Dataset:
    given = {"n_permutations": 999, "n_resamples": 999, **params}
    found = compare(scores=scores, other=other, params=CompareParams(**given), context=brainlens.Context())
    brainlens.validate(found, "score")
    return found


def _pair(scores_of: ScoresOf, gain: float, n: int = 40) -> tuple[xr.Dataset, xr.Dataset]:
    rng = np.random.default_rng(0)
    base = rng.normal(0, 3, n)
    floor = {"mean_image": list(rng.normal(-5, 1, n))}
    better = {"ssim": {"reconstructed": list(base + gain + 0.1 * rng.normal(size=n)), **floor}}
    return scores_of(better), scores_of({"ssim": {"reconstructed": list(base), **floor}})


def test_pairs_show_a_difference_that_is_small_beside_the_spread(scores_of: ScoresOf) -> None:
    scores, other = _pair(scores_of, 0.1)
    found = _compare(scores, other)
    assert found["score"].item() == pytest.approx(0.1, abs=0.05)
    assert found["score"].item() == pytest.approx(found["first"].item() - found["second"].item())
    assert found["p_value"].item() < 0.01
    assert 0 < found["ci_low"].item() < found["score"].item() < found["ci_high"].item()
    assert found["n"].item() == 40


def test_no_difference_is_none(scores_of: ScoresOf) -> None:
    scores, _ = _pair(scores_of, 0)
    found = _compare(scores, scores)
    assert found["score"].item() == 0
    assert found["p_value"].item() == 1


def test_the_order_of_both_changes_the_sign_alone(scores_of: ScoresOf) -> None:
    scores, other = _pair(scores_of, 0.02)
    there, back = _compare(scores, other), _compare(other, scores)
    assert there["score"].item() == -back["score"].item()
    assert there["p_value"].item() == back["p_value"].item()
    assert there["ci_low"].item() == pytest.approx(-back["ci_high"].item())


def test_a_system_is_compared_with_a_floor(scores_of: ScoresOf) -> None:
    scores, _ = _pair(scores_of, 0)
    found = _compare(scores, scores, other_source="mean_image")
    assert found["score"].item() > 4
    assert found.attrs["other_source"] == "mean_image"


def test_trials_are_joined_by_stimulus_and_repetitions_averaged(scores_of: ScoresOf) -> None:
    scores, other = _pair(scores_of, 0.1)
    twice = xr.concat([other, other], "trial", data_vars="minimal", coords="minimal", compat="override", join="outer")
    expected = _compare(scores, other)
    for each in (other.isel(trial=slice(None, None, -1)), twice):
        np.testing.assert_allclose(_compare(scores, each)["score"], expected["score"], atol=1e-12)


def test_only_metrics_that_both_have_are_compared(scores_of: ScoresOf) -> None:
    values = {"reconstructed": [1.0, 2.0, 3.0]}
    found = _compare(scores_of({"ssim": values, "swav": values}), scores_of({"swav": values, "clip": values}))
    assert found["metric"].values.tolist() == ["swav"]


def test_no_metric_in_common_is_refused(scores_of: ScoresOf) -> None:
    values = {"reconstructed": [1.0, 2.0, 3.0]}
    with pytest.raises(
        brainlens.DimensionError, match="other: expected a metric that scores has, 'ssim', found 'clip'"
    ):
        _compare(scores_of({"ssim": values}), scores_of({"clip": values}))


def test_other_stimuli_are_refused(scores_of: ScoresOf) -> None:
    scores, other = _pair(scores_of, 0)
    with pytest.raises(
        brainlens.DimensionError, match="expected the 40 stimuli that scores has, found 1 missing and 0 more: 's39'"
    ):
        _compare(scores, other.isel(trial=slice(39)))


def test_a_metric_that_was_computed_otherwise_is_refused(scores_of: ScoresOf) -> None:
    scores, other = _pair(scores_of, 0)
    with pytest.raises(brainlens.DimensionError, match="'ssim' computed as in scores, with weights 'a', found 'b'"):
        _compare(scores.assign_attrs(weights={"ssim": "a"}), other.assign_attrs(weights={"ssim": "b"}))
    with pytest.raises(brainlens.DimensionError, match="with preprocessing '', found '64 x 64'"):
        _compare(scores, other.assign_coords(preprocessing=("metric", ["64 x 64"])))


def test_an_unknown_source_is_refused(scores_of: ScoresOf) -> None:
    scores, other = _pair(scores_of, 0)
    with pytest.raises(brainlens.ParameterError, match="source: expected one that scores has, found 'prior'"):
        _compare(scores, other, source="prior")


def test_scores_without_values_of_trials_are_refused(scores_of: ScoresOf) -> None:
    scores, other = _pair(scores_of, 0)
    with pytest.raises(brainlens.DimensionError, match=r"other: expected values \(source, metric, trial\)"):
        _compare(scores, other.drop_vars("value"))
