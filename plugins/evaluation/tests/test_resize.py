import numpy as np
import pytest
import torch
from brainlens_evaluation.resize import first_resize, resize, to_tensor
from torchvision.transforms import InterpolationMode, Resize

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 300, 200, 3), dtype=np.uint8)


@pytest.mark.parametrize("side", [64, 224, 255, 256, 342, 425])
def test_resizing_is_that_of_torchvision_without_antialiasing(side: int) -> None:
    images = first_resize(PIXELS)
    oracle = Resize((side, side), interpolation=InterpolationMode.BILINEAR, antialias=False)
    torch.testing.assert_close(resize(images, side), oracle(images), rtol=0, atol=1e-6)


def test_the_first_size_is_256_square_whatever_the_shape() -> None:
    oracle = Resize((256, 256), antialias=False)(torch.from_numpy(PIXELS).permute(0, 3, 1, 2).float() / 255)
    torch.testing.assert_close(first_resize(PIXELS), oracle, rtol=0, atol=1e-6)


def test_antialiasing_would_be_another_metric() -> None:
    images = to_tensor(PIXELS)
    assert not torch.allclose(resize(images, 64), Resize((64, 64), antialias=True)(images), atol=0.05)


def test_grey_images_get_three_equal_channels() -> None:
    images = to_tensor(PIXELS[..., 0])
    assert images.shape == (2, 3, 300, 200)
    assert torch.equal(images[:, 0], images[:, 2])
    assert images[0, 1, 5, 7].item() == pytest.approx(PIXELS[0, 5, 7, 0] / 255)
