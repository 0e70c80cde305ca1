"""A new subject with a fortieth of the data: what training on other subjects first is worth, on rendered subjects.

    python new_subject.py SEED [SEED ...] [--scratch FOLDER]

Writes new_subject.json, kept from earlier calls, and new_subject.md. Everything here is simulated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tables import Row, Rows, run_subjects

import brainlens

OTHERS = ("sim02", "sim03", "sim04")
N_STIMULI, N_SHARED, N_VOXELS, SHARE = 2000, 150, 1500, 40
NETWORK: dict[str, Any] = {"entry": "linear", "prior": "none", "epochs": 60, "batch_size": 48, "learning_rate": 1e-3}
# With one step in an epoch, as many steps as there are in sixty passes over a quarter of the whole.
FEW = {**NETWORK, "epochs": 600}
COLUMNS = {"top_1": "top-1", "two_way": "two-way"}
ABOUT = (
    "# A new subject with a fortieth of the data (simulated)",
    "",
    f"Few: {N_STIMULI // SHARE} training scenes, three showings each, of the {N_STIMULI} that make all; {N_VOXELS}",
    f"voxels. Shared first: trained on all of {len(OTHERS)} others, then on the few. Top-1 among {N_SHARED} test",
    f"scenes (chance {1 / N_SHARED:.3f}) and two-way identification (chance .5), mean of three showings; mean over",
    "seeds +- SD over seeds.",
)


def measure(registry: brainlens.Registry, seed: int) -> Rows:
    """Return retrieval among the test scenes for each way of training on the new subject's few trials."""
    for number, subject in enumerate(("sim01", *OTHERS)):
        registry.ingest(
            "simulate", subject, seed=100 * seed + number, subject=subject, population=seed, n_stimuli=N_STIMULI,
            n_shared=N_SHARED, n_voxels=N_VOXELS,
        )  # fmt: skip
        registry.compute("mini.image", stimuli=f"{subject}/images", name=f"{subject}/clip", device="cpu")
    registry.put("sim01/few", few_stimuli(registry["sim01/response"], N_STIMULI // SHARE))
    data: dict[str, Any] = {"target": "sim01/clip", "seed": seed, "device": "cpu"}
    shared = registry.fit(
        "mindeye", response=[f"{each}/response" for each in OTHERS], target=[f"{each}/clip" for each in OTHERS],
        seed=seed, device="cpu", name="models/shared", **NETWORK,
    )  # fmt: skip
    models = {
        "ridge, few": registry.fit("linear", response="sim01/few", name="models/ridge-few", **data),
        "MindEye, few, from scratch": registry.fit(
            "mindeye", response="sim01/few", name="models/scratch", **data, **FEW
        ),
        "MindEye, few, shared first": registry.fit(
            "mindeye", response="sim01/few", name="models/tuned", start=shared, **data, **FEW
        ),
        "ridge, all": registry.fit("linear", response="sim01/response", name="models/ridge-all", **data),
        "MindEye, all": registry.fit("mindeye", response="sim01/response", name="models/all", **data, **NETWORK),
    }
    found = {name: score(registry, model) for name, model in models.items()}
    # Voxels in another order are another brain: what was learnt of this one must be lost.
    wrong = registry["sim01/response"].load()
    order = np.random.default_rng(seed).permutation(wrong.sizes["voxel"])
    registry.put("sim01/wrong", wrong.assign(response=(("trial", "voxel"), wrong["response"].values[:, order])))
    found["MindEye, few, shared first, voxels shuffled"] = score(
        registry, models["MindEye, few, shared first"], "wrong"
    )
    return found


def few_stimuli(response: Any, n: int) -> Any:
    """Keep all test trials, and the training trials of the first stimuli that were shown."""
    train = response["split"].values == "train"
    shown = response["stimulus_id"].values
    first = list(dict.fromkeys(shown[train]))[:n]
    return response.isel(trial=np.flatnonzero(~train | np.isin(shown, first))).load()


def score(registry: brainlens.Registry, model: str, response: str = "response") -> Row:
    """Return top-1 and two-way identification among the test scenes, about the mean of the training targets."""
    decoded = registry[
        registry.predict(model, response=f"sim01/{response}", average="stimulus_id", device="cpu")
    ].load()
    embedding = decoded["embedding"]
    if "variant" in embedding.dims:
        embedding = embedding.sel(variant="retrieval")
    target = registry["sim01/clip"].load()["embedding"]
    trained = registry["sim01/response"]
    mean = target.sel(stimulus=np.unique(trained["stimulus_id"].values[trained["split"].values == "train"]))
    mean = mean.mean("stimulus").values
    gallery = target.sel(stimulus=decoded["stimulus_id"].values).values - mean
    predicted = embedding.values - mean
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    scores = predicted @ gallery.T
    own = np.diag(scores)[:, None]
    n = len(scores)
    return {
        "top_1": float(((scores >= own).sum(axis=1) == 1).mean()),
        "two_way": float((scores < own).sum() / (n * (n - 1))),
    }


if __name__ == "__main__":
    run_subjects("new_subject", measure, about=ABOUT, first="decoder", columns=COLUMNS)
