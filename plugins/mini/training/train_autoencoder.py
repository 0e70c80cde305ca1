"""Train the autoencoder on simulated scenes: 64 x 64 x 3 pixels to 8 x 8 x 16 latents and back.

    python train_autoencoder.py --registry train.zarr --scenes train1 train2 --out build/autoencoder

The latents start as a principal component analysis of 8 x 8 patches, the best linear code of that size; encoder and
decoder first learn these, and are then trained together. Stops at any time and goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import VQModel
from scenes import Scenes
from torch import nn
from torch.nn import functional

import brainlens

PATCH, LATENTS = 8, 16
CHANNELS = (16, 32, 96, 128)
# The scale of a component is its standard deviation to this power: between whitened and as it is.
EXPONENT = 0.6


class PatchComponents(nn.Module):
    """Principal components of patches, scaled to unit variance over all channels together."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3 * PATCH**2))
        self.register_buffer("axes", torch.zeros(3 * PATCH**2, LATENTS))
        self.register_buffer("scale", torch.ones(LATENTS))

    def fit(self, images: torch.Tensor) -> None:
        """Fit on images (row, rgb, y, x)."""
        patches = functional.unfold(images, PATCH, stride=PATCH).permute(0, 2, 1).reshape(-1, 3 * PATCH**2)
        self.mean = patches.mean(dim=0)
        values, axes = torch.linalg.eigh(torch.cov((patches - self.mean).T))
        std = values.flip(0)[:LATENTS].clamp(min=1e-12).sqrt()
        self.axes = axes.flip(1)[:, :LATENTS].contiguous()
        self.scale = std**EXPONENT * (std ** (1 - EXPONENT)).square().mean().sqrt()

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Return latents (row, latent, y, x)."""
        side = images.shape[-1] // PATCH
        patches = functional.unfold(images, PATCH, stride=PATCH).permute(0, 2, 1) - self.mean
        return ((patches @ self.axes) / self.scale).permute(0, 2, 1).reshape(len(images), LATENTS, side, side)


def make_model() -> VQModel:
    """Return the autoencoder, untrained; its codebook is never used."""
    return VQModel(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=CHANNELS, layers_per_block=1, latent_channels=LATENTS, sample_size=64,
        num_vq_embeddings=1, vq_embed_dim=LATENTS, norm_num_groups=8, mid_block_add_attention=False,
        scaling_factor=1.0,
    )  # fmt: skip


def encode(model: VQModel, images: torch.Tensor) -> torch.Tensor:
    """Return latents of images in [-1, 1]."""
    return model.quant_conv(model.encoder(images))


def decode(model: VQModel, latents: torch.Tensor) -> torch.Tensor:
    """Return images in [-1, 1]."""
    return model.decoder(model.post_quant_conv(latents))


def ssim(first: torch.Tensor, second: torch.Tensor, *, span: float = 2.0) -> torch.Tensor:
    """Return the mean structural similarity (Wang et al. 2004) of images (row, rgb, y, x), flat window of 7 x 7."""
    window, n = 7, 49
    mean_a, mean_b = functional.avg_pool2d(first, window, 1), functional.avg_pool2d(second, window, 1)
    unbiased = n / (n - 1)
    var_a = unbiased * (functional.avg_pool2d(first**2, window, 1) - mean_a**2)
    var_b = unbiased * (functional.avg_pool2d(second**2, window, 1) - mean_b**2)
    both = unbiased * (functional.avg_pool2d(first * second, window, 1) - mean_a * mean_b)
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return (top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean()


def main() -> None:
    """Train, from the last checkpoint if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--registry", required=True)
    parser.add_argument("--scenes", nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=250_000)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stop-after", type=float, default=math.inf, help="minutes")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    scenes = Scenes(brainlens.open(given.registry, quiet=True), given.scenes, labels=False)

    def batch(rows: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(scenes.pixels(rows)).permute(0, 3, 1, 2).float() / 127.5 - 1

    linear, model = PatchComponents(), make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=given.lr, weight_decay=1e-4, betas=(0.9, 0.99))
    n_steps = given.samples // given.batch
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 300) * (0.5 + 0.5 * math.cos(math.pi * min(1, step / n_steps)))
    )
    file, step, spent = given.out / "checkpoint.pt", 0, 0.0
    if file.exists():
        saved = torch.load(file, weights_only=True)
        for part, name in ((linear, "linear"), (model, "model"), (optimizer, "optimizer"), (schedule, "schedule")):
            part.load_state_dict(saved[name])
        step, spent = saved["step"], saved["spent"]
    else:
        linear.fit(batch(np.arange(4000)))

    def save() -> None:
        parts = {"linear": linear, "model": model, "optimizer": optimizer, "schedule": schedule}
        state = {name: part.state_dict() for name, part in parts.items()}
        torch.save({**state, "step": step, "spent": spent}, given.out / "checkpoint.part")
        (given.out / "checkpoint.part").replace(file)

    started = last = time.monotonic()
    sums, since, every = np.zeros(3), 0, 500
    while step < n_steps and time.monotonic() - started < given.stop_after * 60:
        epoch, within = divmod(step, len(scenes) // given.batch)
        if within == 0 or since == 0:
            order = np.random.default_rng([given.seed, epoch]).permutation(len(scenes))
        images = batch(np.sort(order[within * given.batch : (within + 1) * given.batch]))
        noise = torch.randn(len(images), LATENTS, 8, 8, generator=torch.Generator().manual_seed(step))
        target = linear.encode(images)
        done = step / n_steps
        with torch.autocast("cpu", torch.bfloat16):
            latents = encode(model, images).float()
            # The decoder starts on the linear code, which is there from the first step.
            shown = target if done < 0.1 else latents
            drawn = decode(model, shown + 0.05 * noise).float()
        pin = (latents - target).square().mean()
        losses = [1 - ssim(drawn, images), (drawn - images).abs().mean(), pin]
        loss = losses[0] + 2 * losses[1] + (1.0 if done < 0.15 else 0.05) * pin
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        sums += [float(item.detach()) for item in losses]
        step, since = step + 1, since + 1
        if step % every == 0:
            now = time.monotonic()
            spent += now - last
            rate = every * given.batch / (now - last)
            dissimilarity, error, away = sums / every
            print(
                f"{step}/{n_steps} ssim {1 - dissimilarity:.4f} error {error:.4f} pin {away:.4f} {rate:.0f}/s "
                f"{spent / 60:.1f} min",
                flush=True,
            )
            sums[:], last = 0, now
            if step % (2 * every) == 0:
                save()
    save()


if __name__ == "__main__":
    main()
