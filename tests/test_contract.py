from __future__ import annotations

import textwrap

import pytest

from brainlens import contract

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
            "found (*, gallery, params, context): missing a required ",
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


@pytest.mark.parametrize(
    ("decoder", "expected"),
    [
        (
            "def Decoder(*, params, context): pass\ndef look(*, params, context): pass",
            "component 'acme': expected 'brainlens_acme_decoder:look' to take (pixels, params, context): got",
        ),
        (
            "def Decoder(*, params, context): pass",
            "component 'acme' (acme-acme 1.0): target 'brainlens_acme_decoder:look' cannot be imported: AttributeError",
        ),
    ],
)
def test_derivatives_that_do_not_fit_are_named(plugin_folder, decoder, expected):
    fields = "role='embedder', derivative='brainlens_acme_decoder:look'"
    (problem,) = declared(plugin_folder, contract.target_problems, fields=fields, decoder=decoder)
    assert problem.startswith(expected)
