"""ROIs against the label images that were written; -1 and 0 never become members."""

import nibabel as nib
import numpy as np
import pytest

import brainlens

SHAPE, N_LEFT, N_VERTICES = (6, 5, 4), 17, 32

CASES = [
    ("nsdgeneral", "nsdgeneral", [1]),
    ("V1", "prf-visualrois", [1, 2]),
    ("V1v", "prf-visualrois", [1]),
    ("V2", "prf-visualrois", [3, 4]),
    ("V3d", "prf-visualrois", [6]),
    ("hV4", "prf-visualrois", [7]),
    ("FFA-1", "floc-faces", [2]),
    ("floc-faces", "floc-faces", [1, 2, 3, 4, 5]),
    ("PPA", "floc-places", [2]),
    ("EBA", "floc-bodies", [1]),
    ("VWFA-1", "floc-words", [2]),
    ("streams: early", "streams", [1]),
    ("streams: parietal", "streams", [7]),
]


@pytest.fixture(scope="module")
def everything(published):
    return published.read(sessions="1", sites=["nsdgeneral", "prf-visualrois", "floc-words", "streams"])


@pytest.mark.parametrize(("roi", "file", "labels"), CASES)
def test_an_roi_holds_the_sites_with_its_labels(published, everything, roi, file, labels):
    inside = everything["roi_mask"].sel(roi=roi).values
    expected = np.isin(published.labels[file], labels)
    np.testing.assert_array_equal(inside, expected[everything["voxel"].values])
    assert int(everything["n_sites_source"].sel(roi=roi)) == expected.sum()


def test_sites_are_those_with_a_label_in_any_of_the_files(published, everything):
    files = ("nsdgeneral", "prf-visualrois", "floc-words", "streams")
    expected = np.flatnonzero(np.any([published.labels[file] > 0 for file in files], axis=0))
    np.testing.assert_array_equal(np.sort(everything["voxel"].values), expected)


def test_cortex_without_label_and_no_cortex_are_in_no_roi(published):
    dataset = published.read(sessions="1", sites="all", rois="prf-visualrois")
    without = published.labels["prf-visualrois"][dataset["voxel"].values] <= 0
    assert without.any()
    assert not dataset["roi_mask"].values[:, without].any()


def test_all_sites_are_the_brain_mask_or_all_vertices(published):
    dataset = published.read(sessions="1", sites="all", rois="")
    np.testing.assert_array_equal(dataset["voxel"].values, np.flatnonzero(published.labels["brainmask"]))
    assert "roi_mask" not in dataset
    surface = published.read(sessions="1", space="fsaverage", sites="all", rois="streams")
    np.testing.assert_array_equal(np.sort(surface["vertex"].values), np.arange(N_VERTICES))


@pytest.mark.parametrize("space", ["fsaverage", "nativesurface"])
def test_rois_of_both_hemispheres_are_one(published, space):
    dataset = published.read(sessions="1", space=space, rois="streams")
    for number, name in enumerate(["early", "midventral", "midlateral"], start=1):
        expected = published.labels["streams"][dataset["vertex"].values] == number
        np.testing.assert_array_equal(dataset["roi_mask"].sel(roi=f"streams: {name}").values, expected)


def test_atlases_keep_their_name_before_that_of_the_region(published):
    dataset = published.read(sessions="1", sites="HCP_MMP1", rois=["HCP_MMP1", "Kastner2015", "prf-visualrois"])
    for roi, file in (("HCP_MMP1: V1", "HCP_MMP1"), ("Kastner2015: V1v", "Kastner2015"), ("V1v", "prf-visualrois")):
        expected = published.labels[file][dataset["voxel"].values] == 1
        if roi in dataset["roi"].values:
            np.testing.assert_array_equal(dataset["roi_mask"].sel(roi=roi).values, expected)
        else:
            assert roi in dataset.attrs["dropped_rois"]
            assert not expected.any()


def test_rois_without_a_site_are_named_not_kept(published):
    dataset = published.read(sessions="1", sites="floc-places", rois=["nsdgeneral", "HCP_MMP1"])
    empty = set(dataset.attrs["dropped_rois"])
    assert empty
    assert dataset["roi_mask"].values.any(axis=1).all()
    assert not empty & set(dataset["roi"].values)


def test_a_label_without_name_is_refused(copy, save_image):
    labels = copy.labels["streams"].reshape(SHAPE).astype(np.int16)
    labels[0, 0, 0] = 9
    save_image(copy.rois("streams.nii.gz"), labels)
    assert "rois 'streams': expected labels from 1 to 7, which have names, found 9" in copy.error()


def test_labels_that_are_not_whole_are_refused(copy, save_image):
    save_image(copy.rois("streams.nii.gz"), np.full(SHAPE, 0.5, np.float32))
    assert "expected whole-number labels, found 0.5" in copy.error()


def test_an_roi_of_another_space_is_refused_with_both_shapes(copy, save_image):
    path = copy.rois("prf-visualrois.nii.gz")
    save_image(path, np.ones((12, 10, 8), np.int16))
    message = copy.error()
    assert f"rois 'prf-visualrois' {str(path)!r} does not lie on the sites of" in message
    assert "expected (6, 5, 4), found (12, 10, 8)" in message


def test_the_grid_of_another_subject_is_recognised(copy, save_image):
    save_image(copy.rois("streams.nii.gz"), np.zeros((81, 104, 83), np.int8))
    assert "That is the func1pt8mm grid of subj01." in copy.error()


def test_an_roi_moved_by_a_voxel_is_refused(copy, save_image):
    affine = copy.affine.copy()
    affine[0, 3] += 1.8
    save_image(copy.rois("streams.nii.gz"), copy.labels["streams"].reshape(SHAPE).astype(np.int16), affine=affine)
    assert "affine: expected" in copy.error()


def test_missing_roi_files_are_named(copy):
    copy.rois("floc-faces.nii.gz").unlink()
    message = copy.error()
    assert "floc-faces.nii.gz" in message
    assert "found nothing there" in message


def test_rois_of_the_subjects_surface_are_not_looked_for_on_fsaverage(published):
    message = published.error(space="fsaverage", rois="floc-faces")
    assert "space='nativesurface'" in message


def test_a_cut_roi_file_is_refused_by_name(copy):
    path = copy.rois("nsdgeneral.nii.gz")
    path.write_bytes(path.read_bytes()[:-20])
    message = copy.error()
    assert message.startswith(f"rois 'nsdgeneral' {str(path)!r}: expected a whole file")


def test_the_same_roi_twice_is_refused(published):
    assert "expected every name once, found 'nsdgeneral'" in published.error(rois=["nsdgeneral", "nsdgeneral"])


def test_no_site_at_all_is_refused(copy, save_image):
    save_image(copy.rois("nsdgeneral.nii.gz"), np.full(SHAPE, -1, np.int16))
    assert "sites: expected at least one labelled site in 'nsdgeneral'" in copy.error()


def test_ncsnr_of_another_grid_is_refused(copy, save_image):
    save_image(copy.betas("ncsnr.nii.gz"), np.ones((5, 6, 4), np.float32))
    assert copy.error().startswith("ncsnr ")


def test_scaled_label_images_are_read_by_their_scale(copy):
    image = nib.Nifti1Image(copy.labels["streams"].reshape(SHAPE).astype(np.int16) * 2, copy.affine)
    image.header.set_slope_inter(0.5, 0)
    nib.save(image, copy.rois("streams.nii.gz"))
    raw = nib.load(copy.rois("streams.nii.gz"))
    expected = np.asarray(raw.dataobj).ravel()
    dataset = copy.read(sessions="1", sites="all", rois="streams")
    inside = dataset["roi_mask"].sel(roi="streams: early").values
    np.testing.assert_array_equal(inside, expected[dataset["voxel"].values] == 1)


def test_hemispheres_of_a_volume_are_rois_and_may_share_sites(published):
    dataset = published.read(sessions="1", sites="all", rois="prf-visualrois", hemispheres="rois")
    for side, half in (("left", "lh"), ("right", "rh")):
        expected = published.labels[f"{half}.nsdgeneral"][dataset["voxel"].values] >= 0
        np.testing.assert_array_equal(dataset["roi_mask"].sel(roi=side).values, expected)
    assert dataset["roi_mask"].sel(roi=["left", "right"]).all("roi").any()
    chosen = brainlens.select_roi(dataset, "V1 & left")["voxel"].values
    visual, left = published.labels["prf-visualrois"], published.labels["lh.nsdgeneral"]
    np.testing.assert_array_equal(
        np.sort(chosen), np.flatnonzero(np.isin(visual, [1, 2]) & (left >= 0) & (published.labels["brainmask"] > 0))
    )
