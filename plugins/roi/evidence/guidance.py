"""Whether images that `roi.guide` paints drive the true simulated brain, not only the encoder that guided them.

    python guidance.py SEED [SEED ...]

Writes guidance.json, kept from earlier calls, guidance.md, and a gallery of the first seed. Everything here is
simulated: rendered scenes, a known model of a visual cortex, and the small generator that comes with brainlens. The
scale of the tables was chosen on seed 100, by the independent encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from brainlens_mini.image_text import differentiate_images
from brainlens_mini.params import ImageParams
from brainlens_roi.guide import predict_activation, read_activations
from brainlens_simulate.pyramid import build_pyramid
from seeds import HERE, Entries, measure_seeds
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingRegressor

import brainlens
from brainlens.fitted import load_encoder

SUBJECT: dict[str, Any] = {"n_stimuli": 3000, "n_shared": 300, "n_voxels": 2000, "n_repetitions": 2}
# What each region is tuned to in the simulation, in the judge's words.
TUNED = {"OFA": "face", "FFA": "face", "EBA": "body", "VWFA": "word", "food": "food"}
PLACES, EARLY = ("PPA", "OPA"), ("V1", "V2")
CONTRASTS = ("FFA > OFA", "PPA > OPA")
ROIS = (*TUNED, *PLACES, *EARLY, *CONTRASTS, "control")
SCALES = (0.0, 30.0, 100.0)
CHOSEN = 100.0
# As published, a fifth is kept, the best by the encoder that guided.
N_IMAGES, N_BEST = 15, 3
N_ASCENT, ASCENT_RATE = 40, 0.01
ABOUT = (
    "# Do guided images drive the true brain? (simulated)",
    "",
    "Encoder A (ridge on the features of the image-text model, half of the training scenes) guides the generator, and",
    f"chooses {N_BEST} of {N_IMAGES} images. Encoder B (ridge on the judge's features, the other half) and the true",
    "brain judge: mean activation of the ROI's sites in SDs over scenes, of a contrast the difference. V1 and V2 are",
    "computed from the pixels by the simulator itself. The others answer what is in a scene; boosted trees read that",
    "from what the judge and the pyramid see, trained on noiseless responses to the training scenes (R2: on scenes",
    "never met).",
    "",
    "- best scene: of the 1,800 scenes that A never met the one that drives the true brain most, whatever A says",
    f"- scenes: the {N_BEST} of these that A likes best; scenes, equal budget: of {N_IMAGES} of these, drawn at random",
    "- unguided, guided: from noise, as published; references.py starts from scenes",
    "- shuffled: A fitted to scenes in another order; ascent: A followed in pixels, from the unguided images",
    "",
)


class Brain:
    """The true activation of every ROI in any images, read or computed."""

    def __init__(self, registry: brainlens.Registry, truth: xr.Dataset, sees: np.ndarray) -> None:
        self.registry, self.truth = registry, truth
        drive = truth["drive"].values.astype(np.float64)
        std = drive.std(axis=0)
        frame = truth.drop_vars("drive").assign(
            training_mean=("voxel", drive.mean(axis=0)), training_std=("voxel", np.where(std > 0, std, 1.0))
        )
        self.mean, self.weights = drive.mean(axis=0), read_activations(frame, ROIS)
        self.known = {roi: (drive - self.mean) @ each for roi, each in self.weights.items()}
        train = truth["split"].values == "train"
        self.readers, self.r2 = {}, {}
        for roi, known in self.known.items():
            if roi in EARLY or not known.std():
                continue
            reader = HistGradientBoostingRegressor(max_iter=200, random_state=0).fit(sees[train], known[train])
            wrong = known[~train] - reader.predict(sees[~train])
            self.r2[roi] = float(1 - (wrong**2).mean() / known[~train].var())
            self.readers[roi] = reader

    def respond(self, roi: str, name: str, sees: np.ndarray) -> np.ndarray:
        """Return the activation of an ROI in stored images, (trial,)."""
        if roi in self.readers:
            found: np.ndarray = self.readers[roi].predict(sees)
            return found
        if roi not in EARLY:
            return np.zeros(len(sees))
        made = self.registry[self.registry.compute("simulate.respond", tuning="sim/tuning", images=name)].load()
        # All voxels of V1 to V3 but silent ones read pixels.
        place = {voxel: number for number, voxel in enumerate(self.truth["voxel"].values.tolist())}
        rows = [place[voxel] for voxel in made["voxel"].values.tolist()]
        return (made["response"].values - self.mean[rows]) @ self.weights[roi][rows]


@dataclass
class Study:
    """A simulated subject, what was fitted to it, and what tells how its brain answers."""

    registry: brainlens.Registry
    seed: int
    scenes: xr.Dataset
    natural: dict[str, xr.Dataset]
    encoders: dict[str, Any]
    weights: dict[str, dict[str, np.ndarray]]
    brain: Brain
    pca: PCA
    # Rows of the scenes that A never met.
    new: np.ndarray

    def favourites(self, roi: str, rows: np.ndarray) -> list[int]:
        """Return rows of scenes, the one that A likes best first."""
        told = self.encoders["A"].predict(self.natural["clip"].isel(stimulus=rows))
        values = dict(zip(rows.tolist(), weigh(told, self.encoders["A"].frame, self.weights["A"][roi]), strict=True))
        return sorted(rows.tolist(), key=values.__getitem__, reverse=True)


def prepare(registry: brainlens.Registry, seed: int) -> Study:
    """Simulate a subject and fit the encoders."""
    registry.ingest("simulate", "sim", seed=seed, subject="sim", **SUBJECT)
    registry.compute("mini.image", stimuli="sim/images", name="clip", device="cpu")
    registry.compute("mini.judge", stimuli="sim/images", name="judge", layer="pooled", device="cpu")
    scenes, truth = registry["sim/images"].load(), registry["sim/truth"].load()
    halves = split(registry, seed)
    fitted = {"average": "stimulus_id", "device": "cpu", "seed": seed}
    registry.fit("encoding.ridge", response="half/0", features="clip", name="A", **fitted)
    registry.fit("encoding.ridge", response="half/1", features="judge", name="B", **fitted)
    registry.fit("encoding.ridge", response="half/shuffled", features="clip", name="shuffled", **fitted)
    context = brainlens.Context(seed=seed)
    encoders = {name: load_encoder(registry._work, name, context) for name in ("A", "B", "shuffled")}
    weights = {name: read_activations(each.frame, ROIS) for name, each in encoders.items()}
    pca = PCA(50, random_state=0).fit(flat_pyramid(scenes["image"].values[:1000]))
    brain = Brain(registry, truth, see(registry, scenes, pca))
    natural = {name: registry[name].load() for name in ("clip", "judge")}
    new = np.flatnonzero(~np.isin(natural["clip"]["stimulus"].values, halves[0]))
    return Study(registry, seed, scenes, natural, encoders, weights, brain, pca, new)


def measure(registry: brainlens.Registry, seed: int) -> dict[str, Any]:
    """Return what A, B and the true brain say of every kind of image of every ROI."""
    study = prepare(registry, seed)
    few = np.random.default_rng(seed).choice(study.new, N_IMAGES, replace=False)
    kinds: dict[str, dict[str, np.ndarray]] = {"scenes": {}, "scenes, equal budget": {}}
    for roi in ROIS:
        kinds["scenes"][roi] = study.scenes["image"].values[study.favourites(roi, study.new)[:N_BEST]]
        kinds["scenes, equal budget"][roi] = study.scenes["image"].values[study.favourites(roi, few)[:N_BEST]]
    for scale in SCALES:
        made = guided(registry, "A", scale, seed)
        kinds[f"guided, {scale:g}" if scale else "unguided"] = best_of(made)
        if scale == CHOSEN:
            kinds["guided, not chosen"] = {roi: made["image"].values[row] for row, roi in enumerate(ROIS)}
            kinds["guided, shuffled"] = best_of(guided(registry, "shuffled", scale, seed))
    paint_sheet("guidance", kinds, ("scenes", "unguided", f"guided, {CHOSEN:g}"))
    context = brainlens.Context(seed=seed)
    a, weights = study.encoders["A"], study.weights["A"]
    kinds["ascent"] = {roi: ascend(kinds["unguided"][roi], a, weights[roi], context) for roi in ROIS}
    return judge(study, kinds)


def paint_sheet(name: str, kinds: dict[str, dict[str, np.ndarray]], shown: tuple[str, ...]) -> None:
    """Write two images of each kind and ROI to a PNG file, if there is none yet."""
    sheet = HERE / f"{name}.png"
    if not sheet.exists():
        rows = [(roi, np.concatenate([kinds[kind][roi][:2] for kind in shown])) for roi in ROIS]
        sheet.write_bytes(brainlens.contact_sheet(rows))


def judge(study: Study, kinds: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """Return what A, B and the true brain say of images, and of the one scene that drives the true brain most."""
    registry = study.registry
    found: dict[str, Any] = {"R2 of the reader": study.brain.r2, "ROIs": {roi: {} for roi in ROIS}}
    for roi in ROIS:
        found["ROIs"][roi]["best scene"] = {"true": float(study.brain.known[roi][study.new].max())}
    judged = study.natural["judge"]["embedding"].values
    met = np.setdiff1d(np.arange(len(judged)), study.new)
    spread = nearest(judged[study.new], judged[met])
    for kind, images in kinds.items():
        stack = np.concatenate([images[roi] for roi in ROIS])
        flat = as_images(stack)
        stored = registry.put(f"flat/{kind.replace(' ', '-').replace(',', '')}", flat)
        seen = {
            "A": registry[registry.compute("mini.image", images=stored, device="cpu")].load(),
            "B": registry[registry.compute("mini.judge", images=stored, layer="pooled", device="cpu")].load(),
        }
        names = registry[registry.compute("mini.judge", images=stored, layer="names", device="cpu")].load()
        concept = names["concept"].values[names["embedding"].values.argmax(axis=1)]
        sees = see(registry, flat, study.pca, stored=stored)
        far = nearest(seen["B"]["embedding"].values, judged[met]) / spread.mean()
        edges = np.cumsum([0, *(len(images[roi]) for roi in ROIS)])
        for roi, low, high in zip(ROIS, edges[:-1], edges[1:], strict=True):
            rows = slice(low, high)
            true = study.brain.respond(roi, stored, sees)[rows]
            entry = {"true": float(true.mean()), "distance": float(far[rows].mean())}
            for name in ("A", "B"):
                values = predict_activation(study.weights[name][roi], study.encoders[name], seen[name].isel(trial=rows))
                entry[name] = float(values.mean())
            if roi in TUNED:
                entry["named"] = float((concept[rows] == TUNED[roi]).mean())
            found["ROIs"][roi][kind] = entry
    return found


def split(registry: brainlens.Registry, seed: int) -> list[np.ndarray]:
    """Store the training trials of two halves of the scenes, and of one with stimuli in another order."""
    response = registry["sim/response"].load()
    train = response.isel(trial=np.flatnonzero(response["split"].values == "train"))
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.unique(train["stimulus_id"].values))
    halves = [np.sort(labels[::2]), np.sort(labels[1::2])]
    for number, half in enumerate(halves):
        rows = np.flatnonzero(np.isin(train["stimulus_id"].values, half))
        registry.put(f"half/{number}", train.isel(trial=rows))
    other = dict(zip(halves[0], rng.permutation(halves[0]), strict=True))
    rows = np.flatnonzero(np.isin(train["stimulus_id"].values, halves[0]))
    part = train.isel(trial=rows)
    moved = np.array([other[name] for name in part["stimulus_id"].values], dtype=object)
    registry.put("half/shuffled", part.assign_coords(stimulus_id=("trial", moved)))
    return halves


def guided(registry: brainlens.Registry, model: str, scale: float, seed: int) -> xr.Dataset:
    """Return images of every ROI at a scale, from noise and no condition."""
    given = {"rois": ROIS, "n_images": N_IMAGES, "images_at_once": N_IMAGES, "seed": seed, "device": "cpu"}
    # Without a condition there is nothing to go beyond.
    given["generator_params"] = {"guidance": 1.0}
    return registry[registry.compute("roi.guide", model=model, embedding="clip", scale=scale, **given)].load()


def best_of(made: xr.Dataset) -> dict[str, np.ndarray]:
    """Return the images of each ROI of which the guiding encoder predicts most."""
    order = np.argsort(-made["predicted"].values, axis=1, kind="stable")[:, :N_BEST]
    return {str(roi): made["image"].values[row, order[row]] for row, roi in enumerate(made["roi"].values)}


def weigh(predicted: xr.Dataset, frame: xr.Dataset, weights: np.ndarray) -> np.ndarray:
    """Return the activation in predicted responses, (trial,)."""
    found: np.ndarray = (predicted["response"].values - frame["training_mean"].values) @ weights
    return found


def ascend(images: np.ndarray, encoder: Any, weights: np.ndarray, context: brainlens.Context) -> np.ndarray:
    """Return images whose pixels follow the encoder's gradient, its sign in small steps (as adversarial images)."""
    pixels = images.astype(np.float32) / 255
    for _ in range(N_ASCENT):
        seen = differentiate_images(pixels=pixels, params=ImageParams(), context=context)
        driven = encoder.differentiate(seen.value)
        wanted = np.broadcast_to(weights, (len(pixels), len(weights)))
        back = seen.pull_back(driven.pull_back(wanted).astype(np.float32))
        pixels = (pixels + ASCENT_RATE * np.sign(back)).clip(0, 1).astype(np.float32)
    made: np.ndarray = (pixels * 255).round().astype(np.uint8)
    return made


def flat_pyramid(images: np.ndarray) -> np.ndarray:
    """Return the pyramid maps of images on an 8 x 8 grid, (image, value)."""
    maps = build_pyramid(images).reshape(len(images), 8, 2, 8, 2, -1).mean(axis=(2, 4))
    return maps.reshape(len(images), -1)


def see(registry: brainlens.Registry, images: xr.Dataset, pca: PCA, *, stored: str = "") -> np.ndarray:
    """Return what the reader of the true brain reads: the judge's features and names, and the pyramid."""
    given = {"images": stored} if stored else {"stimuli": "sim/images"}
    parts = [
        registry[registry.compute("mini.judge", layer=layer, device="cpu", **given)]["embedding"].values
        for layer in ("pooled", "names")
    ]
    return np.concatenate([*parts, pca.transform(flat_pyramid(images["image"].values))], axis=1)


def nearest(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the distance of each row to the nearest of others, (row,)."""
    squared = (rows**2).sum(axis=1)[:, None] - 2 * rows @ others.T + (others**2).sum(axis=1)
    found: np.ndarray = np.sqrt(np.maximum(0, squared.min(axis=1)))
    return found


def as_images(pixels: np.ndarray) -> xr.Dataset:
    """Return images (trial, y, x, rgb) as a dataset."""
    labels = {name: ("trial", np.arange(len(pixels))) for name in ("trial", "stimulus_id")}
    return xr.Dataset({"image": (("trial", "y", "x", "rgb"), pixels)}, labels, {"schema": "image.v1"})


def tables(entries: Entries) -> list[str]:
    """Return the tables of what was measured."""
    seeds = sorted(entries, key=int)
    lines = [*ABOUT, f"Seeds {', '.join(seeds)}; mean over seeds +- SD over seeds. Written by guidance.py.", ""]

    def mean(roi: str, kind: str, what: str) -> np.ndarray:
        return np.array([entries[seed]["ROIs"][roi][kind][what] for seed in seeds])

    def cell(values: np.ndarray) -> str:
        return f"{values.mean():.2f}" + (f" +- {values.std(ddof=1):.2f}" if len(values) > 1 else "")

    chosen = f"guided, {CHOSEN:g}"
    columns = ("best scene", "scenes", "scenes, equal budget", "unguided", chosen)
    lines += [f"## What the true brain answers (scale {CHOSEN:g})", ""]
    lines += [
        f"| ROI | R2 | {' | '.join(columns)} | guided over scenes, equal budget |",
        "|---|---|" + "---|" * (len(columns) + 1),
    ]
    for roi in ROIS:
        cells = [cell(mean(roi, kind, "true")) for kind in columns]
        over = int((mean(roi, chosen, "true") > mean(roi, "scenes, equal budget", "true")).sum())
        r2 = [entries[seed]["R2 of the reader"].get(roi) for seed in seeds]
        said = "computed" if roi in EARLY else "-" if None in r2 else f"{np.mean(r2):.2f}"
        lines.append(f"| {roi} | {said} | {' | '.join(cells)} | {over} of {len(seeds)} |")
    kinds = [kind for kind in entries[seeds[0]]["ROIs"]["FFA"] if kind != "best scene"]
    lines += ["", "## What each judge says, mean over all ROIs but the control", ""]
    lines += [
        "Named: share of the images of regions for objects that show what the region is tuned to, by the judge.",
        "Distance: from the nearest scene that A met, in the judge's features; 1: as far as other scenes are.",
        "",
        "| images | A | B | true | named | distance |",
        "|---|---|---|---|---|---|",
    ]
    rois = [roi for roi in ROIS if roi != "control"]
    for kind in kinds:
        cells = [f"{np.mean([mean(roi, kind, what) for roi in rois]):.2f}" for what in ("A", "B", "true")]
        cells.append(f"{np.mean([mean(roi, kind, 'named') for roi in TUNED]):.2f}")
        cells.append(f"{np.mean([mean(roi, kind, 'distance') for roi in rois]):.2f}")
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    measure_seeds(__doc__, "guidance", lambda registry, seed: measure(registry, int(seed)), tables)
