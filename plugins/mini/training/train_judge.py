"""Train the judge on simulated scenes: what each cell of a grid shows, and what the image holds.

    python train_judge.py --registry train.zarr --scenes train2 --out build/judge

Nothing of it is used by the other networks, nor they by it. Goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from brainlens_mini.judge import Judge
from scenes import CELLS, Scenes, cell_shares
from torch import nn
from torch.nn import functional

import brainlens


def main() -> None:
    """Train, from the last checkpoint if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--registry", required=True)
    parser.add_argument("--scenes", nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=150_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=100)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    scenes = Scenes(brainlens.open(given.registry, quiet=True), given.scenes)
    scenes.captions = None
    words = scenes.vocabulary()
    name_ids = np.vectorize({name: number for number, name in enumerate(words.names)}.get)(scenes.object_names)
    ids = np.concatenate([np.zeros((len(scenes), 1), int), name_ids], axis=1)
    concepts = [words.concept_of[name] for name in words.names[1:]]
    (given.out / "names.json").write_text(json.dumps({"names": words.names[1:], "concepts": concepts}, indent=1))
    model = Judge(len(words.names) - 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=given.lr, weight_decay=0.02)
    n_steps = given.samples // given.batch
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * min(1, step / n_steps)))
    )
    file, step, spent = given.out / "checkpoint.pt", 0, 0.0
    if file.exists():
        saved = torch.load(file, weights_only=True)
        for part, name in ((model, "model"), (optimizer, "optimizer"), (schedule, "schedule")):
            part.load_state_dict(saved[name])
        step, spent = saved["step"], saved["spent"]

    def save() -> None:
        parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
        state = {name: part.state_dict() for name, part in parts.items()}
        torch.save({**state, "step": step, "spent": spent}, given.out / "checkpoint.part")
        (given.out / "checkpoint.part").replace(file)

    last, sums, since, every = time.monotonic(), np.zeros(2), 0, 200
    while step < n_steps:
        epoch, within = divmod(step, len(scenes) // given.batch)
        if within == 0 or since == 0:
            order = np.random.default_rng([given.seed, epoch]).permutation(len(scenes))
        rows = np.sort(order[within * given.batch : (within + 1) * given.batch])
        images = torch.from_numpy(scenes.pixels(rows)).permute(0, 3, 1, 2).float() / 127.5 - 1
        present = np.zeros((len(rows), len(words.names)), np.float32)
        np.put_along_axis(present, name_ids[rows], 1, axis=1)
        share = cell_shares(scenes.object_maps(rows), ids[rows], len(words.names), CELLS)
        with torch.autocast("cpu", torch.bfloat16):
            names, cells = model(images)
        losses = [
            functional.binary_cross_entropy_with_logits(names.float(), torch.from_numpy(present[:, 1:])),
            functional.cross_entropy(cells.float(), torch.from_numpy(share).permute(0, 3, 1, 2)),
        ]
        loss = 10 * losses[0] + losses[1]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        sums += [float(item.detach()) for item in losses]
        step, since = step + 1, since + 1
        if step % every == 0:
            now = time.monotonic()
            spent += now - last
            rate = every * given.batch / (now - last)
            print(
                f"{step}/{n_steps} names {sums[0] / every:.4f} cells {sums[1] / every:.4f} {rate:.0f}/s "
                f"{spent / 60:.1f} min",
                flush=True,
            )
            sums[:], last = 0, now
            save()
    save()


if __name__ == "__main__":
    main()
