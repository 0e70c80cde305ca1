"""The generator `mini.generate`: images from image embeddings, by a Kandinsky 2.2 decoder pipeline."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from diffusers import KandinskyV22Pipeline, UNet2DConditionModel
from diffusers.utils import logging

import brainlens
from brainlens_mini.autoencoder import encode_images, load_autoencoder, refuse_partial
from brainlens_mini.image_text import MODEL as EMBEDDING
from brainlens_mini.images import image_dataset, to_pixels
from brainlens_mini.params import GenerateParams
from brainlens_mini.precision import casting
from brainlens_mini.sampling import draw_noise, sample_latents
from brainlens_mini.weights import other_folder, own_folder

MODEL = "mini-generator"
_NOISE_STREAM = 11


def generate(
    *, embedding: xr.Dataset, initial: xr.Dataset | None, params: GenerateParams, context: brainlens.Context
) -> xr.Dataset:
    """Paint images from embeddings.

    Parameters
    ----------
    embedding
        Embeddings (embedding.v1) of the model that the generator was trained with, true or decoded: dims (stimulus or
        trial, channel), with a dim variant before these where a decoder gave several. A coordinate `noise_seed` along
        that dim, or along that dim and candidate, holds the seeds to paint by: so a row of what was painted before is
        painted again alone.
    initial
        Images (image.v1) of the same trials to start from, or None to start from noise.
    params
        Variant, candidates, steps, guidance, strength; see `GenerateParams`.
    context
        Its seed and the position of trial and candidate decide the noise, where the embedding brings no seeds, so that
        an image is the same in any batch, up to rounding. Its `guide` pushes the images on the way.

    Returns
    -------
    Dataset (image.v1)
        `image` (trial, y, x, rgb), or (trial, candidate, y, x, rgb) where there are several candidates, uint8;
        `noise_seed` with the seed of each. `attrs["variant"]` names the variant that was chosen.

    Raises
    ------
    ParameterError
        If a variant has to be chosen, does not exist, or is chosen where there are none; or a seed is none.
    DimensionError
        If embeddings are of another model or width, or initial images of another size or other trials, or there are
        more seeds or fewer than images.
    CheckpointError
        If the weights are not those that are expected.
    """
    embedding = brainlens.choose_variant(embedding, params.variant, name="embedding")
    folder, name, wanted = _find(params.folder, context)
    pipeline = context.keep("pipeline", lambda: load_pipeline(folder, context))
    values = _check_embedding(embedding, pipeline.unet.config.encoder_hid_dim, wanted)
    side = pipeline.unet.config.sample_size
    starts = _check_initial(initial, embedding, side * 2 ** (len(pipeline.movq.config.block_out_channels) - 1))
    seeds = choose_seeds(embedding, context, params.n_candidates)
    shape = (pipeline.unet.config.in_channels, side, side)
    rows = []
    for low in context.progress(range(0, seeds.size, params.batch_size), label="painting"):
        numbers = np.arange(low, min(low + params.batch_size, seeds.size))
        owners = numbers // params.n_candidates
        with torch.no_grad(), casting(context):
            latents = sample_latents(
                pipeline,
                torch.from_numpy(values[owners]).to(context.device),
                draw_noise(seeds.ravel()[numbers].tolist(), shape, context.device),
                n_steps=params.n_steps,
                guidance=params.guidance,
                start=None if starts is None else encode_images(pipeline.movq, starts[owners], context.device),
                strength=params.strength,
                guide=context.guide,
            )
            rows.append(to_pixels(pipeline.movq.decode(latents, force_not_quantize=True).sample))
    pixels = np.concatenate(rows)
    if params.n_candidates > 1:
        pixels = pixels.reshape(len(values), params.n_candidates, *pixels.shape[1:])
    made = image_dataset(pixels, embedding, model=name, variant=params.variant)
    dims = ("trial", "candidate")[: 1 + (params.n_candidates > 1)]
    return made.assign(noise_seed=(dims, seeds if params.n_candidates > 1 else seeds[:, 0]))


def choose_seeds(embedding: xr.Dataset, context: brainlens.Context, n_candidates: int) -> np.ndarray:
    """Return the seed of each trial and candidate: those that the embedding brings along, or else drawn ones.

    Parameters
    ----------
    embedding
        Embeddings with dim trial or stimulus; seeds are in its coordinate `noise_seed`, along that dim, or along that
        dim and candidate.
    context
        Its seed decides where there is no such coordinate.
    n_candidates
        Images for each embedding.

    Returns
    -------
    ndarray
        (trial, candidate), int64, from 0.

    Raises
    ------
    DimensionError
        If `noise_seed` has other dims, or another number of candidates.
    ParameterError
        If a seed is not a whole number from 0.
    """
    dim = "trial" if "trial" in embedding.dims else "stimulus"
    if "noise_seed" not in embedding.coords:
        return noise_seeds(context, embedding.sizes[dim], n_candidates)
    given = embedding["noise_seed"]
    if given.dims not in ((dim,), (dim, "candidate")) or given.sizes.get("candidate", 1) != n_candidates:
        raise brainlens.DimensionError(
            f"noise_seed of the embedding: expected dims ({dim}) or ({dim}, candidate) with {n_candidates} for each "
            f"{dim}, found {dict(given.sizes)}. Set 'n_candidates' to how many seeds there are, or leave them out by "
            "drop_vars('noise_seed')."
        )
    if given.dtype.kind not in "iu" or not 0 <= int(given.min()) <= int(given.max()) < 2**63:
        raise brainlens.ParameterError(
            f"noise_seed of the embedding: expected whole numbers from 0 to 2**63 - 1, found {given.dtype} from "
            f"{given.values.min()!s} to {given.values.max()!s}. Take those of images that were painted."
        )
    return given.values.astype(np.int64).reshape(embedding.sizes[dim], n_candidates)


def noise_seeds(context: brainlens.Context, n_trials: int, n_candidates: int) -> np.ndarray:
    """Return a seed for each trial and candidate: (trial, candidate), int64, from 0.

    Each depends on the context's seed and its own position alone, not on how many there are.

    Examples
    --------
    >>> context = brainlens.Context(seed=3)
    >>> bool((noise_seeds(context, 2, 1)[:, 0] == noise_seeds(context, 5, 4)[:2, 0]).all())
    True
    """
    drawn = [context.rng(_NOISE_STREAM, trial).integers(2**62, size=n_candidates) for trial in range(n_trials)]
    return np.array(drawn, dtype=np.int64).reshape(n_trials, n_candidates)


def load_pipeline(folder: Path, context: brainlens.Context) -> KandinskyV22Pipeline:
    """Load a pipeline from a folder by diffusers' own loader.

    Raises
    ------
    CheckpointError
        If diffusers cannot load it, or weights are missing or too many.
    """
    options = {"use_safetensors": True, "local_files_only": True, "low_cpu_mem_usage": False}
    try:
        # The pipeline's loader fills what has no weights with random numbers and goes on, so each part is loaded alone.
        unet, found = UNet2DConditionModel.from_pretrained(str(folder / "unet"), output_loading_info=True, **options)
        refuse_partial(folder / "unet", found)
        movq = load_autoencoder(folder / "movq", context)
        with _no_progress_bar():
            pipeline = KandinskyV22Pipeline.from_pretrained(str(folder), unet=unet.float(), movq=movq, **options)
    except (RuntimeError, ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        raise brainlens.CheckpointError(
            f"model {str(folder)!r}: expected a Kandinsky 2.2 decoder pipeline, found one that does not load: {error}"
        ) from error
    for network in (pipeline.unet, pipeline.movq):
        network.requires_grad_(False)
    return pipeline.to(context.device)


@contextlib.contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Keep diffusers from drawing a bar while it loads the parts of a pipeline, which takes no time."""
    was_shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_shown:
            logging.enable_progress_bar()


def _check_embedding(embedding: xr.Dataset, width: int, wanted: str) -> np.ndarray:
    """Return embeddings as float32, if they are of the width, and of the model where that is known."""
    values, model = embedding["embedding"], embedding.attrs["model"]
    fits = values.ndim == 2 and values.dims[0] in ("trial", "stimulus") and values.sizes.get("channel") == width
    if not fits or (wanted and model != wanted):
        of_model = f" of model {wanted!r}" if wanted else ""
        remedy = "that 'mini.image' makes" if wanted else "of the model that the generator was trained with"
        raise brainlens.DimensionError(
            f"embedding: expected dims (trial or stimulus, channel) with {width} channels{of_model}, found "
            f"{dict(values.sizes)} of model {model!r}. Decode to embeddings {remedy}."
        )
    array: np.ndarray = values.values.astype(np.float32)
    return array


def _check_initial(initial: xr.Dataset | None, embedding: xr.Dataset, size: int) -> np.ndarray | None:
    if initial is None:
        return None
    image = initial["image"]
    wanted = {"y": size, "x": size, "rgb": 3}
    if image.dims != ("trial", "y", "x", "rgb") or {dim: image.sizes[dim] for dim in wanted} != wanted:
        raise brainlens.DimensionError(
            f"initial images: expected dims (trial, y, x, rgb) with {size} x {size} pixels, found {dict(image.sizes)}. "
            "Give one image of that size for each trial."
        )
    labels = embedding["trial" if "trial" in embedding.dims else "stimulus"].values
    if not np.array_equal(initial["trial"].values, labels):
        raise brainlens.DimensionError(
            f"initial images: expected the {len(labels)} trials of the embedding in the same order, found "
            f"{image.sizes['trial']} trials, the first {str(initial['trial'].values[0])!r}. Decode both from one "
            "response."
        )
    return np.asarray(image.values)


def _find(folder: str, context: brainlens.Context) -> tuple[Path, str, str]:
    """Return the folder of the pipeline, its name, and the model of its embeddings, "" where that is not known."""
    if not folder:
        return own_folder("generator"), MODEL, EMBEDDING
    found = other_folder(folder, context, needs=("model_index.json", "unet/*.safetensors", "movq/*.safetensors"))
    return found, found.name, ""
