import numpy as np
import pytest
from brainlens_simulate.textures import texture

KINDS = ("plain", "clouds", "grating", "checks", "dots", "waves")
NUMBERS = (0.31, 0.52, 0.13, 0.94, 0.45, 0.26, 0.77, 0.08)


def grid(size: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    middle = (np.arange(size) + 0.5) / size
    return middle[None] + shift, middle[:, None]


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_from_0_to_1_and_vary(kind: str) -> None:
    values = texture(kind, *grid(64), NUMBERS)
    assert values.shape == (64, 64)
    assert values.dtype == np.float32
    assert values.min() >= 0
    assert values.max() <= 1
    assert values.std() > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_textures_are_the_same_at_every_size(kind: str) -> None:
    small, large = (texture(kind, *grid(size), NUMBERS) for size in (64, 192))
    # Pixel k of 64 has the same middle as pixel 3 k + 1 of 192.
    np.testing.assert_allclose(small, large[1::3, 1::3], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_textures_move_with_the_scene(kind: str) -> None:
    there, shifted = texture(kind, *grid(64), NUMBERS), texture(kind, *grid(64, shift=8 / 64), NUMBERS)
    np.testing.assert_allclose(there[:, 8:], shifted[:, :-8], atol=1e-5)


def test_a_grating_has_as_many_cycles_as_asked() -> None:
    values = texture("grating", *grid(256), (0.0, 2.5 / 4.5, 0.0, 0.0))
    spectrum = np.abs(np.fft.rfft(values[0] - values[0].mean()))
    assert spectrum.argmax() == 4
