"""Whether scenes that `roi.guide` changes drive the true simulated brain more than the best scenes do.

    python references.py SEED [SEED ...]

Writes references.json, kept from earlier calls, references.md, and a gallery of the first seed. Everything here is
simulated, as in guidance.py, whose encoders, judges and true brain these are. Number of images and strength were chosen
on seed 100.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from brainlens_mini.autoencoder import encode_images
from brainlens_mini.generator import load_pipeline
from brainlens_mini.images import to_pixels
from brainlens_mini.weights import own_folder
from brainlens_roi.guide import predict_activation
from guidance import CHOSEN, N_BEST, ROIS, TUNED, Study, as_images, best_of, judge, paint_sheet, prepare
from scipy import stats
from seeds import Entries, measure_seeds

import brainlens

N_IMAGES = 60
# Share of the way from noise that the images of scenes are gone.
STRENGTH = 0.7
PAINTED = ("from embeddings", "from embeddings, guided", "from images", "from images, guided")
RIVALS = ("best scene", "scenes", "scenes, autoencoder")
ABOUT = (
    "# Do changed scenes drive the true brain more than the best scenes? (simulated)",
    "",
    f"The generator starts from the {N_IMAGES} scenes that encoder A likes best of the 1,800 that it never met. Of as",
    f"many images A chooses {N_BEST}. Judges and units as in guidance.md: the true brain answers what is in a scene,",
    "which boosted trees read, and V1 and V2 what is in the pixels.",
    "",
    "- best scene: the one of the 1,800 that drives the true brain most, whatever A says",
    f"- scenes: the {N_BEST} of the 1,800 that A likes best",
    f"- scenes, autoencoder: the {N_IMAGES} encoded and decoded by the generator's autoencoder, without anything that",
    f"  paints, and the {N_BEST} of these that A likes best: the best scenes that any image of this generator can be",
    "- from embeddings: painted from noise, conditioned on the scenes' embeddings",
    f"- from images: started from the scenes' images as well (strength {STRENGTH:g})",
    "",
)


def measure(registry: brainlens.Registry, seed: int) -> dict[str, Any]:
    """Return what A, B and the true brain say of every kind of image of every ROI."""
    study = prepare(registry, seed)
    kinds: dict[str, dict[str, np.ndarray]] = {kind: {} for kind in (*RIVALS[1:], *PAINTED)}
    for row, roi in enumerate(ROIS):
        top = study.favourites(roi, study.new)[:N_IMAGES]
        images = study.scenes["image"].values[top]
        kinds["scenes"][roi] = images[:N_BEST]
        kinds["scenes, autoencoder"][roi] = choose(study, roi, through_autoencoder(images), f"{row}")
        embedding = registry.put(f"top/{row}", study.natural["clip"].isel(stimulus=top))
        initial = registry.put(f"top/images/{row}", study.scenes[["image"]].isel(stimulus=top))
        given = {"rois": (roi,), "n_images": N_IMAGES, "images_at_once": 15, "conditioned": True, "seed": seed}
        for kind in PAINTED:
            more: dict[str, Any] = {"scale": CHOSEN if "guided" in kind else 0.0}
            if "images" in kind:
                more |= {"initial": initial, "generator_params": {"strength": STRENGTH}}
            made = registry.compute("roi.guide", model="A", embedding=embedding, device="cpu", **given, **more)
            kinds[kind] |= best_of(registry[made].load())
    paint_sheet(
        "references", kinds, ("scenes", "scenes, autoencoder", "from embeddings, guided", "from images, guided")
    )
    return judge(study, kinds)


def through_autoencoder(images: np.ndarray) -> np.ndarray:
    """Return images (image, y, x, rgb) as the generator's autoencoder gives them back."""
    pipeline = load_pipeline(own_folder("generator"), brainlens.Context())
    with torch.no_grad():
        latents = encode_images(pipeline.movq, images, "cpu")
        return to_pixels(pipeline.movq.decode(latents, force_not_quantize=True).sample)


def choose(study: Study, roi: str, images: np.ndarray, name: str) -> np.ndarray:
    """Return the images of which A predicts most."""
    stored = study.registry.put(f"decoded/{name}", as_images(images))
    seen = study.registry[study.registry.compute("mini.image", images=stored, device="cpu")].load()
    values = predict_activation(study.weights["A"][roi], study.encoders["A"], seen)
    return images[np.argsort(-values, kind="stable")[:N_BEST]]


def tables(entries: Entries) -> list[str]:
    """Return the tables of what was measured."""
    seeds = sorted(entries, key=int)
    rois = [roi for roi in ROIS if roi != "control"]
    lines = [*ABOUT, f"Seeds {', '.join(seeds)}; mean over seeds +- SD over seeds. Written by references.py.", ""]

    def values(roi: str, kind: str, what: str) -> np.ndarray:
        return np.array([entries[seed]["ROIs"][roi][kind][what] for seed in seeds])

    def cell(given: np.ndarray) -> str:
        return f"{given.mean():.2f}" + (f" +- {given.std(ddof=1):.2f}" if len(given) > 1 else "")

    columns = (*RIVALS, *PAINTED)
    lines += [f"## What the true brain answers (scale {CHOSEN:g})", "", f"| ROI | {' | '.join(columns)} |"]
    lines.append("|---|" + "---|" * len(columns))
    for roi in ROIS:
        lines.append(f"| {roi} | {' | '.join(cell(values(roi, kind, 'true')) for kind in columns)} |")
    lines += ["", "## Guided images against each rival", ""]
    lines += [
        "Difference of the true activation, mean over all ROIs but the control; its 95 % interval over seeds (t); in",
        "how many cases, ROIs times seeds, guided images drive the true brain more.",
        "",
        "| guided | rival | difference | more |",
        "|---|---|---|---|",
    ]
    for kind in ("from embeddings, guided", "from images, guided"):
        for rival in (*RIVALS, kind.removesuffix(", guided")):
            gains = np.array([values(roi, kind, "true") - values(roi, rival, "true") for roi in rois])
            text = f"{gains.mean():+.2f}"
            if len(seeds) > 1:
                low, high = interval(gains.mean(axis=0))
                text += f" ({low:+.2f} to {high:+.2f})"
            lines.append(f"| {kind} | {rival} | {text} | {int((gains > 0).sum())} of {gains.size} |")
    lines += ["", "## What each judge says, mean over all ROIs but the control", ""]
    lines += [
        "Named and distance as in guidance.md.",
        "",
        "| images | A | B | true | named | distance |",
        "|---|---|---|---|---|---|",
    ]
    for kind in columns[1:]:
        cells = [f"{np.mean([values(roi, kind, what) for roi in rois]):.2f}" for what in ("A", "B", "true")]
        cells.append(f"{np.mean([values(roi, kind, 'named') for roi in TUNED]):.2f}")
        cells.append(f"{np.mean([values(roi, kind, 'distance') for roi in rois]):.2f}")
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return lines


def interval(given: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of a mean by Student's t."""
    low, high = stats.t.interval(0.95, len(given) - 1, loc=given.mean(), scale=stats.sem(given))
    return float(low), float(high)


if __name__ == "__main__":
    measure_seeds(__doc__, "references", lambda registry, seed: measure(registry, int(seed)), tables)
