"""Write a new plugin that works from the first minute: a copy of `plugins/template` under another name.

Its text lies in `brainlens/plugin-template`, each file with `.txt` behind its name, so that an installed brainlens has
it too and no tool takes it for code of the core.
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path

from brainlens.errors import PluginError, RegistryError
from brainlens.plugins import GROUP

ORIGINAL = "template"

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def new_plugin(name: str, folder: str | Path, *, taken: Mapping[str, str] | None = None) -> Path:
    """Write a new decoder plugin into a folder of its own; return that folder.

    Parameters
    ----------
    name
        Lower-case letters, digits and hyphens, such as `my-decoder`; the package is `brainlens_my_decoder`, the
        distribution `brainlens-my-decoder`.
    folder
        Where the plugin's folder, called `name`, is made; exists already.
    taken
        Names that cannot be used, each with the distribution that has it; those installed here when left out.

    Raises
    ------
    PluginError
        If the name is malformed or taken.
    RegistryError
        If there is no such folder, or something lies where the plugin would go.

    Examples
    --------
    >>> sorted(path.name for path in new_plugin("my-decoder", tmp_path).iterdir())
    ['README.md', 'brainlens_my_decoder', 'pyproject.toml', 'tests']
    """
    rule = "Use lower-case letters, digits and single hyphens, such as 'my-decoder'."
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > 60:
        raise PluginError(f"plugin name {name!r} cannot be used. {rule}")
    owner = (_taken_names() if taken is None else taken).get(_key(name))
    if owner is not None:
        raise PluginError(f"plugin name {name!r} is taken by {owner}, which is installed. Choose another name.")
    parent = Path(folder).expanduser()
    if not parent.is_dir():
        raise RegistryError(f"new plugin in {str(folder)!r}: expected a folder, found none. Make it first.")
    made = parent / name
    if made.exists() or made.is_symlink():
        raise RegistryError(f"new plugin {str(made)!r}: something is there already. Choose another name or folder.")
    draft = parent / f".{name}.{uuid.uuid4().hex}"
    try:
        for path, text in _template_files():
            file = draft / _renamed(path, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_renamed(text, name), "utf-8")
        os.rename(draft, made)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return made


def _renamed(text: str, name: str) -> str:
    """Put a name in place of the original's, as package and everywhere else."""
    return text.replace(f"brainlens_{ORIGINAL}", f"brainlens_{name.replace('-', '_')}").replace(ORIGINAL, name)


def _template_files() -> Iterator[tuple[str, str]]:
    """Yield each file's path in the plugin, and its text."""

    def walk(folder: Traversable, above: str) -> Iterator[tuple[str, str]]:
        for item in sorted(folder.iterdir(), key=lambda item: item.name):
            if item.is_dir():
                yield from walk(item, f"{above}{item.name}/")
            elif item.name.endswith(".txt"):
                yield above + item.name.removesuffix(".txt"), item.read_text("utf-8")

    return walk(importlib.resources.files("brainlens") / "plugin-template", "")


def _taken_names() -> dict[str, str]:
    """Return what is installed as a plugin or as a package that begins with `brainlens_`, with its distribution."""
    taken = {}
    for package, owners in importlib.metadata.packages_distributions().items():
        if package.startswith("brainlens_"):
            taken[_key(package.removeprefix("brainlens_"))] = owners[0]
    for point in importlib.metadata.entry_points(group=GROUP):
        taken[_key(point.name)] = point.dist.name if point.dist else "another distribution"
    return taken


def _key(name: str) -> str:
    """Return what names have in common that would give the same package."""
    return name.replace("-", "_")
