"""The same calls here, in other processes and on a cluster: order, what is under way, and what is refused."""

from __future__ import annotations

import os
import sys
import time
import types
from collections.abc import Iterator

import numpy as np
import pytest

import brainlens
from brainlens import workers


def scale(item: int, values: np.ndarray, factor: float) -> float:
    return float(item * values.sum() * factor)


def wait(item: int) -> int:
    time.sleep(0.3)
    return item


def write(item: int, values: np.ndarray) -> float:
    values += item
    return float(values[0])


def process(item: int) -> int:
    return os.getpid()


def refuse_three(item: int) -> int:
    if item == 3:
        raise brainlens.DimensionError("item: expected any but 3, found 3.")
    # Time for the news to arrive before all are done.
    return wait(item) if item > 3 else item


def fail(item: int) -> int:
    raise ZeroDivisionError("in a worker")


@pytest.mark.parametrize("n_workers", [0, 2])
def test_results_come_in_the_order_of_the_items(n_workers: int) -> None:
    values = np.arange(300_000.0)
    made = list(brainlens.spread(scale, range(9), (values, 0.5), n_workers=n_workers))
    assert made == [scale(item, values, 0.5) for item in range(9)]


def test_workers_are_other_processes() -> None:
    assert set(brainlens.spread(process, range(3), n_workers=0)) == {os.getpid()}
    assert os.getpid() not in set(brainlens.spread(process, range(3), n_workers=2))


@pytest.mark.parametrize("n_workers", [0, 2])
def test_items_are_asked_for_as_workers_get_free(n_workers: int) -> None:
    asked = []

    def items() -> Iterator[int]:
        for item in range(16):
            asked.append(item)
            yield item

    made = brainlens.spread(wait, items(), n_workers=n_workers)
    assert next(made) == 0
    assert len(asked) < 16
    assert list(made) == list(range(1, 16))


@pytest.mark.parametrize("n_workers", [0, 2])
def test_what_is_refused_comes_back_as_it_is_and_ends_the_rest(n_workers: int) -> None:
    asked, made = [], []
    items = (asked.append(item) or item for item in range(60))  # type: ignore[func-returns-value]
    with pytest.raises(brainlens.DimensionError) as caught:
        made.extend(brainlens.spread(refuse_three, items, n_workers=n_workers))
    assert str(caught.value) == "item: expected any but 3, found 3."
    assert len(asked) < 30


def test_what_is_shared_is_not_written_to_by_workers() -> None:
    values = np.zeros(300_000)
    list(brainlens.spread(write, [1, 2, 3], (values,), n_workers=2))
    assert not values.any()


def test_other_errors_keep_their_type() -> None:
    with pytest.raises(ZeroDivisionError, match="in a worker"):
        list(brainlens.spread(fail, range(3), n_workers=2))


def test_without_joblib_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(
        brainlens.PluginError, match=r"^library 'joblib': expected it .* Run: pip install 'brainlens\[workers\]'\.$"
    ):
        list(brainlens.spread(process, range(3), n_workers=2))
    assert list(brainlens.spread(refuse_three, range(3), n_workers=0)) == [0, 1, 2]


def test_a_client_is_found_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def default_client() -> object:
        raise ValueError("No clients found")

    monkeypatch.delitem(sys.modules, "distributed", raising=False)
    assert workers.find_client() is None
    monkeypatch.setitem(sys.modules, "distributed", types.SimpleNamespace(default_client=default_client))
    assert workers.find_client() is None


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_cluster_makes_the_same() -> None:
    distributed = pytest.importorskip("distributed")
    values = np.arange(300_000.0)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster),
    ):
        assert workers.find_client() is not None
        made = list(brainlens.spread(scale, range(9), (values, 0.5), n_workers=1))
        with pytest.raises(brainlens.DimensionError, match="^item: expected any but 3, found 3.$"):
            list(brainlens.spread(refuse_three, range(9), n_workers=1))
    assert made == [scale(item, values, 0.5) for item in range(9)]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_same_is_sent_again_and_again_and_nobody_waits_for_what_was_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    values = np.arange(1000.0)
    # Named by content, as Dask does by itself, this loses what it depends on, or waits for ever, within a few rounds.
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster),
    ):
        for _ in range(60):
            for shared in ((values, values), (values, values, -1.0)):
                assert list(brainlens.spread(np.interp, [1.0, 3.0, 5.0, 7.0], shared, n_workers=1)) == [1, 3, 5, 7]


def test_all_that_is_sent_to_a_cluster_has_a_name_of_its_own() -> None:
    dask = pytest.importorskip("dask.base")
    shared = (np.arange(3.0), "a")
    names = {dask.tokenize(workers._Sent(shared)) for _ in range(3)}
    assert len(names) == 3
    sent = workers._Sent(shared)
    assert dask.tokenize(sent) == dask.tokenize(sent)
