"""Files of embeddings as large sets publish them, made here, through the importer and into a registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval.npy_shards import read
from brainlens_retrieval.search_params import ShardsParams

import brainlens

RNG = np.random.default_rng(0)


def load(folder: Path, **changed: Any) -> dict[str, xr.Dataset]:
    context = brainlens.Context()
    datasets = read(params=ShardsParams(**{"files": folder, "model": "clip", **changed}), context=context)
    for dataset in datasets.values():
        brainlens.validate(dataset, "embedding.v1")
    assert folder not in context.sources or folder.is_file()
    return dict(datasets)


@pytest.fixture
def folder(tmp_path):
    """Return a folder of two shards of 5 and 3 images, their texts, and metadata."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for number, n_rows in enumerate((5, 3)):
        for kind in ("img", "text"):
            values = RNG.standard_normal((n_rows, 4)).astype(np.float16)
            np.save(tmp_path / f"{kind}_emb_{number:04d}.npy", values)
        rows = range(n_rows)
        columns = {
            "key": [f"{number}{row}" for row in rows],
            "caption": [f"thing {row}" for row in rows],
            "n": list(rows),
        }
        parquet.write_table(pyarrow.table(columns), tmp_path / f"metadata_{number:04d}.parquet")
    return tmp_path


def test_every_shard_is_a_dataset_with_its_metadata(folder):
    shards = load(
        folder, pattern="img_emb_*.npy", metadata=folder, stimulus_column="key", columns=("caption", "n"), licence="CC0"
    )
    assert list(shards) == ["img_emb_0000", "img_emb_0001"]
    second = shards["img_emb_0001"]
    assert second["stimulus"].values.tolist() == ["10", "11", "12"]
    assert second["caption"].values.tolist() == ["thing 0", "thing 1", "thing 2"]
    assert second["n"].values.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(second["embedding"], np.load(folder / "img_emb_0001.npy"))
    assert second["embedding"].dtype == np.float16
    assert second.attrs == {"schema": "embedding.v1", "model": "clip", "licence": "CC0"}


def test_a_single_file_keeps_the_name_that_the_user_gives_and_makes_labels(folder):
    shards = load(folder / "text_emb_0000.npy")
    assert list(shards) == [""]
    assert shards[""]["stimulus"].values.tolist() == [f"text_emb_0000-{row}" for row in range(5)]


def test_tokens_are_kept(tmp_path):
    np.save(tmp_path / "a.npy", RNG.standard_normal((11, 3, 4)))
    dataset = load(tmp_path)["a"]
    assert dataset["embedding"].dims == ("stimulus", "token", "channel")
    assert dataset["stimulus"].values[[0, 10]].tolist() == ["a-00", "a-10"]


def test_files_are_mapped_and_read_when_they_are_stored(tmp_path):
    np.save(tmp_path / "a.npy", values := RNG.standard_normal((70_000, 8)).astype(np.float32))
    embedding = load(tmp_path / "a.npy")[""]["embedding"].variable
    array = embedding.values
    while array.base is not None and not isinstance(array, np.memmap):
        array = array.base
    assert isinstance(array, np.memmap)
    registry = brainlens.open(tmp_path / "study")
    registry.put("a", load(tmp_path / "a.npy")[""], schema="embedding")
    np.testing.assert_array_equal(registry["a"]["embedding"], values)


def test_metadata_of_another_length_are_refused(folder):
    np.save(folder / "img_emb_0001.npy", np.ones((4, 4), np.float16))
    with pytest.raises(brainlens.DimensionError, match=r"metadata_0001.parquet'.*: expected 4 rows, one for each of"):
        load(folder, pattern="img*", metadata=folder, columns=("caption",))


def test_repeated_and_empty_labels_are_refused(folder):
    with pytest.raises(brainlens.ParameterError, match="expected text or whole numbers as labels|no column"):
        load(folder, pattern="img*", metadata=folder, stimulus_column="absent")
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for keys, error, words in (
        (["a", "b", "a"], brainlens.DimensionError, "expected each label once, found 'a' more than once"),
        (["a", None, "b"], brainlens.ParameterError, "expected a label for every stimulus, found none for 1"),
        ([0.5, 1.5, 2.0], brainlens.ParameterError, "expected text or whole numbers as labels, found float64"),
    ):
        parquet.write_table(pyarrow.table({"key": keys}), folder / "metadata_0001.parquet")
        with pytest.raises(error, match=words):
            load(folder / "img_emb_0001.npy", metadata=folder / "metadata_0001.parquet", stimulus_column="key")


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.arange(6).reshape(2, 3), r"shape \(2, 3\) of int64"),
        (np.ones(5), r"shape \(5,\) of float64"),
        (np.ones((0, 4)), "found"),
    ],
)
def test_what_is_no_array_of_embeddings_is_refused(tmp_path, values, found):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(brainlens.ParameterError, match=found):
        load(tmp_path)


def test_objects_are_not_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"code": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(brainlens.ParameterError, match="found one that cannot be mapped"):
        load(tmp_path)


def test_a_file_that_ends_early_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((100, 4)))
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:-8])
    with pytest.raises(brainlens.ParameterError, match="found one that cannot be mapped .*Copy it again"):
        load(tmp_path)


def test_shards_of_other_channels_are_refused(folder):
    np.save(folder / "img_emb_0001.npy", np.ones((3, 5), np.float16))
    with pytest.raises(
        brainlens.DimensionError, match=r"expected rows of shape \(4,\) as in .*0000.npy', found \(5,\)"
    ):
        load(folder, pattern="img*")


def test_columns_without_metadata_and_names_that_are_taken_are_refused(folder):
    with pytest.raises(
        brainlens.ParameterError, match="metadata: expected the .parquet files that hold 'caption', found ''"
    ):
        load(folder, columns=("caption",))
    with pytest.raises(brainlens.ParameterError, match="columns: expected names .* found 'channel'. Rename"):
        load(folder, metadata=folder, columns=("channel",))


def test_what_is_not_finite_is_not_stored_and_leaves_nothing_behind(tmp_path):
    values = np.ones((9, 4), np.float32)
    values[5, 2] = np.nan
    np.save(tmp_path / "a.npy", values)
    registry = brainlens.open(tmp_path / "study")
    with pytest.raises(brainlens.SchemaError, match="1 of 36 not finite, first at stimulus 5, channel 2"):
        registry.put(
            "a",
            read(params=ShardsParams(files=tmp_path / "a.npy", model="x"), context=brainlens.Context())[""],
            schema="embedding",
        )
    assert list(registry.list()) == []
