"""Betas of GLMsingle, in every layout in which its two versions save them, against what was written."""

import h5py
import numpy as np
import pytest
import scipy.io

N_TRIALS = 10


@pytest.fixture
def estimated(published, tmp_path, save):
    """Betas of the first session, two runs, (x, y, z, trial), and what else the importer is given."""
    values = np.random.default_rng(1).normal(size=(*published.mask.shape, 2 * N_TRIALS)).astype(np.float32)
    mask = save(tmp_path / "mask.nii.gz", published.mask.astype(np.uint8))
    events = [published.file("events", "pre", run) for run in ("1", "2")]
    given = {"events": events, "mask": mask, "subject": "01", "space": "T1w", "stimulus_column": "stim_file"}
    return values, given


def save_matlab(path, values, name="betasmd"):
    """Write as MATLAB does with -v7.3: axes in reverse, behind 512 bytes, the class as an attribute."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file[name] = values.transpose()
        file[name].attrs["MATLAB_class"] = np.bytes_("single")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(512))


def save_hdf5(path, values, name="betasmd"):
    with h5py.File(path, "w") as file:
        file[name] = values
        file["R2"] = values[..., 0]


LAYOUTS = {
    "TYPED.hdf5": save_hdf5,
    "TYPED.mat": save_matlab,
    "old.mat": lambda path, values: scipy.io.savemat(path, {"betasmd": values, "R2": values[..., 0]}),
    "betasmd.npy": np.save,
    "fortran.npy": lambda path, values: np.save(path, np.asfortranarray(values)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_trials(published, estimated, tmp_path, name):
    values, given = estimated
    LAYOUTS[name](tmp_path / name, values)
    made = published.glmsingle(betas=tmp_path / name, **given)
    np.testing.assert_array_equal(made["response"].values, values[published.mask].T)
    names = np.concatenate([published.runs[f"ses-pre_run-{run}"].events["stim_file"] for run in "12"])
    np.testing.assert_array_equal(made["stimulus_id"].values, names.astype(str))
    assert made.attrs["units"] == "% signal change"
    assert made.attrs["method"] == "GLMsingle"


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("name", ["TYPED.hdf5", "TYPED.mat", "betasmd.npy"])
@pytest.mark.parametrize("n_dims", [2, 4])
def test_betas_of_masked_data_find_their_voxels(published, estimated, tmp_path, order, name, n_dims):
    values, given = estimated
    flat = values.reshape(-1, 2 * N_TRIALS)[published.mask.ravel()]
    if order == "F":
        flat = values.transpose(2, 1, 0, 3).reshape(-1, 2 * N_TRIALS)[published.mask.transpose().ravel()]
    flat = flat if n_dims == 2 else flat[:, None, None]
    LAYOUTS[name](tmp_path / name, flat)
    made = published.glmsingle(betas=tmp_path / name, voxel_order=order, **given)
    np.testing.assert_array_equal(made["response"].values, values[published.mask].T)


@pytest.mark.parametrize("name", ["TYPED.hdf5", "TYPED.mat", "betasmd.npy"])
def test_files_are_read_in_parts(published, estimated, tmp_path, name, monkeypatch):
    from brainlens_bids import glmsingle

    values, given = estimated
    LAYOUTS[name](tmp_path / name, values)
    monkeypatch.setattr(glmsingle, "_BLOCK_BYTES", 5000)
    made = published.glmsingle(betas=tmp_path / name, **given)
    np.testing.assert_array_equal(made["response"].values, values[published.mask].T)


def test_a_dictionary_in_pickle_is_refused_with_the_lines_that_save_it_anew(published, estimated, tmp_path):
    values, given = estimated
    path = tmp_path / "TYPED_FITHRF_GLMDENOISE_RR.npy"
    np.save(path, {"betasmd": values}, allow_pickle=True)
    message = published.error("glmsingle", betas=path, **given)
    assert f"betas {str(path)!r}: expected an array of numbers, found a dictionary in pickle" in message
    lines = [line.strip() for line in message.splitlines() if "numpy." in line]
    assert lines == [
        f"found = numpy.load({str(path)!r}, allow_pickle=True).item()",
        "numpy.save('betasmd.npy', found['betasmd'])",
    ]


@pytest.mark.parametrize("name", ["TYPED.hdf5", "TYPED.mat", "old.mat", "betasmd.npy"])
def test_a_file_that_is_cut_short_is_refused_by_name(published, estimated, tmp_path, name, cut):
    values, given = estimated
    LAYOUTS[name](tmp_path / name, values)
    cut(tmp_path / name)
    message = published.error("glmsingle", betas=tmp_path / name, **given)
    assert message.startswith(f"betas {str(tmp_path / name)!r}: expected a whole file, found ")
    assert "download it again" in message


def test_a_file_of_another_kind_is_refused(published, estimated, tmp_path):
    path = tmp_path / "betas.txt"
    path.write_text("0.5")
    message = published.error("glmsingle", betas=path, **estimated[1])
    assert "found a file that is neither .mat, HDF5 nor .npy" in message


@pytest.mark.parametrize("name", ["TYPED.hdf5", "old.mat"])
def test_an_unknown_variable_is_refused_with_the_closest(published, estimated, tmp_path, name):
    values, given = estimated
    LAYOUTS[name](tmp_path / name, values)
    message = published.error("glmsingle", betas=tmp_path / name, variable="betas", **given)
    assert "expected a variable 'betas', found none. Closest: 'betasmd'. Variables: 'R2', 'betasmd'." in message


def test_betas_of_another_grid_are_refused(published, estimated, tmp_path):
    values, given = estimated
    np.save(tmp_path / "betas.npy", values[:-1])
    message = published.error("glmsingle", betas=tmp_path / "betas.npy", **given)
    assert "expected shape (6, 5, 4, trials), the grid of mask" in message
    assert f"({published.mask.sum()}, trials), its voxels, found (5, 5, 4, 20)" in message


def test_events_that_are_not_in_the_order_of_time_are_refused(published, estimated, tmp_path, save_tsv):
    values, given = estimated
    np.save(tmp_path / "betas.npy", values)
    table = published.runs["ses-pre_run-2"].events.copy()
    table.loc[[3, 4], "onset"] = table.loc[[4, 3], "onset"].to_numpy()
    path = save_tsv(tmp_path / "sub-01_run-2_events.tsv", table)
    message = published.error(
        "glmsingle", betas=tmp_path / "betas.npy", **given | {"events": [given["events"][0], path]}
    )
    assert f"events {str(path)!r}: expected trials in the order of their onsets" in message
    assert "found row 5" in message
    assert "Sort the table by onset." in message


def test_voxels_that_glmsingle_left_out_are_dropped(published, estimated, tmp_path):
    values, given = estimated
    values[tuple(np.argwhere(published.mask)[7])] = np.nan
    np.save(tmp_path / "betas.npy", values)
    made = published.glmsingle(betas=tmp_path / "betas.npy", bad_voxels="drop", **given)
    assert made.attrs["n_dropped_voxels"] == 1
    assert np.isfinite(made["response"].values).all()


@pytest.mark.parametrize("kind", ["link", "storage", "virtual"])
def test_values_in_other_files_are_refused(published, estimated, tmp_path, kind):
    values, given = estimated
    save_hdf5(tmp_path / "secret.hdf5", values)
    path = tmp_path / "TYPED.hdf5"
    with h5py.File(path, "w") as file:
        if kind == "link":
            file["betasmd"] = h5py.ExternalLink(str(tmp_path / "secret.hdf5"), "betasmd")
        elif kind == "storage":
            external = [(str(tmp_path / "secret.hdf5"), 0, values.nbytes)]
            file.create_dataset("betasmd", values.shape, np.float32, external=external)
        else:
            layout = h5py.VirtualLayout(values.shape, np.float32)
            layout[:] = h5py.VirtualSource(str(tmp_path / "secret.hdf5"), "betasmd", values.shape)
            file.create_virtual_dataset("betasmd", layout)
    message = published.error("glmsingle", betas=path, **given)
    assert "expected values in this file, found a reference to another one" in message


def test_words_are_no_betas(published, estimated, tmp_path):
    np.save(tmp_path / "betas.npy", np.array([["a", "b"]]))
    assert "expected numbers, found another kind of values" in published.error(
        "glmsingle", betas=tmp_path / "betas.npy", **estimated[1]
    )
