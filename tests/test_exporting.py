"""Taking datasets out: what arrives, and that nothing is overwritten, half written, or written into the registry."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import load_file

import brainlens
from brainlens.exporting import find_exporter, staged_target

HOOKS = """
import brainlens
from pydantic import Field


class Params(brainlens.Params):
    fault: str = Field("", description="Which.")
    digits: tuple[int, ...] = Field((3,), description="Digits behind the point, no unit.")


def exporter(name, *suffixes):
    return brainlens.Component(
        name=name, role="exporter", summary="Toy.", version="1", target="brainlens_toy_decoder:write",
        params=Params, suffixes=suffixes,
    )


@brainlens.hookimpl
def brainlens_components():
    return [
        exporter("toy.text", ".txt", ".toy.txt"),
        exporter("toy.table", ".csv"),
        exporter("toy.sheet", ".csv"),
        exporter("toy.any"),
        brainlens.Component(
            name="toy.look", role="analysis", summary="Toy.", version="1", target="brainlens_toy_decoder:write"
        ),
    ]
"""

WORK = """
def write(dataset, target, *, params, context):
    if params.fault == "nothing":
        return
    if params.fault == "folder":
        target.mkdir()
        (target / "inside").write_text("x")
        return
    target.write_text(f"{sorted(dataset.data_vars)} {params.digits}")
    if params.fault == "beside":
        target.with_suffix(".json").write_text("about it")
    if params.fault == "stray":
        target.with_name("stray.json").write_text("about what")
    if params.fault == "raise":
        raise ValueError("row 3")
    if params.fault == "elsewhere":
        target.rename(target.with_name("other.txt"))
"""


def make_response() -> xr.Dataset:
    values = np.random.default_rng(0).standard_normal((6, 4), dtype=np.float32)
    return xr.Dataset(
        {"response": (("trial", "voxel"), values)},
        {"trial": range(6), "voxel": range(4), "stimulus_id": ("trial", list("aabbcc"))},
        {"schema": "response.v1", "subject": "subj01", "units": "z"},
    )


@pytest.fixture
def registry(tmp_path: Path, plugin_folder: Any) -> brainlens.Registry:
    plugin_folder.add("toy", HOOKS, decoder=WORK)
    plugin_folder.add("mean")
    made = brainlens.open(tmp_path / "study.zarr", host=plugin_folder.host(), quiet=True)
    made.put("a", make_response())
    return made


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def contents(folder: str | Path) -> dict[str, str]:
    """Digest every file of a folder but a registry's cache."""
    kept = [path for path in Path(folder).rglob("*") if path.is_file() and path.name != "lock"]
    kept = [path for path in kept if "index.sqlite" not in path.name]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


@contextlib.contextmanager
def refused(registry: brainlens.Registry, out: Path, error: type[Exception], text: str) -> Iterator[None]:
    """Expect one error whose text begins so, nothing stored or changed, and nothing left where it was to go."""
    before = contents(registry.path), contents(out), sorted(os.listdir(out))
    with pytest.raises(error, match=f"^{re.escape(text)}") as caught:
        yield
    assert type(caught.value) is error
    assert (contents(registry.path), contents(out), sorted(os.listdir(out))) == before


def test_zarr_needs_no_plugin_and_reads_as_it_was(registry: brainlens.Registry, out: Path) -> None:
    target = registry.export("a", out / "a.zarr")
    plain = xr.open_zarr(target, chunks=None)
    np.testing.assert_array_equal(plain["response"].values, make_response()["response"].values)
    assert plain["stimulus_id"].values.tolist() == list("aabbcc")
    assert plain.attrs["schema"] == "response.v1"
    assert json.loads(plain.attrs["provenance"])["component"] == "put"
    assert os.listdir(out) == ["a.zarr"]


def test_a_process_without_brainlens_reads_the_export(registry: brainlens.Registry, out: Path) -> None:
    target = registry.export("a", out / "a.zarr")
    script = (
        "import sys; sys.modules['brainlens'] = None; import xarray as xr; from scipy.stats import ttest_1samp; "
        "d = xr.open_zarr(sys.argv[1], chunks=None); print(ttest_1samp(d['response'].values.ravel(), 0).pvalue)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(target)], capture_output=True, text=True, check=True, cwd=out
    )
    assert 0 < float(done.stdout) < 1


def test_an_export_can_be_stored_again(registry: brainlens.Registry, out: Path) -> None:
    target = registry.export("a", out / "a.zarr")
    registry.put("again", xr.open_zarr(target, chunks=None))
    assert registry.show("again")["digest"] == registry.show("a")["digest"]


def test_a_model_takes_its_weights_along(registry: brainlens.Registry, out: Path) -> None:
    target = xr.Dataset(
        {"embedding": (("stimulus", "channel"), np.eye(3))}, {"stimulus": list("abc")},
        {"schema": "embedding.v1", "model": "toy"},
    )  # fmt: skip
    registry.put("target", target)
    registry.fit("mean", response="a", target="target", name="m", device="cpu")
    written = registry.export("m", out / "m.zarr")
    expected = (Path(registry.path) / "m" / "weights.safetensors").read_bytes()
    assert (written / "weights.safetensors").read_bytes() == expected
    assert xr.open_zarr(written, chunks=None).attrs["weights_sha256"] == hashlib.sha256(expected).hexdigest()
    # An exporter gets what was learnt beside the labels.
    learnt = sorted(set(load_file(written / "weights.safetensors")))
    text = registry.export("m", out / "m.toy.txt").read_text()
    assert learnt
    assert all(repr(name) in text for name in learnt)


def test_the_longest_ending_chooses_the_exporter(registry: brainlens.Registry) -> None:
    host = registry.plugins
    assert find_exporter(host, Path("a.toy.txt")).name == "toy.text"  # type: ignore[union-attr]
    assert find_exporter(host, Path("a.zarr")) is None


def test_an_exporter_gets_its_parameters(registry: brainlens.Registry, out: Path) -> None:
    assert registry.export("a", out / "a.txt", digits=(1, 2)).read_text() == "['response'] (1, 2)"


def test_an_exporter_may_write_a_folder(registry: brainlens.Registry, out: Path) -> None:
    assert contents(registry.export("a", out / "a.txt", fault="folder")).keys() == {"inside"}


def test_an_exporter_without_endings_writes_what_it_is_asked_for(registry: brainlens.Registry, out: Path) -> None:
    assert registry.export("a", out / "a.anything", exporter="toy.any").is_file()


@pytest.mark.parametrize("name", ["a.zarr", "a.txt"])
@pytest.mark.parametrize("there", ["file", "folder", "dangling link"])
def test_nothing_is_overwritten(registry: brainlens.Registry, out: Path, name: str, there: str) -> None:
    target = out / name
    {
        "file": lambda: target.write_text("mine"),
        "folder": target.mkdir,
        "dangling link": lambda: target.symlink_to("x"),
    }[there]()
    text = (
        f"export to {str(target)!r}: something is there already. Choose another path, remove it, or overwrite it with "
        "overwrite=True (--overwrite)."
    )
    with refused(registry, out, brainlens.RegistryError, text):
        registry.export("a", target)


@pytest.mark.parametrize("name", ["a.zarr", "a.txt"])
def test_what_was_exported_before_is_overwritten_where_that_is_asked_for(
    registry: brainlens.Registry, out: Path, tmp_path: Path, name: str
) -> None:
    registry.put("b", make_response().isel(trial=slice(3)).assign(extra=3))
    (tmp_path / "expected").mkdir()
    registry.export("b", tmp_path / "expected" / name)
    registry.export("a", out / name)
    before = contents(out)
    assert registry.export("b", out / name, overwrite=True) == out / name
    assert contents(out) == contents(tmp_path / "expected") != before
    assert os.listdir(out) == [name]


def test_a_file_beside_is_overwritten_with_its_target(registry: brainlens.Registry, out: Path) -> None:
    for file in ("a.txt", "a.json"):
        (out / file).write_text("old")
    registry.export("a", out / "a.txt", fault="beside", overwrite=True)
    assert {path.name: path.read_text() for path in out.iterdir()} == {
        "a.txt": "['response'] (3,)",
        "a.json": "about it",
    }


def test_a_file_makes_room_for_a_folder(registry: brainlens.Registry, out: Path) -> None:
    (out / "a.txt").write_text("old")
    assert contents(registry.export("a", out / "a.txt", fault="folder", overwrite=True)).keys() == {"inside"}
    assert os.listdir(out) == ["a.txt"]


def make_zarr(folder: Path, attributes: dict[str, Any]) -> None:
    folder.mkdir()
    (folder / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}))


@pytest.mark.parametrize("there", ["folder", "link", "dangling link", "foreign", "other registry", "stored"])
def test_nothing_but_files_and_exports_is_overwritten(
    registry: brainlens.Registry, out: Path, tmp_path: Path, there: str
) -> None:
    target = out / ("r/a.zarr" if there == "stored" else "a.zarr")
    (tmp_path / "file").write_text("mine")
    {
        "folder": target.mkdir,
        "link": lambda: target.symlink_to(tmp_path / "file"),
        "dangling link": lambda: target.symlink_to("x"),
        "foreign": lambda: make_zarr(target, {"schema": "response.v1"}),
        "other registry": lambda: brainlens.open(target, quiet=True).put("x", make_response()),
        "stored": lambda: brainlens.open(out / "r", quiet=True).put("a.zarr", make_response()),
    }[there]()
    text = (
        f"export to {str(target)!r}: expected a file, or a Zarr folder that brainlens exported, to overwrite, found "
        "something else there. Choose another path, or remove it."
    )
    with refused(registry, out, brainlens.RegistryError, text):
        registry.export("a", target, overwrite=True)


def test_a_zarr_folder_of_either_format_is_known_by_its_provenance(registry: brainlens.Registry, out: Path) -> None:
    attributes = {"schema": "response.v1", "provenance": "{}"}
    make_zarr(out / "a.zarr", attributes)
    (out / "b.zarr").mkdir()
    (out / "b.zarr" / ".zattrs").write_text(json.dumps(attributes))
    for name in ("a.zarr", "b.zarr"):
        assert "response" in xr.open_zarr(registry.export("a", out / name, overwrite=True), chunks=None)
    assert not (out / "b.zarr" / ".zattrs").exists()


@pytest.mark.parametrize("name", ["a.zarr", "a.txt"])
def test_an_export_that_fails_leaves_what_it_was_to_overwrite(
    registry: brainlens.Registry, out: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    registry.put("b", make_response().isel(trial=slice(3)))
    registry.export("a", out / name)
    (out / "a.json").write_text("old")
    rename, failed = os.rename, []

    def full(source: Path, target: Path) -> None:
        # The new one does not get into place; the old one gets back.
        if Path(target) == out / name and not failed:
            failed.append(source)
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr("brainlens.exporting.os.rename", full)
    given = {"fault": "beside"} if name == "a.txt" else {}
    with refused(registry, out, brainlens.RegistryError, f"export to {str(out / name)!r}: cannot be written (No space"):
        registry.export("b", out / name, overwrite=True, **given)
    assert len(failed) == 1


def test_what_cannot_be_put_back_is_kept_aside(
    registry: brainlens.Registry, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.export("a", out / "a.txt")
    rename = os.rename

    def full(source: Path, target: Path) -> None:
        if Path(target) == out / "a.txt":
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr("brainlens.exporting.os.rename", full)
    with pytest.raises(brainlens.RegistryError, match="cannot be written"):
        registry.export("a", out / "a.txt", overwrite=True)
    (kept,) = out.glob(".a.txt.*/.*/a.txt")
    assert kept.read_text() == "['response'] (3,)"


@pytest.mark.parametrize("inside", ["a.zarr", "a/response.zarr", ".brainlens/a.zarr", "new.txt"])
def test_a_target_inside_the_registry_is_refused(registry: brainlens.Registry, out: Path, inside: str) -> None:
    target = Path(registry.path) / inside
    text = f"export to {str(target)!r}: expected a path outside the registry {registry.path!r}. Choose another path."
    with refused(registry, out, brainlens.RegistryError, text):
        registry.export("a", target)


def test_a_link_into_the_registry_is_refused(registry: brainlens.Registry, out: Path) -> None:
    (out / "link").symlink_to(registry.path, target_is_directory=True)
    with refused(
        registry, out, brainlens.RegistryError, f"export to {str(out / 'link' / 'a.zarr')!r}: expected a path out"
    ):
        registry.export("a", out / "link" / "a.zarr")


def test_a_folder_that_does_not_exist_is_refused(registry: brainlens.Registry, out: Path) -> None:
    target = out / "deeper" / "a.zarr"
    text = f"export to {str(target)!r}: expected the folder {str(target.parent)!r}, found none. Make it first."
    with refused(registry, out, brainlens.RegistryError, text):
        registry.export("a", target)


def test_an_unknown_ending_is_refused_with_the_closest(registry: brainlens.Registry, out: Path) -> None:
    known = "Endings: '.csv', '.toy.txt', '.txt', '.zarr'."
    text = f"export to 'a.text': no exporter writes that ending. Closest: '.txt'. {known}"
    with refused(registry, out, brainlens.RegistryError, text):
        registry.export("a", out / "a.text")


def test_an_ending_of_two_exporters_must_be_decided(registry: brainlens.Registry, out: Path) -> None:
    text = "export to 'a.csv': 'toy.sheet' and 'toy.table' write that ending. Say which with exporter=…."
    with refused(registry, out, brainlens.RegistryError, text):
        registry.export("a", out / "a.csv")
    assert registry.export("a", out / "a.csv", exporter="toy.sheet").is_file()


def test_an_ending_that_the_exporter_does_not_write_is_refused(registry: brainlens.Registry, out: Path) -> None:
    text = "export to 'a.csv': expected an ending that 'toy.text' writes, '.txt' or '.toy.txt'. Change the name"
    with refused(registry, out, brainlens.RegistryError, text):
        registry.export("a", out / "a.csv", exporter="toy.text")


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (
            {"fault": "raise"},
            brainlens.PluginError,
            "component 'toy.text' (acme-toy 1.0) failed while writing: ValueError: row 3 "
            "(brainlens_toy_decoder.py, line 15).",
        ),
        (
            {"fault": "nothing"},
            brainlens.PluginError,
            "component 'toy.text': expected it to write 'a.txt', found nothing written.",
        ),
        (
            {"fault": "elsewhere"},
            brainlens.PluginError,
            "component 'toy.text': expected it to write 'a.txt', found nothing written.",
        ),
        (
            {"fault": "stray"},
            brainlens.PluginError,
            "export to 'a.txt': expected files beside it that are called 'a.…', found 'stray.json' written. Name it",
        ),
        ({"digit": 1}, brainlens.ParameterError, "toy.text: unknown parameter 'digit'. Closest: 'digits'."),
        ({"digits": "x"}, brainlens.ParameterError, "toy.text: digits.0: expected a valid integer, unable to parse"),
        ({"exporter": "toy.tekst"}, brainlens.PluginError, "no exporter 'toy.tekst'. Closest: 'toy.text'."),
        (
            {"exporter": "toy.look"},
            brainlens.PluginError,
            "component 'toy.look' is of role analysis, expected exporter.",
        ),
    ],
)
def test_an_export_that_fails_leaves_nothing_behind(
    registry: brainlens.Registry, out: Path, given: dict[str, Any], error: type[Exception], text: str
) -> None:
    with refused(registry, out, error, text):
        registry.export("a", out / "a.txt", **given)


def test_what_was_written_beside_comes_along(registry: brainlens.Registry, out: Path) -> None:
    assert registry.export("a", out / "a.txt", fault="beside") == out / "a.txt"
    assert {path.name: path.read_text() for path in out.iterdir()} == {
        "a.txt": "['response'] (3,)",
        "a.json": "about it",
    }


def test_what_lies_beside_is_not_overwritten(registry: brainlens.Registry, out: Path) -> None:
    (out / "a.json").write_text("mine")
    text = (
        f"export to {str(out / 'a.txt')!r}: 'a.json' belongs to it, and is there already. Choose another path, remove "
        "it, or overwrite files with overwrite=True (--overwrite)."
    )
    with refused(registry, out, brainlens.RegistryError, text):
        registry.export("a", out / "a.txt", fault="beside")


def test_what_lies_beside_goes_where_the_target_cannot_be_moved(
    registry: brainlens.Registry, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(source: Path, target: Path) -> None:
        if Path(target).name == "a.txt":
            raise OSError(28, "No space left on device")
        Path(source).replace(target)

    monkeypatch.setattr("brainlens.exporting.os.rename", rename)
    with refused(registry, out, brainlens.RegistryError, f"export to {str(out / 'a.txt')!r}: cannot be written (No sp"):
        registry.export("a", out / "a.txt", fault="beside")


def test_zarr_takes_no_parameters(registry: brainlens.Registry, out: Path) -> None:
    with refused(registry, out, brainlens.ParameterError, "export to Zarr: unknown parameter 'level'. There is none."):
        registry.export("a", out / "a.zarr", level=3)


def test_a_dataset_that_is_not_stored_is_refused(registry: brainlens.Registry, out: Path) -> None:
    with refused(registry, out, brainlens.RegistryError, f"no dataset 'b' in {registry.path!r}."):
        registry.export("b", out / "b.zarr")


def test_damage_is_found_on_the_way_out(registry: brainlens.Registry, out: Path) -> None:
    chunk = next(
        path
        for path in (Path(registry.path) / "a" / "response").rglob("*")
        if path.name != "zarr.json" and path.is_file()
    )
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    before = os.listdir(out)
    with pytest.raises(Exception, match=r"(?i)checksum|crc|altered|content|frame"):
        registry.export("a", out / "a.zarr")
    assert os.listdir(out) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(registry: brainlens.Registry, out: Path) -> None:
    out.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with refused(registry, out, brainlens.RegistryError, f"export to {str(out / 'a.zarr')!r}: cannot be written ("):
            registry.export("a", out / "a.zarr")
    finally:
        out.chmod(stat.S_IRWXU)


def test_what_the_file_system_refuses_is_one_error(out: Path) -> None:
    with (
        pytest.raises(brainlens.RegistryError, match=r"export to '.*': cannot be written \(File name too long\)\."),
        staged_target(out / ("x" * 250)),
    ):
        pass
    assert os.listdir(out) == []


def test_something_that_appears_meanwhile_is_kept(out: Path) -> None:
    target = out / "a.txt"

    def write() -> None:
        with staged_target(target) as staged:
            staged.write_text("new")
            target.write_text("theirs")

    with pytest.raises(brainlens.RegistryError, match="something appeared there meanwhile"):
        write()
    assert target.read_text() == "theirs"
    assert os.listdir(out) == ["a.txt"]
