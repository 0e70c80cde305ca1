"""What decoders and encoders do, tried on the synthetic study: the planted map is found, and nothing else is.

Both are fitted to the same trials: a decoder learns the embedding from the response, an encoder the response from the
embedding. Every check yields one line for each problem, as in `brainlens.exercise`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from brainlens.averages import average_trials, standardize, training_statistics
from brainlens.context import Context
from brainlens.exercise import Attempt, NotApplicable
from brainlens.jobs import guarded
from brainlens.parameters import make_params
from brainlens.registry import Registry
from brainlens.scoring import correlate, two_way_identification
from brainlens.trainable import Trainable
from brainlens.trials import site_of

# Two-way identification over 36 test stimuli scatters by 0.05 around its chance of 0.5.
LEAST_SCORE = 0.7
MOST_BY_CHANCE = 0.65
TOLERANCE = 1e-4


def fit_attempt(
    attempt: Attempt,
    registry: Registry,
    name: str,
    *,
    response: Any = "response",
    embedding: Any = "target",
    **more: Any,
) -> str:
    """Fit to what is stored under these names; return the digest of the weights."""
    given = {"response": response, ("target" if _decodes(attempt) else "features"): embedding, **more}
    registry.fit(attempt.component.name, name=name, device=attempt.device, **given, **attempt.params)
    return str(registry[name].attrs["weights_sha256"])


def predict_attempt(
    attempt: Attempt, registry: Registry, model: str, *, known: Any = None, name: str | None = None
) -> xr.Dataset:
    """Predict the test trials of a response, or what all stimuli of an embedding would evoke."""
    key, usual = ("response", "response") if _decodes(attempt) else ("features", "target")
    given: dict[str, Any] = {key: known or usual}
    predicted = registry.predict(model, name=name, device=attempt.device, **given)
    return registry[predicted].load()


def planted_map_problems(attempt: Attempt) -> Iterator[str]:
    """Fit the planted map, and as negative control the same with shuffled stimulus labels."""
    target = attempt.study["target"]
    shuffled = np.random.default_rng(1).permutation(target["stimulus"].values)
    wrong = target.assign_coords(stimulus=shuffled)
    registry = attempt.registry(response=attempt.study["response"], target=target, wrong=wrong)
    fit_attempt(attempt, registry, "model")
    fit_attempt(attempt, registry, "control", embedding="wrong")
    score = min(_identify(attempt, registry, "model"))
    control = max(_identify(attempt, registry, "control", embedding="wrong"))
    name = f"component {attempt.component.name!r}"
    if not score >= LEAST_SCORE:
        yield f"{name}: expected two-way identification of at least {LEAST_SCORE} (chance 0.5), found {score:.3f}."
    if not control <= MOST_BY_CHANCE:
        known = "the responses" if _decodes(attempt) else "their features"
        yield (
            f"{name}: expected at most {MOST_BY_CHANCE} (chance 0.5) after the stimulus labels were shuffled, "
            f"found {control:.3f}. It knows the test stimuli from somewhere else than {known}."
        )


def repeat_problems(attempt: Attempt) -> Iterator[str]:
    """Fit twice with the same seed, and predict twice with the same model."""
    registry = attempt.registry(response=attempt.study["response"], target=attempt.study["target"])
    digests = fit_attempt(attempt, registry, "first"), fit_attempt(attempt, registry, "second")
    name = f"component {attempt.component.name!r}"
    if digests[0] != digests[1]:
        yield f"{name}: expected the same weights for the same seed, found others. Draw from context.rng()."
    predicted = _values(attempt, predict_attempt(attempt, registry, "first"))
    for what, model in (("the same model", "first"), ("the same seed", "second")):
        again = predict_attempt(attempt, registry, model, name=f"again/{model}")
        if not np.array_equal(_values(attempt, again), predicted):
            yield f"{name}: expected the same predictions from {what}, found others. Predict without random numbers."


def single_trial_problems(attempt: Attempt) -> Iterator[str]:
    """Predict the same trials or stimuli in reverse order, and a few of them alone."""
    response, target = attempt.study["response"], attempt.study["target"]
    if _decodes(attempt):
        label, row, known = "trial", "trial", response
        few = response.isel(trial=np.flatnonzero(response["split"].values == "test")[:3])
    else:
        label, row, known = "stimulus_id", "stimulus", target
        few = target.isel(stimulus=slice(3))
    registry = attempt.registry(
        response=response, target=target, reversed=known.isel({row: slice(None, None, -1)}), few=few
    )
    fit_attempt(attempt, registry, "model")
    expected = predict_attempt(attempt, registry, "model")
    for name, what in (("reversed", "in reverse order"), ("few", "without the others")):
        found = predict_attempt(attempt, registry, "model", known=name)
        rows = pd.Index(expected[label].values).get_indexer(pd.Index(found[label].values))
        if not _is_close(_values(attempt, found), _values(attempt, expected, rows)):
            own = "trial from its own response" if _decodes(attempt) else "stimulus from its own features"
            yield (
                f"component {attempt.component.name!r}: expected the same prediction for a {row} {what}, "
                f"found another. Predict each {own}."
            )


def storage_problems(attempt: Attempt) -> Iterator[str]:
    """Compare predictions before saving with those after loading, and inputs before with those after."""
    component, study = attempt.component, attempt.study
    response, target = study["response"], study["target"]
    parts = {name: response.isel(trial=np.flatnonzero(response["split"].values == name)) for name in ("train", "test")}
    mean, std = training_statistics(parts["train"], standardize="training")
    train, test = (standardize(part, mean, std) for part in parts.values())
    aligned, new = (_align(target, part) for part in (train, test))
    given: dict[str, xr.Dataset]
    if _decodes(attempt):
        given = {"response": train, "target": aligned, "test response": test}
    else:
        given = {"features": aligned, "response": train, "test features": new}
    before = {name: item.copy(deep=True) for name, item in given.items()}
    known, wanted, left_out = given.values()
    if _takes_several(attempt):
        # One of several subjects predicts for one of them.
        listed: Any = ([known], [wanted], left_out)
    elif _takes_spaces(attempt):
        listed = ([known], wanted, [left_out])
    else:
        listed = (known, wanted, left_out)
    fitted = _make(attempt)
    with guarded(attempt.host, component, "fitting"):
        fitted.fit(*listed[:2])
    with guarded(attempt.host, component, "predicting"):
        made = _values(attempt, fitted.predict(listed[2]))
        loaded = _make(attempt)
        loaded.load_state({name: array.copy() for name, array in fitted.state().items()})
        again = _values(attempt, loaded.predict(listed[2]))
    for what, item in given.items():
        if not before[what].identical(item):
            yield f"component {component.name!r}: expected the {what} unchanged, found it modified. Work on a copy."
    if not _is_close(made, again):
        yield f"component {component.name!r}: expected the same predictions after state and load_state, found others."
    registry = attempt.registry(response=response, target=target)
    fit_attempt(attempt, registry, "model")
    stored = predict_attempt(attempt, registry, "model")
    if _decodes(attempt):
        found = _values(attempt, stored)
    else:
        made = made * std.values + mean.values
        rows = pd.Index(stored["stimulus_id"].values).get_indexer(pd.Index(test["stimulus_id"].values))
        found = _values(attempt, stored, rows)
    if not _is_close(made, found):
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
    digest = fit_attempt(attempt, registry, "model")
    if fit_attempt(attempt, registry, "blind", response="altered", embedding="moved") != digest:
        yield f"component {attempt.component.name!r}: expected weights that do not depend on test trials, found others."


def subjects_problems(attempt: Attempt) -> Iterator[str]:
    """Fit one and two subjects, where the component says that it takes several; find the planted map in each.

    A decoder predicts for each of its subjects, an encoder for one that it is fitted to from the model of both.
    """
    name = f"component {attempt.component.name!r}"
    if not _takes_several(attempt):
        raise NotApplicable(f"{name} takes one response at a time.")
    response, target = attempt.study["response"], attempt.study["target"]
    registry = attempt.registry(response=response, other=_other_subject(response), target=target)
    for model, given in (("one", ["response"]), ("two", ["response", "other"])):
        fit_attempt(attempt, registry, model, response=given)
        for each in given if _decodes(attempt) else given[:1]:
            own, known = model, each if _decodes(attempt) else None
            if not _decodes(attempt):
                own = f"own/{model}"
                fit_attempt(attempt, registry, own, response=each, start=model)
            score = min(_identify(attempt, registry, own, known=known))
            if not score >= LEAST_SCORE:
                yield (
                    f"{name}: expected two-way identification of at least {LEAST_SCORE} (chance 0.5) for "
                    f"{each!r} by a model of {len(given)} subject(s), found {score:.3f}."
                )
    digests = (
        registry["two"].attrs["weights_sha256"],
        fit_attempt(attempt, registry, "again", response=["response", "other"]),
    )
    if digests[0] != digests[1]:
        yield f"{name}: expected the same weights for the same subjects, found others. Draw from context.rng()."


def spaces_problems(attempt: Attempt) -> Iterator[str]:
    """Fit two feature spaces, where the encoder says that it takes several; of one the responses know nothing."""
    name = f"component {attempt.component.name!r}"
    if not _takes_spaces(attempt):
        raise NotApplicable(f"{name} takes one feature space at a time.")
    target = attempt.study["target"]
    noise = np.random.default_rng(3).standard_normal(target["embedding"].shape).astype(np.float32)
    other = target.assign(embedding=(target["embedding"].dims, noise)).assign_attrs(model="another space")
    registry = attempt.registry(response=attempt.study["response"], target=target, other=other)
    for given in (["target", "other"], ["other", "target"]):
        model = " and ".join(given).replace(" ", "-")
        fit_attempt(attempt, registry, model, embedding=given)
        score = min(_identify(attempt, registry, model, known=given))
        if not score >= LEAST_SCORE:
            yield (
                f"{name}: expected two-way identification of at least {LEAST_SCORE} (chance 0.5) from {given[0]!r} and "
                f"{given[1]!r}, found {score:.3f}."
            )


def start_problems(attempt: Attempt) -> Iterator[str]:
    """Fit from a model that is there, twice, where the component says that it can."""
    name = f"component {attempt.component.name!r}"
    if attempt.host.resolve(attempt.component).start_from is Trainable.start_from:
        raise NotApplicable(f"{name} does not start from models.")
    registry = attempt.registry(response=attempt.study["response"], target=attempt.study["target"])
    fit_attempt(attempt, registry, "model")
    digests = (
        fit_attempt(attempt, registry, "first", start="model"),
        fit_attempt(attempt, registry, "second", start="model"),
    )
    if digests[0] != digests[1]:
        yield f"{name}: expected the same weights for the same seed and start, found others. Draw from context.rng()."
    score = min(_identify(attempt, registry, "first"))
    if not score >= LEAST_SCORE:
        yield (
            f"{name}: expected two-way identification of at least {LEAST_SCORE} (chance 0.5) by a model that started "
            f"from another, found {score:.3f}."
        )


def derivative_problems(attempt: Attempt) -> Iterator[str]:
    """Compare the gradient of an encoder that says that it can be differentiated with finite differences."""
    component, study = attempt.component, attempt.study
    name = f"component {component.name!r}"
    if attempt.host.resolve(component).differentiate is Trainable.differentiate:
        raise NotApplicable(f"{name} is not differentiated.")
    response, target = study["response"], study["target"]
    train = response.isel(trial=np.flatnonzero(response["split"].values == "train"))
    train = standardize(train, *training_statistics(train, standardize="training"))
    known: Any = _align(target, train)
    features = known.isel(trial=slice(4))
    fitted = _make(attempt)
    spaces, several = _takes_spaces(attempt), _takes_several(attempt)
    with guarded(attempt.host, component, "fitting"):
        fitted.fit(*(([known], [train]) if several else ([known] if spaces else known, train)))

    def given(values: np.ndarray) -> Any:
        moved = features.assign(embedding=(features["embedding"].dims, values.astype(np.float32)))
        return [moved] if spaces else moved

    values = features["embedding"].values.astype(np.float64)
    rng = np.random.default_rng(0)
    step = 0.01 * values.std() * rng.standard_normal(values.shape)
    with guarded(attempt.host, component, "being differentiated"):
        made = fitted.differentiate(given(values))
        gradient = rng.standard_normal(made.value["response"].shape)
        pulled = made.pull_back(gradient.astype(np.float32))
        back = np.asarray(pulled[0] if spaces else pulled)
        around = [_values(attempt, fitted.predict(given(values + sign * step))).astype(np.float64) for sign in (1, -1)]
        plain = _values(attempt, fitted.predict(given(values)))
    if not _is_close(_values(attempt, made.value), plain):
        yield f"{name}: expected differentiate to predict what predict does, found another value."
    if back.shape != values.shape:
        yield f"{name}: expected a gradient of the features' shape {values.shape}, found {back.shape}."
        return
    # Of single trials, so that a gradient in the wrong row is found, too.
    expected = ((around[0] - around[1]) / 2 * gradient).sum(axis=1)
    found = (back * step).reshape(len(values), -1).sum(axis=1)
    if not np.allclose(found, expected, rtol=0.05, atol=0.02 * np.abs(expected).max()):
        yield f"{name}: expected the gradient of finite differences, {expected.round(4)}, found {found.round(4)}."


def needs_other_kinds(attempt: Attempt) -> None:
    """Raise `NotApplicable` if a decoder or encoder reads kinds of dataset that the study does not have."""
    inputs = attempt.component.inputs
    wanted = {"response": "response", "target": "embedding", "features": "embedding"}
    for key in wanted.keys() & inputs.keys():
        kind = inputs[key].kind
        if kind.rsplit(".v", 1)[0] != wanted[key]:
            raise NotApplicable(
                f"component {attempt.component.name!r} reads {kind!r}, which the synthetic study does not have."
            )


def _decodes(attempt: Attempt) -> bool:
    return attempt.component.role == "decoder"


def _takes_several(attempt: Attempt) -> bool:
    return bool(attempt.component.inputs["response"].many)


def _takes_spaces(attempt: Attempt) -> bool:
    inputs = attempt.component.inputs
    return not _decodes(attempt) and inputs["features"].many and not inputs["response"].many


def _values(attempt: Attempt, predicted: xr.Dataset, rows: np.ndarray | None = None) -> np.ndarray:
    """Return what was predicted; some trials of it, by position, where `rows` are given."""
    array = predicted["embedding" if _decodes(attempt) else "response"]
    return np.asarray((array if rows is None else array.isel(trial=rows)).values)


def _identify(
    attempt: Attempt, registry: Registry, model: str, *, embedding: str = "target", known: Any = None
) -> list[float]:
    """Score what is predicted of the test stimuli among the true values of all of them; one score for each variant.

    Predicted embeddings are compared with the embeddings, predicted responses with the mean responses. Chance is 0.5.
    """
    if _decodes(attempt):
        predicted, truth = predict_attempt(attempt, registry, model, known=known), registry[embedding]["embedding"]
        gallery, columns = np.unique(predicted["stimulus_id"].values, return_inverse=True)
        candidates = truth.sel(stimulus=gallery).values.reshape(len(gallery), -1)
        array = predicted["embedding"]
        variants = array if "variant" in array.dims else array.expand_dims("variant")
        rows = [each.values.reshape(predicted.sizes["trial"], -1) for each in variants]
    else:
        predicted = predict_attempt(attempt, registry, model, known=known or embedding)
        response = attempt.study["response"]
        means = average_trials(response.isel(trial=np.flatnonzero(response["split"].values == "test")))
        candidates, columns = means["response"].values, np.arange(means.sizes["trial"])
        order = pd.Index(predicted["stimulus_id"].values).get_indexer(pd.Index(means["stimulus_id"].values))
        rows = [_values(attempt, predicted, order)]
    return [float(two_way_identification(correlate(each, candidates), columns).mean()) for each in rows]


def _align(target: xr.Dataset, trials: xr.Dataset) -> xr.Dataset:
    aligned = target.sel(stimulus=trials["stimulus_id"].values).drop_vars("stimulus").rename(stimulus="trial")
    return aligned.assign_coords({name: item for name, item in trials.coords.items() if item.dims == ("trial",)})


def _other_subject(response: xr.Dataset) -> xr.Dataset:
    """Return the same trials of a brain that is another: fewer sites, in another order, and all labels others'."""
    site = site_of(response)
    few = np.flatnonzero(np.arange(response.sizes[site]) % 6)[::-1]
    other = response.isel({site: few, "trial": slice(None, None, -1)})
    labels = {site: response[site].values[: len(few)], "trial": response["trial"].values}
    return other.assign_coords(labels).assign_attrs(subject=f"not {response.attrs['subject']}")


def _make(attempt: Attempt) -> Trainable:
    params = make_params(attempt.component, attempt.params)
    made: Trainable = attempt.host.resolve(attempt.component)(params, Context())
    return made


def _is_close(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether two predictions agree but for rounding, which depends on how many trials are computed together."""
    scale = float(np.abs(expected).max()) if expected.size else 1.0
    return found.shape == expected.shape and bool(np.allclose(found, expected, rtol=0, atol=TOLERANCE * scale))
