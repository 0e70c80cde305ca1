"""The stamp on stored datasets: recipes that tell results apart, digests of sources, versions without imports."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import math
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field

import brainlens
from brainlens.context import Context
from brainlens.manifest import digest_of
from brainlens.provenance import (
    deciding_params,
    digest_source,
    library_versions,
    make_recipe,
    make_stamp,
    now,
    plain_params,
    stamp_put,
)
from brainlens.records import Checkpoint, Component, Entry


class Params(brainlens.Params):
    folder: Path = Field(Path("x"), description="Path.")
    bands: tuple[str, ...] = Field((), description="Names.")
    limit: float = Field(math.inf, description="No unit.")


COMPONENT = Component(
    name="toy.look", role="analysis", summary="Toy.", version="2", target="toy:look", params=Params, citations=("Toy",),
    checkpoints=(Checkpoint(id="weights", sha256="ab", size_bytes=3, licence="MIT"),),
)  # fmt: skip


def make_entry(name: str = "a", digest: str = "sha256:1") -> Entry:
    return Entry(
        name=name, kind="response", schema="response.v1", subject="s", component="put", plugin="brainlens",
        created="", digest=digest, size_bytes=1, dims={},
    )  # fmt: skip


class Alpha(brainlens.Params):
    """What the recipe below is of."""

    alpha: int = Field(1, description="Penalty, no unit.")
    n_workers: int = Field(0, description="Processes.")
    without_effect: ClassVar[frozenset[str]] = frozenset({"n_workers"})


def test_what_has_no_effect_is_not_in_the_recipe() -> None:
    assert deciding_params(Alpha(alpha=3, n_workers=4)) == {"alpha": 3}
    assert plain_params(Alpha(alpha=3, n_workers=4)) == {"alpha": 3, "n_workers": 4}


def recipe(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "params": {"alpha": 1},
        "inputs": {"response": [make_entry()]},
        "context": Context(seed=0, device="cpu"),
        "options": {"roi": "V1"},
        "sources": [{"sha256": "sha256:2", "path": "/raw"}],
    }
    given |= changes
    return make_recipe(COMPONENT, given.pop("params"), **given)


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"alpha": 2}},
        {"inputs": {"response": [make_entry(digest="sha256:9")]}},
        {"inputs": {"target": [make_entry()]}},
        {"inputs": {"response": [make_entry(), make_entry()]}},
        {"context": Context(seed=1, device="cpu")},
        {"context": Context(seed=0, device="cuda:0")},
        {"context": Context(seed=0, device="cpu", precision="float16")},
        {"options": {"roi": "V2"}},
        {"sources": [{"sha256": "sha256:3", "path": "/raw"}]},
    ],
)
def test_whatever_decides_the_numbers_changes_the_recipe(change: dict[str, Any]) -> None:
    assert digest_of(recipe(**change)) != digest_of(recipe())


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": {"response": [make_entry(name="copy")]}},
        {"sources": [{"sha256": "sha256:2", "path": "/moved"}]},
        {"options": {"roi": "V1", "split": None}},
        {"context": Context(seed=0, device="cpu", quiet=False)},
        {"context": Context(seed=0, device="cpu", scratch=Path("folder"))},
    ],
)
def test_names_and_places_do_not_change_the_recipe(change: dict[str, Any]) -> None:
    assert digest_of(recipe(**change)) == digest_of(recipe())


def test_another_gpu_of_the_same_machine_is_the_same_recipe() -> None:
    first, second = (recipe(context=Context(device=f"cuda:{number}")) for number in (0, 1))
    assert first == second


def test_parameters_become_plain_and_come_back() -> None:
    params = Params(folder=Path("raw/x"), bands=("V1", "V2"))
    plain = plain_params(params)
    assert plain == {"folder": "raw/x", "bands": ["V1", "V2"], "limit": "Infinity"}
    assert Params(**plain) == params
    digest_of(plain)


def test_a_stamp_says_everything() -> None:
    stamp = make_stamp(
        recipe(), COMPONENT, params=Alpha(alpha=1), origin=("acme-toy", "1.2"), inputs={"response": [make_entry()]},
        sources=[{"sha256": "sha256:2", "path": "/raw"}], wall_s=1.23456,
    )  # fmt: skip
    expected = {
        "component": "toy.look",
        "component_version": "2",
        "params": {"alpha": 1, "n_workers": 0},
        "options": {"roi": "V1"},
        "seed": 0,
        "device": "cpu",
        "precision": "float32",
        "recipe": digest_of(recipe()),
        "brainlens_version": brainlens.__version__,
        "plugin": "toy",
        "plugin_distribution": "acme-toy",
        "plugin_version": "1.2",
        "inputs": {"response": [{"name": "a", "digest": "sha256:1"}]},
        "sources": [{"sha256": "sha256:2", "path": "/raw"}],
        "checkpoints": [{"id": "weights", "sha256": "ab", "licence": "MIT"}],
        "citations": ["Toy"],
        "wall_s": 1.235,
    }
    assert {key: stamp[key] for key in expected} == expected
    assert set(stamp) - set(expected) == {"created", "libraries"}


def test_what_the_user_stored_is_stamped_too() -> None:
    stamp = stamp_put()
    assert (stamp["component"], stamp["plugin"]) == ("put", "brainlens")
    assert stamp["libraries"]["numpy"] == importlib.metadata.version("numpy")


def test_a_file_is_digested_with_its_full_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.npy").write_bytes(b"abc")
    monkeypatch.chdir(tmp_path)
    expected = f"sha256:{hashlib.sha256(b'abc').hexdigest()}"
    assert digest_source(Path("a.npy")) == {"path": str(tmp_path / "a.npy"), "size_bytes": 3, "sha256": expected}


def test_a_folder_is_digested_with_the_names_of_its_files(tmp_path: Path) -> None:
    for folder, name in (("one", "a"), ("two", "a"), ("three", "b")):
        (tmp_path / folder / "deep").mkdir(parents=True)
        (tmp_path / folder / "deep" / name).write_bytes(b"abc")
    one, two, three = (digest_source(tmp_path / folder) for folder in ("one", "two", "three"))
    assert one["sha256"] == two["sha256"] != three["sha256"]
    assert (one["n_files"], one["size_bytes"]) == (1, 3)


def test_versions_are_found_without_importing() -> None:
    script = (
        "import sys; from brainlens.provenance import library_versions; v = library_versions(); "
        "print('numpy' in v, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_versions_name_only_what_is_installed() -> None:
    installed = {item.metadata["Name"].lower() for item in importlib.metadata.distributions()}
    assert set(library_versions()) <= {name.replace("_", "-") for name in installed} | installed


def test_times_are_utc_to_the_second() -> None:
    time = datetime.datetime.fromisoformat(now())
    assert time.utcoffset() == datetime.timedelta(0)
    assert time.microsecond == 0
