from __future__ import annotations

import textwrap

import numpy as np
import pytest
import xarray as xr

import brainlens
from brainlens import contract, exercise
from brainlens.exercise import Attempt, NotApplicable
from brainlens.schema import builtin_schemas
from brainlens.synthetic import synthetic_study
from brainlens.testing import PluginContract, check_plugin

# The synthetic study


@pytest.fixture(scope="module")
def study() -> dict[str, xr.Dataset]:
    return synthetic_study()


@pytest.mark.parametrize("name", ["response", "target", "weights"])
def test_the_study_follows_its_schemas(study, name):
    brainlens.validate(study[name], builtin_schemas()[study[name].attrs["schema"]])


def test_the_study_says_that_it_is_simulated_in_any_format(study):
    assert all(dataset.attrs["simulated"] for dataset in study.values())
    assert not any(isinstance(value, bool) for dataset in study.values() for value in dataset.attrs.values())
    assert study["response"].attrs["subject"] == "simulated01"


def test_the_same_seed_gives_the_same_study(study):
    assert all(dataset.identical(study[name]) for name, dataset in synthetic_study(0).items())
    assert not synthetic_study(1)["response"].identical(study["response"])


def test_every_stimulus_is_shown_once_in_each_session_and_on_one_side_only(study):
    trials = study["response"].coords.to_dataset().drop_dims(["voxel", "roi"]).to_dataframe()
    assert (trials.groupby("stimulus_id")["session"].agg(sorted).map(tuple) == (1, 2, 3)).all()
    assert (trials.groupby("stimulus_id")["split"].nunique() == 1).all()
    assert (trials.groupby("run")["session"].nunique() == 1).all()
    assert trials["run"].nunique() == 6
    assert set(trials["split"]) == {"train", "test"}


def test_positions_are_no_labels(study):
    stimuli = study["target"]["stimulus"].values
    assert not np.array_equal(stimuli, np.sort(stimuli))
    assert not set(stimuli) & set(range(len(stimuli) // 2))


def test_responses_hold_the_planted_map(study):
    response, target = study["response"], study["target"]
    design = target["embedding"].sel(stimulus=response["stimulus_id"]).values.astype(float)
    found = np.linalg.lstsq(design, response["response"].values.astype(float), rcond=None)[0]
    # A weight is estimated from 360 trials with noise of variance up to 1, so it scatters by 0.06 at most.
    np.testing.assert_allclose(found, study["weights"]["weights"].values, atol=5 * 360**-0.5)


def test_the_noise_ceiling_is_what_the_noiseless_response_reaches():
    study = synthetic_study(n_stimuli=3000, n_voxels=30)
    response = study["response"]
    embedding = study["target"]["embedding"].sel(stimulus=response["stimulus_id"]).values
    clean = embedding @ study["weights"]["weights"].values
    coded = response["noise_ceiling"].values > 0
    found = [np.corrcoef(clean[:, v], response["response"].values[:, v])[0, 1] for v in np.flatnonzero(coded)]
    np.testing.assert_allclose(found, response["noise_ceiling"].values[coded], atol=0.03)
    np.testing.assert_allclose(response["response"].values.std(axis=0), 1, atol=0.05)


def test_each_roi_codes_what_it_is_said_to_code(study):
    weights = study["weights"]["weights"].values
    mask = study["response"]["roi_mask"]
    half = weights.shape[0] // 2
    v1, ffa, empty = (weights[:, mask.sel(roi=roi).values] for roi in ("V1", "FFA", "empty"))
    assert (v1[:half] != 0).all()
    assert (v1[half:] == 0).all()
    assert (ffa[half:] != 0).all()
    assert (ffa[:half] == 0).all()
    assert (empty == 0).all()
    assert (study["response"]["noise_ceiling"].values[mask.sel(roi="empty").values] == 0).all()
    assert mask.sum("roi").values.tolist() == [1] * 60


def test_voxel_coordinates_agree_with_the_affine(study):
    response = study["response"]
    affine = np.reshape(response.attrs["affine"], (4, 4))
    indices = np.stack([response[name].values for name in "ijk"])
    mm = np.stack([response[f"{name}_mm"].values for name in "xyz"])
    np.testing.assert_allclose(affine[:3, :3] @ indices + affine[:3, 3:], mm)
    assert (indices.max(axis=1) < response.attrs["volume_shape"]).all()
    assert len(np.unique(indices, axis=1).T) == 60
    assert set(response["hemisphere"].values[mm[0] < 0]) == {"left"}


def test_a_study_that_is_too_small_is_refused():
    with pytest.raises(brainlens.ParameterError) as caught:
        synthetic_study(n_voxels=2)
    assert str(caught.value) == "synthetic study: expected n_voxels of at least 3, found 2."


# What plugins declare

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


def declared(plugin_folder, check, *, extra="", fields="", decoder=None):
    source = HOOKS.format(extra=textwrap.dedent(extra), fields=fields)
    plugin_folder.add("acme", source, **({} if decoder is None else {"decoder": decoder}))
    host = plugin_folder.host()
    return list(check(host, host.plugin("acme")))


@pytest.mark.parametrize(
    "check",
    [
        contract.light_problems,
        contract.source_problems,
        contract.record_problems,
        contract.params_problems,
        contract.target_problems,
        contract.kind_problems,
    ],
)
def test_a_sound_declaration_has_no_problem(plugin_folder, check):
    assert declared(plugin_folder, check) == []


def test_a_heavy_import_is_named(plugin_folder):
    assert declared(plugin_folder, contract.light_problems, extra="import sklearn") == [
        "plugin 'acme': loading it imports 'sklearn', which slows every command down. "
        "Import it in the module that does the work."
    ]


FOREIGN = {
    "import brainlens.store": "imports 'brainlens.store', which is not public.",
    "from brainlens.schema import builtin_schemas": "imports 'brainlens.schema', which is not public.",
    "from brainlens import store": "uses 'brainlens.store', which is not public.",
    "brainlens.provenance.now()": "uses 'brainlens.provenance', which is not public.",
    "import brainlens_linear.ridge": "imports 'brainlens_linear.ridge', which is another plugin's.",
    "from brainlens_schemas import x": "imports 'brainlens_schemas', which is another plugin's.",
    "from other_plugin import x": "imports 'other_plugin', which is another plugin's.",
}


@pytest.mark.parametrize("statement", FOREIGN)
def test_what_is_not_public_is_named_with_its_line(plugin_folder, statement):
    plugin_folder.declare("other", "other_plugin", distribution="other")
    decoder = f"def late():\n    import brainlens\n    {statement}\n"
    (problem,) = declared(plugin_folder, contract.source_problems, decoder=decoder)
    assert problem.startswith(f"site-packages/brainlens_acme_decoder.py, line 3: {FOREIGN[statement]}")


@pytest.mark.parametrize(
    "statement",
    ["from brainlens import Trainable", "from brainlens.testing import synthetic_study", "import brainlens_acme"],
)
def test_public_names_and_the_plugins_own_are_welcome(plugin_folder, statement):
    assert declared(plugin_folder, contract.source_problems, decoder=f"def late():\n    {statement}\n") == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("name='acme.Rank'", "component 'acme.Rank': expected lower-case words, such as 'my-plugin.rank'. Rename it."),
        ("summary='two\\nlines'", "component 'acme': expected a summary of one line, at most 160 characters, found"),
        ("citations=('', )", "component 'acme': expected citations to be text, found ''."),
        ("suffixes=('nii', )", "component 'acme': expected suffixes such as '.nii.gz', found 'nii'."),
        (
            "checkpoints=(brainlens.Checkpoint(id='w', sha256='1', size_bytes=1, licence='MIT'),)",
            "component 'acme': expected 64 hexadecimal digits for 'w', found '1'.",
        ),
    ],
)
def test_records_that_cannot_be_shown_are_named(plugin_folder, fields, expected):
    (problem,) = declared(plugin_folder, contract.record_problems, fields=fields)
    assert problem.startswith(expected)


def test_a_plugin_without_anything_is_named(plugin_folder):
    plugin_folder.add("void", "import brainlens\n@brainlens.hookimpl\ndef brainlens_components():\n    return []")
    host = plugin_folder.host()
    assert list(contract.record_problems(host, host.plugin("void"))) == [
        "plugin 'void': expected a component, found none. Return one from brainlens_components."
    ]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (
            "alpha: float = 1.0",
            "component 'acme', parameter 'alpha': expected a description, found none. "
            "Say what it is, with its unit: Field(description=...).",
        ),
        (
            "alpha: float = Field(float('nan'), description='Penalty.')",
            "component 'acme': expected the defaults back from JSON, found Own(alpha=nan), not Own(alpha=nan).",
        ),
        (
            "alpha: int = Field('x', description='Penalty.')",
            "component 'acme': expected parameters that can be written as JSON, found: 1 validation error for Own",
        ),
        (
            "alpha: Any = Field((1, 2), description='Penalty.')",
            "component 'acme': expected the defaults back from JSON, found Own(alpha=[1, 2]), not Own(alpha=(1, 2)).",
        ),
        (
            "alpha: Any = Field(object(), description='Penalty.')",
            "component 'acme': expected parameters that can be written as JSON, found: ",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::pydantic.json_schema.PydanticJsonSchemaWarning")
def test_parameters_that_provenance_cannot_keep_are_named(plugin_folder, field, expected):
    extra = f"class Own(brainlens.Params):\n    {field}\n"
    (problem,) = declared(plugin_folder, contract.params_problems, extra=extra, fields="params=Own")
    assert problem.startswith(expected)


@pytest.mark.parametrize(
    ("decoder", "fields", "expected"),
    [
        ("", "", "component 'acme' (acme-acme 1.0): target 'brainlens_acme_decoder:Decoder' cannot be imported"),
        ("Decoder = 3", "", "component 'acme': expected 'brainlens_acme_decoder:Decoder' to be a subclass of"),
        (
            "import brainlens\nclass Decoder(brainlens.Trainable):\n    def fit(self, response, target): pass",
            "",
            "component 'acme': expected fit and predict, found no 'predict'. Write it.",
        ),
        (
            "Decoder = 3",
            "role='analysis'",
            "component 'acme': expected 'brainlens_acme_decoder:Decoder' to be a function",
        ),
        (
            "def Decoder(*, gallery, params, context): pass",
            "role='analysis', inputs={'decoded': 'embedding'}",
            "component 'acme': expected 'brainlens_acme_decoder:Decoder' to take (params, context, decoded), "
            "found (*, gallery, params, context): missing a required argument: 'gallery'.",
        ),
        (
            "def Decoder(*, params, context): pass",
            "role='exporter'",
            "component 'acme': expected 'brainlens_acme_decoder:Decoder' to take (dataset, target, params, context), "
            "found (*, params, context): too many positional arguments.",
        ),
    ],
)
def test_targets_that_do_not_fit_their_role_are_named(plugin_folder, decoder, fields, expected):
    (problem,) = declared(plugin_folder, contract.target_problems, fields=fields, decoder=decoder)
    assert problem.startswith(expected)


def test_kinds_that_do_not_exist_are_named(plugin_folder):
    (problem,) = declared(plugin_folder, contract.kind_problems, fields="output=('embeding',)")
    assert problem.startswith("component 'acme', output: no schema 'embeding'. Closest: 'embedding.v1'.")


def test_a_schema_that_is_no_json_schema_is_named(plugin_folder):
    extra = """
    @brainlens.hookimpl
    def brainlens_schemas():
        return [brainlens.Schema(name="mesh.v1", document={"type": "thing"})]
    """
    (problem,) = declared(plugin_folder, contract.kind_problems, extra=extra)
    assert problem.startswith("schema 'mesh.v1': expected a JSON Schema document: 'thing' is not valid")


# What decoders do

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


def attempt_of(plugin_folder, folder, *, before="pass", after="pass", predict="pass", study=None):
    plugin_folder.add("acme", decoder=SOUND.format(before=before, after=after, predict=predict))
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


def test_a_decoder_that_knows_the_test_stimuli_fails_the_negative_control(plugin_folder, tmp_path, study):
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


# What other components do

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


# The suite as a whole


def test_a_sound_plugin_passes_every_check(plugin_folder, tmp_path):
    attempt_of(plugin_folder, tmp_path)
    assert check_plugin("acme", tmp_path, host=plugin_folder.host()) == []


def test_problems_of_all_checks_are_listed_together(plugin_folder, tmp_path):
    attempt_of(plugin_folder, tmp_path, before="x *= 2", predict="import brainlens.store")
    problems = check_plugin("acme", tmp_path, host=plugin_folder.host())
    assert [problem.split(":")[0] for problem in problems] == [
        "site-packages/brainlens_acme_decoder.py, line 19",
        "component 'acme'",
    ]


def test_a_broken_plugin_is_one_problem(plugin_folder, tmp_path):
    plugin_folder.add("bad", "1 / 0")
    (problem,) = check_plugin("bad", tmp_path, host=plugin_folder.host())
    assert problem.startswith("plugin 'bad' (acme-bad 1.0) failed to load: ZeroDivisionError: division by zero")


def test_listeners_hear_nothing_of_the_suite(plugin_folder, tmp_path):
    attempt_of(plugin_folder, tmp_path)
    plugin_folder.add("diary", "import brainlens\n@brainlens.hookimpl\ndef brainlens_computed(result):\n    1 / 0")
    assert check_plugin("acme", tmp_path, host=plugin_folder.host()) == []
    assert plugin_folder.host().announce(None) != []


def contract_of(plugin_folder, name):
    class Contract(PluginContract):
        plugin = name

        def host(self):
            return plugin_folder.host()

    return Contract()


def test_the_class_fails_with_the_problems(plugin_folder, tmp_path):
    attempt_of(plugin_folder, tmp_path, before="x *= 2")
    with pytest.raises(AssertionError, match="expected the response unchanged, found it modified"):
        contract_of(plugin_folder, "acme").test_decoders_survive_storage_and_leave_inputs_alone(tmp_path)


def test_the_class_skips_what_a_plugin_does_not_have(plugin_folder, tmp_path):
    attempt_of(plugin_folder, tmp_path)
    with pytest.raises(pytest.skip.Exception, match="plugin 'acme' has no importer"):
        contract_of(plugin_folder, "acme").test_importers_refuse_what_does_not_exist(tmp_path)


def test_the_class_demands_a_name():
    with pytest.raises(
        brainlens.ParameterError, match="expected the name of a plugin, as in plugin = 'linear', found ''"
    ):
        PluginContract().test_plugin_loads()
