"""The networks of MindEye: an entry for each subject, a backbone that all share, and the projector.

Sizes and layers follow the released code of both papers where nothing else is said; the diffusion prior is in `prior`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Entry = Literal["mlp", "linear"]
BackboneKind = Literal["residual-mlp", "linear", "as-released"]


def make_entry(n_voxels: int, width: int, kind: Entry, *, dropout: float) -> nn.Module:
    """Return what takes one subject's voxels (trial, voxel) to the width that all subjects share.

    `mlp` is MindEye's (linear, layer norm, GELU, dropout), `linear` MindEye2's.
    """
    if kind == "linear":
        return nn.Linear(n_voxels, width)
    return nn.Sequential(nn.Linear(n_voxels, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout))


class ResidualBlock(nn.Module):
    """Add dropout(GELU(layer norm(linear(x)))) to x."""

    def __init__(self, width: int, *, dropout: float) -> None:
        super().__init__()
        self.change = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout))

    def forward(self, values: Tensor) -> Tensor:
        """Return (trial, width)."""
        changed: Tensor = values + self.change(values)
        return changed


class ReleasedBlock(nn.Module):
    """The block of MindEye2's released code, for comparison: all it can add to its input is a constant.

    It mixes tokens and channels in turn, but runs on one token. The second half then normalises a single number, which
    gives 0 whatever the first half did, and its residual path goes around the first half. So `across` never gets a
    gradient. Kept so that what was published can be compared with what was meant, `ResidualBlock`.
    """

    def __init__(self, width: int, *, dropout: float) -> None:
        super().__init__()
        self.across = _mixer(width, dropout)
        self.along = _mixer(1, dropout)

    def forward(self, values: Tensor) -> Tensor:
        """Return (trial, width)."""
        mixed = values + self.across(values)
        changed: Tensor = values + self.along(mixed[..., None])[..., 0]
        return changed


def _mixer(width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
    )


class Backbone(nn.Module):
    """From the shared width to one embedding for each token.

    Parameters
    ----------
    width
        Of the entries' output.
    shape
        Tokens and channels of the target.
    kind
        `residual-mlp`: blocks that add to their input. `linear`: no block. `as-released`: see `ReleasedBlock`.
    n_blocks
        How many blocks.
    dropout
        Within blocks.
    gradient_checkpointing
        Whether activations within blocks are computed again in the backward pass instead of kept.
    """

    def __init__(
        self,
        width: int,
        shape: tuple[int, int],
        kind: BackboneKind,
        *,
        n_blocks: int,
        dropout: float,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        block = {"residual-mlp": ResidualBlock, "as-released": ReleasedBlock}.get(kind)
        blocks = [] if block is None else [block(width, dropout=dropout) for _ in range(n_blocks)]
        self.blocks = nn.ModuleList(blocks)
        self.out = nn.Linear(width, shape[0] * shape[1])
        self.shape, self.gradient_checkpointing = shape, gradient_checkpointing

    def forward(self, values: Tensor) -> Tensor:
        """Return (trial, token, channel)."""
        for block in self.blocks:
            if self.gradient_checkpointing and self.training:
                values = checkpoint(block, values, use_reentrant=False)
            else:
                values = block(values)
        out: Tensor = self.out(values)
        return out.unflatten(1, self.shape)


def make_projector(channels: int, width: int) -> nn.Module:
    """Return the network that turns each token of the backbone into what is compared with the target.

    Width 0 leaves it out.
    """
    if not width:
        return nn.Identity()
    return nn.Sequential(
        nn.LayerNorm(channels), nn.GELU(), nn.Linear(channels, width),
        nn.LayerNorm(width), nn.GELU(), nn.Linear(width, width),
        nn.LayerNorm(width), nn.GELU(), nn.Linear(width, channels),
    )  # fmt: skip


class Network(nn.Module):
    """Entries, backbone and projector.

    Parameters
    ----------
    n_voxels
        Of each subject.
    shape
        Tokens and channels of the target.
    width
        Between entry and backbone.
    entry, backbone
        Kinds, see `make_entry` and `Backbone`.
    n_blocks, projector_width
        Sizes.
    entry_dropout, dropout
        After the entry, and within blocks.
    gradient_checkpointing
        As in `Backbone`.

    Examples
    --------
    >>> import torch
    >>> network = Network([50], (1, 8), width=16, n_blocks=2, projector_width=32)
    >>> backbone, projected = network(torch.zeros(3, 50), 0)
    >>> tuple(backbone.shape), tuple(projected.shape)
    ((3, 1, 8), (3, 1, 8))
    """

    def __init__(
        self,
        n_voxels: Sequence[int],
        shape: tuple[int, int],
        *,
        width: int = 4096,
        entry: Entry = "mlp",
        backbone: BackboneKind = "residual-mlp",
        n_blocks: int = 4,
        projector_width: int = 2048,
        entry_dropout: float = 0.5,
        dropout: float = 0.15,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.entries = nn.ModuleList(make_entry(count, width, entry, dropout=entry_dropout) for count in n_voxels)
        self.backbone = Backbone(
            width, shape, backbone, n_blocks=n_blocks, dropout=dropout, gradient_checkpointing=gradient_checkpointing
        )
        self.projector = make_projector(shape[1], projector_width)

    def forward(self, voxels: Tensor, subject: int) -> tuple[Tensor, Tensor]:
        """Return what the backbone and the projector make of one subject's voxels, each (trial, token, channel)."""
        values = self.backbone(self.entries[subject](voxels))
        return values, self.projector(values)


def count_parameters(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def on_sphere(values: Tensor) -> Tensor:
    """Flatten tokens and channels, and scale every row to length 1."""
    return nn.functional.normalize(values.flatten(1), dim=1)


def unused_parameters(module: nn.Module) -> list[str]:
    """Return the names of parameters that no gradient can reach, because of `ReleasedBlock`."""
    return [
        f"{name}.{inner}"
        for name, part in module.named_modules()
        if isinstance(part, ReleasedBlock)
        for inner, _ in part.across.named_parameters(prefix="across")
    ]
