from __future__ import annotations

import textwrap

import numpy as np
import pytest

from brainlens import exercise_fitting
from brainlens.errors import PluginError
from brainlens.exercise import Attempt, NotApplicable
from brainlens.synthetic import synthetic_study

HOOKS = """
from typing import Any
import brainlens
from pydantic import Field
{extra}

@brainlens.hookimpl
def brainlens_components():
    return [brainlens.Component(**{{**dict(
        name="acme", role="decoder", summary="Predicts.", version="1", target="brainlens_acme_decoder:Decoder"
    ), **dict({fields})}})]
"""

SOUND = """
import numpy as np
import xarray as xr
import brainlens


class Decoder(brainlens.Trainable):
    n_fits = 0

    def fit(self, response, target):
        x, y = response["response"].values, target["embedding"].values
        {before}
        self.weights_ = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ y)
        {after}

    def predict(self, response):
        x = response["response"].values
        values = x @ self.weights_
        {predict}
        return xr.Dataset({{"embedding": (("trial", "channel"), values)}})
"""


def attempt_of(plugin_folder, folder, *, before="pass", after="pass", predict="pass", more="", study=None):
    decoder = SOUND.format(before=before, after=after, predict=predict) + textwrap.indent(more, "    ")
    plugin_folder.add("acme", decoder=decoder)
    host = plugin_folder.host()
    more = {} if study is None else {"study": study}
    return Attempt(host=host, component=host.component("acme"), folder=folder / "attempt", **more)


DECODER_CHECKS = [
    exercise_fitting.planted_map_problems,
    exercise_fitting.repeat_problems,
    exercise_fitting.single_trial_problems,
    exercise_fitting.storage_problems,
    exercise_fitting.leak_problems,
]


@pytest.mark.parametrize("check", DECODER_CHECKS)
def test_a_sound_decoder_has_no_problem(plugin_folder, tmp_path, check):
    assert list(check(attempt_of(plugin_folder, tmp_path))) == []


FAULTS = {
    "finds nothing": (
        exercise_fitting.planted_map_problems,
        {"after": "self.weights_ = np.eye(*self.weights_.shape)"},
        "expected two-way identification of at least 0.7 (chance 0.5), found 0.",
    ),
    "draws without a seed": (
        exercise_fitting.repeat_problems,
        {"after": "self.weights_ += np.random.default_rng().normal(0, 1e-3, self.weights_.shape)"},
        "expected the same weights for the same seed, found others. Draw from context.rng().",
    ),
    "draws while it predicts": (
        exercise_fitting.repeat_problems,
        {"predict": "values = values + np.random.default_rng().normal(0, 1e-3, values.shape)"},
        "expected the same predictions from the same model, found others. Predict without random numbers.",
    ),
    "looks at other trials": (
        exercise_fitting.single_trial_problems,
        {"predict": "values = values - values.mean(axis=0)"},
        "expected the same prediction for a trial without the others, found another.",
    ),
    "goes by position": (
        exercise_fitting.single_trial_problems,
        {"predict": "values = values * np.linspace(1, 2, len(values))[:, None]"},
        "expected the same prediction for a trial in reverse order, found another.",
    ),
    "changes the response": (
        exercise_fitting.storage_problems,
        {"before": "x *= 2"},
        "expected the response unchanged, found it modified. Work on a copy.",
    ),
    "changes the target": (
        exercise_fitting.storage_problems,
        {"before": "y -= 1"},
        "expected the target unchanged, found it modified. Work on a copy.",
    ),
    "changes the test response": (
        exercise_fitting.storage_problems,
        {"predict": "x += 1"},
        "expected the test response unchanged, found it modified. Work on a copy.",
    ),
    "keeps something back": (
        exercise_fitting.storage_problems,
        {"after": "self.factor = 2", "predict": "values = values * getattr(self, 'factor', 1)"},
        "expected the same predictions after state and load_state, found others.",
    ),
    "remembers other fits": (
        exercise_fitting.leak_problems,
        {"after": "Decoder.n_fits += 1; self.weights_ *= Decoder.n_fits"},
        "expected weights that do not depend on test trials, found others.",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_decoder_at_fault_is_found_out(plugin_folder, tmp_path, fault):
    check, code, expected = FAULTS[fault]
    problems = list(check(attempt_of(plugin_folder, tmp_path, **code)))
    assert problems[0].startswith(f"component 'acme': {expected}")


SHARED = """
import numpy as np
import xarray as xr
import brainlens


class Decoder(brainlens.Trainable):
    def fit(self, response, target):
        for each, aligned in zip(response, target, strict=True):
            x, y = each["response"].values, aligned["embedding"].values
            weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ y)
            {after}
            setattr(self, self.key(each), weights)

    def key(self, response):
        {key}

    def predict(self, response):
        values = response["response"].values @ getattr(self, self.key(response))
        return xr.Dataset({{"embedding": (("trial", "channel"), values)}})
"""
KEY = "return response.attrs['subject'].replace(' ', '_') + '_'"


def shared_attempt(plugin_folder, folder, *, after="pass", key=KEY):
    fields = "inputs={'response': brainlens.Input('response', many=True)}"
    plugin_folder.add("acme", HOOKS.format(fields=fields, extra=""), decoder=SHARED.format(after=after, key=key))
    host = plugin_folder.host()
    return Attempt(host=host, component=host.component("acme"), folder=folder / "attempt")


@pytest.mark.parametrize("check", [*DECODER_CHECKS, exercise_fitting.subjects_problems])
def test_a_sound_decoder_of_several_subjects_has_no_problem(plugin_folder, tmp_path, check):
    assert list(check(shared_attempt(plugin_folder, tmp_path))) == []


def test_a_decoder_of_one_subject_is_not_tried_with_several(plugin_folder, tmp_path):
    with pytest.raises(NotApplicable, match="^component 'acme' takes one response at a time.$"):
        list(exercise_fitting.subjects_problems(attempt_of(plugin_folder, tmp_path)))


def test_a_decoder_that_forgets_a_subject_is_found_out(plugin_folder, tmp_path):
    after = "weights = np.flip(weights, axis=1) if hasattr(self, 'simulated01_') else weights"
    (problem,) = exercise_fitting.subjects_problems(shared_attempt(plugin_folder, tmp_path, after=after))
    assert problem.startswith(
        "component 'acme': expected two-way identification of at least 0.7 (chance 0.5) for 'other' by a model of 2 "
    )


def test_a_decoder_of_several_subjects_that_draws_without_a_seed_is_found_out(plugin_folder, tmp_path):
    after = "weights += np.random.default_rng().normal(0, 1e-3, weights.shape)"
    (problem,) = exercise_fitting.subjects_problems(shared_attempt(plugin_folder, tmp_path, after=after))
    assert problem.startswith("component 'acme': expected the same weights for the same subjects, found others.")


def test_a_decoder_that_does_not_ask_whose_a_response_is_is_found_out(plugin_folder, tmp_path):
    attempt = shared_attempt(plugin_folder, tmp_path, key="return 'weights_'")
    with pytest.raises(PluginError, match="component 'acme' .acme-acme 1.0. failed while predicting: ValueError"):
        list(exercise_fitting.subjects_problems(attempt))


STARTS = """
def start_from(self, state, model):
    self.first = {first}
"""


def test_a_decoder_that_starts_from_a_model_has_no_problem(plugin_folder, tmp_path):
    after = "self.weights_ = (self.weights_ + getattr(self, 'first', self.weights_)) / 2"
    attempt = attempt_of(plugin_folder, tmp_path, after=after, more=STARTS.format(first="state['weights_']"))
    assert list(exercise_fitting.start_problems(attempt)) == []


def test_a_decoder_that_does_not_start_from_models_is_not_tried(plugin_folder, tmp_path):
    with pytest.raises(NotApplicable, match="^component 'acme' does not start from models.$"):
        list(exercise_fitting.start_problems(attempt_of(plugin_folder, tmp_path)))


def test_a_decoder_that_starts_wrongly_is_found_out(plugin_folder, tmp_path):
    after = "self.weights_ = getattr(self, 'first', self.weights_)"
    noise = "np.random.default_rng().normal(size=state['weights_'].shape)"
    attempt = attempt_of(plugin_folder, tmp_path, after=after, more=STARTS.format(first=noise))
    problems = list(exercise_fitting.start_problems(attempt))
    assert problems[0].startswith("component 'acme': expected the same weights for the same seed and start, found")
    assert problems[1].startswith(
        "component 'acme': expected two-way identification of at least 0.7 (chance 0.5) by a model that started from "
    )


def test_a_decoder_that_knows_the_test_stimuli_fails_the_negative_control(plugin_folder, tmp_path):
    study = synthetic_study()
    # Repetitions of a stimulus on both sides are such knowledge, if the decoder looks stimuli up.
    repetition = study["response"]["repetition"].values
    leaky = {
        **study,
        "response": study["response"].assign_coords(split=("trial", np.where(repetition == 2, "test", "train"))),
    }
    lookup = {
        "after": "self.ids_ = response['stimulus_id'].values; self.known_ = y",
        "predict": "values = self.known_[[list(self.ids_).index(i) for i in response['stimulus_id'].values]]",
    }
    (problem,) = exercise_fitting.planted_map_problems(attempt_of(plugin_folder, tmp_path, study=leaky, **lookup))
    assert problem.startswith(
        "component 'acme': expected at most 0.65 (chance 0.5) after the stimulus labels were shuffled, found 1.000."
    )


ENCODER = """
import numpy as np
import xarray as xr
import brainlens


class Decoder(brainlens.Trainable):
    n_fits = 0

    def table(self, features):
        return np.concatenate([each["embedding"].values for each in features], axis=1) {alone}

    def fit(self, features, response):
        x, y = self.table(features), response["response"].values
        {before}
        self.weights_ = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ y)
        {after}

    def predict(self, features):
        x = self.table(features)
        values = x @ self.weights_
        {predict}
        return xr.Dataset({{"response": (("trial", "voxel"), values)}})
"""


def encoder_attempt(plugin_folder, folder, *, before="pass", after="pass", predict="pass", more="", many=False):
    kind = "brainlens.Input('embedding', many=True)" if many else "'embedding'"
    alone = "" if many else "if isinstance(features, list) else features['embedding'].values"
    source = ENCODER.format(before=before, after=after, predict=predict, alone=alone) + textwrap.indent(more, "    ")
    fields = f"role='encoder', output=('response',), inputs={{'features': {kind}}}"
    plugin_folder.add("acme", HOOKS.format(fields=fields, extra=""), decoder=source)
    host = plugin_folder.host()
    return Attempt(host=host, component=host.component("acme"), folder=folder / "attempt")


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("check", DECODER_CHECKS)
def test_a_sound_encoder_has_no_problem(plugin_folder, tmp_path, check, many):
    assert list(check(encoder_attempt(plugin_folder, tmp_path, many=many))) == []


ENCODER_FAULTS = {
    "finds nothing": (
        exercise_fitting.planted_map_problems,
        {"after": "self.weights_ = np.roll(self.weights_, 7, axis=1)"},
        "expected two-way identification of at least 0.7 (chance 0.5), found 0.",
    ),
    "draws without a seed": (
        exercise_fitting.repeat_problems,
        {"after": "self.weights_ += np.random.default_rng().normal(0, 1e-3, self.weights_.shape)"},
        "expected the same weights for the same seed, found others. Draw from context.rng().",
    ),
    "draws while it predicts": (
        exercise_fitting.repeat_problems,
        {"predict": "values = values + np.random.default_rng().normal(0, 1e-3, values.shape)"},
        "expected the same predictions from the same model, found others. Predict without random numbers.",
    ),
    "looks at other stimuli": (
        exercise_fitting.single_trial_problems,
        {"predict": "values = values - values.mean(axis=0)"},
        "expected the same prediction for a stimulus without the others, found another. Predict each stimulus from its",
    ),
    "goes by position": (
        exercise_fitting.single_trial_problems,
        {"predict": "values = values * np.linspace(1, 2, len(values))[:, None]"},
        "expected the same prediction for a stimulus in reverse order, found another.",
    ),
    "changes the features": (
        exercise_fitting.storage_problems,
        {"before": "x *= 2"},
        "expected the features unchanged, found it modified. Work on a copy.",
    ),
    "changes the response": (
        exercise_fitting.storage_problems,
        {"before": "y -= 1"},
        "expected the response unchanged, found it modified. Work on a copy.",
    ),
    "changes the features that it predicts from": (
        exercise_fitting.storage_problems,
        {"predict": "x += 1"},
        "expected the test features unchanged, found it modified. Work on a copy.",
    ),
    "keeps something back": (
        exercise_fitting.storage_problems,
        {"after": "self.factor = 2", "predict": "values = values * getattr(self, 'factor', 1)"},
        "expected the same predictions after state and load_state, found others.",
    ),
    "remembers other fits": (
        exercise_fitting.leak_problems,
        {"after": "Decoder.n_fits += 1; self.weights_ *= Decoder.n_fits"},
        "expected weights that do not depend on test trials, found others.",
    ),
}


@pytest.mark.parametrize("fault", ENCODER_FAULTS)
def test_an_encoder_at_fault_is_found_out(plugin_folder, tmp_path, fault):
    check, code, expected = ENCODER_FAULTS[fault]
    problems = list(check(encoder_attempt(plugin_folder, tmp_path, **code)))
    assert problems[0].startswith(f"component 'acme': {expected}")


def test_an_encoder_of_several_feature_spaces_has_no_problem(plugin_folder, tmp_path):
    assert list(exercise_fitting.spaces_problems(encoder_attempt(plugin_folder, tmp_path, many=True))) == []


def test_an_encoder_that_looks_at_the_first_space_only_is_found_out(plugin_folder, tmp_path):
    attempt = encoder_attempt(
        plugin_folder, tmp_path, many=True, before="x[:, 12:] = 0", after="self.weights_[12:] = 0"
    )
    (problem,) = exercise_fitting.spaces_problems(attempt)
    assert problem.startswith(
        "component 'acme': expected two-way identification of at least 0.7 (chance 0.5) from 'other' and 'target',"
    )


def test_an_encoder_of_one_space_is_not_tried_with_several(plugin_folder, tmp_path):
    with pytest.raises(NotApplicable, match="^component 'acme' takes one feature space at a time.$"):
        list(exercise_fitting.spaces_problems(encoder_attempt(plugin_folder, tmp_path)))


def test_an_encoder_that_starts_from_a_model_has_no_problem(plugin_folder, tmp_path):
    after = "self.weights_ = (self.weights_ + getattr(self, 'first', self.weights_)) / 2"
    attempt = encoder_attempt(plugin_folder, tmp_path, after=after, more=STARTS.format(first="state['weights_']"))
    assert list(exercise_fitting.start_problems(attempt)) == []


GRADIENT = """
def differentiate(self, features):
    def pull_back(gradient):
        back = {back}
        return [back] if isinstance(features, list) else back
    made = self.predict(features)
    {made}
    return brainlens.Differentiated(made, pull_back)
"""


def gradient_attempt(plugin_folder, folder, *, back="gradient @ self.weights_.T", made="pass", many=False):
    return encoder_attempt(plugin_folder, folder, more=GRADIENT.format(back=back, made=made), many=many)


@pytest.mark.parametrize("many", [False, True])
def test_a_sound_gradient_has_no_problem(plugin_folder, tmp_path, many):
    assert list(exercise_fitting.derivative_problems(gradient_attempt(plugin_folder, tmp_path, many=many))) == []


GRADIENT_FAULTS = {
    "another sign": ({"back": "-gradient @ self.weights_.T"}, "expected the gradient of finite differences, ["),
    "another size": ({"back": "1.2 * gradient @ self.weights_.T"}, "expected the gradient of finite differences, ["),
    "the next trial's": (
        {"back": "np.roll(gradient @ self.weights_.T, 1, axis=0)"},
        "expected the gradient of finite differences, [",
    ),
    "another shape": ({"back": "gradient"}, "expected a gradient of the features' shape ("),
    "another value": (
        {"made": "made = made * 1.01"},
        "expected differentiate to predict what predict does, found another value.",
    ),
}


@pytest.mark.parametrize("fault", GRADIENT_FAULTS)
def test_a_gradient_at_fault_is_found_out(plugin_folder, tmp_path, fault):
    code, expected = GRADIENT_FAULTS[fault]
    (problem,) = exercise_fitting.derivative_problems(gradient_attempt(plugin_folder, tmp_path, **code))
    assert problem.startswith(f"component 'acme': {expected}")


def test_an_encoder_without_gradient_is_not_tried(plugin_folder, tmp_path):
    with pytest.raises(NotApplicable, match="^component 'acme' is not differentiated.$"):
        list(exercise_fitting.derivative_problems(encoder_attempt(plugin_folder, tmp_path)))
