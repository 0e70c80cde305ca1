"""What `import brainlens` gives, and that it loads nothing until it is used."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import brainlens

HEAVY = (
    "numpy",
    "zarr",
    "xarray",
    "pandas",
    "torch",
    "sklearn",
    "matplotlib",
    "pydantic",
    "click",
    "brainlens.registry",
)


def loaded(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(HEAVY) & set(done.stdout.split())


def test_importing_loads_nothing_heavy() -> None:
    assert loaded("import brainlens") == set()


def test_the_check_above_can_fail() -> None:
    assert {"numpy", "xarray", "zarr", "brainlens.registry"} <= loaded("import brainlens; brainlens.open")


def test_opening_a_registry_loads_no_torch() -> None:
    assert loaded("import brainlens; brainlens.open") & {"torch", "sklearn", "matplotlib"} == set()


def test_errors_and_hooks_load_no_arrays() -> None:
    assert loaded("import brainlens; brainlens.PluginError, brainlens.hookimpl, brainlens.Component") <= {"pydantic"}


@pytest.mark.parametrize("name", brainlens.__all__)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(brainlens, name)
    assert name == "__version__" or value is getattr(importlib.import_module(brainlens._HOME_OF[name]), name)


def test_names_are_listed_once_and_sorted() -> None:
    assert dir(brainlens) == sorted(brainlens.__all__)
    names = [name for names in brainlens._HOMES.values() for name in names]
    assert len(names) == len(set(names))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="^module 'brainlens' has no attribute 'opem'$"):
        brainlens.opem  # noqa: B018
