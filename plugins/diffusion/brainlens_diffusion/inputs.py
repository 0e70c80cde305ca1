"""What generators are given: that it fits, and how it is read, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import brainlens
from brainlens_diffusion.autoencoder import encode, reduction
from brainlens_diffusion.params import GeneratorParams

# Latents to start from, of the rows that are asked for.
Start = Callable[[np.ndarray], Tensor]


def choose_embedding(embedding: xr.Dataset, params: GeneratorParams, *, known: Sequence[str]) -> xr.Dataset:
    """Return the variant of an embedding that was asked for, if it is of the right model.

    Parameters
    ----------
    embedding
        Embeddings (embedding.v1).
    params
        Variant, and the model that is expected.
    known
        Names of the model by which the public checkpoint of the generator was trained.

    Raises
    ------
    ParameterError
        If a variant has to be chosen, does not exist, or is chosen where there are none.
    DimensionError
        If embeddings are of another model.
    """
    chosen = brainlens.choose_variant(embedding, params.variant, name="embedding")
    public = params.model == type(params).model_fields["model"].default
    wanted = [params.embedding_model] if params.embedding_model else list(known) if public else []
    model = str(chosen.attrs["model"])
    if wanted and model not in wanted:
        raise brainlens.DimensionError(
            f"embedding: expected embeddings of model {' or '.join(map(repr, wanted))}, found those of {model!r}. "
            "Decode to that model's embeddings; if it is the same model under another name, say "
            f"embedding_model={model!r}."
        )
    return chosen


def check_embedding(
    values: xr.DataArray, *, n_channels: int, n_tokens: int = 0, name: str = "embedding"
) -> xr.DataArray:
    """Return embeddings if they have the dims that a generator reads; nothing is read yet.

    Parameters
    ----------
    values
        Embeddings (row, channel) or (row, token, channel); rows are trials, stimuli or ROIs.
    n_channels, n_tokens
        What is expected; no dim token where `n_tokens` is 0.
    name
        Of the input, for messages.

    Raises
    ------
    DimensionError
        If they have others.
    """
    wanted = {"token": n_tokens, "channel": n_channels} if n_tokens else {"channel": n_channels}
    rest = {str(dim): values.sizes[dim] for dim in values.dims[1:]}
    if values.dims[0] not in ("trial", "stimulus", "roi") or list(rest.items()) != list(wanted.items()):
        dims = ", ".join(["trial, stimulus or roi", *wanted])
        sizes = " and ".join(f"{size} {dim}s" for dim, size in wanted.items())
        raise brainlens.DimensionError(
            f"{name}: expected dims ({dims}) with {sizes}, found {dict(values.sizes)}. Decode to embeddings of the "
            "model and layer by which the generator was trained."
        )
    return values


def read_rows(values: xr.DataArray, rows: np.ndarray) -> np.ndarray:
    """Return some rows of an array that may be larger than memory; each is read once, however often it is asked for."""
    once, inverse = np.unique(rows, return_inverse=True)
    found: np.ndarray = values.isel({values.dims[0]: once}).values
    return found[inverse]


def read_tensor(values: xr.DataArray, rows: np.ndarray, device: str) -> Tensor:
    """Return some rows of an array as float32 on the device."""
    return torch.from_numpy(read_rows(values, rows).astype(np.float32)).to(device)


def choose_start(
    embedding: xr.Dataset,
    initial: xr.Dataset | None,
    latents: xr.Dataset | None,
    *,
    autoencoder: Any,
    shape: tuple[int, int, int],
    device: str,
) -> Start | None:
    """Return what gives the latents to start from, or None where there is noise alone.

    Parameters
    ----------
    embedding
        Whose trials they have to be of.
    initial
        Images (image.v1) of dims (trial, y, x, rgb), or None.
    latents
        Latents (embedding.v1) of dims (row, token, channel), a token for each cell of the grid, rows one
        after another, on the scale that the denoising network sees; or None.
    autoencoder
        Encodes images.
    shape
        Of one image's latents: (latent, y, x).
    device
        Where latents go.

    Raises
    ------
    ParameterError
        If both are given.
    DimensionError
        If they are of another size or of other trials.
    """
    if initial is not None and latents is not None:
        raise brainlens.ParameterError("expected initial images or latents, found both. Give one of them.")
    if initial is not None:
        image = _check_initial(initial, embedding, (shape[1] * (step := reduction(autoencoder)), shape[2] * step))
        return lambda rows: _encode_rows(autoencoder, image, rows, device)
    if latents is not None:
        grid = _check_latents(latents, embedding, shape)
        return lambda rows: read_tensor(grid, rows, device).transpose(1, 2).reshape(len(rows), *shape)
    return None


def _encode_rows(autoencoder: Any, image: xr.DataArray, rows: np.ndarray, device: str) -> Tensor:
    """Encode each image once, also where it has several candidates."""
    once, inverse = np.unique(rows, return_inverse=True)
    return encode(autoencoder, image.isel(trial=once).values, device)[torch.from_numpy(inverse).to(device)]


def _check_initial(initial: xr.Dataset, embedding: xr.Dataset, size: tuple[int, int]) -> xr.DataArray:
    image = initial["image"]
    if image.dims != ("trial", "y", "x", "rgb") or image.shape[1:] != (*size, 3):
        raise brainlens.DimensionError(
            f"initial images: expected dims (trial, y, x, rgb) with {size[0]} x {size[1]} pixels, found "
            f"{dict(image.sizes)}. Give one image of that size for each trial."
        )
    check_rows(image, embedding, name="initial images")
    return image


def _check_latents(latents: xr.Dataset, embedding: xr.Dataset, shape: tuple[int, int, int]) -> xr.DataArray:
    values = latents["embedding"]
    channels, height, width = shape
    fits = values.dims[1:] == ("token", "channel") and values.shape[1:] == (height * width, channels)
    grid = latents.attrs.get("grid")
    if not fits or (grid is not None and [int(side) for side in grid] != [height, width]):
        found = f" on a grid {' x '.join(str(int(side)) for side in grid)}" if grid is not None else ""
        raise brainlens.DimensionError(
            f"latents: expected dims (trial, stimulus or roi, token, channel) with {height * width} tokens on a grid "
            f"{height} x {width} and {channels} channels, found {dict(values.sizes)}{found}. Decode to latents of this "
            "generator's autoencoder."
        )
    check_rows(values, embedding, name="latents")
    return values


def check_rows(values: xr.DataArray, embedding: xr.Dataset, *, name: str) -> None:
    """Raise an error if a second input is not of the same trials, or stimuli, in the same order.

    Raises
    ------
    DimensionError
        With the first label that differs.
    """
    dim = values.dims[0]
    wanted = embedding[embedding["embedding"].dims[0]].values
    if not np.array_equal(values[dim].values, wanted):
        raise brainlens.DimensionError(
            f"{name}: expected the {len(wanted)} rows of the embedding in the same order, found {values.sizes[dim]}, "
            f"the first {str(values[dim].values[0])!r}. Decode both from one response."
        )
