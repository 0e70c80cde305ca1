"""Decoding region by region, of subjects whose tuning is known, and of one who was scanned.

    python decoding.py SEED [SEED ...]

Writes decoding.json, kept from earlier calls, and decoding.md. The subjects are simulated: rendered scenes and a known
model of a visual cortex. The data of Haxby et al. (2001) are real; HAXBY says where they lie.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import xarray as xr
from brainlens_roi.decode import decode
from brainlens_roi.params import DecodeParams
from seeds import HERE, Entries, measure_seeds

import brainlens
from brainlens.testing import synthetic_study

HAXBY = HERE.parents[3] / "shared/data/haxby2001_pymvpa"
SUBJECT: dict[str, Any] = {"n_stimuli": 600, "n_shared": 150, "n_voxels": 2000}
# What each region is tuned to in the simulation; None: none of the seven kinds of object.
TUNED = {
    "FFA + OFA": "face", "EBA + FBA": "body", "VWFA": "word", "food": "food", "PPA + OPA + RSC": None, "V1": None,
    "V2": None, "V3": None, "V4": None, "control": None,
}  # fmt: skip
CONCEPTS = ("face", "body", "word", "food", "animal", "tool", "vehicle")
CHANNELS = tuple(f"{concept}.presence" for concept in CONCEPTS)
OWN = {region: concept for region, concept in TUNED.items() if concept}
N_PARCELS, N_NULLS = 6, 200


def measure(registry: brainlens.Registry, seed: int) -> dict[str, Any]:
    """Return what is decoded of the presence of each kind of object, from and without each region."""
    registry.ingest("simulate", "sim", seed=seed, subject="sim", **SUBJECT)
    factors = registry["sim/factors"].load()
    presence = factors.sel(channel=list(CHANNELS)).drop_attrs()
    registry.put("presence", presence.assign_attrs(schema="embedding.v1", model="presence", simulated=1))
    given = {"target": "presence", "rois": tuple(TUNED), "channels": CHANNELS, "seed": seed, "device": "cpu"}
    response = registry["sim/response"].load()
    rng = np.random.default_rng(seed)
    moved = response.assign(roi_mask=response["roi_mask"][:, rng.permutation(response.sizes["voxel"])].variable)
    registry.put("moved", moved.drop_attrs().assign_attrs(_own_attrs(response)))
    tested = response["split"].values == "test"
    values = response["response"].values.copy()
    values[tested] = values[tested][:, rng.permutation(values.shape[1])]
    mixed = response.assign(response=(("trial", "voxel"), values))
    registry.put("mixed", mixed.drop_attrs().assign_attrs(_own_attrs(response)))
    found: dict[str, Any] = {}
    alone = registry.compute("roi.decode", response="sim/response", n_permutations=200, **given)
    found["alone"] = table(registry[alone], "score", "p_value", "q_value", "noise_ceiling")
    whole = {"mode": "left_out", "within": " + ".join(TUNED), "n_permutations": 0}
    for name, source in (("left out", "sim/response"), ("left out, regions moved", "moved")):
        made = registry.compute("roi.decode", response=source, **whole, **given)
        found[name] = table(registry[made], "drop", "drop_low")
    for name, source in (("new trials", "sim/response"), ("new trials, voxels in another order", "mixed")):
        made = registry.compute("roi.decode", response=source, cv_by="split", n_permutations=200, **given)
        found[name] = table(registry[made], "score", "p_value", "q_value")
    return found


def _own_attrs(response: xr.Dataset) -> dict[str, Any]:
    kept = ("schema", "subject", "units", "space", "affine", "volume_shape", "simulated")
    return {key: response.attrs[key] for key in kept}


def table(scores: xr.Dataset, *variables: str) -> dict[str, Any]:
    """Return variables as nested dictionaries: of each region and metric, or of each region."""
    regions = [str(name) for name in scores["roi"].values]
    found: dict[str, Any] = {}
    for name in variables:
        values = scores[name].transpose("roi", ...).values.astype(np.float64).round(4)
        if values.ndim == 1:
            found[name] = dict(zip(regions, values.tolist(), strict=True))
            continue
        metrics = [str(metric) for metric in scores["metric"].values]
        found[name] = {
            region: dict(zip(metrics, row.tolist(), strict=True)) for region, row in zip(regions, values, strict=True)
        }
    return found


def measure_haxby(registry: brainlens.Registry, folder: Path) -> dict[str, Any]:
    """Return how eight categories are decoded from regions of one slice, and from masks of the whole brain at 25 mm."""
    run = folder / "haxby2001/sub001"
    images = [run / f"BOLD/task001_run{number:03d}/bold_25mm.nii.gz" for number in range(1, 13)]
    common = {
        "subject": "sub001", "space": "native", "detrend": "linear", "average_over": "run",
        "standardize_runs": "zscore_sample", "labels": folder / "attributes_literal.txt",
    }  # fmt: skip
    registry.ingest("nifti", "slice", bold=folder / "bold.nii.gz", mask=folder / "mask.nii.gz", **common)
    masks = run / "masks/25mm"
    registry.ingest("nifti", "coarse", bold=images, mask=masks / "brain.nii.gz", bad_voxels="drop", **common)
    # Labels of an atlas without a table of names; numbers do.
    atlas = masks / "hoc.nii.gz"
    numbers = np.unique(np.asanyarray(nib.load(atlas).dataobj))
    names = {int(number): f"hoc {int(number)}" for number in numbers if number}
    tissue = {name: masks / f"{name}.nii.gz" for name in ("gray", "white")}
    registry.compute(
        "roi.attach", response="coarse/response", name="regions", masks=tissue, atlas=atlas, atlas_names=names,
        empty="drop",
    )  # fmt: skip
    # Parcels of the slice by place alone, so that they know nothing of the responses.
    response = registry["slice/response"].load()
    places = np.stack([response["x_mm"].values, response["y_mm"].values], axis=1)
    owner = parcels(places, N_PARCELS)
    mask = np.stack([owner == number for number in range(N_PARCELS)])
    names = [f"x {places[own, 0].mean():.0f}, y {places[own, 1].mean():.0f} mm" for own in mask]
    parcelled = response.assign(roi_mask=(("roi", "voxel"), mask)).assign_coords(roi=names)
    registry.put("parcels", parcelled, schema="response")
    how = {"classes": "stimulus_id", "cv_by": "run", "n_folds": 0, "n_permutations": 500, "device": "cpu"}
    found: dict[str, Any] = {}
    smallest = int(mask.sum(axis=1).min())
    for name, response_name, more in (
        ("slice", "parcels", {"rois": ("all",)}),
        ("parcels", "parcels", {}),
        ("parcels, as many voxels each", "parcels", {"n_voxels": smallest, "n_draws": 5}),
        ("parcels left out", "parcels", {"mode": "left_out"}),
        ("whole brain at 25 mm", "regions", {"rois": ("all", *large(registry["regions"], 4))}),
    ):
        made = registry[registry.compute("roi.decode", response=response_name, **how, **more)].load()
        drop = ("drop", "drop_q_value") if "drop" in made else ()
        found[name] = table(made, "score", "ci_low", "ci_high", "p_value", "q_value", "chance", *drop)
        found[name]["n_sites"] = dict(zip(made["roi"].values.tolist(), made["n_sites"].values.tolist(), strict=True))
    return found


def large(response: xr.Dataset, n_voxels: int) -> tuple[str, ...]:
    """Return the ROIs with at least so many voxels, as expressions."""
    return tuple(f"'{name}'" for name, size in brainlens.list_rois(response).items() if size >= n_voxels)


def parcels(places: np.ndarray, n_parcels: int) -> np.ndarray:
    """Return which parcel each place is in: k-means from the first places of a fixed order."""
    rng = np.random.default_rng(0)
    centres = places[rng.choice(len(places), n_parcels, replace=False)]
    for _ in range(100):
        owner = ((places[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        centres = np.stack([places[owner == number].mean(axis=0) for number in range(n_parcels)])
    return owner


def measure_nulls() -> dict[str, Any]:
    """Return how often p < .05 where labels were shuffled beforehand, so that nothing is to be found."""
    study = synthetic_study()
    stimuli = np.unique(study["response"]["stimulus_id"].values)
    shown = np.searchsorted(stimuli, study["response"]["stimulus_id"].values)
    found: dict[str, Any] = {"n_nulls": N_NULLS}
    for penalties in ("anew", "kept"):
        params = DecodeParams.model_validate({"penalties": penalties, "n_permutations": 99, "n_resamples": 100})
        small = []
        for seed in range(N_NULLS):
            other = np.random.default_rng(seed).permutation(stimuli)
            null = study["response"].assign_coords(stimulus_id=("trial", other[shown]))
            context = brainlens.Context(seed=seed)
            made = decode(response=[null], target=study["target"], params=params, context=context)
            small.append(made["p_value"].values <= 0.05)
        metrics = ("two_way_identification", "top_1", "r2")
        found[penalties] = dict(zip(metrics, np.mean(small, axis=(0, 2)).tolist(), strict=True))
    return found


def tables(entries: Entries) -> list[str]:
    """Return the tables of what was measured."""
    seeds = sorted((seed for seed in entries if seed.isdigit()), key=int)
    subjects = [entries[seed] for seed in seeds]
    lines = ["# Decoding region by region", "", "Written by decoding.py. Intervals and tests are in decoding.json.", ""]
    if subjects:
        lines += simulated_lines(subjects, seeds)
    if "nulls" in entries:
        lines += null_lines(entries["nulls"])
    if "haxby" in entries:
        lines += haxby_lines(entries["haxby"])
    return lines


def simulated_lines(subjects: list[dict[str, Any]], seeds: list[str]) -> list[str]:
    """Return the tables of the simulated subjects."""

    def mean(part: str, variable: str, region: str, metric: str) -> float:
        return float(np.mean([each[part][variable][region][metric] for each in subjects]))

    def rows(part: str, variable: str, digits: int) -> list[str]:
        return [
            f"| {region} | {concept or '-'} | "
            + " | ".join(f"{mean(part, variable, region, f'r2 {each}'):.{digits}f}" for each in CHANNELS)
            + " |"
            for region, concept in TUNED.items()
        ]

    def right(part: str) -> str:
        hits = [
            max(CONCEPTS, key=lambda each: subject[part]["drop"][region][f"r2 {each}.presence"]) == concept
            for subject in subjects
            for region, concept in OWN.items()
        ]
        return f"{sum(hits)} of {len(hits)}"

    head = [f"| region | tuned to | {' | '.join(CONCEPTS)} |", "|---|---|" + "---|" * len(CONCEPTS)]
    n = len(subjects)
    control = [subject["alone"]["p_value"]["control"] for subject in subjects]
    metrics = ("two_way_identification", "top_1", "r2")
    least = {metric: min(each[metric] for each in control) for metric in metrics}
    named = [subject["alone"]["q_value"]["control"][metric] < 0.05 for subject in subjects for metric in metrics]
    mixed = "new trials, voxels in another order"
    passed = {
        part: sum(
            each[part]["q_value"][region]["r2"] < 0.05 for each in subjects for region in TUNED if region != "control"
        )
        for part in ("new trials", mixed)
    }
    own = {
        part: np.mean(
            [each[part]["score"][region][f"r2 {kind}.presence"] for each in subjects for region, kind in OWN.items()]
        )
        for part in ("new trials", mixed)
    }
    return [
        "## Simulated subjects",
        "",
        f"Seeds {', '.join(seeds)}; {SUBJECT['n_stimuli'] + SUBJECT['n_shared']} scenes, three showings averaged,",
        "five folds by stimulus, ridge to the presence (0 or 1) of seven kinds of object. Means over subjects of R2.",
        "",
        "From each region alone:",
        "",
        *head,
        *rows("alone", "score", 2),
        "",
        "What R2 loses where the region is left out of all of these:",
        "",
        *head,
        *rows("left out", "drop", 3),
        "",
        "Most is lost of the concept that the region is tuned to: in "
        f"{right('left out')} cases; where masks lie on voxels at random, in {right('left out, regions moved')} (one "
        "in seven by chance).",
        "",
        f"The region without signal, alone: smallest p of {n} subjects "
        + ", ".join(f"{metric} {value:.2f}" for metric, value in least.items())
        + f"; mean R2 {mean('alone', 'score', 'control', 'r2'):.3f}, two-way "
        f"{mean('alone', 'score', 'control', 'two_way_identification'):.2f}. It passes q < .05 in {sum(named)} of "
        f"{len(named)} cases.",
        "",
        "Fitted to the training scenes and tested on the others (means of R2 of the tuned concept; regions with "
        f"signal whose R2 passes q < .05, of {n * (len(TUNED) - 1)}): voxels as they are {own['new trials']:.2f}, "
        f"{passed['new trials']}; test trials with voxels in another order {own[mixed]:.2f}, {passed[mixed]}.",
        "",
    ]


def null_lines(found: dict[str, Any]) -> list[str]:
    """Return the table of the nulls."""
    return [
        "## Nulls",
        "",
        f"Share of p-values up to .05 where there is nothing to find: {found['n_nulls']} shuffles of the labels of a",
        "small simulated study, three regions each, 99 permutations.",
        "",
        "| penalties | two-way | top 1 | R2 |",
        "|---|---|---|---|",
        *(f"| {how} | {' | '.join(f'{share:.3f}' for share in found[how].values())} |" for how in ("anew", "kept")),
        "",
    ]


def haxby_lines(found: dict[str, Any]) -> list[str]:
    """Return the table of the real data."""
    lines = [
        "## Haxby et al. (2001), one subject, real",
        "",
        "Eight categories, one pattern for each run and category, one of twelve runs left out at a time; chance .125.",
        "The slice has 530 voxels; parcels are by place alone. q over the sets of a part.",
        "",
        "| part | set | voxels | accuracy | 95 % | q | two-way |",
        "|---|---|---|---|---|---|---|",
    ]
    for part, values in found.items():
        for region, scores in values["score"].items():
            q_value = values["q_value"][region]["top_1"]
            low, high = (values[key][region]["top_1"] for key in ("ci_low", "ci_high"))
            cells = [part, region, str(values["n_sites"][region]), f"{scores['top_1']:.3f}", f"{low:.2f} to {high:.2f}"]
            cells += ["" if np.isnan(q_value) else f"{q_value:.3f}", f"{scores['two_way_identification']:.3f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def part(registry: brainlens.Registry, name: str) -> Any:
    """Return what is measured under a name: a seed, the nulls, or the real data."""
    if name == "nulls":
        return measure_nulls()
    return measure_haxby(registry, HAXBY) if name == "haxby" else measure(registry, int(name))


if __name__ == "__main__":
    measure_seeds(__doc__, "decoding", part, tables, further=("nulls", "haxby"))
