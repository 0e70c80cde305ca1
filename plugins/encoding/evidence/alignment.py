"""Whether captions help to learn features for voxels: weights of the alignment, numbers of images, and controls.

    python alignment.py SEED [SEED ...]

Writes alignment.json, kept from earlier calls, and alignment.md. Everything here is simulated: scenes and voxels of
`simulate`, captions of its scenes, embedded by the small text model of `mini`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from brainlens_encoding.aligned import AlignedEncoder
from brainlens_encoding.aligned_params import AlignedParams
from brainlens_encoding.params import RidgeParams
from brainlens_encoding.ridge import RidgeEncoder
from planted import Rows, correlations, run, standard

import brainlens

SIZES, N_TEST, N_SITES, NOISE = (100, 300, 1000), 300, 60, 1.5
CONTROLLED = 300
WEIGHTS = (0.0, 0.01, 0.1, 1.0, 10.0)
SMALL = 0.1
SUBJECT: dict[str, Any] = {"n_voxels": 1500, "n_repetitions": 1, "text": 0.3, "mixture": 0.1, "route": 0.0, "null": 0.1}
KINDS = ("low", "category", "told", "null")
CONCEPTS = ("face", "body", "animal", "vehicle", "tool", "food", "word")
TOWERS: dict[str, dict[str, Any]] = {
    "convolutions": {"tower": "convolutional", "channels": (32, 64, 64)},
    "adapter": {"tower": "adapter"},
}
PLAN: dict[str, Any] = {"epochs": 40, "patience": 10, "weight_decays": (0.1, 1.0), "batch_size": 50, "width": 128}
ABOUT = (
    "# Do captions help to find features for voxels? (simulated)",
    "",
    f"Scenes with paragraphs; {N_SITES} voxels of a kind, one showing, noise {NOISE:g} of the SD of the signal.",
    f"Correlation over {N_TEST} test scenes with the response without noise (null: with what was measured), mean over",
    "voxels; mean over seeds and its 95 % interval. Captions are those of training scenes.",
    "Settings were chosen on seed 100.",
    "",
    "- low: receptive fields on maps of energy and colour; category: a concept that is seen and said; told: the",
    "  occasion, which only the paragraph says, so that nothing that sees images can predict it",
    "- convolutions: from 32 x 32 pixels, all of it trained; adapter: on frozen tokens of the judge of `mini`",
    "- weight 0: the same network without captions; the rest is the same to the last random number",
    "- first: 20 of 40 epochs from captions alone, then both; not refitted: the weights of voxels as they were trained",
    "- shuffled: captions of other training scenes; names: which of seven kinds of object are there, instead of a",
    "  caption; random: a random vector for each scene instead",
    "- captions alone: ridge from the captions' embeddings, which test scenes have here as well",
    "",
)


class World:
    """Scenes with captions, what voxels answer, and what is known of the scenes."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 1])
        with tempfile.TemporaryDirectory() as folder:
            registry = brainlens.open(Path(folder) / "alignment.zarr", quiet=True)
            registry.ingest(
                "simulate", "sim", seed=seed, subject="sim", n_stimuli=max(SIZES), n_shared=N_TEST, **SUBJECT
            )
            truth, tuning = registry["sim/truth"].load(), registry["sim/tuning"].load()
            split = truth["split"].values
            order = np.concatenate([np.flatnonzero(split == part) for part in ("test", "train")])
            stimuli = truth["stimulus"].values[order]
            spaces = {
                "pixels": registry.compute("encoding.pixels", stimuli="sim/images", shrink=2),
                "judge": registry.compute("mini.judge", stimuli="sim/images", layer="features", device="cpu"),
                "captions": registry.compute("mini.text", texts="sim/captions", caption="paragraph", device="cpu"),
            }
            self.spaces = {name: registry[found].load().sel(stimulus=stimuli) for name, found in spaces.items()}
            said = registry["sim/captions"]["text"].sel(caption="tag").load().sel(stimulus=stimuli).values
        family, preferred = tuning["family"].values, tuning["preferred"].values
        values = truth["drive"].values[order]
        spread = values.std(axis=0) > 1e-6

        def draw(wanted: np.ndarray) -> np.ndarray:
            return standard(values[:, rng.choice(np.flatnonzero(wanted & spread), N_SITES, replace=False)])

        self.drive = np.concatenate(
            [
                draw(family == "early"),
                draw(family == "category"),
                draw((family == "text") & (preferred == "occasion")),
                np.zeros((len(values), N_SITES)),
            ],
            axis=1,
        )
        self.measured = self.drive + NOISE * rng.standard_normal(self.drive.shape)
        # Captions of other scenes; kinds of object; vectors that say nothing.
        captions = self.spaces["captions"]
        table = captions["embedding"].values
        tags = [{word.strip() for word in str(text).split(",")} for text in said]
        names = np.array([[concept in words for concept in CONCEPTS] for words in tags], np.float32)
        self.spaces["shuffled"] = captions.assign(
            embedding=(captions["embedding"].dims, np.concatenate([table[:N_TEST], rng.permutation(table[N_TEST:])]))
        )
        for name, rows in (("names", names), ("random", rng.standard_normal(table.shape).astype(np.float32))):
            labels = {"stimulus": stimuli, "channel": np.arange(rows.shape[1])}
            self.spaces[name] = xr.Dataset({"embedding": (("stimulus", "channel"), rows)}, labels, {"model": name})

    def rows(self, space: str, rows: slice) -> xr.Dataset:
        """Return some stimuli of a feature space as trials."""
        found = self.spaces[space].isel(stimulus=rows).drop_vars("stimulus").rename(stimulus="trial")
        numbers = np.arange(len(self.drive))[rows]
        return found.assign_coords(trial=numbers, stimulus_id=("trial", numbers))

    def response(self, rows: slice) -> xr.Dataset:
        """Return what was measured."""
        numbers = np.arange(len(self.drive))[rows]
        labels = {"trial": numbers, "stimulus_id": ("trial", numbers), "voxel": np.arange(self.drive.shape[1])}
        values = self.measured[rows].astype(np.float32)
        return xr.Dataset({"response": (("trial", "voxel"), values)}, labels, {"subject": "planted", "simulated": 1})

    def score(self, encoder: Any, space: str) -> dict[str, float]:
        """Return the correlation with each kind of voxel over test scenes."""
        found = encoder.predict(self.rows(space, slice(N_TEST)))["response"].values
        truth = np.where(self.drive.std(axis=0) > 0, self.drive[:N_TEST], self.measured[:N_TEST])
        means = correlations(found, truth).reshape(len(KINDS), N_SITES).mean(axis=1)
        return dict(zip(KINDS, map(float, means), strict=True))


def measure(seed: int) -> Rows:
    """Return the correlation with each kind of voxel for each way of learning features."""
    world, rows = World(seed), {}

    def note(name: str, found: dict[str, float], size: int) -> None:
        rows.setdefault(name, {}).update({f"{kind} {size}": value for kind, value in found.items()})
        print(size, name, {key: round(value, 3) for key, value in found.items()}, flush=True)

    for size in SIZES:
        train = slice(N_TEST, N_TEST + size)
        for name, space in (("ridge, frozen judge", "judge"), ("ridge, captions alone", "captions")):
            ridge = RidgeEncoder(RidgeParams(scale="space"), brainlens.Context(seed=seed))
            ridge.fit(world.rows(space, train), world.response(train))
            note(name, world.score(ridge, space), size)
        for tower in TOWERS:
            for weight in WEIGHTS:
                note(f"{tower}, weight {weight:g}", learn(world, tower, size, seed, alignment=weight), size)
            first = {"alignment": SMALL, "align_epochs": 20}
            note(f"{tower}, captions first", learn(world, tower, size, seed, **first), size)
            note(f"{tower}, captions first, not refitted", learn(world, tower, size, seed, refit=False, **first), size)
            if size != CONTROLLED:
                continue
            for text in ("shuffled", "names", "random"):
                for weight in (SMALL, 1.0):
                    found = learn(world, tower, size, seed, text=text, alignment=weight)
                    note(f"{tower}, {text}, weight {weight:g}", found, size)
            for number in (8, 32, 128):
                given = {"alignment": SMALL, "head": "pca", "n_components": number}
                note(f"{tower}, {number} components, weight {SMALL:g}", learn(world, tower, size, seed, **given), size)
    return rows


def learn(world: World, tower: str, size: int, seed: int, *, text: str = "captions", **given: Any) -> dict[str, float]:
    """Fit a tower to some of the training scenes; return its scores."""
    space = "pixels" if tower == "convolutions" else "judge"
    train = slice(N_TEST, N_TEST + size)
    encoder = AlignedEncoder(AlignedParams(**PLAN, **TOWERS[tower], **given), brainlens.Context(seed=seed))
    encoder.fit(world.rows(space, train), world.response(train), text=world.rows(text, train))
    return world.score(encoder, space)


def columns(size: int) -> dict[str, str]:
    """Return the columns of a table."""
    return {f"{kind} {size}": kind for kind in KINDS}


if __name__ == "__main__":
    run(
        "alignment",
        measure,
        about=ABOUT,
        tables={f"{size:,} images": columns(size) for size in SIZES},
        first="features",
    )
