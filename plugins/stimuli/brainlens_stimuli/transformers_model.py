"""The embedders `stimuli.transformers_image` and `stimuli.transformers_text`: any AutoModel at any hidden state."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
import xarray as xr
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.utils import logging as messages

import brainlens
from brainlens_stimuli.embed import embed
from brainlens_stimuli.inputs import choose_images, choose_texts
from brainlens_stimuli.layers import Tap, keep_tokens, to_tokens
from brainlens_stimuli.network import Found, Network, describe, digest
from brainlens_stimuli.params import TransformersImageParams, TransformersTextParams
from brainlens_stimuli.weights import BROKEN, check_file, first_line, hub_folder, reading

Params = TransformersImageParams | TransformersTextParams
_INDEX, _WHOLE = "model.safetensors.index.json", "model.safetensors"
_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model"]
_LAYERS = ("projected", "pooled", "last", "hidden.0")
# Beyond this a tokenizer knows no limit.
_ENDLESS = 10**6


def embed_images(
    *,
    stimuli: xr.Dataset | None,
    images: xr.Dataset | None,
    params: TransformersImageParams,
    context: brainlens.Context,
) -> xr.Dataset:
    """Embed images by a model of transformers, with its own image processor.

    Parameters
    ----------
    stimuli
        Images (stimulus_image.v1): dims (stimulus, y, x, rgb), uint8, sRGB; or None.
    images
        Images made from trials (image.v1): dims (trial, y, x, rgb), uint8, sRGB, where there are no stimuli; or None.
    params
        Model, layer, cache; see `TransformersImageParams`.
    context
        Device and precision; a scratch folder, from which a call that was killed goes on.

    Returns
    -------
    Dataset (embedding.v1)
        `embedding`: (stimulus or trial, channel), or (…, token, channel) of layers with tokens.

    Raises
    ------
    ParameterError, DimensionError, CheckpointError, RegistryError, DeviceError
        As `stimuli.open_clip_image`.

    References
    ----------
    Wolf et al. (2020), Transformers: state-of-the-art natural language processing. EMNLP demonstrations.
    """
    return embed(choose_images(stimuli, images), load_image_network, params, context)


def embed_texts(*, texts: xr.Dataset, params: TransformersTextParams, context: brainlens.Context) -> xr.Dataset:
    """Embed texts by a model of transformers, with its own tokenizer.

    Parameters
    ----------
    texts
        Texts (stimulus_text.v1): dims (stimulus) or (stimulus, caption).
    params
        Model, layer, tokens, caption, cache; see `TransformersTextParams`.
    context
        Device and precision; a scratch folder, from which a call that was killed goes on.

    Returns
    -------
    Dataset (embedding.v1)
        `embedding`: (stimulus, channel), or (stimulus, token, channel). `n_cut` (stimulus): tokens that were left out.

    Raises
    ------
    ParameterError, CheckpointError, RegistryError, DeviceError
        As `stimuli.open_clip_text`.
    """
    return embed(choose_texts(texts, params.caption), load_text_network, params, context)


def load_image_network(params: TransformersImageParams, context: brainlens.Context) -> Network:
    """Load the model and its image processor.

    Raises
    ------
    ParameterError, CheckpointError, RegistryError
        As `embed_images`.
    """
    folder, model, sha256 = _load(params, context)
    processor = _companion(AutoImageProcessor, folder, params, context, what="image processor")
    tower = getattr(model, "vision_model", model)
    encode = _encode(model, tower, params, projected=getattr(model, "get_image_features", None))
    about = {**processor.to_dict(), "image_processor": type(processor).__name__}

    def prepare(images: Any) -> Mapping[str, Tensor]:
        pictures = [Image.fromarray(np.asarray(pixels)) for pixels in images]
        found: Mapping[str, Tensor] = processor(images=pictures, return_tensors="pt")
        return found

    return Network(
        name=_space(folder, params),
        sha256=sha256,
        about={**_about(model, params), "preprocessing": describe(about)},
        prepare=prepare,
        encode=encode,
    )


def load_text_network(params: TransformersTextParams, context: brainlens.Context) -> Network:
    """Load the model and its tokenizer.

    Raises
    ------
    ParameterError, CheckpointError, RegistryError
        As `embed_texts`.
    """
    folder, model, sha256 = _load(params, context)
    tokenizer = _companion(AutoTokenizer, folder, params, context, what="tokenizer")
    if tokenizer.pad_token is None:
        # Places that are padded are masked, so that it does not matter by what.
        tokenizer.pad_token = tokenizer.eos_token
    limit = _limit(model, tokenizer, params)
    tower = getattr(model, "text_model", None) or (model.get_encoder() if model.config.is_encoder_decoder else model)
    projected = getattr(model, "get_text_features", None)
    # Models of images and texts were trained with texts of one length.
    padding = "max_length" if params.tokens == "all" or projected is not None else "longest"

    def prepare(texts: Any) -> Mapping[str, Tensor]:
        found = tokenizer(list(texts), padding=padding, max_length=limit, truncation=True, return_tensors="pt")
        return {name: found[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in found}

    def check(text: str) -> int:
        return max(0, len(tokenizer(text, verbose=False)["input_ids"]) - limit)

    words = sorted(tokenizer.get_vocab().items())
    about = {"tokenizer": f"{type(tokenizer).__name__} {digest(words)[:16]}", "max_tokens": limit, "padding": padding}
    return Network(
        name=_space(folder, params),
        sha256=sha256,
        about={**_about(model, params), **about},
        prepare=prepare,
        encode=_encode(model, tower, params, projected=projected),
        check=check,
    )


def _encode(model: Any, tower: Any, params: Params, *, projected: Any) -> Callable[[Mapping[str, Tensor]], Found]:
    layer = params.layer
    numbered = re.fullmatch(r"hidden\.(\d+)", layer)
    if layer == "projected":
        if projected is None:
            raise brainlens.ParameterError(
                f"layer: expected 'pooled', 'last' or another of {params.model!r}, found 'projected', which only "
                "models of images and texts have."
            )

        def share(batch: Mapping[str, Tensor]) -> Found:
            made = projected(**batch)
            return Found(values=made if isinstance(made, Tensor) else made.pooler_output)

        return share
    if layer not in _LAYERS and not numbered:
        tap = Tap(model, layer, also=_LAYERS)

        def on_the_way(batch: Mapping[str, Tensor]) -> Found:
            tower(**batch)
            return _kept(tap.take(len(next(iter(batch.values())))), batch, params)

        return on_the_way

    def encode(batch: Mapping[str, Tensor]) -> Found:
        made = tower(**batch, **({"output_hidden_states": True} if numbered else {}))
        if layer == "pooled":
            return Found(values=_pooled(made, params))
        if layer == "last":
            return _kept(made.last_hidden_state, batch, params)
        assert numbered is not None
        number, hidden = int(numbered.group(1)), made.hidden_states
        if number >= len(hidden):
            raise brainlens.ParameterError(
                f"layer: expected hidden.0 to hidden.{len(hidden) - 1} of {params.model!r}, found {layer!r}."
            )
        return _kept(hidden[number], batch, params)

    return encode


def _pooled(made: Any, params: Params) -> Tensor:
    pooled = getattr(made, "pooler_output", None)
    if pooled is None:
        raise brainlens.ParameterError(
            f"layer: expected 'last' or another of {params.model!r}, found 'pooled', which it does not have. Take "
            "layer='last' with tokens='first' or 'mean'."
        )
    values: Tensor = pooled
    return values.flatten(1)


def _kept(made: Tensor, batch: Mapping[str, Tensor], params: Params) -> Found:
    tokens, grid = to_tokens(made)
    mask = batch.get("attention_mask")
    return keep_tokens(tokens, grid, params.tokens, mask if tokens.ndim == 3 else None)


def _load(params: Params, context: brainlens.Context) -> tuple[Path, Any, str]:
    """Return the folder, the model on its device, and the SHA-256 of its weights."""
    folder = _find_folder(params, context)
    files = _weight_files(folder, params)
    digests = [[file.name, check_file(file, "", context, torch_too=False)[1]] for file in files]
    sha256 = digests[0][1] if len(digests) == 1 else digest(digests)
    if params.sha256 and params.sha256 != sha256:
        raise brainlens.CheckpointError(
            f"model {params.model!r}: expected weights with the SHA-256 {params.sha256}, found {sha256} "
            f"({brainlens.listed(file.name for file in files)}): they were cut off, altered or are others. Nothing was "
            "loaded. Fetch them again, or leave sha256 out."
        )
    with reading(files[0], f"weights of the model {params.model!r}"), _quiet(context):
        model, report = AutoModel.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    _check_report(report, model, params)
    return folder, model.requires_grad_(False).eval().to(context.device), sha256


def _check_report(report: Mapping[str, Any], model: Any, params: Params) -> None:
    """Refuse weights that are not those of the model, but for heads that are not used."""
    missing = sorted(str(key) for key in report["missing_keys"])
    if params.layer != "pooled":
        missing = [key for key in missing if not key.startswith("pooler.")]
    headed = type(model).__name__ not in (getattr(model.config, "architectures", None) or [])
    spare = [] if headed else sorted(str(key) for key in report["unexpected_keys"])
    others = sorted(str(each) for each in report["mismatched_keys"])
    if missing or spare or others:
        said = {"missing": missing, "too many": spare, "of another shape": others}
        found = "; ".join(f"{what} {brainlens.listed(keys, most=3)}" for what, keys in said.items() if keys)
        raise brainlens.CheckpointError(
            f"model {params.model!r}: expected the weights of a {type(model).__name__}, found {found}. Nothing was "
            "embedded. Copy the whole folder, or choose another layer."
        )


def _find_folder(params: Params, context: brainlens.Context) -> Path:
    """Return the folder of a model, given or in the cache of the hub.

    Raises
    ------
    RegistryError, CheckpointError, ParameterError
        If there is none, or it is no model.
    """
    is_id = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", params.model) and not Path(params.model).expanduser().exists()
    if is_id:
        folder = hub_folder(params.model, params.revision, _WANTED, config="config.json", download=params.download)
        context.source(folder)
    else:
        folder = context.source(params.model)
        if params.revision:
            raise brainlens.ParameterError(
                f"revision: expected '' for a folder, found {params.revision!r} for {params.model!r}. Leave it out."
            )
    if not (folder / "config.json").is_file():
        raise brainlens.CheckpointError(
            f"model {params.model!r}: expected a folder that save_pretrained wrote, with config.json, found no such "
            "file there. Copy the whole folder."
        )
    return folder


def _weight_files(folder: Path, params: Params) -> list[Path]:
    """Return the files of weights in a folder, safetensors, one or in parts.

    Raises
    ------
    CheckpointError
        If there are none, parts are missing, or the list of parts names something outside the folder.
    """
    index = folder / _INDEX
    names = [_WHOLE]
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise brainlens.CheckpointError(
                f"model {params.model!r}: expected {_INDEX} to list the parts of the weights, found {error}. Copy "
                "it again."
            ) from error
    missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
    if missing:
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        found = f"only {brainlens.listed(pickled)}, which is not opened" if pickled else "none"
        raise brainlens.CheckpointError(
            f"model {params.model!r}: expected {brainlens.listed(missing)} in {str(folder)!r}, found {found}. Copy the "
            "whole model as safetensors; save_pretrained writes them."
        )
    return [folder / name for name in names]


def _companion(kind: Any, folder: Path, params: Params, context: brainlens.Context, *, what: str) -> Any:
    try:
        with _quiet(context):
            return kind.from_pretrained(str(folder), local_files_only=True)
    except BROKEN as error:
        raise brainlens.CheckpointError(
            f"model {params.model!r}: expected its {what} in that folder, found none that loads ({first_line(error)}). "
            "Copy the whole folder."
        ) from error


def _limit(model: Any, tokenizer: Any, params: TransformersTextParams) -> int:
    """Return how many tokens are read of a text."""
    text = getattr(model.config, "text_config", model.config)
    known = [tokenizer.model_max_length, getattr(text, "max_position_embeddings", None) or _ENDLESS]
    most = int(min(number for number in known))
    if most >= _ENDLESS and not params.max_tokens:
        raise brainlens.ParameterError(
            f"max_tokens: expected how many tokens of a text are read, since {params.model!r} knows no limit, found 0. "
            "Give one, such as 512."
        )
    if params.max_tokens > most:
        raise brainlens.ParameterError(
            f"max_tokens: expected at most {most}, which {params.model!r} reads, found {params.max_tokens}."
        )
    return params.max_tokens or most


def _space(folder: Path, params: Params) -> str:
    space = params.model if not Path(params.model).expanduser().exists() else folder.resolve().name
    return params.label or (space if params.layer == "projected" else f"{space}/{params.layer}")


def _about(model: Any, params: Params) -> dict[str, Any]:
    config = {
        key: value
        for key, value in model.config.to_dict().items()
        if key not in ("_name_or_path", "transformers_version")
    }
    return {
        "library": f"transformers {transformers.__version__}",
        "architecture_sha256": digest(json.loads(json.dumps([type(model).__name__, config], default=str))),
        "layer": params.layer,
        "tokens": params.tokens,
    }


@contextmanager
def _quiet(context: brainlens.Context) -> Iterator[None]:
    """Keep transformers from reporting what is checked here, and from showing bars where bars are off."""
    before, bars = messages.get_verbosity(), messages.is_progress_bar_enabled()
    messages.set_verbosity_error()
    if context.quiet:
        messages.disable_progress_bar()
    try:
        yield
    finally:
        messages.set_verbosity(before)
        if bars:
            messages.enable_progress_bar()
