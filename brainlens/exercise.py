"""What a plugin's components do, tried on the synthetic study in a registry of its own.

Decoders and encoders are tried in `brainlens.exercise_fitting`.

Every check yields one line for each problem. A component that needs what the study does not have raises
`NotApplicable`, which says what that is.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import xarray as xr

from brainlens.errors import BrainlensError, ParameterError, PluginError
from brainlens.plugins import Plugin, PluginHost
from brainlens.records import Component
from brainlens.registry import Registry, open as open_registry
from brainlens.scoring import correlate, rank_of_true
from brainlens.synthetic import synthetic_study


class NotApplicable(Exception):
    """A check cannot be made of this component; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One component to be tried: with which parameters and inputs, on which study, in which empty folder."""

    host: PluginHost
    component: Component
    folder: Path
    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    study: Mapping[str, xr.Dataset] = field(default_factory=synthetic_study)
    device: str = "cpu"

    def registry(self, **datasets: xr.Dataset) -> Registry:
        """Return a new registry that holds these datasets."""
        self.folder.mkdir(parents=True, exist_ok=True)
        made = open_registry(self.folder / f"{len(list(self.folder.iterdir()))}.zarr", host=self.host, quiet=True)
        for name, dataset in datasets.items():
            made.put(name, dataset)
        return made


def only(host: PluginHost, plugin: Plugin) -> PluginHost:
    """Return a host of one plugin and those that define schemas, so that no experiment tracker hears of trials."""
    known = host.plugins(load=True)
    return PluginHost([other.entry_point for other in known if other.name == plugin.name or other.schemas])


def analysis_problems(attempt: Attempt) -> Iterator[str]:
    """Compute twice from datasets of the study; the results agree and the inputs stay."""
    component = attempt.component
    # Weights that come with a plugin are tried where the plugin's author says with which inputs.
    if component.checkpoints and not attempt.inputs:
        raise NotApplicable(
            f"component {component.name!r} needs weights: {component.checkpoints[0].id!r}. Name `inputs` to try it."
        )
    if component.calls and not attempt.params:
        raise NotApplicable(
            f"component {component.name!r} calls other components. Name some of its own plugin in `params` to try it."
        )
    datasets = {**attempt.study, **_derived(attempt.study)}
    inputs: dict[str, Any] = {**_choose_inputs(component, datasets), **attempt.inputs}
    if attempt.inputs:
        # Who names inputs means these: an optional one that is not among them is left out.
        wanted = {key for key, each in component.inputs.items() if key in attempt.inputs or not each.optional}
        inputs = {key: name for key, name in inputs.items() if key in wanted}
    params = {**fill_required(attempt, "text"), **attempt.params}
    registry = attempt.registry(**datasets)
    made = []
    for name in ("first", "second"):
        try:
            registry.compute(component.name, name=name, device=attempt.device, **inputs, **params)
        except PluginError as error:
            yield str(error)
            return
        except BrainlensError as error:
            if attempt.inputs:
                yield str(error)
                return
            raise NotApplicable(
                f"component {component.name!r} refused {inputs!r}, name others in `inputs`: {error}"
            ) from error
        made.append(registry[name].load())
    if not made[0].equals(made[1]):
        yield f"component {component.name!r}: expected the same result for the same seed, found another."
    registry.verify()


def importer_problems(attempt: Attempt) -> Iterator[str]:
    """Ask an importer for what does not exist: a parameter, and a file."""
    component = attempt.component
    missing = str(attempt.folder / "absent" / "no-such-file.xyz")
    registry = attempt.registry()
    given = {**attempt.params, **fill_required(attempt, missing)}
    yield from _unknown_parameter_problems(
        component, lambda **more: registry.ingest(component.name, "new", **given, **more)
    )
    if missing not in str(given):
        return
    try:
        registry.ingest(component.name, "new", **given)
        yield f"component {component.name!r}: expected an error for a missing file, found none."
    except PluginError as error:
        expected = "a RegistryError that names the missing file"
        yield f"component {component.name!r}: expected {expected}, found: {error} Open it by context.source(path)."
    except BrainlensError:
        pass
    if registry.list():
        yield f"component {component.name!r}: expected nothing stored for a missing file, found {registry.list()!r}."


def exporter_problems(attempt: Attempt) -> Iterator[str]:
    """Export what the study has: a file or a plain refusal, and nothing half written."""
    component, name = attempt.component, attempt.component.name
    registry = attempt.registry(**attempt.study)
    folder = attempt.folder / "exported"
    folder.mkdir()
    suffix = component.suffixes[0] if component.suffixes else ""

    def export(stored: str, **more: Any) -> Any:
        return registry.export(stored, folder / f"{stored}{suffix}", exporter=name, **more)

    given = {**fill_required(attempt, "text"), **attempt.params}
    yield from _unknown_parameter_problems(component, lambda **more: export("response", **given, **more))
    for stored in attempt.study:
        try:
            export(stored, **given)
            continue
        except PluginError as error:
            yield str(error)
        except BrainlensError:
            pass
        leftovers = [item.name for item in folder.iterdir() if stored in item.name]
        if leftovers:
            yield f"component {name!r}: expected nothing written for a {stored} that it refused, found {leftovers!r}."
    registry.verify()


def fill_required(attempt: Attempt, text: str) -> dict[str, Any]:
    """Return some value for each parameter without a default: `text` wherever text will do.

    Raises
    ------
    NotApplicable
        If a parameter takes nothing simple, and `attempt.params` has nothing for it either.
    """
    filled = {}
    for name, info in attempt.component.params.model_fields.items():
        if not info.is_required():
            continue
        candidates = (text, (text,), {"name": text}, 1, 0.5, *typing.get_args(info.annotation))
        accepted = [candidate for candidate in candidates if _accepts(attempt.component, name, candidate)]
        if accepted:
            filled[name] = accepted[0]
        elif name not in attempt.params:
            raise NotApplicable(
                f"component {attempt.component.name!r}: parameter {name!r} has no default; say what to try in `params`."
            )
    return filled


def _accepts(component: Component, name: str, candidate: object) -> bool:
    try:
        component.params(**{name: candidate})
    except pydantic.ValidationError as error:
        return all(problem["loc"][:1] != (name,) for problem in error.errors())
    return True


def _unknown_parameter_problems(component: Component, call: Any) -> Iterator[str]:
    try:
        call(no_such_parameter=1)
    except ParameterError:
        return
    yield f"component {component.name!r}: expected an unknown parameter to be refused, found it accepted."


def _derived(study: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Return what a good decoder would make of the test trials, and how it ranks the test stimuli."""
    response, target = study["response"], study["target"]
    test = response.isel(trial=np.flatnonzero(response["split"].values == "test"))
    shown = test["stimulus_id"].values
    embedding = target["embedding"].sel(stimulus=shown).values
    noise = np.random.default_rng(2).standard_normal(embedding.shape).astype(embedding.dtype)
    coords = {name: item for name, item in test.coords.items() if item.dims == ("trial",)}
    decoded = xr.Dataset({"embedding": (("trial", *target["embedding"].dims[1:]), embedding + noise)}, coords)
    decoded = decoded.assign_coords(channel=target["channel"])
    decoded.attrs = {"schema": "embedding.v1", "model": target.attrs["model"], "subject": response.attrs["subject"]}
    gallery, columns = np.unique(shown, return_inverse=True)
    candidates = target["embedding"].sel(stimulus=gallery).values.reshape(len(gallery), -1)
    similarity = correlate(decoded["embedding"].values.reshape(len(shown), -1), candidates)
    ranking = xr.Dataset(
        {"rank": ("trial", rank_of_true(similarity, columns)), "similarity": (("trial", "stimulus"), similarity)},
        {**coords, "stimulus": gallery},
        {"schema": "ranking.v1", "metric": "correlation"},
    )
    return {"decoded": decoded, "ranking": ranking}


def _choose_inputs(component: Component, datasets: Mapping[str, xr.Dataset]) -> dict[str, str]:
    """Guess which dataset of the study is meant by each input: by its name, else by its kind."""
    chosen: dict[str, str] = {}
    for key, wanted in component.inputs.items():
        kinds = {name: item.attrs["schema"] for name, item in datasets.items()}
        fitting = [name for name, kind in kinds.items() if wanted.kind in (kind, kind.rsplit(".", 1)[0])]
        # Of several embeddings the first to be read is the decoded one: a decoded one is compared with true ones.
        fitting.sort(key=lambda name: (name != key, name in chosen.values(), name != "decoded"))
        if fitting:
            chosen[key] = fitting[0]
        elif not wanted.optional:
            raise NotApplicable(
                f"component {component.name!r} reads {wanted.kind!r}, which the synthetic study does not have."
            )
    return chosen
