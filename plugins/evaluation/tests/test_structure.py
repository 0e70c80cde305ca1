import numpy as np
import pytest
import pytorch_msssim
import torch
from brainlens_evaluation.structure import WEIGHTS, ms_ssim, scale_weights, ssim, ssim_columns
from hypothesis import given, settings, strategies as st
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as torchmetrics_ms_ssim

import brainlens


def _pair(side: int = 64, n: int = 3, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    a = rng.random((n, side, side))
    return a, np.clip(0.6 * a + 0.4 * rng.random(a.shape), 0, 1)


def _colour(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = _pair(side, 6)
    return torch.from_numpy(a).reshape(2, 3, side, side), torch.from_numpy(b).reshape(2, 3, side, side)


def test_ssim_is_the_two_dimensional_index_of_scikit_image() -> None:
    a, b = _pair()
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = [structural_similarity(left, right, **options) for left, right in zip(a, b, strict=True)]
    np.testing.assert_allclose(ssim(a, b), expected, rtol=0, atol=1e-12)


def test_ssim_agrees_with_an_implementation_in_torch() -> None:
    a, b = _pair()
    tensors = (torch.from_numpy(each)[:, None] for each in (a, b))
    expected = pytorch_msssim.ssim(*tensors, data_range=1.0, size_average=False)
    np.testing.assert_allclose(ssim(a, b), expected.numpy(), rtol=0, atol=1e-6)


def test_columns_are_what_scikit_image_makes_of_columns_as_channels() -> None:
    a, b = _pair(48)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = [structural_similarity(x, y, channel_axis=-1, **options) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(ssim_columns(a, b), expected, rtol=0, atol=1e-12)


def test_columns_by_hand_for_flat_columns() -> None:
    # Every column has one grey value, so nothing but luminance differs: (2 m n + c) / (m^2 + n^2 + c).
    a, b = np.full((1, 20, 2), 0.5), np.full((1, 20, 2), 0.25)
    b[..., 1] = 0.5
    luminance = (2 * 0.5 * 0.25 + 1e-4) / (0.5**2 + 0.25**2 + 1e-4)
    assert ssim_columns(a, b)[0] == pytest.approx((luminance + 1) / 2, abs=1e-12)


def test_columns_are_more_lenient_where_structure_is_lost() -> None:
    picture = gaussian_filter(_pair(128)[0], (0, 4, 4), mode="wrap")
    picture = (picture - picture.min()) / (picture.max() - picture.min())
    for lost in (gaussian_filter(picture, (0, 8, 8)), np.full_like(picture, picture.mean())):
        assert (ssim_columns(picture, lost) > ssim(picture, lost) + 0.02).all()


def test_ms_ssim_agrees_with_another_implementation_at_five_scales() -> None:
    a, b = _colour(192)
    expected = pytorch_msssim.ms_ssim(a, b, data_range=1.0, size_average=False)
    torch.testing.assert_close(ms_ssim(a, b), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [44, 64, 96])
def test_ms_ssim_of_fewer_scales_agrees_with_another_implementation(side: int) -> None:
    # The other one refuses small images whatever the number of scales, so these weights are tried on large ones.
    weights = list(scale_weights(side))
    a, b = _colour(192)
    expected = pytorch_msssim.ms_ssim(a, b, data_range=1.0, size_average=False, weights=weights)
    torch.testing.assert_close(ms_ssim(a, b, tuple(weights)), expected, rtol=0, atol=1e-6)


def test_contrast_terms_agree_with_torchmetrics() -> None:
    # torchmetrics counts reflected borders in the luminance of the coarsest scale; an exponent of 0 leaves that out.
    a, b = (each[:, :1] for each in _colour(64))
    weights = (0.3, 0.7, 0.0)
    expected = torchmetrics_ms_ssim(a, b, data_range=1.0, reduction="none", betas=weights, normalize="relu")
    torch.testing.assert_close(ms_ssim(a, b, weights), expected.double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("side", "n_scales"), [(11, 1), (21, 1), (22, 2), (64, 3), (88, 4), (175, 4), (176, 5), (425, 5)]
)
def test_scales_follow_the_size(side: int, n_scales: int) -> None:
    weights = scale_weights(side)
    assert len(weights) == n_scales
    assert sum(weights) == pytest.approx(1, abs=2e-4)
    np.testing.assert_allclose(np.array(weights) / weights[0], np.array(WEIGHTS[:n_scales]) / WEIGHTS[0])


def test_an_image_without_room_for_the_window_is_refused() -> None:
    with pytest.raises(brainlens.DimensionError, match="at least 11 x 11 pixels, found a side of 10"):
        scale_weights(10)


@settings(max_examples=20)
@given(st.integers(11, 60), st.integers(0, 2**31))
def test_indices_are_one_for_equal_images_symmetric_and_bounded(side: int, seed: int) -> None:
    a, b = _pair(side, 2, seed=seed)
    for function in (ssim, ssim_columns):
        np.testing.assert_allclose(function(a, a), 1, atol=1e-12)
        np.testing.assert_allclose(function(a, b), function(b, a), atol=1e-12)
        assert (np.abs(function(a, b)) <= 1).all()
    x, y = torch.from_numpy(a)[:, None], torch.from_numpy(b)[:, None]
    torch.testing.assert_close(ms_ssim(x, x), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(ms_ssim(x, y), ms_ssim(y, x))
    assert ((ms_ssim(x, y) >= 0) & (ms_ssim(x, y) <= 1)).all()


def test_opposite_images_score_zero_not_nan() -> None:
    a = torch.from_numpy(_pair(64, 2)[0])[:, None]
    assert ms_ssim(a, 1 - a).tolist() == [0.0, 0.0]


def test_ms_ssim_has_the_gradient_of_its_differences() -> None:
    a, b = (torch.from_numpy(each)[:1, None, :16, :16] for each in _pair(16))
    assert torch.autograd.gradcheck(lambda x: ms_ssim(x, b), (a.clone().requires_grad_(),))
