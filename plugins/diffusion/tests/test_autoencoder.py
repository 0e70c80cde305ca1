from pathlib import Path

import numpy as np
import pytest
import torch
from brainlens_diffusion.autoencoder import decode, encode, reduction
from diffusers import AutoencoderKL, VQModel


@pytest.fixture(scope="module")
def kl() -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 8), norm_num_groups=4, latent_channels=4, scaling_factor=0.18215,
    ).eval().requires_grad_(False)  # fmt: skip


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 16, 24, 3), dtype=np.uint8)


def test_latents_are_the_mode_of_pixels_from_minus_1_to_1_times_the_scale(
    kl: AutoencoderKL, pixels: np.ndarray
) -> None:
    assert reduction(kl) == 4
    found = encode(kl, pixels, "cpu")
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert found.shape == (3, 4, 4, 6)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, kl.encode(images).latent_dist.mean * 0.18215)


def test_decoding_undoes_the_scale(kl: AutoencoderKL, pixels: np.ndarray) -> None:
    latents = encode(kl, pixels, "cpu")
    expected = kl.decode(latents / 0.18215).sample
    found = decode(kl, latents)
    assert found.dtype == np.uint8
    assert found.shape == pixels.shape
    np.testing.assert_array_equal(found, ((expected.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy())


def test_images_that_are_decoded_one_by_one_are_the_same(kl: AutoencoderKL, pixels: np.ndarray) -> None:
    latents = encode(kl, pixels, "cpu")
    together, alone = decode(kl, latents), decode(kl, latents, one_by_one=True)
    assert np.abs(together.astype(int) - alone.astype(int)).max() <= 1


def test_latents_of_a_vqmodel_have_no_scale_and_are_not_quantised(kandinsky: Path, pixels: np.ndarray) -> None:
    model = VQModel.from_pretrained(kandinsky / "movq").eval().requires_grad_(False)
    latents = encode(model, pixels, "cpu")
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    torch.testing.assert_close(latents, model.encode(images).latents)
    assert decode(model, latents).shape == pixels.shape
