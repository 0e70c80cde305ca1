from __future__ import annotations

import dataclasses
import textwrap

import numpy as np
import pytest

from brainlens import exercise
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
    exercise.planted_map_problems,
    exercise.repeat_problems,
    exercise.single_trial_problems,
    exercise.storage_problems,
    exercise.leak_problems,
]


@pytest.mark.parametrize("check", DECODER_CHECKS)
def test_a_sound_decoder_has_no_problem(plugin_folder, tmp_path, check):
    assert list(check(attempt_of(plugin_folder, tmp_path))) == []


FAULTS = {
    "finds nothing": (
        exercise.planted_map_problems,
        {"after": "self.weights_ = np.eye(*self.weights_.shape)"},
        "expected two-way identification of at least 0.7 (chance 0.5), found 0.",
    ),
    "draws without a seed": (
        exercise.repeat_problems,
        {"after": "self.weights_ += np.random.default_rng().normal(0, 1e-3, self.weights_.shape)"},
        "expected the same weights for the same seed, found others. Draw from context.rng().",
    ),
    "draws while it predicts": (
        exercise.repeat_problems,
        {"predict": "values = values + np.random.default_rng().normal(0, 1e-3, values.shape)"},
        "expected the same predictions from the same model, found others. Predict without random numbers.",
    ),
    "looks at other trials": (
        exercise.single_trial_problems,
        {"predict": "values = values - values.mean(axis=0)"},
        "expected the same prediction for a trial without the others, found another.",
    ),
    "goes by position": (
        exercise.single_trial_problems,
        {"predict": "values = values * np.linspace(1, 2, len(values))[:, None]"},
        "expected the same prediction for a trial in reverse order, found another.",
    ),
    "changes the response": (
        exercise.storage_problems,
        {"before": "x *= 2"},
        "expected the response unchanged, found it modified. Work on a copy.",
    ),
    "changes the target": (
        exercise.storage_problems,
        {"before": "y -= 1"},
        "expected the target unchanged, found it modified. Work on a copy.",
    ),
    "changes the test response": (
        exercise.storage_problems,
        {"predict": "x += 1"},
        "expected the test response unchanged, found it modified. Work on a copy.",
    ),
    "keeps something back": (
        exercise.storage_problems,
        {"after": "self.factor = 2", "predict": "values = values * getattr(self, 'factor', 1)"},
        "expected the same predictions after state and load_state, found others.",
    ),
    "remembers other fits": (
        exercise.leak_problems,
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


@pytest.mark.parametrize("check", [*DECODER_CHECKS, exercise.subjects_problems])
def test_a_sound_decoder_of_several_subjects_has_no_problem(plugin_folder, tmp_path, check):
    assert list(check(shared_attempt(plugin_folder, tmp_path))) == []


def test_a_decoder_of_one_subject_is_not_tried_with_several(plugin_folder, tmp_path):
    with pytest.raises(NotApplicable, match="^component 'acme' takes one response at a time.$"):
        list(exercise.subjects_problems(attempt_of(plugin_folder, tmp_path)))


def test_a_decoder_that_forgets_a_subject_is_found_out(plugin_folder, tmp_path):
    after = "weights = np.flip(weights, axis=1) if hasattr(self, 'simulated01_') else weights"
    (problem,) = exercise.subjects_problems(shared_attempt(plugin_folder, tmp_path, after=after))
    assert problem.startswith(
        "component 'acme': expected two-way identification of at least 0.7 (chance 0.5) for 'other' by a model of 2 "
    )


def test_a_decoder_of_several_subjects_that_draws_without_a_seed_is_found_out(plugin_folder, tmp_path):
    after = "weights += np.random.default_rng().normal(0, 1e-3, weights.shape)"
    (problem,) = exercise.subjects_problems(shared_attempt(plugin_folder, tmp_path, after=after))
    assert problem.startswith("component 'acme': expected the same weights for the same subjects, found others.")


def test_a_decoder_that_does_not_ask_whose_a_response_is_is_found_out(plugin_folder, tmp_path):
    attempt = shared_attempt(plugin_folder, tmp_path, key="return 'weights_'")
    with pytest.raises(PluginError, match="component 'acme' .acme-acme 1.0. failed while predicting: ValueError"):
        list(exercise.subjects_problems(attempt))


STARTS = """
def start_from(self, state, model):
    self.first = {first}
"""


def test_a_decoder_that_starts_from_a_model_has_no_problem(plugin_folder, tmp_path):
    after = "self.weights_ = (self.weights_ + getattr(self, 'first', self.weights_)) / 2"
    attempt = attempt_of(plugin_folder, tmp_path, after=after, more=STARTS.format(first="state['weights_']"))
    assert list(exercise.start_problems(attempt)) == []


def test_a_decoder_that_does_not_start_from_models_is_not_tried(plugin_folder, tmp_path):
    with pytest.raises(NotApplicable, match="^component 'acme' does not start from models.$"):
        list(exercise.start_problems(attempt_of(plugin_folder, tmp_path)))


def test_a_decoder_that_starts_wrongly_is_found_out(plugin_folder, tmp_path):
    after = "self.weights_ = getattr(self, 'first', self.weights_)"
    noise = "np.random.default_rng().normal(size=state['weights_'].shape)"
    attempt = attempt_of(plugin_folder, tmp_path, after=after, more=STARTS.format(first=noise))
    problems = list(exercise.start_problems(attempt))
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
    (problem,) = exercise.planted_map_problems(attempt_of(plugin_folder, tmp_path, study=leaky, **lookup))
    assert problem.startswith(
        "component 'acme': expected at most 0.65 (chance 0.5) after the stimulus labels were shuffled, found 1.000."
    )


FUNCTION = """
import numpy as np
import xarray as xr
import brainlens
from pathlib import Path


class Needs(brainlens.Params):
    path: str


def Decoder({arguments}):
    {body}
"""


def function_attempt(plugin_folder, folder, arguments, body, fields, extra=""):
    decoder = FUNCTION.format(arguments=arguments, body=body)
    plugin_folder.add("acme", HOOKS.format(fields=fields, extra=textwrap.dedent(extra)), decoder=decoder)
    host = plugin_folder.host()
    return Attempt(host=host, component=host.component("acme"), folder=folder / "attempt")


ANALYSIS = "role='analysis', inputs={'decoded': 'embedding', 'gallery': 'embedding'}, output=('score',)"


def analysis(plugin_folder, folder, body, fields=ANALYSIS):
    return function_attempt(plugin_folder, folder, "*, decoded, gallery, params, context", body, fields)


def test_inputs_of_an_analysis_are_chosen_by_name_and_kind(plugin_folder, tmp_path):
    attempt = analysis(plugin_folder, tmp_path, "return decoded", ANALYSIS.replace("score", "embedding"))
    assert list(exercise.analysis_problems(attempt)) == []


def test_an_optional_input_is_left_out_where_others_are_named(plugin_folder, tmp_path):
    optional = ANALYSIS.replace("'gallery': 'embedding'", "'gallery': brainlens.Input('embedding', optional=True)")
    body = "assert gallery is None, 'given'; return decoded"
    attempt = analysis(plugin_folder, tmp_path, body, optional.replace("score", "embedding"))
    assert "given" in next(iter(exercise.analysis_problems(attempt)))
    named = dataclasses.replace(attempt, folder=tmp_path / "named", inputs={"decoded": "decoded"})
    assert list(exercise.analysis_problems(named)) == []


def test_an_analysis_that_does_not_repeat_itself_is_found_out(plugin_folder, tmp_path):
    body = "return decoded + np.random.default_rng().normal()"
    attempt = analysis(plugin_folder, tmp_path, body, ANALYSIS.replace("score", "embedding"))
    (problem,) = exercise.analysis_problems(attempt)
    assert problem == "component 'acme': expected the same result for the same seed, found another."


def test_an_analysis_that_raises_is_found_out(plugin_folder, tmp_path):
    (problem,) = exercise.analysis_problems(analysis(plugin_folder, tmp_path, "raise KeyError('channel')"))
    assert problem.startswith("component 'acme' (acme-acme 1.0) failed while computing: KeyError: 'channel'")


def test_an_analysis_of_another_kind_is_not_tried_and_the_kind_is_named(plugin_folder, tmp_path):
    attempt = analysis(
        plugin_folder, tmp_path, "pass", ANALYSIS.replace("'gallery': 'embedding'", "'gallery': 'image'")
    )
    with pytest.raises(NotApplicable) as caught:
        list(exercise.analysis_problems(attempt))
    assert str(caught.value) == "component 'acme' reads 'image', which the synthetic study does not have."


def test_an_analysis_that_refuses_what_was_guessed_is_not_blamed(plugin_folder, tmp_path):
    attempt = analysis(plugin_folder, tmp_path, "raise brainlens.DimensionError('expected tokens')")
    with pytest.raises(NotApplicable, match="name others in `inputs`: expected tokens"):
        list(exercise.analysis_problems(attempt))


IMPORTER = "role='importer', output=('response',), params=Own"
PATH = "class Own(brainlens.Params):\n    path: str = Field(description='Path of the file.')\n"


def test_an_importer_that_opens_files_through_the_context_has_no_problem(plugin_folder, tmp_path):
    body = "context.source(params.path)"
    attempt = function_attempt(plugin_folder, tmp_path, "*, params, context", body, IMPORTER, PATH)
    assert list(exercise.importer_problems(attempt)) == []


def test_an_importer_that_opens_files_itself_is_found_out(plugin_folder, tmp_path):
    body = "Path(params.path).read_bytes()"
    attempt = function_attempt(plugin_folder, tmp_path, "*, params, context", body, IMPORTER, PATH)
    (problem,) = exercise.importer_problems(attempt)
    assert problem.startswith(
        "component 'acme': expected a RegistryError that names the missing file, found: component"
    )


def test_an_importer_that_makes_data_up_is_found_out(plugin_folder, tmp_path):
    body = "from brainlens.testing import synthetic_study; return {'': synthetic_study()['response']}"
    attempt = function_attempt(plugin_folder, tmp_path, "*, params, context", body, IMPORTER, PATH)
    problems = list(exercise.importer_problems(attempt))
    assert problems == [
        "component 'acme': expected an error for a missing file, found none.",
        "component 'acme': expected nothing stored for a missing file, found ['new'].",
    ]


EXPORTER = "role='exporter', suffixes=('.txt',)"


@pytest.mark.parametrize("body", ["target.write_text('x')", "raise brainlens.DimensionError('expected voxels')"])
def test_an_exporter_that_writes_or_refuses_has_no_problem(plugin_folder, tmp_path, body):
    attempt = function_attempt(plugin_folder, tmp_path, "dataset, target, *, params, context", body, EXPORTER)
    assert list(exercise.exporter_problems(attempt)) == []


def test_an_exporter_that_raises_is_found_out(plugin_folder, tmp_path):
    body = "target.write_text('half'); dataset['absent']"
    attempt = function_attempt(plugin_folder, tmp_path, "dataset, target, *, params, context", body, EXPORTER)
    problems = list(exercise.exporter_problems(attempt))
    assert len(problems) == 3
    assert all(
        problem.startswith("component 'acme' (acme-acme 1.0) failed while writing: KeyError") for problem in problems
    )
