"""HED labels, made up and real."""

import numpy as np
import pytest
from brainlens_public import LabelsParams
from brainlens_public.nsd_labels import read

import brainlens

HEADER = ["File_Name", "nsd_id", "cocoId", "HED_short", "HED_long"]
ROWS = [
    ["shared0002_nsd02991.png", "2990", "262239",
     '"(Foreground-view, ((Item-count/1, Human), Car)), (Background-view, Room)"', "(long b)"],
    ["shared0001_nsd02951.png", "2950", "262145", '"(Background-view, (Outdoors, Human))"', "(long a)"],
]  # fmt: skip


@pytest.fixture
def path(tmp_path):
    write(tmp_path / "labels.tsv", ROWS)
    return tmp_path / "labels.tsv"


def write(path, rows, header=HEADER):
    path.write_text("\n".join("\t".join(row) for row in [header, *rows]) + "\n")


def load(path):
    return read(params=LabelsParams(file=path), context=brainlens.Context())


def test_tags_and_texts_are_found_by_nsds_number_from_one(path, valid):
    made = valid(load(path))
    assert made["text"]["stimulus"].values.tolist() == [2951, 2991]
    assert made["text"]["coco_id"].values.tolist() == [262145, 262239]
    assert made["text"]["text"].sel(caption="long").values.tolist() == ["(long a)", "(long b)"]
    tags = made["tags"]
    assert tags["channel"].values.tolist() == [
        "background: Human", "background: Outdoors", "background: Room",
        "foreground: Car", "foreground: Human", "foreground: Item-count/1",
    ]  # fmt: skip
    assert tags["embedding"].values.tolist() == [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1]]


def test_other_tables_are_refused(path, refused):
    write(path, ROWS, [*HEADER[:3], "HED", "HED_long"])
    assert "expected a column 'HED_short', found none" in refused(load, path)
    write(path, [[*ROWS[0][:1], "2991", *ROWS[0][2:]]])
    assert "row 1: expected nsd_id one less than in 'shared0002_nsd02991.png', found 2991" in refused(load, path)
    write(path, [ROWS[0], ROWS[0]])
    assert "column 'nsd_id': expected every image once" in refused(load, path)


@pytest.mark.parametrize("text", ["(Foreground-view, (Car)", "(Sideways, Car)", "", "(Foreground-view)"])
def test_labels_that_are_not_spelt_as_hed_are_refused(path, refused, text):
    write(path, [[*ROWS[0][:3], f'"{text}"', "(long)"]])
    assert "row 1, column 'HED_short': expected " in refused(load, path)


def test_the_real_labels_are_read(shared, valid):
    made = valid(load(shared("nsd_shared1000_labels") / "shared1000_HED.tsv"))
    tags = made["tags"]
    assert made["text"].sizes["stimulus"] == 1000
    assert len(np.unique(tags["coco_id"])) == 1000
    assert tags["stimulus"].values[0] == 2951
    # Counted by hand with grep: images of which the text says 'Outdoors'.
    assert (
        float(
            tags["embedding"]
            .sel(channel=[name for name in tags["channel"].values if name.endswith(": Outdoors")])
            .max("channel")
            .sum()
        )
        == 675
    )
    assert (tags["embedding"].values.sum(axis=1) > 0).all()


def test_the_labels_of_further_images_are_read(shared):
    assert load(shared("nsd_shared1000_labels") / "notShown_HED.tsv")["text"].sizes["stimulus"] == 15


def test_a_file_that_is_cut_anywhere_is_refused_by_its_name(path, cut):
    cut(lambda: load(path), [path])
