"""Captions and categories against what was written for each image, and annotations that lack something."""

import csv
import json

import numpy as np
import pytest
from brainlens_nsd.captions import _read_coco_ids

import brainlens


def coco_files(truth, kind):
    return [str(truth.root / "coco" / f"{kind}_{split}2017.json") for split in ("train", "val")]


def test_captions_are_those_of_their_image(published, caption):
    dataset = published.captions()[""]
    images = dataset["stimulus"].values
    np.testing.assert_array_equal(images, np.unique(published.stimulus_id))
    np.testing.assert_array_equal(dataset["coco_id"].values, 3 * images + 9)
    assert dataset.sizes["caption"] == 5
    for row, image in list(enumerate(images.tolist()))[::50]:
        assert dataset["text"].values[row].tolist() == [caption(image, number) for number in range(5)]


def test_categories_are_those_that_were_marked(published):
    made = published.captions(instances=coco_files(published, "instances"), n_captions=1)
    assert sorted(made) == ["captions", "categories"]
    categories = made["categories"]
    images = categories["stimulus"].values
    assert categories["channel"].values.tolist() == ["person", "dog", "toothbrush"]
    expected = images[:, None] >> np.arange(3) & 1
    np.testing.assert_array_equal(categories["embedding"].values, expected)


def test_all_are_stored_under_their_names(published, tmp_path):
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    given = published.params(
        captions=coco_files(published, "captions"), instances=coco_files(published, "instances"), n_captions=2
    )
    registry.ingest("nsd.captions", "subj04", **given)
    assert sorted(registry.list()) == ["subj04/captions", "subj04/categories"]
    stored = registry["subj04/captions"]
    assert stored["text"].values.shape == (750, 2)


def test_images_with_too_few_captions_are_refused_or_left_out(published):
    message = published.error("captions", n_captions=6)
    images = np.unique(published.stimulus_id)
    few = images[images % 3 == 0]
    assert f"expected 6 for every image, found fewer for {len(few)} of {len(images)} images" in message
    assert "missing='drop'" in message
    dataset = published.captions(n_captions=6, missing="drop")[""]
    np.testing.assert_array_equal(dataset["stimulus"].values, images[images % 3 > 0])
    assert dataset.attrs["n_dropped_stimuli"] == len(few)


def test_a_part_of_coco_without_captions_is_named(copy):
    (copy.root / "coco" / "captions_val2017.json").write_text('{"annotations": []}')
    message = copy.error("captions")
    n_val = ((np.unique(copy.stimulus_id) - 1) % 5 == 0).sum()
    assert f"{n_val} of val2017, the lowest number 0" in message


def test_a_part_of_coco_without_objects_is_refused(published):
    message = published.error("captions", instances=coco_files(published, "instances")[:1])
    assert "instances: expected a file of val2017" in message


def test_objects_of_unknown_category_are_refused(copy):
    path = copy.root / "coco" / "instances_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["category_id"] = 77
    path.write_text(json.dumps(content))
    message = copy.error("captions", instances=coco_files(copy, "instances"))
    assert "a name for every category, found none of 77" in message


def test_captions_of_another_layout_are_refused_with_their_entry(copy):
    path = copy.root / "coco" / "captions_train2017.json"
    path.write_text('{"annotations": [{"image": 3, "caption": "x"}]}')
    assert f"annotations {str(path)!r}, entry 0: expected a field 'image_id', found 'image', 'caption'" in (
        copy.error("captions")
    )


@pytest.mark.parametrize("change", ["rows", "column"])
def test_descriptions_of_other_images_are_refused(copy, change):
    path = copy.experiment("nsd_stim_info_merged.csv")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(
        "".join(lines[:1] + lines[5:] if change == "rows" else [lines[0].replace("cocoId", "id"), *lines[1:]])
    )
    message = copy.error("captions")
    assert message.startswith(f"descriptions {str(path)!r}")
    assert ("column 'nsdId': expected 0 to 72999" if change == "rows" else "a column 'cocoId', found none") in message


def test_numbers_of_shared_images_lead_to_their_coco_image(tmp_path):
    """Real numbers: the first 1000 rows of a table of descriptions made from published labels of the shared images."""
    import pathlib

    source = pathlib.Path(__file__).parents[3] / "../shared/data/nsd_shared1000_labels/shared1000_HED.tsv"
    if not source.exists():
        pytest.skip("real data '../shared/data/nsd_shared1000_labels' are not here")
    with source.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    coco = np.zeros(73_000, int)
    for row in rows:
        coco[int(row["nsd_id"])] = int(row["cocoId"])
        # The file name counts from 1, as stimulus_id does; the column from 0, as rows of images do.
        assert int(row["File_Name"].split("nsd")[1].removesuffix(".png")) == int(row["nsd_id"]) + 1
    path = tmp_path / "nsd_stim_info_merged.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "cocoId", "cocoSplit", "nsdId"])
        writer.writerows([row, coco[row], "train2017", row] for row in range(73_000))
    table = _read_coco_ids(path)
    # shared0001_nsd02951.png is COCO image 262145.
    assert table["cocoId"][2951 - 1] == 262145
