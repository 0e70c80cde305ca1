"""The importer `public.bold5000` on a small copy in the layout of release 2.0, with planted numbers."""

import shutil
import signal
import subprocess
import sys
import tracemalloc
from copy import deepcopy

import numpy as np
import pytest
from brainlens_public import Bold5000Params
from brainlens_public.bold5000 import N_SESSIONS, name_image, read

import brainlens

SUBJECT, SHAPE, PER_RUN = "CSI4", (4, 5, 3), 37
RUNS = [2, 1, 1, 2, 1, 1, 1, 1, 1]


class Copy:
    def __init__(self, root, save):
        rng = np.random.default_rng(5)
        self.root, self.save = root, save
        self.sizes = [n * PER_RUN for n in RUNS]
        self.betas = [rng.normal(0, 2, (*SHAPE, n)).astype(np.float32) for n in self.sizes]
        # The betas of the release carry another affine than the masks.
        for number, values in enumerate(self.betas, start=1):
            save(self.session(number), values, np.eye(4))
        pool = ["COCO_train2014_000000000{:03d}.jpg", "n01945685_{}.JPEG", "concert{}.jpg"]
        names = [pool[n % 3].format(n) for n in range(sum(self.sizes))]
        names[40], names[200] = "rep_concert2.jpg", "rep_concert2.jpg"
        self.names = names
        (root / f"{SUBJECT}_imgnames.txt").write_text("\n".join(names) + "\n")
        self.brain = np.ones(SHAPE, np.uint8)
        self.brain[0] = 0
        save(root / f"{SUBJECT}_brainmask.nii.gz", self.brain)
        self.masks = {}
        # As they are called for the second subject.
        for name in ("LHPPA", "RHPPA", "LHLO", "RHRRSC", "LHEarlyVis"):
            self.masks[name] = (rng.random(SHAPE) < 0.3).astype(np.uint8)
            self.masks[name][2, 2, 1] = 1
            save(self.mask(name), self.masks[name])

    def session(self, number, betas="TYPED-FITHRF-GLMDENOISE-RR"):
        return self.root / f"{SUBJECT}_GLMbetas-{betas}_ses-{number:02d}.nii.gz"

    def mask(self, name):
        return self.root / f"sub-{SUBJECT}" / f"sub-{SUBJECT}_mask-{name}.nii.gz"

    def read(self, context=None, **changes):
        params = Bold5000Params(**{"root": self.root, "subject": SUBJECT, **changes})
        return read(params=params, context=context or brainlens.Context())[""]

    def truth(self, dataset):
        everything = np.concatenate([values.reshape(-1, values.shape[-1]) for values in self.betas], axis=1).T
        return everything[np.ix_(dataset["trial"].values, dataset["voxel"].values)]


@pytest.fixture(scope="module")
def written(tmp_path_factory, save_image):
    return Copy(tmp_path_factory.mktemp("bold5000"), save_image)


@pytest.fixture
def copy(tmp_path, written):
    made = deepcopy(written)
    made.root = tmp_path / "bold5000"
    shutil.copytree(written.root, made.root)
    return made


def test_betas_are_what_was_written(copy, valid):
    response = copy.read()
    valid({"": response})
    np.testing.assert_array_equal(response["response"].values, copy.truth(response))
    assert response.sizes["trial"] == sum(copy.sizes)
    assert response["session"].values.tolist() == np.repeat(range(1, 10), copy.sizes).tolist()
    assert response["run"].values.tolist() == np.repeat(range(1, sum(RUNS) + 1), PER_RUN).tolist()
    assert response.attrs["units"] == "% signal change"
    assert "CC0" in response.attrs["licence"]


def test_names_are_those_of_the_list(copy):
    response = copy.read()
    assert response["stimulus_id"].values.tolist() == [name_image(name)[0] for name in copy.names]
    assert response["image_source"].values[:3].tolist() == ["coco", "imagenet", "scene"]
    assert response["repetition"].values[[2, 40, 200]].tolist() == [0, 1, 2]
    assert np.flatnonzero(response["is_repeated"].values).tolist() == [2, 40, 200]
    assert "split" not in response.coords
    split = copy.read(repeated="test")["split"].values
    assert np.flatnonzero(split == "test").tolist() == [2, 40, 200]


def test_some_sessions_keep_numbers_and_names_of_all(copy):
    some, everything = copy.read(sessions="2,4"), copy.read()
    everything = everything.isel(trial=everything["session"].isin([2, 4]).values)
    for name in ("response", "trial", "stimulus_id", "run", "repetition", "is_repeated"):
        np.testing.assert_array_equal(some[name].values, everything[name].values)
    np.testing.assert_array_equal(some["response"][50:70:3].values, copy.truth(some)[50:70:3])


def test_later_sessions_are_not_needed_but_earlier_ones_are(copy, refused):
    copy.session(9).unlink()
    assert copy.read(sessions="1-3").sizes["trial"] == sum(copy.sizes[:3])
    copy.session(2).unlink()
    message = refused(copy.read, sessions="3")
    assert "found 1 not there: 'CSI4_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_ses-02.nii.gz'" in message
    assert "Sessions before 3 are needed too: their lengths tell where names begin" in message


def test_rois_are_the_masks_within_the_brain(copy):
    response = copy.read()
    voxel = response["voxel"].values
    union = np.any(list(copy.masks.values()), axis=0) & (copy.brain > 0)
    assert sorted(voxel) == np.flatnonzero(union).tolist()

    def inside(name):
        return response["roi_mask"].sel(roi=name).values

    for roi, masks in {
        "PPA": ["LHPPA", "RHPPA"], "LHPPA": ["LHPPA"], "LOC": ["LHLO"], "RHRSC": ["RHRRSC"],
        "left": ["LHPPA", "LHLO", "LHEarlyVis"],
    }.items():  # fmt: skip
        expected = np.any([copy.masks[name] for name in masks], axis=0).ravel()[voxel]
        np.testing.assert_array_equal(inside(roi), expected)
    assert sorted(copy.read(sites="PPA")["voxel"].values) == np.flatnonzero(
        (copy.masks["LHPPA"] | copy.masks["RHPPA"]) * copy.brain
    ).tolist()  # fmt: skip
    # Places are those of the brain mask, since the betas carry another affine.
    np.testing.assert_allclose(response["x_mm"].values, 60.5 - 3.5 * response["i"].values, atol=1e-4)


def test_the_brain_mask_alone_is_enough(copy, refused):
    for path in copy.mask("x").parent.iterdir():
        path.unlink()
    message = refused(copy.read)
    assert "such as 'sub-CSI4_mask-LHPPA.nii.gz', found none" in message
    assert "OpenNeuro ds001499" in message
    assert sorted(copy.read(sites="brain")["voxel"].values) == np.flatnonzero(copy.brain).tolist()


def test_versions_have_files_of_their_own(copy, refused):
    for number, values in enumerate(copy.betas, start=1):
        copy.save(copy.session(number, "TYBEB-FITHRF"), values + 1, np.eye(4))
    response = copy.read(betas="TYPEB-FITHRF")
    np.testing.assert_allclose(response["response"].values, copy.truth(response) + 1, rtol=1e-5, atol=1e-6)
    assert "not there" in refused(copy.read, betas="TYPEA-ASSUMEHRF")


def test_a_session_of_another_subject_is_refused(copy, refused):
    copy.save(copy.session(3), np.ones((4, 5, 4, PER_RUN), np.float32), np.eye(4))
    message = refused(copy.read)
    assert f"betas {str(copy.session(3))!r} does not lie on the voxels of" in message
    assert "of another subject" in message


def test_a_session_that_is_there_twice_is_refused(copy, refused):
    copy.save(copy.session(3), copy.betas[1], np.eye(4))
    message = refused(copy.read)
    assert f"betas {str(copy.session(3))!r}: expected values of its own" in message
    assert str(copy.session(2)) in message


def test_a_mask_of_another_space_is_refused(copy, refused):
    copy.save(copy.mask("LHPPA"), copy.masks["LHPPA"], np.eye(4))
    assert "ROI 'LHPPA'" in refused(copy.read)
    copy.save(copy.mask("PPA"), copy.masks["LHPPA"])
    copy.mask("LHPPA").unlink()
    assert "expected a name such as 'sub-CSI4_mask-LHPPA.nii.gz'" in refused(copy.read)


def test_names_and_trials_must_be_as_many(copy, refused):
    path = copy.root / f"{SUBJECT}_imgnames.txt"
    path.write_text("\n".join(copy.names[:-1]))
    assert f"expected {sum(copy.sizes)} names" in refused(copy.read)
    path.write_text("\n".join([*copy.names[:-1], "noending"]))
    assert "found 'noending'" in refused(copy.read)
    path.write_text("\n".join(copy.names))
    copy.save(copy.session(3), copy.betas[2][..., :36], np.eye(4))
    assert "expected whole runs of 37 trials, found 36 volumes" in refused(copy.read)


def test_after_a_damaged_session_was_replaced_no_other_is_read_again(copy, tmp_path, monkeypatch, refused):
    from brainlens_public import bold5000

    read_again = []
    fill = bold5000.fill_rows

    def counted(image, *given, **more):
        read_again.append(image.path.name)
        fill(image, *given, **more)

    monkeypatch.setattr(bold5000, "fill_rows", counted)
    (tmp_path / "scratch").mkdir()
    context = brainlens.Context(scratch=tmp_path / "scratch")
    whole = copy.session(5).read_bytes()
    copy.session(5).write_bytes(whole[:-100])
    message = refused(copy.read, context)
    assert f"betas {str(copy.session(5))!r}: expected a whole file" in message
    assert "what was read of other files is kept" in message
    copy.session(5).write_bytes(whole)
    response = copy.read(context)
    assert len(read_again) == N_SESSIONS[SUBJECT] + 1
    np.testing.assert_array_equal(response["response"].values, copy.truth(response))


def test_voxels_without_signal_are_refused_or_dropped(copy, refused):
    copy.betas[4][2, 2, 1] = np.nan
    copy.save(copy.session(5), copy.betas[4], np.eye(4))
    assert "1 not finite, first voxel 37" in refused(copy.read)
    response = copy.read(bad_sites="drop")
    assert 37 not in response["voxel"].values
    np.testing.assert_array_equal(response["response"].values, copy.truth(response))


def test_more_sessions_take_no_more_memory(tmp_path, save_image, monkeypatch):
    from brainlens_public import bold5000

    shape, n_trials = (20, 20, 20), 2 * PER_RUN
    monkeypatch.setattr(bold5000, "N_SESSIONS", {SUBJECT: 6})
    for number in range(1, 7):
        values = np.random.default_rng(number).normal(size=(*shape, n_trials)).astype(np.float32)
        save_image(tmp_path / f"{SUBJECT}_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_ses-{number:02d}.nii.gz", values)
    save_image(tmp_path / f"{SUBJECT}_brainmask.nii.gz", np.ones(shape, np.uint8))
    (tmp_path / f"{SUBJECT}_imgnames.txt").write_text("\n".join(f"{n}.jpg" for n in range(6 * n_trials)))

    def peak(sessions):
        scratch = tmp_path / f"scratch{sessions}"
        scratch.mkdir()
        params = Bold5000Params(root=tmp_path, subject=SUBJECT, sessions=sessions, sites="brain")
        tracemalloc.start()
        made = read(params=params, context=brainlens.Context(scratch=scratch))[""]
        for low in range(0, made.sizes["trial"], 50):
            assert np.isfinite(made["response"][low : low + 50].values).all()
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few, many = peak("1-2"), peak("1-6")
    assert many - few < 4 * np.prod(shape) * n_trials / 2


@pytest.fixture
def read_again(monkeypatch):
    """Files whose voxels are read, in their order."""
    from brainlens_public import bold5000

    found, fill = [], bold5000.fill_rows

    def counted(image, *given, **more):
        found.append(image.path.name[-9:-7])
        fill(image, *given, **more)

    monkeypatch.setattr(bold5000, "fill_rows", counted)
    return found


def test_a_registry_goes_on_after_a_repair_and_stores_every_session_once(copy, tmp_path, read_again):
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    given = {"root": str(copy.root), "subject": SUBJECT, "sites": "PPA"}
    whole = copy.session(5).read_bytes()
    copy.session(5).write_bytes(whole[:-100])
    with pytest.raises(brainlens.BrainlensError, match="ses-05"):
        registry.ingest("public.bold5000", "csi4", **given)
    assert not list(registry.list())
    copy.session(5).write_bytes(whole)
    for _ in range(2):
        assert registry.ingest("public.bold5000", "csi4", **given) == ["csi4"]
    assert read_again[:9] == ["01", "02", "03", "04", "05", "05", "06", "07", "08"]
    stored = registry["csi4"]
    np.testing.assert_array_equal(stored["response"].values, copy.truth(stored))
    assert stored["session"].values.tolist() == np.repeat(range(1, 10), copy.sizes).tolist()
    assert registry.list() == ["csi4"]


KILLED = """
import os, signal, sys
import brainlens
from brainlens_public import bold5000

fill = bold5000.fill_rows

def killed(image, *given, **more):
    if "ses-06" in image.path.name:
        os.kill(os.getpid(), signal.SIGKILL)
    fill(image, *given, **more)

bold5000.fill_rows = killed
registry = brainlens.open(sys.argv[1], quiet=True)
registry.ingest("public.bold5000", "csi4", root=sys.argv[2], subject="CSI4", sites="PPA")
"""


def test_a_killed_import_goes_on_with_the_session_it_was_at(copy, tmp_path, read_again):
    place = tmp_path / "study.zarr"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(place), str(copy.root)], check=False)
    assert killed.returncode == -signal.SIGKILL
    registry = brainlens.open(place, quiet=True)
    assert registry.list() == []
    registry.ingest("public.bold5000", "csi4", root=str(copy.root), subject=SUBJECT, sites="PPA")
    assert read_again == ["06", "07", "08", "09"]
    np.testing.assert_array_equal(registry["csi4"]["response"].values, copy.truth(registry["csi4"]))


def test_a_file_that_is_cut_anywhere_is_refused_by_its_name(copy, cut):
    cut(
        lambda: {"": copy.read()},
        [copy.session(4), copy.mask("LHPPA"), *copy.root.glob("*_*mask.nii.gz"), *copy.root.glob("*.txt")],
    )
