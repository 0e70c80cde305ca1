"""Weights read off a few images: the in-context encoder against ridge, an empirical prior, and the truth.

    python in_context.py SEED [SEED ...] [--scratch FOLDER]

Writes in_context.json, kept from earlier calls, and in_context.md. Everything here is simulated. Three populations:
"axes", sites that share a few axes of linear features, so that the best possible estimate is known; "none in common",
the same with weights that are independent, the control in which nothing can be learnt across sites; "scenes", the
rendered subjects of `simulate` with the image embedding that comes with brainlens. Settings were chosen on seed 100.
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
from brainlens_encoding.population import find_axes

import brainlens

HERE = Path(__file__).parent
SIZES = (10, 30, 100, 300, 1000)
OTHERS = ("s1", "s2", "s3")
N_TRAINING, N_NEW, N_TEST, N_SITES = 800, 1000, 300, 600
D, N_SHARED_AXES, PRIVATE = 64, 8, 0.3
NETWORK: dict[str, Any] = {"steps": 800, "batch_sites": 48}
MIXED, PUBLISHED = "in context, mixture added", "in context, as published"
ABOUT = (
    "# Weights from a few images (simulated)",
    "",
    f"A new subject of {N_SITES} sites, {N_TEST} new images; the network was trained on {len(OTHERS)} others, each of",
    f"{N_SITES} sites and {N_TRAINING} images of its own. Share of the variance of the noiseless test responses that",
    "is explained, mean over sites with signal and over seeds +- SD over seeds, by how many images of the new subject",
    "were seen once. Ridge: `encoding.ridge`, penalty of each site by cross-validation, fitted again to all. Ridge,",
    "prior: the covariance of the other subjects' weights as prior, noise of each site by marginal likelihood. Best",
    "possible: the posterior mean of the true prior and noise. Order: largest difference of a prediction when the same",
    "trials come in another order, as a share of the largest prediction. Mixture added: `spanned`, see the README.",
)
Row = dict[str, float]
Rows = dict[str, Row]


def measure(registry: brainlens.Registry, seed: int) -> dict[str, Rows]:
    """Return the explained variance of each method, by population and number of images."""
    made = {
        "axes": make_linear(registry, "axes", seed, shared=True),
        "none in common": make_linear(registry, "none", seed, shared=False),
        "scenes": make_scenes(registry, "scenes", seed),
    }
    return {name: compare(registry, name, about, seed) for name, about in made.items()}


def make_linear(registry: brainlens.Registry, folder: str, seed: int, *, shared: bool) -> dict[str, Any]:
    """Store subjects whose sites are linear in Gaussian features; return what is known about the new one."""
    rng = np.random.default_rng([seed, int(shared)])
    axes = np.linalg.qr(rng.standard_normal((D, N_SHARED_AXES)))[0] * np.linspace(2, 1, N_SHARED_AXES)
    covariance = np.eye(D) / D
    if shared:
        covariance = axes @ axes.T / np.sum(axes**2) + PRIVATE**2 * np.eye(D) / D
        covariance /= np.trace(covariance)
    root = np.linalg.cholesky(covariance)
    about: dict[str, Any] = {"folder": folder, "covariance": covariance}
    for subject in (*OTHERS, "new"):
        n_own = N_NEW if subject == "new" else N_TRAINING
        n = n_own + (N_TEST if subject == "new" else 0)
        features = rng.standard_normal((n, D))
        weights = root @ rng.standard_normal((D, N_SITES))
        noise = rng.uniform(0.7, 2.5, N_SITES)
        clean = features @ weights
        stimuli = [f"{subject}-{number}" for number in range(n)]
        split = np.where(np.arange(n) < n_own, "train", "test")
        put(
            registry,
            f"{folder}/{subject}",
            subject,
            stimuli,
            split,
            features,
            clean + noise * rng.standard_normal(clean.shape),
        )
        if subject == "new":
            about |= {"truth": clean[n_own:], "noise": noise, "good": np.ones(N_SITES, bool)}
    return about


def make_scenes(registry: brainlens.Registry, folder: str, seed: int) -> dict[str, Any]:
    """Store rendered subjects of one population, each image seen once; return what is known about the new one."""
    about: dict[str, Any] = {"folder": folder, "covariance": None}
    for number, subject in enumerate((*OTHERS, "new")):
        raw = f"raw/{subject}"
        registry.ingest(
            "simulate", raw, seed=100 * seed + number, subject=subject, population=seed, n_shared=N_TEST,
            n_voxels=N_SITES, n_stimuli=N_NEW if subject == "new" else N_TRAINING, n_repetitions=1,
        )  # fmt: skip
        embedded = registry.compute("mini.image", stimuli=f"{raw}/images", device="cpu")
        features, response = registry[embedded].load(), registry[f"{raw}/response"].load()
        shown, split = response["stimulus_id"].values, response["split"].values
        # Trials of the same kind behind each other, so that the first so many images are well defined.
        order = np.concatenate([np.flatnonzero(split == part) for part in ("train", "test")])
        if subject != "new":
            order = order[split[order] == "train"]
        table = features["embedding"].sel(stimulus=shown[order]).values
        put(
            registry,
            f"{folder}/{subject}",
            subject,
            list(shown[order]),
            split[order],
            table,
            response["response"].values[order],
        )
        if subject == "new":
            drive = registry[f"{raw}/truth"]["drive"].sel(stimulus=shown[order][split[order] == "test"]).values
            about |= {"truth": drive, "good": drive.std(axis=0) > 1e-6}
    return about


def put(
    registry: brainlens.Registry, name: str, subject: str, stimuli: list[str], split: np.ndarray, features: np.ndarray,
    values: np.ndarray,
) -> None:  # fmt: skip
    """Store features and responses of a subject who saw each stimulus once."""
    registry.put(
        f"{name}/features",
        xr.Dataset(
            {"embedding": (("stimulus", "channel"), features.astype(np.float32))},
            {"stimulus": np.array(stimuli, dtype=object)},
            {"schema": "embedding.v1", "model": "features", "simulated": 1},
        ),
    )
    registry.put(
        f"{name}/response",
        xr.Dataset(
            {"response": (("trial", "voxel"), values.astype(np.float32))},
            {
                "trial": np.arange(len(values)), "voxel": np.arange(values.shape[1]),
                "stimulus_id": ("trial", np.array(stimuli, dtype=object)), "split": ("trial", split.astype(object)),
            },
            {"schema": "response.v1", "subject": subject, "units": "a.u.", "simulated": 1},
        ),
    )  # fmt: skip


def compare(registry: brainlens.Registry, name: str, about: dict[str, Any], seed: int) -> Rows:
    """Return the explained variance of each method, by how many images of the new subject were seen."""
    folder = about["folder"]
    given: dict[str, Any] = {"seed": seed, "device": "cpu"}
    others = {
        "response": [f"{folder}/{each}/response" for each in OTHERS],
        "features": [f"{folder}/{each}/features" for each in OTHERS],
    }
    forms = (MIXED, PUBLISHED) if name == "axes" else (MIXED,)
    models = {
        form: registry.fit(
            "encoding.in_context", name=f"{folder}/prior-{number}", spanned=form == MIXED, **others, **NETWORK, **given
        )
        for number, form in enumerate(forms)
    }
    population = read_population(registry, folder)
    found: Rows = {}
    for n in SIZES:
        whole = registry[f"{folder}/new/response"].load()
        train = np.flatnonzero(whole["split"].values == "train")[:n]
        few = whole.isel(trial=np.concatenate([train, np.flatnonzero(whole["split"].values == "test")]))
        registry.put(f"{folder}/few-{n}", few)
        fit: dict[str, Any] = {"response": f"{folder}/few-{n}", "features": f"{folder}/new/features", **given}
        rows: dict[str, np.ndarray] = {}
        for label, model in models.items():
            more: dict[str, Any] = {**NETWORK, "spanned": label == MIXED}
            rows[label] = predict(registry, registry.fit("encoding.in_context", start=model, **fit, **more), folder)
        rows["ridge"] = predict(registry, registry.fit("encoding.ridge", scale="space", **fit), folder)
        rows["ridge, prior"] = empirical_bayes(registry, folder, few, population)
        if about["covariance"] is not None:
            rows["best possible"] = best_possible(registry, folder, few, about)
        for label, predicted in rows.items():
            found.setdefault(label, {})[str(n)] = explained(about["truth"], predicted, about["good"])
    found[MIXED]["order"] = order_matters(registry, folder, models[MIXED], {**given, "spanned": True})
    return found


def predict(registry: brainlens.Registry, model: str, folder: str) -> np.ndarray:
    """Return predicted responses to the test images (image, site)."""
    made = registry[registry.predict(model, features=f"{folder}/new/features", device="cpu")].load()
    response = registry[f"{folder}/new/response"]
    wanted = response["stimulus_id"].values[response["split"].values == "test"]
    rows = made.assign_coords(trial=made["stimulus_id"].values).sel(trial=wanted)
    return np.asarray(rows["response"].values, float)


def read_population(registry: brainlens.Registry, folder: str) -> dict[str, np.ndarray]:
    """Return mean and scale of the other subjects' features, and the axes of their sites' weights."""
    tables = []
    for subject in OTHERS:
        response = registry[f"{folder}/{subject}/response"].load()
        features = (
            registry[f"{folder}/{subject}/features"].load()["embedding"].sel(stimulus=response["stimulus_id"].values)
        )
        values = response["response"].values
        tables.append((features.values, (values - values.mean(axis=0)) / values.std(axis=0)))
    features = np.concatenate([table for table, _ in tables])
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.sqrt((scale**2).mean())
    axes = find_axes([((table - mean) / scale, values) for table, values in tables], n_axes=len(mean))
    return {"mean": mean, "scale": scale, "axes": axes}


def empirical_bayes(
    registry: brainlens.Registry, folder: str, few: xr.Dataset, population: dict[str, np.ndarray]
) -> np.ndarray:
    """Predict by ridge regression on the population's axes, noise of each site by marginal likelihood."""
    train = few["split"].values == "train"
    table = registry[f"{folder}/new/features"].load()["embedding"]
    x, t = (
        (table.sel(stimulus=few["stimulus_id"].values[rows]).values - population["mean"])
        / population["scale"]
        @ population["axes"]
        for rows in (train, ~train)
    )
    y = few["response"].values[train].astype(float)
    mean, std = y.mean(axis=0), y.std(axis=0)
    y = (y - mean) / std
    spectrum, basis = np.linalg.eigh(x @ x.T)
    spectrum, turned = np.maximum(spectrum, 0), basis.T @ y
    noises = np.geomspace(0.05, 500, 30)
    likelihood = []
    for noise in noises:
        variance = spectrum + noise
        fit = (turned**2 / variance[:, None]).mean(axis=0)
        likelihood.append(-0.5 * len(x) * np.log(fit) - 0.5 * np.log(variance).sum())
    noise = noises[np.argmax(likelihood, axis=0)]
    return np.asarray((t @ x.T) @ (basis @ (turned / (spectrum[:, None] + noise))) * std + mean)


def best_possible(registry: brainlens.Registry, folder: str, few: xr.Dataset, about: dict[str, Any]) -> np.ndarray:
    """Predict by the posterior mean of each site, with the true prior and the true noise."""
    train = few["split"].values == "train"
    table = registry[f"{folder}/new/features"].load()["embedding"]
    x, t = (table.sel(stimulus=few["stimulus_id"].values[rows]).values.astype(float) for rows in (train, ~train))
    y = few["response"].values[train].astype(float)
    spectrum, basis = np.linalg.eigh(x @ about["covariance"] @ x.T)
    shrunk = basis @ ((basis.T @ y) / (np.maximum(spectrum, 0)[:, None] + about["noise"] ** 2))
    return np.asarray(t @ about["covariance"] @ x.T @ shrunk)


def explained(truth: np.ndarray, predicted: np.ndarray, good: np.ndarray) -> float:
    """Return the share of the variance of true responses that is explained, mean over sites with signal."""
    truth, predicted = truth[:, good].astype(float), predicted[:, good]
    # What a site answers on average is known from few trials, and not the point.
    truth, predicted = truth - truth.mean(axis=0), predicted - predicted.mean(axis=0)
    return float((1 - ((truth - predicted) ** 2).sum(axis=0) / (truth**2).sum(axis=0)).mean())


def order_matters(registry: brainlens.Registry, folder: str, model: str, given: dict[str, Any]) -> float:
    """Return how much predictions differ when the same hundred trials come in another order."""
    few = registry[f"{folder}/few-100"].load()
    shuffled = np.random.default_rng(given["seed"]).permutation(few.sizes["trial"])
    registry.put(f"{folder}/shuffled", few.isel(trial=shuffled))
    made = [
        predict(
            registry,
            registry.fit(
                "encoding.in_context", start=model, response=f"{folder}/{name}", features=f"{folder}/new/features",
                **NETWORK, **given,
            ),
            folder,
        )
        for name in ("few-100", "shuffled")
    ]  # fmt: skip
    return float(np.abs(made[0] - made[1]).max() / np.abs(made[0]).max())


def write(entries: dict[str, dict[str, Rows]]) -> None:
    """Write values as JSON, and a table for each population."""
    (HERE / "in_context.json").write_text(json.dumps(entries, indent=1) + "\n", "utf-8")
    lines = [*ABOUT, f"Seeds {', '.join(sorted(entries, key=int))}. Written by in_context.py."]
    for population in next(iter(entries.values())):
        lines += ["", f"## {population}", "", f"| method | {' | '.join(f'{n} images' for n in SIZES)} |"]
        lines.append("|---|" + "---|" * len(SIZES))
        for method in next(iter(entries.values()))[population]:
            cells = [cell([rows[population][method][str(n)] for rows in entries.values()]) for n in SIZES]
            lines.append(f"| {method} | {' | '.join(cells)} |")
        largest = max(rows[population][MIXED]["order"] for rows in entries.values())
        lines.append("")
        for form in (MIXED, PUBLISHED):
            if form in next(iter(entries.values()))[population]:
                gains = [f"{n}: {interval(entries, population, form, n)}" for n in SIZES]
                lines.append(f"- {form}, over ridge, by images, with 95 % intervals over seeds: {'; '.join(gains)}")
        lines.append(f"- order: {largest:.1e}")
    (HERE / "in_context.md").write_text("\n".join(lines) + "\n", "utf-8")


def cell(values: list[float]) -> str:
    """Return mean and standard deviation over seeds."""
    return f"{np.mean(values):.3f}" + (f" +- {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


def interval(entries: dict[str, dict[str, Rows]], population: str, form: str, n: int) -> str:
    """Return the mean difference to ridge and its interval by Student's t over seeds."""
    from scipy import stats

    values = np.array([rows[population][form][str(n)] - rows[population]["ridge"][str(n)] for rows in entries.values()])
    if len(values) < 2:
        return f"{values[0]:+.3f}"
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.3f} ({values.mean() - half:+.3f} to {values.mean() + half:+.3f})"


def main() -> None:
    """Measure the seeds that were asked for, and go on where an earlier call stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="+", type=int)
    parser.add_argument("--scratch", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    file = HERE / "in_context.json"
    entries = json.loads(file.read_text("utf-8")) if file.exists() else {}
    for seed in options.seeds:
        if str(seed) in entries:
            continue
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            registry = brainlens.open(Path(options.scratch or folder) / f"in-context-{seed}.zarr", quiet=True)
            entries[str(seed)] = measure(registry, seed)
        write(entries)
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
