from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from brainlens_arrays.read import detect_format, list_arrays, load_array, load_vector
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays

import brainlens

DTYPES = st.sampled_from([np.float64, np.float32, np.int16, np.uint8])
MATRICES = arrays.arrays(DTYPES, arrays.array_shapes(min_dims=2, max_dims=2, max_side=5)).filter(
    lambda values: np.isfinite(values).all()
)


def save_text(path: Path, values: np.ndarray, separator: str) -> None:
    np.savetxt(path, values, delimiter=separator, fmt="%.17g")


def save_h5(path: Path, values: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["betas"] = values


@pytest.fixture(scope="session")
def writers(save_v73) -> dict[str, Callable[[Path, np.ndarray], None]]:
    """Return how to write a matrix in each format, by suffix."""
    return {
        ".npy": np.save,
        ".npz": lambda path, values: np.savez_compressed(path, betas=values),
        ".csv": lambda path, values: save_text(path, values, ","),
        ".tsv": lambda path, values: save_text(path, values, "\t"),
        ".mat": lambda path, values: scipy.io.savemat(path, {"betas": values}),
        ".v73.mat": lambda path, values: save_v73(path, {"betas": values}),
        ".h5": save_h5,
    }


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".tsv", ".mat", ".v73.mat", ".h5"])
@settings(deadline=None, max_examples=25)
@given(values=MATRICES)
def test_any_matrix_comes_back_as_it_was_written(tmp_path_factory, writers, suffix: str, values: np.ndarray) -> None:
    path = tmp_path_factory.getbasetemp() / f"matrix{suffix}"
    path.unlink(missing_ok=True)
    writers[suffix](path, values)
    np.testing.assert_array_equal(load_array(path, header="none"), values)


def test_the_format_is_told_by_the_contents(tmp_path: Path, writers) -> None:
    expected = {".npy": "npy", ".npz": "npz", ".mat": "matlab", ".v73.mat": "hdf5", ".h5": "hdf5"}
    for suffix, kind in expected.items():
        path = tmp_path / f"a{suffix}"
        writers[suffix](path, np.eye(3))
        assert detect_format(path.rename(tmp_path / "misleading.csv")) == kind


def test_a_mapped_file_is_not_read_whole(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.eye(3))
    assert isinstance(load_array(tmp_path / "a.npy"), np.memmap)


def test_arrays_in_an_npz_are_listed_without_reading_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", betas=np.eye(3), names=np.array(["a"]))
    assert {name: str(item) for name, item in list_arrays(tmp_path / "a.npz").items()} == {
        "betas": "(3, 3) float64", "names": "(1,) text"
    }  # fmt: skip


def test_an_unknown_key_in_an_npz_names_the_closest(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", betas=np.eye(3))
    with pytest.raises(brainlens.ParameterError, match="expected an array 'beta', found none .*Closest: 'betas'"):
        load_array(tmp_path / "a.npz", "beta")


@pytest.mark.parametrize("name", ["a.npy", "a.csv"])
def test_a_key_for_a_file_of_one_array_is_refused(tmp_path: Path, writers, name: str) -> None:
    writers[name[1:]](tmp_path / name, np.eye(3))
    with pytest.raises(brainlens.ParameterError, match="expected no key, .* found 'betas'. Leave the key out"):
        load_array(tmp_path / name, "betas")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_arrays_that_need_pickle_are_refused(tmp_path: Path, name: str) -> None:
    objects = np.array([[1, None]], dtype=object)
    if name == "a.npy":
        np.save(tmp_path / name, objects, allow_pickle=True)
    else:
        np.savez(tmp_path / name, betas=objects)
    with pytest.raises(brainlens.ParameterError, match=r"found Python objects \(1, 2\)..*pickle, .* is refused"):
        load_array(tmp_path / name)


def test_a_pickle_is_refused_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(brainlens.ParameterError, match=r"expected a .mat, .* found other contents, .*need pickle"):
        load_array(tmp_path / "a.npy")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat", ".v73.mat"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.95])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, writers, suffix: str, part: float) -> None:
    path = tmp_path / f"a{suffix}"
    writers[suffix](path, np.random.default_rng(0).normal(size=(40, 30)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(brainlens.ParameterError) as caught:
        load_array(path)
    assert str(path) in str(caught.value)
    assert "cut off" in str(caught.value) or "an empty file" in str(caught.value)


def test_matlabs_header_alone_says_that_the_rest_is_missing(tmp_path: Path, writers) -> None:
    path = tmp_path / "a.v73.mat"
    writers[".v73.mat"](path, np.eye(3))
    path.write_bytes(path.read_bytes()[:512])
    with pytest.raises(brainlens.ParameterError, match=r"its first 512 bytes without the HDF5 part. It is cut off"):
        load_array(path)


@pytest.mark.parametrize("shape", [(3,), (3, 3, 3)])
def test_an_array_of_other_dims_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.ones(shape))
    with pytest.raises(brainlens.DimensionError) as caught:
        load_array(tmp_path / "a.npy")
    assert f"expected 2 dims, found {len(shape)}: shape {shape}. Name another array" in str(caught.value)


def test_an_empty_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((0, 5)))
    with pytest.raises(brainlens.DimensionError, match=r"expected at least one value, found shape \(0, 5\)"):
        load_array(tmp_path / "a.npy")


def test_complex_values_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((2, 2), dtype=complex))
    with pytest.raises(brainlens.ParameterError, match="expected real numbers, found complex"):
        load_array(tmp_path / "a.npy")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(brainlens.ParameterError, match="expected a file, found a folder"):
        load_array(tmp_path)


def test_lists_are_flattened_and_matrices_refused(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"order": np.arange(4.0), "betas": np.eye(2)})
    assert load_vector(tmp_path / "a.mat").tolist() == [0, 1, 2, 3]
    with pytest.raises(brainlens.DimensionError, match=r"array 'betas': expected a list .* found shape \(2, 2\)"):
        load_vector(tmp_path / "a.mat", "betas")


def test_a_cell_of_anything_but_text_is_no_list(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"Y": np.array([np.eye(2), np.eye(3)], dtype=object)})
    with pytest.raises(brainlens.ParameterError, match="found a cell .*'Y/0'"):
        load_vector(tmp_path / "a.mat", "Y")


def test_the_key_may_be_left_out_only_without_a_choice(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=np.eye(3), two=np.ones((3, 2)))
    with pytest.raises(brainlens.ParameterError, match=r"'one' \(3, 3\) float64, 'two' \(3, 2\) float64"):
        load_array(tmp_path / "a.npz")
