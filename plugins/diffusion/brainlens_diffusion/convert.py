"""Write pickled weights of a pipeline as safetensors, beside them: `python -m brainlens_diffusion.convert FOLDER`.

Pickles are read by torch's restricted loader, which builds tensors and runs no code.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

import brainlens


def convert(folder: str | Path) -> list[Path]:
    """Convert every `*.bin` of a pipeline that has no safetensors of its name.

    Parameters
    ----------
    folder
        A pipeline in diffusers' layout. Files that are there already stay as they are.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    CheckpointError
        If a file holds anything but tensors by name; it is left as it is.
    """
    written = []
    for path in sorted(Path(folder).glob("*/*.bin")):
        # What transformers reads has another name than what diffusers reads.
        name = path.name.replace("pytorch_model", "model") if path.name.startswith("pytorch_model") else path.name
        target = path.with_name(f"{name.removesuffix('.bin')}.safetensors")
        if target.exists():
            continue
        draft = target.with_suffix(".draft")
        save_file(_read(path), draft, metadata={"format": "pt"})
        draft.replace(target)
        written.append(target)
    return written


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise brainlens.CheckpointError(
            f"{str(path)!r}: expected a file of tensors, found one that torch's restricted loader refuses: "
            f"{str(error).splitlines()[0]}. Do not load it by other means unless you trust who made it."
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise brainlens.CheckpointError(
            f"{str(path)!r}: expected tensors by name, found {type(found).__name__}. It is no file of weights."
        )
    # Tensors that share memory are written each for itself.
    return {str(name): value.clone().contiguous() for name, value in found.items()}


def main(arguments: Sequence[str]) -> None:
    """Convert the folders that are named, and say what was written."""
    for folder in arguments:
        for file in convert(folder):
            sys.stdout.write(f"{file}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
