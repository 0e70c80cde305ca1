"""Layers of any torch model by the names of its modules, and what is kept of their outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import brainlens
from brainlens_stimuli.network import Found


class Tap:
    """Holds what a module of a model put out last.

    Parameters
    ----------
    model
        The model.
    name
        Of the module, as `model.named_modules()` has it.

    Raises
    ------
    ParameterError
        If there is no such module.
    """

    def __init__(self, model: torch.nn.Module, name: str, *, also: tuple[str, ...] = ()) -> None:
        modules = dict(model.named_modules())
        if not name or name not in modules:
            known = [each for each in modules if each and each.count(".") <= 3]
            raise brainlens.ParameterError(
                f"layer: expected {', '.join(map(repr, also))} or a module of the model, found {name!r}. "
                f"{brainlens.closest(name, known, what='modules')}"
            )
        self.name = name
        self._kept: Any = None
        modules[name].register_forward_hook(self._keep)

    def _keep(self, module: torch.nn.Module, given: Any, made: Any) -> None:
        while isinstance(made, tuple | list):
            made = made[0]
        self._kept = made

    def take(self, n_items: int) -> Tensor:
        """Return the output of the last call, and forget it.

        Raises
        ------
        ParameterError
            If the module was not called, or put out no tensor with a row for each item.
        """
        made, self._kept = self._kept, None
        if not isinstance(made, Tensor) or made.ndim not in (2, 3, 4) or made.shape[0] != n_items:
            found = f"shape {tuple(made.shape)}" if isinstance(made, Tensor) else "none"
            raise brainlens.ParameterError(
                f"layer {self.name!r}: expected an output of 2 to 4 dims with {n_items} rows, found {found}. Choose a "
                "module that is called once for each batch, such as a block."
            )
        return made


def to_tokens(made: Tensor, *, channels_last: bool = False) -> tuple[Tensor, tuple[int, ...]]:
    """Return an output as (item, channel) or (item, token, channel), and the grid that its tokens lie on.

    Parameters
    ----------
    made
        (item, channel), (item, token, channel), or a map (item, channel, y, x), whose rows become tokens one after
        another.
    channels_last
        Whether maps are (item, y, x, channel).

    Examples
    --------
    >>> tokens, grid = to_tokens(torch.zeros(2, 8, 3, 4))
    >>> tokens.shape, grid
    (torch.Size([2, 12, 8]), (3, 4))
    """
    if made.ndim < 4:
        return made, ()
    made = made if channels_last else made.permute(0, 2, 3, 1)
    return made.flatten(1, 2), (made.shape[1], made.shape[2])


def keep_tokens(made: Tensor, grid: tuple[int, ...], tokens: str, mask: Tensor | None = None) -> Found:
    """Return all tokens, one of them, or their mean.

    Parameters
    ----------
    made
        (item, channel), which stays as it is, or (item, token, channel).
    grid
        Of the tokens, or ().
    tokens
        "all", "first", "last" or "mean".
    mask
        (item, token): which are tokens of the text, not padding; None where all are.

    Examples
    --------
    >>> keep_tokens(torch.tensor([[[1.0], [3.0], [8.0]]]), (), "mean", torch.tensor([[1, 1, 0]])).values
    tensor([[2.]])
    """
    if made.ndim == 2 or tokens == "all":
        return Found(values=made, grid=grid if made.ndim == 3 else ())
    if tokens == "first":
        return Found(values=made[:, 0])
    if mask is None:
        return Found(values=made.float().mean(dim=1) if tokens == "mean" else made[:, -1])
    if tokens == "mean":
        weights = mask.to(torch.float32)[..., None]
        return Found(values=(made.float() * weights).sum(dim=1) / weights.sum(dim=1))
    # The last place that the mask marks, whichever side was padded.
    places = torch.arange(made.shape[1], device=made.device) * mask
    return Found(values=made[torch.arange(len(made), device=made.device), places.argmax(dim=1)])


def tapped(
    tap: Tap, call: Callable[[Any], Any], count: Callable[[Any], int], tokens: str, *, channels_last: bool = False
) -> Callable[[Any], Found]:
    """Return a function that calls a model and returns what a module of it put out on the way."""

    def encode(batch: Any) -> Found:
        call(batch)
        made, grid = to_tokens(tap.take(count(batch)), channels_last=channels_last)
        return keep_tokens(made, grid, tokens)

    return encode
