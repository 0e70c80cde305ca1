"""A simulated subject: what is true of it can be found in its data."""

import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brainlens_simulate.design import TRIAL_S
from brainlens_simulate.pyramid import build_pyramid, grid_degrees
from brainlens_simulate.subject import read
from brainlens_simulate.subject_params import SubjectParams
from brainlens_simulate.truth import FORWARD_MODEL
from sklearn.linear_model import RidgeCV

import brainlens

SMALL = {"n_stimuli": 300, "n_shared": 100, "n_voxels": 900, "n_sessions": 3}
TINY = {"n_stimuli": 20, "n_shared": 10, "n_voxels": 150, "n_sessions": 2}
EVERYWHERE = np.logspace(-1, 5, 13)


def simulate(seed: int = 0, **given: Any) -> Mapping[str, xr.Dataset]:
    return read(params=SubjectParams(**given), context=brainlens.Context(seed=seed))


@pytest.fixture(scope="module")
def subject() -> dict[str, xr.Dataset]:
    return {name: dataset.compute() for name, dataset in simulate(**SMALL).items()}


@pytest.fixture(scope="module")
def means(subject: dict[str, xr.Dataset]) -> np.ndarray:
    """Responses standardised within sessions and averaged over repetitions: (stimulus, voxel)."""
    return by_stimulus(subject).mean(axis=1)


def standardize(response: xr.Dataset) -> np.ndarray:
    """Return responses with mean 0 and SD 1 within each session: (trial, voxel)."""
    grouped = response["response"].groupby("session")
    return ((grouped - grouped.mean()).groupby("session") / grouped.std()).values


def by_stimulus(subject: Mapping[str, xr.Dataset]) -> np.ndarray:
    """Return standardised responses: (stimulus, repetition, voxel)."""
    response, names = subject["response"], subject["images"]["stimulus"].values
    order = np.lexsort((response["repetition"].values, find(names, response["stimulus_id"].values)))
    return standardize(response)[order].reshape(len(names), -1, response.sizes["voxel"])


def find(names: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    order = np.argsort(names)
    return order[np.searchsorted(names, wanted, sorter=order)]


def factor(subject: Mapping[str, xr.Dataset], *names: str) -> np.ndarray:
    return subject["factors"]["embedding"].sel(channel=list(names)).values


def family(subject: Mapping[str, xr.Dataset], *names: str) -> np.ndarray:
    return np.isin(subject["tuning"]["family"].values, names)


def predict(features: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the correlation of each target (stimulus, target) with its prediction, half of the stimuli held out."""
    features = features / np.maximum(features.std(axis=0), 1e-6)
    half = len(features) // 2
    found = RidgeCV(EVERYWHERE).fit(features[:half], targets[:half]).predict(features[half:])
    return np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(found.T, targets[half:].T, strict=True)])


def test_every_dataset_follows_its_schema(subject: dict[str, xr.Dataset]) -> None:
    model = brainlens.Schema(name="forward_model.v1", document=FORWARD_MODEL)
    for name, dataset in subject.items():
        brainlens.validate(dataset, model if name == "truth" else dataset.attrs["schema"])


def test_the_same_seed_gives_the_same_subject() -> None:
    first, second = simulate(**TINY), simulate(**TINY)
    assert all(first[name].compute().identical(second[name].compute()) for name in first)


@pytest.mark.parametrize("change", [{"seed": 1}, {"subject": "sim02"}, {"population": 1}])
def test_another_seed_name_or_population_is_another_subject(change: dict[str, Any]) -> None:
    first, second = simulate(**TINY), simulate(**(TINY | change))
    assert not np.array_equal(first["response"]["response"].values, second["response"]["response"].values)
    assert not np.array_equal(first["response"]["voxel"].values, second["response"]["voxel"].values)


def test_any_block_of_trials_is_that_of_the_whole(subject: dict[str, xr.Dataset]) -> None:
    lazy = simulate(**SMALL)
    whole = subject["response"]["response"].values
    np.testing.assert_allclose(lazy["response"]["response"][700:730].values, whole[700:730], atol=1e-4)
    np.testing.assert_allclose(
        lazy["truth"]["drive"][90:110].values, subject["truth"]["drive"].values[90:110], atol=1e-4
    )


def test_a_response_is_drive_noise_and_drift(subject: dict[str, xr.Dataset]) -> None:
    truth, response = subject["truth"], subject["response"]
    rows = find(truth["stimulus"].values, response["stimulus_id"].values)
    drift = truth["drift_course"].values @ truth["drift_map"].values
    noise = response["response"].values - truth["drive"].values[rows] - drift
    variance = truth["noise_std"].values ** 2 + (truth["noise_map"].values ** 2).sum(axis=0)
    assert np.median(noise.var(axis=0) / variance) == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(noise.var(axis=0), variance, rtol=0.25)


def test_shared_stimuli_are_the_test_split(subject: dict[str, xr.Dataset]) -> None:
    response = subject["response"]
    shared = np.char.startswith(response["stimulus_id"].values.astype(str), "scene-0-")
    np.testing.assert_array_equal(response["split"].values == "test", shared)
    assert len(np.unique(response["stimulus_id"].values[shared])) == 100


def test_stated_ncsnr_is_that_of_drive_and_noise(subject: dict[str, xr.Dataset]) -> None:
    truth = subject["truth"]
    variance = truth["noise_std"].values ** 2 + (truth["noise_map"].values ** 2).sum(axis=0)
    stated = truth["ncsnr"].values
    np.testing.assert_allclose(truth["drive"].values.std(axis=0) / np.sqrt(variance), stated, atol=1e-3)
    assert not stated[family(subject, "null")].any()


def test_repetitions_give_the_stated_ncsnr(subject: dict[str, xr.Dataset]) -> None:
    noise = by_stimulus(subject).var(axis=1, ddof=1).mean(axis=0)
    found = np.sqrt(np.maximum(0, 1 - noise) / noise)
    stated = subject["response"]["ncsnr"].values
    tuned = stated > 0.2
    assert np.corrcoef(found[tuned], stated[tuned])[0, 1] > 0.9
    assert np.median(found[tuned] / stated[tuned]) == pytest.approx(1, abs=0.05)


def test_the_noise_ceiling_is_reached_by_the_truth(subject: dict[str, xr.Dataset]) -> None:
    trials = subject["response"]["response"].values
    truth = subject["truth"]
    clean = trials - truth["drift_course"].values @ truth["drift_map"].values
    rows = find(truth["stimulus"].values, subject["response"]["stimulus_id"].values)
    mean = np.stack([clean[rows == row].mean(axis=0) for row in range(truth.sizes["stimulus"])])
    tuned = np.flatnonzero(truth["ncsnr"].values > 0.2)
    found = np.array([np.corrcoef(mean[:, voxel], truth["drive"].values[:, voxel])[0, 1] for voxel in tuned])
    np.testing.assert_allclose(found, truth["noise_ceiling"].values[tuned], atol=0.15)
    assert np.mean(found - truth["noise_ceiling"].values[tuned]) == pytest.approx(0, abs=0.01)


def test_receptive_fields_can_be_mapped(subject: dict[str, xr.Dataset], means: np.ndarray) -> None:
    tuning = subject["tuning"]
    good = family(subject, "early") & (tuning["area"].values == "V1") & (tuning["ncsnr"].values > 0.5)
    good &= np.hypot(tuning["prf_x"].values, tuning["prf_y"].values) < 3.5
    maps = build_pyramid(subject["images"]["image"].values)[..., :12]
    energy = (maps / maps.std(axis=(0, 1))).mean(axis=-1)
    x, y = grid_degrees()
    candidates = np.stack([np.tile(axis, 3) for axis in (x, y)] + [np.repeat([0.5, 0.9, 1.5], len(x))], axis=1)
    fields = np.exp(-((x - candidates[:, :1]) ** 2 + (y - candidates[:, 1:2]) ** 2) / (2 * candidates[:, 2:] ** 2))
    predicted = energy @ fields.T
    fit = ((predicted - predicted.mean(axis=0)) / predicted.std(axis=0)).T @ means[:, good]
    found = candidates[fit.argmax(axis=0)]
    error = np.hypot(found[:, 0] - tuning["prf_x"].values[good], found[:, 1] - tuning["prf_y"].values[good])
    assert good.sum() >= 10
    assert np.median(error) < 0.7


def test_early_areas_prefer_the_other_side(subject: dict[str, xr.Dataset], means: np.ndarray) -> None:
    maps = build_pyramid(subject["images"]["image"].values)[..., :12].mean(axis=-1)
    right = maps[:, grid_degrees()[0] > 0].mean(axis=1) - maps[:, grid_degrees()[0] < 0].mean(axis=1)
    early = np.isin(subject["tuning"]["area"].values, ("V1", "V2", "V3")) & (subject["tuning"]["ncsnr"].values > 0.3)
    preference = (right - right.mean()) @ means
    left = subject["tuning"]["hemisphere"].values == "left"
    assert (preference[early & left] > 0).mean() > 0.8
    assert (preference[early & ~left] < 0).mean() > 0.8


@pytest.mark.parametrize(("roi", "concept"), [("FFA", "face"), ("EBA", "body"), ("food", "food"), ("VWFA", "word")])
def test_areas_answer_their_concept_most(
    subject: dict[str, xr.Dataset], means: np.ndarray, roi: str, concept: str
) -> None:
    here = (subject["tuning"]["area"].values == roi) & family(subject, "category")
    present = factor(subject, f"{concept}.presence")[:, 0] > 0
    mean = means[:, here].mean(axis=1)
    spread = np.sqrt(mean[present].var() / present.sum() + mean[~present].var() / (~present).sum())
    assert (mean[present].mean() - mean[~present].mean()) / spread > 8


def test_places_drive_the_parahippocampal_place_area(subject: dict[str, xr.Dataset], means: np.ndarray) -> None:
    here = (subject["tuning"]["area"].values == "PPA") & family(subject, "category")
    place = factor(subject, "backdrop")[:, 0] == 0
    mean = means[:, here].mean(axis=1)
    assert mean[place].mean() - mean[~place].mean() > 0.1


def test_the_control_carries_nothing(subject: dict[str, xr.Dataset], means: np.ndarray) -> None:
    control = subject["tuning"]["area"].values == "control"
    found = predict(subject["factors"]["embedding"].values, means[:, control])
    assert abs(np.nanmean(found)) < 4 / np.sqrt(control.sum() * len(means) / 2)
    tuned = predict(subject["factors"]["embedding"].values, means[:, family(subject, "category")])
    assert tuned.mean() > 0.2


def test_text_voxels_follow_the_occasion_and_nothing_that_is_seen(subject: dict[str, xr.Dataset]) -> None:
    tuning = subject["tuning"]
    text = family(subject, "text") & (tuning["preferred"].values == "occasion")
    drive = subject["truth"]["drive"].values[:, text]
    names = [str(name) for name in subject["factors"]["channel"].values]
    seen = factor(subject, *(name for name in names if not name.startswith("occasion")))
    light = build_pyramid(subject["images"]["image"].values).mean(axis=1)
    hidden = factor(subject, *(name for name in names if name.startswith("occasion")))
    assert np.abs(predict(np.hstack([seen, light]), drive).mean()) < 0.1
    assert predict(hidden, drive).min() > 0.99


def test_route_voxels_are_no_sum_of_what_is_where(subject: dict[str, xr.Dataset]) -> None:
    concepts = {name.split(".")[0] for name in subject["factors"]["channel"].values if name.endswith(".presence")}
    where = [f"{concept}.{measure}" for concept in sorted(concepts) for measure in ("presence", "x", "y", "size")]
    drive = subject["truth"]["drive"].values
    routed, category = (
        predict(factor(subject, *where), drive[:, family(subject, name)]) for name in ("route", "category")
    )
    assert np.mean(routed**2) < 0.4
    assert np.mean(category**2) > 0.6


def latent_space(subject: Mapping[str, xr.Dataset], n_axes: int = 9) -> np.ndarray:
    """Return the main directions of the weights of concept voxels: (channel, axis)."""
    weights = subject["tuning"]["weights"].values[:, family(subject, "category", "mixture")]
    return np.linalg.svd(weights, full_matrices=False)[0][:, :n_axes]


def test_subjects_of_a_population_share_axes_but_not_voxels(subject: dict[str, xr.Dataset]) -> None:
    given = SMALL | {"n_stimuli": 10, "n_shared": 10}
    alike, foreign = simulate(subject="sim02", **given), simulate(population=1, **given)
    mine = latent_space(subject)
    overlap = [np.linalg.norm(mine.T @ latent_space(other)) ** 2 / 9 for other in (alike, foreign)]
    assert overlap[0] > 0.93
    assert overlap[0] > overlap[1] + 0.03
    assert len(set(alike["tuning"]["voxel"].values) & set(subject["tuning"]["voxel"].values)) < 0.3 * 900


def test_a_brain_does_not_depend_on_what_it_is_shown(subject: dict[str, xr.Dataset]) -> None:
    fewer = simulate(**(SMALL | {"n_stimuli": 5}))
    first = fewer["truth"]["drive"][:100].values
    np.testing.assert_allclose(first, subject["truth"]["drive"].values[:100], atol=1e-4)


def test_standardising_within_sessions_removes_the_drift(subject: dict[str, xr.Dataset]) -> None:
    truth = subject["truth"]
    drift = truth["drift_course"].values @ truth["drift_map"].values
    raw = subject["response"]["response"].values
    standard = standardize(subject["response"])
    before, after = (
        np.mean([np.corrcoef(values[:, voxel], drift[:, voxel])[0, 1] for voxel in range(0, 900, 9)])
        for values in (raw, standard)
    )
    assert before > 0.3
    assert abs(after) < 0.1


def test_without_signal_nothing_is_driven() -> None:
    empty = simulate(signal="none", **TINY)
    assert not empty["response"]["ncsnr"].values.any()
    assert np.ptp(empty["truth"]["drive"].values) < 1e-6


def test_a_linear_world_is_a_sum_of_factors() -> None:
    linear = simulate(signal="linear", text=0.0, **(TINY | {"n_stimuli": 400}))
    higher = family(linear, "category", "mixture")
    assert predict(linear["factors"]["embedding"].values, linear["truth"]["drive"].values[:, higher]).min() > 0.98


def test_a_concept_that_never_appears_drives_nobody() -> None:
    faceless = simulate(concepts=("food", "tool"), private=0.0, **TINY)
    faces = family(faceless, "category") & (faceless["tuning"]["preferred"].values == "face")
    assert faces.any()
    assert np.isfinite(faceless["response"]["response"].values).all()


def test_bold_comes_with_events_when_asked_for() -> None:
    made = simulate(bold=True, **TINY)
    brainlens.validate(made["bold"], "bold.v1")
    assert made["bold"].sizes["event"] == made["response"].sizes["trial"]
    assert made["bold"]["onset"].values.max() > TRIAL_S * made["response"].sizes["trial"] / 2
    np.testing.assert_array_equal(made["bold"]["event_stimulus_id"].values, made["response"]["stimulus_id"].values)


def test_responses_stream_in_constant_memory() -> None:
    lazy = simulate(**(TINY | {"n_repetitions": 90, "n_voxels": 6000}))["response"]["response"]
    tracemalloc.start()
    for low in range(0, len(lazy), 100):
        assert lazy[low : low + 100].values.dtype == np.float32
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert lazy.nbytes > 60e6
    assert peak < 16e6


def test_a_registry_takes_a_whole_subject(tmp_path: Path) -> None:
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    names = registry.ingest("simulate", "sim01", subject="sim01", bold=True, **TINY)
    assert {name.removeprefix("sim01/") for name in names} == {
        "response", "images", "captions", "factors", "truth", "tuning", "bold",
    }  # fmt: skip
    registry.verify()
    stored = registry["sim01/response"]["response"].values
    np.testing.assert_array_equal(stored, simulate(**TINY)["response"]["response"].values)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"n_voxels": 10**6}, r"n_voxels: expected 120 to \d+"),
        ({"n_voxels": 0}, "n_voxels"),
        ({"n_stimuli": -1}, "n_stimuli"),
        ({"concepts": ("fase",)}, "no concept 'fase'. Closest: 'face'"),
        ({"rois": ("V11",)}, "no ROI 'V11'. Closest: 'V1'"),
    ],
)
def test_a_registry_stores_nothing_of_what_cannot_be(tmp_path: Path, given: dict[str, Any], text: str) -> None:
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    with pytest.raises(brainlens.ParameterError, match=text):
        registry.ingest("simulate", "sim01", **(TINY | given))
    assert registry.list() == []
