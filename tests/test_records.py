"""The records that plugins and core exchange: what they refuse, and what they fill in."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydantic
import pytest
from pydantic import Field

import brainlens
from brainlens.records import Component, Input, Params, Schema


def component(**changes: Any) -> Component:
    given = {"name": "toy.look", "role": "analysis", "summary": "Looks.", "version": "1", "target": "toy.work:look"}
    return Component(**{**given, **changes})


def params(**fields: Any) -> type[Params]:
    return pydantic.create_model("Made", __base__=Params, **{name: (Any, value) for name, value in fields.items()})


def test_a_component_knows_its_plugin() -> None:
    assert component().plugin == "toy"
    assert component(name="toy").plugin == "toy"
    assert component(name="toy.deep.name").plugin == "toy"


def test_inputs_and_outputs_may_be_written_short() -> None:
    made = component(inputs={"gallery": "embedding", "more": Input("score", many=True)}, output="score")
    assert made.inputs == {"gallery": Input("embedding"), "more": Input("score", many=True)}
    assert made.output == ("score",)


@pytest.mark.parametrize(("role", "keys"), [("decoder", ["response", "target"]), ("encoder", ["features", "response"])])
def test_decoders_and_encoders_have_their_inputs(role: str, keys: list[str]) -> None:
    assert list(component(role=role).inputs) == keys
    assert component(role=role, inputs={keys[0]: "my_kind"}).inputs[keys[0]] == Input("my_kind")


def test_an_encoder_takes_several_feature_spaces_where_it_says_so() -> None:
    made = component(role="encoder", inputs={"features": Input("embedding", many=True)})
    assert made.inputs["features"].many
    assert not made.inputs["response"].many


def test_a_decoder_of_several_responses_takes_several_targets() -> None:
    made = component(role="decoder", inputs={"response": Input("response", many=True)})
    assert made.inputs["target"] == Input("embedding", many=True)
    assert not component(role="decoder").inputs["target"].many


def test_records_do_not_change() -> None:
    made = component(inputs={"a": "score"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        made.inputs["b"] = Input("score")  # type: ignore[index]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"summary": ""}, "component 'toy.look': summary expected text, found ''."),
        ({"version": 1}, "component 'toy.look': version expected text, found 1."),
        ({"name": None}, "component None: name expected text, found None."),
        ({"role": "decode"}, "component 'toy.look': role 'decode' does not exist. Closest: 'decoder'."),
        ({"target": "toy.look"}, "component 'toy.look': target expected 'module:attribute', found 'toy.look'."),
        (
            {"params": dict},
            "component 'toy.look': params expected a subclass of brainlens.Params, found <class 'dict'>.",
        ),
        ({"params": Params()}, "component 'toy.look': params expected a subclass of brainlens.Params, found Params()."),
        (
            {"params": type("Quick", (params(n_workers=1),), {"without_effect": frozenset({"n_worker"})})},
            "component 'toy.look': expected parameters in without_effect, found 'n_worker'. Closest: 'n_workers'.",
        ),
        ({"params": params(seed=1)}, "component 'toy.look': 'seed' is reserved for the verbs. Rename that option."),
        ({"inputs": {"json": "score"}}, "component 'toy.look': 'json' is reserved for the verbs."),
        (
            {"inputs": {"a": "score"}, "params": params(a=1)},
            "component 'toy.look': 'a' is both an input and a parameter. Rename one.",
        ),
        ({"role": "decoder", "params": params(roi=1)}, "component 'toy.look': 'roi' is reserved for the verbs."),
        ({"role": "decoder", "params": params(start=1)}, "component 'toy.look': 'start' is reserved for the verbs."),
        ({"role": "exporter", "params": params(target=1)}, "component 'toy.look': 'target' is reserved for the verbs."),
        (
            {"role": "decoder", "inputs": {"target": Input("embedding", many=True)}},
            "component 'toy.look': expected several targets only with several responses, found Input(many=True) for",
        ),
        (
            {"role": "decoder", "inputs": {"prior": "score"}},
            "component 'toy.look': expected the inputs 'response' and 'target', and further embeddings, found 'prior' "
            "of kind 'score'. Make it a parameter",
        ),
        (
            {"role": "encoder", "inputs": {"prior": "score"}},
            "component 'toy.look': expected the inputs 'features' and 'response', and further embeddings, one of each, "
            "found 'prior' of kind 'score'. Make it a parameter",
        ),
        (
            {"role": "encoder", "inputs": {"text": Input("embedding", many=True)}},
            "component 'toy.look': expected the inputs 'features' and 'response', and further embeddings, one of each, "
            "found several of 'text' of kind 'embedding'. Make it a parameter",
        ),
        ({"inputs": {"guide": "score"}}, "component 'toy.look': 'guide' is reserved for the verbs."),
        (
            {"role": "embedder", "derivative": "toy.look"},
            "component 'toy.look': derivative expected 'module:attribute', found 'toy.look'.",
        ),
        (
            {"role": "generator", "derivative": "toy:look"},
            "component 'toy.look': expected derivative of a component of role 'embedder' only, found role 'generator'.",
        ),
        (
            {"role": "embedder", "guided": True},
            "component 'toy.look': expected guided of a component of role 'generator' only, found role 'embedder'.",
        ),
    ],
)
def test_a_malformed_component_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(brainlens.PluginError) as caught:
        component(**changes)
    assert str(caught.value).startswith(text)


def test_features_of_an_encoder_are_several_where_its_responses_are() -> None:
    declared = component(role="encoder", inputs={"response": Input("response", many=True)})
    assert declared.inputs["features"].many
    # A copy of a record is checked again.
    assert replace(declared, summary="Another.").inputs == declared.inputs


@pytest.mark.parametrize("role", ["importer", "embedder", "decoder", "encoder", "generator", "analysis", "exporter"])
@pytest.mark.parametrize(
    "name",
    ["name", "seed", "device", "precision", "recompute", "component", "registry", "help", "self", "params", "context"],
)
def test_words_of_the_verbs_are_reserved_in_every_role(role: str, name: str) -> None:
    with pytest.raises(brainlens.PluginError, match=f"{name!r} is reserved for the verbs"):
        component(role=role, params=params(**{name: 1}))


def test_words_of_fitting_are_free_for_others() -> None:
    component(params=params(roi="", average="", split="", start=""))


def test_parameters_refuse_unknown_names_and_do_not_change() -> None:
    made = params(alpha=1.0)
    with pytest.raises(pydantic.ValidationError):
        made(beta=1)
    with pytest.raises(pydantic.ValidationError):
        made(alpha=1).alpha = 2


def test_defaults_are_validated() -> None:
    class Wrong(Params):
        alpha: int = Field("much", description="No unit.")  # type: ignore[assignment]

    with pytest.raises(pydantic.ValidationError):
        Wrong()


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_that_are_not_finite_survive_json(value: float) -> None:
    class Limit(Params):
        limit: float = Field(0.0, description="No unit.")

    assert repr(Limit.model_validate_json(Limit(limit=value).model_dump_json()).limit) == repr(value)


def test_the_kind_of_a_schema_is_its_name_without_version() -> None:
    assert Schema(name="mesh.v12", document={}).kind == "mesh"


def test_paths_are_taken_where_text_is_expected():
    class Files(Params):
        one: str = ""
        several: tuple[str, ...] = ()
        named: dict[str, str] = {}

    made = Files(one=Path("a/b"), several=[Path("c"), "d"], named={"V1": Path("e")})
    assert made.model_dump() == {"one": "a/b", "several": ("c", "d"), "named": {"V1": "e"}}


def test_a_decoder_may_name_further_embeddings_which_are_several_where_responses_are() -> None:
    alone = component(role="decoder", inputs={"features": Input("embedding", optional=True)})
    assert list(alone.inputs) == ["response", "target", "features"]
    assert alone.inputs["features"] == Input("embedding", optional=True)
    several = component(role="decoder", inputs={"response": Input("response", many=True), "features": "embedding"})
    assert several.inputs["features"] == Input("embedding", many=True)


def test_an_encoder_may_name_further_embeddings_which_are_several_where_responses_are() -> None:
    alone = component(role="encoder", inputs={"text": Input("embedding", optional=True)})
    assert list(alone.inputs) == ["features", "response", "text"]
    assert alone.inputs["text"] == Input("embedding", optional=True)
    several = component(role="encoder", inputs={"response": Input("response", many=True), "text": "embedding"})
    assert several.inputs["text"] == several.inputs["features"] == Input("embedding", many=True)
