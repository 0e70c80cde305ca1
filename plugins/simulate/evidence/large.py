"""Measure a subject of the size of the Natural Scenes Dataset: time, and peak memory, of storing it.

    python plugins/simulate/evidence/large.py FOLDER [--trials 30000] [--voxels 15724]

FOLDER gets a registry of some 5 GB and should be removed afterwards.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import brainlens

N_REPETITIONS, N_SESSIONS = 3, 40
SHARED = 0.1


def main() -> None:
    """Store a subject, and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=30_000)
    parser.add_argument("--voxels", type=int, default=15_724)
    given = parser.parse_args()
    n_stimuli = given.trials // N_REPETITIONS
    n_shared = round(SHARED * n_stimuli)
    started = time.monotonic()
    registry = brainlens.open(given.folder / "large.zarr")
    registry.ingest(
        "simulate", "large", n_stimuli=n_stimuli - n_shared, n_shared=n_shared, n_repetitions=N_REPETITIONS,
        n_sessions=N_SESSIONS, n_voxels=given.voxels,
    )  # fmt: skip
    sizes = registry["large/response"].sizes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{sizes['trial']} x {sizes['voxel']}: {time.monotonic() - started:.0f} s, peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
