"""Plugins for the tests: written to a temporary folder with hand-made `dist-info`, as conda installs them; no pip."""

from __future__ import annotations

import importlib.metadata
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from brainlens.plugins import GROUP, PluginHost

DECODER = """
import numpy as np
import xarray as xr
import brainlens


class Decoder(brainlens.Trainable):
    def fit(self, response, target):
        self.mean_ = target["embedding"].mean("trial").values

    def predict(self, response):
        values = np.tile(self.mean_, (response.sizes["trial"], 1))
        return xr.Dataset({"embedding": (("trial", "channel"), values)})
"""

HOOKS = """
import brainlens


@brainlens.hookimpl
def brainlens_components():
    return [
        brainlens.Component(
            name={name!r}, role="decoder", summary="Predicts the mean.", version="1",
            target="{module}_decoder:Decoder", output=("embedding",),
        )
    ]
"""


class PluginFolder:
    """A folder on `sys.path` that plugins are written to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def add(
        self,
        name: str,
        source: str | None = None,
        *,
        decoder: str = DECODER,
        distribution: str | None = None,
        version: str = "1.0",
        module: str | None = None,
    ) -> str:
        """Write a plugin and its decoder; return the name of its module. `source` is the module with the hooks."""
        distribution = distribution or f"acme-{name}"
        module = module or f"brainlens_{name.replace('-', '_')}"
        text = HOOKS.format(name=name, module=module) if source is None else textwrap.dedent(source)
        (self.path / f"{module}.py").write_text(text)
        (self.path / f"{module}_decoder.py").write_text(textwrap.dedent(decoder))
        self.declare(name, module, distribution=distribution, version=version)
        return module

    def declare(self, name: str, module: str, *, distribution: str, version: str = "1.0") -> None:
        """Write the `dist-info` alone."""
        info = self.path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {module}\n")

    def host(self) -> PluginHost:
        """Return a host that knows the plugins of this folder only."""
        found = importlib.metadata.distributions(path=[str(self.path)])
        return PluginHost([point for item in found for point in item.entry_points if point.group == GROUP])


@pytest.fixture
def plugin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PluginFolder]:
    """An empty plugin folder on `sys.path`; what was imported from it is forgotten afterwards."""
    before = set(sys.modules)
    folder = PluginFolder(tmp_path / "site-packages")
    monkeypatch.syspath_prepend(folder.path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder.path)):
            del sys.modules[name]
