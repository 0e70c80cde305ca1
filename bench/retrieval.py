"""Searching a gallery of a million items: one query against reading it once, many against one matrix product.

Run by itself it prints both beside a flat index of faiss in the same process, and the peak of memory:
`python bench/retrieval.py FOLDER N_ITEMS`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import xarray as xr
from paired import Check, Timed, seconds

import brainlens

N_ITEMS, N_CHANNELS, N_QUERIES, SHARD_ROWS = 1_000_000, 768, 1_000, 100_000
METRIC = "cosine"


def make_gallery(folder: Path, n_items: int) -> list[xr.Dataset]:
    """Store a gallery of random directions in shards, and open it."""
    registry = brainlens.open(folder / "gallery.zarr")
    stored = set(registry.list())
    names = []
    for number, start in enumerate(range(0, n_items, SHARD_ROWS)):
        stop = min(start + SHARD_ROWS, n_items)
        names.append(f"gallery/{stop}")
        if names[-1] not in stored:
            values = np.random.default_rng(number).standard_normal((stop - start, N_CHANNELS), dtype=np.float32)
            shard = xr.Dataset({"embedding": (("stimulus", "channel"), values)}, {"stimulus": np.arange(start, stop)})
            registry.put(names[-1], shard.assign_attrs(model="toy"), schema="embedding")
    return [registry[name] for name in names]


def make_queries(n_queries: int) -> xr.Dataset:
    """Make decoded embeddings of stimuli that are not in the gallery."""
    values = np.random.default_rng(2**32 - 1).standard_normal((n_queries, N_CHANNELS), dtype=np.float32)
    coords = {"trial": np.arange(n_queries), "stimulus_id": ("trial", np.full(n_queries, -1))}
    return xr.Dataset({"embedding": (("trial", "channel"), values)}, coords, {"model": "toy"})


def searching(gallery: list[xr.Dataset], n_queries: int, metric: str = METRIC) -> Timed:
    """Return a search of a gallery that is open already."""
    from brainlens_retrieval.search import search
    from brainlens_retrieval.search_params import SearchParams

    decoded, params, context = make_queries(n_queries), SearchParams(metric=metric), brainlens.Context()
    return lambda: search(decoded, gallery, params=params, context=context)


def reading(gallery: list[xr.Dataset]) -> Timed:
    """Return what looks at every byte of a gallery once, on all cores."""
    from brainlens_retrieval.shards import Shard, read_block, spans

    shards = [Shard("gallery", dataset, "stimulus") for dataset in gallery]
    places = [(shard, span) for shard in shards for span in spans(shard)]

    def read(place: tuple[Shard, tuple[int, int]]) -> int:
        shard, span = place
        return int(np.bitwise_or.reduce(read_block(shard, *span).view(np.int64), axis=None))

    def all_cores() -> list[int]:
        with ThreadPoolExecutor() as pool:
            return list(pool.map(read, places))

    return all_cores


def multiplying(gallery: list[xr.Dataset], n_queries: int, dtype: str = "float32") -> Timed:
    """Return one product of all items and queries, block by block, by torch; the dtype is that of the product alone.

    In bfloat16 it is what no search with such candidates can beat: the same block stands for all, so that neither
    reading nor rounding counts.
    """
    import torch
    from brainlens_retrieval.shards import Shard, blocks

    # Mapped files are only read.
    warnings.filterwarnings("ignore", message="The given NumPy array is not writ", category=UserWarning)
    query = torch.from_numpy(make_queries(n_queries)["embedding"].values)
    shards = [Shard("gallery", dataset, "stimulus") for dataset in gallery]
    rounded = query.to(getattr(torch, dtype))
    same: dict[int, torch.Tensor] = {}

    def product() -> None:
        for shard in shards:
            for _, block in blocks(shard):
                rows = torch.from_numpy(block)
                if dtype != "float32":
                    if len(block) not in same:
                        same[len(block)] = rows.to(rounded.dtype)
                    rows = same[len(block)]
                rounded @ rows.T

    return product


def by_faiss(gallery: list[xr.Dataset], n_queries: int) -> Timed:
    """Return a search of a flat index, which holds a copy of the gallery."""
    import faiss

    query = make_queries(n_queries)["embedding"].values
    index = faiss.IndexFlatIP(N_CHANNELS)
    for dataset in gallery:
        index.add(dataset["embedding"].values)
    return lambda: index.search(query, 10)


def _one_query(folder: Path) -> tuple[Timed, Timed]:
    gallery = make_gallery(folder, N_ITEMS)
    return searching(gallery, 1), reading(gallery)


def _many_queries(folder: Path) -> tuple[Timed, Timed]:
    gallery = make_gallery(folder, N_ITEMS)
    return searching(gallery, N_QUERIES), multiplying(gallery, N_QUERIES)


MEASURE = """
import json, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import retrieval, torch

def used():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024

gallery = retrieval.make_gallery(Path(sys.argv[2]), int(sys.argv[3]))
search = retrieval.searching(gallery, int(sys.argv[4]))
torch.ones(8, 8) @ torch.ones(8, 8)
before, peak, over = used(), [0], threading.Event()

def watch():
    while not over.wait(0.005):
        peak[0] = max(peak[0], used())

watcher = threading.Thread(target=watch)
watcher.start()
search()
over.set()
watcher.join()
print(json.dumps({"before": before, "over_before": peak[0] - before}))
"""


def measure_memory(folder: Path, n_items: int, n_queries: int) -> dict[str, int]:
    """Return bytes: a process's own memory before a search, and how much more it takes at its peak.

    Pages of the gallery's mapped files are not counted; the system takes them back when it needs them.
    """
    make_gallery(folder, n_items)
    command = [sys.executable, "-c", MEASURE, str(Path(__file__).parent), str(folder), str(n_items), str(n_queries)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(folder: Path, n_items: int, *, rounds: int = 3) -> dict[str, float]:
    """Return medians in ms of everything, measured in turn in one process."""
    gallery = make_gallery(folder, n_items)
    timed = {
        "read once": reading(gallery),
        "1 query": searching(gallery, 1),
        "1 query, correlation": searching(gallery, 1, "correlation"),
        "1 query, faiss flat": by_faiss(gallery, 1),
        "many queries, one float32 product": multiplying(gallery, N_QUERIES),
        "many queries, one bfloat16 product": multiplying(gallery, N_QUERIES, "bfloat16"),
        "many queries": searching(gallery, N_QUERIES),
        "many queries, correlation": searching(gallery, N_QUERIES, "correlation"),
        "many queries, faiss flat": by_faiss(gallery, N_QUERIES),
    }
    for call in timed.values():
        call()
    times = [{name: seconds(call) for name, call in timed.items()} for _ in range(rounds)]
    return {name: round(statistics.median(each[name] for each in times) * 1e3, 2) for name in timed}


CHECKS = [
    Check("search of 1,000,000, one query", 1.3, "reading the gallery once", _one_query, rounds=7),
    Check("search of 1,000,000, 1,000 queries", 0.4, "one float32 product by torch", _many_queries, rounds=3),
]


if __name__ == "__main__":
    where, size = Path(sys.argv[1]), int(sys.argv[2])
    print(json.dumps(compare(where, size), indent=1))
    for count in (1, N_QUERIES):
        print(count, "queries:", json.dumps(measure_memory(where, size, count)))
