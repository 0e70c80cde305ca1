"""What a decoder loses once a region is silent, scrambled or amplified, of subjects whose tuning is known.

    python lesions.py SEED [SEED ...]

Writes lesions.json, kept from earlier calls, and lesions.md. Everything here is simulated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from seeds import Entries, measure_seeds

import brainlens

SUBJECT: dict[str, Any] = {"n_stimuli": 600, "n_shared": 150, "n_voxels": 2000}
OWN = {"FFA + OFA": "face", "EBA + FBA": "body", "VWFA": "word", "food": "food"}
REGIONS = (*OWN, "PPA + OPA + RSC", "V1", "V2", "V3", "V4", "control")
CONCEPTS = ("face", "body", "word", "food", "animal", "tool", "vehicle")
FORMS = ("silence", "scramble", "amplify")


def measure(registry: brainlens.Registry, seed: int) -> dict[str, Any]:
    """Return what each form of lesion of each region changes, and how much less concepts are told."""
    registry.ingest("simulate", "sim", seed=seed, subject="sim", **SUBJECT)
    factors = registry["sim/factors"].load()
    presence = factors.sel(channel=[f"{concept}.presence" for concept in CONCEPTS]).drop_attrs()
    registry.put("presence", presence.assign_attrs(schema="embedding.v1", model="presence"))
    axes = xr.Dataset(
        {"embedding": (("stimulus", "channel"), np.eye(len(CONCEPTS), dtype=np.float32))},
        {"stimulus": list(CONCEPTS), "channel": presence["channel"].values},
        {"schema": "embedding.v1", "model": "presence"},
    )
    registry.put("axes", axes)
    # Fitted to the named regions alone: what is lost with one of them is not found elsewhere in the brain.
    model = registry.fit(
        "linear", response="sim/response", target="presence", average="stimulus_id", roi=" + ".join(REGIONS),
        device="cpu",
    )  # fmt: skip
    found = {}
    for form in FORMS:
        lesions = registry.compute(
            "roi.lesion", response="sim/response", model=model, rois=REGIONS, form=form, seed=seed
        )
        decoded = registry.predict(model, response=lesions, device="cpu")
        effect = registry[
            registry.compute(
                "roi.effect", decoded=decoded, target="presence", concepts="axes", temperature=0.2, seed=seed
            )
        ].load()
        found[form] = {
            name: {
                region: {
                    metric: round(float(effect[name].sel(roi=region, metric=metric)), 4)
                    for metric in ("change", *CONCEPTS)
                }
                for region in REGIONS
            }
            for name in ("score", "drop", "drop_q_value")
        }
    return found


def tables(entries: Entries) -> list[str]:
    """Return the tables of what was measured."""
    subjects = list(entries.values())

    def mean(form: str, name: str, region: str, metric: str) -> float:
        return float(np.mean([each[form][name][region][metric] for each in subjects]))

    lines = [
        "# Lesions and stimulation of one region at a time (simulated)",
        "",
        f"Seeds {', '.join(sorted(entries, key=int))}; written by lesions.py. Ridge from ten regions at once to",
        f"the presence of seven kinds of object; {SUBJECT['n_shared']} test scenes of three showings. Change: 1",
        "minus the cosine to what was decoded intact. Concepts: what the correlation of the decoded share with the",
        "true one loses.",
    ]
    for form in FORMS:
        hits = [
            max(CONCEPTS, key=lambda each: subject[form]["drop"][region][each]) == kind
            for subject in subjects
            for region, kind in OWN.items()
        ]
        q_values = [each[form]["drop_q_value"][region][kind] for each in subjects for region, kind in OWN.items()]
        told = "Twice as far from the mean. A region that says the same louder should lose nothing."
        if form != "amplify":
            told = (
                f"Most is lost of the concept that the region is tuned to in {sum(hits)} of {len(hits)} cases, and "
                f"with q < .05 in {sum(value < 0.05 for value in q_values)}."
            )
        lines += [
            "",
            f"## {form}",
            "",
            told,
            "",
            f"| region | tuned to | change | {' | '.join(CONCEPTS)} |",
            "|---|---|---|" + "---|" * len(CONCEPTS),
        ]
        for region in REGIONS:
            cells = [region, OWN.get(region, "-"), f"{mean(form, 'score', region, 'change'):.3f}"]
            cells += [f"{mean(form, 'drop', region, concept):.3f}" for concept in CONCEPTS]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    measure_seeds(__doc__, "lesions", lambda registry, seed: measure(registry, int(seed)), tables)
