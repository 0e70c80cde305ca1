"""Two small recordings of people: what is predicted, and that nothing is where what was shown is shuffled.

The whole, with more controls, is in the evidence of this plugin (`real.md`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import brainlens

pytest.importorskip("brainlens_public")
SHARED = Path(__file__).parents[3] / "../shared/data"


@pytest.fixture
def study(tmp_path):
    """An empty registry."""
    return brainlens.open(tmp_path / "real.zarr", quiet=True)


def folder(name):
    if not (SHARED / name).exists():
        pytest.skip(f"real data '../shared/data/{name}' are not here")
    return str(SHARED / name)


def single(response, run):
    """Make each trial a stimulus of its own, so that folds of runs share none."""
    names = np.array([f"{label} {number}" for number, label in enumerate(response["stimulus_id"].values)], dtype=object)
    kept = {key: response.attrs[key] for key in ("schema", "subject", "units")}
    made = response.drop_attrs().assign_attrs(kept)
    return made.assign_coords(stimulus_id=("trial", names), run=("trial", run))


def leave_runs_out(registry, trials, table, name):
    """Return share of voxels at q < .05, mean R2, and predicted responses (trial, voxel)."""
    features = xr.Dataset(
        {"embedding": (("stimulus", "channel"), table.astype(np.float32))},
        {"stimulus": trials["stimulus_id"].values, "channel": np.arange(table.shape[1])},
        {"schema": "embedding.v1", "model": name},
    )
    registry.put(f"features/{name}", features)
    made = registry.cross_predict(
        "encoding.ridge", response="trials", features=f"features/{name}", leave_out="run", cv_by="run", scale="space",
        device="cpu",
    )  # fmt: skip
    return *scores(registry, made, "trials"), registry[made]["response"].values


def scores(registry, predicted, measured):
    options = {"n_permutations": 500, "device": "cpu"}
    maps = registry[registry.compute("encoding.score", predicted=predicted, measured=measured, **options)]["map"].load()
    return float((maps.sel(map_name="q_value") < 0.05).mean()), float(maps.sel(map_name="r2").mean())


def named(predicted, trials, labels):
    """Return the share of patterns that correlate most with the prediction for what was shown in their run."""
    right = []
    for run in np.unique(trials["run"].values):
        rows = np.flatnonzero(trials["run"].values == run)
        seen, made = (each[rows] - each[rows].mean(axis=0) for each in (trials["response"].values, predicted))
        alike = np.corrcoef(seen, made)[: len(rows), len(rows) :]
        right += (labels[rows][alike.argmax(axis=1)] == labels[rows]).tolist()
    return np.mean(right)


def test_categories_are_in_a_slice_of_a_brain(study):
    study.ingest(
        "public.haxby", "slice", root=folder("haxby2001_pymvpa"), subject="subj1", detrend="linear",
        average_over="run", standardize_runs="zscore_sample",
    )  # fmt: skip
    response = study["slice/response"].load()
    # A third of the voxels.
    trials = single(response.isel(voxel=slice(None, None, 3)), response["run"].values)
    study.put("trials", trials)
    category, run = response["stimulus_id"].values, response["run"].values
    table = (category[:, None] == np.unique(category)).astype(float)
    passed, r2, predicted = leave_runs_out(study, trials, table, "categories")
    assert passed > 0.2
    assert r2 > 0.04
    assert named(predicted, trials, category) > 0.5
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(np.flatnonzero(run == each)) for each in np.unique(run)])
    assert (run[order] == run).all()
    passed, r2, predicted = leave_runs_out(study, trials, table[order], "shuffled")
    assert passed < 0.02
    assert r2 < 0
    assert named(predicted, trials, category) < 0.3


def test_pixels_tell_what_voxels_of_v1_answer_to_figures_that_are_new(study):
    study.ingest("public.miyawaki", "v1", root=folder("miyawaki2008_v1_figures"))
    response = study["v1/response"].load().isel(voxel=slice(None, None, 4))
    study.put("response", response.drop_attrs().assign_attrs(schema="response.v1", subject="S1", units="block mean"))
    pixels = study["v1/images"].load()
    shuffled = pixels.assign(image=pixels["image"][np.random.default_rng(0).permutation(10)].variable)
    study.put("shuffled", shuffled.drop_attrs().assign_attrs(schema="stimulus_image.v1"))
    found = {}
    for name in ("v1/images", "shuffled"):
        features = study.compute("encoding.pixels", stimuli=name)
        made = study.cross_predict(
            "encoding.ridge", response="response", features=features, leave_out="stimulus_id", scale="space",
            device="cpu",
        )  # fmt: skip
        found[name] = scores(study, made, "response")
    # The mean of nine figures has an R2 of 1 - (10 / 9) ** 2.
    assert found["v1/images"][1] > -0.1
    assert found["v1/images"][0] > 0.1
    assert found["shuffled"][1] < 1 - (10 / 9) ** 2
    assert found["shuffled"][0] < 0.02
