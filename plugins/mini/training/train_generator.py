"""Train the image generator: latents from noise, given an image embedding, by flow matching.

    python train_generator.py --build build

Cells that show an object count more than the place around them, which fills most of a scene and is learned first.
Reads what `prepare_latents.py` wrote. Stops at any time and goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import math
import time
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from train_autoencoder import LATENTS

SIDE = 8
# Embeddings have length 1; the network sees them about as large as noise is in every channel.
EMBEDDING_SCALE = 16.0
N_TIMES = 1000


def make_model(embed_dim: int) -> UNet2DConditionModel:
    """Return the network in the layout of the Kandinsky 2.2 decoder, untrained."""
    return UNet2DConditionModel(
        sample_size=SIDE, in_channels=LATENTS, out_channels=2 * LATENTS, layers_per_block=1,
        block_out_channels=(128, 192), norm_num_groups=16, attention_head_dim=32, cross_attention_dim=64,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        resnet_time_scale_shift="scale_shift", encoder_hid_dim=embed_dim, encoder_hid_dim_type="image_proj",
        addition_embed_type="image", addition_embed_type_num_heads=64,
    )  # fmt: skip


def velocity(model: nn.Module, noisy: torch.Tensor, time_of: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
    """Return noise minus latents as the network sees it; the second half of its output is not used."""
    return model(noisy, time_of, None, added_cond_kwargs={"image_embeds": embedding}).sample[:, :LATENTS]


def main() -> None:
    """Train, from the last checkpoint if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--ema", type=float, default=0.9995)
    parser.add_argument("--objects", type=float, default=5.0, help="weight of a cell that shows nothing but an object")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stop-after", type=float, default=math.inf, help="minutes")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    latents, embeddings, objects = (
        np.load(given.build / f"{name}.npy", mmap_mode="r") for name in ("latents", "embeddings", "objects")
    )
    folder = given.build / "generator"
    folder.mkdir(parents=True, exist_ok=True)
    model = make_model(embeddings.shape[1])
    averaged = deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=given.lr, weight_decay=1e-2, betas=(0.9, 0.99), fused=True)
    n_steps = given.samples // given.batch
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1, (step + 1) / 500) * max(0.02, 0.5 + 0.5 * math.cos(math.pi * min(1, step / n_steps))),
    )
    parts = {"model": model, "averaged": averaged, "optimizer": optimizer, "schedule": schedule}
    file, step, spent = folder / "checkpoint.pt", 0, 0.0
    spread = torch.from_numpy(latents[:4000].astype(np.float32)).view(-1, LATENTS, SIDE**2)
    shift, scale = spread.mean(dim=(0, 2)), spread.std()
    if file.exists():
        saved = torch.load(file, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        step, spent, shift, scale = saved["step"], saved["spent"], saved["shift"], saved["scale"]

    def save() -> None:
        state = {name: part.state_dict() for name, part in parts.items()}
        torch.save({**state, "step": step, "spent": spent, "shift": shift, "scale": scale}, folder / "checkpoint.part")
        (folder / "checkpoint.part").replace(file)

    started = last = time.monotonic()
    total, since, every = 0.0, 0, 500
    while step < n_steps and time.monotonic() - started < given.stop_after * 60:
        epoch, within = divmod(step, len(latents) // given.batch)
        if within == 0 or since == 0:
            order = np.random.default_rng([given.seed, epoch]).permutation(len(latents))
        rows = np.sort(order[within * given.batch : (within + 1) * given.batch])
        rng = torch.Generator().manual_seed(given.seed + step)
        clean = torch.from_numpy(latents[rows].astype(np.float32)).view(-1, LATENTS, SIDE, SIDE)
        clean = (clean - shift.view(1, -1, 1, 1)) / scale
        embedding = torch.from_numpy(embeddings[rows].astype(np.float32)) * EMBEDDING_SCALE
        embedding = embedding * (torch.rand(len(rows), 1, generator=rng) > 0.1)
        noise = torch.randn(clean.shape, generator=rng)
        share = torch.sigmoid(torch.randn(len(rows), generator=rng)).view(-1, 1, 1, 1)
        noisy = (1 - share) * clean + share * noise
        # With 16 places to look at, the plain product is a third faster than the fused attention.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            seen = velocity(model, noisy, share.flatten() * N_TIMES, embedding).float()
        weight = 1 + (given.objects - 1) * torch.from_numpy(objects[rows].astype(np.float32)).view(-1, 1, SIDE, SIDE)
        loss = (weight * (seen - (noise - clean)).square()).mean() / weight.mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            keep = min(given.ema, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - keep)
        total += float(loss.detach())
        step, since = step + 1, since + 1
        if step % every == 0:
            now = time.monotonic()
            spent += now - last
            rate = every * given.batch / (now - last)
            print(f"{step}/{n_steps} loss {total / every:.4f} {rate:.0f}/s {spent / 60:.1f} min", flush=True)
            total, last = 0.0, now
            if step % (4 * every) == 0:
                save()
    save()


if __name__ == "__main__":
    main()
