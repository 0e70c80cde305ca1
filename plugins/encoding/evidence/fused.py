"""Features of images, of texts and of both: which voxels need which, and what joint features must beat.

    python fused.py SEED [SEED ...]

Writes fused.json, kept from earlier calls, and fused.md. Everything here is simulated: scenes and voxels of `simulate`,
features of the small image-text model of `mini`, and counts of words.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from planted import Rows, correlations, run, standard

import brainlens

N_TRAIN, N_TEST, N_SITES, N_SHOWINGS = 900, 300, 60, 3
NOISE, SIZE, N_LEAK = 1.0, 128, 200
# Components of each side that are multiplied, and how many products the large joint space has.
MULTIPLIED = {"image": 32, "aligned-image": 12, "words": 32, "other-words": 32}
LARGE = 384
SUBJECT: dict[str, Any] = {"n_voxels": 1500, "n_repetitions": 1, "text": 0.3, "mixture": 0.1, "route": 0.0, "null": 0.1}
KINDS = ("visual", "semantic", "told", "sum", "product", "null")
SPACES = {
    "image": ("image",),
    "image, aligned with text": ("aligned-image",),
    "words": ("words",),
    "text, aligned with image": ("aligned-text",),
    "late fusion (twice the size)": ("late",),
    "late fusion, random projection": ("late-projected",),
    "joint: products of image and words": ("joint",),
    "joint, three times the size": ("joint-large",),
    "words of shuffled captions": ("other-words",),
    "late fusion, shuffled captions": ("late-other",),
    "joint, shuffled captions": ("joint-other",),
    "products of image and image": ("joint-image",),
}
BANDED = {"image and words, banded": ("image", "words"), "all three, banded": ("image", "words", "joint-large")}
ABOUT = (
    "# Features of images, texts and both (simulated)",
    "",
    f"{N_TRAIN} training, {N_TEST} test scenes with paragraphs, {N_SHOWINGS} showings each; {N_SITES} voxels of a",
    f"kind, noise of one showing {NOISE:g} of the SD of the signal. Correlation over test scenes with the response",
    "without noise (null: with what was measured), mean over voxels; mean over seeds and its 95 % interval. Settings",
    "were chosen on seed 100.",
    "",
    "- visual: receptive fields on maps of energy and colour; semantic: a concept that is seen and said; told: the",
    "  occasion, which only the paragraph says",
    "- sum: a visual voxel and a told one, added; product: a semantic one and a told one, multiplied, which neither",
    "  side drives alone",
    "- image: tokens of `mini.image`; words: counts of the words of the paragraph; each as its first",
    f"  {SIZE} principal components over the training scenes, scaled as a whole. Aligned: the two towers of the",
    "  image-text model, trained to agree",
    "- late fusion: image and words side by side (`encoding.fuse`), and a random projection of that to the same size",
    f"- joint: {SIZE} random products (`encoding.fuse --products`) of the first {MULTIPLIED['aligned-image']}",
    f"  components of the aligned image and {MULTIPLIED['words']} of the words, the simplest features in which both",
    "  have met. No public joint model was at hand. Products of image and image: the same without words",
    "",
)


def measure(seed: int) -> Rows:
    """Return what each feature space predicts, and what the measures of the field say of it."""
    with tempfile.TemporaryDirectory() as folder:
        registry = brainlens.open(Path(folder) / "fused.zarr", quiet=True)
        registry.ingest("simulate", "sim", seed=seed, subject="sim", n_stimuli=N_TRAIN, n_shared=N_TEST, **SUBJECT)
        drive, measured = plant(registry, np.random.default_rng([seed, 1]))
        make_spaces(registry, np.random.default_rng([seed, 2]), seed)
        rows: Rows = {}
        for name, spaces in (SPACES | BANDED).items():
            rows[name] = predict(registry, spaces, drive, measured, seed)
            print(name, {key: round(value, 3) for key, value in rows[name].items()}, flush=True)
        rows["the mean response"] = patterns(np.tile(measured[:-N_TEST].mean(axis=0), (N_TEST, 1)), measured[-N_TEST:])
        rows |= parts(registry, seed)
        return rows | leak(registry, seed)


def plant(registry: brainlens.Registry, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Store responses of each kind of voxel; return them without noise, and means of showings (stimulus, voxel)."""
    truth, tuning = registry["sim/truth"].load(), registry["sim/tuning"].load()
    split = truth["split"].values
    order = np.concatenate([np.flatnonzero(split == part) for part in ("train", "test")])
    values, spread = truth["drive"].values[order], truth["drive"].values.std(axis=0) > 1e-6
    family, preferred = tuning["family"].values, tuning["preferred"].values

    def draw(wanted: np.ndarray) -> np.ndarray:
        return standard(values[:, rng.choice(np.flatnonzero(wanted & spread), N_SITES, replace=False)])

    visual, told = draw(family == "early"), draw((family == "text") & (preferred == "occasion"))
    semantic = draw(family == "category")
    other, seen = draw(family == "early"), draw(family == "category")
    said, again = (draw((family == "text") & (preferred == "occasion")) for _ in range(2))
    both = [standard(other + said), standard(seen * again)]
    made = [visual, semantic, told, *both, np.zeros((len(values), N_SITES))]
    drive = np.concatenate(made, axis=1)
    # Voxels differ in their mean, as they do in a brain.
    mean = rng.standard_normal(drive.shape[1])
    showings = mean + drive + NOISE * rng.standard_normal((N_SHOWINGS, *drive.shape))
    stimuli = np.repeat(truth["stimulus"].values[order][None], N_SHOWINGS, axis=0).ravel()
    masks = np.repeat(np.arange(len(KINDS)), N_SITES) == np.arange(len(KINDS))[:, None]
    response = xr.Dataset(
        {"response": (("trial", "voxel"), showings.reshape(-1, drive.shape[1]).astype(np.float32))}
        | {"roi_mask": (("roi", "voxel"), masks)},
        {
            "trial": np.arange(len(stimuli)),
            "voxel": np.arange(drive.shape[1]),
            "roi": list(KINDS),
            "stimulus_id": ("trial", stimuli),
            "split": ("trial", np.tile(split[order], N_SHOWINGS)),
            "showing": ("trial", np.arange(len(stimuli))),
        },
        {"schema": "response.v1", "subject": "planted", "units": "z", "simulated": 1},
    )
    registry.put("response", response)
    return drive, showings.mean(axis=0)


def make_spaces(registry: brainlens.Registry, rng: np.random.Generator, seed: int) -> None:
    """Store the feature spaces; principal components and their scales are of training scenes."""
    stimuli = registry["sim/truth"]["stimulus"].values
    train = registry["sim/truth"]["split"].values == "train"
    tokens = registry.compute("mini.image", stimuli="sim/images", layer="grid8", device="cpu")
    image = registry.compute("mini.image", stimuli="sim/images", device="cpu")
    text = registry.compute("mini.text", texts="sim/captions", caption="paragraph", device="cpu")
    said = registry["sim/captions"]["text"].sel(caption="paragraph").load().sel(stimulus=stimuli).values
    tables = {
        name: registry[found]["embedding"].load().sel(stimulus=stimuli).values.reshape(len(stimuli), -1)
        for name, found in (("image", tokens), ("aligned-image", image), ("aligned-text", text))
    }
    tables["words"] = count_words(said)
    # Captions of other scenes: of training scenes in training, so that nothing of the test is met.
    order = np.arange(len(stimuli))
    for part in (train, ~train):
        order[part] = rng.permutation(order[part])
    tables["other-words"] = tables["words"][order]
    for name, table in tables.items():
        values = components(table, train, SIZE)
        # Spaces are as large as each other before they are put together.
        put(registry, name, stimuli, values / np.sqrt((values[train] ** 2).mean()))
        if name in MULTIPLIED:
            few = values[:, : MULTIPLIED[name]]
            put(registry, f"few-{name}", stimuli, few / few[train].std(axis=0))
    size: dict[str, Any] = {"n_channels": SIZE, "seed": seed, "device": "cpu"}
    fused: dict[str, tuple[list[str], dict[str, Any]]] = {
        "late": (["image", "words"], {}),
        "late-projected": (["image", "words"], size),
        "late-other": (["image", "other-words"], {}),
        "joint": (["few-aligned-image", "few-words"], {**size, "products": True}),
        "joint-large": (["few-aligned-image", "few-words"], {**size, "n_channels": LARGE, "products": True}),
        "joint-other": (["few-aligned-image", "few-other-words"], {**size, "products": True}),
        "joint-image": (["few-aligned-image", "few-image"], {**size, "products": True}),
    }
    for name, (embeddings, options) in fused.items():
        registry.compute("encoding.fuse", embeddings=embeddings, model=name, name=name, **options)


def count_words(texts: np.ndarray) -> np.ndarray:
    """Return how often each word is in each text (text, word)."""
    split = [str(text).replace(",", " ").replace(".", " ").split() for text in texts]
    names = sorted({word for words in split for word in words})
    column = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(texts), len(names)), np.float32)
    for row, words in zip(counts, split, strict=True):
        np.add.at(row, [column[word] for word in words], 1)
    return counts


def components(table: np.ndarray, train: np.ndarray, n: int) -> np.ndarray:
    """Return the first principal components of the training rows (stimulus, component)."""
    centred = table - table[train].mean(axis=0)
    if table.shape[1] <= train.sum():
        _, axes = np.linalg.eigh(centred[train].T @ centred[train])
        return np.asarray(centred @ axes[:, ::-1][:, :n])
    values, basis = np.linalg.eigh(centred[train] @ centred[train].T)
    axes = centred[train].T @ (basis[:, ::-1][:, :n] / np.sqrt(values[::-1][:n]))
    return np.asarray(centred @ axes)


def put(registry: brainlens.Registry, name: str, stimuli: np.ndarray, table: np.ndarray) -> None:
    """Store features of stimuli."""
    labels = {"stimulus": stimuli, "channel": np.arange(table.shape[1])}
    attrs = {"schema": "embedding.v1", "model": name, "simulated": 1}
    registry.put(name, xr.Dataset({"embedding": (("stimulus", "channel"), table.astype(np.float32))}, labels, attrs))


def fit(registry: brainlens.Registry, spaces: tuple[str, ...], seed: int) -> str:
    """Fit to the training scenes; return the name of predictions of all."""
    features = list(spaces) if len(spaces) > 1 else spaces[0]
    given: dict[str, Any] = {"features": features, "average": "stimulus_id", "device": "cpu", "seed": seed}
    options = {"n_scalings": 15} if len(spaces) > 1 else {"scale": "space"}
    component = "encoding.banded" if len(spaces) > 1 else "encoding.ridge"
    model = registry.fit(component, response="response", **given, **options)
    return registry.predict(model, features=features, device="cpu")


def predict(
    registry: brainlens.Registry, spaces: tuple[str, ...], drive: np.ndarray, measured: np.ndarray, seed: int
) -> dict[str, float]:
    """Return the correlation with each kind of voxel, the share that passes, and scores of patterns."""
    made = fit(registry, spaces, seed)
    maps = registry[
        registry.compute("encoding.score", predicted=made, measured="response", n_permutations=1000, device="cpu")
    ].load()["map"]
    response, predicted = registry["response"], registry[made].load()
    tested = response["stimulus_id"].values[response["split"].values == "test"][:N_TEST]
    rows = predicted["response"].assign_coords(trial=predicted["stimulus_id"].values).sel(trial=tested).values
    truth = np.where(drive.std(axis=0) > 0, drive[-N_TEST:], measured[-N_TEST:])
    r = correlations(rows, truth).reshape(len(KINDS), N_SITES)
    passed = (maps.sel(map_name="q_value").values < 0.05).reshape(len(KINDS), N_SITES)
    found = {kind: float(r[number].mean()) for number, kind in enumerate(KINDS)}
    found |= {f"passed {kind}": float(passed[number].mean()) for number, kind in enumerate(KINDS)}
    return found | patterns(rows, measured[-N_TEST:])


def patterns(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Return 2V2 accuracy by cosine, and the correlation over voxels of each scene's pattern, mean over scenes."""

    def cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        one, other = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (one, other))
        return np.asarray(one @ other.T)

    alike = cosine(predicted, measured)
    right = np.diag(alike)[:, None] + np.diag(alike)
    wrong = alike + alike.T
    pairs = np.triu_indices(len(alike), 1)
    gain = (right - wrong)[pairs]
    two = float((gain > 1e-9).mean() + 0.5 * (np.abs(gain) <= 1e-9).mean())
    one, other = (each - each.mean(axis=1, keepdims=True) for each in (predicted, measured))
    return {"two_v_two": two, "pattern": float(np.diag(cosine(one, other)).mean())}


def parts(registry: brainlens.Registry, seed: int) -> Rows:
    """Return the variance that each space explains alone, by kind of voxel."""
    every = BANDED["all three, banded"]
    sets = [every, *(tuple(name for name in every if name != left_out) for left_out in every)]
    made = registry.compute(
        "encoding.partition", predicted=[fit(registry, spaces, seed) for spaces in sets], measured="response",
        device="cpu",
    )  # fmt: skip
    maps = registry[made].load()["map"]
    names = {"image": "unique image", "words": "unique words", "joint": "unique joint-large", "shared": "shared"}
    rows: Rows = {}
    for number, kind in enumerate(KINDS):
        here = maps.isel(voxel=slice(number * N_SITES, (number + 1) * N_SITES)).mean("voxel")
        rows[f"{kind} voxels"] = {f"r2 {key}": float(here.sel(map_name=name)) for key, name in names.items()}
    return rows


def leak(registry: brainlens.Registry, seed: int) -> Rows:
    """Return how well single showings are predicted where folds keep scenes together, and where they do not."""
    response = registry["response"].load()
    few = response["stimulus_id"].values[:N_LEAK]
    registry.put("few", response.isel(trial=np.flatnonzero(np.isin(response["stimulus_id"].values, few))))
    rows: Rows = {}
    for space in ("image", "words"):
        found = {}
        for by in ("stimulus_id", "showing"):
            made = registry.cross_predict(
                "encoding.ridge", features=space, response="few", leave_out=by, n_folds=5, cv_by=by, scale="space",
                device="cpu", seed=seed,
            )  # fmt: skip
            options: dict[str, Any] = {"n_permutations": 0, "allow_training": True, "split": "all", "device": "cpu"}
            maps = registry[registry.compute("encoding.score", predicted=made, measured="few", **options)].load()["map"]
            found[by] = maps.sel(map_name="correlation").values.reshape(len(KINDS), N_SITES).mean(axis=1)
        for kind in ("visual", "told", "null"):
            number = KINDS.index(kind)
            rows[f"{space}, {kind} voxels"] = {f"leak {by}": float(values[number]) for by, values in found.items()}
    return rows


if __name__ == "__main__":
    run(
        "fused",
        measure,
        about=ABOUT,
        tables={
            "What each predicts": {kind: kind for kind in KINDS},
            "Share of voxels at q < .05 (encoding.score)": {f"passed {kind}": kind for kind in KINDS},
            "Variance that only one space explains (encoding.partition)": {
                "r2 image": "image",
                "r2 words": "words",
                "r2 joint": "joint",
                "r2 shared": "shared",
            },
            "Scores of patterns, all voxels together, beside a model that knows nothing of the scene": {
                "two_v_two": "2V2",
                "pattern": "correlation over voxels",
            },
            f"Showings of {N_LEAK} scenes predicted across folds (correlation with the mean of showings)": {
                "leak stimulus_id": "scenes kept together",
                "leak showing": "scenes split between folds",
            },
        },
        first="",
    )
