import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.extra import numpy as npst
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from brainlens import layout, manifest
from brainlens.batches import MappedArray
from brainlens.errors import RegistryError, SchemaError
from brainlens.labels import PROVENANCE_ATTRS
from brainlens.records import Schema
from brainlens.store import (
    map_array,
    open_dataset,
    open_place,
    open_rows,
    put_dataset,
    query_entries,
    read_manifest,
    verify_dataset,
)

FREE = Schema(name="free.v1", document={})
ARCHIVES = sorted((Path(__file__).parent / "archives").glob("format-*"))


def put(place, name, dataset, **extra):
    return put_dataset(place, name, dataset, FREE, provenance={"component": "put"}, extra=extra)


def own(dataset):
    """Return a loaded dataset without what storing adds to its attributes."""
    added = {"schema", *PROVENANCE_ATTRS}
    kept = {key: value for key, value in dataset.attrs.items() if key not in added}
    return dataset.load().assign_attrs({}).drop_attrs(deep=False).assign_attrs(kept)


def make_dataset(seed=0, rows=40):
    rng = np.random.default_rng(seed)
    return xr.Dataset(
        {
            "response": (("trial", "voxel"), rng.normal(size=(rows, 8)).astype("float32"), {"units": "z"}),
            "score": ("trial", rng.normal(size=rows)),
        },
        coords={
            "trial": np.arange(rows),
            "voxel": np.arange(8),
            "stimulus_id": ("trial", [f"s{trial % 7}" for trial in range(rows)]),
        },
        attrs={"subject": f"subj{seed}"},
    )


@pytest.fixture
def place(tmp_path):
    return open_place(tmp_path / "study.zarr", must_exist=False)


@pytest.fixture
def small_chunks(monkeypatch):
    """Raw, mapped chunks for arrays that would otherwise be too small for them."""
    monkeypatch.setattr(layout, "RAW_FROM_BYTES", 1)
    monkeypatch.setattr(layout, "CHUNK_BYTES", 64)


# What is stored reads back identical, through the registry and through plain xarray.

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
words = texts.map(lambda text: text.rstrip("\0"))
names = st.text(st.characters(categories=["L", "Nd"]), min_size=1, max_size=6).filter(str.isprintable)
attributes = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
reserved = {"schema", "subject", "coordinates", *PROVENANCE_ATTRS}
DTYPES = [f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)] + [
    "f2",
    ">f4",
    "f8",
    "bool",
    "c8",
    "c16",
    "datetime64[ns]",
    "timedelta64[ns]",
    "datetime64[s]",
]


def elements(dtype):
    """Return values that a dtype may hold; dates within what 64 bits of nanoseconds can say."""
    if np.dtype(dtype) == "datetime64[s]":
        return st.integers(-(2**33), 2**33).map(lambda second: np.datetime64(second, "s"))
    return npst.from_dtype(np.dtype(dtype))


@st.composite
def variables(draw, sizes):
    """Return a variable over some of the dims, of any dtype that can be stored."""
    dims = draw(st.lists(st.sampled_from(sorted(sizes)), unique=True, max_size=3))
    shape = tuple(sizes[dim] for dim in dims)
    attrs = draw(st.dictionaries(texts.map(lambda key: f"a{key}"), attributes, max_size=2))
    if draw(st.integers(0, 4)) == 0:
        values = draw(npst.arrays(object, shape, elements=words, fill=st.just("")))
        if draw(st.booleans()):
            values = values.astype(np.dtypes.StringDType())
    else:
        dtype = draw(st.sampled_from(DTYPES))
        values = draw(npst.arrays(dtype, shape, elements=elements(dtype)))
        if dims and draw(st.booleans()):
            values = np.asfortranarray(values)
    return xr.Variable(dims, values, attrs)


@st.composite
def datasets(draw):
    """Return any dataset that can be stored, of at most three dims of at most 9."""
    sizes = draw(st.dictionaries(st.sampled_from(["trial", "voxel", "β"]), st.integers(0, 9), min_size=1))
    found = draw(st.dictionaries(names.map(lambda name: f"v{name}"), variables(sizes), max_size=4))
    coords = draw(st.sets(st.sampled_from(sorted(found)))) if found else set()
    attrs = draw(st.dictionaries(texts.filter(lambda key: key not in reserved), attributes, max_size=3))
    dataset = xr.Dataset(found, attrs=attrs).set_coords(list(coords))
    for dim in sorted(dataset.sizes):
        if draw(st.booleans()):
            labels = draw(st.sampled_from([np.arange, lambda size: [f"l{number}" for number in range(size)]]))
            dataset = dataset.assign_coords({dim: np.asarray(labels(dataset.sizes[dim]))})
    return dataset


def round_trip(dataset, folder):
    shutil.rmtree(folder / "study.zarr", ignore_errors=True)
    place = open_place(folder / "study.zarr", must_exist=False)
    entry = put(place, "a/x", dataset)
    verify_dataset(place, "a/x")
    through_registry = open_dataset(place, "a/x")
    xr.testing.assert_identical(own(through_registry), dataset)
    plain = xr.open_zarr(folder / "study.zarr/a/x")
    xr.testing.assert_identical(own(plain), dataset)
    for name, variable in dataset.variables.items():
        kind = variable.dtype.kind
        if kind not in "OUTMm":
            assert through_registry[name].dtype == variable.dtype.newbyteorder("=")
    # Storing what was read gives the same content again.
    assert put(place, "again", through_registry).digest == entry.digest
    assert put(place, "anew", dataset).digest == entry.digest


quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(dataset=datasets())
def test_small_datasets_read_back_identical(tmp_path, dataset):
    round_trip(dataset, tmp_path)


@quick
@given(dataset=datasets())
def test_datasets_in_raw_chunks_read_back_identical(tmp_path, small_chunks, dataset):
    round_trip(dataset, tmp_path)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint64", "bool"])
def test_raw_chunks_of_every_dtype_are_mapped_and_plain_zarr_agrees(place, small_chunks, dtype):
    values = np.random.default_rng(0).integers(0, 2, size=(37, 3, 2)).astype(dtype)
    put(place, "x", xr.Dataset({"v": (("trial", "a", "b"), values)}))
    mapped = map_array(place.root / "x", "v")
    assert isinstance(mapped, MappedArray)
    np.testing.assert_array_equal(mapped.take(np.arange(37)), values)
    np.testing.assert_array_equal(zarr.open_group(place.root, mode="r")["x/v"][:], values)


def test_not_a_number_minus_zero_and_infinity_keep_their_bits(place, small_chunks):
    bits = np.array([0x7FC00001, 0xFF800000, 0x80000000, 0x7F7FFFFF], "uint32")
    put(place, "x", xr.Dataset({"v": ("trial", bits.view("float32")), "c": ((), np.float32("nan"))}))
    np.testing.assert_array_equal(open_dataset(place, "x").v.values.view("uint32"), bits)
    assert np.isnan(open_dataset(place, "x").c)


def test_extreme_times_read_back_to_the_nanosecond(place):
    days = np.array([-(2**63) + 1, 2**63 - 1, 0, 1], "datetime64[ns]")
    days = np.append(days, np.datetime64("NaT"))
    dataset = xr.Dataset({"day": ("trial", days), "span": ("trial", days.astype("int64").astype("timedelta64[ns]"))})
    put(place, "x", dataset)
    xr.testing.assert_identical(own(open_dataset(place, "x")), dataset)


def test_text_comes_back_as_plain_text_that_pandas_and_numpy_take(place):
    words = ["", "a", "日本", "🧠", "tab\tand\nline", "a\0b", "x" * 1000]
    put(place, "x", xr.Dataset(coords={"word": words, "twice": ("word", np.array(words))}))
    found = open_dataset(place, "x")
    assert found.word.values.tolist() == found.twice.values.tolist() == words
    assert found.to_dataframe().index.tolist() == words
    assert np.isin(found.twice, ["a"]).sum() == 1


@pytest.mark.parametrize("is_coordinate", [False, True])
def test_text_is_read_where_it_is_looked_at(place, is_coordinate):
    words = np.array([f"word {row}" for row in range(40_000)], dtype=object)
    dataset = xr.Dataset({"n": ("item", np.arange(40_000)), "word": ("item", words)})
    put(place, "x", dataset.set_coords("word") if is_coordinate else dataset)
    chunks = sorted((place.root / "x/word/c").iterdir())
    assert len(chunks) == 3
    # What lies in a chunk that is damaged is missed only where it is looked at.
    chunks[1].write_bytes(bytes(chunks[1].stat().st_size))
    found = open_dataset(place, "x")
    rows = np.array([39_999, 3, 39_999])
    assert found.word[rows].values.tolist() == words[rows].tolist()
    assert found.word[5].item() == "word 5"
    assert found.isel(item=slice(2, 0, -1)).word.values.tolist() == ["word 2", "word 1"]
    assert found.word.dtype == object
    with pytest.raises(ValueError, match="checksum do not match"):
        found.word.values  # noqa: B018


def test_a_dataset_whose_variable_is_called_c_can_be_stored(place):
    put(place, "x", xr.Dataset({"c": ("trial", np.arange(3.0))}))
    assert open_dataset(place, "x").c.values.tolist() == [0, 1, 2]
    verify_dataset(place, "x")


# What storing does and refuses.


def test_what_is_stored_is_stamped_and_listed(place):
    entry = put(place, "subj01/response", make_dataset(1))
    assert place.entries() == [entry]
    found = open_dataset(place, "subj01/response")
    assert found.attrs["schema"] == "free.v1"
    assert json.loads(found.attrs["provenance"]) == {"component": "put"}
    assert found.encoding["source"] == str(place.root / "subj01/response")
    assert read_manifest(place, "subj01/response")["dims"] == {"trial": 40, "voxel": 8}


def test_the_stamp_of_an_earlier_result_is_replaced(place):
    put(place, "a", make_dataset())
    again = open_dataset(place, "a")
    put_dataset(place, "b", again, FREE, provenance={"component": "x.y", "seed": 3})
    found = open_dataset(place, "b").attrs
    assert (found["component"], found["seed"], found["subject"]) == ("x.y", 3, "subj0")


@pytest.mark.parametrize("key", ["seed", "device", "component", "created"])
def test_an_attribute_that_the_stamp_would_replace_is_refused(place, key):
    with pytest.raises(SchemaError, match=f"attrs/{key}: reserved for provenance, found 'mine'; rename it"):
        put(place, "a", make_dataset().assign_attrs({key: "mine"}))
    assert place.names() == []


def test_content_decides_the_digest_not_the_way_it_is_held(place):
    dataset = make_dataset()
    other = dataset.chunk() if "chunk" not in dataset.sizes and _has_dask() else dataset
    other = other.assign_coords(stimulus_id=("trial", dataset.stimulus_id.values.astype(object)))
    digests = {put(place, name, held).digest for name, held in {"a": dataset, "b": other}.items()}
    assert len(digests) == 1
    assert put(place, "z", dataset.assign_attrs(subject="x")).digest not in digests
    assert put(place, "y", dataset.assign(score=dataset.score + 1)).digest not in digests


def _has_dask():
    try:
        import dask  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def test_variables_keep_the_order_in_which_they_were_stored(place):
    labels = {"z": ("roi", [1, 2]), "roi": ["V2", "V1"], "alone": ("other", [1, 2, 3]), "a": ("roi", ["x", "y"])}
    names = ["score", "chance", "n"]
    stored = xr.Dataset({name: ("roi", np.arange(2)) for name in names}, labels)
    put(place, "made", stored)
    opened = open_dataset(place, "made")
    assert list(opened.data_vars) == names
    assert list(opened.coords) == list(stored.coords)
    xr.testing.assert_identical(own(opened), stored)
    # The order is no part of the content.
    turned = put(place, "turned", stored[names[::-1]].assign_coords(alone=stored["alone"]))
    assert turned.digest == read_manifest(place, "made")["digest"]
    assert list(open_dataset(place, "turned").data_vars) == names[::-1]


def test_variables_of_a_manifest_without_order_come_by_name(place):
    put(place, "old", xr.Dataset({name: ("roi", np.arange(2)) for name in ("score", "chance", "n")}))
    path = Path(place.folder("old")) / manifest.FILE
    body = read_manifest(place, "old")
    del body["variables"]
    path.write_bytes(manifest.seal(body))
    assert list(open_dataset(place, "old").data_vars) == ["chance", "n", "score"]


def test_extra_files_are_stored_checked_and_listed(place):
    put(place, "model", make_dataset(), **{"weights.safetensors": b"weights"})
    assert place.read("model", "weights.safetensors") == b"weights"
    (place.root / "model/weights.safetensors").write_bytes(b"WEIGHTS")
    with pytest.raises(RegistryError, match="weights.safetensors: content was altered"):
        verify_dataset(place, "model")


def test_a_bad_dataset_leaves_nothing_behind_not_even_a_registry(place):
    with pytest.raises(SchemaError):
        put(place, "a", make_dataset().assign(x=("trial", np.array([None] * 40))))
    assert not place.root.exists()


def test_a_bad_value_in_the_last_block_leaves_nothing_behind(place, small_chunks):
    schema = Schema(name="free.v1", document={"x-checks": {"finite": ["response"]}})
    dataset = make_dataset()
    dataset.response[39, 7] = np.nan
    with pytest.raises(SchemaError, match="1 of 16 not finite, first at trial 39, voxel 7"):
        put_dataset(place, "a", dataset, schema, provenance={})
    assert place.names() == []
    assert list((place.root / ".brainlens/staging").iterdir()) == []
    put(place, "a", make_dataset())


@pytest.mark.parametrize("name", ["a", "a/b", "sub/x/y"])
def test_a_taken_name_says_how_to_go_on(place, name):
    put(place, "a", make_dataset())
    put(place, "sub/x/y", make_dataset())
    with pytest.raises(RegistryError, match="Choose another name"):
        put(place, name, make_dataset())


def test_a_name_that_is_a_folder_of_datasets_is_refused(place):
    put(place, "sub/x/y", make_dataset())
    for name in ("sub", "sub/x"):
        with pytest.raises(RegistryError, match=f"Choose a name below it, such as '{name}/response'"):
            put(place, name, make_dataset())


def test_an_emptied_folder_is_free_again(place):
    put(place, "sub/x/y", make_dataset())
    place.remove("sub/x/y")
    put(place, "sub", make_dataset())
    assert place.names() == ["sub"]


def test_the_registry_is_one_zarr_hierarchy(place):
    put(place, "sub/x/y", make_dataset())
    group = zarr.open_group(place.root, mode="r")
    assert group.attrs["brainlens_registry"] == manifest.FORMAT
    assert group["sub/x/y/score"].shape == (40,)


# What opening notices.


def test_an_unknown_name_offers_the_closest(place):
    put(place, "subj01/response", make_dataset())
    for verb in (open_dataset, verify_dataset, read_manifest):
        with pytest.raises(RegistryError, match="no dataset 'subj01/respons' in .* Closest: 'subj01/response'"):
            verb(place, "subj01/respons")


def test_a_lost_manifest_is_damage_not_absence(place):
    put(place, "sub/a", make_dataset())
    (place.root / "sub/a/manifest.json").unlink()
    with pytest.raises(RegistryError, match="is damaged:\n  manifest.json: missing"):
        open_dataset(place, "sub/a")
    assert list(place.broken()) == ["sub/a"]
    for name in ("sub/a", "sub/a/below"):
        with pytest.raises(RegistryError, match="'sub/a' holds what is left of a damaged dataset. Choose another name"):
            put(place, name, make_dataset())
    place.remove("sub/a")
    put(place, "sub/a", make_dataset())


def test_twenty_problems_are_listed_and_the_rest_counted(place, small_chunks):
    put(place, "a", make_dataset(rows=100))
    for chunk in (place.root / "a/response/c").glob("*/0"):
        chunk.unlink()
    with pytest.raises(RegistryError, match=r"response/c/0/0: missing[\s\S]*and 30 more"):
        open_dataset(place, "a")


def test_a_removed_dataset_that_is_still_open_never_reads_as_fill_values(place, small_chunks):
    put(place, "a", make_dataset())
    opened = open_dataset(place, "a")
    place.remove("a")
    for name in ("response", "score"):
        with pytest.raises(RegistryError, match="removed or replaced since. Open it again"):
            opened[name].load()


def test_a_replaced_dataset_is_not_read_for_the_one_that_is_open(place, small_chunks):
    put(place, "a", make_dataset(0))
    opened = open_dataset(place, "a")
    place.remove("a")
    put(place, "a", make_dataset(1))
    for name in ("response", "score"):
        with pytest.raises(RegistryError, match="removed or replaced since. Open it again"):
            opened[name].load()
    # Plain zarr reads the other dataset without a word: the guard is what stands between.
    plain = zarr.open_group(place.root, mode="r")["a/score"]
    np.testing.assert_array_equal(plain[:], make_dataset(1).score)


def test_what_was_read_before_a_removal_stays(place, small_chunks):
    put(place, "a", make_dataset())
    opened = open_dataset(place, "a").load()
    place.remove("a")
    xr.testing.assert_identical(own(opened), make_dataset())


def test_rows_are_mapped_where_they_are_raw(place, small_chunks):
    put(place, "a", make_dataset())
    assert isinstance(open_rows(place, "a", "response"), MappedArray)
    stimulus = open_rows(place, "a", "stimulus_id")
    assert isinstance(stimulus, zarr.Array)
    assert stimulus[3] == "s3"


def test_an_unknown_variable_offers_the_closest(place):
    put(place, "a", make_dataset())
    for name in ("respons", "../a/response", "", "response/c"):
        with pytest.raises(RegistryError, match=f"dataset 'a': no variable '{name}'"):
            open_rows(place, "a", name)


def test_rows_of_altered_metadata_are_not_read(place, small_chunks):
    put(place, "a", make_dataset())
    file = place.root / "a/response/zarr.json"
    file.write_text(file.read_text().replace("40,", "30,", 1))
    with pytest.raises(RegistryError, match="zarr.json: content was altered"):
        open_rows(place, "a", "response")


def test_a_missing_chunk_is_never_read_as_fill_values(place):
    put(place, "a", make_dataset())
    opened = open_dataset(place, "a")
    rows = open_rows(place, "a", "score")
    (place.root / "a/score/c/0").unlink()
    for read in (opened.score.load, lambda: rows[:]):
        with pytest.raises(RegistryError, match="score/c/0: expected a chunk, found none: it was deleted"):
            read()
    assert np.all(zarr.open_group(place.root, mode="r")["a/score"][:] != make_dataset().score)


def test_an_open_dataset_travels_to_another_process_without_its_values(place):
    dataset = xr.Dataset({"response": (("trial", "voxel"), np.ones((1024, 512), "float32"))})
    put(place, "a", dataset)
    opened = open_dataset(place, "a")
    opened.response[0, 0].load()
    sent = pickle.dumps(opened)
    assert len(sent) < 100_000
    xr.testing.assert_identical(own(pickle.loads(sent)), dataset)


def test_a_copy_is_independent_of_the_files(place, small_chunks):
    put(place, "a", make_dataset())
    copied = open_dataset(place, "a").copy(deep=True)
    copied.response[0, 0] = 7
    assert open_dataset(place, "a").response[0, 0] != 7


def test_lazy_values_cannot_be_written_through_to_the_files(place, small_chunks):
    put(place, "a", make_dataset())
    opened = open_dataset(place, "a")
    opened.response[0, 0] = 7
    assert opened.response[0, 0] == 7
    verify_dataset(place, "a")


def test_queries_combine_conditions(place):
    for seed, name in enumerate(["a", "b"]):
        put(place, name, make_dataset(seed))
    assert [entry.name for entry in query_entries(place, {"subject": "subj1", "kind": None})] == ["b"]
    assert query_entries(place, {"subject": "subj1", "kind": "response"}) == []
    assert len(query_entries(place, {"kind": None})) == 2


@pytest.mark.parametrize("spelling", ["{}", "file://{}"])
def test_a_place_can_be_given_as_path_or_url(tmp_path, spelling):
    folder = tmp_path / "with space"
    folder.mkdir()
    url = spelling.format(folder / "study.zarr")
    put(open_place(url.replace(" ", "%20") if ":" in url else url, must_exist=False), "a", make_dataset())
    assert open_place(folder / "study.zarr", must_exist=True).names() == ["a"]


# Datasets of every format that was ever written open for ever.


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name)
def test_archives_of_every_format_open_verify_and_hold_what_they_held(archive, tmp_path):
    # A copy, for the index is written beside the datasets.
    shutil.copytree(archive, tmp_path / "study.zarr")
    place = open_place(tmp_path / "study.zarr", must_exist=True)
    expected = json.loads((archive / "expected.json").read_text())
    assert place.names() == sorted(expected)
    for name, facts in expected.items():
        verify_dataset(place, name)
        found = open_dataset(place, name)
        assert read_manifest(place, name)["digest"] == facts["digest"]
        for variable, values in facts["values"].items():
            assert found[variable].astype(str).values.tolist() == values
        assert own(found).attrs == facts["attrs"]


def test_there_is_an_archive_of_the_format_that_is_written_now():
    assert [path.name for path in ARCHIVES] == [f"format-{number}" for number in range(1, manifest.FORMAT + 1)]


# A registry against a dict, whatever happens to its folder.


class RegistryMachine(RuleBasedStateMachine):
    """Store, remove, reopen, lose the index, copy and delete folders by hand; compare with a dict."""

    stored = Bundle("stored")
    parts = st.sampled_from(["a", "b", "ab"])

    @initialize(folder=st.uuids())
    def begin(self, folder):
        self.root = Path(os.environ["PYTEST_MACHINE_FOLDER"]) / folder.hex / "study.zarr"
        self.root.parent.mkdir(parents=True)
        self.place = open_place(self.root, must_exist=False)
        self.model = {}

    def teardown(self):
        if hasattr(self, "root"):
            shutil.rmtree(self.root.parent, ignore_errors=True)

    def is_free(self, name):
        return not any(name == other or f"{name}/" in f"{other}/" or f"{other}/" in f"{name}/" for other in self.model)

    @rule(target=stored, name=st.lists(parts, min_size=1, max_size=3).map("/".join), seed=st.integers(0, 3))
    def put(self, name, seed):
        free = not any(f"{name}/".startswith(f"{other}/") or f"{other}/".startswith(f"{name}/") for other in self.model)
        if free:
            put(self.place, name, make_dataset(seed, rows=3))
            self.model[name] = seed
        else:
            with pytest.raises(RegistryError):
                put(self.place, name, make_dataset(seed, rows=3))
        return name

    @rule(name=consumes(stored))
    def remove(self, name):
        if name in self.model:
            self.place.remove(name)
            del self.model[name]
        else:
            with pytest.raises(RegistryError, match="no dataset"):
                self.place.remove(name)

    @rule()
    def reopen(self):
        self.place = open_place(self.root, must_exist=False)

    @rule()
    def lose_the_index(self):
        (self.root / ".brainlens/index.sqlite").unlink(missing_ok=True)

    @rule()
    def spoil_the_index(self):
        if self.root.exists():
            (self.root / ".brainlens").mkdir(exist_ok=True)
            (self.root / ".brainlens/index.sqlite").write_bytes(b"no database")

    @rule()
    def leave_a_killed_writer_behind(self):
        staging = self.root / ".brainlens/staging"
        if staging.exists():
            (staging / "0a1b/dataset").mkdir(parents=True, exist_ok=True)
            (staging / "0a1b.lock").touch()

    @rule()
    def lose_the_hidden_folder(self):
        shutil.rmtree(self.root / ".brainlens", ignore_errors=True)
        if self.root.exists() and not any(self.root.iterdir()):
            self.root.rmdir()

    @rule(name=stored, copy=st.sampled_from(["copied", "deep/copied"]))
    def copy_a_folder_by_hand(self, name, copy):
        if name in self.model and copy not in self.model:
            shutil.copytree(self.root / name, self.root / copy)
            self.model[copy] = self.model[name]

    @rule(name=consumes(stored))
    def delete_a_folder_by_hand(self, name):
        if name in self.model:
            shutil.rmtree(self.root / name)
            del self.model[name]

    @invariant()
    def lists_what_was_stored(self):
        if hasattr(self, "model"):
            assert self.place.names() == sorted(self.model)
            subjects = {entry.name: entry.subject for entry in self.place.entries()}
            assert subjects == {name: f"subj{seed}" for name, seed in self.model.items()}

    @invariant()
    def opens_what_was_stored(self):
        for name, seed in list(getattr(self, "model", {}).items())[-1:]:
            xr.testing.assert_identical(own(open_dataset(self.place, name)), make_dataset(seed, rows=3))
            verify_dataset(self.place, name)


def test_a_registry_is_a_dict_whatever_happens_to_its_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_MACHINE_FOLDER", str(tmp_path))
    from hypothesis.stateful import run_state_machine_as_test

    profile = settings(max_examples=12, stateful_step_count=15, deadline=None)
    run_state_machine_as_test(RegistryMachine, settings=profile)
