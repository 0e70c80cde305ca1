"""Whether patterns of early visual areas carry layout and no category, and those of category areas the reverse.

    python layout.py SEED [SEED ...]

Writes layout.json, kept from earlier calls, and layout.md. Everything here is simulated. A quarter of V1 to V3, the
sites whose receptive fields lie in one quadrant of the image, is active, or one area that is tuned to a kind of
object. Ridge from all sites says what that would mean for light and contrast in each quadrant, and for the presence of
each kind.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from brainlens_simulate.pyramid import build_pyramid, pyramid_channels
from seeds import Entries, measure_seeds

import brainlens

SUBJECT: dict[str, Any] = {"n_stimuli": 900, "n_shared": 100, "n_voxels": 2000}
QUADRANTS = ("upper left", "upper right", "lower left", "lower right")
QUOTED = tuple(f"'{name}'" for name in QUADRANTS)
# Receptive fields nearer to an axis than this are in no quadrant; degrees.
LEAST_DEG = 0.5
TUNED = {"OFA": "face", "FFA": "face", "EBA": "body", "FBA": "body", "VWFA": "word", "food": "food"}
KINDS = tuple(dict.fromkeys(TUNED.values()))
FORMS = ("published", "natural")
ABOUT = (
    "# Do patterns of early visual areas carry layout, and no category? (simulated)",
    "",
    "Sites of V1 to V3 whose receptive fields lie in one quadrant, or those of an area for faces, bodies, words or",
    "food, are one SD above their mean (published), or all sites are as they then are on average (natural). Ridge from",
    "all sites, 900 training scenes, decodes light and contrast energy in each quadrant and the presence of each kind",
    "of object. Light, contrast: share of quadrants that are moved most by their own pattern; kind: of areas that move",
    "their own kind most, of four; chance .25 each. Moves: root mean square of what is decoded, in SDs of each channel",
    "over scenes. Shuffled: the same with voxels in another order.",
)


def measure(registry: brainlens.Registry, seed: int) -> dict[str, dict[str, float]]:
    """Return, for each form of pattern, how often it means the right thing, and how much it moves layout and kinds."""
    registry.ingest("simulate", "sim", seed=seed, subject="sim", **SUBJECT)
    response, tuning = registry["sim/response"].load(), registry["sim/tuning"].load()
    registry.put("response", with_quadrants(response, tuning))
    target = describe(registry["sim/images"].load(), registry["sim/factors"].load())
    registry.put("target", target)
    model = registry.fit("linear", response="response", target="target", average="stimulus_id", device="cpu")
    std = target["embedding"].values.std(axis=0)
    rng = np.random.default_rng(seed)
    found = {}
    for form in FORMS:
        for order in ("", ", shuffled"):
            made = registry.compute("roi.patterns", response="response", patterns=(*QUOTED, *TUNED), form=form)
            patterns = registry[made].load()
            if order:
                patterns = shuffled(patterns, rng)
            stored = registry.put(f"patterns/{form}{order.replace(', ', '-')}", patterns)
            decoded = registry[registry.predict(model, response=stored, device="cpu")].load()
            moved = (decoded["embedding"].values - decoded["target_mean"].values) / std
            light, contrast, kinds = moved[:, :4], moved[:, 4:8], moved[:, 8:]
            own = np.arange(4)
            wanted = np.array([KINDS.index(kind) for kind in TUNED.values()])
            layout = moved[:, :8]
            found[f"quadrants of V1 to V3, {form}{order}"] = {
                "light": float((light[:4].argmax(axis=1) == own).mean()),
                "contrast": float((contrast[:4].argmax(axis=1) == own).mean()),
                "moves layout": rms(layout[:4]),
                "moves kinds": rms(kinds[:4]),
            }
            found[f"category areas, {form}{order}"] = {
                "kind": float((kinds[4:].argmax(axis=1) == wanted).mean()),
                "moves layout": rms(layout[4:]),
                "moves kinds": rms(kinds[4:]),
            }
    return found


def describe(images: xr.Dataset, factors: xr.Dataset) -> xr.Dataset:
    """Return light and contrast energy in each quadrant of every scene, and the presence of each kind of object."""
    maps = build_pyramid(images["image"].values).reshape(images.sizes["stimulus"], 2, 8, 2, 8, -1).mean(axis=(2, 4))
    names = pyramid_channels()
    energies = [number for number, name in enumerate(names) if name.startswith("energy")]
    light, contrast = maps[..., names.index("luminance")], maps[..., energies].mean(axis=-1)
    kinds = factors["embedding"].sel(channel=[f"{kind}.presence" for kind in KINDS]).values
    values = np.concatenate([light.reshape(len(light), 4), contrast.reshape(len(light), 4), kinds], axis=1)
    channels = [*(f"light {name}" for name in QUADRANTS), *(f"contrast {name}" for name in QUADRANTS), *KINDS]
    return xr.Dataset(
        {"embedding": (("stimulus", "channel"), values.astype(np.float32))},
        {"stimulus": images["stimulus"].values, "channel": channels},
        {"schema": "embedding.v1", "model": "layout and kinds", "simulated": 1},
    )


def rms(values: np.ndarray) -> float:
    """Return the root mean square."""
    return float(np.sqrt((values**2).mean()))


def with_quadrants(response: xr.Dataset, tuning: xr.Dataset) -> xr.Dataset:
    """Return the response with an ROI for each quadrant of V1 to V3 beside those that it has."""
    area, x, y = (tuning[name].values for name in ("area", "prf_x", "prf_y"))
    early = np.isin(area, ("V1", "V2", "V3")) & (np.minimum(np.abs(x), np.abs(y)) > LEAST_DEG)
    masks = [early & (y > 0 if "upper" in name else y < 0) & (x < 0 if "left" in name else x > 0) for name in QUADRANTS]
    rois = [*response["roi"].values.tolist(), *QUADRANTS]
    mask = np.concatenate([response["roi_mask"].values, np.stack(masks)])
    return response.drop_vars(["roi_mask", "roi"]).assign_coords(roi=rois).assign(roi_mask=(("roi", "voxel"), mask))


def shuffled(patterns: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    """Return patterns whose sites are in another order, in SDs from their mean."""
    z = patterns["z"].values[:, rng.permutation(patterns.sizes["voxel"])]
    moved = patterns["training_mean"].values + patterns["training_std"].values * z
    return patterns.assign(pattern=(patterns["pattern"].dims, moved.astype(np.float32)))


def tables(entries: Entries) -> list[str]:
    """Return the tables of what was measured."""
    seeds = sorted(entries, key=int)
    lines = [*ABOUT, f"Seeds {', '.join(seeds)}; mean over seeds +- SD over seeds. Written by layout.py.", ""]
    columns = ("light", "contrast", "kind", "moves layout", "moves kinds")
    lines += [f"| pattern | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for row in entries[seeds[0]]:
        cells = []
        for what in columns:
            values = np.array([entries[seed][row].get(what, np.nan) for seed in seeds])
            spread = f" +- {values.std(ddof=1):.2f}" if len(values) > 1 else ""
            cells.append("" if np.isnan(values).any() else f"{values.mean():.2f}{spread}")
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    measure_seeds(__doc__, "layout", lambda registry, seed: measure(registry, int(seed)), tables)
