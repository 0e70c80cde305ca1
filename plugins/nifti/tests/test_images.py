import re
from pathlib import Path

import nibabel as nib
import nilearn.image  # the resampling line that an error prints is carried out in a test
import numpy as np
import pytest
from brainlens_nifti.images import (
    check_same_grid,
    grid_attributes,
    mask_digest,
    open_image,
    read_mask,
    read_t_r,
    read_voxels,
)
from hypothesis import HealthCheck, given, settings, strategies as st

import brainlens

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refuse(path, n_dims=4, what="BOLD"):
    with pytest.raises(brainlens.BrainlensError) as caught:
        open_image(Path(path), what=what, n_dims=n_dims)
    return str(caught.value)


def read_or_refuse(path, use):
    """Return what `use` makes of an image, or the text of the error."""
    try:
        return use(open_image(path, what="BOLD", n_dims=4))
    except brainlens.BrainlensError as error:
        return str(error)


@QUICK
@given(data=st.data())
def test_a_file_cut_anywhere_is_refused(study, data):
    for ending in (".nii.gz", ".nii"):
        whole = study.folder / f"whole{ending}"
        study.save(whole.name, study.bold)
        content = whole.read_bytes()
        cut = study.folder / f"cut{ending}"
        cut.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        assert refuse(cut).startswith(f"BOLD {str(cut)!r}: expected a whole NIfTI file (.nii or .nii.gz), found ")


@QUICK
@given(data=st.data())
def test_a_flipped_bit_in_a_compressed_file_never_changes_values(study, data):
    content = bytearray((study.folder / "bold.nii.gz").read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = study.folder / "flipped.nii.gz"
    path.write_bytes(content)
    found = read_or_refuse(path, lambda image: np.asanyarray(image.dataobj))
    if isinstance(found, str):
        assert str(path) in found
    else:
        np.testing.assert_array_equal(found, study.bold)


@QUICK
@given(data=st.data())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_any_damage_to_an_uncompressed_header_ends_in_an_image_or_in_one_of_our_errors(study, data):
    study.save("plain.nii", study.bold)
    content = bytearray((study.folder / "plain.nii").read_bytes())
    for _ in range(3):
        content[data.draw(st.integers(0, 351))] = data.draw(st.integers(0, 255))
    path = study.folder / "damaged.nii"
    path.write_bytes(content)
    found = read_or_refuse(path, lambda image: (read_t_r(image), grid_attributes(image)["affine"]))
    if isinstance(found, str):
        assert str(path) in found
    else:
        assert found[0] > 0
        assert np.isfinite(found[1]).all()


def test_other_files_are_refused(study):
    study.write("labels.nii.gz", "face 0")
    assert "expected a whole NIfTI file (.nii or .nii.gz), found Not a gzipped file" in refuse(
        study.folder / "labels.nii.gz"
    )
    nib.save(nib.Nifti1Pair(study.mask, study.affine), study.folder / "pair.img")
    assert "expected a NIfTI file (.nii or .nii.gz), found Nifti1Pair." in refuse(study.folder / "pair.img", n_dims=3)
    assert "expected a whole NIfTI file" in refuse(study.folder)


def test_other_numbers_of_axes_are_refused(study):
    mask, bold = (study.params()[key] for key in ("mask", "bold"))
    assert refuse(mask) == (
        f"BOLD {mask!r}: expected a 4-D image, found 3-D with shape (5, 4, 3). "
        "Join 3-D volumes with nilearn.image.concat_imgs(volumes)."
    )
    assert refuse(bold, 3, "mask") == (
        f"mask {bold!r}: expected a 3-D image, found 4-D with shape (5, 4, 3, 20). "
        f"Take one volume with nilearn.image.index_img({bold!r}, 0)."
    )


def test_colours_and_complex_numbers_are_refused(study):
    study.save("complex.nii", study.bold.astype(np.complex64))
    assert "expected integers or floats, found values of dtype complex64" in refuse(study.folder / "complex.nii")


def test_an_affine_that_cannot_be_inverted_is_refused(study):
    flat = study.affine.copy()
    flat[2] = 0
    image = nib.load(study.params()["bold"])
    image.header["srow_z"] = 0
    nib.save(nib.Nifti1Image(study.bold, None, image.header), study.folder / "flat.nii")
    assert "expected a finite, invertible affine and finite voxel sizes" in refuse(study.folder / "flat.nii")


def test_other_units_of_space_are_refused(study):
    image = nib.load(study.params()["bold"])
    image.header.set_xyzt_units("micron", "sec")
    nib.save(image, study.folder / "micron.nii")
    assert "expected the spatial unit 'mm', found 'micron'" in refuse(study.folder / "micron.nii")


@pytest.mark.parametrize("change", ["shift", "shape", "rotation"])
def test_an_image_on_another_grid_is_refused_with_both_grids_and_a_fix_that_works(study, change, monkeypatch):
    affine, mask = study.affine.copy(), study.mask
    if change == "shift":
        affine[1, 3] += 0.5
    elif change == "rotation":
        affine[:2, :2] = affine[:2, :2] @ np.array([[0, 1], [-1, 0]])
    else:
        mask = np.ones((5, 4, 4), np.uint8)
    path = study.save("other.nii.gz", mask, affine=affine)
    text = study.error(mask=path)
    assert f"mask {path!r} does not lie on the grid of the BOLD {study.params()['bold']!r}" in text
    assert f"shape: expected (5, 4, 3), found {mask.shape}" in text
    assert f"affine: expected {study.affine.astype(float).tolist()}" in text
    assert f"found    {affine.astype(float).tolist()}" in text
    fix = re.search(r"^  (nilearn\.image\.resample_to_img\(.*)$", text, re.MULTILINE).group(1)
    monkeypatch.chdir(study.folder)
    eval(fix, {"nilearn": nilearn})  # noqa: S307
    assert study.read(mask="resampled.nii.gz")["bold"].sizes["time"] == 20


def test_rounding_of_an_affine_is_no_other_grid(study):
    affine = study.affine * np.float32(1 + 1e-6)
    affine[3] = study.affine[3]
    image = open_image(Path(study.save("mask.nii.gz", study.mask, affine=affine)), what="mask", n_dims=3)
    check_same_grid(image, nib.load(study.params()["bold"]), what="mask")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
@pytest.mark.parametrize("inside", [1, 100])
def test_masks_of_any_dtype_and_value_are_read(study, dtype, inside):
    image = open_image(Path(study.save("m.nii", study.mask.astype(dtype) * inside)), what="mask", n_dims=3)
    np.testing.assert_array_equal(read_mask(image, what="mask"), study.mask > 0)


@pytest.mark.parametrize("odd", [2, -1, 0.5, np.nan])
def test_a_mask_with_other_values_is_refused(study, odd):
    values = study.mask.astype(np.float32)
    values[1, 1, 1] = odd
    path = study.save("mask.nii.gz", values)
    assert f"mask {path!r}: expected a binary image, 0 and one other value, found 3 values: " in study.error()


def test_reading_in_blocks_changes_nothing(study, monkeypatch):
    image = nib.load(study.params()["bold"])
    whole = read_voxels(image, study.mask > 0, smoothing_fwhm=5.0)
    monkeypatch.setattr("brainlens_nifti.images.BLOCK_BYTES", 4 * study.mask.size * 3)
    np.testing.assert_array_equal(read_voxels(image, study.mask > 0, smoothing_fwhm=5.0), whole)


@pytest.mark.parametrize(("unit", "value"), [("sec", 1.35), ("msec", 1350), ("usec", 1350000)])
def test_the_repetition_time_is_read_in_seconds(study, unit, value):
    assert read_t_r(nib.load(study.save("t.nii", study.bold, t_r=value, time_unit=unit))) == 1.35


@pytest.mark.parametrize(("unit", "value"), [("unknown", 2.0), ("sec", 0.0), ("hz", 2.0)])
def test_a_repetition_time_that_is_not_stated_is_asked_for(study, unit, value):
    path = study.save("bold.nii.gz", study.bold, t_r=value, time_unit=unit)
    assert study.error() == (
        f"BOLD {path!r}: expected a repetition time above 0 with its unit in the header, "
        f"found {value!r} with unit {unit!r}. Give t_r in s."
    )
    assert study.read(t_r=1.5)["bold"].attrs["t_r"] == 1.5


def test_the_mask_digest_knows_voxels_and_grid_and_nothing_else(study):
    digest = study.read()["bold"].attrs["mask_sha256"]
    study.save("mask.nii", study.mask.astype(np.float64) * 7)
    assert study.read(mask=study.folder / "mask.nii")["bold"].attrs["mask_sha256"] == digest
    fewer = study.mask > 0
    fewer[4, 3, 2] = False
    assert mask_digest(fewer, study.affine) != digest == mask_digest(study.mask > 0, study.affine)
    assert mask_digest(study.mask > 0, study.affine + np.eye(4)) != digest
