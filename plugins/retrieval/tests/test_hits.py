"""What galleries know of hits, in shards that do not all know the same."""

from __future__ import annotations

import numpy as np
import xarray as xr
from brainlens_retrieval.hits import make_hits
from brainlens_retrieval.shards import Shard

WHERE = np.array([[0, 1], [1, 0]]), np.array([[1, 0], [2, 0]])


def as_shard(stimuli: list[object], **variables: object) -> Shard:
    named = {name: (("stimulus", "caption")[: np.ndim(values)], values) for name, values in variables.items()}
    embedding = (("stimulus", "channel"), np.eye(len(stimuli)))
    return Shard("toy", xr.Dataset({"embedding": embedding, **named}, {"stimulus": stimuli}), "stimulus")


def hits_of(*shards: Shard) -> xr.Dataset:
    return make_hits(as_shard(["q", "r"]), shards, np.ones((2, 2), np.float32), WHERE, None)


def test_labels_of_numbers_and_of_text_become_text():
    hits = hits_of(as_shard([10, 11]), as_shard(["a", "b", "c"]))
    assert hits["stimulus"].values.tolist() == [["11", "a"], ["c", "10"]]
    assert hits_of(as_shard([10, 11]), as_shard([5, 6, 7]))["stimulus"].values.tolist() == [[11, 5], [7, 10]]


def test_text_that_a_shard_lacks_is_empty():
    hits = hits_of(as_shard([0, 1], text=["x", "y"]), as_shard([2, 3, 4]))
    assert hits["text"].values.tolist() == [["y", ""], ["", "x"]]


def test_numbers_come_back_where_every_shard_has_them():
    shards = as_shard([0, 1], width=[7, 8], height=[1, 1]), as_shard([2, 3, 4], width=[0.5, 1.5, 2.5])
    hits = hits_of(*shards)
    assert hits["width"].values.tolist() == [[8, 0.5], [2.5, 7]]
    assert "height" not in hits
    assert hits.attrs["dropped_variables"] == ["height"]


def test_several_texts_of_an_item_stay_together():
    hits = hits_of(as_shard([0, 1], text=[["a", "b"], ["c", "d"]]), as_shard([2, 3, 4], text=[["e", "f"]] * 3))
    assert hits["text"].dims == ("query", "hit", "caption")
    assert hits["text"].values[0].tolist() == [["c", "d"], ["e", "f"]]


def test_names_that_are_taken_are_those_of_the_gallery():
    hits = hits_of(as_shard([0, 1], rank=[7, 8]), as_shard([2, 3, 4], rank=[1, 2, 3]))
    assert hits["gallery_rank"].values.tolist() == [[8, 1], [3, 7]]
    assert "rank" not in hits


def test_only_the_rows_of_hits_are_read():
    from brainlens_retrieval.lazy_rows import lazy_rows

    read = []

    def make(rows: range) -> np.ndarray:
        read.extend(rows)
        return np.array(rows) * 2

    shard = as_shard(list(range(1000)))
    shard.dataset["width"] = lazy_rows(("stimulus",), (1000,), int, make)
    where = np.zeros((2, 2), int), np.array([[500, 501], [501, 503]])
    hits = make_hits(as_shard(["q", "r"]), [shard], np.ones((2, 2), np.float32), where, None)
    assert hits["width"].values.tolist() == [[1000, 1002], [1002, 1006]]
    assert set(read) <= set(range(500, 504))
