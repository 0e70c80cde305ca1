"""What the scripts of this folder share: a JSON file that grows world by world and seed by seed."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import brainlens

HERE = Path(__file__).parent
Entries = dict[str, dict[str, Any]]


def run(
    name: str,
    measure: Callable[[brainlens.Registry, str, int], Any],
    lines: Callable[[Entries], Sequence[str]],
    *,
    worlds: Sequence[str],
) -> None:
    """Measure the worlds and seeds that the command line asks for; go on where an earlier call stopped.

    Parameters
    ----------
    name
        Of the script and its files.
    measure
        Returns what JSON holds of a world and a seed; given an empty registry.
    lines
        Makes the text from what was measured of every world, by seed.
    worlds
        Measured where the command line names none.
    """
    parser = argparse.ArgumentParser(prog=f"{name}.py")
    parser.add_argument("seeds", nargs="+", type=int)
    parser.add_argument("--world", nargs="+", default=worlds)
    options = parser.parse_args()
    file = HERE / f"{name}.json"
    entries: Entries = json.loads(file.read_text("utf-8")) if file.exists() else {}
    for seed in options.seeds:
        for world in options.world:
            done = entries.setdefault(world, {})
            if str(seed) in done:
                continue
            started = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                registry = brainlens.open(Path(folder) / "study.zarr", quiet=True)
                done[str(seed)] = measure(registry, world, seed)
            file.write_text(json.dumps(entries, indent=1) + "\n", "utf-8")
            (HERE / f"{name}.md").write_text("\n".join(lines(entries)) + "\n", "utf-8")
            print(f"{world} seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)


def spread(values: Any) -> str:
    """Return the mean over seeds +- SD over seeds, in words."""
    return f"{values.mean():.3f}" + (f" +- {values.std(ddof=1):.3f}" if len(values) > 1 else "")
