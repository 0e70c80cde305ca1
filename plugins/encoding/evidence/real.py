"""Voxels predicted from what was shown, on two small recordings of people: categories of objects, and pixels.

    python real.py DATA

DATA is the folder with haxby2001_pymvpa (Haxby et al. 2001: half a slice, and the whole brain at 25 mm) and
miyawaki2008_v1_figures (Miyawaki et al. 2008: 80 blocks of V1). Writes real.json and real.md. Everything here is real.
Nothing was tuned. Features are scaled as a whole, since some pixels are the same in all figures; inner folds are runs
where runs are left out; all else is the default.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import brainlens

HERE = Path(__file__).parent
N_SHUFFLES, N_PERMUTATIONS = 39, 1000
# Of the datasets that importers store, what their copies here keep.
KEPT = ("schema", "subject", "units", "space", "affine", "volume_shape", "mask_sha256", "citation", "licence", "source")
Values = dict[str, float]
ABOUT = (
    "# Voxels predicted from what was shown (real data)",
    "",
    "Two small recordings of people; `encoding.ridge` by cross-prediction, scored by `encoding.score`. Written by",
    "real.py.",
    "",
    "- mean r, mean R2: over all voxels, those without signal among them. What is predicted from the other trials",
    "  alone is off the other way where there is nothing to predict: the mean of the others correlates negatively. So",
    "  read r beside the controls, not beside 0; p-values from shuffled stimuli, whose mean r is 0, are too cautious.",
    "- R2 / ceiling: means over voxels in which the noise ceiling of what is compared is above .1: of single blocks,",
    "  or for new figures of means of eight showings.",
    "- q: p-values from shuffled stimuli, Benjamini and Hochberg over all voxels.",
    "- named: share of measured patterns that correlate most with the predicted pattern of what was shown, among those",
    "  of the run. For new figures: share of figures whose own measured pattern is the most alike of ten; two-way: of",
    "  two.",
)
SAID = {
    "haxby": (
        "Haxby et al. (2001), one subject, real; PyMVPA's copy, MIT, the same recording CC0 as OpenNeuro ds000105.",
        "Eight categories as regressors, one block of each in twelve runs; each run predicted from the others (chance",
        "of naming .125).",
    ),
    "miyawaki": (
        "Miyawaki et al. (2008), one subject, real; VBCCA's copy, BSD-3-Clause in all but name. 797 voxels of V1, ten",
        "figures of 10 x 10 pixels, eight showings each: the first five figures in the first half of the recording,",
        "the others in the second. The session with random images is not in this copy, so figures are left out one at",
        "a time (new figures; chance of naming .1), or runs of ten blocks are (new showings; five figures in a run,",
        "chance .2).",
    ),
}
CONTRASTS = {"scrambled or not": ("scrambledpix",), "alive or not": ("face", "cat"), "face or not": ("face",)}


def measure(data: Path) -> dict[str, Any]:
    """Return all values, by data set, question and model."""
    with tempfile.TemporaryDirectory() as folder:
        registry = brainlens.open(Path(folder) / "real.zarr", quiet=True)
        found = {"haxby, slice": measure_slice(registry, data / "haxby2001_pymvpa")}
        found["haxby, 25 mm"] = measure_coarse(registry, data / "haxby2001_pymvpa")
        return {**found, **measure_figures(registry, data / "miyawaki2008_v1_figures")}


def measure_slice(registry: brainlens.Registry, folder: Path) -> dict[str, Values]:
    """Return scores of categories as regressors in half a slice, one of twelve runs left out at a time."""
    registry.ingest(
        "public.haxby", "slice", root=str(folder), subject="subj1", detrend="linear", average_over="run",
        standardize_runs="zscore_sample",
    )  # fmt: skip
    return measure_categories(registry, "slice/response", "slice")


def measure_coarse(registry: brainlens.Registry, folder: Path) -> dict[str, Values]:
    """Return the same for the whole brain at 25 mm, region by region."""
    run = folder / "haxby2001/sub001"
    images = [run / f"BOLD/task001_run{number:03d}/bold_25mm.nii.gz" for number in range(1, 13)]
    masks = run / "masks/25mm"
    registry.ingest(
        "nifti", "coarse", bold=images, mask=masks / "brain.nii.gz", labels=folder / "attributes_literal.txt",
        subject="sub001", space="native", detrend="linear", average_over="run", standardize_runs="zscore_sample",
        bad_voxels="drop",
    )  # fmt: skip
    chosen = {name: masks / f"{name}.nii.gz" for name in ("gray", "white", "vt")}
    registry.compute("roi.attach", response="coarse/response", name="regions", masks=chosen, empty="drop")
    return measure_categories(registry, "regions", "coarse")


def measure_categories(registry: brainlens.Registry, response: str, folder: str) -> dict[str, Values]:
    """Return scores of each model of the categories."""
    trials = with_ceiling(single(registry[response].load(), "run"))
    registry.put(f"{folder}/trials", trials)
    category, run = trials["shown"].values, trials["run"].values
    names = np.unique(category)
    tables = {"categories": one_hot(category, names)}
    for name, members in CONTRASTS.items():
        tables[name] = np.isin(category, members)[:, None].astype(np.float32)
    found = {name: evaluate(registry, folder, name, table, patterns=category) for name, table in tables.items()}
    found["categories"] |= regions(registry, folder, "categories")
    found["mean of the other runs"] = score_mean(registry, f"{folder}/predicted/categories", f"{folder}/trials", "run")
    shuffled = []
    for seed in range(N_SHUFFLES):
        rng = np.random.default_rng(seed)
        drawn = category.copy()
        for each in np.unique(run):
            drawn[run == each] = rng.permutation(drawn[run == each])
        name = f"shuffled {seed}"
        shuffled.append(evaluate(registry, folder, name, one_hot(drawn, names), patterns=drawn, truth=category))
    return {**found, "categories shuffled within runs": over(shuffled, found["categories"])}


def single(response: xr.Dataset, group: str) -> xr.Dataset:
    """Return responses in which each trial is a stimulus of its own, so that a fold shares none with the others."""
    shown = response["stimulus_id"].values
    names = np.array([f"{label} {number}" for number, label in enumerate(shown)], dtype=object)
    kept = {key: response.attrs[key] for key in KEPT if key in response.attrs}
    made = response.drop_attrs().assign_attrs(kept)
    return made.assign_coords(
        stimulus_id=("trial", names), shown=("trial", shown), run=("trial", response[group].values)
    )


def with_ceiling(trials: xr.Dataset) -> xr.Dataset:
    """Add `ncsnr` (voxel): the SD of what the labels in `shown` explain, over that of what is left, in one trial."""
    values = trials["response"].values.astype(np.float64)
    _, code = np.unique(trials["shown"].values, return_inverse=True)
    count = np.bincount(code)
    means = np.stack([values[code == number].mean(axis=0) for number in range(len(count))])
    noise = ((values - means[code]) ** 2).sum(axis=0) / (len(values) - len(count))
    signal = np.maximum(0, means.var(axis=0, ddof=1) - noise * np.mean(1 / count))
    return trials.assign_coords(ncsnr=("voxel", np.sqrt(signal / noise)))


def one_hot(labels: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Return a regressor for each name (trial, name)."""
    made: np.ndarray = (labels[:, None] == names).astype(np.float32)
    return made


def evaluate(
    registry: brainlens.Registry, folder: str, name: str, table: np.ndarray, *, patterns: np.ndarray,
    truth: np.ndarray | None = None,
) -> Values:  # fmt: skip
    """Cross-predict trials from a row of features each, leaving out runs; return means over voxels.

    Parameters
    ----------
    registry, folder, name
        Where, and how what is stored is called.
    table
        Features (trial, channel).
    patterns
        What the features call each trial; from these labels predicted patterns are named.
    truth
        What was shown, where that is another.
    """
    trials = registry[f"{folder}/trials"].load()
    features = put_features(registry, f"{folder}/features/{slug(name)}", trials["stimulus_id"].values, table, name)
    given = {"response": f"{folder}/trials", "features": features, "device": "cpu"}
    made = registry.cross_predict(
        "encoding.ridge", leave_out="run", cv_by="run", scale="space", name=f"{folder}/predicted/{slug(name)}", **given
    )
    maps = score(registry, made, f"{folder}/trials")
    found = summary(maps)
    named = identify(registry[made].load(), trials, patterns)
    return {**found, "named": float((named == (patterns if truth is None else truth)).mean())}


def slug(name: str) -> str:
    """Return a name that a registry takes."""
    return name.replace(" ", "-")


def put_features(registry: brainlens.Registry, name: str, stimuli: np.ndarray, table: np.ndarray, model: str) -> str:
    """Store a row of features for each stimulus; return where."""
    features = xr.Dataset(
        {"embedding": (("stimulus", "channel"), table.astype(np.float32))},
        {"stimulus": stimuli, "channel": np.arange(table.shape[1])},
        {"schema": "embedding.v1", "model": model},
    )
    registry.put(name, features)
    return name


def score(registry: brainlens.Registry, predicted: str, measured: str, **options: Any) -> xr.DataArray:
    """Return the maps of `encoding.score`."""
    given = {"n_permutations": N_PERMUTATIONS, "device": "cpu", **options}
    return registry[registry.compute("encoding.score", predicted=predicted, measured=measured, **given)].load()["map"]


def summary(maps: xr.DataArray) -> Values:
    """Return means over voxels, and shares of voxels."""
    of = {str(name): maps.sel(map_name=name).values.astype(np.float64) for name in maps["map_name"].values}
    passed = of["q_value"] < 0.05
    ceiling = of["noise_ceiling"]
    found = {name: float(np.nanmean(of[name])) for name in ("correlation", "r2", "noise_ceiling")}
    # Squared correlation is above 0 by chance alone, so the share of the ceiling is taken of R2.
    good = ceiling > 0.1
    found |= {"passed": float(passed.mean()), "n_passed": float(passed.sum()), "n_sites": float(passed.size)}
    found |= {"n_good": float(good.sum())}
    if good.any():
        found["r2_good"], found["ceiling_good"] = float(of["r2"][good].mean()), float(ceiling[good].mean())
    if passed.any():
        found["r2_passed"] = float(of["r2"][passed].mean())
    return found


def identify(predicted: xr.Dataset, trials: xr.Dataset, patterns: np.ndarray) -> np.ndarray:
    """Name each measured pattern by the predicted one of its run with which it correlates most."""
    run, made, seen = trials["run"].values, predicted["response"].values, trials["response"].values
    named = np.empty(len(run), dtype=object)
    for each in np.unique(run):
        rows = np.flatnonzero(run == each)
        known = made[rows] - made[rows].mean(axis=0)
        new = seen[rows] - seen[rows].mean(axis=0)
        alike = correlate(new, known)
        named[rows] = patterns[rows][np.nan_to_num(alike, nan=-np.inf).argmax(axis=1)]
    return named


def correlate(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the correlation of each row of one table with each of another."""
    one, other = (each - each.mean(axis=1, keepdims=True) for each in (one.astype(float), other.astype(float)))
    lengths = np.linalg.norm(one, axis=1)[:, None] * np.linalg.norm(other, axis=1)
    return np.divide(one @ other.T, lengths, out=np.full(lengths.shape, np.nan), where=lengths > 1e-9)


def regions(registry: brainlens.Registry, folder: str, name: str) -> Values:
    """Return the mean correlation in each ROI with its interval and p-value."""
    scores = registry[
        registry.compute(
            "encoding.roi_score", predicted=f"{folder}/predicted/{name}", measured=f"{folder}/trials",
            n_permutations=N_PERMUTATIONS, n_resamples=1000, device="cpu",
        )
    ].load()  # fmt: skip
    found = {}
    for roi in scores["roi"].values:
        one = scores.sel(roi=roi)
        for metric in ("correlation", "r2"):
            found[f"{roi}: {metric}"] = float(one["score"].sel(metric=metric))
        for what in ("ci_low", "ci_high", "p_value", "n"):
            found[f"{roi}: {what}"] = float(one[what].sel(metric="correlation"))
    return found


def over(shuffled: list[Values], real: Values) -> Values:
    """Return means over shuffles, the largest of them, and the p-value of the real mean correlation and R2."""
    found = {key: float(np.mean([each[key] for each in shuffled])) for key in shuffled[0] if key in real}
    for key in ("correlation", "r2", "named", "two_way"):
        if key in real:
            drawn = np.array([each[key] for each in shuffled])
            found[f"largest {key}"] = float(drawn.max())
            found[f"p {key}"] = float((1 + (drawn >= real[key]).sum()) / (1 + len(drawn)))
    found["any_passed"] = float(np.mean([each.get("passed", 0) > 0 for each in shuffled]))
    return found


def measure_figures(registry: brainlens.Registry, folder: Path) -> dict[str, dict[str, Values]]:
    """Return scores of pixels and of their controls, for figures that are new and for showings that are new."""
    registry.ingest("public.miyawaki", "v1", root=str(folder))
    response = registry["v1/response"].load()
    shown = response["stimulus_id"].values
    # Blocks are in the order of acquisition; ten of them are close to a run.
    block = np.arange(len(shown)) // 10
    trials = with_ceiling(single(response.assign_coords(block=("trial", block)), "block"))
    registry.put("v1/trials", trials)
    pixels = registry.compute("encoding.pixels", stimuli="v1/images", name="v1/pixels")
    n_pixels = registry[pixels].sizes["token"]
    projected = registry.compute("encoding.fuse", embeddings=[pixels], n_channels=n_pixels, name="v1/projected")
    figures = registry[pixels]["stimulus"].values
    row = np.array([int(np.flatnonzero(figures == name)[0]) for name in shown])
    late = np.array([block[row == number].min() >= block.max() / 2 for number in range(len(figures))])
    spaces = {
        "pixels": registry[pixels]["embedding"].values[..., 0],
        "random projection of the pixels": registry[projected]["embedding"].values,
        "random numbers for each figure": np.random.default_rng(0).standard_normal((len(figures), n_pixels)),
        "half of the recording": late[:, None],
    }
    new = {name: leave_figure(registry, name, table) for name, table in spaces.items()}
    new["mean of the other figures"] = score_mean(registry, "v1/left/pixels", "v1/response", "stimulus_id")
    shuffled = []
    for seed in range(N_SHUFFLES):
        order = np.random.default_rng(seed).permutation(len(figures))
        shuffled.append(leave_figure(registry, f"shuffled {seed}", spaces["pixels"][order]))
    new["shuffled images"] = over(shuffled, new["pixels"])
    registry.put("v1-centred/trials", centred(trials))
    found = {"miyawaki, new figures": new}
    for folder, title in (("v1", ""), ("v1-centred", ", mean of each run taken off")):
        known = {name: evaluate(registry, folder, name, table[row], patterns=shown) for name, table in spaces.items()}
        known["mean of the other runs"] = score_mean(registry, f"{folder}/predicted/pixels", f"{folder}/trials", "run")
        shuffled = []
        for seed in range(N_SHUFFLES):
            rng = np.random.default_rng(seed)
            drawn = row.copy()
            for each in np.unique(block):
                drawn[block == each] = rng.permutation(drawn[block == each])
            name, table = f"shuffled {seed}", spaces["pixels"][drawn]
            shuffled.append(evaluate(registry, folder, name, table, patterns=figures[drawn], truth=shown))
        known["images shuffled within runs"] = over(shuffled, known["pixels"])
        found[f"miyawaki, new showings{title}"] = known
    return found


def centred(trials: xr.Dataset) -> xr.Dataset:
    """Take off the mean of each run, and what is known of the noise with it."""
    values, run = trials["response"].values, trials["run"].values
    means = np.stack([values[run == each].mean(axis=0) for each in run])
    return with_ceiling(trials.assign(response=(trials["response"].dims, values - means)).drop_vars("ncsnr"))


def leave_figure(registry: brainlens.Registry, name: str, table: np.ndarray) -> Values:
    """Cross-predict the responses to each figure from the other figures; return means over voxels."""
    figures = registry["v1/images"]["stimulus"].values
    features = put_features(registry, f"v1/figures/{slug(name)}", figures, table, name)
    made = registry.cross_predict(
        "encoding.ridge", response="v1/response", features=features, leave_out="stimulus_id",
        name=f"v1/left/{slug(name)}", scale="space", device="cpu",
    )  # fmt: skip
    predicted, response = registry[made].load(), registry["v1/response"].load()
    seen, told = (
        np.stack([each["response"].values[each["stimulus_id"].values == figure].mean(axis=0) for figure in figures])
        for each in (response, predicted)
    )
    n = len(figures)
    ranks = []
    for number in range(n):
        others = np.delete(seen, number, axis=0).mean(axis=0)
        alike = correlate((told[number] - others)[None], seen - others)[0]
        ranks.append(int((np.delete(alike, number) >= alike[number]).sum()))
    found = {"named": float(np.mean(np.array(ranks) == 0)), "two_way": 1 - float(np.mean(ranks)) / (n - 1)}
    return summary(score(registry, made, "v1/response")) | found


def score_mean(registry: brainlens.Registry, predicted: str, measured: str, left_out: str) -> Values:
    """Return scores of the mean of the trials that are not left out."""
    made, trials = registry[predicted].load(), registry[measured].load()
    label, values = trials[left_out].values, trials["response"].values
    means = np.stack([values[label != each].mean(axis=0) for each in label])
    name = f"{predicted}-mean"
    kept = {key: made.attrs[key] for key in (*KEPT, "model") if key in made.attrs}
    registry.put(name, made.assign(response=(made["response"].dims, means)).drop_attrs().assign_attrs(kept))
    return summary(score(registry, name, measured))


def write(found: dict[str, dict[str, Values]]) -> None:
    """Write values as JSON, and the tables."""
    (HERE / "real.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    lines = list(ABOUT)
    said: set[str] = set()
    for title, models in found.items():
        about = title.split(",")[0]
        lines += ["", f"## {title.capitalize()}", "", *([] if about in said else [*SAID[about], ""])]
        said.add(about)
        columns = ["model", "mean r", "mean R2", "R2 / ceiling where it is > .1", "voxels at q < .05", "named"]
        columns += ["two-way"] if any("two_way" in values for values in models.values()) else []
        lines += [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        lines += [f"| {name} | {' | '.join(cells(values)[: len(columns) - 1])} |" for name, values in models.items()]
        for name, values in models.items():
            if "p r2" in values:
                ps = [f"{key[2:]} {value:.3f}" for key, value in values.items() if key.startswith("p ")]
                least = 1 / (N_SHUFFLES + 1)
                lines += ["", f"{name}: means of {N_SHUFFLES} shuffles, fitted anew. p of the first row from them, at"]
                lines.append(f"least {least:.3f}: {', '.join(ps)}. Any voxel at q < .05 in {values['any_passed']:.0%}.")
        first = next(iter(models.values()))
        rois = [key.removesuffix(": n") for key in first if key.endswith(": n")]
        if len(rois) > 1:
            lines += ["", "| first row, by region | voxels | mean r (95 %) | p, stimuli shuffled | mean R2 |"]
            lines.append("|---|---|---|---|---|")
        for roi in rois if len(rois) > 1 else []:
            r, low, high = (first[f"{roi}: {key}"] for key in ("correlation", "ci_low", "ci_high"))
            tail = f"{first[f'{roi}: p_value']:.4f} | {first[f'{roi}: r2']:.3f}"
            lines.append(f"| {roi} | {first[f'{roi}: n']:.0f} | {r:.3f} ({low:.3f} to {high:.3f}) | {tail} |")
    (HERE / "real.md").write_text("\n".join(lines) + "\n", "utf-8")


def cells(values: Values) -> list[str]:
    """Return a row of the tables."""
    good = f"{values['r2_good']:.3f} / {values['ceiling_good']:.3f} ({values['n_good']:.0f} voxels)"
    passed = f"{values['n_passed']:.0f} of {values['n_sites']:.0f} ({values['passed']:.0%})"
    shown = [f"{values['correlation']:.3f}", f"{values['r2']:.3f}", good if values["n_good"] else "", passed]
    return [*shown, *(f"{values[key]:.3f}" if key in values else "" for key in ("named", "two_way"))]


def main() -> None:
    """Measure, and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    write(measure(options.data))


if __name__ == "__main__":
    main()
