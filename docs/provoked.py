"""Provoke each kind of error in a registry with a simulated subject, so that the documentation shows real messages."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import xarray as xr

import brainlens
from brainlens.testing import synthetic_study

NAMES = {"response": "subj01/response", "target": "subj01/target"}


def unknown_component(registry: brainlens.Registry) -> None:
    """Ask for a decoder that is not installed."""
    registry.fit("linaer", **NAMES)


def wrong_schema(registry: brainlens.Registry) -> None:
    """Store trials of which two have the same label, without saying whose they are and in which unit."""
    values = np.array([[0.5, 1.0], [2.0, 0.4], [0.1, 0.2]], dtype="float32")
    coords = {"trial": [0, 1, 1], "voxel": [0, 1], "stimulus_id": ("trial", [7, 8, 7])}
    registry.put("subj02/response", xr.Dataset({"response": (("trial", "voxel"), values)}, coords), schema="response")


def unknown_roi(registry: brainlens.Registry) -> None:
    """Ask for an ROI that the response does not have."""
    registry.fit("linear", **NAMES, roi="V11 + FFA")


def constant_voxel(registry: brainlens.Registry) -> None:
    """Fit with a voxel that never changes."""
    response = registry["subj01/response"].load()
    response["response"][:, 3] = 1.0
    registry.put(
        "subj03/response", response.drop_attrs(deep=False).assign_attrs(subject="subj03", units="z"), schema="response"
    )
    registry.fit("linear", response="subj03/response", target="subj01/target")


def unknown_name(registry: brainlens.Registry) -> None:
    """Open a dataset that is not stored."""
    registry["subj01/respones"]


def damaged_data(registry: brainlens.Registry) -> None:
    """Verify a dataset after one bit of it was flipped."""
    file = next(path for path in Path(registry.path, "subj01/target/embedding/c").rglob("*") if path.is_file())
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    registry.verify("subj01/target")


def altered_weights(registry: brainlens.Registry) -> None:
    """Predict with a model whose weights were exchanged."""
    model = registry.fit("linear", **NAMES, name="models/ridge")
    file = Path(registry.path, model, "weights.safetensors")
    file.write_bytes(bytes(reversed(file.read_bytes())))
    registry.predict(model, response="subj01/response")


def unknown_device(registry: brainlens.Registry) -> None:
    """Ask for a device by a word that names none."""
    registry.fit("linear", **NAMES, device="gpu")


def unknown_parameter(registry: brainlens.Registry) -> None:
    """Give a parameter that the component does not have, and one that is out of range."""
    registry.fit("linear", **NAMES, alpha=10.0, cv_folds=1)


PROVOKED: dict[str, tuple[Callable[[brainlens.Registry], None], ...]] = {
    "PluginError": (unknown_component,),
    "SchemaError": (wrong_schema,),
    "DimensionError": (unknown_roi, constant_voxel),
    "RegistryError": (unknown_name, damaged_data),
    "CheckpointError": (altered_weights,),
    "DeviceError": (unknown_device,),
    "ParameterError": (unknown_parameter,),
}


def messages() -> Iterator[tuple[str, str, str]]:
    """Yield class, what was done, and text of every error in `PROVOKED`."""
    for expected, provocations in PROVOKED.items():
        for provoke in provocations:
            with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
                registry = brainlens.open("study.zarr", quiet=True)
                study = synthetic_study(n_stimuli=20)
                for name in ("response", "target"):
                    registry.put(f"subj01/{name}", study[name])
                error = _error_of(provoke, registry)
                if type(error).__name__ != expected:
                    raise RuntimeError(f"{provoke.__name__}: expected {expected}, found {error!r}.")
                yield expected, (provoke.__doc__ or "").rstrip("."), _without_machine(str(error))


def _without_machine(text: str) -> str:
    # Digests of weights differ in the last digits of the arithmetic from one machine to the next.
    return re.sub("[0-9a-f]{64}", "…", text.replace(f"{Path.cwd()}/", ""))


def _error_of(provoke: Callable[[brainlens.Registry], None], registry: brainlens.Registry) -> Exception | None:
    try:
        provoke(registry)
    except brainlens.BrainlensError as error:
        return error
    return None
