"""Measure guidance and steps of the generator on scenes that choices are made on, and print a table.

    python choose_guidance.py --registry test.zarr

These scenes (seed 900) are neither trained on nor evaluated on.
"""

from __future__ import annotations

import argparse

import torch
from evaluate import compare, put_once, seconds, single_objects, weights

import brainlens

CHOICE_SEED, N_CHOICE = 900, 4000
COLUMNS = ("two_way_identification_pooled", "two_way_identification_cells", "concept_ratio")


def main() -> None:
    """Paint the same scenes with every guidance and number of steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--registry", required=True)
    parser.add_argument("--guidance", type=float, nargs="+", default=[3, 4, 5, 6, 7])
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 20])
    parser.add_argument("--n", type=int, default=300, help="scenes with one object")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    registry = brainlens.open(given.registry, quiet=True)
    registry.ingest("simulate.scenes", "choice", n=N_CHOICE, seed=CHOICE_SEED, annotate=False)
    scenes = registry["choice/images"].load()
    chosen, concepts = (part[: given.n] for part in single_objects(scenes))
    embedded = registry[registry.compute("mini.image", stimuli="choice/images")]
    wanted = f"choice/from-{given.n}"
    put_once(registry, wanted, embedded.isel(stimulus=chosen).load())
    print(f"| steps | guidance | {' | '.join(name.replace('_', ' ') for name in COLUMNS)} | seconds |")
    print("| --- " * (len(COLUMNS) + 3) + "|")
    for n_steps in given.steps:
        for guidance in given.guidance:
            name = f"choice/{weights()}-{given.n}-{n_steps}-{guidance:g}"
            registry.compute("mini.generate", embedding=wanted, n_steps=n_steps, guidance=guidance, name=name)
            painted = registry[name]
            found = compare(painted["image"].values, scenes["image"].values[chosen], concepts)
            shown = " | ".join(f"{found[column]:.3f}" for column in COLUMNS)
            print(f"| {n_steps} | {guidance:g} | {shown} | {seconds(painted):.0f} |", flush=True)


if __name__ == "__main__":
    main()
