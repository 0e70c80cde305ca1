"""What is painted from a pattern that is active in one region only, of subjects whose tuning is known.

    python patterns.py SEED [SEED ...]

Writes patterns.json, kept from earlier calls, patterns.md, and a gallery of the first seed. Everything here is
simulated: rendered scenes, a known model of a visual cortex, ridge, and the small generator that comes with brainlens.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from seeds import HERE, Entries, measure_seeds

import brainlens

SUBJECT: dict[str, Any] = {"n_stimuli": 900, "n_shared": 100, "n_voxels": 2000}
# What each region is tuned to in the simulation, in the judge's words.
TUNED = {"OFA": "face", "FFA": "face", "EBA": "body", "FBA": "body", "VWFA": "word", "food": "food"}
OTHERS = ("V1", "V2", "V3", "V4", "PPA", "OPA", "RSC", "control")
FORMS = ("published", "natural")
N_IMAGES = 8
ABOUT = (
    "# Painted from a pattern that is active in one region (simulated)",
    "",
    f"{SUBJECT['n_stimuli']} training scenes; ridge to the image embedding; each ROI one SD above its mean, all else",
    "at the mean (published) or where it is then on average (natural); moved to the usual distance from the mean;",
    f"{N_IMAGES} images. An independent judge, which conditioned nothing, names the object that it sees most, and",
    "always one of seven kinds. Share: of images named so. Right: of subjects, in which most images are. Shuffled: the",
    "same patterns with voxels in another order.",
)


def measure(registry: brainlens.Registry, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return, for each form of pattern and each ROI, the share of images of each concept."""
    registry.ingest("simulate", "sim", seed=seed, subject="sim", **SUBJECT)
    registry.compute("mini.image", stimuli="sim/images", name="clip", device="cpu")
    model = registry.fit("linear", response="sim/response", target="clip", average="stimulus_id", device="cpu")
    regions = (*TUNED, *OTHERS)
    found = {}
    for form in (*FORMS, "shuffled"):
        made = registry.compute(
            "roi.patterns", response="sim/response", patterns=regions, form="published" if form == "shuffled" else form
        )
        if form == "shuffled":
            patterns = registry[made].load()
            order = np.random.default_rng(seed).permutation(patterns.sizes["voxel"])
            z = patterns["z"].copy(data=patterns["z"].values[:, order])
            moved = (patterns["training_mean"] + patterns["training_std"] * z).transpose("roi", "voxel")
            made = registry.put("shuffled", patterns.assign(pattern=moved.astype(np.float32)))
        decoded = registry.predict(model, response=made, device="cpu")
        images = registry[
            registry.compute("roi.paint", decoded=decoded, target="clip", n_images=N_IMAGES, seed=seed, device="cpu")
        ].load()
        found[form] = judge(registry, images, form)
        sheet = HERE / f"patterns-{form}.png"
        if form in FORMS and not sheet.exists():
            rows = [(str(name), images["image"].sel(roi=name).values[:4]) for name in images["roi"].values]
            sheet.write_bytes(brainlens.contact_sheet(rows))
    return found


def judge(registry: brainlens.Registry, images: xr.Dataset, form: str) -> dict[str, dict[str, float]]:
    """Return the share of each ROI's images that the judge gives each concept."""
    n_rois, n_images = images["image"].shape[:2]
    labels = {name: ("trial", np.arange(n_rois * n_images)) for name in ("trial", "stimulus_id")}
    flat = images["image"].values.reshape(-1, *images["image"].shape[2:])
    registry.put(f"flat/{form}", xr.Dataset({"image": (("trial", "y", "x", "rgb"), flat)}, labels), schema="image")
    judged = registry[registry.compute("mini.judge", images=f"flat/{form}", layer="names", device="cpu")].load()
    concept = judged["concept"].values[judged["embedding"].values.argmax(axis=1)].reshape(n_rois, n_images)
    kinds = sorted(set(judged["concept"].values.tolist()))
    return {
        str(roi): {kind: float((concept[row] == kind).mean()) for kind in kinds}
        for row, roi in enumerate(images["roi"].values)
    }


def tables(entries: Entries) -> list[str]:
    """Return the tables of what was measured."""
    seeds = ", ".join(sorted(entries, key=int))
    lines = [*ABOUT, f"Seeds {seeds}. Written by patterns.py.", ""]
    columns = [f"{form}, {what}" for form in (*FORMS, "shuffled") for what in ("share", "right")]
    lines += [f"| ROI | tuned to | {' | '.join(columns)} |", "|---|---|" + "---|" * len(columns)]
    for roi, concept in TUNED.items():
        cells = []
        for form in (*FORMS, "shuffled"):
            shares = [rows[form][roi] for rows in entries.values()]
            right = np.mean([max(share, key=lambda kind: share[kind]) == concept for share in shares])
            cells += [f"{np.mean([share[concept] for share in shares]):.2f}", f"{right:.2f}"]
        lines.append(f"| {roi} | {concept} | {' | '.join(cells)} |")
    lines += ["", "Most frequent name, and its share over subjects, of the other regions:", ""]
    lines += [f"| ROI | {' | '.join((*FORMS, 'shuffled'))} |", "|---|" + "---|" * (len(FORMS) + 1)]
    for roi in OTHERS:
        cells = []
        for form in (*FORMS, "shuffled"):
            shares = [rows[form][roi] for rows in entries.values()]
            means = {kind: float(np.mean([share[kind] for share in shares])) for kind in shares[0]}
            most = max(means, key=lambda kind: means[kind])
            cells.append(f"{most} {means[most]:.2f}")
        lines.append(f"| {roi} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    measure_seeds(__doc__, "patterns", lambda registry, seed: measure(registry, int(seed)), tables)
