import jsonschema
from brainlens_simulate.truth import FORWARD_MODEL


def test_the_schema_is_a_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(FORWARD_MODEL)
