"""Images opened, compared and read against nibabel; damaged and foreign files are refused."""

import gzip
import re

import nibabel as nib
import numpy as np
import pytest
from brainlens_bids import images
from brainlens_bids.images import (
    check_same_grid,
    header_t_r,
    open_image,
    place_voxels,
    read_mask,
    read_sites,
    read_volume,
)
from hypothesis import HealthCheck, given, settings, strategies as st

import brainlens

AFFINE = nib.affines.from_matvec(np.diag([-3.0, 2.5, 4.0]), [60.0, -35.5, -12.25])
SHAPE = (5, 4, 3)
MASK = np.random.default_rng(1).random(SHAPE) < 0.5


def write(path, values, *, affine=AFFINE, slope=None, inter=0.0, t_r=2.0, units=("mm", "sec")):
    image = nib.Nifti1Image(values, affine, dtype=values.dtype)
    image.header.set_xyzt_units(*units)
    if values.ndim == 4:
        image.header.set_zooms((*image.header.get_zooms()[:3], t_r))
    if slope is not None:
        image.header.set_slope_inter(slope, inter)
    nib.save(image, path)
    return path


def sites_of(path):
    image = open_image(path, what="bold", n_dims=4)
    out = np.empty((image.n_volumes, int(MASK.sum())), np.float32)
    return out, read_sites(image, MASK, out, what="bold")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dtype=st.sampled_from(["u1", "i2", ">i2", "i4", "f4", ">f4", "f8"]),
    ending=st.sampled_from([".nii", ".nii.gz"]),
    scaled=st.booleans(),
    block=st.integers(1, 500),
    n_volumes=st.integers(1, 7),
)
def test_voxels_are_those_of_nibabel(tmp_path, dtype, ending, scaled, block, n_volumes):
    rng = np.random.default_rng(n_volumes)
    values = rng.integers(0, 200, (*SHAPE, n_volumes)).astype(dtype)
    slope = {"slope": 0.25, "inter": -3.0} if scaled and np.dtype(dtype).kind != "f" else {}
    path = write(tmp_path / f"x{ending}", values, **slope)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "_BLOCK_BYTES", block)
        found, _ = sites_of(path)
    expected = np.asarray(nib.load(path).dataobj)[MASK].T
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_was_read_has_a_digest(tmp_path):
    values = np.random.default_rng(0).normal(size=(*SHAPE, 4)).astype(np.float32)
    digests = [sites_of(write(tmp_path / f"{n}.nii", part))[1] for n, part in enumerate((values, values, values + 1))]
    assert digests[0] == digests[1] != digests[2]
    outside = values.copy()
    outside[~MASK] = 0
    assert sites_of(write(tmp_path / "outside.nii", outside))[1] == digests[0]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("share", [0.001, 0.3, 0.99])
def test_a_file_that_is_cut_short_is_refused_by_name(tmp_path, ending, share):
    path = write(tmp_path / f"x{ending}", np.random.default_rng(0).integers(0, 99, (*SHAPE, 50)).astype(np.int16))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(brainlens.ParameterError) as caught:
        sites_of(path)
    assert str(caught.value).startswith(f"bold {str(path)!r}: expected a whole file, found ")
    assert "copy or download it again" in str(caught.value)


def test_whole_compression_of_too_few_volumes_is_refused(tmp_path):
    path = write(tmp_path / "x.nii.gz", np.ones((*SHAPE, 5), np.int16))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-10]))
    with pytest.raises(brainlens.ParameterError, match="found the end of the file in volume 1 to 5 of 5"):
        sites_of(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x.nii.gz"
    path.write_bytes(b"nothing of this kind")
    with pytest.raises(brainlens.ParameterError, match="expected a whole file, found"):
        open_image(path, what="bold", n_dims=4)
    other = tmp_path / "x.mgz"
    nib.save(nib.MGHImage(np.ones(SHAPE, np.float32), AFFINE), other)
    with pytest.raises(brainlens.ParameterError, match="found a file of kind MGHImage"):
        open_image(other, what="mask", n_dims=3)


def test_the_number_of_axes_must_fit(tmp_path):
    flat = write(tmp_path / "flat.nii", np.ones((*SHAPE, 1), np.uint8))
    assert open_image(flat, what="mask", n_dims=3).shape == SHAPE
    many = write(tmp_path / "many.nii", np.ones((*SHAPE, 2), np.uint8))
    with pytest.raises(brainlens.DimensionError, match=re.escape("Take one volume with nilearn.image.index_img")):
        open_image(many, what="mask", n_dims=3)
    one = write(tmp_path / "one.nii", np.ones(SHAPE, np.uint8))
    with pytest.raises(brainlens.DimensionError, match=re.escape("Join 3-D volumes with nilearn.image.concat_imgs")):
        open_image(one, what="bold", n_dims=4)


def test_complex_values_and_flat_affines_are_refused(tmp_path):
    path = write(tmp_path / "x.nii", np.ones(SHAPE, np.complex64))
    with pytest.raises(brainlens.ParameterError, match="expected integers or floats, found values of dtype complex64"):
        open_image(path, what="mask", n_dims=3)
    flat = tmp_path / "flat.nii"
    image = nib.load(write(flat, np.ones(SHAPE, np.uint8)))
    image.header["srow_x"] = 0
    content = bytearray(flat.read_bytes())
    content[280:296] = bytes(16)
    flat.write_bytes(content)
    with pytest.raises(brainlens.ParameterError, match="expected a finite, invertible affine"):
        open_image(flat, what="mask", n_dims=3)


def test_grids_are_compared_at_their_corners(tmp_path):
    reference = open_image(write(tmp_path / "a.nii", np.ones(SHAPE, np.uint8)), what="mask", n_dims=3)
    near = AFFINE + np.array([[0, 0, 0, 0.005]] * 3 + [[0, 0, 0, 0]])
    check_same_grid(
        open_image(write(tmp_path / "b.nii", np.ones(SHAPE, np.uint8), affine=near), what="mask", n_dims=3),
        reference,
        what="mask",
    )
    turned = AFFINE.copy()
    turned[0, 0] += 0.01
    path = write(tmp_path / "c.nii", np.ones(SHAPE, np.uint8), affine=turned)
    with pytest.raises(brainlens.DimensionError) as caught:
        check_same_grid(open_image(path, what="mask", n_dims=3), reference, what="mask")
    message = str(caught.value)
    assert message.startswith(f"mask {str(path)!r} does not lie on the grid of {str(tmp_path / 'a.nii')!r}")
    line = message.splitlines()[-1].strip()
    assert line == (
        f"nilearn.image.resample_to_img({str(path)!r}, {str(tmp_path / 'a.nii')!r}, "
        "interpolation='nearest').to_filename('resampled.nii.gz')"
    )


def test_masks_are_binary(tmp_path):
    path = write(tmp_path / "m.nii.gz", (MASK * 7).astype(np.int16))
    np.testing.assert_array_equal(read_mask(open_image(path, what="mask", n_dims=3), what="mask"), MASK)
    labels = write(tmp_path / "l.nii.gz", np.arange(60).reshape(SHAPE).astype(np.int16))
    with pytest.raises(
        brainlens.ParameterError, match="expected a binary image, 0 and one other value, found 60 values"
    ):
        read_mask(open_image(labels, what="mask", n_dims=3), what="mask")
    gaps = write(tmp_path / "n.nii.gz", np.where(MASK, np.nan, 0).astype(np.float32))
    with pytest.raises(brainlens.ParameterError, match="expected a binary image"):
        read_mask(open_image(gaps, what="mask", n_dims=3), what="mask")


def test_scaled_volumes_are_read_in_their_unit(tmp_path):
    path = write(tmp_path / "x.nii", np.arange(60).reshape(SHAPE).astype(np.int16), slope=0.5, inter=1.0)
    np.testing.assert_allclose(read_volume(open_image(path, what="x", n_dims=3), what="x"), nib.load(path).get_fdata())


@pytest.mark.parametrize(
    ("t_r", "unit", "expected"), [(2.0, "sec", 2.0), (1350.0, "msec", 1.35), (1.35, "sec", 1.35), (2.0, "hz", 0.0)]
)
def test_the_repetition_time_of_a_header_is_in_s(tmp_path, t_r, unit, expected):
    path = write(tmp_path / "x.nii", np.ones((*SHAPE, 3), np.int16), t_r=t_r, units=("mm", unit))
    assert header_t_r(open_image(path, what="bold", n_dims=4)) == expected


def test_places_are_kept_for_the_way_back(tmp_path):
    path = write(tmp_path / "x.nii", np.ones(SHAPE, np.uint8))
    placed = place_voxels(open_image(path, what="mask", n_dims=3), MASK, space="T1w")
    index = np.stack([placed[name].values for name in "ijk"], axis=1)
    np.testing.assert_array_equal(index, np.argwhere(MASK))
    np.testing.assert_array_equal(placed["voxel"].values, np.flatnonzero(MASK))
    np.testing.assert_allclose(np.reshape(placed.attrs["affine"], (4, 4)), AFFINE)
    assert placed.attrs["volume_shape"] == list(SHAPE)


def test_maps_go_back_to_the_grid_that_they_came_from(tmp_path):
    pytest.importorskip("brainlens_nifti")
    values = np.random.default_rng(0).normal(size=(*SHAPE, 6)).astype(np.float32)
    path = write(tmp_path / "sub-1_betas.nii.gz", values)
    mask = write(tmp_path / "mask.nii.gz", MASK.astype(np.uint8))
    events = tmp_path / "events.tsv"
    events.write_text("onset\tduration\ttrial_type\n" + "".join(f"{n}\t1\ta\n" for n in range(6)))
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    given = {"betas": path, "events": events, "mask": mask, "subject": "1", "space": "T1w", "units": "z"}
    registry.ingest("bids.images", "made", **given)
    registry.export("made", tmp_path / "back.nii.gz", exporter="nifti.map", variable="response")
    back = nib.load(tmp_path / "back.nii.gz")
    np.testing.assert_array_equal(np.asarray(back.dataobj)[MASK], values[MASK])
    np.testing.assert_array_equal(back.affine, nib.load(path).affine)
