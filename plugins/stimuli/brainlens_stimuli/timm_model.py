"""The embedder `stimuli.timm`: any model in timm's list at any layer, with its own preprocessing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import xarray as xr
from huggingface_hub import hf_hub_download
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor

import brainlens
from brainlens_stimuli.derivative import differentiate
from brainlens_stimuli.embed import embed
from brainlens_stimuli.inputs import choose_images
from brainlens_stimuli.layers import Tap, keep_tokens, tapped, to_tokens
from brainlens_stimuli.network import Found, Network, describe, digest, in_threads
from brainlens_stimuli.params import TimmParams
from brainlens_stimuli.weights import (
    check_file,
    fetch,
    find_cached,
    hub_folder,
    only_weights,
    raise_missing,
    reading,
    refuse_other_shapes,
)

CONFIG = "config.json"
HUB = "hf-hub:"
_FILES = ("model.safetensors",)


def embed_images(
    *, stimuli: xr.Dataset | None, images: xr.Dataset | None, params: TimmParams, context: brainlens.Context
) -> xr.Dataset:
    """Embed images by a timm model, with its own preprocessing.

    Parameters
    ----------
    stimuli
        Images (stimulus_image.v1): dims (stimulus, y, x, rgb), uint8, sRGB; or None.
    images
        Images made from trials (image.v1): dims (trial, y, x, rgb), uint8, sRGB, where there are no stimuli; or None.
    params
        Model, weights, layer, cache; see `TimmParams`.
    context
        Device and precision; a scratch folder, from which a call that was killed goes on.

    Returns
    -------
    Dataset (embedding.v1)
        `embedding`: (stimulus or trial, channel), or (…, token, channel) of layers with tokens or maps, whose rows
        follow each other; `attrs["grid"]` has their number of rows and columns.

    Raises
    ------
    ParameterError, DimensionError, CheckpointError, RegistryError, DeviceError
        As `stimuli.open_clip_image`.

    References
    ----------
    Wightman (2019), PyTorch Image Models, doi:10.5281/zenodo.4414861.
    """
    return embed(choose_images(stimuli, images), load_network, params, context)


def differentiate_images(
    *, pixels: np.ndarray, params: TimmParams, context: brainlens.Context
) -> brainlens.Differentiated:
    """Embed images, and say how a gradient comes back to their pixels; see `derivative.differentiate`."""
    return differentiate(pixels, load_network, params, context)


def load_network(params: TimmParams, context: brainlens.Context) -> Network:
    """Load a model of timm, strictly, with its preprocessing for tests, not for training.

    Raises
    ------
    ParameterError, CheckpointError, RegistryError
        As `embed_images`.
    """
    folder = _folder(params, context)
    file, sha256 = check_file(_find_weights(params, folder), params.sha256, context)
    # Without 'custom_load' and 'source' a file is read as tensors by name, whatever the model was published as.
    given = {"file": str(file), "custom_load": False, "source": ""}
    what = f"weights of the timm model {params.model!r}"
    with reading(file, what):
        name = f"local-dir:{folder}" if folder else params.model
        empty = timm.create_model(name, pretrained=False, pretrained_cfg_overlay=given)
    refuse_other_shapes(file, empty, ("pos_embed",), params.model)
    with reading(file, what):
        loaded = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=given)
    model: Any = loaded.requires_grad_(False).eval().to(context.device)
    config = resolve_model_data_config(model)
    transform = create_transform(**config, is_training=False)
    space = (
        params.model.removeprefix(HUB) if HUB in params.model else folder.name if folder else _full_name(params.model)
    )
    return Network(
        name=params.label or (space if params.layer == "pooled" else f"{space}/{params.layer}"),
        sha256=sha256,
        about={
            "library": f"timm {timm.__version__}",
            # Options of the architecture are in the text of its modules.
            "architecture_sha256": digest([model.pretrained_cfg["architecture"], str(model)]),
            "layer": params.layer,
            "tokens": params.tokens,
            "preprocessing": describe(config),
        },
        prepare=lambda images: in_threads(lambda pixels: transform(Image.fromarray(np.asarray(pixels))), images),
        encode=_encode(model, params),
        transform=transform,
    )


def _encode(model: Any, params: TimmParams) -> Callable[[Tensor], Found]:
    channels_last = getattr(model, "output_fmt", "NCHW") == "NHWC"
    if params.layer == "pooled":
        return lambda batch: Found(values=model.forward_head(model.forward_features(batch), pre_logits=True))
    if params.layer == "features":

        def features(batch: Tensor) -> Found:
            made, grid = to_tokens(model.forward_features(batch), channels_last=channels_last)
            return keep_tokens(made, grid, params.tokens)

        return features
    tap = Tap(model, params.layer, also=("pooled", "features"))
    return tapped(tap, model, len, params.tokens, channels_last=channels_last)


def _folder(params: TimmParams, context: brainlens.Context) -> Path | None:
    """Return the folder that the model names, or None where timm knows it.

    Raises
    ------
    ParameterError
        If it is neither.
    """
    if params.model.startswith(HUB):
        name = params.model.removeprefix(HUB)
        return context.source(hub_folder(name, "", [CONFIG, *_FILES], config=CONFIG, download=params.download))
    path = Path(params.model).expanduser()
    if not path.is_dir() and "/" not in params.model:
        architecture, _, tag = params.model.partition(".")
        tags = [name for name in timm.list_pretrained() if name.startswith(f"{architecture}.")]
        if not timm.is_model(architecture) or (tag and params.model not in tags):
            known = tags or timm.list_models()
            raise brainlens.ParameterError(
                f"model: expected one of timm {timm.__version__}, or a folder, found {params.model!r}. "
                f"{brainlens.closest(params.model, known, what='models')}"
            )
        return None
    folder = context.source(params.model)
    if not (folder / CONFIG).is_file():
        raise brainlens.CheckpointError(
            f"model {params.model!r}: expected a model of timm, or a folder with {CONFIG}, found no such file "
            "there. Copy the whole folder."
        )
    return folder


def _full_name(model: str) -> str:
    """Return a name with that of its weights, which timm completes by itself."""
    published = timm.get_pretrained_cfg(model)
    tag = published.tag if published is not None else ""
    return f"{model.partition('.')[0]}.{tag}" if tag else model


def _find_weights(params: TimmParams, folder: Path | None) -> Path:
    """Return the file of weights: the given one, that of the folder, or of the cache; or have it downloaded."""
    if params.weights:
        return Path(params.weights)
    if folder is not None:
        return only_weights(folder, params.model, _FILES)
    published: Any = timm.get_pretrained_cfg(params.model)
    what = f"model {_full_name(params.model)!r}"
    if published is not None and published.hf_hub_id:
        repository, _, revision = published.hf_hub_id.partition("@")
        name = published.hf_hub_filename or _FILES[0]
        at = f" --revision {revision}" if revision else ""
        command = f"hf download {repository} {name}{at} --local-dir FOLDER"
        found = find_cached(repository, (name, "pytorch_model.bin"), revision)
        if found is None and params.download:
            found = fetch(what, lambda: hf_hub_download(repository, name, revision=revision or None), command)
    elif published is not None and published.url:
        name = Path(published.url).name
        command = f"curl -L --create-dirs -o 'weights/{name}' {published.url}"
        cached = Path(torch.hub.get_dir()) / "checkpoints" / name
        found = cached if cached.is_file() else None
        if found is None and params.download:
            found = fetch(what, lambda: _from_url(published.url, cached), command)
    else:
        raise brainlens.CheckpointError(
            f"{what}: expected a file of weights, since none are published, found ''. Name yours as 'weights'."
        )
    if found is None:
        raise_missing(what, command, "weights")
    return found


def _from_url(url: str, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.hub.download_url_to_file(url, str(target))
    return target
