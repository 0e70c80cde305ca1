"""Betas from files of every kind and storage, in numbers drawn by hypothesis, and files that are not as published."""

import h5py
import nibabel as nib
import numpy as np
import pytest
from brainlens_nsd.files import extract, inspect_betas, read_values
from hypothesis import HealthCheck, given, settings, strategies as st

import brainlens

N_TRIALS = 750


def write_hdf5(path, values, chunks):
    path.unlink(missing_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("betas", data=values, chunks=chunks, compression=1 if chunks else None)


def refused(path):
    with pytest.raises(brainlens.BrainlensError) as caught:
        inspect_betas(path)
    message = str(caught.value)
    assert message.startswith(f"betas {str(path)!r}: expected ")
    return message


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), shape=st.sampled_from([(7,), (3, 4, 5), (1, 2, 3), (4, 1, 1)]))
def test_any_sites_come_from_any_storage_as_they_were_written(tmp_path, data, shape):
    n_sites = int(np.prod(shape))
    sites = np.array(data.draw(st.sets(st.integers(0, n_sites - 1), min_size=1).map(sorted)))
    values = np.random.default_rng(n_sites).integers(-32768, 32768, (N_TRIALS, *shape)).astype(np.int16)
    turned = values.transpose(0, *range(len(shape), 0, -1))
    across, along = (N_TRIALS, *(1,) * len(shape)), (10, *turned.shape[1:])
    path = tmp_path / "betas.hdf5"
    write_hdf5(path, turned, data.draw(st.sampled_from([across, along, None])))
    betas = inspect_betas(path)
    out = np.empty((N_TRIALS, len(sites)), np.int16)
    extract(betas, sites, out)
    assert betas.grid.shape == shape
    np.testing.assert_array_equal(out, values.reshape(N_TRIALS, -1)[:, sites])


@pytest.mark.parametrize("name", ["betas.nii.gz", "betas.nii"])
def test_volumes_come_from_both_kinds_of_nifti(tmp_path, name):
    values = np.random.default_rng(0).integers(-32768, 32768, (2, 3, 4, N_TRIALS)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / name)
    out = np.empty((N_TRIALS, 3), np.int16)
    extract(inspect_betas(tmp_path / name), np.array([0, 5, 23]), out)
    np.testing.assert_array_equal(out, values.reshape(24, N_TRIALS)[[0, 5, 23]].T)


def test_bytes_of_either_order_are_understood(tmp_path):
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    values = np.arange(-375, 375, dtype=np.int16).reshape(1, 1, 1, N_TRIALS)
    nib.save(nib.Nifti1Image(values, np.eye(4), header), tmp_path / "big.nii")
    out = np.empty((N_TRIALS, 1), np.int16)
    extract(inspect_betas(tmp_path / "big.nii"), np.array([0]), out)
    np.testing.assert_array_equal(out[:, 0], np.arange(-375, 375))


@pytest.mark.parametrize("name", ["lh.ncsnr.mgh", "lh.ncsnr.mgz"])
def test_one_value_per_vertex_is_read(tmp_path, name):
    values = np.arange(5, dtype=np.float32)
    nib.save(nib.MGHImage(values[:, None, None], np.eye(4)), tmp_path / name)
    found, grid = read_values(tmp_path / name, what="ncsnr")
    np.testing.assert_array_equal(found, values)
    assert grid.shape == (5,)


def test_betas_of_other_trials_are_refused(tmp_path):
    path = tmp_path / "betas.hdf5"
    write_hdf5(path, np.zeros((749, 2, 2, 2), np.int16), None)
    assert "expected 750 trials of one session, found shape (749, 2, 2, 2)" in refused(path)
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2, 3), np.int16), np.eye(4)), tmp_path / "betas.nii")
    assert "found shape (2, 2, 2, 3)" in refused(tmp_path / "betas.nii")


def test_betas_in_another_unit_are_refused(tmp_path):
    path = tmp_path / "betas.hdf5"
    write_hdf5(path, np.zeros((N_TRIALS, 3), np.float32), None)
    assert "dtype int16, % signal change times 300, found float32" in refused(path)
    nib.save(nib.MGHImage(np.zeros((3, 1, 1, N_TRIALS), np.int16), np.eye(4)), tmp_path / "lh.betas.mgh")
    assert "dtype float32, % signal change, found " in refused(tmp_path / "lh.betas.mgh")


def test_scaled_betas_are_refused(tmp_path):
    image = nib.Nifti1Image(np.zeros((2, 2, 2, N_TRIALS), np.int16), np.eye(4))
    image.header.set_slope_inter(1 / 300, 0)
    nib.save(image, tmp_path / "betas.nii")
    assert "scl_slope 1 and scl_inter 0" in refused(tmp_path / "betas.nii")


def test_hdf5_of_other_names_is_refused(tmp_path):
    with h5py.File(tmp_path / "betas.hdf5", "w") as file:
        file["beta"] = np.zeros((N_TRIALS, 3), np.int16)
    assert "a dataset 'betas', found none. Closest: 'beta'" in refused(tmp_path / "betas.hdf5")


@pytest.mark.parametrize("name", ["betas.hdf5", "betas.nii", "betas.nii.gz", "lh.betas.mgh"])
@pytest.mark.parametrize("content", [b"", b"<Error>AccessDenied</Error>", bytes(range(256)) * 16])
def test_files_of_something_else_are_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert "download it again" in refused(tmp_path / name)


def test_a_plain_nifti_that_is_cut_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "betas.nii"
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2, N_TRIALS), np.int16), np.eye(4)), path)
    path.write_bytes(path.read_bytes()[:-1])
    assert "12351 bytes where the header promises 12352" in refused(path)


def test_a_chunk_that_is_damaged_is_refused_while_it_is_read(tmp_path):
    path = tmp_path / "betas.hdf5"
    values = np.random.default_rng(0).integers(-999, 999, (N_TRIALS, 4)).astype(np.int16)
    with h5py.File(path, "w") as file:
        made = file.create_dataset("betas", data=values, chunks=(N_TRIALS, 1), fletcher32=True)
        place = made.id.get_chunk_info(2).byte_offset
    content = bytearray(path.read_bytes())
    content[place + 10] ^= 255
    path.write_bytes(content)
    with pytest.raises(brainlens.ParameterError, match="expected a whole file"):
        extract(inspect_betas(path), np.arange(4), np.empty((N_TRIALS, 4), np.int16))
