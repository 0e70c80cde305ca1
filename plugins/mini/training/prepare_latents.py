"""Write what the generator is trained on: for every scene its image embedding, its latents, or where its objects are.

    python prepare_latents.py embeddings --registry train.zarr --scenes train1 train2 --build build
    python prepare_latents.py latents --registry train.zarr --scenes train1 train2 --build build
    python prepare_latents.py objects --registry train.zarr --scenes train1 train2 --build build

Goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import torch
from scenes import Scenes
from torch.nn import functional
from tqdm import tqdm
from train_autoencoder import LATENTS, encode, make_model

import brainlens

BLOCK = 500
# Pixels and cells along one side.
SIZE, SIDE = 64, 8


def make_reader(what: str, build: Path, scenes: Scenes) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """Return a function from rows of scenes to what is kept of each, and how many numbers that is."""
    if what == "objects":
        step = SIZE // SIDE

        def objects(rows: np.ndarray) -> np.ndarray:
            shown = scenes.object_maps(rows) > 0
            return shown.reshape(len(rows), SIDE, step, SIDE, step).mean(axis=(2, 4)).reshape(len(rows), -1)

        return objects, SIDE**2
    encoder, width = make_encoder(what, build)

    def encoded(rows: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(scenes.pixels(rows)).permute(0, 3, 1, 2).float() / 255
        return encoder(images).half().numpy()

    return encoded, width


def make_encoder(what: str, build: Path) -> tuple[Callable[[torch.Tensor], torch.Tensor], int]:
    """Return a function from images (row, rgb, y, x), 0 to 1, to rows of numbers, and how many numbers there are."""
    if what == "latents":
        autoencoder = make_model().eval()
        autoencoder.load_state_dict(torch.load(build / "autoencoder/checkpoint.pt", weights_only=True)["model"])

        def latents(images: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return encode(autoencoder, images * 2 - 1).float().flatten(1)

        return latents, LATENTS * SIDE**2
    about = json.loads((build / "image-text/open_clip_config.json").read_text())
    clip = open_clip.CLIP(**about["model_cfg"]).eval()
    clip.load_state_dict(torch.load(build / "image-text/checkpoint.pt", weights_only=True)["model"])
    mean, std = (torch.tensor(about["preprocess_cfg"][key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    return (
        lambda images: functional.normalize(clip.encode_image((images - mean) / std), dim=-1),
        about["model_cfg"]["embed_dim"],
    )


def main() -> None:
    """Encode all scenes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("embeddings", "latents", "objects"))
    parser.add_argument("--registry", required=True)
    parser.add_argument("--scenes", nargs="+", required=True)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=200_000, help="scenes, the first ones")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    scenes = Scenes(brainlens.open(given.registry, quiet=True), given.scenes, labels=False)
    count = min(given.limit, len(scenes))
    read, width = make_reader(given.what, given.build, scenes)
    path, mark = given.build / f"{given.what}.npy", given.build / f"{given.what}.done"
    first = int(mark.read_text()) if mark.exists() else 0
    if not first:
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(count, width)).flush()
    values = np.load(path, mmap_mode="r+")
    with torch.inference_mode():
        for low in tqdm(range(first, count, BLOCK), mininterval=10):
            rows = np.arange(low, min(low + BLOCK, count))
            values[rows] = read(rows)
            mark.write_text(str(rows[-1] + 1))
    values.flush()


if __name__ == "__main__":
    main()
