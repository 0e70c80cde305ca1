from __future__ import annotations

import pytest
from brainlens_formats.params import GiftiParams, HubParams, TableParams
from pydantic import ValidationError


def test_one_name_stands_for_a_list_of_one() -> None:
    assert TableParams(variables="score").variables == ("score",)
    assert TableParams(variables=["score", "n"]).variables == ("score", "n")
    assert TableParams(variables="").variables == ()


def test_parameters_survive_json() -> None:
    params = TableParams(variables=["score"], max_rows=7)
    assert TableParams.model_validate_json(params.model_dump_json()) == params


@pytest.mark.parametrize("given", [{"max_rows": 0}, {"variables": 3}, {"variables": {"a": "b"}}])
def test_what_makes_no_sense_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TableParams(**given)
    with pytest.raises(ValidationError):
        GiftiParams(hemisphere="both")


def test_a_licence_is_unknown_unless_it_is_given() -> None:
    assert HubParams().license == "unknown"
    with pytest.raises(ValidationError):
        HubParams(license="")
