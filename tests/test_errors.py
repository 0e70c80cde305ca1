import pytest

import brainlens
from brainlens import errors
from brainlens.errors import BrainlensError, SchemaError, closest, listed


@pytest.mark.parametrize(
    "name",
    [
        "CheckpointError",
        "DeviceError",
        "DimensionError",
        "ParameterError",
        "PluginError",
        "RegistryError",
        "SchemaError",
    ],
)
def test_every_error_is_public_and_caught_by_the_base(name):
    error = getattr(brainlens, name)
    assert error is getattr(errors, name)
    assert issubclass(error, BrainlensError)


def test_a_schema_error_carries_its_problems_one_by_one():
    error = SchemaError("two problems", ["a: missing", "b: missing"])
    assert (str(error), error.problems) == ("two problems", ("a: missing", "b: missing"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("V11", "Closest: 'V1'. Known: 'FFA', 'V1', 'V2'."),
        ("ffa", "Closest: 'FFA'. Known: 'FFA', 'V1', 'V2'."),
        ("hippocampus", "Known: 'FFA', 'V1', 'V2'."),
    ],
)
def test_the_closest_name_is_offered_only_when_one_is_close(name, expected):
    assert closest(name, ["V2", "V1", "FFA", "V1"]) == expected


def test_nothing_known_is_said_plainly():
    assert closest("x", []) == "There is none."


def test_many_names_are_counted_not_listed():
    text = closest("x", range(100), what="stored")
    assert text.startswith("Stored: '0', '1', '10'")
    assert text.endswith("and 80 more.")


def test_names_that_are_no_text_can_be_compared():
    assert closest(7, [7, 8]) == "Closest: '7'. Known: '7', '8'."


def test_listed_quotes_a_few_and_counts_the_rest():
    assert listed([3, "a", 4, 5, 6, 7]) == "3, 'a', 4, 5, 6 and 1 more"
    assert listed([3]) == "3"
    assert listed([]) == ""


def test_listed_shows_numpy_scalars_as_plain_values():
    np = pytest.importorskip("numpy")
    assert listed(np.array([1, 2])) == "1, 2"
    assert listed(np.array(["x"])) == "'x'"
