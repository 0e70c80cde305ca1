"""Let two kinds of tokens guide one network: Versatile Diffusion's blocks for texts beside its blocks for images.

The public checkpoint has a network for images and one for texts, whose cross-attention blocks are of one shape. Both
are kept in the network for images and what they do is blended in every such place, as in diffusers' dual-guided
pipeline; that pipeline, and the class of the network for texts, are deprecated there. So each block is a
copy of the one that it stands beside, with its own weights read by name.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from diffusers import Transformer2DModel
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

import brainlens
from brainlens_diffusion.folders import Model

# What decides the shape of a block, and what it computes.
_ALIKE = (
    "block_out_channels", "cross_attention_dim", "attention_head_dim", "num_attention_heads", "norm_num_groups",
    "transformer_layers_per_block", "use_linear_projection", "only_cross_attention", "upcast_attention",
)  # fmt: skip


class Mixed(nn.Module):
    """A block for images and one for texts, blended.

    Parameters
    ----------
    image, text
        Blocks of one shape.
    n_text
        How many of the tokens are the text's; they come first.
    text_weight
        Share of the text, from 0 to 1.
    """

    def __init__(self, image: nn.Module, text: nn.Module, *, n_text: int, text_weight: float) -> None:
        super().__init__()
        self.image, self.text = image, text
        self.n_text, self.text_weight = n_text, text_weight

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor, **more: Any) -> tuple[Tensor]:
        """Return the blended output of both; each adds to the same input, so that what they add is blended too."""
        more["return_dict"] = False
        by_text = self.text(hidden_states, encoder_hidden_states[:, : self.n_text], **more)[0]
        by_image = self.image(hidden_states, encoder_hidden_states[:, self.n_text :], **more)[0]
        return (torch.lerp(by_image, by_text, self.text_weight),)


def mix_in_text(network: nn.Module, model: Model, part: str, *, n_text: int, text_weight: float) -> None:
    """Put the blocks for texts beside those for images; the network takes text tokens before image tokens then.

    Parameters
    ----------
    network
        For images; it is changed.
    model, part
        Where the network for texts lies.
    n_text, text_weight
        As `Mixed`.

    Raises
    ------
    CheckpointError
        If both are not of one shape, or weights are missing or too many.
    """
    config = model.config(part)
    image: Any = network
    for key in _ALIKE:
        found = config.get(key, image.config[key])
        if _plain(found) != _plain(image.config[key]):
            raise brainlens.CheckpointError(
                f"model {model.name!r}: expected {key} of {part!r} to be {image.config[key]!r} as of the network for "
                f"images, found {found!r}."
            )
    blocks = {name: block for name, block in network.named_modules() if isinstance(block, Transformer2DModel)}
    weights = _read_blocks(model, part)
    for name, block in blocks.items():
        twin = copy.deepcopy(block)
        mine = {key: weights.pop(f"{name}.{key}") for key in twin.state_dict() if f"{name}.{key}" in weights}
        try:
            twin.load_state_dict(mine, strict=True)
        except RuntimeError as error:
            raise brainlens.CheckpointError(
                f"model {model.name!r}, part {part!r}: expected weights of a block as the one for images at {name!r}, "
                f"found others: {' '.join(str(error).split())}"
            ) from error
        parent, _, place = name.rpartition(".")
        setattr(network.get_submodule(parent), place, Mixed(block, twin, n_text=n_text, text_weight=text_weight))
    if weights:
        raise brainlens.CheckpointError(
            f"model {model.name!r}, part {part!r}: expected blocks where the network for images has some, found "
            f"{len(weights)} weights of others: {brainlens.listed(sorted(weights)[:3])}."
        )


def _read_blocks(model: Model, part: str) -> dict[str, Tensor]:
    """Return the weights of all cross-attention blocks by name; what else the network for texts has is not read."""
    files = sorted(model.part(part).glob("*.safetensors"))
    full = [file for file in files if ".fp16" not in file.name]
    found = {}
    for path in full or files:
        try:
            with safe_open(path, framework="pt") as file:
                found |= {key: file.get_tensor(key).float() for key in file.keys() if ".attentions." in key}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise brainlens.CheckpointError(
                f"model {model.name!r}, part {part!r}: expected weights in {path.name}, found what cannot be read: "
                f"{error}. Copy the file again."
            ) from error
    return found


def _plain(value: Any) -> Any:
    """Return a list for a tuple, since JSON has no tuples."""
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
