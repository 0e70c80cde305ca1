"""Open the parts of a pipeline by the loaders of diffusers and transformers, every weight in its place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler, UniPCMultistepScheduler, schedulers as published
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

import brainlens
from brainlens_diffusion.folders import Model

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_CHOSEN = {"ddim": DDIMScheduler, "ddpm": DDPMScheduler, "unipc": UniPCMultistepScheduler}
_FAILURES = (RuntimeError, ValueError, OSError, KeyError, TypeError, AttributeError, ImportError, SafetensorError)


def choose_precision(context: brainlens.Context) -> torch.dtype:
    """Return the dtype in which networks hold their weights and compute.

    Raises
    ------
    DeviceError
        If it is float16 on the CPU, which has no fast arithmetic for it and overflows.
    """
    if context.precision == "float16" and torch.device(context.device).type == "cpu":
        raise brainlens.DeviceError(
            "precision 'float16': expected 'float32' or 'bfloat16' on the CPU, found 'float16'. Choose one of these, "
            "or a CUDA device."
        )
    return PRECISIONS[context.precision]


def load_network(kind: Any, model: Model, part: str, *, dtype: torch.dtype = torch.float32) -> Any:
    """Load a network of a pipeline.

    Parameters
    ----------
    kind
        Class of diffusers or transformers that has `from_pretrained`.
    model, part
        Which folder of which pipeline.
    dtype
        Of the weights.

    Returns
    -------
    Module
        On the CPU, for evaluation only.

    Raises
    ------
    CheckpointError
        If it does not load, or weights are missing or too many.
    """
    folder = model.part(part)
    only_half = all(file.name.endswith(".fp16.safetensors") for file in folder.glob("*.safetensors"))
    options: dict[str, Any] = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
    if kind.__module__.startswith("diffusers"):
        options |= {"torch_dtype": dtype, "low_cpu_mem_usage": False}
    else:
        options["dtype"] = dtype
    if only_half:
        options["variant"] = "fp16"
    try:
        with _no_progress_bar():
            network, found = kind.from_pretrained(str(folder), **options)
    except _FAILURES as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise brainlens.CheckpointError(
            f"model {model.name!r}, part {part!r}: expected a {kind.__name__}, found one that does not load: {reason}"
        ) from error
    refuse_partial(model, part, found)
    return network.eval().requires_grad_(False)


def refuse_partial(model: Model, part: str, found: dict[str, Any]) -> None:
    """Raise an error if a loader left weights out, or filled a part of the network with random numbers.

    Raises
    ------
    CheckpointError
        Naming the first weights.
    """
    wrong = (
        ("missing_keys", "without weights"),
        ("mismatched_keys", "of another shape"),
        ("unexpected_keys", "that the network lacks"),
    )
    for key, what in wrong:
        names = sorted(str(each[0] if isinstance(each, tuple) else each) for each in found.get(key) or ())
        if names:
            raise brainlens.CheckpointError(
                f"model {model.name!r}, part {part!r}: expected weights for every part of the network and no others, "
                f"found {len(names)} {what}: {brainlens.listed(names[:3])}. Copy the pipeline again."
            )


def latent_shape(network: Any, model: Model) -> tuple[int, int, int]:
    """Return the shape of one image's latents (latent, y, x), of the size that a network was trained on.

    Raises
    ------
    CheckpointError
        If its configuration does not say one side.
    """
    side = network.config.sample_size
    if not isinstance(side, int):
        raise brainlens.CheckpointError(
            f"model {model.name!r}: expected sample_size of its network to be the side of a square, found {side!r}. "
            "Set it in the network's config.json."
        )
    return int(network.config.in_channels), side, side


def load_scheduler(model: Model, part: str, chosen: str = "published") -> Any:
    """Load the scheduler of a pipeline, or another one with its noise schedule.

    Raises
    ------
    CheckpointError
        If it does not load, or diffusers does not know it.
    ParameterError
        If the one that was chosen cannot take what the network predicts.
    """
    config = model.config(part, "scheduler_config.json")
    named = str(config.get("_class_name"))
    kind = getattr(published, named, None) if named.endswith("Scheduler") else None
    if kind is None:
        raise brainlens.CheckpointError(
            f"model {model.name!r}, part {part!r}: expected a scheduler of diffusers, found {named!r}."
        )
    predicts = config.get("prediction_type", "epsilon")
    if chosen in ("ddim", "ddpm") and predicts not in ("epsilon", "sample", "v_prediction"):
        raise brainlens.ParameterError(
            f"scheduler: expected 'published' or 'unipc' for a network that predicts {predicts!r}, found {chosen!r}."
        )
    try:
        found = kind.from_pretrained(str(model.part(part)), local_files_only=True)
        return found if chosen == "published" else _CHOSEN[chosen].from_config(found.config)
    except _FAILURES as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise brainlens.CheckpointError(
            f"model {model.name!r}, part {part!r}: expected a {named}, found one that does not load: {reason}"
        ) from error


@contextlib.contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Keep the loaders from drawing bars of their own, which know nothing of `quiet`."""
    shown = [each for each in (diffusers_logging, transformers_logging) if each.is_progress_bar_enabled()]
    for each in shown:
        each.disable_progress_bar()
    try:
        yield
    finally:
        for each in shown:
            each.enable_progress_bar()
