import numpy as np
import pytest
import torch
from brainlens_evaluation.pixels import PIXEL_METRICS, compare_pixels, correlate_pairs, shared_side
from brainlens_evaluation.structure import ms_ssim
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from torchmetrics.functional import pearson_corrcoef
from torchvision.transforms import Resize

RNG = np.random.default_rng(0)
SEEN = RNG.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
MADE = (SEEN // 2 + RNG.integers(0, 128, SEEN.shape, dtype=np.uint8)).astype(np.uint8)


def _as_published(pixels: np.ndarray) -> torch.Tensor:
    """The field's preprocessing: a tensor from 0 to 1, 256 x 256, then 425."""
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    return Resize(425, antialias=False)(Resize((256, 256), antialias=False)(images))


def test_pix_corr_is_the_correlation_that_numpy_and_torchmetrics_find() -> None:
    made, seen = (_as_published(each).reshape(3, -1) for each in (MADE, SEEN))
    found = compare_pixels(MADE, SEEN, ["pix_corr"])["pix_corr"]
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(made.numpy(), seen.numpy(), strict=True)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found, pearson_corrcoef(made.double().T, seen.double().T), rtol=0, atol=1e-6)


def test_ssim_is_that_of_the_published_scripts() -> None:
    grey = [rgb2gray(_as_published(each).permute(0, 2, 3, 1).numpy()) for each in (MADE, SEEN)]
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    found = compare_pixels(MADE, SEEN, ["ssim", "ssim_columns"])
    for name, more in (("ssim", {}), ("ssim_columns", {"channel_axis": -1})):
        expected = structural_similarity(grey[0][0], grey[1][0], **options, **more)
        assert found[name][0] == pytest.approx(expected, abs=1e-6)


def test_ms_ssim_of_small_images_looks_at_their_own_size() -> None:
    made, seen = (torch.from_numpy(each).permute(0, 3, 1, 2).double() / 255 for each in (MADE, SEEN))
    found = compare_pixels(MADE, SEEN, ["ms_ssim"])["ms_ssim"]
    np.testing.assert_allclose(found, ms_ssim(made, seen).numpy(), rtol=0, atol=1e-6)


def test_sizes_may_differ() -> None:
    large = SEEN.repeat(3, axis=1).repeat(3, axis=2)
    assert shared_side(MADE.shape, large.shape) == 64
    found = compare_pixels(large, SEEN, PIXEL_METRICS)
    assert list(found) == list(PIXEL_METRICS)
    # Enlarging and reducing again with antialiasing changes little; without, aliasing would show.
    assert (found["ms_ssim"] > 0.9).all()


def test_a_blank_image_has_no_correlation_but_a_structure() -> None:
    flat = np.full_like(SEEN, 77)
    found = compare_pixels(flat, SEEN, PIXEL_METRICS)
    assert np.isnan(found["pix_corr"]).all()
    assert np.isfinite(found["ssim"]).all()


def test_correlation_by_hand() -> None:
    a, b = torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]), torch.tensor([[1.0, 3.0, 2.0], [1.0, 2.0, 3.0]])
    found = correlate_pairs(a, b)
    assert found[0].item() == pytest.approx(0.5)
    assert torch.isnan(found[1])


def test_correlation_does_not_change_with_scale_and_offset() -> None:
    a, b = (torch.from_numpy(each.reshape(3, -1)) for each in (MADE, SEEN))
    torch.testing.assert_close(correlate_pairs(a, b), correlate_pairs(a.double() * 1e-3 + 50, b), rtol=0, atol=1e-9)
