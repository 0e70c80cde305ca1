"""Paint in batches: smaller ones where memory runs out, and on from where a killed call stopped.

What is finished is appended to a file in the scratch folder, and the result is a map of that file; so images need no
memory until they are stored. Without a scratch folder they are kept in memory.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import brainlens
from brainlens_diffusion.autoencoder import decode, decode_images, reduction
from brainlens_diffusion.folders import Model
from brainlens_diffusion.inputs import Start
from brainlens_diffusion.params import GeneratorParams
from brainlens_diffusion.sampling import Predict, Pusher, denoise
from brainlens_diffusion.seeds import choose_seeds, draw_noise, make_generators


@dataclass(frozen=True, kw_only=True)
class Painter:
    """The parts of one generator.

    Parameters
    ----------
    model
        Where they come from.
    network
        What denoises.
    autoencoder
        What turns latents into pixels.
    scheduler
        How steps are taken.
    shape
        Of one image's latents: (latent, y, x).
    condition
        Takes the rows of the embeddings and a random generator for each, and returns the network with these
        conditions. What it draws, it draws before the noise of the latents.
    start
        Gives latents to start from, or None.
    """

    model: Model
    network: Any
    autoencoder: Any
    scheduler: Any
    shape: tuple[int, int, int]
    condition: Callable[[np.ndarray, list[torch.Generator]], Predict]
    start: Start | None


def paint(painter: Painter, embedding: xr.Dataset, params: GeneratorParams, context: brainlens.Context) -> xr.Dataset:
    """Return an image for each embedding and candidate.

    Parameters
    ----------
    painter
        The generator.
    embedding
        Embeddings of trials, stimuli or ROIs, and seeds if they bring them.
    params
        Candidates, steps, guidance, strength, batches.
    context
        Its seed and the position of trial and candidate decide the noise, where the embedding brings no seeds.

    Returns
    -------
    Dataset (image.v1)
        `image` (trial, y, x, rgb), or (trial, candidate, y, x, rgb) where there are several candidates, uint8;
        `noise_seed` with the seed of each. Of ROIs: (roi, candidate, y, x, rgb).

    Raises
    ------
    DeviceError
        If there is not enough memory for one image.
    """
    seeds = choose_seeds(embedding, context, params.n_candidates)
    prepare(painter, params, context)
    step = reduction(painter.autoencoder)
    album = Album((painter.shape[1] * step, painter.shape[2] * step, 3), seeds.size, painter.model, params, context)
    pages = context.progress(_fill(album, painter, seeds.ravel(), params, context), total=seeds.size, label="painting")
    for _ in pages:
        pass
    pixels = album.pixels()
    if params.n_candidates > 1 or "roi" in embedding["embedding"].dims:
        pixels = pixels.reshape(*seeds.shape, *pixels.shape[1:])
    made = image_dataset(pixels, embedding, painter.model, variant=params.variant)
    dims = made["image"].dims[:-3]
    return made.assign(noise_seed=(dims, seeds if len(dims) == 2 else seeds[:, 0]))


def prepare(painter: Painter, params: GeneratorParams, context: brainlens.Context) -> None:
    """Bring the networks to the device, unless they are lent to it, and slice attention if that was asked for.

    Raises
    ------
    DeviceError
        If there is not enough memory for them.
    """
    for network in (painter.network, painter.autoencoder):
        if params.attention_slicing and hasattr(network, "set_attention_slice"):
            network.set_attention_slice("max")
        if not params.cpu_offload:
            try:
                network.to(context.device)
            except RuntimeError as error:
                if not ran_out(error):
                    raise
                raise brainlens.DeviceError(
                    f"device {context.device!r}: expected memory for the networks of {painter.model.name!r}, found it "
                    "full. Set cpu_offload=True, choose precision='bfloat16', or take a larger device."
                ) from error


@contextlib.contextmanager
def lent(network: Any, params: GeneratorParams, context: brainlens.Context) -> Iterator[None]:
    """Have a network on the device for as long as it is needed."""
    if not params.cpu_offload:
        yield
        return
    network.to(context.device)
    try:
        yield
    finally:
        network.to("cpu")


@contextlib.contextmanager
def _lent_to_guide(painter: Painter, params: GeneratorParams, context: brainlens.Context) -> Iterator[None]:
    """Have the autoencoder on the device, too, where a guide looks at images on the way."""
    if context.guide is None:
        yield
        return
    with lent(painter.autoencoder, params, context):
        yield


def paint_batch(
    painter: Painter, numbers: np.ndarray, seeds: np.ndarray, params: GeneratorParams, context: brainlens.Context
) -> np.ndarray:
    """Return the images (image, y, x, rgb), uint8, of some numbers; candidates of a trial follow each other."""
    generators = make_generators(seeds[numbers])
    rows = numbers // params.n_candidates
    with torch.no_grad():
        start = None
        if painter.start is not None and params.strength < 1:
            with lent(painter.autoencoder, params, context):
                start = painter.start(rows)
        pusher = None
        if context.guide is not None:
            pusher = Pusher(context.guide, partial(decode_images, painter.autoencoder))
        with lent(painter.network, params, context), _lent_to_guide(painter, params, context):
            latents = denoise(
                painter.scheduler,
                painter.condition(rows, generators),
                draw_noise(generators, painter.shape).to(context.device),
                generators=generators,
                n_steps=params.n_steps,
                guidance=params.guidance,
                start=start,
                strength=params.strength,
                pusher=pusher,
            )
        with lent(painter.autoencoder, params, context):
            return decode(painter.autoencoder, latents, one_by_one=params.attention_slicing)


def _fill(
    album: Album, painter: Painter, seeds: np.ndarray, params: GeneratorParams, context: brainlens.Context
) -> Iterator[int]:
    """Paint what the album lacks; yield once for each image in it."""
    yield from range(album.n_done)
    size = params.batch_size
    while album.n_done < len(seeds):
        numbers = np.arange(album.n_done, min(album.n_done + size, len(seeds)))
        try:
            pixels = paint_batch(painter, numbers, seeds, params, context)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        else:
            album.append(pixels)
            yield from numbers.tolist()
            continue
        # Outside of the handler: the error holds on to everything that filled the memory.
        size = smaller(len(numbers), reason, context)


def smaller(size: int, reason: str, context: brainlens.Context) -> int:
    """Return half of a batch that did not fit into memory.

    Raises
    ------
    DeviceError
        If it was one image.
    """
    if torch.device(context.device).type == "cuda":
        torch.cuda.empty_cache()
    if size == 1:
        raise brainlens.DeviceError(
            f"device {context.device!r}: expected memory for one image at a time, found it full ({reason}). Set "
            "attention_slicing=True and cpu_offload=True, choose precision='bfloat16', or take a larger device."
        )
    context.log.warning("Memory ran out (%s). Going on with %d images at a time.", reason, size // 2)
    return size // 2


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text


class Album:
    """Images in the order of their numbers, in a file that survives a kill, or in memory.

    Parameters
    ----------
    shape
        Of one image: (y, x, rgb).
    n_images
        How many there will be.
    model
        By which they are painted; what another left is not gone on with.
    params
        What was left is cut at a whole batch, so that batches are the same as without the kill.
    context
        Has the scratch folder.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        n_images: int,
        model: Model,
        params: GeneratorParams,
        context: brainlens.Context,
    ) -> None:
        self.shape, self.n_images, self.n_done = shape, n_images, 0
        self.file: Path | None = None
        self.kept: list[np.ndarray] = []
        if context.scratch is None:
            return
        self.file = context.scratch / "images.raw"
        about = {"shape": list(shape), "n_images": n_images, "weights_sha256": model.digest}
        record = context.scratch / "images.json"
        if self.file.exists() and record.exists():
            if json.loads(record.read_text("utf-8")) == about:
                done = self.file.stat().st_size // self.image_bytes
                self.n_done = n_images if done >= n_images else done - done % params.batch_size
                os.truncate(self.file, self.n_done * self.image_bytes)
                return
            context.log.warning("The model was exchanged since %s was begun. Beginning anew.", str(self.file))
        self.file.write_bytes(b"")
        _write(record, json.dumps(about))

    @property
    def image_bytes(self) -> int:
        """Size of one image in bytes."""
        return int(np.prod(self.shape))

    def append(self, pixels: np.ndarray) -> None:
        """Add images (image, y, x, rgb), uint8; in a file they are flushed to the disk.

        Raises
        ------
        RegistryError
            If there is no room for them.
        """
        if self.file is None:
            self.kept.append(pixels)
        else:
            try:
                with self.file.open("ab", buffering=0) as file:
                    left = memoryview(np.ascontiguousarray(pixels)).cast("B")
                    while left:
                        left = left[file.write(left) :]
                    os.fsync(file.fileno())
            except OSError as error:
                raise brainlens.RegistryError(
                    f"scratch folder {str(self.file.parent)!r}: expected room for {self.n_images} images of "
                    f"{self.image_bytes} bytes, found none after {self.n_done} ({error}). Make room, and make the same "
                    "call again: it goes on from there."
                ) from error
        self.n_done += len(pixels)

    def pixels(self) -> np.ndarray:
        """Return all images (image, y, x, rgb), uint8; those of a file are read when they are looked at."""
        if self.file is None or not self.n_images:
            return np.concatenate([*self.kept, np.zeros((0, *self.shape), np.uint8)])
        return np.memmap(self.file, np.uint8, "r", shape=(self.n_images, *self.shape))


def image_dataset(pixels: np.ndarray, source: xr.Dataset, model: Model, *, variant: str = "") -> xr.Dataset:
    """Return images as a dataset that follows image.v1.

    Parameters
    ----------
    pixels
        (trial, y, x, rgb) or (trial, candidate, y, x, rgb), uint8; of ROIs (roi, candidate, y, x, rgb).
    source
        What they were made from: trials, ROIs, or stimuli, whose labels then name trial and stimulus.
    model
        What made them.
    variant
        Which variant of a decoded embedding they were made from; "" where it has none.
    """
    row = str(source["embedding"].dims[0]).replace("stimulus", "trial")
    dims = (row, *(("candidate",) if pixels.ndim == 5 else ()), "y", "x", "rgb")
    if row in source.dims:
        names = ("trial", "stimulus_id") if row == "trial" else ("roi",)
        labels = {name: (row, source[name].values) for name in names}
    else:
        labels = dict.fromkeys(("trial", "stimulus_id"), ("trial", source["stimulus"].values))
    if pixels.ndim == 5:
        labels["candidate"] = ("candidate", np.arange(pixels.shape[1]))
    attrs = {"schema": "image.v1", "model": model.name, "weights_sha256": model.digest}
    attrs |= {key: value for key, value in (("revision", model.revision), ("variant", variant)) if value}
    return xr.Dataset({"image": (dims, pixels)}, labels, attrs)


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    draft = path.with_suffix(".draft")
    draft.write_text(text, "utf-8")
    os.replace(draft, path)
