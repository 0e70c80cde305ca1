"""The embedders `stimuli.open_clip_image` and `stimuli.open_clip_text`: any model in open_clip's list, any layer."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import xarray as xr
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor

import brainlens
from brainlens_stimuli.derivative import differentiate
from brainlens_stimuli.embed import embed
from brainlens_stimuli.inputs import choose_images, choose_texts
from brainlens_stimuli.layers import Tap, keep_tokens, tapped
from brainlens_stimuli.network import Found, Network, describe, digest, in_threads
from brainlens_stimuli.params import OpenClipImageParams, OpenClipParams, OpenClipTextParams
from brainlens_stimuli.weights import (
    BROKEN,
    check_file,
    fetch,
    find_cached,
    first_line,
    hub_folder,
    offline,
    only_weights,
    raise_missing,
    reading,
    refuse_other_shapes,
)

CONFIG = "open_clip_config.json"
HUB = "hf-hub:"
_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model"]
_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
_POSITIONS = ("visual.positional_embedding", "positional_embedding", "text.positional_embedding")
_IMAGE_LAYERS = ("projected", "pooled", "tokens_projected")
_TEXT_LAYERS = ("projected", "tokens_projected")


def embed_images(
    *,
    stimuli: xr.Dataset | None,
    images: xr.Dataset | None,
    params: OpenClipImageParams,
    context: brainlens.Context,
) -> xr.Dataset:
    """Embed images by an open_clip model, with its own preprocessing.

    Parameters
    ----------
    stimuli
        Images (stimulus_image.v1): dims (stimulus, y, x, rgb), uint8, sRGB; or None.
    images
        Images made from trials (image.v1): dims (trial, y, x, rgb), uint8, sRGB, where there are no stimuli; or None.
    params
        Model, weights, layer, cache; see `OpenClipImageParams`.
    context
        Device and precision; a scratch folder, from which a call that was killed goes on.

    Returns
    -------
    Dataset (embedding.v1)
        `embedding`: (stimulus or trial, channel), or (…, token, channel) of layers with tokens, float32 or float16.
        Attributes say model, layer, preprocessing and the SHA-256 of the weights.

    Raises
    ------
    ParameterError
        If model, weights or layer do not exist, or the inputs are not one.
    DimensionError
        If images are grey, of another dtype, or several for a trial.
    CheckpointError
        If weights are missing, altered, another model's, or would run code.
    RegistryError
        If a file is missing, or the cache is damaged.
    DeviceError
        If a batch does not fit into memory.

    References
    ----------
    Radford et al. (2021), arXiv:2103.00020; Cherti et al. (2023), arXiv:2212.07143.
    """
    return embed(choose_images(stimuli, images), load_image_network, params, context)


def differentiate_images(
    *, pixels: np.ndarray, params: OpenClipImageParams, context: brainlens.Context
) -> brainlens.Differentiated:
    """Embed images, and say how a gradient comes back to their pixels; see `derivative.differentiate`."""
    return differentiate(pixels, load_image_network, params, context)


def embed_texts(*, texts: xr.Dataset, params: OpenClipTextParams, context: brainlens.Context) -> xr.Dataset:
    """Embed texts in the space of an open_clip model's images.

    Parameters
    ----------
    texts
        Texts (stimulus_text.v1): dims (stimulus) or (stimulus, caption).
    params
        Model, weights, layer, caption, cache; see `OpenClipTextParams`.
    context
        Device and precision; a scratch folder, from which a call that was killed goes on.

    Returns
    -------
    Dataset (embedding.v1)
        `embedding`: (stimulus, channel), or (stimulus, token, channel) of layers with tokens. `n_cut` (stimulus):
        tokens behind the longest text that the model reads, which were left out.

    Raises
    ------
    ParameterError
        If model, weights, layer or caption do not exist, or a text is too long.
    CheckpointError, RegistryError, DeviceError
        As `stimuli.open_clip_image`.
    """
    return embed(choose_texts(texts, params.caption), load_text_network, params, context)


def load_image_network(params: OpenClipImageParams, context: brainlens.Context) -> Network:
    """Load the image tower.

    Raises
    ------
    ParameterError, CheckpointError, RegistryError
        As `embed_images`.
    """
    model, name, sha256 = _load(params, context)
    preprocessing = open_clip.get_model_preprocess_cfg(model)
    transform = image_transform_v2(PreprocessCfg(**preprocessing), is_train=False)
    channels_last = getattr(getattr(model.visual, "trunk", None), "output_fmt", "NCHW") == "NHWC"
    encode = _encode_image(model, params, channels_last=channels_last)
    about = {"preprocessing": describe(preprocessing), **_about(params)}

    def prepare(images: Any) -> Tensor:
        return in_threads(lambda pixels: transform(Image.fromarray(np.asarray(pixels))), images)

    return Network(name=name, sha256=sha256, about=about, prepare=prepare, encode=encode, transform=transform)


def load_text_network(params: OpenClipTextParams, context: brainlens.Context) -> Network:
    """Load the text tower and its tokenizer.

    Raises
    ------
    ParameterError, CheckpointError, RegistryError
        As `embed_texts`.
    """
    model, name, sha256 = _load(params, context)
    folder = _folder(params)
    try:
        with offline(unless=params.download):
            tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}" if folder else params.model)
    except BROKEN as error:
        raise brainlens.CheckpointError(
            f"model {params.model!r}: expected its tokenizer in its folder or the local cache, found none that loads "
            f"({first_line(error)}). Copy it there, or set download=True."
        ) from error
    inner = getattr(tokenizer, "tokenizer", None)

    # Those of CLIPS add a start, an end and a class token by themselves.
    n_more = 3 if getattr(tokenizer, "tokenizer_mode", "") == "clips" else 0

    def check(text: str) -> int:
        if inner is None:
            n_tokens = 2 + len(tokenizer.encode(text))
        else:
            given = inner(tokenizer.clean_fn(text), add_special_tokens=not n_more, verbose=False)
            n_tokens = n_more + len(given["input_ids"])
        return max(0, n_tokens - int(tokenizer.context_length))

    words = sorted((inner.get_vocab() if inner is not None else tokenizer.encoder).items())
    about = {"tokenizer": f"{type(inner or tokenizer).__name__} {digest(words)[:16]}", **_about(params)}
    encode = _encode_text(model, params)
    return Network(name=name, sha256=sha256, about=about, prepare=tokenizer, encode=encode, check=check)


def _encode_image(model: Any, params: OpenClipImageParams, *, channels_last: bool) -> Callable[[Tensor], Found]:
    visual = model.visual
    if params.layer == "projected":
        return lambda batch: Found(values=model.encode_image(batch))
    if params.layer == "pooled":
        if getattr(visual, "proj", None) is not None:
            visual.proj = None
            return lambda batch: Found(values=_first(visual(batch)))
        if not hasattr(visual, "trunk"):
            raise brainlens.ParameterError(
                f"layer: expected 'projected' or a module's name of {params.model!r}, found 'pooled', which it does "
                "not have apart. Choose another."
            )
        return tapped(Tap(model, "visual.trunk"), model.encode_image, len, "all")
    if params.layer == "tokens_projected":
        projection = getattr(visual, "proj", None)
        if projection is None or getattr(visual, "attn_pool", None) is not None or visual.final_ln_after_pool:
            raise brainlens.ParameterError(
                f"layer: expected 'projected' or a module's name of {params.model!r}, found 'tokens_projected', which "
                "needs a transformer that projects one of its normalised tokens. Choose another."
            )
        tap = Tap(model, "visual.ln_post")

        def project(batch: Tensor) -> Found:
            pooled = model.encode_image(batch)
            found = keep_tokens(tap.take(len(batch)) @ projection, (), params.tokens)
            return dataclasses.replace(found, pooled=pooled)

        return project
    tap = Tap(model, params.layer, also=_IMAGE_LAYERS)
    return tapped(tap, model.encode_image, len, params.tokens, channels_last=channels_last)


def _encode_text(model: Any, params: OpenClipTextParams) -> Callable[[Tensor], Found]:
    if params.layer == "projected":
        return lambda batch: Found(values=model.encode_text(batch))
    if params.layer == "tokens_projected":
        tower = getattr(model, "text", model)
        projection = getattr(tower, "text_projection", None)
        if projection is None or getattr(tower, "cls_emb", None) is not None:
            raise brainlens.ParameterError(
                f"layer: expected 'projected' or a module's name of {params.model!r}, found 'tokens_projected', which "
                "needs a transformer that projects one of its normalised tokens. Choose another."
            )
        tap = Tap(model, "ln_final" if tower is model else "text.ln_final")

        def project(batch: Tensor) -> Found:
            pooled = model.encode_text(batch)
            made = tap.take(len(batch))
            made = projection(made) if isinstance(projection, torch.nn.Module) else made @ projection
            return dataclasses.replace(keep_tokens(made, (), params.tokens), pooled=pooled)

        return project
    return tapped(Tap(model, params.layer, also=_TEXT_LAYERS), model.encode_text, len, params.tokens)


def _load(params: OpenClipImageParams | OpenClipTextParams, context: brainlens.Context) -> tuple[Any, str, str]:
    """Return the model on its device, the name of the space, and the SHA-256 of the weights."""
    folder = _folder(params)
    name, path, published = _from_folder(params, folder, context) if folder else _from_list(params)
    file, sha256 = check_file(path, params.sha256, context)
    specification = f"local-dir:{folder}" if folder else params.model
    own = {key: published[key] for key in _keys(PreprocessCfg) if key in published}
    what = f"weights of the open_clip model {params.model!r}"
    with reading(file, what), _without_warnings(), offline(unless=params.download):
        model = open_clip.create_model(
            specification, load_weights=False, pretrained_text=False, force_preprocess_cfg=own,
            force_quick_gelu=bool(published.get("quick_gelu")),
        )  # fmt: skip
    refuse_other_shapes(file, model, _POSITIONS, params.model)
    with reading(file, what):
        open_clip.load_checkpoint(model, str(file), strict=True, weights_only=True)
    name = params.label or (name if params.layer == "projected" else f"{name}/{params.layer}")
    return model.requires_grad_(False).eval().to(context.device), name, sha256


def _folder(params: OpenClipParams) -> Path | None:
    """Return the folder that the model names, or None where it is an architecture."""
    if params.model in open_clip.list_models():
        return None
    if params.model.startswith(HUB):
        name = params.model.removeprefix(HUB)
        return hub_folder(name, "", _WANTED, config=CONFIG, download=params.download)
    path = Path(params.model).expanduser()
    # OpenAI's own names have a slash where open_clip's have a hyphen.
    spelt_otherwise = params.model.replace("/", "-") in open_clip.list_models()
    return path if path.exists() or ("/" in params.model and not spelt_otherwise) else None


def _from_folder(
    params: OpenClipParams, folder: Path, context: brainlens.Context
) -> tuple[str, Path, Mapping[str, Any]]:
    context.source(folder)
    if params.pretrained:
        raise brainlens.ParameterError(
            "pretrained: expected '' for a folder, which says by itself how it was trained, found "
            f"{params.pretrained!r}. "
            "Leave it out."
        )
    if not (folder / CONFIG).is_file():
        raise brainlens.CheckpointError(
            f"model {params.model!r}: expected an architecture of open_clip, or a folder with {CONFIG}, found no "
            "such file there. Copy the whole folder."
        )
    path = Path(params.weights) if params.weights else only_weights(folder, params.model, _FILES)
    name = params.model.removeprefix(HUB) if params.model.startswith(HUB) else folder.resolve().name
    return name, path, {}


def _from_list(params: OpenClipParams) -> tuple[str, Path, Mapping[str, Any]]:
    architectures = open_clip.list_models()
    if params.model not in architectures:
        raise brainlens.ParameterError(
            f"model: expected an architecture of open_clip {open_clip.__version__}, or a folder, found "
            f"{params.model!r}. {brainlens.closest(params.model, architectures, what='architectures')}"
        )
    tags = sorted(tag for model, tag in open_clip.list_pretrained() if model == params.model)
    if params.pretrained == "own" or (params.weights and not params.pretrained and not tags):
        if not params.weights:
            raise brainlens.ParameterError("weights: expected a file with pretrained='own', found ''. Name it.")
        return f"{params.model}/{Path(params.weights).stem}", Path(params.weights), {}
    if params.pretrained not in tags:
        raise brainlens.ParameterError(
            f"pretrained: expected which weights of {params.model!r}, or 'own' for a file of your own, found "
            f"{params.pretrained!r}. {brainlens.closest(params.pretrained, tags, what='weights')}"
        )
    published = open_clip.get_pretrained_cfg(params.model, params.pretrained)
    # The same weights are listed for the architecture with and without the activation in its name.
    name = f"{params.model.removesuffix('-quickgelu')}/{params.pretrained}"
    path = Path(params.weights) if params.weights else _find_published(params, published)
    return name, path, published


def _find_published(params: OpenClipParams, published: Mapping[str, Any]) -> Path:
    """Return the file of published weights in the local cache, or have open_clip download it."""
    repository, _, file = str(published.get("hf_hub", "")).rpartition("/")
    what = f"model {params.model!r}, {params.pretrained!r}"
    if repository:
        safe = f"{Path(file).stem}.safetensors" if file else _FILES[0]
        command = f"hf download {repository} {safe} --local-dir FOLDER"
        found = find_cached(repository, (safe, file) if file else (*_FILES[:2], "open_clip_pytorch_model.bin"))
    else:
        url = str(published["url"])
        command = f"curl -L --create-dirs -o 'weights/{Path(url).name}' {url}"
        cached = Path("~/.cache/clip").expanduser() / Path(url).name
        found = cached if cached.is_file() else None
    if found is not None:
        return found
    if not params.download:
        raise_missing(what, command, "weights")
    return fetch(what, lambda: open_clip.download_pretrained(dict(published)), command)


def _about(params: OpenClipImageParams | OpenClipTextParams) -> dict[str, Any]:
    folder = _folder(params)
    config = open_clip.get_model_config(f"local-dir:{folder}" if folder else params.model)
    quick = bool(open_clip.get_pretrained_cfg(params.model, params.pretrained).get("quick_gelu"))
    return {
        "library": f"open_clip {open_clip.__version__}",
        "architecture_sha256": digest([config, quick]),
        "layer": params.layer,
        "tokens": params.tokens,
    }


def _first(made: Any) -> Tensor:
    first: Tensor = made[0] if isinstance(made, tuple | list) else made
    return first


def _keys(kind: type) -> tuple[str, ...]:
    return tuple(item.name for item in dataclasses.fields(kind))


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep open_clip from saying that a model has random weights before they are loaded."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
