from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from brainlens_retrieval.parquet import read_columns

import brainlens

pyarrow = pytest.importorskip("pyarrow")
EMBEDDINGS = Path("img_emb_0.npy")


@pytest.fixture
def metadata(tmp_path):
    """Return a writer of a parquet file of some columns."""
    parquet = pytest.importorskip("pyarrow.parquet")

    def write(**columns: object) -> Path:
        parquet.write_table(pyarrow.table(columns), tmp_path / "metadata_0.parquet")
        return tmp_path / "metadata_0.parquet"

    return write


def test_columns_come_as_text_numbers_and_truth_values(metadata):
    path = metadata(
        caption=["a cat", None, "Zoë\0"],
        width=[3, 4, 5],
        score=[0.5, None, 1.0],
        nsfw=[True, False, True],
        unread=[1, 2, 3],
    )
    found = read_columns(path, ("caption", "width", "score", "nsfw"), n_rows=3, of=EMBEDDINGS)
    assert found["caption"].tolist() == ["a cat", "", "Zoë"]
    assert found["width"].dtype == np.int64
    np.testing.assert_array_equal(found["score"], [0.5, np.nan, 1.0])
    assert found["nsfw"].tolist() == [True, False, True]
    assert "unread" not in found


def test_text_in_a_dictionary_is_text(metadata):
    path = metadata(tag=pyarrow.array(["x", "y", "x"]).dictionary_encode())
    assert read_columns(path, ("tag",), n_rows=3, of=EMBEDDINGS)["tag"].tolist() == ["x", "y", "x"]


def test_another_number_of_rows_is_refused(metadata):
    with pytest.raises(brainlens.DimensionError) as caught:
        read_columns(path := metadata(caption=["a", "b"]), ("caption",), n_rows=3, of=EMBEDDINGS)
    assert str(caught.value) == (
        f"file {str(path)!r}: expected 3 rows, one for each of 'img_emb_0.npy', found 2. Check that both belong "
        "together."
    )


def test_a_missing_column_is_named_with_the_closest(metadata):
    with pytest.raises(
        brainlens.ParameterError, match="no column 'captoin'. Closest: 'caption'. Columns: 'caption', 'url'"
    ):
        read_columns(metadata(caption=["a"], url=["b"]), ("captoin",), n_rows=1, of=EMBEDDINGS)


def test_lists_and_times_are_refused(metadata):
    with pytest.raises(
        brainlens.ParameterError, match="column 'tags': expected text, numbers or truth values without gaps"
    ):
        read_columns(metadata(tags=[["a", "b"]]), ("tags",), n_rows=1, of=EMBEDDINGS)


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "metadata_0.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(
        brainlens.ParameterError, match=r"metadata_0.parquet'.*: expected a parquet file, found one that"
    ):
        read_columns(tmp_path / "metadata_0.parquet", ("a",), n_rows=1, of=EMBEDDINGS)
