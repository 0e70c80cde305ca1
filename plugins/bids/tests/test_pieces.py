import gc

import numpy as np
import pytest
from brainlens_bids.pieces import Folder, Piece, digest_arrays, file_state, keep_piece, refuse_copies

import brainlens


@pytest.fixture
def made():
    """Return what makes a piece of fives, and how often it did."""
    count = []

    def make(path):
        count.append(path)
        np.save(path, np.full((3, 2), 5, np.float32))
        return {"bad": np.array([False, True]), "digest": np.array("abc")}

    return make, count


def test_a_piece_is_made_once(tmp_path, made):
    make, count = made
    for _ in range(3):
        piece = keep_piece(Folder(tmp_path), "run-1", {"file": ["x", 3], "t_r": 2.0}, make)
    assert len(count) == 1
    np.testing.assert_array_equal(piece.values(), np.full((3, 2), 5))
    assert piece.facts["bad"].tolist() == [False, True]
    assert str(piece.facts["digest"]) == "abc"


@pytest.mark.parametrize("change", ["stamp", "record"])
def test_a_piece_is_made_anew_when_it_would_be_another(tmp_path, made, change):
    make, count = made
    keep_piece(Folder(tmp_path), "run-1", {"t_r": 2.0}, make)
    if change == "record":
        (tmp_path / "run-1.json").unlink()
    keep_piece(Folder(tmp_path), "run-1", {"t_r": 3.0 if change == "stamp" else 2.0}, make)
    assert len(count) == 2


def test_a_piece_that_was_not_finished_is_not_there(tmp_path, made):
    make, count = made

    def fail(path):
        np.save(path, np.zeros((3, 2), np.float32))
        raise brainlens.ParameterError("cut short")

    keep_piece(Folder(tmp_path), "run-1", {"t_r": 2.0}, make)
    with pytest.raises(brainlens.ParameterError, match="cut short"):
        keep_piece(Folder(tmp_path), "run-1", {"t_r": 3.0}, fail)
    keep_piece(Folder(tmp_path), "run-1", {"t_r": 2.0}, make)
    assert len(count) == 2


def test_a_piece_that_is_mapped_outlives_the_next_one(tmp_path, made):
    first = keep_piece(Folder(tmp_path), "run-1", {"t_r": 2.0}, made[0]).values()

    def shorter(path):
        np.save(path, np.zeros((1, 1), np.float32))
        return {}

    keep_piece(Folder(tmp_path), "run-1", {"t_r": 3.0}, shorter)
    np.testing.assert_array_equal(first, np.full((3, 2), 5))


def test_a_folder_of_its_own_goes_with_the_pieces(made):
    piece = keep_piece(Folder(None), "run-1", {}, made[0])
    path = piece.folder.path
    assert (path / "run-1.npy").exists()
    del piece
    gc.collect()
    assert not path.exists()


def test_digests_tell_values_and_shapes_apart():
    values = np.arange(6.0)
    assert digest_arrays(values) == digest_arrays(values.copy())
    others = [values.reshape(2, 3), values + 1, values.astype(np.float32), values[::-1]]
    assert len({digest_arrays(each) for each in [values, *others]}) == 5
    assert digest_arrays(values, values) != digest_arrays(values)


def test_a_file_is_known_by_size_and_time(tmp_path):
    path = tmp_path / "x"
    path.write_text("a")
    first = file_state(path)
    assert file_state(path) == first
    path.write_text("ab")
    assert file_state(path) != first


def test_the_same_values_twice_are_refused(tmp_path):
    pieces = [Piece(str(n), Folder(tmp_path), {"digest": np.array(text)}) for n, text in enumerate("aba")]
    paths = [tmp_path / name for name in ("one.nii", "two.nii", "three.nii")]
    refuse_copies(pieces[:2], paths[:2], what="bold")
    with pytest.raises(brainlens.ParameterError) as caught:
        refuse_copies(pieces, paths, what="bold")
    assert str(caught.value).startswith(
        f"bold {str(paths[2])!r}: expected values of its own, found those of {str(paths[0])!r} again."
    )
