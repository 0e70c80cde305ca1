from pathlib import Path

import numpy as np
import pytest
import torch
from brainlens_evaluation import identification
from brainlens_evaluation.identification import Compared, Identified, Rows, identify
from hypothesis import given, settings, strategies as st

import brainlens


def _rows(values: np.ndarray, calls: list[int] | None = None) -> Rows:
    def features(rows: np.ndarray) -> dict[str, torch.Tensor]:
        if calls is not None:
            calls.extend(rows.tolist())
        return {"layer": torch.from_numpy(values[rows].astype(np.float32))}

    return features


def _orders(truth: np.ndarray, n: int = 50) -> np.ndarray:
    order: np.ndarray = np.random.default_rng(3).permuted(np.tile(np.arange(truth.max() + 1), (n, 1)), axis=1)[:, truth]
    return order


def _found(seen: np.ndarray, made: np.ndarray, truth: np.ndarray, *, batch_size: int = 3) -> Identified:
    compared = Compared(
        features=_rows(made), rows=np.arange(len(truth)), truths={"own": truth[None]}, orders=_orders(truth)
    )
    context = brainlens.Context()
    found = identify(_rows(seen), len(seen), [compared], context=context, batch_size=batch_size, label="toy")
    return found["layer"]["own"]


def _identify(
    seen: np.ndarray, made: np.ndarray, truth: np.ndarray, *, batch_size: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    found = _found(seen, made, truth, batch_size=batch_size)
    return found.two_way, found.distance


def _as_published(seen: np.ndarray, made: np.ndarray) -> np.ndarray:
    """R_ij of real image i and reconstruction j; how many real images are less like reconstruction j than its own."""
    r = np.corrcoef(seen, made)[: len(seen), len(seen) :]
    return (r < np.diag(r)).sum(axis=0) / (len(seen) - 1)


@settings(max_examples=30)
@given(st.integers(2, 12), st.integers(1, 5), st.integers(0, 2**31))
def test_it_is_the_published_definition_whatever_the_blocks(n: int, batch_size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen = rng.standard_normal((n, 30))
    made = 0.3 * seen + rng.standard_normal((n, 30))
    two_way, distance = _identify(seen, made, np.arange(n), batch_size=batch_size)
    np.testing.assert_allclose(two_way, _as_published(seen, made), rtol=0, atol=1e-6)
    expected = [1 - np.corrcoef(a, b)[0, 1] for a, b in zip(seen, made, strict=True)]
    np.testing.assert_allclose(distance, expected, rtol=0, atol=1e-6)


def test_by_hand() -> None:
    seen = np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0]])
    made = np.array([[1.0, 0.5, 0.0, 0.0], [1.0, 0.5, 0.0, 0.0], [0.0, 1.0, 0.5, 0.0]])
    two_way, _ = _identify(seen, made, np.arange(3))
    # The first is nearest its own; the second is nearer the first than its own; the third nearer the second.
    assert two_way.tolist() == [1.0, 0.5, 0.5]


def test_blocks_of_the_file_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    seen, made = rng.standard_normal((2, 9, 20))
    whole = _identify(seen, made, np.arange(9))
    monkeypatch.setattr(identification, "BLOCK_BYTES", 200)
    for one, other in zip(whole, _identify(seen, made, np.arange(9)), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-7)


def test_repeated_stimuli_tie_as_half() -> None:
    seen = np.random.default_rng(0).standard_normal((4, 16))
    seen[1] = seen[0]
    two_way, _ = _identify(seen, seen, np.arange(4), batch_size=4)
    np.testing.assert_allclose(two_way, [5 / 6, 5 / 6, 1, 1])


def test_another_trial_of_the_same_stimulus_is_no_distractor() -> None:
    rng = np.random.default_rng(0)
    seen = rng.standard_normal((3, 16))
    truth = np.array([0, 0, 0, 1, 2])
    two_way, _ = _identify(seen, seen[truth] + 0.01 * rng.standard_normal((5, 16)), truth)
    assert two_way.tolist() == [1.0] * 5


def test_an_image_of_several_trials_is_looked_at_once() -> None:
    rng = np.random.default_rng(0)
    seen, calls = rng.standard_normal((4, 16)), list[int]()
    truth = np.array([2, 0, 2, 1])
    compared = Compared(
        features=_rows(seen, calls), rows=np.array([2, 0, 2, 2]), truths={"own": truth[None]}, orders=_orders(truth)
    )
    context = brainlens.Context()
    found = identify(_rows(seen), 4, [compared], context=context, batch_size=1, label="toy")["layer"]["own"]
    assert calls == [0, 2]
    assert found.two_way[:3].tolist() == [1.0, 1.0, 1.0]
    assert found.two_way[3] < 1


def test_features_of_noise_are_at_chance() -> None:
    rng = np.random.default_rng(0)
    two_way, distance = _identify(*rng.standard_normal((2, 200, 50)), np.arange(200), batch_size=64)
    assert two_way.mean() == pytest.approx(0.5, abs=0.05)
    assert distance.mean() == pytest.approx(1, abs=0.05)


def test_the_temporary_file_is_gone_afterwards(tmp_path: Path) -> None:
    seen = np.random.default_rng(0).standard_normal((4, 16))
    own = np.arange(4)
    compared = Compared(features=_rows(seen), rows=own, truths={"own": own[None]}, orders=_orders(own))
    identify(_rows(seen), 4, [compared], context=brainlens.Context(scratch=tmp_path), batch_size=2, label="toy")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_features_that_do_not_vary_or_are_no_numbers_are_refused(value: float) -> None:
    seen = np.random.default_rng(0).standard_normal((4, 16))
    made = seen.copy()
    made[3] = value
    with pytest.raises(
        brainlens.DimensionError, match="toy, layer, reconstruction: expected finite features that vary.*row 3"
    ):
        _identify(seen, made, np.arange(4))
    with pytest.raises(brainlens.DimensionError, match="toy, layer, stimulus: .*row 3"):
        _identify(made, seen, np.arange(4))


def test_features_of_another_number_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(brainlens.DimensionError, match="expected 16 features as of the stimuli, found 15"):
        _identify(rng.standard_normal((4, 16)), rng.standard_normal((4, 15)), np.arange(4))


@pytest.mark.parametrize("batch_size", [2, 64])
def test_the_null_is_what_permuted_stimuli_score(batch_size: int) -> None:
    rng = np.random.default_rng(0)
    seen = rng.standard_normal((6, 30))
    truth = np.array([0, 1, 2, 3, 4, 5, 0, 3])
    made = seen[truth] + rng.standard_normal((8, 30))
    found = _found(seen, made, truth, batch_size=batch_size)
    for number, order in enumerate(_orders(truth)):
        two_way, distance = _identify(seen, made, order)
        assert found.null_two_way[number] == pytest.approx(two_way.mean(), abs=1e-9)
        assert found.null_distance[number] == pytest.approx(distance.mean(), abs=1e-6)
