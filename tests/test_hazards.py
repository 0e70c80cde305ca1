"""One test for each hazard that was measured in the storage stack, beside what happens without the guard.

`test_without_…` carries out the same thing with plain zarr and xarray and sees the hazard: if such a test begins to
fail, the hazard is gone and its guard may go too.
"""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

import brainlens
from brainlens import layout
from brainlens.errors import RegistryError, SchemaError
from brainlens.plugins import PluginHost
from brainlens.records import Schema
from brainlens.store import open_place, open_rows, put_dataset

FORKED = Path(__file__).with_name("forked.py")
FREE = Schema(name="free.v1", document={})


def make_response(n_trials=40, seed=0):
    rng = np.random.default_rng(seed)
    return xr.Dataset(
        {
            "response": (("trial", "voxel"), rng.normal(size=(n_trials, 8)).astype("float32")),
            "roi_mask": (("roi", "voxel"), rng.random((2, 8)) > 0.5),
        },
        coords={
            "trial": np.arange(n_trials),
            "voxel": np.arange(8),
            "roi": ["V1", "V2"],
            "stimulus_id": ("trial", [f"s{trial}" for trial in range(n_trials)]),
        },
        attrs={"schema": "response.v1", "subject": "subj01", "units": "z"},
    )


@pytest.fixture
def registry(tmp_path):
    return brainlens.open(tmp_path / "study.zarr", host=PluginHost([]), quiet=True)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(layout, "RAW_FROM_BYTES", 1024)
    monkeypatch.setattr(layout, "CHUNK_BYTES", 512)


def same_values(found, expected):
    return all(np.array_equal(found[name].values, expected[name].values) for name in expected.variables)


def everything(folder):
    """Return every file below a folder and its bytes, but for what says how to reach them."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".brainlens" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


# 1. A writer that is killed.


def forked(mode, tmp_path, **options):
    done = subprocess.run([sys.executable, FORKED, mode, tmp_path], capture_output=True, check=False, **options)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(("mode", "at_least"), [("events", 100), ("moments", 60), ("lines", 60)])
def test_a_writer_killed_at_any_moment_leaves_nothing_or_everything(tmp_path, mode, at_least):
    states = forked(mode, tmp_path)
    assert set(states) == {"absent", "whole"}
    assert sum(states.values()) >= at_least


def test_without_staging_a_killed_writer_leaves_a_store_that_opens_and_lies(tmp_path):
    states = forked("unguarded", tmp_path)
    assert states["opened, but other values"] > 0.5 * sum(states.values())


def test_a_removal_killed_at_any_moment_leaves_nothing_or_everything(tmp_path):
    states = forked("removing", tmp_path)
    assert set(states) == {"absent", "whole"}


def test_a_listing_killed_at_any_moment_harms_nothing(tmp_path):
    states = forked("listing", tmp_path)
    assert set(states) == {"whole"}
    assert states["whole"] >= 3


# 2. A flipped bit.


def flip(path, position, bit):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def positions(path, rng):
    """Return the ends, the middle and some more of a file."""
    size = path.stat().st_size
    ends = {0, 1, size // 2, size - 5, size - 4, size - 1} | {rng.randrange(size) for _ in range(2)}
    return sorted(position for position in ends if 0 <= position < size)


def reads(read):
    """Whether something is read without an error, whoever raises it: brainlens, xarray or zarr."""
    try:
        read()
    except Exception:  # noqa: BLE001 - zarr's own checksum errors count as well
        return False
    return True


def test_a_flipped_bit_anywhere_is_found(registry, small_chunks):
    expected = make_response()
    registry.put("a", expected)
    folder = Path(registry.path) / "a"
    rng = random.Random(0)
    n_flips = n_chunk_flips = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        for position in positions(path, rng):
            flip(path, position, rng.randrange(8))
            n_flips += 1
            with pytest.raises(RegistryError):
                registry.verify("a")
            with pytest.raises(RegistryError):
                registry.verify()
            assert not reads(lambda: registry["a"].load()), path
            if "c" in path.relative_to(folder).parts[1:]:
                n_chunk_flips += 1
                with pytest.raises(Exception, match="(?i)checksum|crc"):
                    xr.open_zarr(folder).load()
            path.write_bytes(whole)
    assert (n_flips > 120, n_chunk_flips > 60) == (True, True)
    assert same_values(registry["a"], expected)
    registry.verify()


def test_a_flipped_bit_in_the_padding_behind_the_last_row_is_found(registry, small_chunks):
    registry.put("a", make_response())
    last = sorted((Path(registry.path) / "a/response/c").glob("*/0"), key=lambda path: int(path.parent.name))[-1]
    assert last.read_bytes()[-8:-4] == b"\0\0\0\0"
    flip(last, -8, 0)
    with pytest.raises(RegistryError, match="content was altered"):
        registry.verify("a")
    with pytest.raises(RegistryError, match="expected CRC-32C"):
        registry["a"].load()


def test_without_checksums_flipped_bits_are_read_back_silently(tmp_path):
    expected = make_response().drop_vars(["roi_mask", "stimulus_id", "roi"])
    expected.to_zarr(tmp_path / "a", consolidated=False)
    path = tmp_path / "a/response/c/0/0"
    whole = path.read_bytes()
    rng = random.Random(0)
    silent = 0
    for _ in range(40):
        flip(path, rng.randrange(20, len(whole)), rng.randrange(8))
        with contextlib.suppress(Exception):  # some are found after all
            silent += not same_values(xr.open_zarr(tmp_path / "a", consolidated=False).load(), expected)
        path.write_bytes(whole)
    assert silent > 20


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda folder: (folder / "response/c/1/0").unlink(), "response/c/1/0: missing"),
        (lambda folder: (folder / "stimulus_id/c/0").unlink(), "stimulus_id/c/0: missing"),
        (lambda folder: (folder / "roi_mask/zarr.json").unlink(), "roi_mask/zarr.json: missing"),
        (lambda folder: (folder / "zarr.json").unlink(), "zarr.json: missing"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json: missing"),
        (lambda folder: shutil.rmtree(folder / "response"), "response/zarr.json: missing"),
        (lambda folder: os.truncate(folder / "response/c/1/0", 100), "response/c/1/0: expected 452 bytes, found 100"),
        (lambda folder: os.truncate(folder / "trial/c/0", 0), "trial/c/0: expected"),
    ],
    ids=["chunk", "text chunk", "array", "group", "manifest", "variable", "cut", "emptied"],
)
def test_whatever_is_missing_or_cut_is_found_on_opening(registry, small_chunks, damage, found):
    registry.put("a", make_response())
    damage(Path(registry.path) / "a")
    for verb in (registry.__getitem__, registry.verify):
        with pytest.raises(RegistryError, match="'a' in .* is damaged:") as caught:
            verb("a")
        assert found in str(caught.value)
    with pytest.raises(RegistryError):
        registry.verify()


def test_without_a_manifest_a_missing_chunk_reads_as_fill_values(tmp_path):
    make_response().drop_vars(["roi", "stimulus_id"]).to_zarr(tmp_path / "a", consolidated=False)
    (tmp_path / "a/response/c/0/0").unlink()
    assert np.isnan(xr.open_zarr(tmp_path / "a", consolidated=False).response).all()


def test_an_extra_file_is_found_and_changes_nothing_that_is_read(registry, small_chunks):
    expected = make_response()
    registry.put("a", expected)
    folder = Path(registry.path) / "a"
    shutil.copytree(folder / "response", folder / "stranger")
    (folder / "response/c/99").mkdir()
    (folder / "response/c/99/0").write_bytes(b"x")
    assert set(registry["a"].variables) == set(expected.variables)
    assert same_values(registry["a"], expected)
    with pytest.raises(RegistryError, match="response/c/99/0: not part of the dataset"):
        registry.verify("a")


def test_swapped_chunks_are_found_by_verify(registry, small_chunks):
    # Each has a sound checksum of its own, so only the manifest knows which belongs where.
    registry.put("a", make_response())
    first, second = (Path(registry.path) / f"a/response/c/{number}/0" for number in (0, 1))
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    with pytest.raises(RegistryError, match="response/c/0/0: content was altered"):
        registry.verify("a")


# 3. Overwriting what is lazily opened.


def test_a_dataset_cannot_be_stored_onto_itself(registry, small_chunks):
    registry.put("a", make_response())
    before = everything(Path(registry.path))
    with pytest.raises(RegistryError, match="dataset 'a' exists in .*; stored datasets never change"):
        registry.put("a", registry["a"])
    assert everything(Path(registry.path)) == before
    registry.put("b", registry["a"])
    assert same_values(registry["b"], make_response())
    assert registry.show("a")["digest"] == registry.show("b")["digest"]


def test_a_dataset_removed_and_stored_anew_from_itself_is_refused_not_emptied(registry, small_chunks):
    registry.put("a", make_response())
    opened = registry["a"]
    registry.remove("a")
    with pytest.raises(RegistryError, match="removed or replaced since. Open it again"):
        registry.put("a", opened)
    assert registry.list() == []


def test_a_dataset_cannot_be_exported_onto_itself_or_into_the_registry(registry, tmp_path):
    registry.put("a", make_response())
    root = Path(registry.path)
    (tmp_path / "link").symlink_to(root)
    before = everything(root)
    for target in (
        root / "a",
        root,
        root / "b.zarr",
        root / "a/b.zarr",
        tmp_path / "link/b.zarr",
        root / "x/../b.zarr",
    ):
        with pytest.raises(RegistryError, match="export to "):
            registry.export("a", target)
    assert everything(root) == before


def test_without_the_guard_overwriting_a_lazily_opened_store_loses_every_value(tmp_path):
    pytest.importorskip("dask", reason="dask is not installed: a lazily opened store cannot be overwritten by itself")
    make_response().drop_vars(["roi_mask", "roi", "stimulus_id"]).to_zarr(tmp_path / "a", consolidated=False)
    xr.open_zarr(tmp_path / "a", consolidated=False).drop_encoding().to_zarr(
        tmp_path / "a", mode="w", consolidated=False
    )
    assert np.isnan(xr.open_zarr(tmp_path / "a", consolidated=False).response).all()


# 4 and 5. Labels in another order, duplicates, other dtypes: there is no appending.


def test_there_is_no_way_to_append_or_to_write_a_region(registry):
    registry.put("a", make_response())
    more = make_response(seed=1).isel(voxel=slice(None, None, -1))
    with pytest.raises(RegistryError, match="dataset 'a' exists"):
        registry.put("a", more)
    verbs = {name for name in dir(registry) if not name.startswith("_")}
    assert not {name for name in verbs if "append" in name or "region" in name or "update" in name}


def test_without_the_guard_appending_relabels_earlier_rows(tmp_path):
    first = make_response().drop_vars(["roi_mask", "roi", "stimulus_id"])
    first.to_zarr(tmp_path / "a", consolidated=False)
    first.isel(voxel=slice(None, None, -1)).to_zarr(tmp_path / "a", append_dim="trial", consolidated=False)
    both = xr.open_zarr(tmp_path / "a", consolidated=False).load()
    assert len(set(both.trial.values)) < both.sizes["trial"]
    assert not np.array_equal(both.response[0].sel(voxel=0), first.response[0].sel(voxel=0))


@pytest.mark.parametrize("name", ["trial", "voxel", "roi"])
def test_duplicate_labels_are_refused(registry, name):
    labels = make_response()[name].values.copy()
    labels[-1] = labels[0]
    with pytest.raises(SchemaError, match=f"coords/{name}: expected unique labels"):
        registry.put("a", make_response().assign_coords({name: labels}))
    assert registry.list() == []


def test_duplicate_stimuli_are_refused(registry):
    images = xr.Dataset(
        {"image": (("stimulus", "y", "x"), np.zeros((2, 4, 4), "uint8"))}, coords={"stimulus": ["cat", "cat"]}
    )
    with pytest.raises(SchemaError, match="coords/stimulus: expected unique labels, found 'cat' more than once"):
        registry.put("a", images, schema="stimulus_image")


# 6 and 7. Writers and chunks.


def test_two_processes_that_store_50_datasets_each_lose_none(tmp_path):
    assert forked("many", tmp_path) == {"whole": 100}


def test_a_writer_that_meets_another_at_any_event_in_an_empty_folder_loses_nothing(tmp_path):
    states = forked("meeting", tmp_path)
    assert set(states) == {"both"}
    assert states["both"] >= 50


def test_of_eight_processes_with_one_name_exactly_one_wins(tmp_path):
    assert forked("same", tmp_path) == {"stored": 1, "dataset 'subj01/response' exists": 7, "whole": 1}


def test_processes_that_store_read_and_remove_the_same_names_meet_nothing_else(tmp_path):
    states = forked("storm", tmp_path)
    expected = {"exists", "no dataset", "whole", "clean", "removed or replaced"}
    assert set(states) <= expected | {"it was deleted, or the dataset was removed"}
    assert states["clean"] == 1


def test_dask_chunks_that_do_not_fit_ours_are_stored_right(registry, small_chunks):
    pytest.importorskip("dask", reason="dask is not installed: misaligned chunks are not tried")
    expected = make_response()
    registry.put("a", expected.chunk({"trial": 7, "voxel": 3}))
    assert same_values(registry["a"], expected)


# 9 and 10. What Zarr would lose, refuse or alter.


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda d: d.assign_coords(stimulus_id=("trial", np.array([None] * 40, object))), "expected text everywhere"),
        (lambda d: d.assign(x=((), np.array("a\0", object))), "expected text without trailing NUL"),
        (
            lambda d: d.assign_coords(stimulus_id=("trial", pd.Categorical(["a"] * 40))),
            "category values cannot be stored",
        ),
        (lambda d: d.assign(x=("trial", np.array([[1]] * 40 + [None], object)[:40])), "expected text everywhere"),
        (lambda d: d.assign({"a/b": ("trial", np.zeros(40))}), "expected a name without '/'"),
        (lambda d: d.stack(pair=("trial", "roi")), "a MultiIndex cannot be stored"),
        (lambda d: d.assign_attrs(day=pd.Timestamp("2020")), "attrs/day: expected text, a finite number"),
        (lambda d: d.assign_attrs(tr=np.nan), "attrs/tr: expected text, a finite number"),
        (lambda d: d.assign_attrs(nested={"a": [np.inf]}), "attrs/nested: expected text, a finite number"),
        (lambda d: d.assign(response=d.response.astype("complex64")), "expected float16 or float32 or float64"),
        (lambda d: d.assign(x=d.response.assign_attrs(scale_factor=2.0)), "x/attrs/scale_factor: reserved"),
        (lambda d: d.assign(x=d.response.assign_attrs(units="days since 2000-01-01")), "would read back as dates"),
        (lambda d: d.assign(response=d.response * np.nan), "expected finite values, found 320 of 320 not finite"),
    ],
    ids=["None", "NUL", "categorical", "objects", "slash", "MultiIndex", "Timestamp", "NaN", "nested inf", "complex"]
    + ["scale_factor", "units", "not finite"],
)
def test_what_would_be_lost_is_refused_and_nothing_is_stored(registry, change, found):
    registry.put("first", make_response())
    before = everything(Path(registry.path))
    with pytest.raises(SchemaError) as caught:
        registry.put("a", change(make_response()))
    assert found in str(caught.value)
    assert everything(Path(registry.path)) == before


def test_complex_values_keep_their_imaginary_part_where_a_schema_allows_them(tmp_path):
    place = open_place(tmp_path / "study.zarr", must_exist=False)
    put_dataset(place, "a", xr.Dataset({"x": ("f", np.array([1 + 2j]))}), FREE, provenance={})
    assert open_rows(place, "a", "x")[0] == 1 + 2j


def test_without_the_guard_none_reads_back_as_empty_text(tmp_path):
    labels = xr.Dataset(coords={"x": ("trial", np.array(["a", "b"], object))})
    labels.x.values[1] = None
    labels.to_zarr(tmp_path / "a", consolidated=False)
    assert xr.open_zarr(tmp_path / "a", consolidated=False).x.values.tolist() == ["a", ""]


def test_without_the_guard_a_single_text_loses_its_trailing_nul(tmp_path):
    text = np.array("a\0", np.dtypes.StringDType())
    xr.Dataset({"x": ((), text)}).to_zarr(tmp_path / "a", consolidated=False)
    assert xr.open_zarr(tmp_path / "a", consolidated=False).x.item() == "a"


def test_without_the_guard_attributes_turn_numbers_into_others(tmp_path):
    group = zarr.open_group(tmp_path / "a", mode="w")
    attributes = {"scale_factor": 2.0}
    array = group.create_array("x", shape=(2,), dtype="f4", dimension_names=["trial"], attributes=attributes)
    array[:] = 1
    assert xr.open_zarr(tmp_path / "a", consolidated=False).x.values.tolist() == [2, 2]


def test_without_the_guard_a_slash_in_a_name_is_lost(tmp_path):
    xr.Dataset({"a/b": ("trial", [1.0])}).to_zarr(tmp_path / "a", consolidated=False)
    assert "a/b" not in xr.open_zarr(tmp_path / "a", consolidated=False)


# A disk that is full, a folder that may not be written.


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB of its own, or a reason why there is none."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", mounted], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(
            f"a full disk is not tried: mounting a small file system needs root ({made.stderr.decode().strip()})"
        )
    yield mounted
    subprocess.run(["umount", "--lazy", mounted], check=True)


def test_a_full_disk_stores_nothing_and_says_what_is_free(small_disk):
    registry = brainlens.open(small_disk / "study.zarr", host=PluginHost([]))
    registry.put("first", make_response())
    before = everything(small_disk)
    noise = ("number", np.random.default_rng(0).integers(0, 2**60, 2**20))
    for large in (make_response(200_000), make_response().assign_coords(noise=noise)):
        with pytest.raises(RegistryError, match=r"the disk is full \(\d+\.\d MB free\). Nothing was stored. Make room"):
            registry.put("large", large)
    assert everything(small_disk) == before
    assert list((small_disk / "study.zarr/.brainlens/staging").iterdir()) == []
    registry.verify()
    registry.put("second", make_response())
    assert registry.list() == ["first", "second"]


def test_a_disk_full_to_the_last_block_can_still_be_listed_read_and_cleared(small_disk):
    registry = brainlens.open(small_disk / "study.zarr", host=PluginHost([]))
    registry.put("first", make_response())
    with (small_disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):  # noqa: PT012
        while True:
            filler.write(bytes(4096))
    assert registry.list() == ["first"]
    assert same_values(registry["first"], make_response())
    with pytest.raises(RegistryError, match="the disk is full"):
        registry.put("second", make_response())
    registry.verify()
    registry.remove("first")
    assert registry.list() == []


@pytest.mark.parametrize("indexed", [True, False])
def test_a_read_only_disk_can_be_read_listed_and_verified_but_not_written(small_disk, indexed):
    writer = brainlens.open(small_disk / "study.zarr", host=PluginHost([]))
    for name in ("a", "sub/b"):
        writer.put(name, make_response())
    if indexed:
        writer.list()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    refuses_to_write(brainlens.open(small_disk / "study.zarr", host=PluginHost([])))


def refuses_to_write(registry):
    """Check that everything is read, and that nothing is written or changed."""
    before = everything(Path(registry.path))
    assert registry.list() == ["a", "sub/b"]
    assert [entry.name for entry in registry.query(kind="response")] == ["a", "sub/b"]
    assert same_values(registry["a"], make_response())
    registry.verify()
    for verb in (lambda: registry.put("new", make_response()), lambda: registry.remove("a")):
        with pytest.raises(RegistryError, match="expected a folder that can be written, found a read-only one"):
            verb()
    assert everything(Path(registry.path)) == before


AS_NOBODY = """
import os, sys, tempfile
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("hazards", sys.argv[2])
hazards = module_from_spec(spec)
spec.loader.exec_module(hazards)
# What is imported on first use is imported now: nobody may not read the folder that Python lies in.
with tempfile.TemporaryDirectory() as folder:
    warm = hazards.brainlens.open(folder + "/warm.zarr", host=hazards.PluginHost([]))
    warm.put("a", hazards.make_response())
    hazards.same_values(warm["a"], hazards.make_response())
    warm.query(kind="response")
os.setgid(65534)
os.setuid(65534)
hazards.refuses_to_write(hazards.brainlens.open(sys.argv[1], host=hazards.PluginHost([])))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="another user's registry is not tried: that needs root")
@pytest.mark.parametrize("indexed", [True, False])
def test_another_users_registry_can_be_read_but_not_written(indexed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    for parent in (folder, *folder.parents[:3]):
        if parent.owner() == "root" and parent != Path("/tmp"):
            parent.chmod(0o755)
    registry = brainlens.open(folder / "study.zarr", host=PluginHost([]))
    for name in ("a", "sub/b"):
        registry.put(name, make_response())
    if indexed:
        registry.list()
    done = subprocess.run([sys.executable, "-c", AS_NOBODY, registry.path, __file__], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]


# Names that lead elsewhere.


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../outside", "a/../../outside", "/etc/passwd", "a/", "a\\b", "a\0", "a\nb", "~", ".brainlens/x"]
    + ["аbc", "ａbc", "a\u200bb", "e\u0301", "é", "x" * 129, "zarr.json", "a/manifest.json", "a/c", "C:/x"],
)
def test_bad_names_are_refused_by_every_verb(registry, tmp_path, name):
    registry.put("a", make_response())
    before = everything(tmp_path)
    verbs = [
        lambda: registry.put(name, make_response()),
        lambda: registry[name],
        lambda: registry.verify(name),
        lambda: registry.remove(name),
        lambda: registry.show(name),
        lambda: registry.export(name, tmp_path / "out.zarr"),
        lambda: registry.batches(name, "response"),
    ]
    for verb in verbs:
        with pytest.raises(RegistryError):
            verb()
    assert everything(tmp_path) == before


@pytest.mark.parametrize("name", ["a", "a/below", "sub", "sub/b/deeper/still"])
def test_names_that_are_taken_or_lie_within_a_dataset_are_refused(registry, name):
    for taken in ("a", "sub/b"):
        registry.put(taken, make_response())
    before = everything(Path(registry.path))
    with pytest.raises(RegistryError, match="Choose "):
        registry.put(name, make_response(seed=1))
    assert everything(Path(registry.path)) == before
