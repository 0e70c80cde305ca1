"""Whether patterns of place areas are painted as places, of subjects whose tuning is known.

    python places.py SEED [SEED ...]

Writes places.json, kept from earlier calls, places.md, and a gallery of the first seed. Everything here is simulated:
rendered scenes, a known model of a visual cortex, ridge, and the small generator that comes with brainlens.

Four of five scenes are places anyway, so pictures of any region look like one. What is asked is therefore a contrast:
more like a place than what is painted when the same region is silent, when the region without signal is active, and
when as many voxels at random are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from layout import shuffled
from seeds import HERE, Entries, measure_seeds
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import brainlens

SUBJECT: dict[str, Any] = {"n_stimuli": 900, "n_shared": 100, "n_voxels": 2000}
# What the judge learns from: scenes of another seed, which neither the subject nor the decoder has met.
SCENES: dict[str, Any] = {"n_stimuli": 1000, "n_shared": 100, "n_voxels": 120}
OTHER_SEED = 1000
# Voxels of each of the first three prefer outdoor or indoor scenes, half and half in PPA and OPA, 7 to 3 in RSC.
PLACES = ("PPA", "OPA", "RSC")
OBJECTS = ("OFA", "FFA", "EBA", "FBA", "VWFA", "food")
CONTROL = "control"
KINDS = ("outdoor", "indoor", "backdrop")
LEVELS = {"active": 1.0, "silent": -1.0}
FORMS = {
    "published": (*PLACES, *OBJECTS, "V1", CONTROL),
    "natural": (*PLACES, CONTROL),
    "shuffled": (*PLACES, CONTROL),
}
# Chance 1/2 each, but for the last, 1/7.
COMPARED = ("silent", "control", "shuffled", "control, gain", "shuffled, gain", "object areas, gain")
# Inverse strength of the judge's penalty; chosen by its accuracy on held-out scenes of seeds that are not measured.
PENALTY = 0.01
N_IMAGES, N_PAINTED, N_SHOWN = 8, 40, 4
ABOUT = (
    "# Painted from a pattern that is active in a place area (simulated)",
    "",
    f"{SUBJECT['n_stimuli']} training scenes; ridge to the image embedding; each ROI one SD above its mean (active) or",
    "below it (silent), all else at the mean (published) or where it is then on average (natural); moved to the usual",
    f"distance from the mean; {N_IMAGES} images of the same noise. In the simulation voxels of PPA, OPA and RSC prefer",
    "outdoor or indoor scenes to patterned backdrops (half of the voxels each, in RSC 7 of 10 outdoor); four of five",
    "scenes are outdoor or indoor. Judge: logistic regression on features of a network that conditioned nothing,",
    "learnt from 800 scenes of another seed. Log odds: of outdoor or indoor against backdrop, both weighted alike, so",
    "that 0 is undecided. Shuffled: the published patterns with voxels in another order.",
)

Judge = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def measure(registry: brainlens.Registry, seed: int) -> dict[str, Any]:
    """Return what the judge says of images of each region, active and silent, and how far it can be trusted."""
    judge, found = learn_places(registry, seed + OTHER_SEED)
    registry.ingest("simulate", "sim", seed=seed, subject="sim", **SUBJECT)
    registry.compute("mini.image", stimuli="sim/images", name="clip", device="cpu")
    found |= check(registry, judge)
    model = registry.fit("linear", response="sim/response", target="clip", average="stimulus_id", device="cpu")
    sheet = {}
    for form, regions in FORMS.items():
        found[form] = {}
        for state, level in LEVELS.items():
            shape = "published" if form == "shuffled" else form
            made = registry.compute("roi.patterns", response="sim/response", patterns=regions, form=shape, level=level)
            if form == "shuffled":
                # The same order for both levels.
                patterns = shuffled(registry[made].load(), np.random.default_rng(seed))
                made = registry.put(f"shuffled/{state}", patterns)
            decoded = registry.predict(model, response=made, device="cpu")
            given = {"target": "clip", "n_images": N_IMAGES, "seed": seed, "device": "cpu"}
            images = registry[registry.compute("roi.paint", decoded=decoded, **given)]["image"].values
            odds, kinds = judge(look(registry, images.reshape(-1, *images.shape[2:]), f"{form}/{state}"))
            rows = zip(regions, odds.reshape(len(regions), -1), kinds.reshape(len(regions), -1), strict=True)
            found[form][state] = {
                region: {
                    "log odds": float(of_region.mean()),
                    **{kind: float((named == number).mean()) for number, kind in enumerate(KINDS)},
                }
                for region, of_region, named in rows
            }
            if form == "published":
                sheet |= {(region, state): images[regions.index(region), :N_SHOWN] for region in (*PLACES, CONTROL)}
    if not (HERE / "places.png").exists():
        order = [(region, state) for region in (*PLACES, CONTROL) for state in LEVELS]
        rows = [(f"{region} {state}", sheet[region, state]) for region, state in order]
        (HERE / "places.png").write_bytes(brainlens.contact_sheet(rows))
    return found


def learn_places(registry: brainlens.Registry, seed: int) -> tuple[Judge, dict[str, float]]:
    """Return a judge of places, and its accuracy on scenes that it has not met.

    The judge takes features (image, channel), and returns log odds of a place against a backdrop (image,), and which
    of `KINDS` each image is, (image,).
    """
    registry.ingest("simulate", "other", seed=seed, subject="other", **SCENES)
    features = look(registry, registry["other/images"]["image"].values, "other/looked")
    kinds = true_kinds(registry["other/factors"].load())
    cut = len(kinds) * 4 // 5
    which, whether = (
        make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=1000, class_weight=weight))
        for weight in (None, "balanced")
    )
    which.fit(features[:cut], kinds[:cut])
    whether.fit(features[:cut], kinds[:cut] < 2)

    def judge(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return whether.decision_function(seen), which.predict(seen)

    odds, named = judge(features[cut:])
    return judge, {
        "scenes, kind": float((named == kinds[cut:]).mean()),
        "scenes, place": float(roc_auc_score(kinds[cut:] < 2, odds)),
    }


def check(registry: brainlens.Registry, judge: Judge) -> dict[str, float]:
    """Return how right the judge is about images that are painted from true embeddings of known scenes."""
    factors = registry["sim/factors"].load().isel(stimulus=slice(-N_PAINTED, None))
    registry.put("known", registry["clip"].load().sel(stimulus=factors["stimulus"].values))
    images = registry[registry.compute("mini.generate", embedding="known", device="cpu")]["image"].values
    odds, named = judge(look(registry, images, "known/looked"))
    kinds = true_kinds(factors)
    return {"painted, kind": float((named == kinds).mean()), "painted, place": float(roc_auc_score(kinds < 2, odds))}


def true_kinds(factors: xr.Dataset) -> np.ndarray:
    """Return which of `KINDS` each scene is, (stimulus,)."""
    found: np.ndarray = factors["embedding"].sel(channel=list(KINDS)).values.argmax(axis=1)
    return found


def look(registry: brainlens.Registry, pixels: np.ndarray, name: str) -> np.ndarray:
    """Return the features that the judging network sees in images (image, y, x, rgb): (image, channel)."""
    labels = {key: ("trial", np.arange(len(pixels))) for key in ("trial", "stimulus_id")}
    registry.put(f"flat/{name}", xr.Dataset({"image": (("trial", "y", "x", "rgb"), pixels)}, labels), schema="image")
    made = registry.compute("mini.judge", images=f"flat/{name}", layer="pooled", device="cpu")
    found: np.ndarray = registry[made]["embedding"].values
    return found


def tables(entries: Entries) -> list[str]:
    """Return the tables of what was measured."""
    rows = list(entries.values())
    lines = [*ABOUT, f"Seeds {', '.join(sorted(entries, key=int))}. Written by places.py.", ""]
    lines += ["How far the judge can be trusted, mean over seeds:", ""]
    lines += ["| images | outdoor, indoor or backdrop (accuracy) | place or backdrop (AUC) |", "|---|---|---|"]
    for key, what in (("scenes", "scenes of its own seed, left out"), ("painted", "painted from embeddings of scenes")):
        cells = [f"{np.mean([row[f'{key}, {measured}'] for row in rows]):.2f}" for measured in ("kind", "place")]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    lines += ["", "Log odds: mean over seeds +- SD over seeds. Named: share of images named outdoor or indoor.", ""]
    columns = [f"{state}, {what}" for state in LEVELS for what in ("log odds", "named")]
    lines += [f"| form | ROI | {' | '.join(columns)} |", "|---|---|" + "---|" * len(columns)]
    for form, regions in FORMS.items():
        lines += [f"| {form} | {region} | {' | '.join(_means(rows, form, region))} |" for region in regions]
    lines += [
        "",
        "Share of seeds in which log odds of the active region are more than those of: itself silent; the control",
    ]
    lines += [
        "active; the shuffled pattern of the same region. Gain: the same of active minus silent, the last one of each"
    ]
    lines += ["of six object areas. Chance is .5, of the last column 1/7.", ""]
    lines += [f"| form | ROI | {' | '.join(COMPARED)} |", "|---|---|" + "---|" * len(COMPARED)]
    for form, regions in FORMS.items():
        lines += [f"| {form} | {region} | {' | '.join(_shares(rows, form, region))} |" for region in regions]
    lines += ["", "Of the images of active areas that are named a place, the share that is outdoor:", ""]
    lines += [f"| form | {' | '.join(PLACES)} |", "|---|" + "---|" * len(PLACES)]
    for form in FORMS:
        cells = []
        for region in PLACES:
            outdoor, indoor = (np.sum([row[form]["active"][region][kind] for row in rows]) for kind in KINDS[:2])
            cells.append(f"{outdoor / (outdoor + indoor):.2f}" if outdoor + indoor else "")
        lines.append(f"| {form} | {' | '.join(cells)} |")
    return lines


def compare(row: Mapping[str, Any], form: str, region: str) -> dict[str, bool]:
    """Return in what an active region is ahead, by the names of `COMPARED`; not where it would be itself."""
    odds, gains = (
        {
            (shape, name): each
            for shape, regions in FORMS.items()
            for name, each in of_shape(row[shape], regions).items()
        }
        for of_shape in (_active, _gains)
    )
    own = form, region
    found = {"silent": gains[own] > 0}
    for what, values in (("", odds), (", gain", gains)):
        if region != CONTROL:
            found[f"control{what}"] = values[own] > values[form, CONTROL]
        if form != "shuffled" and ("shuffled", region) in values:
            found[f"shuffled{what}"] = values[own] > values["shuffled", region]
    if region not in OBJECTS:
        found["object areas, gain"] = all(gains[own] > gains["published", name] for name in OBJECTS)
    return found


def _active(states: Mapping[str, Any], regions: Sequence[str]) -> dict[str, float]:
    return {name: states["active"][name]["log odds"] for name in regions}


def _gains(states: Mapping[str, Any], regions: Sequence[str]) -> dict[str, float]:
    return {name: states["active"][name]["log odds"] - states["silent"][name]["log odds"] for name in regions}


def _shares(rows: Sequence[Mapping[str, Any]], form: str, region: str) -> list[str]:
    each = [compare(row, form, region) for row in rows]
    return [f"{np.mean([found[name] for found in each]):.2f}" if name in each[0] else "" for name in COMPARED]


def _means(rows: Sequence[Mapping[str, Any]], form: str, region: str) -> list[str]:
    cells = []
    for state in LEVELS:
        odds = np.array([row[form][state][region]["log odds"] for row in rows])
        spread = f" +- {odds.std(ddof=1):.1f}" if len(odds) > 1 else ""
        named = 1 - np.mean([row[form][state][region]["backdrop"] for row in rows])
        cells += [f"{odds.mean():.1f}{spread}", f"{named:.2f}"]
    return cells


if __name__ == "__main__":
    measure_seeds(__doc__, "places", lambda registry, seed: measure(registry, int(seed)), tables)
