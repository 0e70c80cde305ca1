"""The documentation: what is generated is current, what can run does run, what exists is in it."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

import brainlens
from brainlens import hookspecs, labels, records
from brainlens.cli import main
from brainlens.schema import builtin_schemas

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
WRITTEN = [*PAGES, ROOT / "CHANGELOG.md", *sorted(ROOT.glob("plugins/*/README.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ABSOLUTE = re.compile(r"(?<![\w.…:/~-])/(?:home|root|work|tmp|Users|mnt|scratch|usr|var|data)\b")
RECORDS = (records.Component, records.Input, records.Checkpoint, records.Schema, records.Result, records.Entry)

no_data = pytest.mark.skipif(
    not (ROOT / "../shared/data").is_dir(), reason="needs the real data in ../shared/data, which are not here"
)


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The modules beside the pages."""
    monkeypatch.syspath_prepend(DOCS)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names = ("transcripts", "pages", "provoked", "generate")
    yield {name: importlib.import_module(name) for name in names}
    for name in names:
        sys.modules.pop(name, None)


def _text(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def _page_parameters() -> list[object]:
    """Return the pages with Python in them; those that read real data are skipped where there are none."""
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        if "```python\n" in text:
            marks = (
                [no_data] if "../shared/data" in "".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)) else []
            )
            found.append(pytest.param(page, id=page.name, marks=marks))
    return found


def test_generated_blocks_are_current() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_stale_block_is_found(tools: dict[str, ModuleType]) -> None:
    block = "<!-- generated: words -->\n| dim | meaning |\n<!-- end -->"
    generate = tools["generate"]
    assert generate.stale_blocks(block) == ["words"]
    assert generate.stale_blocks(generate.renew(block)) == []


@pytest.mark.parametrize("page", _page_parameters())
def test_python_on_a_page_runs_and_prints_what_the_page_shows(
    page: Path, tools: dict[str, ModuleType], tmp_path: Path
) -> None:
    pages = tools["pages"]
    checkout = pages.make_checkout(tmp_path, ROOT)
    for block, printed in pages.run_page(page.read_text("utf-8"), checkout, name=page.name):
        if block["output"] is not None:
            assert pages.agree(block["output"], printed), printed


def test_outputs_agree_only_when_words_and_numbers_do(tools: dict[str, ModuleType]) -> None:
    agree = tools["pages"].agree
    assert agree("top_1  0.950 (80)", "top_1 0.938   (80)")
    assert not agree("top_1 0.950", "top_1 0.850")
    assert not agree("top_1 0.950", "top_3 0.950")
    assert not agree("top_1 0.950", "top_1 0.950 0.1")


def test_every_hook_is_documented_with_its_signature() -> None:
    hooks = {name: value for name, value in vars(hookspecs).items() if name.startswith("brainlens_")}
    assert len(hooks) == 3
    for name, hook in hooks.items():
        signature = str(inspect.signature(hook)).replace("'", "").replace("brainlens.records.", "")
        assert f"## `{name}{signature}`" in _text("hooks.md")


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_of_a_record_is_documented(record: type) -> None:
    section = _text("hooks.md").split(f"## `{record.__name__}`\n")[1].split("\n## ")[0]
    documented = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    assert documented >= {field.name for field in dataclasses.fields(record)}


def test_every_schema_is_documented() -> None:
    headings = set(re.findall(r"^## `([\w.]+)`$", _text("schemas.md"), re.MULTILINE))
    assert headings == set(builtin_schemas())


def test_every_command_is_documented() -> None:
    headings = set(re.findall(r"^## `(brainlens[^`]*)`$", _text("cli.md"), re.MULTILINE))
    context = click.Context(main)
    for name, command in main.commands.items():
        assert f"brainlens {name}" in headings
        below = command.list_commands(context) if name == "plugins" and isinstance(command, click.Group) else []
        assert {f"brainlens {name} {word}" for word in below} <= headings


def test_every_error_class_is_documented_with_a_message() -> None:
    sections = {part.split("`")[0]: part for part in _text("errors.md").split("\n## `")[1:]}
    classes = {name for name in brainlens.__all__ if name.endswith("Error")}
    assert set(sections) == classes
    assert all("```text\n" in sections[name] for name in classes - {"BrainlensError"})


def test_every_reserved_word_and_role_is_in_the_glossary() -> None:
    glossary = _text("glossary.md")
    for word in (*labels.DIMS, *labels.COORDS):
        assert f"| `{word}` |" in glossary
    for role in labels.ROLES:
        assert f"| {role} |" in glossary


def test_every_public_name_is_documented() -> None:
    missing = [name for name in brainlens.__all__ if f"| `{name}` |" not in _text("api.md")]
    assert missing == []


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text("utf-8")):
        if "://" not in link:
            target, _, anchor = link.partition("#")
            assert (page.parent / target).exists(), link
            assert not anchor or anchor in _anchors((page.parent / target).read_text("utf-8")), link


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_index() -> None:
    linked = set(LINK.findall(_text("index.md")))
    assert {page.name for page in DOCS.glob("*.md")} - {"index.md"} <= linked


@pytest.mark.parametrize(
    "file", [*WRITTEN, *sorted(ROOT.glob("examples/*.py")), *sorted(DOCS.glob("*.py"))], ids=lambda file: file.name
)
def test_nothing_names_a_place_on_somebodys_machine(file: Path) -> None:
    assert ABSOLUTE.findall(file.read_text("utf-8")) == []


def test_a_place_on_somebodys_machine_is_found() -> None:
    assert ABSOLUTE.findall("open('/home/ada/study.zarr')")
    assert not ABSOLUTE.findall("results/home and …/shared/data and https://example.org/data")


def _layers() -> list[list[str]]:
    table = _text("design.md").split("| layer | modules |")[1].split("\n\n")[0]
    return [re.findall(r"`(\w+)`", line) for line in table.splitlines()[2:]]


def _imports(module: str) -> set[str]:
    """Return the modules of the core that a module imports, inside functions as well."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / f"brainlens/{module}.py").read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "brainlens":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("brainlens."):
            found.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("brainlens.")}
    return found - {module}


def test_the_table_of_layers_names_every_module_once() -> None:
    named = [module for layer in _layers() for module in layer]
    there = {path.stem for path in (ROOT / "brainlens").glob("*.py")} - {"__init__"}
    assert sorted(named) == sorted(there)


def test_no_module_imports_from_a_layer_below_its_own() -> None:
    layer_of = {module: number for number, layer in enumerate(_layers()) for module in layer}
    wrong = [
        f"{module} imports {other}"
        for module, number in layer_of.items()
        for other in _imports(module)
        if layer_of.get(other, -1) > number
    ]
    assert wrong == []


def test_no_two_modules_import_each_other_by_any_way_round() -> None:
    reached = {path.stem: _imports(path.stem) for path in (ROOT / "brainlens").glob("*.py") if path.stem != "__init__"}
    for _ in reached:
        reached = {
            name: found.union(*(reached.get(other, set()) for other in found)) for name, found in reached.items()
        }
    assert [name for name, found in reached.items() if name in found] == []


def test_every_system_has_a_row_and_a_state() -> None:
    rows = [line.strip("| ").split(" | ") for line in _text("systems.md").splitlines() if re.match(r"\| \d", line)]
    assert [int(row[0]) for row in rows] == list(range(1, 48))
    assert {row[-1] for row in rows} <= {"not yet", "partly", "done"}
