"""Pieces that are kept, and what is known of their sites."""

import gc

import numpy as np
import pytest
from brainlens_public.kept import Shelf, find_bad_sites, keep, refuse_copies

import brainlens

VALUES = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
GROUPS = (slice(0, 3), slice(3, 6))


@pytest.fixture
def source(tmp_path):
    (tmp_path / "file").write_text("1")
    return tmp_path / "file"


def make(source, shelf, *, values=VALUES, name="one", sites=(0, 1, 2, 3), calls=None):
    def fill(out):
        if calls is not None:
            calls.append(name)
        out[:] = values

    return keep(name, source, values.shape, fill, shelf, sites=np.array(sites), groups=GROUPS)


def test_a_piece_knows_its_values_and_bounds(source, tmp_path):
    piece = make(source, Shelf(tmp_path))
    np.testing.assert_array_equal(piece.values(), VALUES)
    np.testing.assert_array_equal(piece.lowest, [VALUES[:3].min(axis=0), VALUES[3:].min(axis=0)])
    np.testing.assert_array_equal(piece.highest, [VALUES[:3].max(axis=0), VALUES[3:].max(axis=0)])


def test_only_what_has_changed_is_made_again(source, tmp_path):
    calls, shelf = [], Shelf(tmp_path)
    for _ in range(3):
        make(source, shelf, calls=calls)
    assert calls == ["one"]
    make(source, shelf, calls=calls, sites=(0, 1, 2, 9))
    source.write_text("22")
    make(source, shelf, calls=calls, sites=(0, 1, 2, 9))
    assert calls == ["one"] * 3


def test_a_piece_that_was_not_finished_is_made_again(source, tmp_path):
    def fail(out):
        out[0] = 1
        raise brainlens.ParameterError("expected, found")

    calls, shelf = [], Shelf(tmp_path)
    with pytest.raises(brainlens.ParameterError):
        keep("one", source, VALUES.shape, fail, shelf, sites=np.arange(4), groups=GROUPS)
    np.testing.assert_array_equal(make(source, shelf, calls=calls).values(), VALUES)
    assert calls == ["one"]


def test_bad_sites_have_a_reason(source, tmp_path):
    values = VALUES.copy()
    values[4, 0], values[3:, 2], values[1, 3] = np.nan, 5, np.inf
    bad = find_bad_sites([make(source, Shelf(tmp_path), values=values)], within="a run")
    assert bad["not finite"].tolist() == [True, False, False, True]
    assert bad["constant within a run"].tolist() == [False, False, True, False]
    assert not find_bad_sites([make(source, Shelf(tmp_path), name="two")], within="a run")


def test_copies_are_refused_with_both_names(source, tmp_path):
    shelf = Shelf(tmp_path)
    pieces = [make(source, shelf, name="one"), make(source, shelf, name="two")]
    with pytest.raises(brainlens.ParameterError, match="found those of .* again. One of them is a copy"):
        refuse_copies(pieces, what="betas")
    refuse_copies([pieces[0], make(source, shelf, name="three", values=VALUES[::-1].copy())], what="betas")


def test_a_folder_of_its_own_goes_with_the_pieces(source):
    piece = make(source, Shelf(None))
    folder = piece.shelf.folder
    np.testing.assert_array_equal(piece.values(), VALUES)
    del piece
    gc.collect()
    assert not folder.exists()
