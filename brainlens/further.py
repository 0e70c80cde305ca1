"""Further embeddings of what was shown, which a decoder or encoder may ask for when it is fitted.

Features for an auxiliary loss, or captions beside images: row for row with the trials, and not needed to predict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from brainlens.errors import ParameterError
from brainlens.jobs import Job, Workplace
from brainlens.records import ROLE_INPUTS, Component
from brainlens.store import open_dataset
from brainlens.trials import align_targets, named

Opened = Mapping[str, Sequence[xr.Dataset | None]]


def further_inputs(component: Component) -> list[str]:
    """Return the inputs of a decoder or encoder beside those of its role, in their order."""
    return [key for key in component.inputs if key not in ROLE_INPUTS[component.role]]


def refuse_numbers(job: Job, keys: Sequence[str]) -> None:
    """Refuse embeddings that are neither one for all responses nor one for each.

    Raises
    ------
    ParameterError
        Naming the input.
    """
    n = len(job.inputs["response"])
    for key in keys:
        given = job.inputs.get(key)
        if given is not None and len(given) not in (1, n):
            one_each = f"or one for each of {n} responses" if n > 1 else "for one response"
            raise ParameterError(f"{job.component.name}: expected one {key}, {one_each}, found {len(given)}.")


def open_further(work: Workplace, job: Job) -> Opened:
    """Open further embeddings, by input one for each response; None for each where nothing was given."""
    n = len(job.inputs["response"])
    opened: dict[str, Sequence[xr.Dataset | None]] = {}
    for key in further_inputs(job.component):
        found = [open_dataset(work.place, entry.name) for entry in job.inputs.get(key, ())]
        opened[key] = [found[number % len(found)] if found else None for number in range(n)]
    return opened


def align_further(
    opened: Opened, number: int, response: xr.Dataset, unused: np.ndarray | None
) -> dict[str, xr.Dataset | None]:
    """Return the further embeddings of one response row for row with its trials, by input.

    Raises
    ------
    DimensionError
        If a trial has none, naming the input.
    """
    found: dict[str, xr.Dataset | None] = {}
    for key, each in opened.items():
        other = each[number]
        with named(key, of=2):
            found[key] = None if other is None else align_targets(response, other, unused=unused)
    return found
