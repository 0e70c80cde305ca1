"""Every number of an import against what was written into the files, in every space, and input that is refused."""

import gzip
import logging
import os
import shutil
import signal
import subprocess
import sys
import tracemalloc

import h5py
import numpy as np
import pytest
import scipy.stats
from brainlens_nsd import BetasParams
from brainlens_nsd.betas import read

import brainlens

SUBJECT, N_SESSIONS, N_TRIALS = "subj04", 3, 750
SHAPE, N_SIDES = (6, 5, 4), (17, 15)


def truth_of(published, dataset, site="voxel"):
    return published.psc[np.ix_(dataset["trial"].values, dataset[site].values)]


@pytest.mark.parametrize("kind", ["hdf5", "nifti"])
def test_betas_of_a_volume_are_what_was_written(published, kind):
    dataset = published.read(format=kind)
    np.testing.assert_allclose(dataset["response"].values, truth_of(published, dataset), rtol=1e-6, atol=1e-7)
    assert dataset["response"].dtype == np.float32
    assert dataset.sizes["trial"] == N_SESSIONS * N_TRIALS
    assert sorted(dataset["voxel"].values) == np.flatnonzero(published.labels["nsdgeneral"] == 1).tolist()
    assert dataset.attrs["units"] == "% signal change"
    assert dataset.attrs["subject"] == SUBJECT


def test_betas_are_whole_300ths(published):
    steps = published.read()["response"].values.astype(float) * 300
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    assert np.abs(steps).max() > 300


@pytest.mark.parametrize("space", ["fsaverage", "nativesurface"])
def test_betas_of_both_surfaces_are_what_was_written(published, space):
    dataset = published.read(space=space, rois=["nsdgeneral", "streams"])
    np.testing.assert_allclose(dataset["response"].values, truth_of(published, dataset, "vertex"), rtol=1e-6, atol=1e-7)
    vertex = dataset["vertex"].values
    assert dataset.attrs["space"] == space
    assert (dataset["hemisphere"].values == np.where(vertex < N_SIDES[0], "left", "right")).all()
    assert (dataset["hemisphere_vertex"].values == np.where(vertex < N_SIDES[0], vertex, vertex - N_SIDES[0])).all()
    np.testing.assert_array_equal(dataset["ncsnr"].values, published.ncsnr[vertex])


def test_trials_are_labelled_as_the_design_says(published):
    dataset = published.read()
    np.testing.assert_array_equal(dataset["stimulus_id"].values, published.stimulus_id)
    np.testing.assert_array_equal(dataset["session"].values, np.repeat([1, 2, 3], N_TRIALS))
    np.testing.assert_array_equal(dataset["run"].values, published.run)
    np.testing.assert_array_equal(dataset["trial"].values, np.arange(N_SESSIONS * N_TRIALS))
    np.testing.assert_array_equal(dataset["repetition"].values, np.repeat([0, 1, 2], N_TRIALS))
    np.testing.assert_array_equal(dataset["split"].values == "test", published.is_shared)
    assert set(dataset["stimulus_id"].values[published.is_shared]) <= set(published.subjectim[0, :1000])
    assert 0 < published.is_shared.mean() < 0.5


def test_some_sessions_keep_numbers_and_repetitions_of_all(published):
    some, everything = published.read(sessions="1,3"), published.read()
    everything = everything.isel(trial=everything["session"].values != 2)
    for name in ("response", "trial", "stimulus_id", "session", "run", "repetition"):
        np.testing.assert_array_equal(some[name].values, everything[name].values)
    assert some.attrs["sessions"] == [1, 3]


@pytest.mark.parametrize(("shared", "n_test"), [("test", 675), ("train", 0), ("leave_out", 0)])
def test_shared_images_are_test_training_or_left_out(published, shared, n_test):
    dataset = published.read(shared=shared)
    assert (dataset["split"].values == "test").sum() == n_test
    assert dataset.sizes["trial"] == 2250 - 675 * (shared == "leave_out")
    np.testing.assert_allclose(dataset["response"].values, truth_of(published, dataset), rtol=1e-6, atol=1e-7)


def test_voxels_lie_where_the_header_says(published):
    dataset = published.read()
    index = np.stack([dataset[name].values for name in "ijk"], axis=1)
    np.testing.assert_array_equal(np.ravel_multi_index(index.T, SHAPE), dataset["voxel"].values)
    place = np.stack([dataset[f"{name}_mm"].values for name in "xyz"], axis=1)
    np.testing.assert_allclose(place, index @ published.affine[:3, :3].T + published.affine[:3, 3], atol=1e-4)
    np.testing.assert_allclose(np.reshape(dataset.attrs["affine"], (4, 4)), published.affine, atol=1e-5)
    assert dataset.attrs["volume_shape"] == list(SHAPE)
    np.testing.assert_array_equal(dataset["ncsnr"].values, published.ncsnr[dataset["voxel"].values])
    source = np.sort(dataset["voxel"].values)
    np.testing.assert_array_equal(source[dataset["source_index"].values], dataset["voxel"].values)


def test_ncsnr_may_be_left_out(copy):
    copy.betas("ncsnr.nii.gz").unlink()
    assert "ncsnr.nii.gz" in copy.error()
    assert "ncsnr" not in copy.read(ncsnr="none").coords


def test_z_scores_within_sessions_are_those_of_scipy(published):
    dataset = published.read(standardize="session_all_transductive")
    truth = truth_of(published, dataset).reshape(N_SESSIONS, N_TRIALS, -1)
    expected = scipy.stats.zscore(truth, axis=1).reshape(len(dataset["trial"]), -1)
    np.testing.assert_allclose(dataset["response"].values, expected, atol=1e-5)
    assert "transductive" in dataset.attrs["units"]


@pytest.mark.parametrize("standardize", ["session_train", "train"])
def test_z_scores_by_training_trials_do_not_see_test_trials(published, copy, standardize):
    dataset = published.read(standardize=standardize)
    truth, train = truth_of(published, dataset), ~published.is_shared
    expected = np.empty_like(truth)
    sessions = dataset["session"].values
    for number in (1, 2, 3):
        here = sessions == number
        by = train & here if standardize == "session_train" else train
        expected[here] = (truth[here] - truth[by].mean(axis=0)) / truth[by].std(axis=0)
    np.testing.assert_allclose(dataset["response"].values, expected, atol=1e-5)
    with h5py.File(copy.betas("betas_session01.hdf5"), "r+") as file:
        values = file["betas"][:]
        values[published.is_shared[:N_TRIALS]] += 1000
        file["betas"][:] = values
    changed = copy.read(standardize=standardize)
    np.testing.assert_array_equal(changed["response"].values[train], dataset["response"].values[train])
    assert not np.array_equal(changed["response"].values, dataset["response"].values)
    assert changed.attrs["standardize"] == standardize


def test_float16_says_what_it_loses(published):
    short, full = published.read(dtype="float16"), published.read()
    error = np.abs(short["response"].values.astype(float) - full["response"].values)
    assert short["response"].dtype == np.float16
    assert 0 < error.max() <= short.attrs["float16_error_max"] * (1 + 1e-6) < 0.01
    assert "float16_error_max" not in full.attrs


def test_a_site_that_is_constant_is_refused_or_dropped_by_name(copy, caplog):
    voxel = int(np.flatnonzero(copy.labels["nsdgeneral"] == 1)[3])
    i, j, k = np.unravel_index(voxel, SHAPE)
    with h5py.File(copy.betas("betas_session02.hdf5"), "r+") as file:
        file["betas"][:, k, j, i] = np.zeros(N_TRIALS, np.int16)
    message = copy.error()
    assert f"1 constant within a session, first voxel {voxel}" in message
    assert "bad_sites='drop'" in message
    with caplog.at_level(logging.WARNING, "brainlens"):
        dataset = copy.read(bad_sites="drop")
    assert "dropped 1 of" in caplog.text
    assert voxel not in dataset["voxel"].values
    assert dataset.attrs["n_dropped_sites"] == 1
    np.testing.assert_allclose(dataset["response"].values, truth_of(copy, dataset), rtol=1e-6, atol=1e-7)


def test_vertices_that_are_not_numbers_are_dropped(copy, save_image):
    path = copy.betas("lh.betas_session03.mgh", space="fsaverage")
    vertex = int(np.flatnonzero(copy.labels["nsdgeneral"][: N_SIDES[0]] == 1)[0])
    values = copy.psc[-N_TRIALS:, : N_SIDES[0]].T.astype(np.float32)[:, None, None]
    values[vertex] = np.nan
    save_image(path, values)
    assert f"1 not finite, first vertex {vertex}" in copy.error(space="fsaverage")
    dataset = copy.read(space="fsaverage", bad_sites="drop", standardize="train")
    assert vertex not in dataset["vertex"].values
    assert np.isfinite(dataset["response"].values).all()


def test_a_session_of_another_subject_is_refused_with_both_grids(copy, save_hdf5):
    path = copy.betas("betas_session02.hdf5")
    save_hdf5(path, np.ones((N_TRIALS, 4, 6, 6), np.int16))
    message = copy.error()
    assert str(path) in message
    assert "expected (6, 5, 4), found (6, 6, 4)" in message
    assert "another subject" in message


def test_a_nifti_session_of_another_place_is_refused(copy, save_image):
    path = copy.betas("betas_session02.nii.gz")
    save_image(path, np.ones((*SHAPE, N_TRIALS), np.int16), affine=copy.affine + np.eye(4))
    message = copy.error(format="nifti")
    assert "affine: expected" in message
    assert str(path) in message


def test_a_session_under_the_name_of_another_is_refused(copy):
    shutil.copy(copy.betas("betas_session01.hdf5"), copy.betas("betas_session03.hdf5"))
    message = copy.error()
    assert "expected values of session 3, found those of session 1" in message


def cut(path, share=0.6):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


CUT = [
    ("hdf5", "func1pt8mm", "betas_session02.hdf5"),
    ("nifti", "func1pt8mm", "betas_session02.nii.gz"),
    ("hdf5", "fsaverage", "rh.betas_session02.mgh"),
    ("hdf5", "nativesurface", "lh.betas_session02.hdf5"),
]


@pytest.mark.parametrize(("kind", "space", "name"), CUT)
def test_a_session_that_is_cut_short_is_refused_by_name(copy, kind, space, name):
    path = copy.betas(name, space=space)
    cut(path)
    message = copy.error(format=kind, space=space, rois="nsdgeneral")
    assert message.startswith(f"betas {str(path)!r}: expected a whole file, found ")
    assert "download it again" in message


def test_a_compressed_session_with_a_wrong_checksum_is_refused(copy):
    path = copy.betas("betas_session02.nii.gz")
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    assert "CRC check failed" in copy.error(format="nifti")


def test_an_import_goes_on_where_it_stopped(copy, context, monkeypatch):
    from brainlens_nsd import files, sessions

    path = copy.betas("betas_session03.nii.gz")
    whole = path.read_bytes()
    cut(path)
    read = []
    extract = files.extract
    monkeypatch.setattr(sessions, "extract", lambda betas, *more: (read.append(betas.path.name), extract(betas, *more)))
    copy.error(format="nifti", context=context)
    assert read == [f"betas_session{number:02d}.nii.gz" for number in (1, 2, 3)]
    path.write_bytes(whole)
    dataset = copy.read(format="nifti", context=context)
    assert read[3:] == ["betas_session03.nii.gz"]
    np.testing.assert_allclose(dataset["response"].values, truth_of(copy, dataset), rtol=1e-6, atol=1e-7)


def test_a_session_that_changed_meanwhile_is_read_again(copy, context):
    first = copy.read(context=context)["response"].values
    path = copy.betas("betas_session02.hdf5")
    with h5py.File(path, "r+") as file:
        file["betas"][:] = file["betas"][:] + 1
    os.utime(path, ns=(1, 1))
    second = copy.read(context=context)["response"].values
    np.testing.assert_allclose((second - first)[N_TRIALS : 2 * N_TRIALS], 1 / 300, atol=1e-5)
    np.testing.assert_array_equal(second[:N_TRIALS], first[:N_TRIALS])


def test_through_the_registry_from_files_to_a_decoder_ready_response(published, tmp_path):
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    registry.ingest("nsd", "subj04/response", **published.params())
    stored = registry["subj04/response"]
    np.testing.assert_allclose(stored["response"].values, truth_of(published, stored), rtol=1e-6, atol=1e-7)
    assert brainlens.select_roi(stored, "V1").sizes["voxel"] == brainlens.list_rois(stored)["V1"]
    sources = {os.path.basename(item["path"]) for item in registry.lineage("subj04/response")["sources"]}
    assert {"betas_session01.hdf5", "nsd_expdesign.mat", "responses.tsv", "nsdgeneral.nii.gz"} <= sources
    assert not any((tmp_path / "study.zarr" / ".brainlens" / "scratch").iterdir())


def test_a_failed_ingest_stores_nothing_and_goes_on_after_the_fix(copy, tmp_path, monkeypatch):
    from brainlens_nsd import files, sessions

    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    path = copy.betas("betas_session03.nii.gz")
    whole = path.read_bytes()
    path.write_bytes(gzip.compress(gzip.decompress(whole)[:-50]))
    with pytest.raises(brainlens.BrainlensError, match="betas_session03"):
        registry.ingest("nsd", "r", **copy.params(format="nifti"))
    assert registry.list() == []
    path.write_bytes(whole)
    read = []
    extract = files.extract
    monkeypatch.setattr(sessions, "extract", lambda betas, *more: (read.append(betas.path.name), extract(betas, *more)))
    registry.ingest("nsd", "r", **copy.params(format="nifti"))
    assert read == ["betas_session03.nii.gz"]
    np.testing.assert_allclose(registry["r"]["response"].values, truth_of(copy, registry["r"]), rtol=1e-6, atol=1e-7)


def test_training_statistics_need_training_trials(published, monkeypatch):
    from brainlens_nsd import betas

    monkeypatch.setattr(betas, "_is_training", lambda trials, params: np.zeros(len(trials), bool))
    assert "expected at least 2 training trials" in published.error(standardize="session_train")


def test_more_sessions_take_no_more_memory(copy, save_hdf5, save_image, tmp_path):
    (copy.root / "nsddata" / "ppdata" / SUBJECT / "behav" / "responses.tsv").unlink()
    n_vertices, rng = 2000, np.random.default_rng(0)
    for side in ("lh", "rh"):
        save_image(copy.freesurfer(SUBJECT, f"{side}.nsdgeneral.mgz"), np.ones((n_vertices, 1, 1), np.int32))
        for session in range(1, 6):
            values = rng.integers(-900, 900, (N_TRIALS, n_vertices)).astype(np.int16)
            save_hdf5(copy.betas(f"{side}.betas_session{session:02d}.hdf5", space="nativesurface"), values)

    def peak(sessions):
        folder = tmp_path / f"scratch{sessions}"
        folder.mkdir()
        given = {"sessions": sessions, "space": "nativesurface", "rois": "nsdgeneral", "ncsnr": "none"}
        tracemalloc.start()
        made = read(params=BetasParams(**copy.params(**given)), context=brainlens.Context(scratch=folder))[""]
        for low in range(0, made.sizes["trial"], 250):
            assert made["response"][low : low + 250].values.shape == (250, 2 * n_vertices)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    session_bytes = N_TRIALS * 2 * n_vertices * 2
    few, many = peak("1-2"), peak("1-5")
    assert many - few < session_bytes / 2


def test_a_site_that_only_test_trials_move_cannot_be_standardised(copy):
    voxel = int(np.flatnonzero(copy.labels["nsdgeneral"] == 1)[0])
    i, j, k = np.unravel_index(voxel, SHAPE)
    with h5py.File(copy.betas("betas_session02.hdf5"), "r+") as file:
        values = file["betas"][:, k, j, i]
        values[~copy.is_shared[N_TRIALS : 2 * N_TRIALS]] = 5
        file["betas"][:, k, j, i] = values
    message = copy.error(standardize="session_train")
    assert "expected sites that vary over the training trials, found 1 that do not in session 2" in message
    assert np.isfinite(copy.read(standardize="train")["response"].values).all()


def test_values_beyond_float16_are_refused_with_the_largest(copy, save_image):
    path = copy.betas("rh.betas_session01.mgh", space="fsaverage")
    values = copy.psc[:N_TRIALS, N_SIDES[0] : sum(N_SIDES)].T.astype(np.float32)[:, None, None] * 1e6
    save_image(path, values)
    message = copy.error(space="fsaverage", dtype="float16")
    assert "expected values up to 65504 for float16, found " in message
    assert copy.read(space="fsaverage")["response"].dtype == np.float32


def test_every_version_lies_in_a_folder_of_its_own(copy):
    folder = copy.betas()
    shutil.copytree(folder, folder.with_name("betas_assumehrf"))
    with h5py.File(folder.with_name("betas_assumehrf") / "betas_session01.hdf5", "r+") as file:
        file["betas"][:] = file["betas"][:] + 3
    first, other = (copy.read(betas=name, sessions="1") for name in (folder.name, "betas_assumehrf"))
    np.testing.assert_allclose((other["response"] - first["response"]).values, 0.01, atol=1e-5)
    assert other.attrs["betas"] == "betas_assumehrf"
    assert "found 'betas_assumehrf', 'betas_fithrf_GLMdenoise_RR' in 'func1pt8mm'" in copy.error(betas="betas_fithrf")


KILLED = """
import os, signal, sys
import brainlens
from brainlens_nsd import sessions

extract = sessions.extract

def stop_in_the_third(betas, sites, out):
    extract(betas, sites, out)
    if "session03" in betas.path.name:
        os.kill(os.getpid(), signal.SIGKILL)

sessions.extract = stop_in_the_third
registry = brainlens.open(sys.argv[1], quiet=True)
registry.ingest("nsd", "r", root=sys.argv[2], subject="subj04", sessions="1-3")
"""


def test_a_killed_import_goes_on_with_the_session_it_was_at(published, tmp_path, monkeypatch):
    from brainlens_nsd import sessions

    place = tmp_path / "study.zarr"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(place), str(published.root)], check=False)
    assert killed.returncode == -signal.SIGKILL
    registry = brainlens.open(place, quiet=True)
    assert registry.list() == []
    read, extract = [], sessions.extract
    monkeypatch.setattr(sessions, "extract", lambda betas, *more: (read.append(betas.path.name), extract(betas, *more)))
    registry.ingest("nsd", "r", **published.params())
    assert read == ["betas_session03.hdf5"]
    stored = registry["r"]
    np.testing.assert_allclose(stored["response"].values, truth_of(published, stored), rtol=1e-6, atol=1e-7)
