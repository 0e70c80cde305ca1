"""What a plugin's components do, tried on the synthetic study in a registry of its own.

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

from brainlens.averages import standardize, training_statistics
from brainlens.compute import guarded, make_params
from brainlens.errors import BrainlensError, ParameterError, PluginError
from brainlens.plugins import Plugin, PluginHost
from brainlens.records import Component, Context
from brainlens.registry import Registry, open as open_registry
from brainlens.scoring import correlate, rank_of_true, two_way_identification
from brainlens.synthetic import synthetic_study
from brainlens.trainable import Trainable
from brainlens.trials import site_of

# Two-way identification over 36 test stimuli scatters by 0.05 around its chance of 0.5.
LEAST_SCORE = 0.7
MOST_BY_CHANCE = 0.65
TOLERANCE = 1e-4


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

    def fit(self, registry: Registry, name: str, **given: Any) -> str:
        """Fit the decoder to `response` and `target`, or what is given; return the digest of its weights."""
        given = {"response": "response", "target": "target", **given}
        registry.fit(self.component.name, name=name, device=self.device, **given, **self.params)
        return str(registry[name].attrs["weights_sha256"])

    def predict(self, registry: Registry, model: str, *, response: str = "response") -> xr.Dataset:
        """Predict the test trials."""
        return registry[registry.predict(model, response=response, device=self.device)].load()


def only(host: PluginHost, plugin: Plugin) -> PluginHost:
    """Return a host of one plugin and those that define schemas, so that no experiment tracker hears of trials."""
    known = host.plugins(load=True)
    return PluginHost([other.entry_point for other in known if other.name == plugin.name or other.schemas])


def planted_map_problems(attempt: Attempt) -> Iterator[str]:
    """Fit the planted map, and as negative control the same with shuffled stimulus labels."""
    target = attempt.study["target"]
    shuffled = np.random.default_rng(1).permutation(target["stimulus"].values)
    wrong = target.assign_coords(stimulus=shuffled)
    registry = attempt.registry(response=attempt.study["response"], target=target, wrong=wrong)
    attempt.fit(registry, "model")
    attempt.fit(registry, "control", target="wrong")
    score = min(_identify(attempt.predict(registry, "model"), target))
    control = max(_identify(attempt.predict(registry, "control"), wrong))
    name = f"component {attempt.component.name!r}"
    if not score >= LEAST_SCORE:
        yield f"{name}: expected two-way identification of at least {LEAST_SCORE} (chance 0.5), found {score:.3f}."
    if not control <= MOST_BY_CHANCE:
        yield (
            f"{name}: expected at most {MOST_BY_CHANCE} (chance 0.5) after the stimulus labels were shuffled, "
            f"found {control:.3f}. It knows the test stimuli from somewhere else than the responses."
        )


def repeat_problems(attempt: Attempt) -> Iterator[str]:
    """Fit twice with the same seed, and predict twice with the same model."""
    registry = attempt.registry(response=attempt.study["response"], target=attempt.study["target"])
    digests = attempt.fit(registry, "first"), attempt.fit(registry, "second")
    name = f"component {attempt.component.name!r}"
    if digests[0] != digests[1]:
        yield f"{name}: expected the same weights for the same seed, found others. Draw from context.rng()."
    predicted = attempt.predict(registry, "first")
    for what, model in (("the same model", "first"), ("the same seed", "second")):
        again = registry[registry.predict(model, response="response", name=f"again/{model}", device=attempt.device)]
        if not np.array_equal(again["embedding"].values, predicted["embedding"].values):
            yield f"{name}: expected the same predictions from {what}, found others. Predict without random numbers."


def single_trial_problems(attempt: Attempt) -> Iterator[str]:
    """Predict the same trials in reverse order, and a few of them alone."""
    response = attempt.study["response"]
    few = response.isel(trial=np.flatnonzero(response["split"].values == "test")[:3])
    registry = attempt.registry(
        response=response, target=attempt.study["target"], reversed=response.isel(trial=slice(None, None, -1)), few=few
    )
    attempt.fit(registry, "model")
    expected = attempt.predict(registry, "model")["embedding"]
    for name, what in (("reversed", "in reverse order"), ("few", "without the others")):
        found = attempt.predict(registry, "model", response=name)["embedding"]
        if not _is_close(found.values, expected.sel(trial=found["trial"].values).values):
            yield (
                f"component {attempt.component.name!r}: expected the same prediction for a trial {what}, "
                "found another. Predict each trial from its own response."
            )


def storage_problems(attempt: Attempt) -> Iterator[str]:
    """Compare predictions before saving with those after loading, and inputs before with those after."""
    component, study = attempt.component, attempt.study
    response, target = study["response"], study["target"]
    parts = {name: response.isel(trial=np.flatnonzero(response["split"].values == name)) for name in ("train", "test")}
    mean, std = training_statistics(parts["train"], standardize="training")
    train, test = (standardize(part, mean, std) for part in parts.values())
    aligned = target.sel(stimulus=train["stimulus_id"].values).drop_vars("stimulus").rename(stimulus="trial")
    aligned = aligned.assign_coords({name: item for name, item in train.coords.items() if item.dims == ("trial",)})
    before = [item.copy(deep=True) for item in (train, aligned, test)]
    decoder = _make(attempt)
    many = component.inputs["response"].many
    with guarded(attempt.host, component, "fitting"):
        decoder.fit([train] if many else train, [aligned] if many else aligned)
    with guarded(attempt.host, component, "predicting"):
        made = decoder.predict(test)["embedding"].values
        loaded = _make(attempt)
        loaded.load_state({name: array.copy() for name, array in decoder.state().items()})
        again = loaded.predict(test)["embedding"].values
    for what, old, new in zip(("response", "target", "test response"), before, (train, aligned, test), strict=True):
        if not old.identical(new):
            yield f"component {component.name!r}: expected the {what} unchanged, found it modified. Work on a copy."
    if not _is_close(made, again):
        yield f"component {component.name!r}: expected the same predictions after state and load_state, found others."
    registry = attempt.registry(response=response, target=target)
    attempt.fit(registry, "model")
    if not _is_close(made, attempt.predict(registry, "model")["embedding"].values):
        yield f"component {component.name!r}: expected the same predictions from a stored model, found others."


def leak_problems(attempt: Attempt) -> Iterator[str]:
    """Alter everything about the test trials; nothing that was learnt may change."""
    response, target = attempt.study["response"], attempt.study["target"]
    test = response["split"] == "test"
    shown = np.unique(response["stimulus_id"].values[test.values])
    values = response["response"].values.copy()
    values[test.values] *= -3
    altered = response.assign(response=(response["response"].dims, values, response["response"].attrs))
    moved = target.copy(deep=True)
    moved["embedding"].loc[{"stimulus": shown}] += 5
    registry = attempt.registry(response=response, target=target, altered=altered, moved=moved)
    digest = attempt.fit(registry, "model")
    if attempt.fit(registry, "blind", response="altered", target="moved") != digest:
        yield f"component {attempt.component.name!r}: expected weights that do not depend on test trials, found others."


def subjects_problems(attempt: Attempt) -> Iterator[str]:
    """Fit one and two subjects, where the decoder says that it takes several; find the planted map in each."""
    name = f"component {attempt.component.name!r}"
    if not attempt.component.inputs["response"].many:
        raise NotApplicable(f"{name} takes one response at a time.")
    response, target = attempt.study["response"], attempt.study["target"]
    registry = attempt.registry(response=response, other=_other_subject(response), target=target)
    for model, given in (("one", ["response"]), ("two", ["response", "other"])):
        attempt.fit(registry, model, response=given)
        for each in given:
            score = min(_identify(attempt.predict(registry, model, response=each), target))
            if not score >= LEAST_SCORE:
                yield (
                    f"{name}: expected two-way identification of at least {LEAST_SCORE} (chance 0.5) for "
                    f"{each!r} by a model of {len(given)} subject(s), found {score:.3f}."
                )
    digests = registry["two"].attrs["weights_sha256"], attempt.fit(registry, "again", response=["response", "other"])
    if digests[0] != digests[1]:
        yield f"{name}: expected the same weights for the same subjects, found others. Draw from context.rng()."


def _other_subject(response: xr.Dataset) -> xr.Dataset:
    """Return the same trials of a brain that is another: fewer sites, in another order, and all labels others'."""
    site = site_of(response)
    few = np.flatnonzero(np.arange(response.sizes[site]) % 6)[::-1]
    other = response.isel({site: few, "trial": slice(None, None, -1)})
    labels = {site: response[site].values[: len(few)], "trial": response["trial"].values}
    return other.assign_coords(labels).assign_attrs(subject=f"not {response.attrs['subject']}")


def start_problems(attempt: Attempt) -> Iterator[str]:
    """Fit from a model that is there, twice, where the decoder says that it can."""
    name = f"component {attempt.component.name!r}"
    if attempt.host.resolve(attempt.component).start_from is Trainable.start_from:
        raise NotApplicable(f"{name} does not start from models.")
    target = attempt.study["target"]
    registry = attempt.registry(response=attempt.study["response"], target=target)
    attempt.fit(registry, "model")
    digests = attempt.fit(registry, "first", start="model"), attempt.fit(registry, "second", start="model")
    if digests[0] != digests[1]:
        yield f"{name}: expected the same weights for the same seed and start, found others. Draw from context.rng()."
    score = min(_identify(attempt.predict(registry, "first"), target))
    if not score >= LEAST_SCORE:
        yield (
            f"{name}: expected two-way identification of at least {LEAST_SCORE} (chance 0.5) by a model that started "
            f"from another, found {score:.3f}."
        )


def analysis_problems(attempt: Attempt) -> Iterator[str]:
    """Compute twice from datasets of the study; the results agree and the inputs stay."""
    component = attempt.component
    # Weights that come with a plugin are tried where the plugin's author says with which inputs.
    if component.checkpoints and not attempt.inputs:
        raise NotApplicable(
            f"component {component.name!r} needs weights: {component.checkpoints[0].id!r}. Name `inputs` to try it."
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


def _make(attempt: Attempt) -> Trainable:
    params = make_params(attempt.component, attempt.params)
    made: Trainable = attempt.host.resolve(attempt.component)(params, Context())
    return made


def _identify(predicted: xr.Dataset, target: xr.Dataset) -> list[float]:
    """Score predicted embeddings of test trials among the targets of all test stimuli; one score for each variant.

    Chance is 0.5.
    """
    gallery, columns = np.unique(predicted["stimulus_id"].values, return_inverse=True)
    candidates = target["embedding"].sel(stimulus=gallery).values.reshape(len(gallery), -1)
    embedding = predicted["embedding"]
    variants = embedding if "variant" in embedding.dims else embedding.expand_dims("variant")
    rows = [each.values.reshape(predicted.sizes["trial"], -1) for each in variants]
    return [float(two_way_identification(correlate(each, candidates), columns).mean()) for each in rows]


def _is_close(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether two predictions agree but for rounding, which depends on how many trials are computed together."""
    scale = float(np.abs(expected).max()) if expected.size else 1.0
    return found.shape == expected.shape and bool(np.allclose(found, expected, rtol=0, atol=TOLERANCE * scale))


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


def needs_other_kinds(attempt: Attempt) -> None:
    """Raise `NotApplicable` if a decoder reads kinds of dataset that the study does not have."""
    inputs = attempt.component.inputs
    for key, wanted in (("response", "response"), ("target", "embedding")):
        kind = inputs[key].kind
        if kind.rsplit(".v", 1)[0] != wanted:
            raise NotApplicable(
                f"component {attempt.component.name!r} reads {kind!r}, which the synthetic study does not have."
            )
