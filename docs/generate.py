"""Write the parts of the documentation that come from the code: schemas, commands, errors, words, transcripts.

    python docs/generate.py             renews the generated blocks of all pages
    python docs/generate.py --check     changes nothing; exits with 1 where a block is not what the code says
    python docs/generate.py --outputs   runs code and transcripts of the pages again as well; needs ../shared/data

A block lies between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import inspect
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
import pages
import provoked
import transcripts

import brainlens
from brainlens import errors, labels
from brainlens.cli import main as brainlens_cli
from brainlens.plugins import GROUP, PluginHost
from brainlens.schema import builtin_schemas

DOCS = Path(__file__).parent
ROOT = DOCS.parent
BLOCK = re.compile(r"<!-- generated: (\S+) -->\n.*?<!-- end -->", re.DOTALL)
# Numbers of a benchmark differ from run to run, so they are renewed but never found stale.
NEVER_STALE = ("benchmarks",)
WITH_METHODS = ("Registry", "Trainable", "Context", "Batches", "MappedArray")


def schemas() -> str:
    """Return every schema as three tables and its checks."""
    return "\n\n".join(_schema(name, dict(schema.document)) for name, schema in builtin_schemas().items())


def commands() -> str:
    """Return the help of every command; those made from components for the plugins of this repository only."""
    own = {path.name for path in (ROOT / "plugins").iterdir() if path.is_dir()}
    points = [point for point in importlib.metadata.entry_points(group=GROUP) if point.name in own]
    context = brainlens_cli.make_context("brainlens", [], resilient_parsing=True, terminal_width=100)
    context.meta["host"] = PluginHost(points)
    return "\n\n".join(_help(brainlens_cli, context))


def error_texts() -> str:
    """Return every error class with its meaning and real messages."""
    shown: dict[str, list[str]] = {}
    for kind, what, text in provoked.messages():
        shown.setdefault(kind, []).append(f"{what}:\n\n```text\n{text}\n```")
    parts = []
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, errors.BrainlensError):
            parts += [f"## `{name}`", inspect.getdoc(kind) or "", *shown.get(name, [])]
    return "\n\n".join(parts)


def words() -> str:
    """Return the reserved dims and coordinates."""
    dims = _table(("dim", "meaning"), ((f"`{name}`", meaning) for name, meaning in labels.DIMS.items()))
    coords = _table(("coordinate", "meaning"), ((f"`{name}`", meaning) for name, meaning in labels.COORDS.items()))
    return f"## Dims\n\n{dims}\n\n## Coordinates\n\n{coords}"


def public_names() -> str:
    """Return every public name of brainlens with the first line of its docstring; classes with their methods."""
    rows = []
    for name in brainlens.__all__:
        value = getattr(brainlens, name)
        rows.append((f"`{name}`", _first_line(value) if not isinstance(value, str) else "Version of the core, text."))
        if inspect.isclass(value) and name in WITH_METHODS:
            own = [base for base in reversed(value.__mro__) if base.__module__.startswith("brainlens.")]
            members = {key: each for base in own for key, each in vars(base).items() if not key.startswith("_")}
            methods = [key for key, each in members.items() if inspect.isfunction(each) or isinstance(each, property)]
            rows += [(f"`{name}.{key}`", _first_line(getattr(value, key))) for key in methods]
    return _table(("name", "what it is"), rows)


def benchmarks() -> str:
    """Return the table of the last run of `make bench`."""
    file = ROOT / "bench" / "results.json"
    if not file.exists():
        return "`make bench` writes `bench/results.json`; there is none yet."
    found = json.loads(file.read_text("utf-8"))
    rows = (
        (row["name"], row["base"], f"{row['ratio']:.2f}", f"{row['target']:g}", "yes" if row["holds"] else "no")
        for row in found
    )
    return _table(("what", "measured against", "ratio", "at most", "holds"), rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "schemas": schemas,
    "commands": commands,
    "errors": error_texts,
    "words": words,
    "names": public_names,
    "benchmarks": benchmarks,
}


def renew(text: str) -> str:
    """Return a page with all its blocks as the code says."""
    return BLOCK.sub(lambda found: f"<!-- generated: {found[1]} -->\n{BLOCKS[found[1]]()}\n<!-- end -->", text)


def stale_blocks(text: str) -> list[str]:
    """Return the names of the blocks of a page that are not what the code says."""
    return [found[1] for found in BLOCK.finditer(text) if found[1] not in NEVER_STALE and renew(found[0]) != found[0]]


def with_outputs(text: str, *, name: str) -> str:
    """Return a page with what its code and its commands print now."""

    def again(found: re.Match[str]) -> str:
        with tempfile.TemporaryDirectory() as folder:
            steps = transcripts.run_again(transcripts.read_steps(found[1]), pages.make_checkout(Path(folder), ROOT))
        return "```console\n" + "\n".join(step.text() for step in steps) + "\n```"

    with tempfile.TemporaryDirectory() as folder:
        text = pages.with_outputs(text, pages.make_checkout(Path(folder), ROOT), name=name)
    return transcripts.BLOCK.sub(again, text)


def main() -> int:
    """Renew or check all pages; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--outputs", action="store_true")
    arguments = parser.parse_args()
    stale = []
    for page in [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]:
        text = page.read_text("utf-8")
        if arguments.check:
            stale += [f"{page.relative_to(ROOT)}: block {name!r} is stale" for name in stale_blocks(text)]
            continue
        made = renew(text)
        if arguments.outputs:
            made = with_outputs(made, name=page.name)
        if made != text:
            page.write_text(made, "utf-8")
    if stale:
        sys.stderr.write("\n".join([*stale, "Run: python docs/generate.py", ""]))
    return 1 if stale else 0


def _schema(name: str, document: dict[str, Any]) -> str:
    parts = [f"## `{name}`", f"{document['title']}. {document['description']}"]
    titles = {"attrs": ("attribute", "value"), "coords": ("coordinate", "dims"), "data_vars": ("variable", "dims")}
    for section, (first, second) in titles.items():
        described = document["properties"].get(section, {})
        rows = [_row(key, each, described.get("required", [])) for key, each in described.get("properties", {}).items()]
        if rows:
            last = ("needed", "meaning") if section == "attrs" else ("values", "needed", "meaning")
            kept = [row[:2] + row[3:] if section == "attrs" else row for row in rows]
            parts.append(_table((first, second, *last), kept))
    checks = [_check(kind, what) for kind, what in document.get("x-checks", {}).items()]
    if checks:
        parts.append("Checked as well: " + "; ".join(checks) + ".")
    return "\n\n".join(parts)


def _row(key: str, described: dict[str, Any], required: list[str]) -> tuple[str, ...]:
    inner = described.get("properties", {})
    dims = " or ".join(f"({', '.join(option)})" for option in _options(inner.get("dims", {})) if option)
    return (
        f"`{key}`",
        dims or _value_words(described),
        _dtype_words(_options(inner.get("dtype", {}))),
        "yes" if key in required else "",
        described.get("description", ""),
    )


def _options(described: dict[str, Any]) -> list[Any]:
    found = described.get("enum", [described["const"]] if "const" in described else [])
    return [option for option in found if isinstance(option, list | str)]


def _value_words(described: dict[str, Any]) -> str:
    if "const" in described:
        return f"`{described['const']}`"
    if "enum" in described:
        return " or ".join(f"`{value}`" for value in described["enum"])
    kinds = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "array": "list",
        "boolean": "true or false",
    }
    word = kinds.get(described.get("type", ""), "")
    if described.get("type") == "array":
        count = described.get("minItems")
        return f"list of {count} numbers" if count and count == described.get("maxItems") else "list"
    return word


def _dtype_words(options: list[str]) -> str:
    whole = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
    left = list(options)
    found = []
    for group, word in ((whole, "whole numbers"), ({"float16", "float32", "float64"}, "float16 to float64")):
        if group <= set(left):
            left = [option for option in left if option not in group]
            found.append(word)
    return " or ".join([*("text" if option == "string" else option for option in left), *found])


def _check(kind: str, what: Any) -> str:
    sentences = {
        "unique": "labels of {} are unique",
        "finite": "values of {} are finite",
        "positive": "values of {} are from 1",
        "nonempty": "at least one entry along {}",
    }
    if kind == "within":
        return "; ".join(f"`{name}` is one of {', '.join(allowed)}" for name, allowed in what.items())
    if kind == "labelled":
        return "; ".join(f"dim `{dim}` has {_and(needed)}" for dim, needed in what.items())
    return sentences[kind].format(_and(what))


def _and(names: Iterable[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _help(command: click.Command, context: click.Context) -> list[str]:
    with context.scope():
        parts = [f"## `{context.command_path}`\n\n```text\n{command.get_help(context)}\n```"]
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                if below is not None:
                    parts += _help(below, click.Context(below, info_name=name, parent=context))
    return parts


def _first_line(value: object) -> str:
    return (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ")


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    return "\n".join([*lines, *(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)])


if __name__ == "__main__":
    raise SystemExit(main())
