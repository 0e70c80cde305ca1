"""Weights of public networks from a folder of the user: found under stated names, digested, read without running code.

Nothing is downloaded here. What is not there is named with the command that fetches it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError, safe_open

import brainlens


def find_file(folder: Path | None, names: tuple[str, ...]) -> Path | None:
    """Return the first of some files that lies in a folder, or None.

    Examples
    --------
    >>> find_file(None, ("alexnet.safetensors",)) is None
    True
    """
    if folder is None:
        return None
    return next((folder / name for name in names if (folder / name).is_file()), None)


def fetch_command(url: str, name: str, folder: Path | None) -> str:
    """Return the command with which a user fetches a file.

    Examples
    --------
    >>> fetch_command("https://example.org/a.pth", "a.pth", Path("weights"))
    "curl -L --create-dirs -o 'weights/a.pth' https://example.org/a.pth"
    """
    return f"curl -L --create-dirs -o '{(folder or Path('weights')) / name}' {url}"


def check_digest(path: Path, known: Mapping[str, str]) -> str:
    """Return the SHA-256 of a file, once it begins as published for a file of its name.

    Parameters
    ----------
    path
        The file.
    known
        First hexadecimal digits of the SHA-256 of files, by their names.

    Raises
    ------
    CheckpointError
        If it begins otherwise: the file was cut off or altered, or is another one under that name.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    expected = known.get(path.name, "")
    if not found.startswith(expected):
        raise brainlens.CheckpointError(
            f"weights {str(path)!r}: expected a SHA-256 that begins with {expected}, as published, found {found}: the "
            "file was cut off, altered or is another one. Nothing was loaded. Fetch it again."
        )
    return found


def read_state(path: Path, prefix: str = "") -> dict[str, torch.Tensor]:
    """Read named tensors, safetensors or a torch file of nothing but tensors, on the CPU.

    Parameters
    ----------
    path
        `.safetensors`, or a file of `torch.save`, which is read with `weights_only=True`.
    prefix
        Only tensors whose name begins so, without it.

    Raises
    ------
    CheckpointError
        If it is neither, holds anything but named tensors, or would run code.
    """
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
                return {name.removeprefix(prefix): file.get_tensor(name) for name in names}
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, BadZipFile, OSError) as error:
        raise brainlens.CheckpointError(
            f"weights {str(path)!r}: expected safetensors, or tensors that torch.load reads with weights_only=True, "
            f"found something else ({_first_line(error)}). Nothing was run. Fetch the file again, or convert it."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise brainlens.CheckpointError(
            f"weights {str(path)!r}: expected named tensors, found {type(state).__name__} with other things. Save its "
            "state_dict alone."
        )
    return {str(name).removeprefix(prefix): value for name, value in state.items() if str(name).startswith(prefix)}


def load_strictly(model: torch.nn.Module, state: Mapping[str, torch.Tensor], *, where: str) -> torch.nn.Module:
    """Put tensors into a model that was built without memory; all that it has, and no others.

    Parameters
    ----------
    model
        Built on the device "meta".
    state
        Tensors by name; floating-point ones become float32.
    where
        What is loaded from where, for messages.

    Raises
    ------
    CheckpointError
        If names or shapes differ.
    """
    cast = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    try:
        model.load_state_dict(cast, strict=True, assign=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:3]]
        raise brainlens.CheckpointError(
            f"{where}: expected the weights of that network, found others: {brainlens.listed(lines)}. Nothing was "
            "scored with them. Fetch the file that the README names."
        ) from error
    return model.requires_grad_(False).eval()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
