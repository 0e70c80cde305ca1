import numpy as np
import pytest
from brainlens_simulate.outlines import LETTERS, arc, box, ellipse, letters, polygon, ring, shade, stroke

RED = (200, 0, 0)


def area(points: np.ndarray) -> float:
    x, y = points.T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def test_areas_are_those_of_geometry() -> None:
    assert area(box(-1, -0.5, 1, 0.5, RED)[0]) == pytest.approx(2)
    # A polygon of 28 corners in an ellipse has sin(2 pi / 28) / (2 pi / 28) of its area.
    share = np.sin(2 * np.pi / 28) / (2 * np.pi / 28)
    assert area(ellipse(0.2, 0.1, 0.5, 0.25, RED)[0]) == pytest.approx(np.pi * 0.125 * share)
    assert area(polygon([(0, 0), (1, 0), (0, 1)], RED)[0]) == pytest.approx(0.5)


def test_a_stroke_is_as_wide_as_asked_in_every_direction() -> None:
    for angle in np.linspace(0, np.pi, 7):
        end = (np.cos(angle), np.sin(angle))
        assert area(stroke([(0, 0), end], 0.2, RED)[0][0]) == pytest.approx(0.2)


def test_a_ring_keeps_its_radius() -> None:
    reach = max(np.hypot(*(points - (0.3, 0.1)).T).max() for points, _ in ring(0.3, 0.1, 0.5, 0.1, RED))
    assert reach == pytest.approx(0.55, abs=0.01)


def test_an_arc_goes_clockwise_on_the_screen() -> None:
    points = arc(0, 0, 1, 1, start=0, end=90)
    np.testing.assert_allclose(points[[0, -1]], [(1, 0), (0, 1)], atol=1e-12)


@pytest.mark.parametrize("letter", sorted(LETTERS))
def test_letters_stay_in_their_cell(letter: str) -> None:
    points = np.concatenate([part for part, _ in letters(letter, height=0.3, width=0.5, stroke_width=0.1, rgb=RED)])
    assert np.all(np.abs(points).max(axis=0) <= (0.55, 0.38))


def test_no_two_letters_are_the_same() -> None:
    assert len(set(LETTERS.values())) == len(LETTERS)


def test_shades_go_to_black_and_to_white() -> None:
    assert shade((100, 50, 200), 0) == (0, 0, 0)
    assert shade((100, 50, 200), 1) == (100, 50, 200)
    assert shade((100, 50, 200), 2) == (255, 255, 255)
