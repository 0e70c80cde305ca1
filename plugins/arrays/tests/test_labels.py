from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from brainlens_arrays.labels import count_repetitions, name_rows, number_runs, read_labels, to_labels
from hypothesis import given, strategies as st

import brainlens


def labelled(values: list[object]) -> np.ndarray:
    return to_labels(np.array(values), where="file 'a.csv'", per="trial")


def test_whole_numbers_stay_numbers() -> None:
    for values in ([1, 2], [1.0, 2.0], ["1", "2"], ["-3", "0"]):
        assert labelled(values).dtype == np.int64


def test_text_that_only_looks_like_numbers_stays_text() -> None:
    assert labelled(["007", "1"]).tolist() == ["007", "1"]
    assert labelled(["1.5", "1"]).tolist() == ["1.5", "1"]


@pytest.mark.parametrize(("bad", "found"), [(1.5, "1.5"), (np.nan, "nan"), (np.inf, "inf"), (1e300, "1e\\+300")])
def test_broken_numbers_are_no_labels(bad: float, found: str) -> None:
    with pytest.raises(brainlens.ParameterError, match=f"whole numbers as labels, found {found} for trial 1"):
        labelled([1.0, bad])


def test_empty_labels_are_refused() -> None:
    with pytest.raises(brainlens.ParameterError, match=r"a label for every trial, found none for 2 \(first: trial 1\)"):
        labelled(["face", " ", ""])


def test_labels_of_another_length_name_both_files(tmp_path: Path) -> None:
    path = tmp_path / "ids.csv"
    path.write_text("stimulus\nface\nhouse\n")
    with pytest.raises(brainlens.DimensionError) as caught:
        read_labels(path, "stimulus", n_expected=3, per="trial", of="file 'betas.npy'")
    assert str(caught.value) == (
        f"file {str(path)!r}, array 'stimulus': expected 3 labels, one for each trial in file 'betas.npy', found 2. "
        "Check that both files belong together, and which axis is the trial (orientation)."
    )


def test_one_label_too_many_hints_at_the_name_of_the_column(tmp_path: Path) -> None:
    path = tmp_path / "ids.csv"
    path.write_text("stimulus\nface\nhouse\n")
    with pytest.raises(brainlens.DimensionError, match="If the first, 'stimulus', is the name of the column"):
        read_labels(path, n_expected=2, per="trial", of="file 'betas.npy'")


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_repetitions_count_earlier_showings(shown: list[int]) -> None:
    seen: Counter[int] = Counter()
    expected = []
    for stimulus in shown:
        expected.append(seen[stimulus])
        seen[stimulus] += 1
    assert count_repetitions(np.array(shown)).tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30))
def test_named_rows_give_the_matrix_back(rows: list[tuple[int, int]]) -> None:
    names, unique, stimulus_id = name_rows(np.array(rows), prefix="figure")
    assert len(set(names.tolist())) == len(unique) == len(set(rows))
    position = {name: index for index, name in enumerate(names.tolist())}
    np.testing.assert_array_equal(unique[[position[name] for name in stimulus_id.tolist()]], rows)


def test_names_do_not_depend_on_the_order_of_trials() -> None:
    rows = np.random.default_rng(0).integers(0, 2, (30, 4))
    order = np.random.default_rng(1).permutation(30)
    np.testing.assert_array_equal(name_rows(rows, prefix="s")[2][order], name_rows(rows[order], prefix="s")[2])


def test_names_sort_as_text_in_the_order_of_their_numbers() -> None:
    names, _, _ = name_rows(np.arange(11)[:, None], prefix="s")
    assert names[:2].tolist() == ["s-00", "s-01"]
    assert sorted(names.tolist()) == names.tolist()


def test_runs_of_equal_length_are_numbered() -> None:
    assert number_runs(6, run_length=2).tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(brainlens.DimensionError, match="run_length=4: expected .* found 6 trials, which leaves 2 over"):
        number_runs(6, run_length=4)
