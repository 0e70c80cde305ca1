"""Files of weights: which is meant, that it is what it should be, and that it can run no code.

Nothing is downloaded unless `download` was asked for. What is not there is named with the command that fetches it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NoReturn
from zipfile import BadZipFile

import torch
from huggingface_hub import constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open

import brainlens

TENSORS = (".safetensors",)
# Read by torch's restricted loader, which runs no code.
TORCH = (".bin", ".pt", ".pth")
# What a loader of open_clip, timm or transformers raises at a file that is not the model's.
BROKEN = (
    RuntimeError, ValueError, KeyError, TypeError, OSError, EOFError, AttributeError, AssertionError, ImportError,
    SafetensorError, UnpicklingError, BadZipFile,
)  # fmt: skip


def check_file(
    path: str | Path, sha256: str, context: brainlens.Context, *, torch_too: bool = True
) -> tuple[Path, str]:
    """Return a file of weights and its SHA-256, once both are as expected.

    Parameters
    ----------
    path
        The file; noted among the context's sources.
    sha256
        What the SHA-256 has to be, hexadecimal; "" for any.
    context
        Notes the file.
    torch_too
        Whether files of `torch.save` are taken beside safetensors.

    Raises
    ------
    RegistryError
        If there is no such file.
    CheckpointError
        If it is a folder, of another format, or has another SHA-256.
    """
    file = context.source(path)
    known = (*TENSORS, *TORCH) if torch_too else TENSORS
    if not file.is_file() or file.suffix not in known:
        found = f"a file {file.suffix!r}" if file.is_file() else "a folder"
        raise brainlens.CheckpointError(
            f"weights {str(path)!r}: expected a file {' or '.join(known)}, found {found}. Nothing was loaded."
        )
    state = file.stat()
    found = _file_sha256(file.resolve(), state.st_size, state.st_mtime_ns)
    if sha256 and found != sha256:
        raise brainlens.CheckpointError(
            f"weights {str(path)!r}: expected the SHA-256 {sha256}, found {found} ({state.st_size} bytes): the file "
            "was cut off, altered or is another one. Nothing was loaded. Fetch it again, or leave sha256 out."
        )
    return file, found


@functools.lru_cache(maxsize=64)
def _file_sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Return the SHA-256 of a file, read again only when its size or time changed: calls may come by the hundred."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def only_weights(folder: Path, given: str, preferred: tuple[str, ...]) -> Path:
    """Return the one file of weights in a folder, safetensors, or that of them with a preferred name.

    Raises
    ------
    CheckpointError
        If there is none, or it cannot be told which.
    """
    found = sorted(path for path in folder.iterdir() if path.suffix in TENSORS)
    named = [path for name in preferred for path in found if path.name == name]
    if named or len(found) == 1:
        return (named or found)[0]
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in (*TORCH, ".ckpt", ".pkl"))
    shown = brainlens.listed([path.name for path in found] or pickled) if found or pickled else "none"
    remedy = "Name the one you mean as 'weights'." if found or pickled else "Copy the whole folder."
    raise brainlens.CheckpointError(
        f"model {given!r}: expected weights as {preferred[0]} in that folder, found {shown}. {remedy}"
    )


def find_cached(repository: str, names: tuple[str, ...], revision: str = "") -> Path | None:
    """Return the first of some files of a repository of the hub that is in the local cache, or None."""
    for name in names:
        try:
            return Path(hf_hub_download(repository, name, revision=revision or None, local_files_only=True))
        except (LocalEntryNotFoundError, EntryNotFoundError, HFValidationError):
            continue
    return None


def hub_folder(model: str, revision: str, patterns: list[str], *, config: str, download: bool) -> Path:
    """Return the folder in which a repository of the hub lies in the local cache, or have it downloaded.

    Parameters
    ----------
    model
        Id of the hub, such as "owner/name".
    revision
        Branch, tag or commit; "" for the usual one.
    patterns
        Files that are downloaded.
    config
        The file without which it is no model.
    download
        Whether it may be downloaded.

    Raises
    ------
    CheckpointError
        If it is not there.
    """
    found = find_cached(model, (config,), revision)
    if found is not None:
        return found.parent
    at = f" --revision {revision}" if revision else ""
    include = " ".join(f"--include '{pattern}'" for pattern in patterns)
    command = f"hf download {model}{at} {include} --local-dir FOLDER"
    if not download:
        raise_missing(f"model {model!r}", command, "model")
    wanted = partial(snapshot_download, model, revision=revision or None, allow_patterns=patterns)
    return fetch(f"model {model!r}", wanted, command)


@contextmanager
def offline(*, unless: bool) -> Iterator[None]:
    """Keep libraries from asking the hub by themselves, such as for a tokenizer, unless that was asked for."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not unless
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def raise_missing(what: str, command: str, parameter: str) -> NoReturn:
    """Say how weights are fetched that are not there.

    Raises
    ------
    CheckpointError
        Always.
    """
    raise brainlens.CheckpointError(
        f"{what}: expected weights in the local cache, found none, and nothing is downloaded unless you say so. On a "
        f"machine with network run '{command}' and give what it fetches as {parameter!r}, or set download=True here."
    )


def fetch(what: str, download: Callable[[], Any], command: str) -> Path:
    """Have a library download weights; what goes wrong is said in one sentence.

    Raises
    ------
    CheckpointError
        If they do not come.
    """
    try:
        return Path(download())
    except BROKEN as error:
        raise brainlens.CheckpointError(
            f"{what}: expected to download weights, found {first_line(error)}. Nothing was stored. Without network run "
            f"'{command}' elsewhere and copy what it fetches."
        ) from error


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a file of weights, of which none is read where it is safetensors.

    Raises
    ------
    CheckpointError
        If it cannot be read as tensors, or would run code.
    """
    with reading(path):
        if path.suffix in TENSORS:
            with safe_open(path, framework="pt") as file:
                return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        state = state.get("state_dict", state)
        return {str(name): tuple(value.shape) for name, value in state.items() if isinstance(value, torch.Tensor)}


def refuse_other_shapes(file: Path, model: torch.nn.Module, names: tuple[str, ...], what: str) -> None:
    """Refuse weights of another image size or text length, which open_clip and timm would interpolate.

    Parameters
    ----------
    file, model
        Weights, and what they are to be loaded into.
    names
        Of the tensors that libraries interpolate: the embeddings of positions.
    what
        The model's name.

    Raises
    ------
    CheckpointError
        If the shape of one differs.
    """
    there, wanted = tensor_shapes(file), model.state_dict()
    for name in names:
        if name in there and name in wanted and there[name] != tuple(wanted[name].shape):
            raise brainlens.CheckpointError(
                f"weights {str(file)!r}, {name!r}: expected shape {tuple(wanted[name].shape)} of {what!r}, found "
                f"{there[name]}: weights of another image size or text length. Nothing was embedded. Name the model "
                "that they are of."
            )


@contextmanager
def reading(path: Path, what: str = "") -> Iterator[None]:
    """Turn whatever a loader says of a file that it cannot load into one error.

    Raises
    ------
    CheckpointError
        If it cannot.
    """
    try:
        yield
    except BROKEN as error:
        raise brainlens.CheckpointError(
            f"weights {str(path)!r}: expected {what or 'tensors by name'}, found a file that does not load "
            f"({type(error).__name__}: {first_line(error)}). Nothing was run or embedded. Fetch it again, or name the "
            "model that it is of."
        ) from error


def first_line(error: BaseException) -> str:
    """Return the first lines of what an error says, in one.

    Examples
    --------
    >>> first_line(ValueError("no such key: weight."))
    'no such key: weight'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300].rstrip(".") or type(error).__name__
