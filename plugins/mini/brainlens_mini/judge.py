"""The embedder `mini.judge`: a small network that names what is in an image, and conditions nothing.

It was trained by itself, on labels alone, so that what generators make can be judged by a network that they never knew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from safetensors.torch import load_file
from torch import nn

import brainlens
from brainlens_mini.images import choose_images
from brainlens_mini.params import JudgeParams
from brainlens_mini.weights import own_folder

MODEL = "mini-judge"
SIDE, CELLS = 64, 8


def embed_judged(
    *, stimuli: xr.Dataset | None, images: xr.Dataset | None, params: JudgeParams, context: brainlens.Context
) -> xr.Dataset:
    """Let the judge look at images.

    Parameters
    ----------
    stimuli
        Images (stimulus_image.v1): dims (stimulus, y, x, rgb), uint8, sRGB, 64 x 64 pixels; or None.
    images
        Images made from trials (image.v1): dims (trial, y, x, rgb), where there are no stimuli; or None.
    params
        Features, pooled features or scores of names; see `JudgeParams`.
    context
        Device.

    Returns
    -------
    Dataset (embedding.v1)
        `embedding`: features (stimulus or trial, token, channel), float32, of each cell of an 8 x 8 grid; or their mean
        and maximum over the cells (stimulus or trial, channel), means first; or scores (stimulus or trial, channel),
        logits, with the names as `channel` and their concepts as `concept`.

    Raises
    ------
    ParameterError
        If stimuli and images are given, or neither.
    DimensionError
        If images are not 64 x 64 pixels in colour, or there are several for a trial.
    CheckpointError
        If the weights are not those that are expected.
    """
    pixels, labels = choose_images(stimuli, images)
    if pixels.shape[1:3] != (SIDE, SIDE):
        raise brainlens.DimensionError(
            f"images: expected {SIDE} x {SIDE} pixels, which the judge was trained on, found "
            f"{pixels.sizes['y']} x {pixels.sizes['x']}. Make them in that size."
        )
    found = judge_images(pixels.values, device=context.device, batch_size=params.batch_size)
    attrs = {"schema": "embedding.v1", "model": f"{MODEL}/{params.layer}"}
    if params.layer == "names":
        axes = {"channel": list(found.names), "concept": ("channel", list(found.name_concepts))}
        return xr.Dataset({"embedding": ((pixels.dims[0], "channel"), found.scores)}, {**labels, **axes}, attrs)
    if params.layer == "pooled":
        axis = {"channel": np.arange(found.pooled.shape[1])}
        return xr.Dataset({"embedding": ((pixels.dims[0], "channel"), found.pooled)}, {**labels, **axis}, attrs)
    values = found.features.reshape(len(pixels), -1, CELLS**2).transpose(0, 2, 1)
    grid = {dim: np.arange(length) for dim, length in zip(("token", "channel"), values.shape[1:], strict=True)}
    return xr.Dataset({"embedding": ((pixels.dims[0], "token", "channel"), values)}, {**labels, **grid}, attrs)


class Judge(nn.Module):
    """Convolutions that say what each cell of an 8 x 8 grid shows, and from that what the image holds.

    Parameters
    ----------
    n_names
        Kinds of thing, without the place itself.
    widths
        Channels after each halving of the size.
    """

    def __init__(self, n_names: int, widths: tuple[int, ...] = (24, 48, 96, 128)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for number, width in enumerate(widths):
            layers += [nn.Conv2d(before, width, 3, stride=1 if number == 0 else 2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            if number > 1:
                layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
                layers += [nn.ReLU(inplace=True)]
            before = width
        self.body = nn.Sequential(*layers)  # (image, channel, 8, 8) from 64 pixels
        self.cells = nn.Conv2d(before, n_names + 1, 1)
        self.names = nn.Linear(2 * before, n_names)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return features (image, channel, y, x) of images (image, rgb, y, x) in [-1, 1]."""
        found: torch.Tensor = self.body(images)
        return found

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits of names for the image (image, name), and for each cell (image, 1 + name, y, x)."""
        found = self.features(images)
        return self.names(pooled(found)), self.cells(found)


@dataclass(frozen=True)
class Verdict:
    """What the judge makes of images.

    Parameters
    ----------
    scores
        Logit of each name (image, name), float32.
    concepts
        Concept of the name with the highest score (image,).
    features
        Features of every cell (image, value), float32, cells last: what is where.
    pooled
        Mean and maximum of the features over the cells (image, value), float32: what there is, wherever it is.
    names, name_concepts
        Names in the order of the scores, and their concepts.
    """

    scores: np.ndarray
    concepts: np.ndarray
    features: np.ndarray
    pooled: np.ndarray
    names: tuple[str, ...]
    name_concepts: tuple[str, ...]


def judge_images(pixels: np.ndarray, *, device: str = "cpu", batch_size: int = 128) -> Verdict:
    """Let the judge that comes with the plugin look at images.

    Parameters
    ----------
    pixels
        (image, y, x, rgb), uint8, 64 x 64 pixels.
    device
        Where it computes.
    batch_size
        Images at a time.

    Raises
    ------
    CheckpointError
        If the weights are not those that are expected.
    """
    model, names, concepts = load_judge(device)
    scores, features, together = [], [], []
    for low in range(0, len(pixels), batch_size):
        images = torch.from_numpy(pixels[low : low + batch_size]).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.inference_mode():
            found = model.features(images)
            over_cells = pooled(found)
            scores.append(model.names(over_cells).cpu().numpy())
            features.append(found.flatten(1).cpu().numpy())
            together.append(over_cells.cpu().numpy())
    of_names = np.concatenate(scores)
    return Verdict(
        scores=of_names,
        concepts=np.array(concepts)[of_names.argmax(axis=1)],
        features=np.concatenate(features),
        pooled=np.concatenate(together),
        names=names,
        name_concepts=concepts,
    )


def load_judge(device: str = "cpu") -> tuple[Judge, tuple[str, ...], tuple[str, ...]]:
    """Load the judge, the names that it knows, and their concepts.

    Raises
    ------
    CheckpointError
        If the weights are not those that are expected.
    """
    folder = own_folder("judge")
    words = json.loads((folder / "names.json").read_text("utf-8"))
    model = Judge(len(words["names"]))
    state = load_file(folder / "judge.safetensors")
    model.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    )
    return model.to(device).eval(), tuple(words["names"]), tuple(words["concepts"])


def pooled(features: torch.Tensor) -> torch.Tensor:
    """Return mean and maximum over the cells (image, value)."""
    return torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
