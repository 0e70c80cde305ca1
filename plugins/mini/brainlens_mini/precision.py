"""Compute in the precision that was asked for."""

from __future__ import annotations

import torch

import brainlens


def casting(context: brainlens.Context) -> torch.autocast:
    """Return autocasting for a context's device and precision; in float32 it changes nothing."""
    kind = torch.device(context.device).type
    dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(context.precision)
    return torch.autocast(kind, dtype=dtype or torch.bfloat16, enabled=dtype is not None)
