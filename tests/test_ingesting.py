"""Bringing files in: what is stored, what it says of its sources, and that bad input leaves nothing behind."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import brainlens

HOOKS = """
import brainlens
from pydantic import Field


class Params(brainlens.Params):
    file: str = Field(description="Path of a .npy file.")
    fault: str = Field("", description="Which.")


TOLD = []


@brainlens.hookimpl
def brainlens_components():
    return [
        brainlens.Component(
            name="toy", role="importer", summary="Toy.", version="1", target="brainlens_toy_decoder:read",
            params=Params, output=("response", "embedding"),
        ),
        brainlens.Component(
            name="toy.look", role="analysis", summary="Toy.", version="1", target="brainlens_toy_decoder:read"
        ),
    ]


@brainlens.hookimpl
def brainlens_computed(result):
    TOLD.append(result.entry.name)
"""

WORK = """
import numpy as np
import xarray as xr

CALLS = []


class Torn(xr.backends.BackendArray):
    # Can be read `times` times.

    def __init__(self, times):
        self.times = times
        self.shape = (3, 3)
        self.dtype = np.dtype("float64")

    def __getitem__(self, key):
        if not self.times:
            raise BufferError("cannot be read any more")
        self.times -= 1
        return np.zeros(self.shape)


def torn(target, times):
    lazy = xr.core.indexing.LazilyIndexedArray(Torn(times))
    return target.assign(embedding=xr.Variable(("stimulus", "channel"), lazy))


def read(*, params, context):
    CALLS.append(params.file)
    values = np.load(context.source(params.file))
    n = len(values)
    response = xr.Dataset(
        {"response": (("trial", "voxel"), values)},
        {"trial": range(n), "voxel": range(values.shape[1]), "stimulus_id": ("trial", np.arange(n) % 3)},
        {"schema": "response.v1", "subject": "subj01", "units": "z"},
    )
    target = xr.Dataset(
        {"embedding": (("stimulus", "channel"), np.eye(3))}, {"stimulus": range(3)},
        {"schema": "embedding.v1", "model": "toy"},
    )
    if params.fault == "midway":
        raise ValueError("row 3 is torn\\nmore")
    if params.fault == "half" and not (context.scratch / "half.npy").exists():
        np.save(context.scratch / "half.npy", values[:3])
        raise ValueError("cannot go on")
    return {
        "": {"": response, "target": target},
        "both": {"response": response, "target": target},
        "one": {"": response},
        "half": {"": response},
        "second": {"response": response, "target": target.drop_attrs()},
        "second-values": {"response": response, "target": target * float("nan")},
        "list": [response],
        "never": {"response": response, "target": torn(target, 0)},
        "once": {"response": response, "target": torn(target, 1)},
        "empty": {},
        "numbered": {1: response},
        "name": {"../escaped": response},
        "other-kind": {"": response.assign_attrs(schema="bold.v1")},
        "array": {"": response["response"]},
        "text": "response",
    }[params.fault or "both"]
"""


RAISING = next(number for number, line in enumerate(WORK.splitlines(), start=1) if "raise ValueError" in line)


def write_values(path: Path, seed: int = 0) -> str:
    np.save(path, np.random.default_rng(seed).standard_normal((6, 4), dtype=np.float32))
    return str(path)


@pytest.fixture
def registry(tmp_path: Path, plugin_folder: Any) -> brainlens.Registry:
    plugin_folder.add("toy", HOOKS, decoder=WORK)
    made = brainlens.open(tmp_path / "study.zarr", host=plugin_folder.host(), quiet=True)
    made.ingest("toy", "kept", file=write_values(tmp_path / "kept.npy", 9), fault="one")
    calls().clear()
    importlib.import_module("brainlens_toy").TOLD.clear()
    return made


@pytest.fixture
def file(tmp_path: Path) -> str:
    return write_values(tmp_path / "values.npy")


def calls() -> list[str]:
    return importlib.import_module("brainlens_toy_decoder").CALLS


def contents(registry: brainlens.Registry) -> dict[str, str]:
    """Digest every file of a registry but its cache; a staging area that is left over shows up too."""
    root = Path(registry.path)
    kept = [
        path for path in root.rglob("*") if path.is_file() and path.name != "lock" and "index.sqlite" not in path.name
    ]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


@contextlib.contextmanager
def refused(registry: brainlens.Registry, error: type[Exception], text: str) -> Iterator[None]:
    """Expect one error whose text begins so, and nothing stored or changed."""
    before = contents(registry)
    with pytest.raises(error, match=f"^{re.escape(text)}") as caught:
        yield
    assert type(caught.value) is error
    assert contents(registry) == before


def test_several_datasets_are_stored_below_the_name(registry: brainlens.Registry, file: str) -> None:
    names = registry.ingest("toy", "subj01", file=file)
    assert names == ["subj01/response", "subj01/target"]
    np.testing.assert_array_equal(registry["subj01/response"]["response"].values, np.load(file))
    assert registry["subj01/target"].sizes == {"stimulus": 3, "channel": 3}


def test_one_dataset_gets_the_name_itself(registry: brainlens.Registry, file: str) -> None:
    assert registry.ingest("toy", "subj01", file=file, fault="one") == ["subj01"]


def test_provenance_names_the_source_files_with_their_digests(registry: brainlens.Registry, file: str) -> None:
    registry.ingest("toy", "subj01", file=file)
    made = registry.show("subj01/target")["provenance"]
    content = Path(file).read_bytes()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert made["sources"] == [{"path": file, "size_bytes": len(content), "sha256": digest}]
    assert made["params"] == {"file": file, "fault": ""}
    assert made["inputs"] == {}
    assert (made["component"], made["plugin_distribution"]) == ("toy", "acme-toy")


def test_a_relative_path_is_recorded_in_full(
    registry: brainlens.Registry, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(file).parent)
    registry.ingest("toy", "subj01", file=Path(file).name)
    assert registry.lineage("subj01/response")["sources"][0]["path"] == file


def test_the_same_file_is_not_stored_again(registry: brainlens.Registry, file: str) -> None:
    names = registry.ingest("toy", "subj01", file=file)
    before = contents(registry)
    assert registry.ingest("toy", "subj01", file=file) == names
    assert contents(registry) == before


def test_a_file_that_changed_is_refused_under_a_taken_name(registry: brainlens.Registry, file: str) -> None:
    registry.ingest("toy", "subj01", file=file)
    write_values(Path(file), seed=1)
    with refused(registry, brainlens.RegistryError, f"dataset 'subj01/response' exists in {registry.path!r}"):
        registry.ingest("toy", "subj01", file=file)


def test_what_an_interrupted_call_left_out_is_made_up_for(registry: brainlens.Registry, file: str) -> None:
    registry.ingest("toy", "subj01", file=file)
    whole = contents(registry)
    registry.remove("subj01/target")
    assert registry.ingest("toy", "subj01", file=file) == ["subj01/response", "subj01/target"]
    assert contents(registry).keys() == whole.keys()
    registry.verify()


def test_what_is_stored_already_is_said_to_be(
    registry: brainlens.Registry, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    loud = brainlens.open(registry.path, host=registry.plugins)
    loud.ingest("toy", "subj01", file=file)
    assert caplog.messages == []
    loud.ingest("toy", "subj01", file=file)
    created = registry.show("subj01/response")["provenance"]["created"]
    loud.remove("subj01/target")
    loud.ingest("toy", "subj01", file=file)
    assert caplog.messages == [
        f"found 2 stored results, 'subj01/response', 'subj01/target', of {created}; another name makes it again.",
        f"found stored result 'subj01/response' of {created}; another name makes it again.",
    ]


def test_an_importer_that_failed_finds_its_scratch_folder_again(registry: brainlens.Registry, file: str) -> None:
    scratch = Path(registry.path, ".brainlens", "scratch")
    with pytest.raises(brainlens.PluginError, match="cannot go on"):
        registry.ingest("toy", "long", file=file, fault="half")
    assert [path.name for path in scratch.rglob("*.npy")] == ["half.npy"]
    assert "long" not in registry
    registry.ingest("toy", "long", file=file, fault="half")
    assert registry["long"].sizes["trial"] == 6
    assert list(scratch.iterdir()) == []


def test_plugins_are_told_of_every_dataset(registry: brainlens.Registry, file: str) -> None:
    registry.ingest("toy", "subj01", file=file)
    assert sorted(importlib.import_module("brainlens_toy").TOLD) == ["subj01/response", "subj01/target"]


def test_plugins_are_told_of_nothing_that_was_not_kept(registry: brainlens.Registry, file: str) -> None:
    with refused(registry, brainlens.SchemaError, "dataset 'new/target': 1 problem with embedding.v1\n"):
        registry.ingest("toy", "new", file=file, fault="second-values")
    assert importlib.import_module("brainlens_toy").TOLD == []


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        (
            "midway",
            brainlens.PluginError,
            "component 'toy' (acme-toy 1.0) failed while reading: ValueError: row 3 is torn (brainlens_toy_decoder.py, "
            f"line {RAISING}). Nothing was stored.",
        ),
        ("second", brainlens.PluginError, "component 'toy': expected attrs['schema'] to name a schema"),
        (
            "second-values",
            brainlens.SchemaError,
            "dataset 'new/target': 1 problem with embedding.v1\n  data_vars/embedding: expected finite values, found 9 "
            "of 9 not finite, first at stimulus 0, channel 0",
        ),
        ("list", brainlens.PluginError, "component 'toy': expected a mapping of names to datasets, found ["),
        ("text", brainlens.PluginError, "component 'toy': expected a mapping of names to datasets, found 'response'."),
        ("empty", brainlens.PluginError, "component 'toy': expected a mapping of names to datasets, found {}."),
        ("numbered", brainlens.PluginError, "component 'toy': expected a mapping of names to datasets, found {1:"),
        ("name", brainlens.RegistryError, "dataset name 'new/../escaped': '..' cannot be a part of a name."),
        (
            "other-kind",
            brainlens.PluginError,
            "component 'toy': expected a result of kind response or embedding, found bold.v1.",
        ),
        ("array", brainlens.PluginError, "component 'toy': expected it to return an xarray.Dataset, found DataArray."),
    ],
)
def test_an_importer_that_fails_leaves_nothing_behind(
    registry: brainlens.Registry, file: str, fault: str, error: type[Exception], text: str
) -> None:
    with refused(registry, error, text):
        registry.ingest("toy", "new", file=file, fault=fault)
    assert registry.list() == ["kept"]


@pytest.mark.parametrize("fault", ["never", "once"])
def test_values_that_cannot_be_read_while_they_are_stored_leave_nothing_behind(
    registry: brainlens.Registry, file: str, fault: str
) -> None:
    before = contents(registry)
    text = "component 'toy' .* failed while reading: BufferError: cannot be read any more"
    with pytest.raises(brainlens.PluginError, match=text):
        registry.ingest("toy", "new", file=file, fault=fault)
    assert registry.list() == ["kept"]
    # Of what was stored before it failed, an empty group remains at most.
    left = contents(registry).keys() - before.keys()
    assert left <= {"new/zarr.json"}
    registry.ingest("toy", "new", file=file)


def test_a_dataset_below_another_is_refused(registry: brainlens.Registry, file: str, plugin_folder: Any) -> None:
    nested = WORK.replace('"one": {"": response}', '"one": {"": response, "more/target": target}')
    host = brainlens.open(registry.path, host=_host_with(plugin_folder, nested), quiet=True)
    text = (
        "component 'nested': expected datasets side by side, found 'new/more/target' below 'new'. Nothing was stored."
    )
    with refused(registry, brainlens.PluginError, text):
        host.ingest("nested", "new", file=file, fault="one")


def _host_with(plugin_folder: Any, work: str) -> Any:
    hooks = HOOKS.replace('"toy"', '"nested"').replace('"toy.look"', '"nested.look"')
    plugin_folder.add("nested", hooks.replace("brainlens_toy", "brainlens_nested"), decoder=work)
    return plugin_folder.host()


def test_a_missing_file_is_refused_with_the_closest(registry: brainlens.Registry, file: str) -> None:
    wrong = str(Path(file).with_name("valves.npy"))
    hint = f"Closest in {str(Path(file).parent)!r}: 'values.npy'."
    text = f"file {wrong!r}: expected a file or folder, found nothing there. {hint}"
    with refused(registry, brainlens.RegistryError, text):
        registry.ingest("toy", "new", file=wrong)


def test_an_empty_path_is_not_the_current_folder(registry: brainlens.Registry) -> None:
    with refused(registry, brainlens.RegistryError, "file '': expected the path of a file or folder, found ''."):
        registry.ingest("toy", "new", file="")


def test_a_missing_parameter_is_refused(registry: brainlens.Registry) -> None:
    with refused(
        registry, brainlens.ParameterError, "toy: file: expected a value, found none. See 'brainlens plugins info"
    ):
        registry.ingest("toy", "new")


@pytest.mark.parametrize("name", ["", "/new", "new/..", None])
def test_a_bad_name_is_refused_before_reading(registry: brainlens.Registry, file: str, name: Any) -> None:
    with refused(registry, brainlens.RegistryError, "dataset name"):
        registry.ingest("toy", name, file=file)
    assert calls() == []


@pytest.mark.parametrize("more", [{"seed": 1}, {"recompute": True}, {"file": "another.npy"}])
def test_a_name_taken_by_something_else_is_refused_before_reading(
    registry: brainlens.Registry, tmp_path: Path, more: dict[str, Any]
) -> None:
    given = {"file": str(tmp_path / "kept.npy"), "fault": "one"}
    with refused(registry, brainlens.RegistryError, "dataset 'kept' exists"):
        registry.ingest("toy", "kept", **{**given, **more})
    assert calls() == []


def test_another_role_is_refused_with_its_verb(registry: brainlens.Registry) -> None:
    text = "component 'toy.look' is of role analysis, expected importer. Use 'brainlens compute toy.look'."
    with refused(registry, brainlens.PluginError, text):
        registry.ingest("toy.look", "new")
