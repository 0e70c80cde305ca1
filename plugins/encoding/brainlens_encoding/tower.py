"""A tower that somebody has trained before: a model of timm from a folder, of which the last blocks may be trained.

Only what has a tower of that kind imports this, since timm takes seconds to import.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from timm.data import resolve_model_data_config
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn import functional

import brainlens

CONFIG, WEIGHTS = "config.json", "model.safetensors"
# What timm, json and safetensors raise at a folder that is not a model's.
BROKEN = (RuntimeError, ValueError, KeyError, TypeError, OSError, AttributeError, AssertionError, SafetensorError)
# Positions of another image size would be interpolated by timm in silence.
POSITIONS = "pos_embed"
ALL = -1
# What of a published configuration says how a model is built, and what it takes.
SHAPING = (
    "architecture", "num_classes", "input_size", "fixed_input_size", "pool_size", "mean", "std", "first_conv",
    "classifier",
)  # fmt: skip
_TAKEN = {"size": "input_size", "mean": "mean", "std": "std"}


def describe_tower(folder: Path, sha256: str, trained_blocks: int) -> dict[str, Any]:
    """Return what a model is made from again, as JSON can hold it.

    Parameters
    ----------
    folder
        Has `config.json` and `model.safetensors`, as timm writes them and the hub gives them.
    sha256
        What the SHA-256 of the weights has to be, hexadecimal; "" for any.
    trained_blocks
        How many blocks, from the last, are to be trained; -1: all.

    Raises
    ------
    CheckpointError
        If a file is missing, cannot be read, names no model of timm, or has another SHA-256.
    ParameterError
        If there are fewer blocks.
    """
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise brainlens.CheckpointError(
            f"model {str(folder)!r}: expected {CONFIG} and {WEIGHTS} in that folder, found no {missing[0]}. Copy the "
            "whole folder, such as 'hf download timm/MODEL --local-dir FOLDER' makes."
        )
    with open(folder / WEIGHTS, "rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if sha256 and found != sha256:
        raise brainlens.CheckpointError(
            f"weights {str(folder / WEIGHTS)!r}: expected the SHA-256 {sha256}, found {found}: the file was cut off, "
            "altered or is another one. Nothing was loaded. Fetch it again, or leave sha256 out."
        )
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
        # timm puts what a configuration leaves out beside what it says, and mends those of older versions.
        published = timm.create_model(f"local-dir:{folder}", pretrained=False).pretrained_cfg
        about = {
            "architecture": config["architecture"],
            "model_args": config.get("model_args") or {},
            "published": {name: published[name] for name in SHAPING if published.get(name) is not None},
            "weights_sha256": found,
        }
        model = build(about)
        taken = resolve_model_data_config(model)
        about["input"] = {name: list(taken[key]) for name, key in _TAKEN.items()}
    except BROKEN as error:
        raise _unreadable(folder / CONFIG, f"a model of timm {timm.__version__}", error) from error
    names = block_names(model)
    if trained_blocks > len(names):
        raise brainlens.ParameterError(
            f"trained_blocks: expected at most the {len(names)} blocks of {about['architecture']!r}, found "
            f"{trained_blocks}. Give fewer, or -1 for all."
        )
    return about


def build(about: Mapping[str, Any]) -> Any:
    """Return the model without its classifier, with random weights.

    Of what was published with it, only what shapes it is kept, so that nothing says where weights might come from.
    """
    published = {name: tuple(value) if isinstance(value, list) else value for name, value in about["published"].items()}
    model = timm.create_model(about["architecture"], pretrained=False, pretrained_cfg=published, **about["model_args"])
    model.reset_classifier(0)
    return model


def read_weights(folder: Path, about: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights of the model without its classifier, on the CPU.

    Raises
    ------
    CheckpointError
        If they are not those of the model, to the last tensor.
    """
    file = folder / WEIGHTS
    # Without these two a file is read as tensors by name, whatever the model was published as.
    given = {"file": str(file), "custom_load": False, "source": ""}
    try:
        model = timm.create_model(f"local-dir:{folder}", pretrained=True, pretrained_cfg_overlay=given)
        with safe_open(file, framework="pt") as stream:
            there = tuple(stream.get_slice(POSITIONS).get_shape()) if POSITIONS in stream.keys() else None  # noqa: SIM118
    except BROKEN as error:
        raise _unreadable(file, f"weights of the timm model {about['architecture']!r}", error) from error
    wanted = getattr(model, POSITIONS, None)
    if there is not None and wanted is not None and there != tuple(wanted.shape):
        raise brainlens.CheckpointError(
            f"weights {str(file)!r}, {POSITIONS!r}: expected shape {tuple(wanted.shape)} of {about['architecture']!r}, "
            f"found {there}: weights of another image size. Copy {CONFIG} and {WEIGHTS} from one place."
        )
    model.reset_classifier(0)
    weights: dict[str, Tensor] = model.state_dict()
    return weights


def _unreadable(file: Path, expected: str, error: BaseException) -> brainlens.CheckpointError:
    lines = " ".join(str(error).split())[:300].rstrip(".")
    return brainlens.CheckpointError(
        f"model {str(file)!r}: expected {expected}, found a file that does not load ({type(error).__name__}: "
        f"{lines}). Copy the whole folder again."
    )


def block_names(model: Any) -> list[list[str]]:
    """Return the names of the parameters of each block, from the pixels on, as timm groups them.

    Norms behind the last block go with it.

    Examples
    --------
    >>> model = timm.create_model("test_vit", num_classes=0)
    >>> [names[0] for names in block_names(model)][:3]
    ['cls_token', 'blocks.0.norm1.weight', 'blocks.1.norm1.weight']
    """
    groups = group_parameters(model, model.group_matcher(coarse=True))
    sizes = {name: value.ndim for name, value in model.named_parameters()}
    blocks: list[list[str]] = []
    for key in sorted(groups):
        names = [name for name in groups[key] if name in sizes]
        if blocks and all(sizes[name] < 2 for name in names):
            blocks[-1] += names
        elif names:
            blocks.append(names)
    return blocks


class PublicTower(nn.Module):
    """From pixels (trial, pixel, colour) to an image embedding, through a model that was trained before.

    It stays in evaluation mode: statistics of batches and random depths are those of no published model here.

    Parameters
    ----------
    model
        Of timm, without classifier.
    grid
        Rows and columns of the pixels.
    size
        Rows and columns that the model takes; images are resampled where they differ.
    factor, offset
        Take scaled tokens to what the model takes, for each colour.
    trained_blocks
        How many blocks, from the last, are trained; -1: all.
    width
        Of the image embedding.
    dropout
        Share of the model's features that training leaves out.
    """

    factor: Tensor
    offset: Tensor

    def __init__(
        self,
        model: Any,
        *,
        grid: tuple[int, int],
        size: tuple[int, int],
        factor: Sequence[float],
        offset: Sequence[float],
        trained_blocks: int,
        width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.trunk = model
        self.grid, self.size = grid, size
        names = block_names(model)
        kept = len(names) if trained_blocks == ALL else trained_blocks
        trained = {name for block in names[len(names) - kept :] for name in block}
        for name, value in model.named_parameters():
            value.requires_grad_(name in trained)
        self.register_buffer("factor", torch.tensor(factor, dtype=torch.float32))
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float32))
        self.mix = nn.Sequential(nn.Dropout(dropout), nn.Linear(model.head_hidden_size, width))

    def train(self, mode: bool = True) -> PublicTower:
        """Switch dropout alone."""
        super().train(mode)
        self.trunk.eval()
        return self

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the image embedding (trial, width)."""
        pixels = (tokens * self.factor + self.offset).mT.unflatten(2, self.grid)
        if self.grid != self.size:
            pixels = functional.interpolate(pixels, self.size, mode="bicubic", antialias=True)
        trunk = self.trunk
        seen: Tensor = self.mix(trunk.forward_head(trunk.forward_features(pixels), pre_logits=True))
        return seen
