"""Pixels against the pictures that were written, each of which says its number."""

import h5py
import numpy as np
import pytest
from PIL import Image


def first(truth, n=20):
    return np.unique(truth.stimulus_id)[:n]


def test_images_are_those_of_their_number(published, picture):
    dataset = published.stimuli(images="subject")
    assert dict(dataset.sizes) == {"stimulus": 750, "y": 425, "x": 425, "rgb": 3}
    np.testing.assert_array_equal(dataset["stimulus"].values, np.unique(published.stimulus_id))
    for number in first(published)[::7].tolist():
        np.testing.assert_array_equal(dataset["image"].sel(stimulus=number).values, picture(number))


def test_every_stimulus_of_the_betas_has_its_image(published):
    shown = published.read()["stimulus_id"].values
    assert set(shown) == set(published.stimuli()["stimulus"].values)


def test_all_images_of_a_subject_or_the_shared_ones(published):
    everything = published.stimuli(sessions="")
    np.testing.assert_array_equal(everything["stimulus"].values, np.sort(published.subjectim[3]))
    assert everything["is_shared"].values.sum() == 1000
    shared = published.stimuli(images="shared1000", subject="", sessions="")
    np.testing.assert_array_equal(shared["stimulus"].values, np.sort(published.subjectim[0, :1000]))
    assert shared["is_shared"].values.all()
    assert "subject" not in shared.attrs


@pytest.mark.parametrize("resample", ["lanczos", "box"])
def test_a_smaller_size_is_made_by_the_filter_that_is_named(published, picture, resample):
    dataset = published.stimuli(size=64, resample=resample)
    number = int(first(published)[3])
    expected = Image.fromarray(picture(number)).resize((64, 64), Image.Resampling[resample.upper()])
    np.testing.assert_array_equal(dataset["image"].sel(stimulus=number).values, np.asarray(expected))
    assert dataset.attrs["resample"] == resample


def test_a_file_of_another_shape_is_refused(copy):
    path = copy.root / "nsddata_stimuli" / "stimuli" / "nsd" / "nsd_stimuli.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("imgBrick", (10, 425, 425, 3), np.uint8)
    message = copy.error("stimuli")
    assert message.startswith(f"stimuli {str(path)!r}, dataset 'imgBrick': expected (73000, 425, 425, 3) of uint8")
    with h5py.File(path, "w") as file:
        file["other"] = 1
    assert "found none" in copy.error("stimuli")


def test_a_cut_file_is_refused_by_name(copy):
    path = copy.root / "nsddata_stimuli" / "stimuli" / "nsd" / "nsd_stimuli.hdf5"
    path.write_bytes(path.read_bytes()[:-100])
    assert copy.error("stimuli").startswith(f"stimuli {str(path)!r}: expected a whole file")


def test_a_missing_file_is_named(copy):
    (copy.root / "nsddata_stimuli" / "stimuli" / "nsd" / "nsd_stimuli.hdf5").unlink()
    assert "nsd_stimuli.hdf5" in copy.error("stimuli")
