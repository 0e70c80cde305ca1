"""The importer `public.algonauts` on a small copy in the challenge's layout, with planted numbers."""

import numpy as np
import pytest
from brainlens_public import AlgonautsParams
from brainlens_public.algonauts import CLASSES, read
from PIL import Image

import brainlens

N_IMAGES, N_SURFACE = 7, 40
NAMES = {
    "prf-visualrois": ["V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"],
    "floc-bodies": ["EBA", "FBA-1"],
    "floc-faces": ["OFA", "FFA-1"],
    "floc-places": ["OPA", "PPA"],
    "floc-words": ["OWFA", "VWFA-1"],
    "streams": ["early", "midventral"],
}
# Not in order, as the challenge's images are not numbered in the order of NSD's list of other subjects.
NSD_IDS = [13, 27, 28, 35, 74, 72999, 80]


class Copy:
    def __init__(self, root):
        rng = np.random.default_rng(3)
        self.root, self.folder = root, root / "subj06"
        self.masks = self.folder / "roi_masks"
        self.fmri = self.folder / "training_split" / "training_fmri"
        self.images = self.folder / "training_split" / "training_images"
        for folder in (self.masks, self.fmri, self.images):
            folder.mkdir(parents=True)
        self.surface, self.values, self.labels = {}, {}, {}
        for side, n in (("lh", 12), ("rh", 15)):
            self.surface[side] = np.zeros(N_SURFACE, int)
            self.surface[side][np.sort(rng.choice(N_SURFACE, n, replace=False))] = 1
            self.values[side] = rng.normal(size=(N_IMAGES, n)).astype(np.float32)
            np.save(self.masks / f"{side}.all-vertices_fsaverage_space.npy", self.surface[side])
            np.save(self.fmri / f"{side}_training_fmri.npy", self.values[side])
            for name in CLASSES:
                self.labels[side, name] = rng.integers(0, len(NAMES[name]) + 1, n)
                np.save(self.masks / f"{side}.{name}_challenge_space.npy", self.labels[side, name])
        for name, labels in NAMES.items():
            np.save(self.masks / f"mapping_{name}.npy", {0: "Unknown", **dict(enumerate(labels, start=1))})
        self.pixels = rng.integers(0, 256, (N_IMAGES, 8, 8, 3)).astype(np.uint8)
        for number, nsd_id in enumerate(NSD_IDS):
            name = f"train-{number + 1:04d}_nsd-{nsd_id:05d}.png"
            Image.fromarray(self.pixels[number]).save(self.images / name)

    def read(self, **changes):
        params = AlgonautsParams(**{"root": self.root, "subject": "subj06", **changes})
        return read(params=params, context=brainlens.Context())

    def truth(self, vertex):
        """Return the planted responses of vertices, counted through left and then right fsaverage."""
        whole = np.full((N_IMAGES, 2 * N_SURFACE), np.nan, np.float32)
        for start, side in ((0, "lh"), (N_SURFACE, "rh")):
            whole[:, start + np.flatnonzero(self.surface[side])] = self.values[side]
        return whole[:, vertex]


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path / "algonauts_2023_challenge_data")


def test_responses_lie_where_the_vertices_say(copy, valid):
    response = valid(copy.read())["response"]
    vertex = response["vertex"].values
    np.testing.assert_array_equal(response["response"].values, copy.truth(vertex))
    np.testing.assert_array_equal(response["response"][4:1:-2].values, copy.truth(vertex)[4:1:-2])
    assert sorted(vertex) == np.flatnonzero(np.concatenate([copy.surface["lh"], copy.surface["rh"]])).tolist()
    assert (response["hemisphere"].values == np.where(vertex < N_SURFACE, "left", "right")).all()
    assert (response["hemisphere_vertex"].values == vertex % N_SURFACE).all()
    assert response.attrs["space"] == "fsaverage"
    assert response.attrs["n_vertices"] == [N_SURFACE, N_SURFACE]


def test_trials_are_images_in_the_order_of_their_names(copy):
    response = copy.read()["response"]
    assert response["trial"].values.tolist() == list(range(1, N_IMAGES + 1))
    assert response["stimulus_id"].values.tolist() == [number + 1 for number in NSD_IDS]
    assert "from 1, as in plugin nsd" in response["stimulus_id"].attrs["numbering"]
    assert set(response["split"].values) == {"train"}


def test_images_are_found_by_the_number_of_the_trial(copy, valid):
    made = valid(copy.read())
    images = made["images"]
    assert images["stimulus"].values.tolist() == sorted(number + 1 for number in NSD_IDS)
    shown = images["image"].sel(stimulus=made["response"]["stimulus_id"].values).values
    np.testing.assert_array_equal(shown, copy.pixels)
    assert copy.read(size=4)["images"]["image"].shape == (N_IMAGES, 4, 4, 3)
    assert list(copy.read(images="none")) == [""]


def test_images_of_the_test_part_may_be_added(copy):
    folder = copy.folder / "test_split" / "test_images"
    folder.mkdir(parents=True)
    Image.fromarray(copy.pixels[0]).save(folder / "test-0001_nsd-00014.png")
    images = copy.read(images="all")["images"]
    assert images["stimulus"].values.tolist()[:2] == [14, 15]
    assert images["split"].values.tolist()[:2] == ["train", "test"]


def test_rois_are_those_of_the_label_files(copy):
    response = copy.read()["response"]
    vertex = response["vertex"].values
    order = {label: column for column, label in enumerate(
        np.flatnonzero(np.concatenate([copy.surface["lh"], copy.surface["rh"]])).tolist()
    )}  # fmt: skip
    columns = [order[label] for label in vertex.tolist()]

    def inside(name):
        return response["roi_mask"].sel(roi=name).values

    for name, labels in NAMES.items():
        both = np.concatenate([copy.labels["lh", name], copy.labels["rh", name]])[columns]
        for number, label in enumerate(labels, start=1):
            roi = f"streams: {label}" if name == "streams" else label
            np.testing.assert_array_equal(inside(roi), both == number)
        if name.startswith("floc"):
            np.testing.assert_array_equal(inside(name), both > 0)
    np.testing.assert_array_equal(inside("V2"), inside("V2v") | inside("V2d"))


def test_vertices_may_be_chosen_by_roi(copy):
    some, everything = copy.read(sites=("V1", "hV4"))["response"], copy.read()["response"]
    mask = everything["roi_mask"].sel(roi=["V1", "hV4"]).values.any(axis=0)
    assert sorted(some["vertex"].values) == sorted(everything["vertex"].values[mask])
    np.testing.assert_array_equal(some["response"].values, copy.truth(some["vertex"].values))


def test_missing_files_say_where_they_come_from(copy, tmp_path, refused):
    (copy.masks / "mapping_streams.npy").unlink()
    message = refused(copy.read)
    assert "found 1 not there: 'mapping_streams.npy'" in message
    assert "algonauts.csail.mit.edu, after its form" in message
    params = AlgonautsParams(root=tmp_path / "none", subject="subj01")
    assert "expected the folder of Algonauts 2023" in refused(read, params=params, context=brainlens.Context())


def test_images_that_are_missing_are_named(copy, refused):
    name = f"train-0003_nsd-{NSD_IDS[2]:05d}.png"
    (copy.images / name).rename(copy.images / f"{name}.part")
    assert "expected train-0001 and so on, each once, found none of 3" in refused(copy.read)
    (copy.images / f"{name}.part").rename(copy.images / name)
    (copy.images / f"train-0007_nsd-{NSD_IDS[6]:05d}.png").unlink()
    message = refused(copy.read)
    assert "expected an image for each of 7 rows" in message
    assert "found 6" in message
    (copy.images / "extra.png").write_bytes(b"")
    assert "found 'extra.png'" in refused(copy.read)


def test_files_of_another_subject_are_refused(copy, refused):
    np.save(copy.fmri / "rh_training_fmri.npy", np.zeros((N_IMAGES, 14), np.float32))
    assert "expected the 15 vertices of" in refused(copy.read)
    np.save(copy.fmri / "rh_training_fmri.npy", np.zeros((6, 15), np.float32))
    assert "expected 7 images, as" in refused(copy.read)


def test_an_roi_of_another_space_is_refused(copy, refused):
    np.save(copy.masks / "lh.floc-faces_challenge_space.npy", np.zeros(N_SURFACE, int))
    message = refused(copy.read)
    assert "ROI 'floc-faces'" in message
    assert "expected the 12 vertices of the responses, found 40. It is of another space or subject" in message


def test_labels_without_a_name_are_refused(copy, refused):
    np.save(copy.masks / "mapping_streams.npy", {0: "Unknown", 1: "early"})
    assert "ROI 'streams': expected labels that are named in" in refused(copy.read)


def test_truncated_and_pickled_responses_are_refused(copy, refused):
    path = copy.fmri / "lh_training_fmri.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-4])
    assert f"training_fmri {str(path)!r}: expected a whole file" in refused(copy.read)
    np.save(path, np.array([{"a": 1}], object))
    assert f"training_fmri {str(path)!r}: expected a whole file" in refused(copy.read)


def test_vertices_without_signal_are_refused_or_dropped(copy, refused):
    copy.values["lh"][2, 3], copy.values["rh"][:, 5] = np.nan, 1
    for side in ("lh", "rh"):
        np.save(copy.fmri / f"{side}_training_fmri.npy", copy.values[side])
    assert "1 not finite" in refused(copy.read)
    response = copy.read(bad_sites="drop")["response"]
    assert response.sizes["vertex"] == 25
    np.testing.assert_array_equal(response["response"].values, copy.truth(response["vertex"].values))


def test_a_file_that_is_cut_anywhere_is_refused_by_its_name(copy, cut):
    cut(
        lambda: copy.read(images="training"),
        [
            *copy.fmri.iterdir(),
            copy.masks / "mapping_streams.npy",
            copy.masks / "rh.floc-words_challenge_space.npy",
            copy.masks / "lh.all-vertices_fsaverage_space.npy",
            copy.images / f"train-0003_nsd-{NSD_IDS[2]:05d}.png",
        ],
    )
