"""Where the weights that come with the plugin lie, and that they are the ones that were trained.

Every file is compared with its SHA-256 before anything is opened; weights of others are taken as safetensors only.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import brainlens

WEIGHTS = Path(__file__).parent / "weights"
# The autoencoder is the one that the generator's pipeline paints with.
AUTOENCODER = "generator/movq"
_DIGESTS = WEIGHTS / "digests.json"
# Files that run code when they are loaded, or may.
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")


def checkpoints(*parts: str) -> tuple[brainlens.Checkpoint, ...]:
    """Return records of the weight files below some parts, such as `"image-text"`.

    Examples
    --------
    >>> checkpoints("image-text")[0].id
    'mini/image-text/open_clip_model.safetensors'
    """
    return tuple(
        brainlens.Checkpoint(
            id=f"mini/{name}", sha256=item["sha256"], size_bytes=item["size_bytes"], licence="BSD-3-Clause"
        )
        for name, item in _known().items()
        if name.endswith(".safetensors") and name.startswith(tuple(f"{part}/" for part in parts))
    )


def own_folder(part: str, *, weights: Path = WEIGHTS) -> Path:
    """Return the folder of a model that comes with the plugin, once all its files have been compared.

    Parameters
    ----------
    part
        image-text, generator, judge, or `AUTOENCODER`.
    weights
        Where the models lie.

    Raises
    ------
    CheckpointError
        If a file is missing, altered or too many.
    """
    folder = weights / part
    wanted = {name: item for name, item in _known().items() if name.startswith(f"{part}/")}
    found = {path.relative_to(weights).as_posix() for path in folder.rglob("*") if path.is_file()}
    remedy = "Install brainlens-mini again."
    for name in sorted(found - wanted.keys()):
        raise brainlens.CheckpointError(f"{name}: expected no such file in {str(folder)!r}. Remove it. {remedy}")
    for name, item in wanted.items():
        path = weights / name
        if not path.is_file():
            raise brainlens.CheckpointError(f"{name}: expected the file in {str(folder)!r}, found none. {remedy}")
        sha256 = file_sha256(path)
        if sha256 != item["sha256"]:
            size = path.stat().st_size
            raise brainlens.CheckpointError(
                f"{name}: expected {item['size_bytes']} bytes with SHA-256 {item['sha256']}, found {size} bytes with "
                f"{sha256}: the file was altered. Nothing was loaded. {remedy}"
            )
    return folder


def other_folder(path: str, context: brainlens.Context, *, needs: tuple[str, ...]) -> Path:
    """Return the folder of somebody else's model, noted for the provenance.

    Raises
    ------
    RegistryError
        If there is no such folder.
    CheckpointError
        If files are missing, or weights are pickled.
    """
    folder = context.source(path)
    if not folder.is_dir():
        raise brainlens.CheckpointError(f"model {path!r}: expected a folder, found a file. Give the folder it lies in.")
    for name in needs:
        if not any(folder.glob(name)):
            raise brainlens.CheckpointError(f"model {path!r}: expected {name}, found none in that folder.")
    pickled = sorted(file.relative_to(folder).as_posix() for pattern in _PICKLES for file in folder.rglob(pattern))
    if pickled:
        raise brainlens.CheckpointError(
            f"model {path!r}: expected weights as safetensors only, found {brainlens.listed(pickled)}, which can run "
            "code when it is loaded. Convert it to safetensors, and remove it from the folder."
        )
    return folder


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _known() -> dict[str, dict[str, object]]:
    known: dict[str, dict[str, object]] = json.loads(_DIGESTS.read_text("utf-8"))
    return known
