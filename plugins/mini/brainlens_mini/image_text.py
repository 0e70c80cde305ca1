"""The embedders `mini.image` and `mini.text`: images and texts in one space, by any open_clip model in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import xarray as xr
from torch.nn import functional

import brainlens
from brainlens_mini.images import choose_images
from brainlens_mini.params import ImageParams, TextParams
from brainlens_mini.precision import casting
from brainlens_mini.weights import other_folder, own_folder

MODEL = "mini-clip"
_GRIDS = {"grid4": 3, "grid8": 2}


def embed_images(
    *, stimuli: xr.Dataset | None, images: xr.Dataset | None, params: ImageParams, context: brainlens.Context
) -> xr.Dataset:
    """Embed images.

    Parameters
    ----------
    stimuli
        Images (stimulus_image.v1): dims (stimulus, y, x, rgb), uint8, sRGB; or None.
    images
        Images made from trials (image.v1): dims (trial, y, x, rgb), uint8, sRGB, where there are no stimuli; or None.
    params
        Which model, and whether the pooled embedding or a grid of tokens; see `ImageParams`.
    context
        Device and precision.

    Returns
    -------
    Dataset (embedding.v1)
        `embedding`: pooled (stimulus or trial, channel), float32, length 1, or tokens (…, token, channel), float32,
        rows of the grid one after another from the upper left.

    Raises
    ------
    ParameterError
        If stimuli and images are given, or neither.
    DimensionError
        If the images are grey, or there are several for a trial.
    CheckpointError
        If the weights are not those that are expected.
    RegistryError
        If the folder does not exist.
    """
    pixels, labels = choose_images(stimuli, images)
    folder, name = _find(params.folder, context)
    model, mean, std, size = context.keep("model", lambda: load_image_text(folder, context))
    rows = []
    for low in context.progress(range(0, len(pixels), params.batch_size), label="embedding images"):
        part = torch.from_numpy(pixels[low : low + params.batch_size].values)
        batch = prepare_images(part, size=size, mean=mean, std=std, device=context.device)
        with torch.inference_mode(), casting(context):
            rows.append(_encode(model, batch, params.layer).float().cpu().numpy())
    return _label(np.concatenate(rows), str(pixels.dims[0]), labels, name, params.layer)


def differentiate_images(
    *, pixels: np.ndarray, params: ImageParams, context: brainlens.Context
) -> brainlens.Differentiated:
    """Embed images, and say how a gradient comes back from the embeddings to the pixels.

    Parameters
    ----------
    pixels
        (image, y, x, rgb), float32, from 0 to 1, sRGB; all in one batch.
    params, context
        As in `embed_images`.

    Returns
    -------
    Differentiated
        `value`: embeddings (embedding.v1) as `embed_images` makes them, (trial, channel) or (trial, token, channel).
        `pull_back` takes an array like these, and returns one like `pixels`.

    Raises
    ------
    CheckpointError, RegistryError
        As in `embed_images`.
    """
    folder, name = _find(params.folder, context)
    model, mean, std, size = context.keep("model", lambda: load_image_text(folder, context))
    given = torch.from_numpy(pixels).to(context.device).requires_grad_()
    with torch.enable_grad(), casting(context):
        batch = _standardize(given.permute(0, 3, 1, 2), size=size, mean=mean, std=std)
        found = _encode(model, batch, params.layer).float()

    def pull_back(gradient: np.ndarray) -> np.ndarray:
        (back,) = torch.autograd.grad(found, given, torch.from_numpy(gradient).to(found.device))
        return back.cpu().numpy()

    labels = dict.fromkeys(("trial", "stimulus_id"), xr.Variable("trial", np.arange(len(pixels))))
    return brainlens.Differentiated(
        _label(found.detach().cpu().numpy(), "trial", labels, name, params.layer), pull_back
    )


def _label(values: np.ndarray, dim: str, labels: dict[str, xr.Variable], name: str, layer: str) -> xr.Dataset:
    """Return embeddings as a dataset that follows embedding.v1."""
    dims = (dim, "channel") if values.ndim == 2 else (dim, "token", "channel")
    axes = {each: np.arange(length) for each, length in zip(dims[1:], values.shape[1:], strict=True)}
    attrs = {"schema": "embedding.v1", "model": name if layer == "pooled" else f"{name}/{layer}", "modality": "image"}
    return xr.Dataset({"embedding": (dims, values)}, {**labels, **axes}, attrs)


def embed_texts(*, texts: xr.Dataset, params: TextParams, context: brainlens.Context) -> xr.Dataset:
    """Embed texts in the space of the images.

    Parameters
    ----------
    texts
        Texts (stimulus_text.v1): dims (stimulus) or (stimulus, caption).
    params
        Which model and which caption; see `TextParams`.
    context
        Device and precision.

    Returns
    -------
    Dataset (embedding.v1)
        `embedding`: (stimulus, channel), float32, length 1. `n_cut` (stimulus): words behind the longest text that the
        model reads, which were left out.

    Raises
    ------
    ParameterError
        If the caption does not exist, or has to be named.
    CheckpointError
        If the weights are not those that are expected.
    """
    chosen = choose_caption(texts, params.caption)
    folder, name = _find(params.folder, context)
    model, *_ = context.keep("model", lambda: load_image_text(folder, context))
    tokenizer = load_tokenizer(folder)
    rows, cut = [], []
    strings = chosen.values.astype(object).tolist()
    for low in context.progress(range(0, len(strings), params.batch_size), label="embedding texts"):
        part = strings[low : low + params.batch_size]
        tokens = tokenizer(part)
        cut += [max(0, len(ids) - tokens.shape[1]) for ids in tokenizer.tokenizer(part, verbose=False)["input_ids"]]
        with torch.inference_mode(), casting(context):
            found = model.encode_text(tokens.to(context.device))
        rows.append(functional.normalize(found.float(), dim=-1).cpu().numpy())
    values = np.concatenate(rows)
    return xr.Dataset(
        {"embedding": (("stimulus", "channel"), values), "n_cut": ("stimulus", np.array(cut))},
        {"stimulus": texts["stimulus"].values, "channel": np.arange(values.shape[1])},
        {"schema": "embedding.v1", "model": name, "modality": "text"},
    )


def choose_caption(texts: xr.Dataset, caption: str) -> xr.DataArray:
    """Return one text for each stimulus.

    Raises
    ------
    ParameterError
        If the caption does not exist, or has to be named.
    """
    text = texts["text"]
    if "caption" not in text.dims:
        if caption:
            raise brainlens.ParameterError(f"caption: expected '', as there is one text each, found {caption!r}.")
        return text
    names = [str(name) for name in texts["caption"].values] if "caption" in texts.coords else []
    if caption not in names:
        shown = brainlens.listed(names) if names else "no names"
        raise brainlens.ParameterError(f"caption: expected one of {shown}, found {caption!r}. Choose one.")
    return text.isel(caption=names.index(caption))


def load_image_text(folder: Path, context: brainlens.Context) -> tuple[Any, tuple[float, ...], tuple[float, ...], int]:
    """Load an open_clip model from a folder, by open_clip's own loader; return it with what images are brought to.

    Returns
    -------
    tuple
        Model; mean and standard deviation of each colour channel, of values from 0 to 1; size in pixels.

    Raises
    ------
    CheckpointError
        If open_clip cannot load it.
    """
    try:
        model = open_clip.create_model(f"local-dir:{folder}", device=context.device, require_pretrained=True)
    except (RuntimeError, ValueError, OSError, KeyError, TypeError) as error:
        raise brainlens.CheckpointError(
            f"model {str(folder)!r}: expected an open_clip model, found one that does not load: {error}"
        ) from error
    about = open_clip.get_model_preprocess_cfg(model)
    size = about["size"]
    model.requires_grad_(False)
    return model.eval(), tuple(about["mean"]), tuple(about["std"]), size if isinstance(size, int) else int(size[0])


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of an open_clip model from its folder."""
    return open_clip.get_tokenizer(f"local-dir:{folder}")


def prepare_images(
    pixels: torch.Tensor, *, size: int, mean: tuple[float, ...], std: tuple[float, ...], device: str
) -> torch.Tensor:
    """Return images as the model reads them.

    Parameters
    ----------
    pixels
        (image, y, x, rgb), uint8.
    size
        Width and height that the model wants, in pixels; images of another size are resized, the whole picture, with
        smoothing where they become smaller.
    mean, std
        Subtracted from, and divided out of, values from 0 to 1.
    device
        Where the result lies.

    Returns
    -------
    Tensor
        (image, rgb, y, x), float32.
    """
    return _standardize(pixels.to(device).permute(0, 3, 1, 2).float() / 255, size=size, mean=mean, std=std)


def _standardize(images: torch.Tensor, *, size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """Return images (image, rgb, y, x) from 0 to 1 as the model reads them."""
    if images.shape[-2:] != (size, size):
        images = functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
    shape = (1, 3, 1, 1)
    return (images - images.new_tensor(mean).view(shape)) / images.new_tensor(std).view(shape)


def _encode(model: Any, images: torch.Tensor, layer: str) -> torch.Tensor:
    if layer == "pooled":
        return functional.normalize(model.encode_image(images).float(), dim=-1)
    found = model.visual.forward_intermediates(images, indices=[_GRIDS[layer]], intermediates_only=True)
    grid: torch.Tensor = found["image_intermediates"][0]  # (image, channel, y, x)
    return grid.flatten(2).transpose(1, 2)


def _find(folder: str, context: brainlens.Context) -> tuple[Path, str]:
    if not folder:
        return own_folder("image-text"), MODEL
    found = other_folder(folder, context, needs=("open_clip_config.json", "*.safetensors"))
    return found, found.name
