"""The two studies on real fMRI: their scores, controls and exports, and the transcripts in the documentation."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import signal, stats

import brainlens

ROOT = Path(__file__).parents[1]
DATA = ROOT / "../shared/data"
HAXBY = DATA / "haxby2001_pymvpa"
WITHIN = 0.03
REFERENCES = {"miyawaki": 0.888, "haxby": 0.646}
CHANCES = {"miyawaki": [0.1, 0.3, 0.5, 5.5], "haxby": [0.125, 0.375, 0.5, 4.5]}
STUDIES = ("miyawaki", "haxby")
NAMES = {
    "miyawaki": {"response": "v1/response", "target": "v1/stimuli", "decoded": "decoded/v1"},
    "haxby": {"response": "slice/response", "target": "slice/categories", "decoded": "decoded/slice"},
}

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs the real data in ../shared/data, which are not here")


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ModuleType]]:
    """The example scripts as modules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLCONFIGDIR", str(tmp_path_factory.mktemp("matplotlib")))
        patch.setattr(sys, "dont_write_bytecode", True)
        yield {name: _load(ROOT / f"examples/{name}.py") for name in STUDIES}


@pytest.fixture(scope="module")
def done(scripts: dict[str, ModuleType], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of both studies, once they have been carried out."""
    folders = {name: tmp_path_factory.mktemp(name) for name in STUDIES}
    scripts["miyawaki"].run_study(scripts["miyawaki"].DATA, folders["miyawaki"])
    scripts["miyawaki"].draw_figures(folders["miyawaki"], folders["miyawaki"] / "decoded.png")
    scripts["haxby"].run_study(scripts["haxby"].DATA, folders["haxby"])
    return folders


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _registry(folder: Path, study: str) -> brainlens.Registry:
    return brainlens.open(folder / f"{study}.zarr", mode="r", quiet=True)


def _scores(folder: Path) -> xr.Dataset:
    return xr.open_zarr(folder / "score.zarr", chunks=None).load()


def _on_the_page(row: str, column: int) -> float:
    """Return a number in a table of the page of the studies, by the word that begins its row; columns count from 1."""
    lines = (ROOT / "docs/studies.md").read_text("utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith((f"| `{row}` |", f"| {row} et al."))]
    return float(line.split("|")[column])


@pytest.mark.parametrize("study", STUDIES)
def test_the_reference_is_reached(study: str, done: dict[str, Path]) -> None:
    top_1 = float(_scores(done[study])["score"].sel(metric="top_1"))
    assert top_1 >= REFERENCES[study] - WITHIN


@pytest.mark.parametrize("study", STUDIES)
def test_the_page_says_what_the_script_prints(study: str, done: dict[str, Path]) -> None:
    top_1 = float(_scores(done[study])["score"].sel(metric="top_1"))
    assert _on_the_page(study.capitalize(), 3) == pytest.approx(top_1, abs=WITHIN)


@pytest.mark.parametrize("study", STUDIES)
def test_scores_come_with_chance_number_interval_and_p_value(study: str, done: dict[str, Path]) -> None:
    scores = _scores(done[study])
    n_trials, n_candidates = {"miyawaki": (80, 10), "haxby": (96, 8)}[study]
    assert scores["metric"].values.tolist() == ["top_1", "top_3", "two_way_identification", "median_rank"]
    assert scores["chance"].values == pytest.approx(CHANCES[study])
    assert set(scores["n"].values) == {n_trials}
    assert set(scores["n_gallery"].values) == {n_candidates}
    assert (scores["p_value"] > 0).all()
    assert (scores["p_value"] < 0.01).all()
    assert (scores["ci_low"] <= scores["score"]).all()
    assert (scores["score"] <= scores["ci_high"]).all()


@pytest.mark.parametrize("study", STUDIES)
def test_top_1_is_what_correlating_by_hand_gives(study: str, done: dict[str, Path]) -> None:
    registry = _registry(done[study], study)
    decoded, target = (registry[NAMES[study][key]].load() for key in ("decoded", "target"))
    similarity = np.corrcoef(decoded["embedding"], target["embedding"])[
        : decoded.sizes["trial"], decoded.sizes["trial"] :
    ]
    answers = target["stimulus"].values[similarity.argmax(axis=1)]
    expected = float(_scores(done[study])["score"].sel(metric="top_1"))
    assert np.mean(answers == decoded["stimulus_id"].values) == pytest.approx(expected)


@pytest.mark.parametrize(("leave_out", "least", "most"), [("run", 0.858, 1.0), ("stimulus_id", 0.1, 0.5)])
def test_what_is_left_out_decides_the_score_of_figures(
    leave_out: str, least: float, most: float, scripts: dict[str, ModuleType], tmp_path: Path
) -> None:
    scores = scripts["miyawaki"].run_study(scripts["miyawaki"].DATA, tmp_path, leave_out=leave_out)
    top_1 = float(scores["score"].sel(metric="top_1"))
    assert least <= top_1 <= most
    assert _on_the_page(leave_out, 3) == pytest.approx(top_1, abs=WITHIN)
    p_value = float(scores["p_value"].sel(metric="top_1"))
    assert _on_the_page(leave_out, 4) == pytest.approx(p_value, abs=WITHIN)


def test_categories_are_hard_to_tell_without_detrending(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    scores = scripts["haxby"].run_study(scripts["haxby"].DATA, tmp_path, detrend="none")
    top_1 = float(scores["score"].sel(metric="top_1"))
    assert top_1 < REFERENCES["haxby"] - WITHIN
    assert _on_the_page("none", 2) == pytest.approx(top_1, abs=WITHIN)


@pytest.mark.parametrize("study", STUDIES)
def test_shuffled_stimulus_ids_fall_to_chance(study: str, done: dict[str, Path], tmp_path: Path) -> None:
    stored = _registry(done[study], study)
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    response = stored[NAMES[study]["response"]].load()
    order = np.random.default_rng(2).permutation(response.sizes["trial"])
    shuffled = response.assign_coords(stimulus_id=("trial", response["stimulus_id"].values[order]))
    registry.put("target", stored[NAMES[study]["target"]])
    hits = {}
    for name, dataset in (("as-shown", response), ("shuffled", shuffled)):
        registry.put(name, dataset)
        decoded = registry.cross_predict(
            "linear", response=name, target="target", leave_out="run", standardize="center", cv_by="run"
        )
        ranking = registry[registry.compute("retrieval.rank", decoded=decoded, gallery="target")].load()
        hits[name] = int((ranking["rank"] == 1).sum())
    chance = stats.binom(response.sizes["trial"], 1 / registry["target"].sizes["stimulus"])
    assert hits["shuffled"] <= chance.ppf(0.999)
    assert hits["as-shown"] > chance.ppf(1 - 1e-9)


def test_the_drawing_shows_frames_of_hits_and_misses_and_many_greys(done: dict[str, Path]) -> None:
    image = pytest.importorskip("PIL.Image").open(done["miyawaki"] / "decoded.png").convert("RGB")
    assert min(image.size) > 800
    counts = {colour: count for count, colour in image.getcolors(2**24)}
    greys = {colour for colour in counts if len(set(colour)) == 1}
    assert len(greys) > 50
    assert counts[(31, 119, 180)] > 10 * counts[(255, 127, 14)] > 0


def test_the_figure_in_the_documentation_is_what_the_script_draws(done: dict[str, Path]) -> None:
    image = pytest.importorskip("PIL.Image")
    files = (ROOT / "docs/figures/miyawaki.png", done["miyawaki"] / "decoded.png")
    shown, drawn = (np.asarray(image.open(file).convert("L"), dtype=float) for file in files)
    assert shown.shape == drawn.shape
    # Other versions of matplotlib move letters by fractions of a pixel.
    assert np.abs(shown - drawn).mean() < 2


@pytest.mark.parametrize("study", STUDIES)
def test_results_are_read_and_tested_without_brainlens(study: str, done: dict[str, Path]) -> None:
    script = str(ROOT / "examples/read_results.py")
    program = (
        "import runpy, sys; sys.modules['brainlens'] = None; "
        f"sys.argv = [{script!r}, {str(done[study])!r}]; runpy.run_path({script!r}, run_name='__main__')"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["top_1"] == pytest.approx(float(_scores(done[study])["score"].sel(metric="top_1")))
    assert found["chance"] == pytest.approx(CHANCES[study][0])
    assert found["binomial_p"] < 1e-20
    assert found["wilcoxon_p"] < 1e-10
    assert (found["component"], found["n_inputs"]) == ("retrieval.rank", 2)


def test_the_map_is_on_the_grid_of_the_bold_with_the_values_of_scipy(done: dict[str, Path]) -> None:
    nibabel = pytest.importorskip("nibabel")
    made, bold = nibabel.load(done["haxby"] / "face_minus_house.nii.gz"), nibabel.load(HAXBY / "bold.nii.gz")
    inside = np.asarray(nibabel.load(HAXBY / "mask.nii.gz").dataobj) > 0
    assert made.shape == bold.shape[:3]
    assert np.array_equal(made.affine, bold.affine)
    assert [made.header[code] for code in ("qform_code", "sform_code")] == [1, 1]
    values = np.asarray(made.dataobj)
    assert not values[~inside].any()
    assert np.abs(values[inside] - _face_minus_house(np.asarray(bold.dataobj)[inside])).max() < 1e-3


def _face_minus_house(series: np.ndarray) -> np.ndarray:
    """Return the contrast from the raw files, by scipy alone; shape (n_voxels,)."""
    labels, runs = np.loadtxt(HAXBY / "attributes_literal.txt", dtype=str, unpack=True)
    means = {"face": [], "house": []}
    for run in np.unique(runs):
        straight = signal.detrend(series[:, runs == run].astype(np.float64), axis=1)
        for label, found in means.items():
            found.append(straight[:, labels[runs == run] == label].mean(axis=1))
    return np.mean(means["face"], axis=0) - np.mean(means["house"], axis=0)


def test_a_second_call_computes_nothing(scripts: dict[str, ModuleType], done: dict[str, Path]) -> None:
    before = {name: _registry(done["haxby"], "haxby").show(name) for name in _registry(done["haxby"], "haxby")}
    scripts["haxby"].run_study(scripts["haxby"].DATA, done["haxby"])
    assert {name: _registry(done["haxby"], "haxby").show(name) for name in before} == before


@pytest.mark.parametrize("number", [0, 1], ids=STUDIES)
def test_a_transcript_in_the_documentation_comes_out_again(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    pages, transcripts = importlib.import_module("pages"), importlib.import_module("transcripts")
    blocks = transcripts.BLOCK.findall((ROOT / "docs/studies.md").read_text("utf-8"))
    assert len(blocks) == len(STUDIES)
    expected = transcripts.read_steps(blocks[number])
    for ours, theirs in zip(
        expected, transcripts.run_again(expected, pages.make_checkout(tmp_path, ROOT)), strict=True
    ):
        assert pages.agree(transcripts.loosen(ours.output), transcripts.loosen(theirs.output)), theirs.text()
