"""The analysis of a stored time series: what was planted in a simulated subject, sites of any kind, and refusals."""

import numpy as np
import pytest
import xarray as xr
from brainlens_bids import GlmParams
from brainlens_bids.glm import compute, response_units
from nilearn.glm.first_level import compute_regressor

import brainlens

N_VOLUMES, T_R, N_SITES = 100, 1.5, 7
ONSET = np.array([3.0, 21.0, 40.0, 61.0, 83.0, 101.0])


def convolve(onset):
    times = np.arange(N_VOLUMES) * T_R
    return np.stack(
        [compute_regressor(np.array([[start], [3.0], [1.0]]), "glover", times)[0][:, 0] for start in onset], axis=1
    )


def make_bold(*, site="voxel", noise=0.0, runs=(5, 6)):
    """Two runs with planted betas on a baseline of 100, which each run's mean is not exactly."""
    rng = np.random.default_rng(2)
    betas = rng.normal(0, 1, (len(runs) * len(ONSET), N_SITES))
    parts = [100 + convolve(ONSET) @ part for part in np.split(betas, len(runs))]
    values = np.concatenate(parts) + noise * rng.normal(size=(len(runs) * N_VOLUMES, N_SITES))
    kinds = np.tile(["face", "house", "face"], 4)
    events = {
        "onset": np.tile(ONSET, len(runs)),
        "duration": np.full(len(betas), 3.0),
        "run": np.repeat(runs, len(ONSET)),
        "trial_type": kinds,
        "number": np.arange(len(betas)) + 40.0,
    }
    coords = {
        "time": np.arange(len(values)),
        "run": ("time", np.repeat(runs, N_VOLUMES)),
        "onset": ("time", np.tile(np.arange(N_VOLUMES) * T_R, len(runs))),
        site: np.arange(N_SITES) * 3,
        "roi": ["V1"],
    }
    variables = {
        "bold": (("time", site), values.astype(np.float32)),
        "roi_mask": (("roi", site), np.arange(N_SITES)[None] < 3),
        **{f"event_{name}": ("event", column) for name, column in events.items()},
    }
    attrs = {"schema": "bold.v1", "subject": "s1", "units": "a.u.", "t_r": T_R, "space": "T1w"}
    bold = xr.Dataset(variables, coords, attrs)
    brainlens.validate(bold, "bold")
    return bold, betas


def fit(bold, context=None, **params):
    made = compute(bold=bold, params=GlmParams(**params), context=context or brainlens.Context())
    brainlens.validate(made, "response")
    return made


def error_of(bold, **params):
    with pytest.raises(brainlens.BrainlensError) as caught:
        fit(bold, **params)
    return str(caught.value)


@pytest.mark.parametrize("site", ["voxel", "vertex"])
@pytest.mark.parametrize("noise_model", ["ols", "ar1"])
def test_planted_betas_are_found(site, noise_model):
    bold, betas = make_bold(site=site, noise=0.01)
    made = fit(bold, scaling="none", noise_model=noise_model, drift_model="none")
    np.testing.assert_allclose(made["response"].values, betas, atol=0.12)
    assert np.corrcoef(made["response"].values.ravel(), betas.ravel())[0, 1] > 0.999
    assert made["response"].dims == ("trial", site)
    np.testing.assert_array_equal(made[site].values, bold[site].values)
    np.testing.assert_array_equal(made["roi_mask"].values, bold["roi_mask"].values)
    assert made.attrs["units"] == "a.u."
    assert made.attrs["space"] == "T1w"
    assert "t_r" not in made.attrs


def test_trials_are_labelled_and_runs_keep_their_kind():
    made = fit(make_bold()[0], stimulus_column="number", stimulus_ids="number")
    assert made["stimulus_id"].values.tolist() == list(range(40, 52))
    assert made["run"].values.tolist() == [5] * 6 + [6] * 6
    assert made["run"].dtype.kind == "i"
    assert made["condition"].values.tolist() == ["face", "house", "face"] * 4
    assert "session" not in made.coords


def test_percent_are_those_of_the_mean_of_the_run():
    bold, _ = make_bold()
    made, plain = fit(bold), fit(bold, scaling="none")
    means = [bold["bold"].values[:N_VOLUMES].mean(axis=0), bold["bold"].values[N_VOLUMES:].mean(axis=0)]
    expected = plain["response"].values * np.repeat(100 / np.stack(means), 6, axis=0)
    np.testing.assert_allclose(made["response"].values, expected, rtol=1e-3, atol=1e-4)


def test_confounds_and_censored_volumes_are_used():
    bold, betas = make_bold()
    rng = np.random.default_rng(3)
    confounds = rng.normal(size=(2 * N_VOLUMES, 2))
    confounds[:N_VOLUMES, 1] = np.nan
    moved = np.where(np.isnan(confounds), 0, confounds) @ rng.normal(0, 30, (2, N_SITES))
    moved[40] += 1e4
    censored = np.arange(2 * N_VOLUMES) == 40
    shaken = bold.assign(
        bold=bold["bold"] + moved.astype(np.float32), confound_value=(("time", "confound"), confounds)
    ).assign_coords(is_censored=("time", censored))
    given = {"scaling": "none", "drift_model": "none"}
    np.testing.assert_allclose(fit(shaken, **given)["response"].values, betas, atol=1e-2)
    assert np.abs(fit(shaken.drop_vars("is_censored"), **given)["response"].values - betas).max() > 1
    assert np.abs(fit(shaken.drop_vars("confound_value"), **given)["response"].values - betas).max() > 1


def test_volumes_that_are_missing_leave_the_others_at_their_time():
    bold, betas = make_bold()
    kept = np.delete(np.arange(2 * N_VOLUMES), [0, 1, 30, 150])
    made = fit(bold.isel(time=kept), scaling="none", drift_model="none")
    np.testing.assert_allclose(made["response"].values, betas, atol=1e-3)


def test_the_moment_of_a_volume_moves_the_model():
    bold, betas = make_bold()
    given = {"scaling": "none", "drift_model": "none"}
    late = fit(bold, slice_time_ref=1.0, **given)["response"].values
    assert np.abs(late - betas).max() > 0.05
    noted = fit(bold.assign_attrs(slice_time_ref=1.0), **given)["response"].values
    np.testing.assert_array_equal(noted, late)


def test_blocks_of_voxels_do_not_matter(monkeypatch):
    from brainlens_bids import glm

    bold, _ = make_bold(noise=1.0)
    for noise_model in ("ols", "ar1"):
        whole = fit(bold, noise_model=noise_model)["response"].values
        monkeypatch.setattr(glm, "_VOXELS_AT_ONCE", 2)
        np.testing.assert_allclose(fit(bold, noise_model=noise_model)["response"].values, whole, rtol=1e-5, atol=1e-6)
        monkeypatch.undo()


def test_a_run_without_trials_gives_none():
    bold, betas = make_bold()
    bold["event_trial_type"][6:] = "rest"
    made = fit(bold, scaling="none", drift_model="none")
    np.testing.assert_allclose(made["response"].values, betas[:6], atol=1e-3)


def test_runs_that_are_done_are_not_fitted_again(context, monkeypatch):
    from brainlens_bids import glm

    bold, _ = make_bold()
    first = fit(bold, context).load()

    def refuse(*given):
        raise AssertionError("fitted again")

    monkeypatch.setattr(glm, "fit_run", refuse)
    xr.testing.assert_identical(fit(bold, context).load(), first)


def test_time_series_that_cannot_be_fitted_are_refused():
    bold, _ = make_bold()
    assert "expected events beside the time series" in error_of(bold.drop_vars("event_onset"))
    cleaned = bold.assign(bold=bold["bold"] - 200)
    message = error_of(cleaned)
    assert message.startswith("bold, run 5: expected sites that vary around a mean above 0, found 7 mean not above 0")
    assert "Use scaling='none'" in message
    constant = bold.copy(deep=True)
    constant["bold"][:N_VOLUMES, 2] = 3
    assert "found 1 constant within a run, first 6. Import it again with bad_voxels='drop'." in error_of(constant)
    assert "events 'run 5': expected a column 'kind'" in error_of(bold, condition_column="kind")


def test_units():
    assert response_units(GlmParams(), "V") == "% signal change"
    assert response_units(GlmParams(scaling="none"), "V") == "V"


def test_a_simulated_subject_gives_back_its_responses(tmp_path):
    pytest.importorskip("brainlens_simulate")
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    design = {"n_stimuli": 30, "n_shared": 6, "n_repetitions": 2, "n_sessions": 2}
    registry.ingest("simulate", "v1", n_voxels=120, bold=True, noise_bold=0.0, **design)
    registry.compute("bids.glm", bold="v1/bold", name="betas", condition_column="stimulus_id", scaling="none")
    betas, truth = registry["betas"], registry["v1/response"]
    np.testing.assert_array_equal(betas["stimulus_id"].values, truth["stimulus_id"].values.astype(str))
    np.testing.assert_allclose(betas["response"].values, truth["response"].values, atol=1e-3)
