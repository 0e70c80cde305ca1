"""The main job on a simulated subject, in one command: store, decode, retrieve, look at ROIs, export, report.

Plugins are asked for by name, as any user would; what is not installed is said and left out, never imitated.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from brainlens.errors import RegistryError
from brainlens.registry import Registry, open as open_registry
from brainlens.report import score_rows, write_report
from brainlens.testing import synthetic_study

NOTE = (
    "Simulated: responses come from a planted linear map with known noise, not from a brain. "
    "ROI 'empty' carries no signal."
)


def run_demo(folder: Path, *, seed: int = 0, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Run the demo into a folder that does not exist yet; return the summary that is also written there.

    Parameters
    ----------
    folder
        Gets `study.zarr`, `decoded.zarr`, `report.html` and `summary.json`.
    seed
        Of the simulated subject and the analyses.
    say
        Told one line for each step.

    Raises
    ------
    RegistryError
        If the folder exists and holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise RegistryError(
            f"demo: expected a new or empty folder, found things in {str(folder)!r}. Remove it, or name another."
        )
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    registry = open_registry(folder / "study.zarr")
    say("simulate a subject")
    for name, dataset in synthetic_study(seed=seed).items():
        registry.put(f"simulated01/{name}", dataset)
    regions = ["all", *registry.rois("simulated01/response")]
    scores = {}
    for region in regions:
        say(f"decode and retrieve from {region}")
        scores[region] = _decode(registry, region, seed)
    say("export and report")
    registry.export("decoded/all", folder / "decoded.zarr")
    summary = {
        "simulated": True,
        "scores": score_rows(registry[scores["all"]]),
        "per_roi": {region: score_rows(registry[name])[0] for region, name in scores.items()},
        "n_datasets": len(registry.verify()),
        "seconds": round(time.monotonic() - started, 1),
        "peak_memory_mb": round(_peak_memory_mb()),
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    write_report(registry, folder / "report.html", title="brainlens demo", notes=[NOTE])
    return summary


def _decode(registry: Registry, region: str, seed: int) -> str:
    roi = None if region == "all" else region
    response, target = "simulated01/response", "simulated01/target"
    model = registry.fit("linear", response=response, target=target, roi=roi, seed=seed, name=f"models/{region}")
    decoded = registry.predict(model, response=response, average="stimulus_id", name=f"decoded/{region}")
    ranking = registry.compute("retrieval.rank", decoded=decoded, gallery=target, name=f"rankings/{region}")
    return registry.compute("retrieval.score", ranking=ranking, seed=seed, name=f"scores/{region}")


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
