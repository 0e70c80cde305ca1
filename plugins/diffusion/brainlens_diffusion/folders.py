"""Where a pipeline lies: in a local folder, or in the local cache of the hub. Nothing is downloaded."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

import brainlens

# Weights that run code when they are loaded, or may.
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")
SCHEDULER = "scheduler/scheduler_config.json"


@dataclass(frozen=True, kw_only=True)
class Model:
    """A pipeline in diffusers' layout: a folder for each part, and `model_index.json`.

    Parameters
    ----------
    folder
        Where it lies.
    name
        Id of the hub, or name of the folder.
    revision
        Commit of the hub; "" where it is a folder.
    parts
        Those that are used.
    """

    folder: Path
    name: str
    revision: str = ""
    parts: tuple[str, ...] = ()

    def part(self, name: str) -> Path:
        """Return the folder of a part."""
        return self.folder / name

    def config(self, part: str, file: str = "config.json") -> dict[str, Any]:
        """Return the configuration of a part.

        Raises
        ------
        CheckpointError
            If it cannot be read.
        """
        path = self.part(part) / file
        try:
            found = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise brainlens.CheckpointError(
                f"model {self.name!r}: expected {part}/{file} to be JSON, found what cannot be read: {error}. "
                "Copy the file again."
            ) from error
        if not isinstance(found, dict):
            raise brainlens.CheckpointError(
                f"model {self.name!r}: expected {part}/{file} to hold named values, found {type(found).__name__}. "
                "Copy the file again."
            )
        return found

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the names and contents of all files of the parts that are used, but for pickles."""
        whole = hashlib.sha256()
        for part in sorted(self.parts):
            for path in sorted(path for path in self.part(part).iterdir() if path.suffix not in PICKLES):
                state = path.stat()
                whole.update(f"{part}/{path.name} {_file_sha256(path, state.st_size, state.st_mtime_ns)}\n".encode())
        return whole.hexdigest()


@functools.lru_cache(maxsize=256)
def _file_sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Return the SHA-256 of a file, read again only when its size or time changed: calls may come by the hundred."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_model(
    model: str, revision: str, context: brainlens.Context, *, weights: Iterable[str], files: Iterable[str]
) -> Model:
    """Find a pipeline and see that it has what a generator needs, before anything of it is opened.

    Parameters
    ----------
    model
        Local folder, or id of the hub such as `"owner/name"`.
    revision
        Of an id.
    context
        Notes the folder for the provenance.
    weights
        Parts of which weights are needed.
    files
        Further files that are needed, such as `"scheduler/scheduler_config.json"`.

    Raises
    ------
    RegistryError
        If there is no such folder.
    CheckpointError
        If an id is not in the local cache, files of a pipeline are missing, or weights are pickled.
    ParameterError
        If a folder is given a revision.
    """
    if _is_id(model):
        found = _find_cached(model, revision)
        context.source(found.folder)
    else:
        folder = context.source(model)
        if revision:
            raise brainlens.ParameterError(
                f"revision: expected '' for a folder, found {revision!r} for {model!r}. Leave it out."
            )
        if not folder.is_dir():
            raise brainlens.CheckpointError(
                f"model {model!r}: expected a folder, found a file. Give the folder it lies in."
            )
        found = Model(folder=folder, name=folder.resolve().name)
    weights, files = tuple(weights), tuple(files)
    _check_parts(found, model, weights, files)
    return replace(found, parts=(*weights, *sorted({file.partition("/")[0] for file in files} - {*weights})))


def _is_id(model: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", model)) and not Path(model).exists()


def _find_cached(model: str, revision: str) -> Model:
    try:
        folder = Path(snapshot_download(model, revision=revision or None, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        at, of = (f" --revision {revision}", f", revision {revision!r}") if revision else ("", "")
        raise brainlens.CheckpointError(
            f"model {model!r}: expected a folder, or an id in the local cache of the hub{of}, found neither, and "
            f"nothing is downloaded. On a machine with network run 'hf download {model}{at} --local-dir FOLDER', and "
            "give that folder as 'model'."
        ) from error
    return Model(folder=folder, name=model, revision=folder.name)


def _check_parts(found: Model, given: str, weights: Iterable[str], files: Iterable[str]) -> None:
    for name in ("model_index.json", *files):
        if not (found.folder / name).is_file():
            raise brainlens.CheckpointError(
                f"model {given!r}: expected a pipeline in diffusers' layout with {name}, found no such file in "
                f"{str(found.folder)!r}."
            )
    for part in weights:
        folder = found.part(part)
        if any(folder.glob("*.safetensors")):
            continue
        pickled = sorted(path.name for path in folder.glob("*") if path.suffix in PICKLES)
        if pickled:
            raise brainlens.CheckpointError(
                f"model {given!r}: expected weights of {part!r} as safetensors, found only "
                f"{brainlens.listed(pickled)}, which can run code when it is loaded. Convert them: "
                "python -m brainlens_diffusion.convert FOLDER."
            )
        raise brainlens.CheckpointError(
            f"model {given!r}: expected {part}/*.safetensors, found none in {str(folder)!r}. Copy the whole pipeline."
        )
