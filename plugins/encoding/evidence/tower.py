"""Whether it helps to train the last blocks of a public tower on responses, with and without captions.

    python tower.py SEED [SEED ...]

Writes tower.json, kept from earlier calls, and tower.md. Everything here is simulated: scenes and voxels of `simulate`.
No public weights could be had: the tower is a small model of timm that is trained here on other scenes, and written as
timm writes models.
"""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from alignment import CONCEPTS, N_TEST, PLAN, SMALL, World, columns
from brainlens_encoding.aligned import AlignedEncoder
from brainlens_encoding.aligned_params import AlignedParams
from brainlens_encoding.params import RidgeParams
from brainlens_encoding.ridge import RidgeEncoder
from planted import Rows, run
from timm.models import save_for_hf
from torch.nn import functional

import brainlens

SIZES = (100, 300, 1000)
CONTROLLED = 300
ARCHITECTURE, SIDE = "test_resnet", 32
# Scenes that the tower is trained on before, and of another seed than any subject has.
N_BEFORE, N_EPOCHS, SEED = 4000, 20, 77
RATE = 0.3
BLOCKS = {"none": 0, "the last 2": 2, "all": -1}
ABOUT = (
    "# Does it help to train a tower that was trained before? (simulated)",
    "",
    f"Scenes, voxels and scores as in alignment.md. The tower is timm's {ARCHITECTURE}, trained to name the seven",
    f"kinds of object in {N_BEFORE:,} other scenes of {SIDE} x {SIDE} pixels, and to imitate the small image model",
    f"of `mini`. Its blocks are trained at {RATE:g} of the learning rate. Settings were chosen on seed 100.",
    "",
    "- blocks trained: none (what is read from the tower is a linear map), the last 2 of 5, all of them",
    f"- beside: captions beside the responses, weight {SMALL:g}; first: 20 of 40 epochs from captions alone, then both",
    "- shuffled: captions of other training scenes, first, then beside",
    "- fresh: the same tower with random weights, all of it trained at the full rate",
    "- convolutions: those of alignment.md, from the same pixels, never trained before",
    "",
)


@cache
def trained_before() -> tuple[str, float]:
    """Train the tower on other scenes; return its folder, and the area under the curve on 500 more."""
    folder = Path(tempfile.mkdtemp()) / "tower"
    with tempfile.TemporaryDirectory() as place:
        registry = brainlens.open(Path(place) / "before.zarr", quiet=True)
        registry.ingest("simulate.scenes", "other", n=N_BEFORE + 500, seed=SEED)
        pixels = registry.compute("encoding.pixels", stimuli="other/images", shrink=64 // SIDE)
        values = registry[pixels]["embedding"].values
        imitated = registry[registry.compute("mini.image", stimuli="other/images", device="cpu")]["embedding"].values
        concept = registry["other/images"]["object_concept"].values
    there = np.stack([(concept == name).any(axis=1) for name in CONCEPTS], axis=1)
    imitated = imitated.reshape(len(imitated), -1)
    imitated = (imitated - imitated[:N_BEFORE].mean(axis=0)) / imitated[:N_BEFORE].std()
    wanted = torch.from_numpy(np.concatenate([there, imitated], axis=1).astype(np.float32))
    torch.manual_seed(SEED)
    model: Any = timm.create_model(ARCHITECTURE, num_classes=wanted.shape[1])
    images = as_taken(model, values)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    n_batches, n_named = N_BEFORE // 50, len(CONCEPTS)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=N_EPOCHS * n_batches)
    for epoch in range(N_EPOCHS):
        order = np.random.default_rng([SEED, epoch]).permutation(N_BEFORE)
        for rows in np.split(order, n_batches):
            found = model(images[rows])
            loss = functional.binary_cross_entropy_with_logits(found[:, :n_named], wanted[rows, :n_named])
            loss = loss + functional.mse_loss(found[:, n_named:], wanted[rows, n_named:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        scores = model(images[N_BEFORE:])
    areas = [area(scores[:, kind], wanted[N_BEFORE:, kind] > 0) for kind in range(n_named)]
    save_for_hf(model, folder, safe_serialization=True)
    written = json.loads((folder / "config.json").read_text("utf-8"))
    written["pretrained_cfg"]["input_size"] = [3, SIDE, SIDE]
    (folder / "config.json").write_text(json.dumps(written), "utf-8")
    return str(folder), float(np.mean(areas))


def as_taken(model: Any, pixels: np.ndarray) -> torch.Tensor:
    """Return pixels (image, token, colour), from 0 to 1, as the model takes them."""
    taken = timm.data.resolve_model_data_config(model)
    mean, std = (torch.tensor(taken[name])[:, None, None] for name in ("mean", "std"))
    return (torch.from_numpy(pixels).mT.unflatten(2, (SIDE, SIDE)) - mean) / std


def area(scores: torch.Tensor, there: torch.Tensor) -> float:
    """Return how often something that is there scores higher than something that is not."""
    return float((scores[there][:, None] > scores[~there][None]).float().mean())


def measure(seed: int) -> Rows:
    """Return the correlation with each kind of voxel for each way of training the tower."""
    world, rows = World(seed), {}
    folder, named = trained_before()
    print(f"the tower names kinds of object with an area under the curve of {named:.3f}", flush=True)

    def note(name: str, found: dict[str, float], size: int) -> None:
        rows.setdefault(name, {}).update({f"{kind} {size}": value for kind, value in found.items()})
        print(size, name, {key: round(value, 3) for key, value in found.items()}, flush=True)

    for size in SIZES:
        train = slice(N_TEST, N_TEST + size)
        note("ridge, frozen features", ridge(world, folder, train, seed), size)
        for blocks, number in BLOCKS.items():
            given = {"tower": "timm", "model": folder, "trained_blocks": number, "tower_rate": RATE}
            ways: dict[str, dict[str, Any]] = {
                "no captions": {"alignment": 0.0},
                "captions beside": {"alignment": SMALL},
                "captions first": {"alignment": SMALL, "align_epochs": 20},
            }
            for way, more in ways.items():
                note(f"blocks {blocks}, {way}", learn(world, train, seed, **given, **more), size)
            if size == CONTROLLED and number:
                more = {"alignment": SMALL, "align_epochs": 20, "text": "shuffled"}
                note(f"blocks {blocks}, captions shuffled", learn(world, train, seed, **given, **more), size)
        given = {"tower": "timm", "model": fresh(), "trained_blocks": -1, "tower_rate": 1.0}
        note("fresh tower, no captions", learn(world, train, seed, **given, alignment=0.0), size)
        given = {"tower": "convolutional", "channels": (32, 64, 64)}
        note("convolutions, no captions", learn(world, train, seed, **given, alignment=0.0), size)
    return rows


@cache
def fresh() -> str:
    """Write the tower with random weights; return its folder."""
    folder = Path(tempfile.mkdtemp()) / "fresh"
    config = (Path(trained_before()[0]) / "config.json").read_text("utf-8")
    torch.manual_seed(SEED + 1)
    model = timm.create_model(ARCHITECTURE, num_classes=json.loads(config)["num_classes"])
    save_for_hf(model, folder, safe_serialization=True)
    (folder / "config.json").write_text(config, "utf-8")
    return str(folder)


def ridge(world: World, folder: str, train: slice, seed: int) -> dict[str, float]:
    """Fit ridge to the frozen features of the tower; return its scores."""
    model: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    pixels = as_taken(model, world.spaces["pixels"]["embedding"].values)
    with torch.inference_mode():
        found = model.forward_head(model.forward_features(pixels), pre_logits=True).numpy()
    labels = {"stimulus": world.spaces["pixels"]["stimulus"].values, "channel": np.arange(found.shape[1])}
    world.spaces["tower"] = world.spaces["pixels"].drop_dims(("token", "channel")).assign_coords(labels)
    world.spaces["tower"]["embedding"] = (("stimulus", "channel"), found)
    encoder = RidgeEncoder(RidgeParams(scale="space"), brainlens.Context(seed=seed))
    encoder.fit(world.rows("tower", train), world.response(train))
    return world.score(encoder, "tower")


def learn(world: World, train: slice, seed: int, *, text: str = "captions", **given: Any) -> dict[str, float]:
    """Fit a tower to some of the training scenes; return its scores."""
    encoder = AlignedEncoder(AlignedParams(**PLAN, **given), brainlens.Context(seed=seed))
    encoder.fit(world.rows("pixels", train), world.response(train), text=world.rows(text, train))
    return world.score(encoder, "pixels")


if __name__ == "__main__":
    run(
        "tower",
        measure,
        about=ABOUT,
        tables={f"{size:,} images": columns(size) for size in SIZES},
        first="features",
    )
