"""The importer `public.bold5000_rois` on small arrays in the published layout, with planted numbers."""

import numpy as np
import pytest
from brainlens_public import Bold5000RoisParams
from brainlens_public.bold5000_rois import read

import brainlens

N_TRIALS = 2 * 37
SIZES = {"LHPPA": 4, "RHPPA": 3, "LHLO": 5, "RHEarlyVis": 6}
VERSION = "TYPED-FITHRF-GLMDENOISE-RR"


class Copy:
    def __init__(self, root):
        rng = np.random.default_rng(8)
        self.root, self.folder = root, root / "BOLD5000_GLMsingle_ROI_betas" / "py"
        self.folder.mkdir(parents=True)
        self.values = {name: rng.normal(size=(N_TRIALS, size)).astype(np.float32) for name, size in SIZES.items()}
        for name, values in self.values.items():
            np.save(self.path(name), values)
        self.names = [f"concert{n}.jpg" for n in range(N_TRIALS)]
        self.names[40] = "rep_concert3.jpg"
        self.list = root / "BOLD5000_Stimuli" / "Stimuli_Presentation_Lists" / "CSI2" / "CSI2_imgnames.txt"
        self.list.parent.mkdir(parents=True)
        self.list.write_text("\n".join(self.names))

    def path(self, name, betas=VERSION):
        return self.folder / f"CSI2_GLMbetas-{betas}_allses_{name}.npy"

    def read(self, **changes):
        params = Bold5000RoisParams(**{"root": self.root, "subject": "CSI2", **changes})
        return read(params=params, context=brainlens.Context())[""]

    def truth(self, dataset, names=("LHLO", "LHPPA", "RHEarlyVis", "RHPPA")):
        return np.concatenate([self.values[name] for name in names], axis=1)[:, dataset["voxel"].values]


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path / "bold5000")


def test_betas_of_all_rois_lie_side_by_side(copy, valid):
    response = copy.read()
    valid({"": response})
    np.testing.assert_array_equal(response["response"].values, copy.truth(response))
    np.testing.assert_array_equal(response["response"][30:10:-3].values, copy.truth(response)[30:10:-3])
    assert int(response["roi_mask"].sel(roi="PPA").sum()) == 7
    left = response["hemisphere"].values[response["roi_mask"].sel(roi="LHLOC").values]
    assert left.tolist() == ["left"] * 5
    half = np.repeat(["LHLO", "LHPPA", "RHEarlyVis", "RHPPA"], [5, 4, 6, 3])[response["voxel"].values]
    np.testing.assert_array_equal(response["roi_mask"].sel(roi="RHEarlyVis").values, half == "RHEarlyVis")


def test_trials_are_those_of_the_list_of_names(copy):
    response = copy.read(repeated="test")
    assert response["stimulus_id"].values[[3, 40]].tolist() == ["concert3", "concert3"]
    assert response["repetition"].values[[3, 40]].tolist() == [0, 1]
    assert np.flatnonzero(response["split"].values == "test").tolist() == [3, 40]
    assert response["run"].values.tolist() == [1] * 37 + [2] * 37


def test_some_rois_may_be_chosen(copy, refused):
    response = copy.read(sites="PPA")
    np.testing.assert_array_equal(response["response"].values, copy.truth(response, ("LHPPA", "RHPPA")))
    assert "found none of 'PPPA'. Closest: 'PPA'" in refused(copy.read, sites="PPPA")
    message = refused(copy.read, betas="TYPEA-ASSUMEHRF")
    assert "such as 'CSI2_GLMbetas-TYPEA-ASSUMEHRF_allses_LHPPA.npy'" in message
    assert "kilthub.cmu.edu" in message


def test_files_that_do_not_fit_are_refused(copy, refused):
    np.save(copy.path("RHPPA"), copy.values["RHPPA"][:-1])
    message = refused(copy.read)
    assert f"betas {str(copy.path('RHPPA'))!r}: expected a row of numbers for each of 74 names of" in message
    assert "of another subject" in message
    content = copy.path("LHPPA").read_bytes()
    copy.path("LHPPA").write_bytes(content[:-1])
    assert f"betas {str(copy.path('LHPPA'))!r}: expected a whole file" in refused(copy.read)
    copy.list.unlink()
    assert "found 1 not there: 'CSI2_imgnames.txt'" in refused(copy.read)


def test_voxels_without_signal_are_refused_or_dropped(copy, refused):
    copy.values["LHLO"][5, 2], copy.values["RHPPA"][:, 0] = np.nan, 4
    for name in ("LHLO", "RHPPA"):
        np.save(copy.path(name), copy.values[name])
    assert "1 not finite, first voxel 2; 1 constant, first voxel 15" in refused(copy.read)
    response = copy.read(bad_sites="drop")
    assert response.sizes["voxel"] == 16
    np.testing.assert_array_equal(response["response"].values, copy.truth(response))


def test_a_file_that_is_cut_anywhere_is_refused_by_its_name(copy, cut):
    cut(lambda: {"": copy.read()}, [copy.path("LHPPA"), copy.list])
