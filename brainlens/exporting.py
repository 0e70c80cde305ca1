"""Take stored datasets out: to Zarr without a plugin, to other formats with an exporter."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from brainlens.compute import Settings, Workplace, guarded, make_params
from brainlens.errors import ParameterError, PluginError, RegistryError, closest
from brainlens.plugins import PluginHost
from brainlens.records import Component, Context
from brainlens.store import Place, open_dataset
from brainlens.write import sync_tree, write_dataset


def export(
    work: Workplace,
    name: str,
    target: Path,
    given: Mapping[str, Any],
    settings: Settings,
    *,
    exporter: str | None = None,
) -> Path:
    """Write a stored dataset to a file or folder for other tools; Zarr needs no plugin.

    Raises
    ------
    RegistryError
        If the target exists, lies inside the registry, or its ending belongs to no exporter.
    """
    dataset = open_dataset(work.place, name)
    target = Path(os.path.abspath(target.expanduser()))
    _refuse_target(work.place, target)
    if exporter is None and target.name.endswith(".zarr"):
        if given:
            raise ParameterError(f"export to Zarr: unknown parameter {min(given)!r}. There is none.")
        with staged_target(target) as staged:
            staged.mkdir()
            write_dataset(dataset, staged, work.schema(dataset.attrs["schema"]), where=f"dataset {name!r}")
        return target
    component = _exporter_for(work.host, target, exporter)
    params = make_params(component, given)
    function = work.host.resolve(component)
    context = Context(seed=settings.seed, quiet=work.quiet)
    with staged_target(target) as staged, guarded(work.host, component, "writing"):
        function(dataset, staged, params=params, context=context)
        if not staged.exists():
            raise PluginError(
                f"component {component.name!r}: expected it to write {staged.name!r}, found nothing written."
            )
    return target


@contextlib.contextmanager
def staged_target(target: Path) -> Iterator[Path]:
    """Give a path beside the target to write to; rename it when all went well, delete it otherwise."""
    if not target.parent.is_dir():
        raise RegistryError(
            f"export to {str(target)!r}: expected the folder {str(target.parent)!r}, found none. Make it first."
        )
    folder = target.parent / f".{target.name}.{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        staged = folder / target.name
        yield staged
        sync_tree(folder)
        if target.exists():
            raise RegistryError(f"export to {str(target)!r}: something appeared there meanwhile. Choose another path.")
        os.rename(staged, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _exporter_for(host: PluginHost, target: Path, exporter: str | None) -> Component:
    if exporter is not None:
        return host.component(exporter, roles=("exporter",))
    known = {suffix: component for component in host.components(role="exporter") for suffix in component.suffixes}
    fitting = [suffix for suffix in known if target.name.endswith(suffix)]
    if not fitting:
        raise RegistryError(
            f"export to {target.name!r}: no exporter writes that ending. "
            f"{closest(target.suffix, ['.zarr', *known], what='endings')}"
        )
    return known[max(fitting, key=len)]


def _refuse_target(place: Place, target: Path) -> None:
    root = place.folder("")
    if root is not None and (target == root or root in target.parents or target in root.parents):
        raise RegistryError(
            f"export to {str(target)!r}: expected a path outside the registry {str(root)!r}. Choose another path."
        )
    if target.exists():
        raise RegistryError(
            f"export to {str(target)!r}: something is there already and is never overwritten. Choose another path, "
            "or remove it."
        )
