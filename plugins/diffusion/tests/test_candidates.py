"""What was painted so far is found again, whole, and nothing that was not finished is taken for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from brainlens_diffusion.candidates import Board, Candidates, restore_or_begin
from brainlens_diffusion.reconstruct_params import ReconstructParams

import brainlens

ROWS = np.arange(2), np.arange(2, 4), np.arange(4, 5)


def make_candidates(rows: np.ndarray, n_candidates: int = 3) -> Candidates:
    rng = np.random.default_rng(rows[0])
    image = rng.integers(0, 256, (len(rows), n_candidates, 4, 5, 3), dtype=np.uint8)
    similarity = rng.standard_normal((len(rows), n_candidates)).astype(np.float32)
    return Candidates(image, similarity if n_candidates > 1 else None)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("n_candidates", [1, 3])
def test_a_board_holds_the_best_or_all(keep, in_file, n_candidates, tmp_path):
    board = Board(5, n_candidates, keep, tmp_path if in_file else None)
    parts = [make_candidates(rows, n_candidates) for rows in ROWS]
    for rows, part in zip(ROWS, parts, strict=True):
        assert not board.has(rows)
        board.add(rows, part, model="m")
        assert board.has(rows)
    image = np.concatenate([part.image for part in parts])
    if n_candidates > 1:
        similarity = np.concatenate([part.similarity for part in parts])
        np.testing.assert_array_equal(board.similarity, similarity)
        np.testing.assert_array_equal(board.chosen, similarity.argmax(axis=1))
        assert board.said() == f"similarity {similarity.max(axis=1).mean():.3f}, of all {similarity.mean():.3f}"
    else:
        assert not board.chosen.any()
        assert board.said() == ""
    np.testing.assert_array_equal(board.pixels, image if keep else image[np.arange(5), board.chosen])


def test_what_was_finished_is_found_and_the_rest_is_not(tmp_path: Path):
    params = ReconstructParams(n_candidates=3)
    context = brainlens.Context(scratch=tmp_path)
    board = restore_or_begin(5, params, context)
    board.add(ROWS[0], make_candidates(ROWS[0]), model="m")
    board.add(ROWS[2], make_candidates(ROWS[2]), model="m")
    # Killed while it wrote the pixels of other trials, and while it wrote down which.
    board.pixels[ROWS[1]] = 7
    (tmp_path / "trials-2.draft").write_text('{"rows": [2')
    again = restore_or_begin(5, params, context)
    assert [again.has(rows) for rows in ROWS] == [True, False, True]
    assert again.model == "m"
    again.add(ROWS[1], make_candidates(ROWS[1]), model="m")
    whole = Board(5, 3, False, None)
    for rows in ROWS:
        whole.add(rows, make_candidates(rows), model="m")
    for name in ("pixels", "chosen", "similarity", "done"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))


def test_the_first_of_equal_candidates_is_chosen():
    part = dataclasses.replace(make_candidates(ROWS[0]), similarity=np.float32([[0.5, 0.5, 0.1], [0.1, 0.9, 0.9]]))
    assert part.best().tolist() == [0, 1]
