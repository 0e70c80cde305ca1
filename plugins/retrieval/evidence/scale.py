"""How the cost of an exact search grows with the gallery, and what five billion items would need by these figures.

    python scale.py FOLDER [N_ITEMS ...]

Stores galleries of random directions in FOLDER (3.1 GB for a million items) and writes scale.json and scale.md. Run it
on a quiet machine; the file system's cache is warm, as it is after any first query.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from brainlens_retrieval.search import search
from brainlens_retrieval.search_params import SearchParams

import brainlens

HERE = Path(__file__).parent
N_CHANNELS, SHARD_ROWS, N_ROUNDS, N_MANY = 768, 100_000, 3, 1_000
BILLIONS = 5e9
# Sequential reading that a good drive of a server sustains, bytes in a second; assumed, not measured.
DRIVE = 3e9


def open_gallery(folder: Path, n_items: int) -> list[xr.Dataset]:
    """Store what is not stored yet, and open the shards."""
    registry = brainlens.open(folder / "scale.zarr", quiet=True)
    names = []
    for number, start in enumerate(range(0, n_items, SHARD_ROWS)):
        stop = min(start + SHARD_ROWS, n_items)
        name = f"gallery/{start}-{stop}"
        if name not in registry:
            values = np.random.default_rng(number).standard_normal((stop - start, N_CHANNELS), dtype=np.float32)
            shard = xr.Dataset({"embedding": (("stimulus", "channel"), values)}, {"stimulus": np.arange(start, stop)})
            registry.put(name, shard.assign_attrs(model="random"), schema="embedding")
        names.append(name)
    return [registry[name] for name in names]


def make_queries(n: int) -> xr.Dataset:
    """Return queries whose stimuli are in no gallery."""
    values = np.random.default_rng(2**31).standard_normal((n, N_CHANNELS), dtype=np.float32)
    labels = {"trial": np.arange(n), "stimulus_id": ("trial", np.full(n, -1))}
    return xr.Dataset({"embedding": (("trial", "channel"), values)}, labels, {"model": "random"})


def best_of(work: Callable[[], object]) -> float:
    """Return the shortest time of a few rounds, seconds; the first one warms up."""
    found = []
    for _ in range(N_ROUNDS + 1):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found[1:])


def measure(folder: Path, n_items: int) -> dict[str, float]:
    """Return seconds of one query and of many, over a gallery of that size."""
    gallery = open_gallery(folder, n_items)
    params, context = SearchParams(metric="cosine"), brainlens.Context()
    one, many = make_queries(1), make_queries(N_MANY)
    return {
        "n_items": n_items,
        "bytes": 4.0 * n_items * N_CHANNELS,
        "one": best_of(lambda: search(one, gallery, params=params, context=context)),
        "many": best_of(lambda: search(many, gallery, params=params, context=context)),
    }


def write(rows: list[dict[str, float]]) -> None:
    """Write the figures, and what follows from the largest gallery."""
    (HERE / "scale.json").write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    last = rows[-1]
    per_item = {name: last[name] / last["n_items"] for name in ("one", "many")}
    stored = 2 * N_CHANNELS * BILLIONS
    lines = [
        "# Cost of an exact search",
        "",
        f"Random directions, {N_CHANNELS} channels, float32, shards of {SHARD_ROWS:,}, mapped from files in the cache;",
        f"best of {N_ROUNDS}; {os.cpu_count()} cores of {platform.machine()}. Written by scale.py.",
        "",
        f"| items | gallery | 1 query | us per 1,000 items | {N_MANY:,} queries | us per 1,000 items and query |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        rate = [1e9 * row["one"] / row["n_items"], 1e9 * row["many"] / row["n_items"] / N_MANY]
        lines.append(
            f"| {row['n_items']:,.0f} | {row['bytes'] / 1e9:.2f} GB | {1e3 * row['one']:.1f} ms | {rate[0]:.1f} | "
            f"{row['many']:.2f} s | {rate[1]:.2f} |"
        )
    hours = {name: per_item[name] * BILLIONS / 3600 for name in per_item}
    lines += [
        "",
        "From 100,000 items on, where the fixed costs of a call are small, cost is in proportion to the items; for one",
        "query it halves from 1 GB on, where the products are compiled. By the",
        f"figures of {last['n_items']:,.0f} items, five billion would need, on this machine,",
        "",
        f"- {stored / 1e12:.1f} TB of files as float16;",
        f"- one query: {hours['one']:.2f} h of computing if the files were in memory; from a drive that reads",
        f"  {DRIVE / 1e9:.0f} GB/s, {stored / DRIVE / 3600:.1f} h: the drive is the limit;",
        f"- {N_MANY:,} queries together: {hours['many']:.0f} h of computing,"
        f" {hours['many'] * 3600 / N_MANY:.0f} s each;",
        f"- on 100 such machines with a part of the shards each (`n_workers`, Dask): one query"
        f" {stored / DRIVE / 100:.0f} s,",
        f"  {N_MANY:,} queries {hours['many'] * 60 / 100:.0f} min.",
        "",
        "An index answers sooner, but has to be built: faiss's inverted file took 72 s for a million items on another",
        "machine of this kind, so about 100 h for five billion, in memory that holds them or by parts.",
    ]
    (HERE / "scale.md").write_text("\n".join(lines) + "\n", "utf-8")


def main() -> None:
    """Measure galleries of the sizes that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("n_items", nargs="*", type=int, default=[10_000, 100_000, 300_000, 1_000_000])
    given = parser.parse_args()
    rows = []
    for n_items in sorted(given.n_items):
        rows.append(measure(given.folder, n_items))
        print(rows[-1], flush=True)
    write(rows)


if __name__ == "__main__":
    main()
