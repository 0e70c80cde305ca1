"""Images on the wall: what hangs, what another process hung, and in which order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from brainlens_roi.gallery import Gallery


def pictures(number: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize("kept", [True, False])
def test_images_hang_where_they_belong(tmp_path: Path, kept: bool) -> None:
    wall = Gallery(rois=2, images=4, folder=tmp_path if kept else None)
    assert wall.said() == ""
    wall.add(1, np.array([2, 3]), pictures(1), np.array([0.5, 1.5], np.float32), model="toy")
    wall.add(0, np.array([0, 1]), pictures(2), np.array([1.0, 1.0], np.float32), model="toy")
    assert wall.has(1, np.array([2, 3]))
    assert not wall.has(1, np.array([1, 2]))
    assert not wall.has(0, np.array([2]))
    np.testing.assert_array_equal(wall.pixels[1, 2:], pictures(1))
    np.testing.assert_array_equal(wall.pixels[0, :2], pictures(2))
    assert wall.said() == "predicted 1.00 SD"


def test_another_process_goes_on_where_one_was_killed(tmp_path: Path) -> None:
    first = Gallery(rois=1, images=4, folder=tmp_path)
    first.add(0, np.array([0, 1]), pictures(3), np.array([0.25, 0.5], np.float32), model="toy")
    # What was drawn but not noted does not count.
    first.pixels[0, 2] = 9
    del first
    second = Gallery(rois=1, images=4, folder=tmp_path)
    assert second.model == "toy"
    assert second.has(0, np.array([0, 1]))
    assert not second.has(0, np.array([2, 3]))
    second.add(0, np.array([2, 3]), pictures(4), np.array([1.0, 2.0], np.float32), model="toy")
    np.testing.assert_array_equal(second.pixels[0], np.concatenate([pictures(3), pictures(4)]))
    assert second.predicted.tolist() == [[0.25, 0.5, 1.0, 2.0]]


def test_notes_of_images_that_are_gone_do_not_count(tmp_path: Path) -> None:
    first = Gallery(rois=1, images=2, folder=tmp_path)
    first.add(0, np.array([0, 1]), pictures(3), np.array([0.25, 0.5], np.float32), model="toy")
    del first
    (tmp_path / "pixels.raw").unlink()
    second = Gallery(rois=1, images=2, folder=tmp_path)
    assert not second.has(0, np.array([0]))
    assert second.model == ""


def test_a_note_that_was_cut_short_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "part-0-0.draft").write_text('{"roi": 0,')
    assert not Gallery(rois=1, images=1, folder=tmp_path).has(0, np.array([0]))
