"""MindEye and Brain-Diffuser from responses to images, end to end, beside floors, on rendered subjects.

    python reconstruction.py SEED [SEED ...] [--scratch FOLDER] [--threads N]

Writes reconstruction.json, kept from earlier calls, reconstruction.md, and a contact sheet of the first seed.
Everything here is simulated: rendered scenes, a known model of a visual cortex, and the small generator that comes with
brainlens. Settings were chosen on seed 100.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import brainlens

HERE = Path(__file__).parent
SUBJECT: dict[str, Any] = {"n_stimuli": 3000, "n_shared": 120, "n_voxels": 2000}
NETWORK: dict[str, Any] = {"epochs": 60, "batch_size": 64, "learning_rate": 1e-3}
N_CANDIDATES = 8
STRENGTH = {"MindEye": 0.85, "Brain-Diffuser": 0.75}
COLUMNS = {"two_way": "two-way, judge", "pix_corr": "PixCorr", "ssim": "SSIM", "ms_ssim": "MS-SSIM"}
FLOORS = {
    "shuffled": "shuffled pairs", "prior": "generator's prior", "mean_image": "mean training image",
    "nearest_training": "nearest training image",
}  # fmt: skip
ABOUT = (
    "# Reconstruction, end to end (simulated)",
    "",
    f"{SUBJECT['n_stimuli']} training scenes, {SUBJECT['n_shared']} test scenes of 64 pixels, three showings each, of",
    f"which the mean is decoded; {SUBJECT['n_voxels']} voxels. Painted by the generator that comes with brainlens;",
    f"best of {N_CANDIDATES}: the candidate whose embedding is most like the decoded variant `retrieval`. Two-way",
    "identification (chance .5) by the pooled features of a network that conditioned nothing. Floors are those of",
    "`evaluation.images` for the first system; the prior: painted from the embedding of another scene; retrieved: the",
    "training scene whose embedding is most like the decoded one, which paints nothing. Mean over seeds +- SD.",
)
Row = dict[str, float]


def measure(registry: brainlens.Registry, seed: int) -> dict[str, Row]:
    """Return the scores of every system and floor."""
    given: dict[str, Any] = {"seed": seed, "device": "cpu"}
    registry.ingest("simulate", "sim", seed=seed, subject="sim", **SUBJECT)
    registry.compute("mini.image", stimuli="sim/images", name="sim/clip", device="cpu")
    registry.compute("mini.latents", stimuli="sim/images", name="sim/latents", device="cpu")
    registry.compute("mini.judge", stimuli="sim/images", layer="features", name="sim/features", device="cpu")
    registry.compute("mini.judge", stimuli="sim/images", layer="pooled", name="judged/seen", device="cpu")
    paint_mindeye(registry, given)
    paint_brain_diffuser(registry, given)
    paint_limits(registry, given)
    found = {name: score(registry, name, given, floors=name == "MindEye, best of 8") for name in SYSTEMS}
    floors = found["MindEye, best of 8"].pop("floors")
    draw(registry)
    return {**{name: rows["reconstructed"] for name, rows in found.items()}, **floors}


def paint_mindeye(registry: brainlens.Registry, given: dict[str, Any]) -> None:
    """Decode by MindEye's two levels, and paint with and without the initial image, one and several candidates."""
    response: dict[str, Any] = {"response": "sim/response"}
    high = registry.fit("mindeye", **response, target="sim/clip", name="models/high", **NETWORK, **given)
    low = registry.fit(
        "mindeye.low_level", **response, target="sim/latents", features="sim/features", name="models/low", **NETWORK,
        **given,
    )  # fmt: skip
    average: dict[str, Any] = {**response, "average": "stimulus_id", "device": "cpu"}
    registry.predict(high, name="decoded/mindeye", **average)
    latents = registry.predict(low, name="decoded/low", **average)
    registry.compute("mini.decode", latents=latents, name="initial/mindeye", device="cpu")
    for name, initial in (("layout", "initial/mindeye"), ("noise", None)):
        made = registry.compute(
            "diffusion.reconstruct", decoded="decoded/mindeye", initial=initial, n_candidates=N_CANDIDATES,
            keep_candidates=True, generator_params={"strength": STRENGTH["MindEye"]}, name=f"all/{name}", **given,
        )  # fmt: skip
        images = registry[made].load()
        rows = np.arange(images.sizes["trial"])
        for what, column in (("best", images["chosen"].values), ("one", np.zeros(len(rows), int))):
            kept = images[["image"]].isel(candidate=0, drop=True)
            chosen = images["image"].values[rows, column]
            registry.put(f"images/mindeye-{what}-{name}", kept.assign(image=(kept["image"].dims, chosen)))
    # A draw from the prior is an embedding as they are; the mean of all that it could draw is nearer to what was seen.
    squared = registry.fit(
        "mindeye", **response, target="sim/clip", name="models/squared", prior="regression", **NETWORK, **given
    )
    registry.predict(squared, name="decoded/squared", **average)
    registry.compute(
        "diffusion.reconstruct", decoded="decoded/squared", initial="initial/mindeye", n_candidates=N_CANDIDATES,
        generator_params={"strength": STRENGTH["MindEye"]}, name="images/mindeye-squared", **given,
    )  # fmt: skip


def paint_brain_diffuser(registry: brainlens.Registry, given: dict[str, Any]) -> None:
    """Decode by ridge, paint one image from the decoded layout; as published too, with all test trials at hand."""
    for what in ("clip", "latents"):
        decoded = registry.compute(
            "linear.decode", response="sim/response", target=f"sim/{what}", name=f"decoded/bd-{what}", **given
        )
        registry.compute("linear.transductive", decoded=decoded, name=f"decoded/bd-{what}-transductive")
    for suffix in ("", "-transductive"):
        latents = f"decoded/bd-latents{suffix}"
        initial = registry.compute("mini.decode", latents=latents, name=f"initial/bd{suffix}", device="cpu")
        paint = {"decoded": f"decoded/bd-clip{suffix}", "generator_params": {"strength": STRENGTH["Brain-Diffuser"]}}
        registry.compute(
            "diffusion.reconstruct", **paint, initial=initial, n_candidates=1, name=f"images/bd{suffix}", **given
        )
        if not suffix:
            registry.compute("diffusion.reconstruct", **paint, n_candidates=1, name="images/bd-noise", **given)
            registry.compute(
                "diffusion.reconstruct", **paint, initial=initial, n_candidates=N_CANDIDATES, name="images/bd-best",
                **given,
            )  # fmt: skip


def paint_limits(registry: brainlens.Registry, given: dict[str, Any]) -> None:
    """Paint from what no brain decoded: the true embeddings, and those of other scenes."""
    decoded = registry["decoded/mindeye"]
    shown = decoded["stimulus_id"].values
    clip = registry["sim/clip"].load()
    seen = clip.sel(stimulus=shown)
    others = clip.sel(stimulus=np.setdiff1d(clip["stimulus"].values, shown))
    chosen = np.random.default_rng([given["seed"], 1]).choice(others.sizes["stimulus"], len(shown), replace=False)
    for name, values in (("true", seen["embedding"].values), ("prior", others["embedding"].values[chosen])):
        registry.put(f"tested/{name}", seen.assign(embedding=(("stimulus", "channel"), values)))
        made = registry.compute("diffusion.reconstruct", decoded=f"tested/{name}", n_candidates=1, **given)
        images = registry[made].load()
        labels = {key: ("trial", decoded[key].values) for key in ("trial", "stimulus_id")}
        registry.put(f"images/{name}", images.drop_vars(["trial", "stimulus_id"]).assign_coords(labels))
    # The scene that was trained on and is most like what was decoded is an image too.
    wanted = decoded["embedding"].sel(variant="retrieval").values
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (wanted, others["embedding"].values)]
    nearest = others["stimulus"].values[np.argmax(unit[0] @ unit[1].T, axis=1)]
    pixels = registry["sim/images"].sel(stimulus=nearest)["image"].values
    registry.put(
        "images/retrieved", xr.Dataset({"image": (("trial", "y", "x", "rgb"), pixels)}, labels), schema="image"
    )


SYSTEMS = {
    "MindEye, best of 8": "images/mindeye-best-layout",
    "MindEye, one candidate": "images/mindeye-one-layout",
    "MindEye, from noise, best of 8": "images/mindeye-best-noise",
    "MindEye, from noise, one candidate": "images/mindeye-one-noise",
    "MindEye, prior by squared error, best of 8": "images/mindeye-squared",
    "MindEye's initial image": "initial/mindeye",
    "Brain-Diffuser": "images/bd",
    "Brain-Diffuser, best of 8": "images/bd-best",
    "Brain-Diffuser, from noise": "images/bd-noise",
    "Brain-Diffuser, transductive as published": "images/bd-transductive",
    "Brain-Diffuser's initial image": "initial/bd",
    "true embeddings, from noise": "images/true",
    "retrieved training scene": "images/retrieved",
}


def score(registry: brainlens.Registry, name: str, given: dict[str, Any], *, floors: bool) -> dict[str, Any]:
    """Return the scores of a system, and of the floors beside it."""
    images = SYSTEMS[name]
    more: dict[str, Any] = {"floors": ["images/prior"]} if floors else {}
    training = {"training": "sim/images"} if floors else {}
    by_pixels = registry[
        registry.compute(
            "evaluation.images", reconstructed=images, seen="sim/images", metrics=("pix_corr", "ssim", "ms_ssim"),
            **training, **more, **given,
        )
    ].load()  # fmt: skip
    judged = registry.compute("mini.judge", images=images, layer="pooled", name=f"judged/{images}", device="cpu")
    if floors:
        prior = registry.compute("mini.judge", images="images/prior", layer="pooled", name="judged/prior", device="cpu")
        more = {"floors": [prior]}
    by_judge = registry[
        registry.compute("evaluation.embeddings", reconstructed=judged, seen="judged/seen", **more, seed=given["seed"])
    ].load()
    found: dict[str, Any] = {"reconstructed": _row(by_pixels, by_judge, "reconstructed")}
    if floors:
        rows = {label: _row(by_pixels, by_judge, source) for source, label in FLOORS.items()}
        # The nearest training image is a scene that the judge has seen already.
        nearest = by_pixels["source"].values.tolist()
        assert set(FLOORS) <= set(nearest)
        found["floors"] = rows
    return found


def _row(by_pixels: Any, by_judge: Any, source: str) -> Row:
    row = {key: float(by_pixels["score"].sel(source=source, metric=key)) for key in ("pix_corr", "ssim", "ms_ssim")}
    if source in by_judge["source"].values:
        two_way = next(str(each) for each in by_judge["metric"].values if "two_way" in str(each) or each == "judge")
        row["two_way"] = float(by_judge["score"].sel(source=source, metric=two_way))
    return row


def draw(registry: brainlens.Registry) -> None:
    """Write a contact sheet, once."""
    sheet = HERE / "reconstruction.png"
    if sheet.exists():
        return
    tested = registry["decoded/mindeye"]["stimulus_id"].values[:12]
    rows = [("seen", registry["sim/images"].sel(stimulus=tested)["image"].values)]
    for name in ("MindEye's initial image", "MindEye, best of 8", "Brain-Diffuser's initial image", "Brain-Diffuser",
                 "true embeddings, from noise"):  # fmt: skip
        rows.append((name, registry[SYSTEMS[name]]["image"].values[:12]))
    sheet.write_bytes(brainlens.contact_sheet(rows))


def write(entries: dict[str, dict[str, Row]]) -> None:
    """Write values as JSON, and a table of means over seeds."""
    (HERE / "reconstruction.json").write_text(json.dumps(entries, indent=1) + "\n", "utf-8")
    seeds = ", ".join(sorted(entries, key=int))
    lines = [*ABOUT, f"Seeds {seeds}. Written by reconstruction.py.", ""]
    lines += [f"| system | {' | '.join(COLUMNS.values())} |", "|---|" + "---|" * len(COLUMNS)]
    for name in next(iter(entries.values())):
        cells = []
        for column in COLUMNS:
            values = np.array([rows[name][column] for rows in entries.values() if column in rows[name]])
            spread = f" +- {values.std(ddof=1):.3f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.3f}{spread}" if len(values) else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    (HERE / "reconstruction.md").write_text("\n".join(lines) + "\n", "utf-8")


def main() -> None:
    """Measure the seeds that were asked for, and go on where an earlier call stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="+", type=int)
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    file = HERE / "reconstruction.json"
    entries = json.loads(file.read_text("utf-8")) if file.exists() else {}
    for seed in options.seeds:
        if str(seed) in entries:
            continue
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            registry = brainlens.open(Path(options.scratch or folder) / f"reconstruction-{seed}.zarr", quiet=True)
            entries[str(seed)] = measure(registry, seed)
        write(entries)
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
