from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import xarray as xr
from brainlens_arrays.embedding import read
from brainlens_arrays.params import EmbeddingParams

import brainlens
from brainlens.schema import builtin_schemas

VALUES = np.random.default_rng(0).normal(size=(4, 3))


def load(context: brainlens.Context, path: Path, **params: Any) -> xr.Dataset:
    datasets = read(params=EmbeddingParams(values=str(path), model="clip-vit-l-14", **params), context=context)
    assert list(datasets) == [""]
    brainlens.validate(datasets[""], builtin_schemas()["embedding.v1"])
    return datasets[""]


def test_a_matrix_gets_numbers_as_ids(tmp_path: Path, context) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    dataset = load(context, tmp_path / "a.npy", licence="CC0")
    np.testing.assert_array_equal(dataset["embedding"], VALUES.astype(np.float32))
    assert dataset["stimulus"].values.tolist() == [0, 1, 2, 3]
    assert dataset.attrs == {
        "schema": "embedding.v1", "model": "clip-vit-l-14", "source_dtype": "float64", "licence": "CC0"
    }  # fmt: skip


def test_a_matrix_may_lie_the_other_way(tmp_path: Path, context) -> None:
    np.save(tmp_path / "a.npy", VALUES.T)
    dataset = load(context, tmp_path / "a.npy", orientation="channel_by_stimulus")
    np.testing.assert_array_equal(dataset["embedding"], VALUES.astype(np.float32))


def test_tokens_make_a_third_dim(tmp_path: Path, context) -> None:
    tokens = np.random.default_rng(1).normal(size=(4, 2, 3)).astype(np.float32)
    np.save(tmp_path / "a.npy", tokens)
    dataset = load(context, tmp_path / "a.npy")
    assert dataset["embedding"].dims == ("stimulus", "token", "channel")
    np.save(tmp_path / "b.npy", tokens.T)
    turned = load(context, tmp_path / "b.npy", orientation="channel_by_stimulus")
    np.testing.assert_array_equal(turned["embedding"], dataset["embedding"])


def test_ids_come_from_the_same_or_another_file(tmp_path: Path, context) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"clip": VALUES, "ids": np.array(["a", "b", "c", "d"], dtype=object)})
    assert load(context, tmp_path / "a.mat", stimuli_key="ids")["stimulus"].values.tolist() == ["a", "b", "c", "d"]
    (tmp_path / "ids.tsv").write_text("image\tset\n7\ttrain\n8\ttrain\n9\ttest\n10\ttest\n")
    dataset = load(context, tmp_path / "a.mat", stimuli=str(tmp_path / "ids.tsv"), stimuli_key="image")
    assert dataset["stimulus"].values.tolist() == [7, 8, 9, 10]
    assert context.sources == [tmp_path / "a.mat", tmp_path / "ids.tsv"]


def test_repeated_ids_are_refused(tmp_path: Path, context) -> None:
    np.savez(tmp_path / "a.npz", clip=VALUES, ids=np.array([5, 6, 5, 7]))
    with pytest.raises(brainlens.DimensionError, match="expected each stimulus id once, found 5 more than once"):
        load(context, tmp_path / "a.npz", stimuli_key="ids")


def test_ids_of_another_length_are_refused(tmp_path: Path, context) -> None:
    np.savez(tmp_path / "a.npz", clip=VALUES, ids=np.arange(3))
    with pytest.raises(brainlens.DimensionError, match=r"array 'ids': expected 4 labels, .* stimulus in .*, found 3"):
        load(context, tmp_path / "a.npz", stimuli_key="ids")


def test_values_that_are_not_finite_are_refused(tmp_path: Path, context) -> None:
    values = VALUES.copy()
    values[2, 1] = np.nan
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(brainlens.DimensionError, match="found 1 of 12 that are not, first for stimulus 2 in channel 1"):
        load(context, tmp_path / "a.npy")


def test_a_wrong_path_names_the_closest_file(tmp_path: Path, context) -> None:
    np.save(tmp_path / "clip.npy", VALUES)
    with pytest.raises(brainlens.RegistryError, match="found nothing there.*'clip.npy'"):
        load(context, tmp_path / "clips.npy")
