"""What the scripts of this folder share: a JSON file that grows seed by seed, each in a registry of its own."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import brainlens

HERE = Path(__file__).parent
Entries = Mapping[str, Any]


def measure_seeds(
    about: str,
    name: str,
    measure: Callable[[brainlens.Registry, str], Any],
    tables: Callable[[Entries], Sequence[str]],
    *,
    further: Sequence[str] = (),
) -> None:
    """Measure the seeds that the command line names, and go on where an earlier call stopped.

    Parameters
    ----------
    about
        Shown by --help.
    name
        Of the script: `<name>.json` keeps the values, `<name>.md` the tables.
    measure
        Takes an empty registry and a seed, or one of `further`, and returns what JSON can hold.
    tables
        Returns the lines of the Markdown file from all that was measured.
    further
        What is measured beside the seeds.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("seeds", nargs="*" if further else "+", type=int)
    parts = [*map(str, parser.parse_args().seeds), *further]
    torch.set_num_threads(1)
    file = HERE / f"{name}.json"
    entries = json.loads(file.read_text("utf-8")) if file.exists() else {}
    for part in parts:
        if part in entries:
            continue
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            entries[part] = measure(brainlens.open(Path(folder) / "study.zarr", quiet=True), part)
        file.write_text(json.dumps(entries, indent=1) + "\n", "utf-8")
        (HERE / f"{name}.md").write_text("\n".join(tables(entries)) + "\n", "utf-8")
        print(f"{part}: {time.perf_counter() - started:.0f} s", flush=True)
