"""Tune the generator: what it says a scene is without noise, once decoded, must have the embedding it was told.

    python tune_generator.py --build build

Flow matching alone leaves it to the samples to add up to what the embedding says; objects come out as blobs long after
places are right. Here the image-text model looks at the clean image that each velocity implies, and its cosine with the
embedding is a second loss. The judge that evaluates the generator takes no part. Starts from `train_generator.py`'s
average, writes `generator-tuned`, and goes on from its own last checkpoint. The shipped weights were tuned with
`--samples 140000` first and went on from there with 300000.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from copy import deepcopy
from pathlib import Path

import numpy as np
import open_clip
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from train_autoencoder import LATENTS, make_model as make_autoencoder
from train_generator import EMBEDDING_SCALE, N_TIMES, SIDE, make_model, velocity

# Shares of noise between which a velocity is asked for the clean image: below, it is the scene itself; above, a blur.
LEAST_NOISE, MOST_NOISE = 0.25, 0.8


class Looker(nn.Module):
    """Decode latents and embed the image, all weights fixed."""

    def __init__(self, build: Path) -> None:
        super().__init__()
        self.autoencoder = make_autoencoder()
        saved = torch.load(build / "autoencoder/checkpoint.pt", weights_only=True)
        self.autoencoder.load_state_dict(saved["model"])
        about = json.loads((build / "image-text/open_clip_config.json").read_text())
        self.clip = open_clip.CLIP(**about["model_cfg"])
        self.clip.load_state_dict(torch.load(build / "image-text/checkpoint.pt", weights_only=True)["model"])
        mean, std = (torch.tensor(about["preprocess_cfg"][key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.eval().requires_grad_(False)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Return embeddings of length 1."""
        images = self.autoencoder.decode(latents, force_not_quantize=True, return_dict=False)[0].float()
        seen = (images.clamp(-1, 1) + 1) / 2
        return functional.normalize(self.clip.encode_image((seen - self.mean) / self.std).float(), dim=1)


def main() -> None:
    """Tune, from the last checkpoint if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=300_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--looked-at", type=int, default=32, help="samples of a batch that are decoded and embedded")
    parser.add_argument("--agreement", type=float, default=2.0, help="weight of one minus the cosine")
    parser.add_argument("--objects", type=float, default=5.0, help="weight of a cell that shows nothing but an object")
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--ema", type=float, default=0.998)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    latents, embeddings, objects = (
        np.load(given.build / f"{name}.npy", mmap_mode="r") for name in ("latents", "embeddings", "objects")
    )
    trained = torch.load(given.build / "generator/checkpoint.pt", weights_only=True)
    shift, scale = trained["shift"].view(1, -1, 1, 1), trained["scale"]
    model, looker = make_model(embeddings.shape[1]), Looker(given.build)
    model.load_state_dict(trained["averaged"])
    averaged = deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=given.lr, weight_decay=1e-2, betas=(0.9, 0.99), fused=True)
    n_steps = given.samples // given.batch
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 50) * max(0.02, 0.5 + 0.5 * math.cos(math.pi * step / n_steps))
    )
    parts = {"model": model, "averaged": averaged, "optimizer": optimizer, "schedule": schedule}
    folder = given.build / "generator-tuned"
    folder.mkdir(parents=True, exist_ok=True)
    file, step = folder / "checkpoint.pt", 0
    if file.exists():
        saved = torch.load(file, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        step = saved["step"]

    def save() -> None:
        state = {name: part.state_dict() for name, part in parts.items()}
        kept = {"step": step, "shift": trained["shift"], "scale": scale}
        torch.save({**state, **kept}, folder / "checkpoint.part")
        (folder / "checkpoint.part").replace(file)

    last, flows, cosines, every = time.monotonic(), 0.0, 0.0, 100
    while step < n_steps:
        rows = np.sort(np.random.default_rng([given.seed, 9, step]).choice(len(latents), given.batch, replace=False))
        rng = torch.Generator().manual_seed(given.seed + step)
        clean = torch.from_numpy(latents[rows].astype(np.float32)).view(-1, LATENTS, SIDE, SIDE)
        clean = (clean - shift) / scale
        embedding = torch.from_numpy(embeddings[rows].astype(np.float32))
        told = torch.rand(len(rows), generator=rng) > 0.1
        noise = torch.randn(clean.shape, generator=rng)
        share = torch.sigmoid(torch.randn(len(rows), generator=rng)).view(-1, 1, 1, 1)
        noisy = (1 - share) * clean + share * noise
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            seen = velocity(
                model, noisy, share.flatten() * N_TIMES, embedding * EMBEDDING_SCALE * told[:, None]
            ).float()
        weight = 1 + (given.objects - 1) * torch.from_numpy(objects[rows].astype(np.float32)).view(-1, 1, SIDE, SIDE)
        flow = (weight * (seen - (noise - clean)).square()).mean() / weight.mean()
        between = (share.flatten() > LEAST_NOISE) & (share.flatten() < MOST_NOISE)
        asked = torch.nonzero(told & between).flatten()[: given.looked_at]
        with torch.autocast("cpu", torch.bfloat16):
            found = looker((noisy - share * seen)[asked] * scale + shift)
        cosine = (found * functional.normalize(embedding[asked], dim=1)).sum(dim=1).mean()
        loss = flow + given.agreement * (1 - cosine)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            keep = min(given.ema, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - keep)
        flows, cosines, step = flows + float(flow.detach()), cosines + float(cosine.detach()), step + 1
        if step % every == 0:
            rate = every * given.batch / (time.monotonic() - last)
            print(f"{step}/{n_steps} loss {flows / every:.4f} cosine {cosines / every:.4f} {rate:.0f}/s", flush=True)
            flows, cosines, last = 0.0, 0.0, time.monotonic()
            save()
    save()


if __name__ == "__main__":
    main()
