"""BOLD time series, and what nilearn's general linear model finds in them."""

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from brainlens_simulate.design import STIMULUS_S, Design, draw_design
from brainlens_simulate.time_series import Scanner, convolve_trials, events_of_run, simulate_bold

import brainlens

T_R, N_VOXELS = 1.6, 200
# nilearn says so of every mask that it is given.
GIVEN_MASK = "ignore:.*Given mask will be used:RuntimeWarning"
DESIGN: Design = draw_design(np.random.default_rng(0), n_stimuli=20, n_repetitions=3, n_sessions=2)
RESPONSES = np.random.default_rng(1).normal(0, 2, (60, N_VOXELS)).astype(np.float32)


def simulated(noise: float = 0.5) -> xr.Dataset:
    return simulate_bold(
        lambda low, high: RESPONSES[low:high],
        N_VOXELS,
        DESIGN,
        Scanner(T_R, noise),
        context=brainlens.Context(seed=0),
        stream=1,
    )


@pytest.fixture(scope="module")
def bold() -> xr.Dataset:
    return simulated()


def fit(bold: xr.Dataset, run: int) -> np.ndarray:
    """Fit nilearn's model to one run; return the effect of each trial: (trial, voxel)."""
    from nilearn.glm.first_level import FirstLevelModel

    values = bold["bold"].values[bold["run"].values == run]
    image = nib.Nifti1Image(values.T.reshape(N_VOXELS, 1, 1, -1), np.eye(4))
    mask = nib.Nifti1Image(np.ones((N_VOXELS, 1, 1), np.uint8), np.eye(4))
    model = FirstLevelModel(
        t_r=T_R, hrf_model="glover", drift_model="cosine", high_pass=0.01, noise_model="ols", mask_img=mask,
        signal_scaling=False, minimize_memory=True, slice_time_ref=0.0,
    )  # fmt: skip
    events = events_of_run(bold, run)
    model.fit(image, events=events)
    effects = [model.compute_contrast(name, output_type="effect_size") for name in events["trial_type"]]
    return np.stack([effect.get_fdata().ravel() for effect in effects])


@pytest.mark.filterwarnings(GIVEN_MASK)
def test_a_first_level_model_recovers_the_responses_to_its_limit(bold: xr.Dataset) -> None:
    effects = fit(bold, 1)
    truth = RESPONSES[DESIGN.run == 1]
    found = np.corrcoef(effects.ravel(), truth.ravel())[0, 1]
    course = convolve_trials(DESIGN.onset[DESIGN.run == 1], int((bold["run"] == 1).sum()), T_R)
    lags = np.abs(np.subtract.outer(np.arange(len(course)), np.arange(len(course))))
    waves = np.cos(np.pi * np.outer(np.arange(len(course)) + 0.5, np.arange(4)) / len(course))
    estimator = np.linalg.pinv(np.hstack([course, waves]))[: course.shape[1]]
    error = np.diag(estimator @ (0.5**2 * 0.3**lags) @ estimator.T).mean()
    assert found == pytest.approx(np.sqrt(4 / (4 + error)), abs=0.02)


@pytest.mark.filterwarnings(GIVEN_MASK)
def test_without_scanner_noise_the_responses_come_back() -> None:
    np.testing.assert_allclose(fit(simulated(noise=0.0), 2), RESPONSES[DESIGN.run == 2], atol=0.02)


def test_blocks_give_what_the_whole_gives(bold: xr.Dataset) -> None:
    whole = bold["bold"].values
    edge = int((bold["run"] == 1).sum())
    np.testing.assert_array_equal(bold["bold"][edge - 5 : edge + 5].values, whole[edge - 5 : edge + 5])
    assert whole.dtype == np.float32


def test_runs_have_their_own_clock(bold: xr.Dataset) -> None:
    first = bold["onset"].values[bold["run"].values == 2]
    np.testing.assert_allclose(first, np.arange(len(first)) * T_R)


def test_events_lie_inside_their_run(bold: xr.Dataset) -> None:
    for run in (1, 2):
        events = events_of_run(bold, run)
        assert list(events.columns) == ["onset", "duration", "trial_type"]
        assert (events["duration"] == STIMULUS_S).all()
        assert (events["onset"] + 16 < bold["onset"].values[bold["run"].values == run].max()).all()


def test_noise_is_autocorrelated() -> None:
    silent = simulate_bold(
        lambda low, high: np.zeros((high - low, N_VOXELS), np.float32), N_VOXELS, DESIGN, Scanner(T_R, 1.0),
        context=brainlens.Context(seed=0), stream=1,
    )["bold"].values[:80]  # fmt: skip
    waves = np.cos(np.pi * np.outer(np.arange(80) + 0.5, np.arange(6)) / 80)
    rest = silent - waves @ np.linalg.pinv(waves) @ silent
    assert (rest[1:] * rest[:-1]).mean() / rest.var() == pytest.approx(0.3, abs=0.1)
