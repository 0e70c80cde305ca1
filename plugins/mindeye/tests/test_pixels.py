"""The loss of pixels: against scikit-image, on the way downhill, through real autoencoders in diffusers' layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_mindeye.low_level import LowLevelDecoder
from brainlens_mindeye.params import LowLevelParams
from brainlens_mindeye.pixels import SCALES, PixelLoss, load_autoencoder, ms_ssim, scale_weights
from diffusers import AutoencoderKL, UNet2DModel, VQModel
from pydantic import ValidationError
from skimage.metrics import structural_similarity

import brainlens

SIZES = {"block_out_channels": (8, 8, 8, 8), "latent_channels": 4, "norm_num_groups": 4}
DOWN, UP = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4


@pytest.fixture(scope="module", params=["AutoencoderKL", "VQModel"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    kind = {"AutoencoderKL": AutoencoderKL, "VQModel": VQModel}[request.param]
    path = tmp_path_factory.mktemp(request.param)
    kind(down_block_types=DOWN, up_block_types=UP, scaling_factor=0.5, **SIZES).save_pretrained(path)
    return path


def fitted(**changes) -> tuple[LowLevelDecoder, xr.Dataset]:
    """Fit a small decoder to voxels that are a noisy copy of the latents; return it and the responses."""
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((60, 16, 4)).astype(np.float32)
    voxels = latents.reshape(60, 64) + 0.3 * rng.standard_normal((60, 64)).astype(np.float32)
    trials = {"trial": np.arange(60), "stimulus_id": ("trial", np.arange(60))}
    response = xr.Dataset(
        {"response": (("trial", "voxel"), voxels)}, {**trials, "voxel": np.arange(64)}, {"subject": "s1", "units": "z"}
    )
    attrs = {"model": "vae", "grid": [4, 4]}
    target = xr.Dataset({"embedding": (("trial", "token", "channel"), latents)}, trials, attrs)
    params = LowLevelParams(
        width=32, n_blocks=1, map_channels=16, up_channels=(16, 16), epochs=6, batch_size=20, learning_rate=3e-3,
        **changes,
    )  # fmt: skip
    decoder = LowLevelDecoder(params, brainlens.Context())
    decoder.fit(response, target)
    return decoder, response


def load(folder: Path) -> AutoencoderKL | VQModel:
    return load_autoencoder(str(folder), brainlens.Context())


def test_of_one_scale_it_is_the_index_of_scikit_image(folder):
    loss = PixelLoss(load(folder), (2, 2))
    assert loss.weights == (1.0,)
    wanted = torch.randn(3, 4, 4)
    found = wanted + 0.3 * torch.randn(3, 4, 4)
    images = [loss.images(each).numpy() for each in (found, wanted)]
    assert images[0].shape == (3, 3, 16, 16)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    pairs = zip(*images, strict=True)
    alike = [structural_similarity(one, other, channel_axis=0, **options) for one, other in pairs]
    assert float(loss(found, wanted)) == pytest.approx(1 - np.mean(alike), abs=1e-5)


def test_of_large_images_it_is_that_of_pytorch_msssim():
    library = pytest.importorskip("pytorch_msssim")
    torch.manual_seed(1)
    one = torch.nn.functional.interpolate(torch.rand(3, 3, 44, 48), (176, 192), mode="bicubic").clamp(0, 1).double()
    other = (one + 0.2 * torch.randn_like(one)).clamp(0, 1)
    expected = library.ms_ssim(one, other, data_range=1.0, size_average=False)
    found = ms_ssim(one, other, scale_weights(176))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    torch.testing.assert_close(ms_ssim(other, one, scale_weights(176)), found)


def test_opposites_are_not_alike_and_gradients_are_right():
    torch.manual_seed(2)
    image = torch.rand(1, 1, 48, 48, dtype=torch.float64)
    assert ms_ssim(image, 1 - image, scale_weights(48)).item() == 0
    small = image[..., :24, :24]
    near = (small + 0.1 * torch.randn_like(small)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ms_ssim(x, small, scale_weights(24)), near)


def test_latents_go_downhill_and_the_autoencoder_stays(folder):
    loss = PixelLoss(load(folder), (8, 8))
    assert len(loss.weights) == 3
    before = [each.clone() for each in loss.autoencoder.parameters()]
    wanted = 2 * torch.randn(2, 64, 4)
    assert float(loss(wanted, wanted)) < 1e-5
    found = (wanted + torch.randn_like(wanted)).requires_grad_()
    optimiser = torch.optim.Adam([found], lr=0.05)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        value = loss(found, wanted)
        value.backward()
        optimiser.step()
        losses.append(value.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(torch.equal(*pair) for pair in zip(before, loss.autoencoder.parameters(), strict=True))
    assert all(each.grad is None for each in loss.autoencoder.parameters())


@pytest.mark.parametrize(
    ("side", "n_scales"), [(11, 1), (21, 1), (22, 2), (44, 3), (64, 3), (128, 4), (176, 5), (512, 5)]
)
def test_small_images_get_fewer_scales(side, n_scales):
    weights = scale_weights(side)
    assert len(weights) == n_scales
    assert sum(weights) == pytest.approx(1, abs=2e-4)
    np.testing.assert_allclose(np.array(weights) / weights[0], np.array(SCALES[:n_scales]) / SCALES[0])


def test_images_smaller_than_the_window_are_refused(folder):
    with pytest.raises(brainlens.DimensionError, match="^pixel loss: expected images of at least 11 pixels, found 8"):
        PixelLoss(load(folder), (1, 1))


def test_a_decoder_is_trained_on_it(folder):
    decoder, response = fitted(pixel_weight=0.5, autoencoder=str(folder))
    pixels = decoder.history["pixels"]
    assert pixels[-1] < pixels[0]
    total = np.array(decoder.history["latents"]) + 0.5 * np.array(pixels)
    np.testing.assert_allclose(decoder.history["loss"], total, rtol=1e-5)
    # It makes a difference, and not to the state: the autoencoder is no part of the model.
    plain, _ = fitted()
    assert plain.state().keys() == decoder.state().keys() - {"history.pixels"}
    assert not np.allclose(plain.predict(response)["embedding"], decoder.predict(response)["embedding"])


def test_one_parameter_asks_for_the_other():
    with pytest.raises(ValidationError, match="autoencoder: expected it beside 'pixel_weight', found none"):
        LowLevelParams(pixel_weight=1)
    with pytest.raises(ValidationError, match="pixel_weight: expected it beside 'autoencoder', found none"):
        LowLevelParams(autoencoder="somewhere")


def test_what_is_no_autoencoder_is_refused(folder, tmp_path):
    with pytest.raises(brainlens.RegistryError, match="expected a file or folder, found nothing there"):
        load(tmp_path / "gone")
    with pytest.raises(brainlens.CheckpointError, match=r"expected a folder with config\.json in diffusers' layout"):
        load(tmp_path)
    UNet2DModel(
        block_out_channels=(8,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), norm_num_groups=4
    ).save_pretrained(tmp_path / "other")
    with pytest.raises(brainlens.CheckpointError, match="expected 'AutoencoderKL', 'VQModel', found 'UNet2DModel'"):
        load(tmp_path / "other")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(brainlens.CheckpointError, match="expected weights as safetensors, found none that load"):
        load(tmp_path / "empty")
    model = load(folder)
    del model.decoder.conv_out
    model.save_pretrained(tmp_path / "partial")
    with pytest.raises(brainlens.CheckpointError, match=r"found 2 without weights: 'decoder\.conv_out\.bias'"):
        load(tmp_path / "partial")
