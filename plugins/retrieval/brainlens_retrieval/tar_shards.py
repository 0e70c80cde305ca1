"""The importer `retrieval.tar`: webdataset-style tar shards of images and texts, as datasets stimulus_image.v1.

Headers and texts are read first, and pixels decoded when they are stored, a few images at a time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import brainlens
from brainlens_retrieval.decode import SUFFIXES, check_header, decode_image
from brainlens_retrieval.files import find_files
from brainlens_retrieval.lazy_rows import lazy_rows
from brainlens_retrieval.search_params import TarParams
from brainlens_retrieval.tar_members import Member, list_members, read_member

# What is kept of a stimulus beside its image and its .json, under which name.
_TEXTS = {"txt": "text", "cls": "tag"}
_TAKEN = ("image", "stimulus", "text", "tag", "x", "y", "rgb")


def read(*, params: TarParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read the images and texts of tar shards.

    Parameters
    ----------
    params
        Which files, and how images are brought to one size; see `TarParams`.
    context
        Notes the files that are read; shows progress.

    Returns
    -------
    Mapping
        Datasets stimulus_image.v1: under `""` that of a single file, otherwise one for each file under its name without
        suffix. `image` has dims (stimulus, y, x, rgb) or (stimulus, y, x), uint8, and is lazy; `stimulus` holds the
        members' stems. Coordinates (stimulus): `text` from .txt, `tag` from .cls, and the chosen keys of .json, ''
        where a stimulus has none.

    Raises
    ------
    ParameterError
        If a file is no tar file, a member lies outside it, a stimulus has no image or several, an image is broken, or a
        text is no UTF-8.
    DimensionError
        If sizes differ and no size is asked for, or an image is not square and `fit` is `"exact"`.
    RegistryError
        If a file does not exist.
    """
    taken = [key for key in params.json_keys if key in _TAKEN]
    if taken:
        raise brainlens.ParameterError(
            f"json_keys: expected names that the dataset does not use itself, found {brainlens.listed(taken)}. Leave "
            "them out."
        )
    given = context.source(params.files)
    context.sources.remove(given)
    files = find_files(given, params.pattern, suffix=".tar")
    return {"" if given.is_file() else file.stem: _read_shard(context.source(file), params, context) for file in files}


def _read_shard(path: Path, params: TarParams, context: brainlens.Context) -> xr.Dataset:
    members = list_members(path)
    if not members:
        raise brainlens.ParameterError(f"file {str(path)!r}: expected images, found no member. Leave it out.")
    images = [_image_of(stem, parts, path) for stem, parts in members.items()]
    sizes = {
        image.name: check_header(read_member(path, image), _where(path, image))
        for image in context.progress(images, label=f"checking {path.name}")
    }
    height, width = _target_size(sizes, params, path)
    _log_ignored(members, path, context)
    channels = (3,) if params.colour == "rgb" else ()
    dims = ("stimulus", "y", "x", *(("rgb",) if channels else ()))
    shape = (len(images), height, width, *channels)
    pixels = lazy_rows(dims, shape, np.uint8, partial(_decode_rows, path, images, params))
    coords: dict[str, Any] = {"stimulus": np.array(list(members), dtype=object)}
    for suffix, name in _TEXTS.items():
        if any(suffix in parts for parts in members.values()):
            coords[name] = ("stimulus", _texts(path, members, suffix))
    for key, values in _json_values(path, members, params.json_keys).items():
        coords[key] = ("stimulus", np.array(values, dtype=object))
    attrs = {"schema": "stimulus_image.v1", "fit": params.fit if params.size else "none"}
    attrs |= {name: text for name, text in (("citation", params.citation), ("licence", params.licence)) if text}
    return xr.Dataset({"image": pixels}, coords, attrs)


def _image_of(stem: str, parts: Mapping[str, Member], path: Path) -> Member:
    images = [suffix for suffix in parts if suffix in SUFFIXES]
    if len(images) != 1:
        raise brainlens.ParameterError(
            f"file {str(path)!r}: expected one image for each stimulus, found {len(images)} for {stem!r}, which has "
            f"{brainlens.listed(parts)}. Make the tar file again."
        )
    return parts[images[0]]


def _where(path: Path, member: Member) -> str:
    return f"file {str(path)!r}, image {member.name!r}"


def _decode_rows(path: Path, images: list[Member], params: TarParams, rows: range) -> np.ndarray:
    """Decode some images; shape (n_rows, y, x, rgb) or (n_rows, y, x)."""
    return np.stack([decode_image(read_member(path, images[row]), params, _where(path, images[row])) for row in rows])


def _target_size(sizes: Mapping[str, tuple[int, int]], params: TarParams, path: Path) -> tuple[int, int]:
    if params.size:
        lopsided = [name for name, (height, width) in sizes.items() if height != width]
        if params.fit == "exact" and lopsided:
            raise brainlens.DimensionError(
                f"file {str(path)!r}: expected square images with fit='exact', found {len(lopsided)} of {len(sizes)} "
                f"that are not: {brainlens.listed(lopsided)}. Choose fit='crop' or fit='pad'."
            )
        return params.size, params.size
    different = sorted(set(sizes.values()))
    if len(different) > 1:
        shown = [f"{height} x {width}" for height, width in different]
        raise brainlens.DimensionError(
            f"file {str(path)!r}: expected images of one size, found {len(different)} sizes (height x width): "
            f"{brainlens.listed(shown)}. Bring them to one with size= and fit=."
        )
    return different[0]


def _texts(path: Path, members: Mapping[str, Mapping[str, Member]], suffix: str) -> np.ndarray:
    texts = [_text(path, parts[suffix]) if suffix in parts else "" for parts in members.values()]
    return np.array(texts, dtype=object)


def _text(path: Path, member: Member) -> str:
    try:
        return read_member(path, member).decode("utf-8").strip().rstrip("\0")
    except UnicodeDecodeError as error:
        raise brainlens.ParameterError(
            f"file {str(path)!r}, text {member.name!r}: expected UTF-8, found byte {error.start} that is none. Save it "
            "as UTF-8."
        ) from error


def _json_values(
    path: Path, members: Mapping[str, Mapping[str, Member]], keys: tuple[str, ...]
) -> dict[str, list[str]]:
    """Return the values of some keys as text, one for each stimulus."""
    found: dict[str, list[str]] = {key: [] for key in keys}
    for parts in members.values() if keys else ():
        document = _document(path, parts["json"]) if "json" in parts else {}
        for key in keys:
            value = document.get(key)
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            found[key].append("" if value is None else text.rstrip("\0"))
    unknown = [key for key in keys if not any(found[key])]
    if unknown:
        raise brainlens.ParameterError(
            f"file {str(path)!r}: expected .json members with {brainlens.listed(unknown)}, found none that has. Leave "
            "it out of json_keys."
        )
    return found


def _document(path: Path, member: Member) -> dict[str, Any]:
    try:
        document = json.loads(_text(path, member))
    except json.JSONDecodeError as error:
        raise brainlens.ParameterError(
            f"file {str(path)!r}, member {member.name!r}: expected JSON, found none ({error}). Make it again."
        ) from error
    if not isinstance(document, dict):
        raise brainlens.ParameterError(
            f"file {str(path)!r}, member {member.name!r}: expected a JSON object, found {type(document).__name__}. "
            "Make it again."
        )
    return document


def _log_ignored(members: Mapping[str, Mapping[str, Member]], path: Path, context: brainlens.Context) -> None:
    known = {*SUFFIXES, *_TEXTS, "json"}
    ignored = sorted({suffix for parts in members.values() for suffix in parts} - known)
    if ignored:
        context.log.warning("%s: members ending in %s are not read", path.name, brainlens.listed(ignored))
