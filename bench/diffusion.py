"""Painting by the embedded Kandinsky pipeline: against diffusers' own call of it, and in batches against one by one.

Run by itself it prints the images per second of each: `python bench/diffusion.py [SIZE_OF_BATCH]`.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from paired import Check, Timed, seconds

import brainlens

N_IMAGES, BATCH, N_STEPS, GUIDANCE = 16, 16, 10, 2.0
N_TRIALS = 96


def pipeline_folder() -> Path:
    """Return where the plugin `mini` keeps its pipeline."""
    found = find_spec("brainlens_mini")
    assert found is not None
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "weights" / "generator"


def make_embedding(n_images: int) -> xr.Dataset:
    """Make random directions of as many channels as the pipeline reads."""
    values = np.random.default_rng(0).standard_normal((n_images, 256), dtype=np.float32) / 16
    coords = {"trial": np.arange(n_images), "stimulus_id": ("trial", np.arange(n_images))}
    return xr.Dataset({"embedding": (("trial", "channel"), values)}, coords, {"model": "mini-clip"})


def painting(n_images: int, batch_size: int) -> Timed:
    """Return a call that paints with a pipeline that is loaded already."""
    from brainlens_diffusion.kandinsky import load_painter
    from brainlens_diffusion.painting import paint
    from brainlens_diffusion.params import KandinskyParams

    embedding, context = make_embedding(n_images), brainlens.Context()
    params = KandinskyParams(model=str(pipeline_folder()), n_steps=N_STEPS, guidance=GUIDANCE, batch_size=batch_size)
    painter = load_painter(embedding, None, {"initial": None, "latents": None}, params, context)
    return lambda: paint(painter, embedding, params, context)


def calling(n_images: int) -> Timed:
    """Return diffusers' own call of the same pipeline with all images in one batch."""
    import torch
    from diffusers import KandinskyV22Pipeline
    from diffusers.utils import logging

    logging.disable_progress_bar()
    pipeline: Any = KandinskyV22Pipeline.from_pretrained(pipeline_folder())
    pipeline.set_progress_bar_config(disable=True)
    embeds = torch.from_numpy(make_embedding(n_images)["embedding"].values)
    without = torch.zeros_like(embeds)

    def call() -> None:
        generators = [torch.Generator().manual_seed(number) for number in range(n_images)]
        pipeline(
            embeds, without, height=64, width=64, num_inference_steps=N_STEPS, guidance_scale=GUIDANCE,
            generator=generators, output_type="np",
        )  # fmt: skip

    return call


def _against_diffusers(_: Path) -> tuple[Timed, Timed]:
    return painting(N_IMAGES, BATCH), calling(N_IMAGES)


def reconstructing(folder: Path) -> Timed:
    """Return the whole analysis, one candidate a trial: plugins are found, inputs checked, images stored and mapped."""
    registry = brainlens.open(folder / "study.zarr", quiet=True)
    registry.put("decoded", make_embedding(N_TRIALS).assign_attrs(model="mini-clip", schema="embedding.v1"))
    params = {"model": str(pipeline_folder()), "n_steps": N_STEPS, "guidance": GUIDANCE, "batch_size": BATCH}
    numbers = itertools.count()

    def call() -> None:
        registry.compute(
            "diffusion.reconstruct", decoded="decoded", generator="diffusion.kandinsky", generator_params=params,
            n_candidates=1, trials_at_once=4 * BATCH, device="cpu", name=f"images/{next(numbers)}",
        )  # fmt: skip

    return call


def bare(n_images: int) -> Timed:
    """Return what a script does with diffusers: load the pipeline, and call it batch after batch."""

    def call() -> None:
        one_batch = calling(BATCH)
        for _ in range(n_images // BATCH):
            one_batch()

    return call


def _whole_against_diffusers(folder: Path) -> tuple[Timed, Timed]:
    return reconstructing(folder), bare(N_TRIALS)


CHECKS = [
    Check("painting, one batch", 1.05, "diffusers' own call", _against_diffusers, rounds=7),
    Check("reconstruction of 96 trials", 1.05, "diffusers' own calls", _whole_against_diffusers, rounds=5),
]


if __name__ == "__main__":
    size = int(sys.argv[1]) if len(sys.argv) > 1 else BATCH
    timed = {
        f"batches of {size}": painting(N_IMAGES, size),
        "one by one": painting(N_IMAGES, 1),
        "diffusers, one batch": calling(N_IMAGES),
    }
    for each in timed.values():
        each()
    times = [{name: seconds(each) for name, each in timed.items()} for _ in range(5)]
    print(json.dumps({name: round(N_IMAGES / statistics.median(each[name] for each in times), 1) for name in timed}))
