from __future__ import annotations

import dataclasses
import textwrap

import pytest

from brainlens import exercise
from brainlens.exercise import Attempt, NotApplicable

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
