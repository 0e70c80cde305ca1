from itertools import permutations

import numpy as np
import pytest
import xarray as xr
from brainlens_evaluation.params import UncertaintyParams
from brainlens_evaluation.summary import About, check_names, permuted_stimuli, summarise, wrong_stimuli
from hypothesis import given, strategies as st

import brainlens

PARAMS = UncertaintyParams(n_resamples=500, n_permutations=999)


def _summarise(
    values: dict[str, dict[str, np.ndarray]],
    about: dict[str, About],
    n_stimuli: int = 40,
    null: dict[str, dict[str, np.ndarray]] | None = None,
) -> xr.Dataset:
    n_trials = len(next(iter(next(iter(values.values())).values())))
    stimulus = np.arange(n_trials) % n_stimuli
    trials = {"trial": xr.Variable("trial", np.arange(n_trials)), "stimulus_id": xr.Variable("trial", stimulus)}
    found = summarise(values, about, trials, null=null or {}, params=PARAMS, context=brainlens.Context(), attrs={})
    brainlens.validate(found, "score")
    return found


@given(st.integers(2, 30), st.data())
def test_wrong_stimuli_are_wrong_all_different_and_each_used_once(n_stimuli: int, data: st.DataObject) -> None:
    n_shuffles = data.draw(st.integers(1, n_stimuli - 1))
    truth = np.repeat(np.arange(n_stimuli), 2)
    wrong = wrong_stimuli(truth, n_stimuli, n_shuffles, np.random.default_rng(data.draw(st.integers(0, 99))))
    assert (wrong != truth).all()
    assert (wrong[:, ::2] == wrong[:, 1::2]).all()
    for row in wrong[:, ::2]:
        assert sorted(row.tolist()) == list(range(n_stimuli))
    for column in wrong.T:
        assert len(set(column.tolist())) == n_shuffles


def test_more_wrong_stimuli_than_there_are_are_refused() -> None:
    with pytest.raises(
        brainlens.ParameterError, match="n_shuffles: expected fewer than the 3 stimuli of the trials, found 3"
    ):
        wrong_stimuli(np.arange(3), 3, 3, np.random.default_rng(0))


def test_scores_are_means_with_intervals_and_chance() -> None:
    rng = np.random.default_rng(0)
    right, wrong = rng.normal(0.6, 0.1, 40), rng.normal(0.2, 0.1, 40)
    about = {"pixels": About(better="higher"), "network": About(better="higher", chance=0.5)}
    each = {"reconstructed": right, "shuffled": wrong}
    found = _summarise({"pixels": each, "network": each}, about)
    ours = found.sel(source="reconstructed", metric="pixels")
    assert ours["score"].item() == pytest.approx(right.mean())
    assert ours["ci_low"].item() < right.mean() < ours["ci_high"].item()
    assert found["chance"].values.tolist() == [pytest.approx(wrong.mean()), 0.5]
    assert found["chance_from"].values.tolist() == ["shuffled", "definition"]
    assert found["n"].values.tolist() == [40, 40]
    np.testing.assert_array_equal(ours["value"].values, right)


@pytest.mark.parametrize(("better", "sign"), [("higher", 1.0), ("lower", -1.0)])
def test_p_values_follow_the_direction_of_the_metric(better: str, sign: float) -> None:
    rng = np.random.default_rng(0)
    wrong = rng.normal(0, 1, 40)
    sources = {"reconstructed": wrong + sign, "shuffled": wrong, "worse": wrong - sign, "same": rng.permutation(wrong)}
    found = _summarise({"metric": sources}, {"metric": About(better=better)})["p_value"].sel(metric="metric")
    assert found.sel(source="reconstructed").item() == pytest.approx(1 / 1000)
    assert found.sel(source="worse").item() == 1
    assert found.sel(source="shuffled").item() == 1
    assert 0.05 < found.sel(source="same").item() < 0.95


def test_p_values_are_uniform_where_pairs_say_nothing() -> None:
    rng = np.random.default_rng(1)
    p_values = [
        _summarise(
            {"metric": {"reconstructed": rng.normal(size=30), "shuffled": rng.normal(size=30)}},
            {"metric": About(better="higher")},
            30,
        )["p_value"].values[0, 0]
        for _ in range(60)
    ]
    assert 1 <= (np.array(p_values) < 0.1).sum() <= 13
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.12)


def test_trials_of_a_stimulus_stand_together() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=20), 10)
    stimulus = np.repeat(np.arange(20), 10)
    trials = {"trial": xr.Variable("trial", np.arange(200)), "stimulus_id": xr.Variable("trial", stimulus)}
    each = {"metric": {"reconstructed": values, "shuffled": np.zeros(200)}}
    about = {"metric": About(better="higher")}
    found = summarise(each, about, trials, null={}, params=PARAMS, context=brainlens.Context(), attrs={})
    width = float((found["ci_high"] - found["ci_low"]).sel(source="reconstructed", metric="metric"))
    # Ten repetitions of the same number are no more evidence than one.
    assert width == pytest.approx(2 * 1.96 * values[::10].std() / np.sqrt(20), rel=0.25)


@pytest.mark.parametrize("names", [(), ("a",), ("a", "a"), ("a", "shuffled"), ("a", "b", "c")])
def test_floors_need_names_of_their_own(names: tuple[str, ...]) -> None:
    with pytest.raises(brainlens.ParameterError, match="floor_names: expected a name for each of the 2 floors"):
        check_names(names, 2)


def test_names_are_not_needed_without_floors() -> None:
    check_names(("prior",), 0)


def test_where_permuted_scores_are_known_the_p_value_is_theirs() -> None:
    each = {"reconstructed": np.full(40, 0.7), "shuffled": np.full(40, 0.5)}
    without = np.linspace(0.4, 0.8, 9)
    for better, reached in (("higher", 3), ("lower", 7)):
        null = {"metric": dict.fromkeys(each, without)}
        found = _summarise({"metric": each}, {"metric": About(better=better)}, null=null)
        assert found["p_value"].sel(source="reconstructed").item() == pytest.approx((1 + reached) / 10)
        assert found["p_value_from"].values.tolist() == ["permuted stimuli"]


def test_stimuli_are_permuted_with_all_their_trials() -> None:
    truth = np.array([0, 1, 1, 2, 0])
    orders = permuted_stimuli(truth, 200, np.random.default_rng(0))
    assert (orders[:, 1] == orders[:, 2]).all()
    assert (orders[:, 0] == orders[:, 4]).all()
    assert {tuple(row) for row in orders[:, [0, 1, 3]].tolist()} == set(permutations(range(3)))
