"""How results look on a terminal: tables, trees, sizes, JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from brainlens.records import Component


def describe_component(component: Component) -> dict[str, Any]:
    """Return a component as JSON: inputs, outputs, parameters, citations."""
    return {
        "name": component.name,
        "role": component.role,
        "summary": component.summary,
        "version": component.version,
        "inputs": {key: vars(value) for key, value in component.inputs.items()},
        "output": list(component.output),
        "calls": dict(component.calls),
        "params": component.params.model_json_schema().get("properties", {}),
        "required": component.params.model_json_schema().get("required", []),
        "citations": list(component.citations),
    }


def description_lines(item: dict[str, Any]) -> list[str]:
    """Return a described component as lines of text."""
    lines = [f"{item['name']} ({item['role']}, version {item['version']})", f"  {item['summary']}"]
    for key, value in item["inputs"].items():
        lines.append(
            f"  input {key}: "
            f"{value['kind']}{' (optional)' if value['optional'] else ''}{' (several)' if value['many'] else ''}"
        )
    lines += [f"  output: {' or '.join(item['output'])}"] if item["output"] else []
    for key, role in item["calls"].items():
        lines.append(f"  calls: the {role} that {key} names")
    for key, value in item["params"].items():
        default = "required" if key in item["required"] else f"default {json.dumps(value.get('default'))}"
        lines.append(f"  {key}: {value.get('description', '')} ({default})")
    return lines + [f"  cite: {citation}" for citation in item["citations"]]


def tree_lines(tree: dict[str, Any], depth: int = 0) -> list[str]:
    """Return a lineage as an indented tree."""
    state = " (no longer stored)" if tree.get("missing") else " (replaced since)" if tree.get("replaced") else ""
    lines = [f"{'    ' * depth}{tree['name']}{state}  {tree.get('component', '')}  {str(tree.get('digest'))[:19]}"]
    for source in tree.get("sources", []):
        lines.append(f"{'    ' * (depth + 1)}{source['path']}  {source['sha256'][:19]}")
    for item in tree["inputs"]:
        lines += tree_lines(item, depth + 1)
    return lines


def size_text(size_bytes: int) -> str:
    """Return a size in the unit that suits it."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a header, columns aligned; nothing when there are no rows."""
    if not rows:
        return
    widths = [
        max(len(title), max(map(len, cells))) for title, cells in zip(header, zip(*rows, strict=True), strict=True)
    ]
    # One template for all rows: 10,000 of them are printed in a few ms.
    template = "  ".join(f"%-{width}s" for width in widths)
    click.echo("\n".join([(template % tuple(row)).rstrip() for row in (header, *rows)]))


def print_json(value: object) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def say(text: str) -> None:
    """Print a message to standard error."""
    click.echo(text, err=True)
