"""The command line: every verb, exit codes, where messages go, JSON, and that listing imports nothing heavy."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result

import brainlens
from brainlens import plugins
from brainlens.cli import main

HEAVY = ("numpy", "zarr", "xarray", "pandas", "torch", "sklearn", "scipy", "matplotlib", "jsonschema", "h5py")

HOOKS = """
from pathlib import Path
from typing import Literal

import brainlens
from pydantic import Field


class FileParams(brainlens.Params):
    file: Path = Field(description="Path of a .npy file.")
    subject: str = Field("subj01", description="Person scanned.")


class LookParams(brainlens.Params):
    limits: tuple[float, ...] = Field((0.5, 1.0), description="Limits, no unit.")
    mode: Literal["mean", "max"] = Field("mean", description="Which.")
    absolute: bool = Field(False, description="Whether signs are dropped.")
    ctx: int | None = Field(None, description="A name that the command line uses inside.")


class TextParams(brainlens.Params):
    digits: tuple[int, ...] = Field((3,), description="Digits behind the point, no unit.")


class RidgeParams(brainlens.Params):
    penalty: float = Field(1.0, gt=0, description="No unit.")


def component(name, role, target, **more):
    return brainlens.Component(
        name=name, role=role, summary=f"Toy {role}.", version="1", target=f"brainlens_toy_decoder:{target}", **more
    )


@brainlens.hookimpl
def brainlens_components():
    return [
        component("toy", "importer", "read", params=FileParams),
        component("toy.ridge", "decoder", "Ridge", params=RidgeParams),
        component("toy.shared", "decoder", "Shared", inputs={"response": brainlens.Input("response", many=True)}),
        component(
            "toy.look", "analysis", "look", params=LookParams, citations=("Toy (2020)",), output=("score",),
            inputs={"first": "response", "others": brainlens.Input("response", optional=True, many=True)},
        ),
        component("toy.text", "exporter", "write", params=TextParams, suffixes=(".txt",)),
        component("toy.break", "analysis", "broken"),
    ]
"""

WORK = """
import numpy as np
import xarray as xr

import brainlens


def read(*, params, context):
    values = np.load(context.source(params.file))
    n = len(values)
    return {
        "response": xr.Dataset(
            {"response": (("trial", "voxel"), values)},
            {
                "trial": range(n), "voxel": range(values.shape[1]), "run": ("trial", [i // 3 for i in range(n)]),
                "stimulus_id": ("trial", [f"s{i % 3}" for i in range(n)]),
            },
            {"schema": "response.v1", "subject": params.subject, "units": "z"},
        ),
        "target": xr.Dataset(
            {"embedding": (("stimulus", "channel"), np.eye(3))}, {"stimulus": ["s0", "s1", "s2"]},
            {"schema": "embedding.v1", "model": "toy"},
        ),
    }


class Ridge(brainlens.Trainable):
    def fit(self, response, target):
        x = response["response"].values
        self.coef_ = np.linalg.solve(
            x.T @ x + self.params.penalty * np.eye(x.shape[1]), x.T @ target["embedding"].values
        )

    def start_from(self, state, model):
        self.coef_ = state["coef_"]

    def predict(self, response):
        return xr.Dataset({"embedding": (("trial", "channel"), response["response"].values @ self.coef_)})


class Shared(brainlens.Trainable):
    def fit(self, response, target):
        self.n_ = len(response)

    def predict(self, response):
        return xr.Dataset({"embedding": (("trial", "channel"), np.full((response.sizes["trial"], 3), self.n_ * 1.0))})


def look(first, others, *, params, context):
    values = first["response"].values
    context.log.info("looked at %d trials", len(values))
    context.log.debug("and so on")
    score = float(getattr(np, params.mode)(np.abs(values) if params.absolute else values))
    facts = [score, len(params.limits), -1 if params.ctx is None else params.ctx, len(others or ())]
    return xr.Dataset(
        {"score": ("metric", facts), "chance": ("metric", [0.0] * 4), "n": ("metric", [1] * 4)},
        {"metric": ["score", "limits", "ctx", "others"]},
        {"schema": "score.v1"},
    )


def write(dataset, target, *, params, context):
    target.write_text(f"{params.digits}")


def broken(*, params, context):
    raise ValueError("not today")
"""


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((9, 4))


@pytest.fixture
def here(tmp_path: Path, plugin_folder: Any, values: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a file to bring in and the toy plugin installed."""
    plugin_folder.add("toy", HOOKS, decoder=WORK)
    folder = tmp_path / "here"
    folder.mkdir()
    np.save(folder / "values.npy", values)
    monkeypatch.chdir(folder)
    return folder


def run(*args: str, code: int = 0, **more: Any) -> Result:
    result = CliRunner().invoke(main, ["--quiet", *args], **more)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def answer(*args: str) -> Any:
    return json.loads(run(*args).stdout)


@pytest.fixture
def study(here: Path) -> Path:
    run("ingest", "toy", "subj01", "--file", "values.npy")
    return here


def failed(result: Result) -> str:
    """Return the one message of a command that failed; nothing went to standard output."""
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    return result.stderr.removeprefix("Error: ").rstrip("\n")


# The verbs


@pytest.mark.parametrize("flag", ["-v", "--verbose"])
def test_what_components_log_is_shown_when_it_is_asked_for(study: Path, flag: str) -> None:
    look = ("compute", "toy.look", "--first", "subj01/response", "--mode")
    assert run(*look, "mean").stderr == ""
    assert run(flag, *look, "max").stderr == "looked at 9 trials\n"
    logger = logging.getLogger("brainlens")
    assert (logger.handlers, logger.level) == ([], logging.NOTSET)


def test_ingest_prints_what_it_stored(here: Path, values: np.ndarray) -> None:
    assert run("ingest", "toy", "subj01", "--file", "values.npy").stdout == "subj01/response\nsubj01/target\n"
    stored = brainlens.open("study.zarr")["subj01/response"]
    np.testing.assert_array_equal(stored["response"].values, values)


def test_list_shows_names_kinds_and_sizes(study: Path) -> None:
    header, *rows = run("list").stdout.splitlines()
    assert header.split() == ["name", "kind", "subject", "size", "created"]
    assert [row.split()[:3] for row in rows] == [
        ["subj01/response", "response", "subj01"],
        ["subj01/target", "embedding", rows[1].split()[2]],
    ]
    (only,) = answer("list", "subj01/r", "--json")
    assert only.keys() == {"name", "kind", "subject", "size_bytes", "created"}
    assert only["name"] == "subj01/response"


def test_query_takes_conditions(study: Path) -> None:
    (entry,) = answer("query", "--kind", "response", "--plugin", "toy", "--json")
    assert (entry["name"], entry["dims"]) == ("subj01/response", {"trial": 9, "voxel": 4})
    assert "subj01/response" in run("query", "--subject", "subj01").stdout
    assert run("query", "--component", "linear").stdout == ""


def test_fit_predict_and_cross_predict(study: Path) -> None:
    inputs = ("--response", "subj01/response", "--target", "subj01/target")
    assert run("fit", "toy.ridge", *inputs, "--name", "m", "--penalty", "2", "--device", "cpu").stdout == "m\n"
    assert run("predict", "m", "--response", "subj01/response", "--name", "d").stdout == "d\n"
    crossed = run("cross-predict", "toy.ridge", *inputs, "--leave-out", "run", "--average", "stimulus_id, run")
    registry = brainlens.open("study.zarr")
    assert registry.show("m")["provenance"]["params"] == {"penalty": 2.0}
    assert registry["d"].sizes["trial"] == 9
    made = registry.show(crossed.stdout.strip())["provenance"]
    assert made["options"]["average"] == ["stimulus_id", "run"]
    assert made["options"]["leave_out"] == "run"


@pytest.mark.parametrize(
    "responses",
    [
        ("--response", "subj01/response", "--response", "subj02/response"),
        ("--response", "subj01/response, subj02/response"),
    ],
)
def test_several_responses_are_given_by_one_option_or_by_several(study: Path, responses: tuple[str, ...]) -> None:
    run("ingest", "toy", "subj02", "--file", "values.npy", "--subject", "subj02")
    run("fit", "toy.shared", *responses, "--target", "subj01/target", "--name", "m")
    assert set(brainlens.open("study.zarr")["m"]["subject"].values.tolist()) == {"subj01", "subj02"}
    decoded = run("predict", "m", "--response", "subj02/response").stdout.strip()
    assert (brainlens.open("study.zarr")[decoded]["embedding"].values == 2).all()


def test_fit_starts_from_a_model(study: Path) -> None:
    inputs = ("--response", "subj01/response", "--target", "subj01/target")
    run("fit", "toy.ridge", *inputs, "--name", "m")
    assert run("fit", "toy.ridge", *inputs, "--name", "n", "--start", "m").stdout == "n\n"
    assert brainlens.open("study.zarr").show("n")["provenance"]["inputs"]["start"][0]["name"] == "m"


def test_folds_are_counted(study: Path) -> None:
    inputs = ("--response", "subj01/response", "--target", "subj01/target", "--name", "d")
    run("cross-predict", "toy.ridge", *inputs, "--leave-out", "stimulus_id", "--n-folds", "2")
    assert set(brainlens.open("study.zarr")["d"]["fold"].values.tolist()) == {"fold 1", "fold 2"}


def test_decoders_of_folds_predict_another_part_as_well(study: Path) -> None:
    registry = brainlens.open("study.zarr")
    registry.put("split", brainlens.split_trials(registry["subj01/response"], test=0.4))
    inputs = ("--response", "split", "--target", "subj01/target", "--name", "d", "--split", "train")
    folds = ("--leave-out", "stimulus_id", "--n-folds", "2", "--average-predicted", "stimulus_id")
    run("cross-predict", "toy.ridge", *inputs, *folds, "--also", "test")
    assert set(registry["d"]["fold"].values.tolist()) == {"fold 1", "fold 2", "all"}


def test_compute_reads_every_type_of_parameter(study: Path, values: np.ndarray) -> None:
    run("compute", "toy.look", "--first", "subj01/response", "--name", "plain")
    options = ("--limits", "1,2,3", "--mode", "max", "--absolute", "yes", "--ctx", "7")
    others = ("--others", "subj01/response, subj01/response")
    run("compute", "toy.look", "--first", "subj01/response", *options, *others, "--name", "full")
    registry = brainlens.open("study.zarr")
    np.testing.assert_allclose(registry["plain"]["score"].values, [values.mean(), 2, -1, 0])
    np.testing.assert_allclose(registry["full"]["score"].values, [np.abs(values).max(), 3, 7, 2])


def test_python_and_command_line_have_the_same_recipe(study: Path) -> None:
    name = run("compute", "toy.look", "--first", "subj01/response", "--limits", "0.5,1", "--seed", "3").stdout.strip()
    registry = brainlens.open("study.zarr")
    assert registry.compute("toy.look", first="subj01/response", seed=3) == name


def test_show_describes_a_dataset(study: Path) -> None:
    text = run("show", "subj01/response").stdout
    assert re.search(r"response +\(trial, voxel\) float64", text)
    assert "component: toy\n" in text
    assert "plugin_distribution: acme-toy\n" in text
    assert '"file": "values.npy"' in text
    assert answer("show", "subj01/response", "--json")["schema"] == "response.v1"


def test_show_prints_the_tree_down_to_the_files(study: Path) -> None:
    run("compute", "toy.look", "--first", "subj01/response", "--name", "s")
    lines = run("show", "s", "--lineage").stdout.splitlines()
    assert re.fullmatch(r"s  toy\.look  sha256:[0-9a-f]{12}", lines[0])
    assert re.fullmatch(r"    subj01/response  toy  sha256:[0-9a-f]{12}", lines[1])
    assert re.fullmatch(rf"        {re.escape(str(study / 'values.npy'))}  sha256:[0-9a-f]{{12}}", lines[2])
    assert answer("show", "s", "--lineage", "--json")["inputs"][0]["name"] == "subj01/response"


def test_verify_counts_and_finds_damage(study: Path) -> None:
    assert run("verify").stdout == "2 datasets verified, no byte differs.\n"
    assert run("verify", "subj01/target").stdout == "1 dataset verified, no byte differs.\n"
    file = study / "study.zarr" / "subj01" / "target" / "zarr.json"
    file.write_bytes(file.read_bytes() + b" ")
    assert "zarr.json: expected" in failed(run("verify", code=1))


@pytest.mark.parametrize("ending", ["zarr", "nc"])
def test_put_stores_a_file(study: Path, ending: str) -> None:
    dataset = brainlens.open("study.zarr")["subj01/response"].load().drop_encoding()
    dataset.to_zarr("new.zarr", zarr_format=3, consolidated=False) if ending == "zarr" else dataset.to_netcdf("new.nc")
    assert run("put", "copy", f"new.{ending}", "--schema", "response").stdout == "copy\n"
    xr.testing.assert_equal(brainlens.open("study.zarr")["copy"].load(), dataset)


def test_put_refuses_what_is_no_dataset(study: Path) -> None:
    (study / "folder").mkdir()
    assert failed(run("put", "x", "none.zarr", code=1)).startswith(
        "file 'none.zarr': expected a Zarr folder or NetCDF file"
    )
    for name in ("values.npy", "folder"):
        assert "expected a Zarr folder or NetCDF file, found something else" in failed(run("put", "x", name, code=1))
    assert "x" not in brainlens.open("study.zarr")


def test_remove_asks_first(study: Path) -> None:
    run("remove", "subj01/target", input="n\n", code=1)
    assert len(answer("list", "--json")) == 2
    assert "removed subj01/target\n" in run("remove", "subj01/target", input="y\n").stdout
    assert run("remove", "subj01/response", "--yes").stdout == "removed subj01/response\n"
    assert run("list").stdout == ""


def test_export_reads_the_exporters_parameters(study: Path) -> None:
    assert run("export", "subj01/response", "a.txt").stdout == f"{study / 'a.txt'}\n"
    run("export", "subj01/response", "b.txt", "--digits", "1,2", "--exporter", "toy.text")
    run("export", "subj01/response", "c.txt", "--digits=5")
    assert [(study / f"{name}.txt").read_text() for name in "abc"] == ["(3,)", "(1, 2)", "(5,)"]
    run("export", "subj01/response", "d.zarr")
    there = failed(run("export", "subj01/response", "c.txt", code=1))
    assert there.endswith("Choose another path, remove it, or overwrite it with overwrite=True (--overwrite).")
    run("export", "subj01/response", "c.txt", "--overwrite", "--digits", "7")
    assert (study / "c.txt").read_text() == "(7,)"
    assert xr.open_zarr("d.zarr", chunks=None).sizes == {"trial": 9, "voxel": 4}


def test_one_value_that_does_not_fit_is_one_problem(study: Path) -> None:
    look = ("compute", "toy.look", "--first", "subj01/response", "--limits")
    assert failed(run(*look, "ten", code=2)) == (
        "toy.look: limits.0: expected a valid number, unable to parse string as a number, found 'ten'. See 'brainlens "
        "plugins info toy.look'."
    )
    assert run(*look, "10").stdout


def test_the_doctor_names_what_it_tries(here: Path, plugin_folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    host, every = plugin_folder.host(), plugins.PluginHost
    monkeypatch.setattr(plugins, "PluginHost", lambda *points: every(*points) if points else host)
    loud = CliRunner().invoke(main, ["doctor"])
    assert loud.stderr == "trying toy.ridge\ntrying toy.shared\n"
    assert "    toy.ridge: ok" in loud.stdout.splitlines()
    quiet = CliRunner().invoke(main, ["-q", "doctor"])
    assert (quiet.stderr, quiet.stdout) == ("", loud.stdout)


def test_rois_are_listed(study: Path) -> None:
    dataset = brainlens.open("study.zarr")["subj01/response"].load()
    mask = xr.DataArray([[True, True, False, False]], dims=("roi", "voxel"), coords={"roi": ["V1"]})
    brainlens.open("study.zarr").put("with-rois", dataset.assign(roi_mask=mask))
    assert run("rois", "with-rois").stdout.split() == ["roi", "sites", "V1", "2"]
    assert answer("rois", "with-rois", "--json") == {"V1": 2}
    without = run("rois", "subj01/response")
    assert without.stdout == ""
    assert without.stderr == (
        "'subj01/response' has no ROIs: no variable 'roi_mask' (roi, voxel) and no coordinate 'hemisphere' (voxel).\n"
    )
    assert answer("rois", "subj01/response", "--json") == {}


def test_schemas_are_listed_and_printed() -> None:
    assert "response.v1" in run("schemas").stdout
    assert "response.v1" in answer("schemas", "--json")
    assert answer("schemas", "response")["$id"] == "brainlens:response.v1"
    assert failed(run("schemas", "respons", code=1)).startswith("no schema 'respons'. Closest: 'response.v1'.")


def test_reindex_counts(study: Path) -> None:
    (study / "study.zarr" / ".brainlens" / "index.sqlite").write_bytes(b"nonsense")
    assert run("reindex").stdout == "2 datasets indexed.\n"
    assert len(answer("list", "--json")) == 2


def test_demo_and_report_are_commands() -> None:
    assert {"demo", "report", "doctor", "plugins"} <= set(main.commands)


def test_plugins_are_listed_and_described(here: Path) -> None:
    (toy,) = [item for item in answer("plugins", "list", "--json") if item["name"] == "toy"]
    assert (toy["distribution"], toy["version"], toy["state"], len(toy["components"])) == (
        "acme-toy",
        "1.0",
        "loaded",
        6,
    )
    assert "Toy (2020)" in run("plugins", "info", "toy.look").stdout


# Which registry


def test_the_registry_is_named_before_or_after_the_verb_or_in_the_environment(here: Path) -> None:
    where = str(here / "other.zarr")
    run("ingest", "toy", "a", "--file", "values.npy", "--registry", where)
    for command in (
        ["--registry", where, "list"],
        ["list", "--registry", where],
        ["-r", where, "list"],
        ["list", "-r", where],
    ):
        assert "a/response" in run(*command).stdout
    assert "a/response" in run("list", env={"BRAINLENS_REGISTRY": where}).stdout
    assert not (here / "study.zarr").exists()


def test_an_option_comes_before_the_environment(study: Path) -> None:
    found = run("list", "-r", str(study / "study.zarr"), env={"BRAINLENS_REGISTRY": "nowhere.zarr"})
    assert "subj01/response" in found.stdout


def test_a_url_of_a_folder_is_that_folder(study: Path) -> None:
    assert "subj01/response" in run("list", "-r", f"file://{study / 'study.zarr'}").stdout


@pytest.mark.parametrize(
    "command", [["list"], ["query"], ["show", "a"], ["verify"], ["rois", "a"], ["reindex"], ["remove", "a"]]
)
def test_a_registry_that_is_not_there_is_said_to_be_missing(here: Path, command: list[str]) -> None:
    text = failed(run(*command, code=1))
    assert re.match(r"registry 'study.zarr': expected a (registry|folder), found nothing. ", text)
    assert os.listdir(here) == ["values.npy"]


@pytest.mark.parametrize("command", [["list"], ["reindex"], ["query"]])
def test_a_folder_of_other_things_is_no_registry(here: Path, command: list[str]) -> None:
    text = failed(run(*command, "-r", str(here), code=1))
    assert text.startswith(
        f"registry {str(here)!r}: expected an empty folder or a registry, found a folder of other things."
    )


def test_a_file_is_no_registry(here: Path) -> None:
    text = failed(run("list", "-r", "values.npy", code=1))
    assert text.startswith("registry 'values.npy': expected a folder, found a file.")


def test_a_url_has_no_index(here: Path) -> None:
    text = failed(run("reindex", "-r", "s3://bucket/study.zarr", code=1))
    assert text == "registry 's3://bucket/study.zarr': expected a folder, found a URL, which has no index."


# Failures


def test_what_a_component_raises_is_one_message(study: Path) -> None:
    text = failed(run("compute", "toy.break", code=1))
    assert text.startswith("component 'toy.break' (acme-toy 1.0) failed while computing: ValueError: not today (")
    assert "Traceback" not in text


LOOK = ["compute", "toy.look", "--first", "subj01/response"]


@pytest.mark.parametrize(
    ("command", "code", "text"),
    [
        (["compute", "toy.lok"], 1, "no analysis or embedder or generator 'toy.lok'. Closest: 'toy.look'."),
        (["fit", "toy"], 1, "component 'toy' is of role importer, expected decoder or encoder. Use 'brainlens ingest"),
        (["compute", "toy.look"], 2, "toy.look: missing input 'first', the name of a stored response;"),
        (["compute", "toy.look", "--first", "subj01/respons"], 1, "no dataset 'subj01/respons' in "),
        ([*LOOK, "--mode", "min"], 2, "toy.look: mode: expected 'mean' or 'max', found 'min'."),
        ([*LOOK, "--limits", "a,2"], 2, "toy.look: limits.0: expected a valid number"),
        ([*LOOK, "--limits", "[1,"], 2, "limits: expected values separated by commas, or JSON"),
        ([*LOOK, "--name", "../x"], 1, "dataset name '../x': "),
        ([*LOOK, "--name", ""], 1, "dataset name: expected text, found ''."),
        (["show", "subj1/response"], 1, "no dataset 'subj1/response' in "),
        (["predict", "subj01/target", "--response", "subj01/response"], 1, "predict: expected the name of a model"),
        (["export", "subj01/response", "a.text"], 1, "export to 'a.text': no exporter writes that ending."),
        (["export", "subj01/response", "a.txt", "more"], 2, "expected an option such as --name value, found 'more'."),
        (["export", "subj01/response", "a.txt", "--digit", "3"], 2, "toy.text: unknown parameter 'digit'."),
        (["export", "subj01/response", "a.zarr", "--level", "3"], 2, "export to Zarr: unknown parameter 'level'."),
        (["ingest", "toy", "x", "--file", "value.npy"], 1, "file 'value.npy': expected a file or folder"),
        (["ingest", "toy", "x"], 2, "toy: file: expected a value, found none."),
        (["ingest", "toy", "subj01/response", "--file", "values.npy"], 1, "dataset name 'subj01/response/response': "),
    ],
)  # fmt: skip
def test_failures_are_one_message_on_standard_error(study: Path, command: list[str], code: int, text: str) -> None:
    before = answer("list", "--json")
    assert failed(run(*command, code=code)).startswith(text)
    assert answer("list", "--json") == before


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["lst"], "Error: no command 'lst'. Closest: 'list'."),
        (["plugins", "lst"], "Error: no command 'lst'. Closest: 'list'."),
        (["list", "--jsn"], "Error: No such option"),
        (["show"], "Error: Missing argument 'NAME'."),
        (["compute", "toy.look", "--modus", "max"], "Error: No such option"),
        (["compute", "toy.look", "--seed", "x"], "Error: Invalid value for '--seed'"),
        (["cross-predict", "toy.ridge"], "Error: Missing option '--leave-out'"),
        (["predict"], "Error: Missing argument 'MODEL'"),
    ],
)
def test_wrong_usage_is_exit_code_2(here: Path, command: list[str], text: str) -> None:
    result = run(*command, code=2)
    assert result.stdout == ""
    assert text in result.stderr


def test_a_broken_plugin_is_named_and_stops_no_other(here: Path, plugin_folder: Any) -> None:
    plugin_folder.add("torn", "import no_such_module")
    assert failed(run("compute", "torn", code=1)).startswith("plugin 'torn' (acme-torn 1.0) failed to load: ")
    assert "toy.look" in run("compute", "--help").stdout
    run("plugins", "list", "--strict", code=1)


# Help


def commands() -> list[list[str]]:
    found: list[list[str]] = [[]]
    for name, command in main.commands.items():
        found.append([name])
        if isinstance(command, click.Group) and hasattr(command, "commands"):
            found += [[name, inner] for inner in command.commands]
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_explains_itself(command: list[str]) -> None:
    for flag in ("--help", "-h"):
        result = run(*command, flag)
        assert result.stdout.startswith(f"Usage: main {' '.join(command)}".rstrip())
        assert len(result.stdout.splitlines()) > 3


def test_the_help_of_a_component_has_its_inputs_and_parameters(here: Path) -> None:
    text = " ".join(run("compute", "toy.look", "--help").stdout.split())
    assert "Toy analysis." in text
    assert "--first TEXT Name of a stored response." in text
    several = "several separated by commas, or the option several times."
    assert f"--others TEXT Name of a stored response, {several} [optional]" in text
    assert "--limits VALUES Limits, no unit. [default: 0.5,1]" in text
    assert "--mode [mean|max] Which. [default: mean]" in text
    assert "--absolute BOOL Whether signs are dropped. [default: False]" in text
    assert "--ctx INT A name that the command line uses inside. [default: none]" in text
    assert "--device" not in text


def test_help_of_verbs_lists_components_of_their_roles_only(here: Path) -> None:
    listed = {verb: run(verb, "--help").stdout for verb in ("ingest", "fit", "cross-predict", "compute")}
    assert "toy.ridge" in listed["fit"]
    assert "toy.ridge" in listed["cross-predict"]
    assert "toy.look" not in listed["fit"]
    assert "toy.look" in listed["compute"]
    assert "Toy importer." in listed["ingest"]


def test_the_version_is_printed() -> None:
    assert run("--version").stdout == f"brainlens, version {brainlens.__version__}\n"


# A process of its own


def shell(
    *args: str, cwd: Path, code: str = "from brainlens.cli import main; main()"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False, cwd=cwd, env=dict(os.environ)
    )


@pytest.fixture
def process_study(study: Path, plugin_folder: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(plugin_folder.path))
    return study


def test_exit_codes_reach_the_shell(process_study: Path) -> None:
    done = {args: shell(*args, cwd=process_study) for args in (("list",), ("show", "nothing"), ("lst",))}
    assert [item.returncode for item in done.values()] == [0, 1, 2]
    assert done["list",].stdout.count("\n") == 3
    assert done["show", "nothing"].stdout == ""
    assert done["show", "nothing"].stderr.startswith("Error: no dataset 'nothing' in ")


def test_computing_in_a_process_prints_the_name_alone(process_study: Path) -> None:
    done = shell("compute", "toy.look", "--first", "subj01/response", "--name", "s", cwd=process_study)
    assert (done.returncode, done.stdout, done.stderr) == (0, "s\n", "")


def test_a_process_says_what_is_stored_already_unless_it_is_quiet(process_study: Path) -> None:
    look = ("compute", "toy.look", "--first", "subj01/response", "--name", "s")
    run(*look)
    created = answer("show", "s", "--json")["provenance"]["created"]
    done = shell(*look, cwd=process_study)
    said = f"found stored result 's' of {created}; another name makes it again.\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, "s\n", said)
    assert shell("--quiet", *look, cwd=process_study).stderr == ""


def test_recompute_prints_the_new_name(study: Path) -> None:
    look = ("compute", "toy.look", "--first", "subj01/response")
    first = run(*look).stdout.strip()
    assert run(*look, "--recompute").stdout == run(*look).stdout == f"{first}-2\n"


def test_json_of_a_process_parses(process_study: Path) -> None:
    done = shell("list", "--json", cwd=process_study)
    assert [item["name"] for item in json.loads(done.stdout)] == ["subj01/response", "subj01/target"]


def imported(*args: str, cwd: Path, before: str = "") -> set[str]:
    """Return the heavy modules that a command has imported when it ends."""
    code = f"""
import sys
{before}
from brainlens.cli import main
try:
    main()
finally:
    print(*sys.modules, sep=",", file=sys.stderr)
"""
    done = shell(*args, cwd=cwd, code=code)
    assert done.returncode == 0, done.stderr
    return set(HEAVY) & set(done.stderr.splitlines()[-1].split(","))


@pytest.mark.parametrize(
    "args", [("--help",), ("list",), ("list", "--json"), ("--version",), ("show", "--help"), ("reindex", "--help")]
)
def test_help_and_list_import_nothing_heavy(process_study: Path, args: tuple[str, ...]) -> None:
    assert imported(*args, cwd=process_study) == set()


def test_describing_plugins_imports_no_torch(process_study: Path) -> None:
    for args in (("plugins", "list"), ("fit", "--help")):
        assert imported(*args, cwd=process_study) & {"torch", "sklearn", "matplotlib"} == set()


def test_the_check_of_imports_can_fail(process_study: Path) -> None:
    assert "numpy" in imported("list", cwd=process_study, before="import numpy")
    assert {"numpy", "xarray", "zarr"} <= imported("show", "subj01/response", cwd=process_study)
