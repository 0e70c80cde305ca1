"""The importer `public.miyawaki` on a small folder as nilearn leaves it, with planted numbers."""

import shutil
from copy import deepcopy

import numpy as np
import pytest
from brainlens_public import MiyawakiParams
from brainlens_public.miyawaki import AREAS, ECCENTRICITIES, read

import brainlens

SHAPE, N_VOLUMES = (4, 3, 2), 14
BLOCKS = [None, None, 0, 0, 0, None, 1, 1, None, 0, None, None, None, None]


class Folder:
    """Two random runs and two figure runs; `patches`: the two images of each run."""

    def __init__(self, root, save):
        rng = np.random.default_rng(2)
        self.root, self.save = root, save
        self.bold, self.patches, self.masks = {}, {}, {}
        shown = {kind: rng.integers(0, 2, (3, 100)) for kind in ("random", "figure")}
        for kind in ("random", "figure"):
            for number in (1, 2):
                self.bold[kind, number] = rng.normal(600, 20, (*SHAPE, N_VOLUMES)).astype(np.float32)
                # The second image is of both runs.
                self.patches[kind, number] = shown[kind][[number - 1, 2]]
                save(self.func(kind, number), self.bold[kind, number], t_r=2.0)
                self.write_labels(kind, number)
        self.masks["mask"] = np.ones(SHAPE, np.uint8)
        self.masks["mask"][0, 0] = 0
        for side in ("LH", "RH"):
            for area in (*AREAS, *ECCENTRICITIES):
                self.masks[f"{side}{area}"] = (rng.random(SHAPE) < 0.3).astype(np.uint8)
        for name, mask in self.masks.items():
            save(root / "mask" / f"{name}.nii.gz", mask)

    def func(self, kind, number):
        return self.root / "func" / f"data_{kind}_run{number:02d}.nii.gz"

    def label(self, kind, number):
        return self.root / "label" / f"data_{kind}_run{number:02d}_label.csv"

    def write_labels(self, kind, number, blocks=BLOCKS):
        rows = [np.full(100, -1) if image is None else self.patches[kind, number][image] for image in blocks]
        self.label(kind, number).parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(self.label(kind, number), np.array(rows), fmt="%d", delimiter=",")

    def read(self, context=None, **changes):
        params = MiyawakiParams(**{"root": self.root, "random": "1-2", "figure": "1-2", **changes})
        return read(params=params, context=context or brainlens.Context())

    def truth(self, kind, number, voxel, rows):
        return self.bold[kind, number].reshape(-1, N_VOLUMES)[np.ix_(voxel, rows)].T


@pytest.fixture(scope="module")
def written(tmp_path_factory, save_image):
    return Folder(tmp_path_factory.mktemp("written") / "miyawaki2008", save_image)


@pytest.fixture
def folder(tmp_path, written):
    made = deepcopy(written)
    made.root = tmp_path / "miyawaki2008"
    shutil.copytree(written.root, made.root)
    return made


def name(patches):
    return f"{int(''.join(map(str, patches)), 2):025x}"


def test_volumes_show_the_image_of_two_volumes_before(folder, valid):
    response = valid(folder.read(average_over="volume"))["response"]
    rows = [4, 5, 6, 8, 9, 11]
    voxel, trial = response["voxel"].values, 0
    for kind, number in (("random", 1), ("random", 2), ("figure", 1), ("figure", 2)):
        part = response.isel(trial=slice(trial, trial + 6))
        np.testing.assert_allclose(part["response"].values, folder.truth(kind, number, voxel, rows), rtol=1e-6)
        first, second = map(name, folder.patches[kind, number])
        assert part["stimulus_id"].values.tolist() == [first, first, first, second, second, first]
        assert set(part["run"].values) == {f"{kind}-{number:02d}"}
        assert set(part["split"].values) == {"train" if kind == "random" else "test"}
        assert set(part["image_type"].values) == {kind}
        trial += 6
    assert response.sizes["trial"] == trial


@pytest.mark.parametrize(("delay", "rows"), [(0, [[2, 3, 4], [6, 7], [9]]), (2, [[4, 5, 6], [8, 9], [11]])])
def test_blocks_are_means_over_delayed_volumes(folder, delay, rows):
    response = folder.read(delay=delay, random="none", figure="2")["response"]
    truth = [folder.truth("figure", 2, response["voxel"].values, part).mean(axis=0) for part in rows]
    np.testing.assert_allclose(response["response"].values, truth, rtol=1e-6)
    assert response["n_volumes"].values.tolist() == [3, 2, 1]
    assert response.attrs["delay_volumes"] == delay


def test_a_block_that_the_delay_cuts_is_shorter(folder):
    response = folder.read(delay=4, random="none", figure="1")["response"]
    assert response["n_volumes"].values.tolist() == [3, 2, 1]
    folder.write_labels("figure", 1, [*BLOCKS[:-3], 1, 1, 1])
    assert folder.read(random="none", figure="1")["response"]["n_volumes"].values.tolist() == [3, 2, 1, 1]


def test_images_are_laid_out_column_by_column(folder, valid):
    made = valid(folder.read())
    images, target = made["images"], made["patches"]
    assert images["stimulus"].values.tolist() == sorted({name(p) for both in folder.patches.values() for p in both})
    for patches in folder.patches["figure", 1]:
        pixels = images["image"].sel(stimulus=name(patches)).values
        np.testing.assert_array_equal(pixels, patches.reshape(10, 10, order="F") * 255)
        np.testing.assert_array_equal(target["embedding"].sel(stimulus=name(patches)).values, patches)
    y, x = target["patch_y"].values, target["patch_x"].values
    np.testing.assert_array_equal(images["image"].values[:, y, x] / 255, target["embedding"].values)


def test_names_do_not_depend_on_the_runs(folder):
    some, everything = folder.read(random="none", figure="2")["response"], folder.read()["response"]
    kept = everything["run"].values == "figure-02"
    assert some["stimulus_id"].values.tolist() == everything["stimulus_id"].values[kept].tolist()
    np.testing.assert_array_equal(some["response"].values, everything["response"].values[kept])


def test_areas_of_both_hemispheres_are_rois(folder):
    response = folder.read()["response"]
    voxel = response["voxel"].values
    assert sorted(voxel) == np.flatnonzero(folder.masks["mask"]).tolist()

    def inside(roi):
        return response["roi_mask"].sel(roi=roi).values

    for area in (*AREAS, "lag10to11"):
        both = folder.masks[f"LH{area}"] | folder.masks[f"RH{area}"]
        np.testing.assert_array_equal(inside(area), both.ravel()[voxel] > 0)
    np.testing.assert_array_equal(inside("V1"), inside("V1d") | inside("V1v"))
    left = np.any([folder.masks[f"LH{area}"] for area in AREAS], axis=0)
    np.testing.assert_array_equal(inside("left"), left.ravel()[voxel])
    assert "roi_mask" not in folder.read(rois="none")["response"]


def test_missing_runs_name_nilearns_call(folder, refused):
    message = refused(folder.read, random="all")
    assert "found 36 not there: 'data_random_run03.nii.gz'" in message
    assert "nilearn.datasets.fetch_miyawaki2008()" in message
    assert "figure runs: expected each once, of the 12 figure runs of miyawaki2008" in refused(folder.read, figure="13")
    assert "found 'none' twice" in refused(folder.read, figure="none", random="none")
    assert "found '1 to 3'" in refused(folder.read, figure="1 to 3")


def test_labels_that_do_not_fit_are_refused(folder, refused):
    folder.write_labels("figure", 2, BLOCKS[:-1])
    message = refused(folder.read)
    assert f"labels {str(folder.label('figure', 2))!r}: expected a row for each of 14 volumes" in message
    assert "found 13" in message
    text = "\n".join([*[",".join(["-1"] * 100)] * 13, ",".join(["-1"] * 99 + ["1"])])
    folder.label("figure", 2).write_text(text)
    assert "found '-1' in row 14, cell 1" in refused(folder.read)
    folder.label("figure", 2).write_text(text.replace("-1,1", "-1,x"))
    assert "column '99': expected numbers, found 'x' in row 14" in refused(folder.read)


def test_a_run_that_is_there_twice_is_refused(folder, save_image, refused):
    save_image(folder.func("figure", 2), folder.bold["random", 1], t_r=2.0)
    message = refused(folder.read)
    assert f"func {str(folder.func('figure', 2))!r}: expected values of its own" in message
    assert str(folder.func("random", 1)) in message


def test_a_run_of_another_grid_is_refused(folder, save_image, refused):
    save_image(folder.func("figure", 1), np.ones((4, 3, 3, 2), np.float32))
    assert "shape: expected (4, 3, 2), found (4, 3, 3)" in refused(folder.read)


def test_after_a_damaged_run_was_replaced_no_other_is_read_again(folder, tmp_path, monkeypatch, refused):
    from brainlens_public import miyawaki

    read_again = []
    fill = miyawaki.fill_rows

    def counted(image, *given, **more):
        read_again.append(image.path.name)
        fill(image, *given, **more)

    monkeypatch.setattr(miyawaki, "fill_rows", counted)
    (tmp_path / "scratch").mkdir()
    context = brainlens.Context(scratch=tmp_path / "scratch")
    whole = folder.func("figure", 1).read_bytes()
    folder.func("figure", 1).write_bytes(whole[: len(whole) // 2])
    assert "data_figure_run01.nii.gz" in refused(folder.read, context)
    folder.func("figure", 1).write_bytes(whole)
    response = folder.read(context)["response"]
    assert read_again.count("data_random_run01.nii.gz") == read_again.count("data_random_run02.nii.gz") == 1
    np.testing.assert_array_equal(response["response"].values, folder.read()["response"]["response"].values)


def test_the_registry_stores_all_of_it_once(folder, tmp_path):
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    params = {"root": str(folder.root), "random": "1-2", "figure": "1-2"}
    names = registry.ingest("public.miyawaki", "miyawaki", **params)
    assert sorted(names) == ["miyawaki/images", "miyawaki/patches", "miyawaki/response"]
    assert registry.ingest("public.miyawaki", "miyawaki", **params) == names
    assert "licence" in registry["miyawaki/response"].attrs


def test_a_file_that_is_cut_anywhere_is_refused_by_its_name(folder, cut):
    cut(
        lambda: folder.read(random="1", figure="2"),
        [folder.func("random", 1), folder.label("figure", 2), *(folder.root / "mask").glob("[mL]*V1d.nii.gz")],
    )
