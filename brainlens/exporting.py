"""Take stored datasets out: to Zarr without a plugin, to other formats with an exporter."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from brainlens import manifest
from brainlens.checkpoints import FILE, unpack_weights
from brainlens.compute import open_whole
from brainlens.context import Context
from brainlens.errors import ParameterError, PluginError, RegistryError, closest
from brainlens.index import PRIVATE
from brainlens.jobs import Workplace, guarded
from brainlens.parameters import make_params
from brainlens.plugins import PluginHost
from brainlens.records import Component
from brainlens.store import Place, open_dataset
from brainlens.write import sync_tree, write_dataset


def export(
    work: Workplace,
    name: str,
    target: Path,
    given: Mapping[str, Any],
    *,
    exporter: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a stored dataset to a file or folder for other tools; Zarr needs no plugin.

    A model takes its weights along. What is there already stays, unless it is to be overwritten and may be: a file, or
    a Zarr folder that was exported.

    Raises
    ------
    RegistryError
        If the target exists, lies inside the registry, or its ending belongs to no exporter.
    """
    target = Path(os.path.abspath(target.expanduser()))
    _refuse_target(work.place, target, overwrite=overwrite)
    component = find_exporter(work.host, target, exporter)
    if component is None:
        if given:
            raise ParameterError(f"export to Zarr: unknown parameter {min(given)!r}. There is none.")
        dataset = open_dataset(work.place, name)
        with staged_target(target, overwrite=overwrite) as staged:
            staged.mkdir()
            write_dataset(dataset, staged, work.schema(dataset.attrs["schema"]), where=f"dataset {name!r}")
            if "weights_sha256" in dataset.attrs:
                content, sha256 = work.place.read(name, FILE), dataset.attrs["weights_sha256"]
                unpack_weights(content, sha256, where=f"model {name!r}")
                (staged / FILE).write_bytes(content or b"")
        return target
    params = make_params(component, given)
    function = work.host.resolve(component)
    dataset = open_whole(work.place, name)
    with staged_target(target, overwrite=overwrite) as staged, guarded(work.host, component, "writing"):
        function(dataset, staged, params=params, context=Context(quiet=work.quiet))
        if not os.path.lexists(staged):
            raise PluginError(
                f"component {component.name!r}: expected it to write {staged.name!r}, found nothing written."
            )
    return target


def find_exporter(host: PluginHost, target: Path, exporter: str | None = None) -> Component | None:
    """Return the exporter that is asked for, or that writes files of such an ending; None for `.zarr`.

    Raises
    ------
    RegistryError
        If no exporter writes such files, several do, or the one that is asked for does not.
    """
    if exporter is not None:
        component = host.component(exporter, roles=("exporter",))
        if component.suffixes and not target.name.endswith(component.suffixes):
            raise RegistryError(
                f"export to {target.name!r}: expected an ending that {exporter!r} writes, "
                f"{' or '.join(map(repr, component.suffixes))}. Change the name, or leave the exporter out."
            )
        return component
    if target.name.endswith(".zarr"):
        return None
    known = [(suffix, component) for component in host.components(role="exporter") for suffix in component.suffixes]
    fitting = [(suffix, component) for suffix, component in known if target.name.endswith(suffix)]
    if not fitting:
        raise RegistryError(
            f"export to {target.name!r}: no exporter writes that ending. "
            f"{closest(target.suffix, ['.zarr', *dict(known)], what='endings')}"
        )
    longest = max(len(suffix) for suffix, _ in fitting)
    found = [component for suffix, component in fitting if len(suffix) == longest]
    if len(found) > 1:
        names = " and ".join(repr(component.name) for component in found)
        raise RegistryError(f"export to {target.name!r}: {names} write that ending. Say which with exporter=….")
    return found[0]


@contextlib.contextmanager
def staged_target(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a path beside the target to write to; rename it when all went well, delete it otherwise.

    What was written beside that path, such as a sidecar, comes along. What is overwritten stays until then, and where
    renaming fails.

    Raises
    ------
    PluginError
        If a file beside it has a name that does not begin as the target's does.
    RegistryError
        If the folder is missing or cannot be written, something is there already, or the disk is full.
    """
    if not target.parent.is_dir():
        raise RegistryError(
            f"export to {str(target)!r}: expected the folder {str(target.parent)!r}, found none. Make it first."
        )
    own = uuid.uuid4().hex
    folder = target.parent / f".{target.name}.{own}"
    aside = folder / f".{own}"
    try:
        folder.mkdir()
        staged = folder / target.name
        yield staged
        sync_tree(folder)
        beside = _beside(folder, target, overwrite=overwrite)
        if os.path.lexists(target) and not (overwrite and _may_go(target)):
            raise RegistryError(f"export to {str(target)!r}: something appeared there meanwhile. Choose another path.")
        with contextlib.ExitStack() as undo:
            # The target comes last: where it is, what belongs to it is there as well.
            for path in (*beside, staged):
                _move(path, target.parent / path.name, aside, undo)
            undo.pop_all()
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise RegistryError(
            f"export to {str(target)!r}: cannot be written ({error.strerror or error}). Nothing was left there. Make "
            "room, or choose another path."
        ) from error
    finally:
        # Never with what was to be overwritten still in it.
        if not os.path.isdir(aside) or not os.listdir(aside):
            shutil.rmtree(folder, ignore_errors=True)


def _move(path: Path, place: Path, aside: Path, undo: contextlib.ExitStack) -> None:
    """Rename to a place, from which what is there is moved aside; `undo` takes both back."""
    if os.path.lexists(place):
        aside.mkdir(exist_ok=True)
        os.rename(place, aside / place.name)
        undo.callback(os.rename, aside / place.name, place)
    os.rename(path, place)
    undo.callback(os.rename, place, path)


def _may_go(path: Path) -> bool:
    """Whether it is a file, or a Zarr folder that was exported, and no part of a registry: what may be overwritten."""
    if path.is_symlink() or any((above / PRIVATE).is_dir() for above in (path, *path.parents)):
        return False
    if path.is_file():
        return True
    return path.is_dir() and not (path / manifest.FILE).exists() and {"schema", "provenance"} <= _zarr_attributes(path)


def _zarr_attributes(folder: Path) -> set[str]:
    """Return the names of the attributes of a Zarr folder of format 3 or 2; none where it is something else."""
    for file, key in (("zarr.json", "attributes"), (".zattrs", "")):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            body = json.loads((folder / file).read_text("utf-8"))
            return set(body.get(key, {}) if key else body)
    return set()


def _beside(folder: Path, target: Path, *, overwrite: bool) -> list[Path]:
    """Return the files that were written beside the target, none of which may be in the way of another."""
    stem = target.name.split(".")[0]
    found = sorted(path for path in folder.iterdir() if path.name != target.name)
    for path in found:
        if not path.is_file() or not path.name.startswith(f"{stem}."):
            raise PluginError(
                f"export to {target.name!r}: expected files beside it that are called '{stem}.…', found {path.name!r} "
                "written. Name it after the target."
            )
        place = target.parent / path.name
        if os.path.lexists(place) and not (overwrite and place.is_file() and _may_go(place)):
            raise RegistryError(
                f"export to {str(target)!r}: {path.name!r} belongs to it, and is there already. Choose another path, "
                "remove it, or overwrite files with overwrite=True (--overwrite)."
            )
    return found


def _refuse_target(place: Place, target: Path, *, overwrite: bool) -> None:
    root = place.folder("")
    # A link must not lead back into the registry.
    inside = root is not None and Path(os.path.realpath(target)).is_relative_to(os.path.realpath(root))
    if inside:
        raise RegistryError(
            f"export to {str(target)!r}: expected a path outside the registry {str(root)!r}. Choose another path."
        )
    if os.path.lexists(target) and not overwrite:
        raise RegistryError(
            f"export to {str(target)!r}: something is there already. Choose another path, remove it, or overwrite it "
            "with overwrite=True (--overwrite)."
        )
    if os.path.lexists(target) and not _may_go(target):
        raise RegistryError(
            f"export to {str(target)!r}: expected a file, or a Zarr folder that brainlens exported, to overwrite, "
            "found something else there. Choose another path, or remove it."
        )
