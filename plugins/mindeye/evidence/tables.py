"""What the scripts of this folder share: a JSON file that grows seed by seed, and tables of means over seeds."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import brainlens

HERE = Path(__file__).parent
Row = dict[str, float]
Rows = dict[str, Row]


def mean_table(first: str, columns: Mapping[str, str], seeds: Mapping[str, Rows]) -> list[str]:
    """Return a Markdown table: a line for each row of a seed, with the mean over seeds +- SD over seeds.

    Parameters
    ----------
    first
        Heading of the rows' names.
    columns
        Measures, and their headings. A row may lack some.
    seeds
        Rows of each seed.
    """
    lines = [f"| {first} | {' | '.join(columns.values())} |", "|---|" + "---|" * len(columns)]
    for name in next(iter(seeds.values())):
        cells = []
        for column in columns:
            values = np.array([rows[name][column] for rows in seeds.values() if column in rows[name]])
            spread = f" +- {values.std(ddof=1):.3f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.3f}{spread}" if len(values) else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def load(name: str) -> dict[str, Any]:
    """Return what earlier calls of a script left."""
    file = HERE / f"{name}.json"
    return json.loads(file.read_text("utf-8")) if file.exists() else {}


def save(name: str, entries: Mapping[str, Any], lines: Sequence[str]) -> None:
    """Write the values of a script as JSON, and its text as Markdown."""
    (HERE / f"{name}.json").write_text(json.dumps(entries, indent=1) + "\n", "utf-8")
    (HERE / f"{name}.md").write_text("\n".join(lines) + "\n", "utf-8")


def seeds_of(entries: Mapping[str, Any]) -> str:
    """Return the seeds of a table, in words."""
    return ", ".join(sorted(entries, key=int))


def run_subjects(
    name: str,
    measure: Callable[[brainlens.Registry, int], Rows],
    *,
    about: Sequence[str],
    first: str,
    columns: Mapping[str, str],
) -> None:
    """Measure the seeds that the command line asks for, each in a registry of its own; go on where it stopped.

    Parameters
    ----------
    name
        Of the script.
    measure
        What fills the registry, and returns a seed's rows.
    about
        Lines above the table.
    first, columns
        As in `mean_table`.
    """
    parser = argparse.ArgumentParser(prog=f"{name}.py")
    parser.add_argument("seeds", nargs="+", type=int)
    parser.add_argument("--scratch", type=Path, help="where registries are kept; removed when left out")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    entries = load(name)
    for seed in options.seeds:
        if str(seed) in entries:
            continue
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            registry = brainlens.open(Path(options.scratch or folder) / f"{name}-{seed}.zarr", quiet=True)
            entries[str(seed)] = measure(registry, seed)
        said = [*about, f"Seeds {seeds_of(entries)}. Written by {name}.py.", ""]
        save(name, entries, [*said, *mean_table(first, columns, entries)])
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)


def run_worlds(
    name: str,
    measure: Callable[[str, int], Rows],
    *,
    worlds: Sequence[str],
    about: Sequence[str],
    first: str,
    columns: Mapping[str, str],
) -> None:
    """Measure the worlds and seeds that the command line asks for; go on where it stopped.

    Parameters
    ----------
    name
        Of the script.
    measure
        What returns the rows of a world and seed.
    worlds
        Which, unless the command line says others.
    about
        Lines above the tables.
    first, columns
        As in `mean_table`.
    """
    parser = argparse.ArgumentParser(prog=f"{name}.py")
    parser.add_argument("seeds", nargs="+", type=int)
    parser.add_argument("--world", nargs="+", default=worlds)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    entries = load(name)
    for seed in options.seeds:
        for world in options.world:
            done = entries.setdefault(world, {})
            if str(seed) in done:
                continue
            started = time.perf_counter()
            done[str(seed)] = measure(world, seed)
            lines = [*about, f"Written by {name}.py."]
            for each in sorted(entries):
                lines += ["", f"## {each}, seeds {seeds_of(entries[each])}", ""]
                lines += mean_table(first, columns, entries[each])
            save(name, entries, lines)
            print(f"{world} seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
