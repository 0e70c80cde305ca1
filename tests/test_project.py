"""The files around the code agree with each other: distributions, pins, versions, commands, and where tests lie."""

from __future__ import annotations

import ast
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import brainlens

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))
TEXT = {".py", ".md", ".toml", ".txt", ".json", ".cff", ".lock", ".cfg", ".yml", ".yaml", ""}
OTHERS_OWN = {".git", ".venv", ".venv-lock", "__pycache__", "build", "dist", "demo", "archives"}
# They hold such paths to show that they are found.
PLANTED = {"test_docs.py", "test_project.py"}
# Tests of things that are no module of the core.
NO_MODULE = {
    f"test_{name}" for name in ("docs", "examples", "first_party", "hazards", "init", "layers", "project", "studies")
}


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))


def developed() -> list[str]:
    """Return what `requirements-dev.txt` installs."""
    lines = (ROOT / "requirements-dev.txt").read_text("utf-8").splitlines()
    return [line.removeprefix("-e ").strip() for line in lines if line and not line.startswith("#")]


def text_files() -> Iterator[Path]:
    for folder, names, files in os.walk(ROOT):
        names[:] = [name for name in names if name not in OTHERS_OWN and not name.endswith((".egg-info", "_cache"))]
        names[:] = [name for name in names if name != ".hypothesis" and not name.startswith(".venv")]
        yield from (path for path in map(Path(folder).joinpath, files) if path.suffix in TEXT and path.name != ".git")


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_agrees_with_the_core(folder: Path) -> None:
    core, plugin = project(ROOT)["project"], project(folder)["project"]
    assert plugin["name"] == f"brainlens-{folder.name}"
    assert plugin["entry-points"]["brainlens"] == {folder.name: f"brainlens_{folder.name}"}
    for key in ("requires-python", "license", "version"):
        assert plugin[key] == core[key], key
    assert "brainlens>=0.1,<0.2" in plugin["dependencies"]
    assert project(folder)["build-system"] == project(ROOT)["build-system"]
    assert "tool" not in project(folder) or set(project(folder)["tool"]) == {"setuptools"}


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_has_a_page_and_proves_the_contract(folder: Path) -> None:
    assert (folder / "README.md").stat().st_size > 200
    contract = (folder / "tests" / "test_contract.py").read_text("utf-8")
    assert "class TestContract(PluginContract):" in contract
    assert f'plugin = "{folder.name}"' in contract


def test_every_plugin_is_installed_for_development_and_nothing_else() -> None:
    local = [line for line in developed() if line.startswith("./plugins/")]
    assert sorted(line.partition("[")[0] for line in local) == [f"./plugins/{folder.name}" for folder in PLUGINS]
    assert [line for line in developed() if line not in local] == [".[test,cloud,workers]"]


def test_the_core_depends_on_no_plugin_and_not_on_torch() -> None:
    names = [re.split(r"[<>=\[ ]", line)[0] for line in project(ROOT)["project"]["dependencies"]]
    assert not [
        name for name in names if name.startswith("brainlens") or name in ("torch", "scikit-learn", "matplotlib")
    ]


@pytest.mark.parametrize("folder", [ROOT, *PLUGINS], ids=lambda path: path.name)
def test_lower_bounds_are_loose(folder: Path) -> None:
    for line in project(folder)["project"]["dependencies"]:
        assert "==" not in line
        assert "@" not in line


def test_what_a_plugin_imports_is_what_it_declares() -> None:
    names = {"PIL": "pillow", "open_clip": "open_clip_torch", "skimage": "scikit-image", "sklearn": "scikit-learn"}
    for folder in PLUGINS:
        declared = {re.split(r"[<>=\[ ]", line)[0] for line in project(folder)["project"]["dependencies"]}
        imported = set()
        for path in folder.glob("brainlens_*/*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                found += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
                imported |= {name.partition(".")[0] for name in found}
        foreign = {names.get(name, name) for name in imported - sys.stdlib_module_names}
        assert foreign - declared <= {f"brainlens_{folder.name}"}, folder.name


def test_pins_are_exact_and_name_no_host() -> None:
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) > 50
    for line in pins:
        assert re.fullmatch(r"[A-Za-z0-9][\w.-]*==[\w.+!-]+( *;.*)?", line), line
        assert "brainlens" not in line


def test_everything_the_core_needs_is_pinned() -> None:
    pinned = {normal(line.partition("==")[0]) for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines()}
    wanted = [*project(ROOT)["project"]["dependencies"]]
    for folder in PLUGINS:
        wanted += project(folder)["project"]["dependencies"]
    for line in wanted:
        name = normal(re.split(r"[<>=\[ ]", line)[0])
        assert name in pinned or name == "brainlens", name


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_module_has_a_test_file_of_its_name() -> None:
    modules = {path.stem for path in (ROOT / "brainlens").glob("*.py")} - {"__init__"}
    tests = {path.stem for path in (ROOT / "tests").glob("test_*.py")}
    assert {f"test_{module}" for module in modules} - tests == set()
    assert tests - {f"test_{module}" for module in modules} <= NO_MODULE


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda path: path.name)
def test_every_working_module_of_a_plugin_has_a_test_file(folder: Path) -> None:
    modules = {path.stem for path in folder.glob("brainlens_*/*.py")} - {"__init__"}
    assert {f"test_{module}" for module in modules} <= {path.stem for path in (folder / "tests").glob("test_*.py")}


def test_the_two_commands_of_the_readme_are_those_of_the_makefile() -> None:
    readme, makefile = ((ROOT / name).read_text("utf-8") for name in ("README.md", "Makefile"))
    commands = re.findall(r"^make (\w+)$", readme, flags=re.MULTILINE)
    assert commands[:2] == ["demo", "test"]
    for command in commands:
        assert re.search(rf"^{command}:", makefile, flags=re.MULTILINE), command


def test_ci_runs_the_readmes_test_command_and_nothing_else() -> None:
    lines = [line.strip() for line in (ROOT / ".ci" / "run").read_text("utf-8").splitlines()]
    work = [line for line in lines if line and not line.startswith(("#", "set ", "cd ", "trap "))]
    assert work == ["make test"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_one_version_everywhere() -> None:
    version = brainlens.__version__
    assert project(ROOT)["project"]["version"] == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text("utf-8"), flags=re.MULTILINE)


def test_schemas_are_shipped() -> None:
    setuptools = project(ROOT)["tool"]["setuptools"]
    assert setuptools["package-dir"] == {"brainlens_schemas": "schemas"}
    assert "brainlens_schemas" in setuptools["packages"]
    assert (ROOT / "schemas" / "__init__.py").is_file()


def test_no_file_holds_a_path_of_one_machine_or_the_address_of_an_index() -> None:
    paths = re.compile(r"(?<![\w.~])/(home|Users|work|root|scratch|mnt|gpfs|lustre)/\w")
    indexes = re.compile("-".join(("index", "url")) + r"|\bpypi\.\w+|" + "-".join(("find", "links")))
    for path in text_files():
        text = path.read_text("utf-8", errors="replace")
        for pattern in (paths, indexes):
            found = pattern.search(text)
            assert found is None or path.name in PLANTED, f"{path.relative_to(ROOT)}: {found}"


def test_no_text_file_is_large() -> None:
    for path in text_files():
        assert path.stat().st_size < 500_000, path.relative_to(ROOT)
