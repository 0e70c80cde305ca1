import jsonschema
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as npst

from brainlens.errors import SchemaError
from brainlens.records import Schema
from brainlens.schema import (
    builtin_schemas,
    describe,
    find_schema,
    plain_attrs,
    row_blocks,
    structure_problems,
    text_values,
    validate,
    value_problems,
)

FREE = Schema(name="free.v1", document={})


@pytest.fixture
def response():
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {"response": (("trial", "voxel"), rng.normal(size=(4, 3)).astype("float32"))},
        coords={
            "trial": np.arange(4),
            "voxel": np.arange(3),
            "stimulus_id": ("trial", ["a", "b", "a", "c"]),
            "split": ("trial", ["train", "train", "val", "test"]),
        },
        attrs={"schema": "response.v1", "subject": "subj01", "units": "z"},
    )


def check(dataset):
    validate(dataset, builtin_schemas()["response.v1"])


def complaint(dataset):
    with pytest.raises(SchemaError) as caught:
        check(dataset)
    return caught.value.problems


@pytest.mark.parametrize("site", ["voxel", "vertex"])
def test_a_label_for_each_site_is_met_with_the_mask_that_is_wanted(response, site):
    labelled = response.assign_coords(roi=("voxel", ["V1", "V1", "V2"])).rename(voxel=site)
    assert complaint(labelled)[0] == (
        f"coords/roi/dims: expected (roi), found ({site}); say which {site}s are in which ROI by a variable 'roi_mask' "
        f"(roi, {site}), bool"
    )
    by_trial = response.assign_coords(roi=("trial", list("abcd")))
    assert complaint(by_trial)[0] == "coords/roi/dims: expected (roi), found (trial)"


def unstorable(dataset):
    return structure_problems(dataset, FREE)


@pytest.mark.parametrize("name", sorted(builtin_schemas()))
def test_every_schema_that_comes_along_is_a_valid_json_schema_of_its_own_name(name):
    schema = builtin_schemas()[name]
    jsonschema.Draft202012Validator.check_schema(schema.document)
    assert schema.document["$id"] == f"brainlens:{name}"
    assert schema.document["properties"]["attrs"]["properties"]["schema"]["const"] == name
    assert find_schema(schema.kind, builtin_schemas()).kind == schema.kind


def test_a_kind_alone_means_its_newest_version():
    schemas = {f"mesh.v{number}": Schema(name=f"mesh.v{number}", document={}) for number in (1, 9, 10)}
    assert find_schema("mesh", schemas).name == "mesh.v10"
    assert find_schema("mesh.v9", schemas).name == "mesh.v9"


def test_an_unknown_schema_names_the_closest():
    with pytest.raises(SchemaError, match="no schema 'respons'. Closest: 'response.v1'"):
        find_schema("respons", builtin_schemas())


def test_a_dataset_that_follows_its_schema_passes(response):
    check(response)


def test_all_problems_are_told_at_once_each_with_its_path(response):
    broken = response.rename(response="beta").drop_vars(["stimulus_id", "voxel"])
    broken.attrs = {"schema": "response.v1", "subject": "", "units": 3}
    assert complaint(broken) == (
        "attrs/subject: expected text, found ''",
        "attrs/units: expected text, found 3",
        "coords/stimulus_id: missing",
        "data_vars/response: missing",
        "coords/voxel: missing, needed wherever there is a dim 'voxel'",
    )


def test_the_message_counts_the_problems_and_says_where_to_look(response):
    del response.attrs["units"]
    with pytest.raises(SchemaError) as caught:
        validate(response, builtin_schemas()["response.v1"], where="dataset 'a'")
    assert str(caught.value) == (
        "dataset 'a': 1 problem with response.v1\n  attrs/units: missing\n  See 'brainlens schemas response.v1'."
    )


def test_dims_and_dtypes_are_told_in_words(response):
    found = complaint(response.assign(response=response.response.T))
    assert found == ("data_vars/response/dims: expected (trial, voxel) or (trial, vertex), found (voxel, trial)",)
    found = complaint(response.assign(response=response.response.astype("int32")))
    assert found == ("data_vars/response/dtype: expected float16 or float32 or float64, found int32",)
    found = complaint(response.assign_attrs(schema="bold.v1"))
    assert found == ("attrs/schema: expected response.v1, found bold.v1",)


@pytest.mark.parametrize("dim", ["trial", "voxel"])
def test_duplicate_labels_are_refused(response, dim):
    labels = response[dim].values.copy()
    labels[1] = labels[0]
    found = complaint(response.assign_coords({dim: labels}))
    assert found == (f"coords/{dim}: expected unique labels, found 0 more than once",)


def test_duplicate_stimuli_are_refused_where_they_name_the_stimuli():
    images = xr.Dataset(
        {"image": (("stimulus", "y", "x"), np.zeros((2, 4, 4), "uint8"))},
        coords={"stimulus": ["cat", "cat"]},
        attrs={"schema": "stimulus_image.v1"},
    )
    with pytest.raises(SchemaError, match="coords/stimulus: expected unique labels, found 'cat' more than once"):
        validate(images, builtin_schemas()["stimulus_image.v1"])


def test_duplicate_stimulus_ids_of_trials_are_repetitions_and_allowed(response):
    check(response.assign_coords(stimulus_id=("trial", ["a"] * 4)))


def test_nothing_to_store_is_refused(response):
    found = complaint(response.isel(trial=slice(0)))
    assert "dims/trial: expected at least 1, found 0" in found


def test_a_split_must_be_one_of_three(response):
    found = complaint(response.assign_coords(split=("trial", ["train", "Test", "val", "dev"])))
    assert found == ("coords/split: expected 'train', 'val', 'test', found 'Test', 'dev'",)


def test_values_that_are_not_finite_are_counted_and_placed(response):
    response.response[2, 1] = np.nan
    response.response[3, 0] = np.inf
    expected = "data_vars/response: expected finite values, found 2 of 12 not finite, first at trial 2, voxel 1"
    assert complaint(response) == (expected,)


def test_the_place_of_a_value_counts_from_the_first_row_of_all():
    schema = Schema(name="x.v1", document={"x-checks": {"finite": ["x"]}})
    block = np.array([[0, 1], [np.nan, 0]])
    assert list(value_problems("x", block, schema, dims=("trial", "voxel"), start=100)) == [
        "data_vars/x: expected finite values, found 1 of 4 not finite, first at trial 101, voxel 0"
    ]


def test_a_single_value_that_is_not_finite_is_refused_too():
    schema = Schema(name="x.v1", document={"x-checks": {"finite": ["x"]}})
    with pytest.raises(SchemaError, match="x: expected finite values, found 1 of 1 not finite\n"):
        validate(xr.Dataset({"x": np.nan}), schema)


@given(npst.arrays(st.sampled_from(["<f2", ">f2", "<f4", "<f8"]), npst.array_shapes(min_dims=2, max_dims=2)))
def test_finite_means_what_numpy_says(block):
    schema = Schema(name="x.v1", document={"x-checks": {"finite": ["x"]}})
    found = list(value_problems("x", block, schema, dims=("a", "b")))
    assert bool(found) == (not np.isfinite(block).all())
    assert not found or f"found {(~np.isfinite(block)).sum()} of" in found[0]


def test_ranks_from_zero_are_refused():
    schema = Schema(name="x.v1", document={"x-checks": {"positive": ["rank"]}})
    with pytest.raises(SchemaError, match="data_vars/rank: expected values from 1, found 0"):
        validate(xr.Dataset({"rank": ("trial", [1, 0])}), schema)


@pytest.mark.parametrize("shape", [(), (0,), (7,), (7, 3), (5, 0), (5, 2, 2)])
def test_blocks_of_rows_add_up_to_the_whole(shape):
    values = np.arange(np.prod(shape, dtype=int), dtype="float32").reshape(shape)
    variable = xr.Variable([f"d{axis}" for axis in range(len(shape))], values)
    blocks = list(row_blocks(variable, block_bytes=16))
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks] or [values]).reshape(shape), values)
    assert [start for start, _ in blocks] == list(np.cumsum([0, *(len(block) for _, block in blocks[:-1])]))[
        : len(blocks)
    ]


def text(values):
    return xr.Dataset({"x": ("trial", values)})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array(["a", np.nan], object), "x: expected text everywhere, found nan at 1; use '' or drop those rows"),
        (np.array([1, 2], object), "x: expected text everywhere, found 1 at 0; use '' or drop those rows"),
        (np.array([[1], [2, 3]], object), "x: expected text everywhere, found [1] at 0; use '' or drop those rows"),
        (
            np.array(["a", "b\0"], object),
            "x: expected text without trailing NUL, found 'b\\x00' at 1; use .rstrip('\\0')",
        ),
        (np.array([b"a"]), "x: dtype |S1 cannot be stored; use text, numbers or booleans"),
        (np.zeros(2, "V8"), "x: dtype |V8 cannot be stored; use text, numbers or booleans"),
        (np.zeros(2, [("a", "i4")]), "x: dtype [('a', '<i4')] cannot be stored; use text, numbers or booleans"),
        (np.array(["\ud800"]), "x: expected text everywhere, found '\\ud800' at 0; use '' or drop those rows"),
        (
            np.array(["a", None], np.dtypes.StringDType(na_object=None)),
            "x: expected text everywhere, found None at 1; use '' or drop those rows",
        ),
        (pd.Categorical(["a", "b"]), "x: category values cannot be stored; use .astype(str) or plain numbers"),
        (pd.array([1, None]), "x: Int64 values cannot be stored; use .astype(str) or plain numbers"),
        (
            np.array(["2400-01-01"], "datetime64[s]"),
            "x: expected times from 1678 to 2261, found others; store them as text or as numbers",
        ),
        (
            np.array([2**40], "timedelta64[s]"),
            "x: expected times from 1678 to 2261, found others; store them as text or as numbers",
        ),
    ],
)
def test_values_that_would_be_lost_are_refused_with_what_to_do(values, expected):
    assert unstorable(text(values)) == [expected]


def test_none_among_text_is_refused_though_xarray_may_spell_it_nan():
    (found,) = unstorable(text(np.array(["a", None], object)))
    assert found in {
        f"x: expected text everywhere, found {missing} at 1; use '' or drop those rows" for missing in ("None", "nan")
    }


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long doubles are doubles on this machine")
@pytest.mark.parametrize("dtype", [np.longdouble, np.clongdouble])
def test_numbers_wider_than_zarr_has_are_refused(dtype):
    assert "cannot be stored; use text, numbers or booleans" in unstorable(text(np.zeros(2, dtype)))[0]


def test_a_multi_index_is_refused_with_the_call_that_helps(response):
    stacked = response.drop_vars(["stimulus_id", "split"]).stack(pair=("trial", "voxel"))
    found = unstorable(stacked)
    assert found == [
        "coords/pair: a MultiIndex cannot be stored; use dataset.reset_index('pair') to make plain coordinates"
    ]
    assert unstorable(stacked.reset_index("pair")) == []


@pytest.mark.parametrize(
    "name", ["a/b", "", ".a", "__a", 3, "a b", "a\tb", "a\nb", "a\0", "a\u00a0b", "\ud800", "x" * 201, "é" * 101]
)
def test_names_of_variables_that_would_be_lost_are_refused(name):
    found = unstorable(xr.Dataset({name: ("trial", [1])}))
    assert found[0].startswith(f"variable {name!r}: ")
    assert found[0].endswith("; rename it")


@pytest.mark.parametrize("name", ["zarr.json", "manifest.json", "Zarr.json"])
def test_variables_called_like_a_file_of_the_store_are_refused(name):
    found = unstorable(xr.Dataset({name: ("trial", [1])}))
    assert found == [f"variable {name!r}: that is a file that Zarr or the registry writes; rename it"]


@pytest.mark.parametrize("dim", ["a b", ("a",), "a/b"])
def test_names_of_dims_that_would_be_lost_are_refused(dim):
    assert unstorable(xr.Dataset({"x": ([dim], [1])}))[0].startswith(f"dim {dim!r}: ")


@pytest.mark.parametrize("name", ["c", "β", "V1-V2", "x.y", "a+b", "日本"])
def test_other_names_are_fine(name):
    assert unstorable(xr.Dataset({name: ("trial", [1])})) == []


CIRCLE: list = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    "value",
    [
        np.nan,
        np.inf,
        [1, np.nan],
        np.array([1, np.inf]),
        pd.Timestamp("2020"),
        np.datetime64("2020", "ns"),
        np.array(["2020"], "datetime64[ns]"),
        np.timedelta64(1, "ns"),
        {1: "a"},
        {"a": {2: "b"}},
        [{"a": {None: 1}}],
        {"a"},
        b"bytes",
        1j,
        object,
        "\ud800",
        CIRCLE,
    ],
    ids=repr,
)
def test_attributes_that_json_would_lose_or_alter_are_refused(value):
    for dataset, path in [
        (xr.Dataset(attrs={"key": value}), "attrs/key"),
        (xr.Dataset({"x": ("trial", [1], {"key": value})}), "x/attrs/key"),
    ]:
        (found,) = unstorable(dataset)
        assert found.startswith(f"{path}: expected text, a finite number, or a list of them, found ")
        assert found.endswith("convert it, for instance with str()")


@pytest.mark.parametrize("key", [1, None, ("a",), "\ud800"])
def test_attributes_need_text_as_keys(key):
    assert unstorable(xr.Dataset(attrs={key: 1})) == [f"attrs: expected text as key, found {key!r}; rename it"]


def test_plain_attributes_keep_their_values():
    attrs = {
        "a": np.float32(0.5),
        "b": np.arange(3),
        "c": (1, "x", None, True),
        "d": {"e": [np.int8(3)]},
        "f": np.str_("text"),
        "g": np.bool_(True),
    }
    assert unstorable(xr.Dataset(attrs=attrs)) == []
    assert plain_attrs(attrs) == {
        "a": 0.5,
        "b": [0, 1, 2],
        "c": [1, "x", None, True],
        "d": {"e": [3]},
        "f": "text",
        "g": True,
    }


@pytest.mark.parametrize(
    "key",
    [
        "_FillValue",
        "missing_value",
        "scale_factor",
        "add_offset",
        "_Unsigned",
        "_Encoding",
        "coordinates",
        "dtype",
        "calendar",
    ],
)
def test_attributes_that_xarray_takes_for_an_encoding_are_refused(key):
    found = unstorable(xr.Dataset({"x": ("trial", [1], {key: 1})}))
    assert found == [f"x/attrs/{key}: reserved for how values are encoded, found 1; rename it"]


def test_units_that_would_turn_numbers_into_dates_are_refused():
    found = unstorable(xr.Dataset({"x": ("trial", [1.5], {"units": "days since 2000-01-01"})}))
    assert found == [
        "x/attrs/units: 'days since 2000-01-01' would read back as dates; store dates as datetime64, or rename the "
        "attribute"
    ]
    assert unstorable(xr.Dataset({"x": ("trial", [1.5], {"units": "seconds"})})) == []


def test_times_must_not_name_a_unit_of_their_own():
    found = unstorable(xr.Dataset({"x": ("trial", np.array([1], "timedelta64[ns]"), {"units": "s"})}))
    assert found == ["x/attrs/units: times carry their unit themselves, found 's'; remove it"]


def test_an_unstorable_dataset_lists_everything_at_once():
    broken = xr.Dataset({"a/b": ("trial", [1]), "x": ("trial", [None])}, attrs={"n": np.nan})
    assert [problem.split(":")[0] for problem in unstorable(broken)] == ["variable 'a/b'", "x", "attrs/n"]


def test_checking_changes_nothing(response):
    before = response.copy(deep=True)
    check(response)
    xr.testing.assert_identical(response, before)


def test_text_is_described_by_one_word_whatever_holds_it():
    holders = [np.array(["a"]), np.array(["a"], object), np.array(["a"], np.dtypes.StringDType())]
    for values in holders:
        assert describe(xr.Dataset({"x": ("trial", values)}))["data_vars"]["x"]["dtype"] == "string"
        assert text_values(values)
    assert not text_values(np.array([1]))
    assert not text_values(np.array(["a", None], object))


def test_a_schema_may_be_given_by_name():
    dataset = xr.Dataset({"image": (("stimulus", "y"), [[1]])})
    with pytest.raises(SchemaError, match=r"dataset: \d problems with stimulus_image.v1"):
        validate(dataset, "stimulus_image")
    with pytest.raises(SchemaError, match="no schema 'stimulus_imge'. Closest: 'stimulus_image.v1'"):
        validate(dataset, "stimulus_imge")
