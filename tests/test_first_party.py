"""The plugins that come with brainlens, together and through the registry: from files to a score and back to files."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import brainlens
from brainlens.cli import main

for _plugin in ("arrays", "linear", "nifti", "retrieval"):
    if importlib.util.find_spec(f"brainlens_{_plugin}") is None:
        pytest.skip(f"the plugin {_plugin} is not installed", allow_module_level=True)

N_STIMULI, N_REPETITIONS, N_VOXELS, N_CHANNELS = 20, 4, 24, 6


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Write what a lab would give: responses, stimulus ids, runs, ROI masks and an embedding, as plain files."""
    rng = np.random.default_rng(0)
    embedding = rng.standard_normal((N_STIMULI, N_CHANNELS))
    shown = np.concatenate([rng.permutation(N_STIMULI) for _ in range(N_REPETITIONS)])
    planted = rng.standard_normal((N_CHANNELS, N_VOXELS)) * (np.arange(N_VOXELS) < 16)
    responses = embedding[shown] @ planted + 0.5 * rng.standard_normal((len(shown), N_VOXELS))
    folder = tmp_path / "files"
    folder.mkdir()
    np.save(folder / "responses.npy", responses.astype(np.float32))
    np.save(folder / "shown.npy", shown + 1000)
    np.save(folder / "runs.npy", np.arange(len(shown)) // N_STIMULI)
    np.savez(folder / "rois.npz", V1=np.arange(N_VOXELS) < 16, rest=np.arange(N_VOXELS) >= 16)
    np.save(folder / "embedding.npy", embedding.astype(np.float32))
    np.save(folder / "ids.npy", np.arange(N_STIMULI) + 1000)
    return folder


@pytest.fixture
def registry(tmp_path: Path, files: Path) -> brainlens.Registry:
    made = brainlens.open(tmp_path / "study.zarr", quiet=True)
    made.ingest(
        "arrays", "subj01/response", subject="subj01", units="z", responses=str(files / "responses.npy"),
        labels=str(files / "shown.npy"), runs=str(files / "runs.npy"), roi_masks=str(files / "rois.npz"),
    )  # fmt: skip
    made.ingest(
        "arrays.embedding",
        "target",
        values=str(files / "embedding.npy"),
        stimuli=str(files / "ids.npy"),
        model="planted",
    )
    return made


def cross(registry: brainlens.Registry, **more: object) -> str:
    given = {"response": "subj01/response", "target": "target", "leave_out": "run", "device": "cpu", **more}
    return registry.cross_predict("linear", **given)  # type: ignore[arg-type]


def score(registry: brainlens.Registry, decoded: str) -> xr.Dataset:
    ranking = registry.compute("retrieval.rank", decoded=decoded, gallery="target")
    return registry[registry.compute("retrieval.score", ranking=ranking, n_permutations=200, n_resamples=200)]


def test_a_planted_map_is_found_where_it_is_and_nowhere_else(registry: brainlens.Registry) -> None:
    found, control = (score(registry, cross(registry, roi=roi)).sel(metric="top_1") for roi in ("V1", "rest"))
    assert float(found["score"]) > 0.9
    assert float(found["p_value"]) < 0.01
    assert float(control["score"]) < 0.2
    assert float(found["chance"]) == pytest.approx(1 / N_STIMULI)
    assert int(found["n"]) == N_STIMULI * N_REPETITIONS


def test_cross_predicted_ridge_equals_scikit_learn(registry: brainlens.Registry) -> None:
    ridge = pytest.importorskip("sklearn.linear_model").Ridge(alpha=10.0)
    decoded = registry[cross(registry, alphas=(10.0,))]
    response = registry["subj01/response"].load()
    target = registry["target"]["embedding"].sel(stimulus=response["stimulus_id"].values).values
    values, run = response["response"].values.astype(np.float64), response["run"].values
    expected = np.empty_like(target)
    for left in np.unique(run):
        train, test = run != left, run == left
        mean, std = values[train].mean(axis=0), values[train].std(axis=0)
        ridge.fit((values[train] - mean) / std, target[train])
        expected[test] = ridge.predict((values[test] - mean) / std)
    np.testing.assert_allclose(decoded["embedding"].values, expected, rtol=1e-3, atol=1e-3)


def test_the_lineage_of_a_score_names_every_raw_file(registry: brainlens.Registry, files: Path) -> None:
    ranking = registry.compute("retrieval.rank", decoded=cross(registry), gallery="target")
    name = registry.compute("retrieval.score", ranking=ranking, n_permutations=50, n_resamples=50)
    tree = registry.lineage(name)
    assert set(sources(tree)) == {str(path) for path in files.iterdir()}


def sources(tree: dict) -> list[str]:  # type: ignore[type-arg]
    return [item["path"] for item in tree.get("sources", [])] + [
        path for part in tree["inputs"] for path in sources(part)
    ]


def test_a_model_is_fitted_once_and_predicts_a_second_session(registry: brainlens.Registry, files: Path) -> None:
    response = registry["subj01/response"].load()
    for name, repetitions in (("first", (0, 1)), ("second", (2, 3))):
        inside = np.flatnonzero(np.isin(response["run"].values, repetitions))
        registry.put(f"subj01/{name}", response.isel(trial=inside))
    registry.fit(
        "linear", response="subj01/first", target="target", name="model", roi="V1", average="stimulus_id", device="cpu"
    )
    decoded = registry.predict("model", response="subj01/second", average="stimulus_id", device="cpu")
    assert not registry[decoded]["in_training"].values.any()
    assert registry[decoded]["n_repetitions"].values.tolist() == [2] * N_STIMULI
    assert float(score(registry, decoded).sel(metric="top_1")["score"]) > 0.9


def test_the_command_line_does_the_same(registry: brainlens.Registry) -> None:
    command = ["-q", "-r", registry.path, "cross-predict", "linear", "--response", "subj01/response"]
    command += ["--target", "target", "--leave-out", "run", "--device", "cpu", "--alphas", "1,10,100", "--roi", "V1"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == cross(registry, alphas=(1.0, 10.0, 100.0), roi="V1")


def test_a_map_goes_out_to_nifti_on_the_grid_that_it_came_from(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    rng = np.random.default_rng(1)
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = (-10, 5, 7)
    volumes = rng.standard_normal((4, 3, 2, 12)).astype(np.float32)
    mask = rng.random((4, 3, 2)) < 0.6
    nibabel.save(nibabel.Nifti1Image(volumes, affine), tmp_path / "bold.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8), affine), tmp_path / "mask.nii.gz")
    (tmp_path / "labels.txt").write_text("labels chunks\n" + "".join(f"{'ab'[i % 2]} {i // 6}\n" for i in range(12)))
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    names = registry.ingest(
        "nifti", "subj01", bold=str(tmp_path / "bold.nii.gz"), mask=str(tmp_path / "mask.nii.gz"), subject="subj01",
        space="scanner", t_r=2.0, labels=str(tmp_path / "labels.txt"), label_column="labels", run_column="chunks",
    )  # fmt: skip
    response = registry[next(name for name in names if name.endswith("response"))].load()
    maps = response.mean("trial").rename(response="map").drop_vars("roi_mask", errors="ignore")
    maps = maps.drop_vars([name for name in maps.coords if "voxel" not in maps[name].dims]).assign_attrs(
        {**response.attrs, "schema": "stat_map.v1"}
    )
    registry.put("map", maps)
    written = nibabel.load(registry.export("map", tmp_path / "map.nii.gz"))
    np.testing.assert_array_equal(written.affine, affine)
    np.testing.assert_allclose(written.get_fdata()[mask], volumes.mean(axis=3)[mask], atol=1e-6)
