"""Volumes from files of every kind, and files that are something else."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from brainlens_public.volumes import check_grid, fill_rows, open_volumes, place_sites, read_mask
from hypothesis import HealthCheck, given, settings, strategies as st

SHAPE = (3, 4, 2)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["uint8", "int16", "int32", "float32", "float64"]),
    st.sampled_from(["a.nii", "a.nii.gz"]),
    st.sets(st.integers(0, 23), min_size=1),
    st.booleans(),
)
def test_any_voxels_come_from_any_file_as_they_were_written(tmp_path, dtype, name, sites, scaled):
    values = np.random.default_rng(0).integers(0, 200, (*SHAPE, 3)).astype(dtype)
    image = nib.Nifti1Image(values, np.eye(4))
    if scaled:
        image.header.set_slope_inter(0.5, 3)
    nib.save(image, tmp_path / name)
    opened = open_volumes(tmp_path / name, what="it", n_dims=4)
    places = np.array(sorted(sites))
    out = np.empty((3, len(places)), np.float32)
    fill_rows(opened, places, out, what="it")
    expected = np.asarray(nib.load(tmp_path / name).dataobj, np.float32).reshape(24, 3)[places].T
    np.testing.assert_allclose(out, expected, rtol=1e-6)


def test_bytes_of_either_order_are_understood(tmp_path):
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    values = np.arange(-12, 12, dtype=np.int16).reshape(*SHAPE, 1)
    nib.save(nib.Nifti1Image(values, np.eye(4), header), tmp_path / "big.nii")
    out = np.empty((1, 24), np.float32)
    fill_rows(open_volumes(tmp_path / "big.nii", what="it", n_dims=4), np.arange(24), out, what="it")
    np.testing.assert_array_equal(out[0], np.arange(-12, 12))


def test_grids_are_compared_by_shape_and_place(tmp_path, save_image, refused):
    first = open_volumes(save_image(tmp_path / "a.nii", np.ones(SHAPE, np.uint8)), what="a", n_dims=3)
    moved = first.affine + np.eye(4, k=3) * 0.005
    near = open_volumes(save_image(tmp_path / "b.nii", np.ones(SHAPE, np.uint8), moved), what="b", n_dims=3)
    check_grid(near, first, what="b")
    far = open_volumes(save_image(tmp_path / "c.nii", np.ones(SHAPE, np.uint8), np.eye(4)), what="c", n_dims=3)
    assert "c.nii' does not lie on the voxels of" in refused(check_grid, far, first, what="c")
    check_grid(far, first, what="c", affine=False)


def test_places_follow_the_affine(tmp_path, save_image):
    image = open_volumes(save_image(tmp_path / "a.nii", np.ones(SHAPE, np.uint8)), what="a", n_dims=3)
    sites = place_sites(np.array([0, 23]), image)
    assert [int(sites[name][1]) for name in "ijk"] == [2, 3, 1]
    assert float(sites["y_mm"][1]) == pytest.approx(-50 + 3 * 3.75)
    assert sites.attrs["volume_shape"] == list(SHAPE)


def test_masks_are_binary(tmp_path, save_image, refused):
    mask = np.zeros(SHAPE, np.uint8)
    mask[1, 2, 1] = 4
    assert np.argwhere(read_mask(save_image(tmp_path / "a.nii.gz", mask), None, what="mask")).tolist() == [[1, 2, 1]]
    mask[0, 0, 0] = 1
    path = save_image(tmp_path / "a.nii.gz", mask)
    assert "expected 0 and one other value, found 0, 1, 4" in refused(read_mask, path, None, what="mask")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", bytes(range(256)) * 8])
def test_files_of_something_else_are_refused_by_name(tmp_path, refused, name, content):
    (tmp_path / name).write_bytes(content)
    message = refused(open_volumes, tmp_path / name, what="bold", n_dims=4)
    assert message.startswith(f"bold {str(tmp_path / name)!r}: expected a whole file")


def test_axes_and_cut_files_are_refused(tmp_path, save_image, refused):
    path = save_image(tmp_path / "a.nii", np.ones((*SHAPE, 2), np.int16))
    assert "expected 3 axes, found 4: shape (3, 4, 2, 2)" in refused(open_volumes, path, what="mask", n_dims=3)
    path.write_bytes(path.read_bytes()[:-1])
    assert "less than the header promises" in refused(open_volumes, path, what="bold", n_dims=4)


def test_a_damaged_checksum_is_found_at_the_end(tmp_path, save_image, refused):
    path = save_image(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(0, 999, (9, 9, 9, 9)).astype(np.int16))
    content = bytearray(gzip.compress(gzip.decompress(path.read_bytes())))
    content[-8] ^= 1
    path.write_bytes(content)
    image = open_volumes(path, what="bold", n_dims=4)
    out = np.empty((9, 1), np.float32)
    assert "expected a whole file" in refused(fill_rows, image, np.array([0]), out, what="bold")
