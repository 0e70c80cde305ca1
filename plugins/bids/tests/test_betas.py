"""Single-trial betas from files against least squares by hand, nilearn's own models, and what was planted."""

import os

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.glm.first_level import FirstLevelModel, compute_regressor

import brainlens

N_VOLUMES, T_R, START, N_TRIALS = 90, 2.0, 0.8, 10
NAMES = ["ses-pre_run-1", "ses-pre_run-2", "ses-post_run-1", "ses-post_run-2"]
PLAIN = ["trans_x", "csf"]


def convolve(events, hrf_model="glover"):
    times = np.arange(N_VOLUMES) * T_R + START
    timing = np.stack([events["onset"], events["duration"], np.ones(len(events))])
    return compute_regressor(timing, hrf_model, times)[0]


def cosines():
    """Discrete cosines below 0.01 Hz and a constant, written out."""
    order = np.arange(1, int(np.floor(2 * N_VOLUMES * 0.01 * T_R)) + 1)
    return np.column_stack(
        [np.cos(np.pi / N_VOLUMES * (np.arange(N_VOLUMES)[:, None] + 0.5) * order), np.ones(N_VOLUMES)]
    )


def percent(published, name, mask):
    values = published.runs[name].values[:, mask.ravel()].astype(np.float64)
    return 100 * (values / values.mean(axis=0) - 1)


def solve_all(published, name, confounds=()):
    planted = published.runs[name]
    columns = [convolve(planted.events.iloc[[row]])[:, 0] for row in range(N_TRIALS)]
    design = np.column_stack([*columns, planted.confounds[list(confounds)].to_numpy(), cosines()])
    return np.linalg.lstsq(design, percent(published, name, published.mask), rcond=None)[0][:N_TRIALS]


@pytest.mark.parametrize("confounds", [[], PLAIN])
def test_least_squares_all_is_that_of_numpy(published, confounds):
    made = published.betas(confounds=confounds)
    expected = np.concatenate([solve_all(published, name, confounds) for name in NAMES])
    np.testing.assert_allclose(made["response"].values, expected, rtol=1e-4, atol=1e-5)
    assert made["response"].dtype == np.float32
    assert made.attrs["units"] == "% signal change"


def test_what_was_planted_is_found_once_confounds_are_modelled(published):
    truth = np.concatenate([run.betas[:, published.mask.ravel()] for run in published.runs.values()])
    plain, modelled = (published.betas(confounds=names)["response"].values for names in ([], PLAIN))
    error = np.abs(modelled - truth)
    assert np.median(error) < 0.2
    assert np.median(np.abs(plain - truth)) > 3 * np.median(error)
    assert np.corrcoef(modelled.ravel(), truth.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("others", ["condition", "one"])
def test_least_squares_separate_is_a_loop_over_trials(published, others):
    made = published.betas(method="lss", others=others)
    for name in NAMES[1:3]:
        events, expected = published.runs[name].events, []
        for trial in range(N_TRIALS):
            rest = events.drop(index=trial)
            groups = (
                [rest[rest["trial_type"] == kind] for kind in ("face", "house")] if others == "condition" else [rest]
            )
            columns = [convolve(events.iloc[[trial]]), *map(convolve, groups), cosines()]
            fitted = np.linalg.lstsq(np.column_stack(columns), percent(published, name, published.mask), rcond=None)[0]
            expected.append(fitted[0])
        here = made["response"].values[made["run"].values == name]
        np.testing.assert_allclose(here, expected, rtol=1e-4, atol=1e-5)
    assert made.attrs["method"] == "lss"


@pytest.mark.filterwarnings("ignore:.*Generation of a mask has been requested:RuntimeWarning")
@pytest.mark.parametrize("noise_model", ["ols", "ar1"])
@pytest.mark.parametrize("hrf_model", ["spm", "glover + derivative"])
def test_it_equals_the_first_level_model_of_nilearn(published, tmp_path, save, noise_model, hrf_model):
    mask = save(tmp_path / "mask.nii.gz", published.mask.astype(np.uint8))
    planted = published.runs[NAMES[2]]
    model = FirstLevelModel(
        t_r=T_R, slice_time_ref=START / T_R, hrf_model=hrf_model, drift_model="polynomial", drift_order=2,
        mask_img=str(mask), noise_model=noise_model, signal_scaling=0, standardize=False, minimize_memory=False,
    )  # fmt: skip
    events = planted.events.assign(trial_type=[f"trial{row:02d}" for row in range(N_TRIALS)])
    model.fit(str(published.file("bold", "post", "1")), events[["onset", "duration", "trial_type"]],
              confounds=planted.confounds[PLAIN])  # fmt: skip
    expected = [
        model.masker_.transform(model.compute_contrast(f"trial{row:02d}", output_type="effect_size"))
        for row in range(N_TRIALS)
    ]
    made = published.betas(
        sessions="post", runs="1", mask=mask, hrf_model=hrf_model, noise_model=noise_model, drift_model="polynomial",
        drift_order=2, confounds=PLAIN,
    )  # fmt: skip
    np.testing.assert_allclose(made["response"].values, np.vstack(expected), rtol=2e-3, atol=2e-4)


@pytest.mark.filterwarnings("ignore:.*Generation of a mask has been requested:RuntimeWarning")
def test_separate_models_with_noise_are_those_of_nilearn(published, tmp_path, save):
    mask = save(tmp_path / "mask.nii.gz", published.mask.astype(np.uint8))
    given = {"sessions": "post", "runs": "1", "mask": mask, "method": "lss", "noise_model": "ar1"}
    made = published.betas(**given)
    events = published.runs[NAMES[2]].events[["onset", "duration", "trial_type"]].copy()
    events.loc[4, "trial_type"] = "this"
    model = FirstLevelModel(
        t_r=T_R, slice_time_ref=START / T_R, mask_img=str(mask), noise_model="ar1", signal_scaling=0, standardize=False
    ).fit(str(published.file("bold", "post", "1")), events)
    expected = model.masker_.transform(model.compute_contrast("this", output_type="effect_size"))
    np.testing.assert_allclose(made["response"].values[4], np.ravel(expected), rtol=2e-3, atol=2e-4)


def test_trials_carry_their_labels_in_the_order_of_the_tables(published):
    made = published.betas(stimulus_column="stim_file")
    written = pd.concat([run.events for run in published.runs.values()])
    names = written["stim_file"].to_numpy(dtype=str)
    np.testing.assert_array_equal(made["stimulus_id"].values, names)
    np.testing.assert_array_equal(made["condition"].values, written["trial_type"].to_numpy(dtype=str))
    for name in ("onset", "duration"):
        np.testing.assert_array_equal(made[name].values, written[name].to_numpy())
    np.testing.assert_array_equal(made["run"].values, np.repeat(NAMES, N_TRIALS))
    np.testing.assert_array_equal(made["session"].values, np.repeat(["ses-pre", "ses-post"], 2 * N_TRIALS))
    np.testing.assert_array_equal(made["event_response_time"].values, written["response_time"].to_numpy())
    np.testing.assert_array_equal(made["trial"].values, np.arange(4 * N_TRIALS))
    assert made["repetition"].values.tolist() == [names[:row].tolist().count(name) for row, name in enumerate(names)]


def test_without_a_column_of_stimuli_the_condition_is_the_stimulus(published):
    made = published.betas()
    assert set(made["stimulus_id"].values.tolist()) == {"face", "house"}
    np.testing.assert_array_equal(made["stimulus_id"].values, made["condition"].values)


def test_a_column_called_run_is_kept_beside_the_run(world):
    path = world.file("events", "pre", "1")
    table = pd.read_csv(path, sep="\t").assign(run=7)
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    made = world.betas(sessions="pre", runs="1")
    assert made["event_run_label"].values.tolist() == [7] * N_TRIALS
    assert set(made["run"].values.tolist()) == {"ses-pre_run-1"}
    assert "event_run_label" in world.read(sessions="pre", runs="1")


def test_stimuli_may_be_numbers(world):
    for session, run in (name.removeprefix("ses-").split("_run-") for name in NAMES):
        path = world.file("events", session, run)
        table = pd.read_csv(path, sep="\t")
        table.assign(image=1000 + np.arange(N_TRIALS)).to_csv(path, sep="\t", index=False, na_rep="n/a")
    made = world.betas(stimulus_column="image", stimulus_ids="number")
    assert made["stimulus_id"].dtype == np.int64
    assert made["stimulus_id"].values[:3].tolist() == [1000, 1001, 1002]
    message = world.error("betas", stimulus_column="stim_file", stimulus_ids="number")
    assert message.startswith("stimulus_ids: expected whole numbers in column 'stim_file', found '")


def test_nuisance_events_have_an_effect_but_no_beta(published):
    made = published.betas(trials="face", nuisance="house", sessions="pre", runs="1")
    events = published.runs[NAMES[0]].events
    faces, houses = (events[events["trial_type"] == kind] for kind in ("face", "house"))
    columns = [*(convolve(faces.iloc[[row]]) for row in range(len(faces))), convolve(houses), cosines()]
    mask = published.runs[NAMES[0]].mask
    fitted = np.linalg.lstsq(np.column_stack(columns), percent(published, NAMES[0], mask), rcond=None)[0]
    np.testing.assert_allclose(made["response"].values, fitted[: len(faces)], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(made["onset"].values, faces["onset"])


def test_rest_has_no_effect_and_no_beta(published):
    made = published.betas(rest="house", sessions="pre", runs="1")
    events = published.runs[NAMES[0]].events
    faces = events[events["trial_type"] == "face"]
    columns = [*(convolve(faces.iloc[[row]]) for row in range(len(faces))), cosines()]
    mask = published.runs[NAMES[0]].mask
    fitted = np.linalg.lstsq(np.column_stack(columns), percent(published, NAMES[0], mask), rcond=None)[0]
    np.testing.assert_allclose(made["response"].values, fitted[: len(faces)], rtol=1e-4, atol=1e-5)


def test_scrubbed_volumes_are_not_fitted(world):
    path = world.file("confounds", "pre", "1")
    table = pd.read_csv(path, sep="\t")
    table.loc[[30, 31], "framewise_displacement"] = 2.0
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    given = {"sessions": "pre", "runs": "1", "strategy": ["motion", "scrub"], "motion": "basic", "scrub": 0}
    made = world.betas(**given)
    planted = world.runs[NAMES[0]]
    names = [name for name in table if name.startswith(("trans_", "rot_")) and name[-2:] in ("_x", "_y", "_z")]
    columns = [convolve(planted.events.iloc[[row]])[:, 0] for row in range(N_TRIALS)]
    kept = np.setdiff1d(np.arange(N_VOLUMES), [30, 31])
    design = np.column_stack([*columns, planted.confounds[names].to_numpy(), cosines()])[kept]
    values = planted.values[kept][:, planted.mask.ravel()].astype(float)
    values = 100 * (values / values.mean(axis=0) - 1)
    expected = np.linalg.lstsq(design, values, rcond=None)[0][:N_TRIALS]
    np.testing.assert_allclose(made["response"].values, expected, rtol=1e-4, atol=1e-5)


def test_the_unit_of_the_files_may_be_kept(published):
    made = published.betas(scaling="none", sessions="pre", runs="1")
    planted = published.runs[NAMES[0]]
    scale = planted.values[:, planted.mask.ravel()].mean(axis=0) / 100
    percent_of_mean = published.betas(sessions="pre", runs="1")["response"].values
    np.testing.assert_allclose(made["response"].values, percent_of_mean * scale, rtol=1e-4, atol=1e-2)
    assert made.attrs["units"] == "arbitrary units"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"condition_column": "trial_typ"}, "which condition_column names, found none. Closest: 'trial_type'"),
        ({"stimulus_column": "stimulus"}, "expected a column 'stimulus', which stimulus_column names"),
        ({"trials": "faces"}, "expected values of column 'trial_type', found 'faces'. Closest: 'face'"),
        ({"trials": "face"}, "in trials, nuisance or rest, found 'house' in none. Add it to one of them."),
        ({"trials": "face", "nuisance": "face"}, "expected each value in one of them, found 'face' in two"),
        ({"rest": ["face", "house"]}, "expected at least one trial, found none in 4 tables"),
        ({"stimulus_column": "response_time"}, "in column 'response_time' for every trial, found 'n/a'"),
        ({"raw": ""}, "raw: expected the folder of the raw dataset, which holds the events"),
    ],
)  # fmt: skip
def test_columns_and_values_that_do_not_exist_are_refused(published, given, text):
    assert text in published.error("betas", **given)


def test_events_of_another_run_are_refused(world):
    path = world.file("events", "post", "1")
    table = pd.read_csv(path, sep="\t")
    table.loc[9, "onset"] = 180.0
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    message = world.error("betas")
    assert message.startswith(
        f"events {str(path)!r}: expected onsets within the run, 0 to 180 s, found 180 s in row 10."
    )


def test_trials_that_cannot_be_told_apart_are_refused(world):
    path = world.file("events", "post", "1")
    table = pd.read_csv(path, sep="\t")
    table.loc[4, ["onset", "duration"]] = table.loc[3, ["onset", "duration"]]
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    message = world.error("betas")
    assert f"events {str(path)!r}: expected trials whose effect can be told from that of everything else" in message
    assert "found rows 4, 5 that cannot" in message
    assert "method='lss'" in message


def test_more_trials_than_volumes_are_refused(world, save):
    path = world.file("events", "post", "1")
    rows = [f"{onset:.2f}\t0.5\tface" for onset in np.arange(0, 170, 1.5)]
    path.write_text("\n".join(["onset\tduration\ttrial_type", *rows]))
    assert "more regressors than volumes" in world.error("betas", sessions="post", runs="1")
    made = world.betas(sessions="post", runs="1", method="lss")
    assert made.sizes["trial"] == len(rows)


def test_a_trial_without_duration_is_refused(world):
    path = world.file("events", "pre", "2")
    table = pd.read_csv(path, sep="\t")
    table.loc[2, "duration"] = np.nan
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    message = world.error("betas")
    assert (
        f"events {str(path)!r}: expected a duration in s for every event that is not rest, found nan in row 3"
        in message
    )


def test_the_same_run_under_two_names_is_refused(world):
    path = world.file("bold", "post", "2")
    path.write_bytes(world.file("bold", "pre", "1").read_bytes())
    assert f"bold {str(path)!r}: expected values of its own" in world.error("betas")


def test_bad_voxels_are_dropped_before_the_model(world, save):
    path = world.file("bold", "pre", "1")
    volumes = np.asarray(nib.load(path).dataobj)
    volumes[3, 2, 1, 7], volumes[4, 3, 2], volumes[4, 3, 3] = np.inf, 5, -volumes[4, 3, 3]
    save(path, volumes)
    message = world.error("betas")
    assert "1 not finite" in message
    assert "1 mean not above 0 in a run" in message
    made = world.betas(bad_voxels="drop", noise_model="ar1", sessions="pre", runs="1")
    assert made.attrs["n_dropped_voxels"] == 3
    assert np.isfinite(made["response"].values).all()
    assert world.betas(bad_voxels="drop", scaling="none").attrs["n_dropped_voxels"] == 2


def test_a_change_of_the_model_or_the_events_is_fitted_anew(world, context):
    plain = world.betas(context=context)["response"].values
    again = world.betas(context=context)["response"].values
    np.testing.assert_array_equal(again, plain)
    path = world.file("events", "post", "2")
    table = pd.read_csv(path, sep="\t")
    table["onset"] += 1
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    moved = world.betas(context=context)["response"].values
    np.testing.assert_array_equal(moved[:30], plain[:30])
    assert np.abs(moved[30:] - plain[30:]).max() > 0.1


def test_a_killed_import_goes_on_with_the_run_it_was_at(published, killed, monkeypatch):
    from brainlens_bids import betas

    registry = brainlens.open(killed["bids.betas"], quiet=True)
    assert registry.list() == []
    seen, fit_run = [], betas.fit_run
    monkeypatch.setattr(betas, "fit_run", lambda *given: (seen.append(given[2].where), fit_run(*given))[1])
    registry.ingest("bids.betas", "made", **published.params())
    assert [os.path.basename(where) for where in seen] == [
        published.file("events", "post", run).name for run in ("1", "2")
    ]
    np.testing.assert_array_equal(registry["made"]["response"].values, published.betas()["response"].values)


def test_scrubbed_volumes_and_confounds_of_one_run_survive_being_stored(world, tmp_path):
    path = world.file("confounds", "pre", "2")
    table = pd.read_csv(path, sep="\t").drop(columns="cosine02")
    table.loc[[30, 31], "std_dvars"] = 9.0
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    given = {"strategy": ["motion", "high_pass", "scrub"], "motion": "basic", "scrub": 0}
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    registry.ingest("bids.bold", "bold", **world.params(**given))
    assert np.flatnonzero(registry["bold"]["is_censored"].values).tolist() == [N_VOLUMES + 30, N_VOLUMES + 31]
    model = {"noise_model": "ar1", "drift_model": "none"}
    registry.compute("bids.glm", bold="bold", name="betas", **model)
    expected = world.betas(**given, **model)["response"].values
    np.testing.assert_allclose(registry["betas"]["response"].values, expected, rtol=1e-5, atol=1e-6)


def test_the_analysis_of_a_stored_time_series_gives_the_same_betas(published, tmp_path):
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    registry.ingest("bids.bold", "bold", **published.params(confounds=PLAIN))
    registry.compute("bids.glm", bold="bold", name="betas", method="lss", stimulus_column="stim_file")
    stored = registry["betas"]
    expected = published.betas(confounds=PLAIN, method="lss", stimulus_column="stim_file")
    np.testing.assert_array_equal(stored["response"].values, expected["response"].values)
    for name in expected.coords:
        np.testing.assert_array_equal(stored[name].values, expected[name].values, err_msg=name)
    assert set(stored.coords) == set(expected.coords)
    assert {name: stored.attrs[name] for name in expected.attrs} == expected.attrs


def test_betas_of_haxbys_blocks_tell_categories_apart(shared, tmp_path):
    from brainlens_bids import BetasParams
    from brainlens_bids.betas import read
    from sklearn.linear_model import Ridge

    source = shared("haxby2001_pymvpa")
    folder = tmp_path / "sub-001" / "func"
    folder.mkdir(parents=True)
    for run in range(1, 13):
        recorded = source / "haxby2001" / "sub001" / "BOLD" / f"task001_run{run:03d}"
        for ending, name in (("bold.nii.gz", "bold_1slice.nii.gz"), ("events.tsv", "bold_events.tsv")):
            (folder / f"sub-001_task-objects_run-{run:02d}_{ending}").symlink_to((recorded / name).resolve())
    files = {"raw": tmp_path, "subject": "001", "task": "objects", "runs": "01-12", "mask": source / "mask.nii.gz"}
    # Linear trend and the unit of the files, as where the reference comes from.
    params = BetasParams(**files, drift_model="polynomial", scaling="none")
    made = read(params=params, context=brainlens.Context())[""]
    assert dict(made.sizes) == {"trial": 96, "voxel": 530}
    assert (made["repetition"].values == np.repeat(np.arange(12), 8)).all()
    categories = np.unique(made["condition"].values)
    target = (made["condition"].values[:, None] == categories).astype(float)
    correct = []
    for run in np.unique(made["run"].values):
        test = made["run"].values == run
        fitted = Ridge(alpha=1.0).fit(made["response"].values[~test], target[~test])
        predicted = fitted.predict(made["response"].values[test])
        correct += (predicted.argmax(axis=1) == target[test].argmax(axis=1)).tolist()
    # 0.646 is the published reference, of means of blocks of this slice; chance is 0.125.
    assert np.mean(correct) > 0.646
