"""Maps of contrast energy, luminance and colour."""

import numpy as np
import pytest
from brainlens_simulate.pyramid import FIELD_DEG, GRID, PIXELS, build_pyramid, grid_degrees, pyramid_channels

ROW, COLUMN = np.mgrid[:PIXELS, :PIXELS] / PIXELS


def grey(pattern: np.ndarray) -> np.ndarray:
    pixels = (127.5 + 100 * pattern).astype(np.uint8)
    return np.repeat(pixels[..., None], 3, axis=-1)[None]


def mean_of_channels(image: np.ndarray) -> dict[str, float]:
    return dict(zip(pyramid_channels(), build_pyramid(image)[0].mean(axis=0).tolist(), strict=True))


@pytest.mark.parametrize(
    ("phase", "orientation"),
    [(ROW, "0"), ((COLUMN + ROW) / 2**0.5, "45"), (COLUMN, "90"), ((COLUMN - ROW) / 2**0.5, "135")],
)
def test_stripes_drive_their_orientation_most(phase: np.ndarray, orientation: str) -> None:
    seen = mean_of_channels(grey(np.sin(2 * np.pi * 8 * phase)))
    energy = {name: value for name, value in seen.items() if name.startswith("energy")}
    assert max(energy, key=energy.__getitem__) == f"energy.8.{orientation}"


@pytest.mark.parametrize("cycles", [4, 8, 16])
def test_stripes_drive_their_scale_most(cycles: int) -> None:
    seen = mean_of_channels(grey(np.sin(2 * np.pi * cycles * COLUMN)))
    assert max(("4", "8", "16"), key=lambda scale: seen[f"energy.{scale}.90"]) == str(cycles)


def test_energy_does_not_depend_on_phase() -> None:
    first, second = (build_pyramid(grey(np.sin(2 * np.pi * 8 * COLUMN + phase)))[0, :, 6] for phase in (0.0, 1.5))
    inside = (np.abs(grid_degrees()[0]) < 3) & (np.abs(grid_degrees()[1]) < 3)
    np.testing.assert_allclose(first[inside], second[inside], rtol=0.03)


def test_an_even_image_has_no_energy() -> None:
    seen = mean_of_channels(grey(np.zeros((PIXELS, PIXELS))))
    assert max(value for name, value in seen.items() if name.startswith("energy")) < 1e-5


def test_colours_are_opponent() -> None:
    red, blue = np.zeros((2, 1, PIXELS, PIXELS, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    assert mean_of_channels(red)["red-green"] == pytest.approx(1)
    assert mean_of_channels(blue)["blue-yellow"] == pytest.approx(1)
    assert mean_of_channels(red)["blue-yellow"] == pytest.approx(-0.5)


def test_places_are_where_the_pixels_are() -> None:
    image = np.zeros((1, PIXELS, PIXELS, 3), np.uint8)
    image[:, :8, -8:] = 255
    light = build_pyramid(image)[0, :, pyramid_channels().index("luminance")]
    x, y = grid_degrees()
    assert x[light > 0.5].min() > FIELD_DEG / 4
    assert y[light > 0.5].min() > FIELD_DEG / 4


def test_blocks_give_what_the_whole_gives() -> None:
    images = np.random.default_rng(0).integers(0, 255, (50, PIXELS, PIXELS, 3), dtype=np.uint8)
    whole = build_pyramid(images)
    assert whole.shape == (50, GRID * GRID, len(pyramid_channels()))
    np.testing.assert_allclose(build_pyramid(images[40:45]), whole[40:45], atol=1e-6)
