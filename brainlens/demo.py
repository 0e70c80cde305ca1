"""The main job on a simulated subject, in one command: from stimuli and responses to images, regions and a report.

Plugins are asked for by name, as any user would; what is not installed is said and left out, never imitated.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from brainlens.errors import RegistryError
from brainlens.registry import Registry, open as open_registry
from brainlens.report import score_rows, write_report

SUBJECT = "sim01"
NOTES = (
    "Simulated: the stimuli are rendered scenes, and the responses come from a known model of a visual cortex that "
    "looks at them, with known noise. A score here says what a method can do, not what a brain does.",
    "Ceiling: what the optimal decoder, which knows that model, reaches among the same candidates. Learnable ceiling: "
    "what is reached when the true features are known, and their weights are fitted on the same training trials.",
    "ROI 'control' carries no signal.",
)
# How images are made from what was decoded: from latents alone, from the embedding alone, from both.
IMAGES = ("layout", "painted", "painted-on-layout")
# What stands between an image and its score: a network that conditioned nothing, the latents that were decoded, and the
# network whose embeddings condition the generator, which is no independent judge.
METRICS = {"judge": "mini.judge", "latents": "mini.latents", "embedding": "mini.image"}


def run_demo(
    folder: Path,
    *,
    seed: int = 0,
    n_stimuli: int = 900,
    n_shared: int = 150,
    n_voxels: int = 2000,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Run the demo into a folder that does not exist yet; return the summary that is also written there.

    Parameters
    ----------
    folder
        Gets `study.zarr`, `decoded.zarr`, `report.html` and `summary.json`.
    seed
        Of the simulated subject, the generator and the analyses.
    n_stimuli, n_shared
        Scenes to train on, and scenes to test on, each shown three times.
    n_voxels
        Voxels of the subject.
    say
        Told one line for each step.

    Raises
    ------
    RegistryError
        If the folder exists and holds something.
    PluginError
        If one of the plugins simulate, mini, linear and retrieval is not installed.
    """
    if folder.exists() and any(folder.iterdir()):
        raise RegistryError(
            f"demo: expected a new or empty folder, found things in {str(folder)!r}. Remove it, or name another."
        )
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    registry = open_registry(folder / "study.zarr")
    say("simulate a subject who looks at scenes")
    given: dict[str, Any] = {"n_stimuli": n_stimuli, "n_shared": n_shared, "n_voxels": n_voxels}
    registry.ingest("simulate", SUBJECT, seed=seed, subject=SUBJECT, **given)
    say("embed the scenes")
    registry.compute("mini.image", stimuli=f"{SUBJECT}/images", name=f"{SUBJECT}/embedding")
    registry.compute("mini.latents", stimuli=f"{SUBJECT}/images", name=f"{SUBJECT}/latents")
    say("decode the embedding, and find each scene among all that were tested")
    scores = {"all": _retrieve(registry, "all", seed)}
    ceilings = _ceilings(registry, n_shared, seed)
    say("decode the layout, draw it, and paint the scenes")
    _reconstruct(registry, seed)
    identified = {
        f"{image} by {metric}": _identify(registry, image, metric, seed) for image in IMAGES for metric in METRICS
    }
    for region in registry.rois(f"{SUBJECT}/response"):
        say(f"decode from {region} alone")
        scores[region] = _retrieve(registry, region, seed)
    say("export and report")
    registry.export("decoded/all", folder / "decoded.zarr")
    summary = {
        "simulated": True,
        "retrieval": {**_first_row(registry, scores["all"]), **ceilings},
        "two_way_identification": identified,
        "per_roi": {region: _first_row(registry, name) for region, name in scores.items()},
        "n_datasets": len(registry.verify()),
        "seconds": round(time.monotonic() - started, 1),
        "peak_memory_mb": round(_peak_memory_mb()),
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    write_report(registry, folder / "report.html", title="brainlens demo", notes=NOTES)
    return summary


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return what a person wants to see of a summary, one line each.

    Examples
    --------
    >>> row = {"label": "top_1", "score": 0.5, "chance": 0.1, "n": 10}
    >>> retrieval = {**row, "ceiling": 1.0, "learnable_ceiling": 0.8}
    >>> images = {"painted by judge": {**row, "label": "two_way_identification", "chance": 0.5}}
    >>> for line in summary_lines({"retrieval": retrieval, "two_way_identification": images, "per_roi": {"V1": row}}):
    ...     print(line)
    retrieval: top_1 0.500 (chance 0.100, n 10), learnable ceiling 0.800, ceiling 1.000
    painted by judge: two_way_identification 0.500 (chance 0.500, n 10)
    from V1: top_1 0.500 (chance 0.100, n 10)
    """

    def shown(row: Mapping[str, Any]) -> str:
        return f"{row['label']} {row['score']:.3f} (chance {row['chance']:.3f}, n {row['n']:.0f})"

    found = summary["retrieval"]
    ceilings = f"learnable ceiling {found['learnable_ceiling']:.3f}, ceiling {found['ceiling']:.3f}"
    return [
        f"retrieval: {shown(found)}, {ceilings}",
        *(f"{image}: {shown(row)}" for image, row in summary["two_way_identification"].items()),
        *(f"from {region}: {shown(row)}" for region, row in summary["per_roi"].items() if region != "all"),
    ]


def _retrieve(registry: Registry, region: str, seed: int) -> str:
    """Decode the embedding from a region, and score the search among the shared scenes, which were not trained on."""
    decoded = _decode(registry, "embedding", region, seed)
    gallery = _tested_gallery(registry, decoded)
    ranking = registry.compute("retrieval.rank", decoded=decoded, gallery=gallery, name=f"rankings/{region}")
    return registry.compute("retrieval.score", ranking=ranking, seed=seed, name=f"scores/{region}")


def _decode(registry: Registry, target: str, region: str, seed: int) -> str:
    roi = None if region == "all" else region
    name = region if target == "embedding" else f"{target}-{region}"
    response = f"{SUBJECT}/response"
    model = registry.fit(
        "linear", response=response, target=f"{SUBJECT}/{target}", roi=roi, seed=seed, name=f"models/{name}"
    )
    return registry.predict(model, response=response, average="stimulus_id", name=f"decoded/{name}")


def _tested_gallery(registry: Registry, decoded: str) -> str:
    """Store the true embeddings of the scenes that were tested, once."""
    name = f"{SUBJECT}/gallery"
    if name not in registry.list():
        tested = registry[decoded]["stimulus_id"].values
        registry.put(name, registry[f"{SUBJECT}/embedding"].sel(stimulus=tested))
    return name


def _ceilings(registry: Registry, n_candidates: int, seed: int) -> dict[str, float]:
    """Return the top-1 accuracies that could be reached among the same candidates."""
    options: dict[str, Any] = {"pool_size": n_candidates, "seed": seed}
    response = f"{SUBJECT}/response"
    known = registry.compute(
        "simulate.ceiling", response=response, truth=f"{SUBJECT}/truth", name="scores/ceiling", **options
    )
    fitted = registry.compute(
        "simulate.learnable_ceiling",
        response=response,
        features=f"{SUBJECT}/factors",
        name="scores/learnable-ceiling",
        **options,
    )
    names = {"ceiling": known, "learnable_ceiling": fitted}
    return {key: float(registry[name]["score"].sel(metric="image_top_1")) for key, name in names.items()}


def _reconstruct(registry: Registry, seed: int) -> None:
    """Draw the layout of every tested scene, and paint it from noise and from its layout."""
    layout = registry.compute("mini.decode", latents=_decode(registry, "latents", "all", seed), name="images/layout")
    for image, initial in (("painted", None), ("painted-on-layout", layout)):
        registry.compute("mini.generate", embedding="decoded/all", initial=initial, seed=seed, name=f"images/{image}")


def _identify(registry: Registry, image: str, metric: str, seed: int) -> dict[str, Any]:
    """Return how often what was made is more like its own scene than like another one."""
    made = registry.compute(METRICS[metric], images=f"images/{image}", name=f"judged/{image}-{metric}")
    seen = _tested_scenes(registry, made, metric)
    ranking = registry.compute("retrieval.rank", decoded=made, gallery=seen, name=f"rankings/{image}-{metric}")
    score = registry.compute("retrieval.score", ranking=ranking, seed=seed, name=f"scores/{image}-{metric}")
    rows = {row["label"]: row for row in score_rows(registry[score])}
    return rows["two_way_identification"]


def _tested_scenes(registry: Registry, made: str, metric: str) -> str:
    """Store what a metric sees in the scenes that were tested, once."""
    name = f"judged/seen-{metric}"
    if name not in registry.list():
        whole = registry.compute(METRICS[metric], stimuli=f"{SUBJECT}/images", name=f"judged/all-{metric}")
        registry.put(name, registry[whole].sel(stimulus=registry[made]["stimulus_id"].values))
    return name


def _first_row(registry: Registry, name: str) -> dict[str, Any]:
    return score_rows(registry[name])[0]


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
