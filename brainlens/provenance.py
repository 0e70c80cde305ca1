"""The stamp on every stored dataset: what made it, from what, with what, and when.

The recipe is the part that decides the numbers; its digest tells whether a result has been computed before.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from brainlens import __version__, manifest
from brainlens.context import Context
from brainlens.records import Component, Entry

_LIBRARIES = (
    *("numpy", "xarray", "zarr", "pandas", "scipy", "scikit-learn", "torch", "h5py", "pillow"),
    *("nibabel", "nilearn", "open_clip_torch", "diffusers"),
)


def plain_params(params: Any) -> dict[str, Any]:
    """Return parameters as the JSON object that the recipe and the manifest hold."""
    plain: dict[str, Any] = json.loads(params.model_dump_json())
    return plain


def deciding_params(params: Any) -> dict[str, Any]:
    """Return the parameters that decide what comes out, as `plain_params` does."""
    return {key: value for key, value in plain_params(params).items() if key not in params.without_effect}


def make_recipe(
    component: Component,
    params: Mapping[str, Any],
    *,
    inputs: Mapping[str, list[Entry]],
    context: Context,
    options: Mapping[str, Any],
    sources: Iterable[Mapping[str, Any]] = (),
    calls: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return everything that decides the numbers of a result.

    Device and precision belong to it, since results on another device differ in the last digits.
    """
    return {
        "component": component.name,
        "component_version": component.version,
        "params": dict(params),
        "options": {key: value for key, value in options.items() if value not in (None, "", ())},
        "inputs": {key: [entry.digest for entry in entries] for key, entries in inputs.items()},
        "sources": [source["sha256"] for source in sources],
        "seed": context.seed,
        "device": context.device.split(":")[0],
        "precision": context.precision,
        **({"calls": dict(calls)} if calls else {}),
    }


def make_stamp(
    recipe: Mapping[str, Any],
    component: Component,
    *,
    params: Any,
    origin: tuple[str, str],
    called: Sequence[Component] = (),
    inputs: Mapping[str, list[Entry]],
    sources: Iterable[Mapping[str, Any]] = (),
    wall_s: float = 0.0,
) -> dict[str, Any]:
    """Return the provenance record that goes into the manifest and the attributes."""
    rests_on = (component, *called)
    return {
        **{key: value for key, value in recipe.items() if key not in ("inputs", "sources")},
        "params": plain_params(params),
        "recipe": manifest.digest_of(recipe),
        "created": now(),
        "brainlens_version": __version__,
        "plugin": component.plugin,
        "plugin_distribution": origin[0],
        "plugin_version": origin[1],
        "inputs": {
            key: [{"name": entry.name, "digest": entry.digest} for entry in entries] for key, entries in inputs.items()
        },
        "sources": list(sources),
        "checkpoints": [
            {"id": item.id, "sha256": item.sha256, "licence": item.licence}
            for each in rests_on
            for item in each.checkpoints
        ],
        "citations": list(dict.fromkeys(citation for each in rests_on for citation in each.citations)),
        "libraries": library_versions(),
        "wall_s": round(wall_s, 3),
    }


def stamp_put() -> dict[str, Any]:
    """Return the provenance of a dataset that the user made and stored."""
    return {
        "component": "put",
        "plugin": "brainlens",
        "created": now(),
        "brainlens_version": __version__,
        "libraries": library_versions(),
        "inputs": {},
        "sources": [],
    }


def digest_source(path: Path) -> dict[str, Any]:
    """Return absolute path, size and SHA-256 of a file, or of a folder's files taken together."""
    path = Path(os.path.abspath(path))
    if path.is_dir():
        files = [[name, manifest.file_digest(file)] for name, file in manifest.walk_files(path)]
        size = sum(file.stat().st_size for _, file in manifest.walk_files(path))
        return {"path": str(path), "size_bytes": size, "n_files": len(files), "sha256": manifest.digest_of(files)}
    return {"path": str(path), "size_bytes": path.stat().st_size, "sha256": f"sha256:{manifest.file_digest(path)}"}


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that numbers may depend on, without importing them."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def now() -> str:
    """Return the time of day in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
