from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from brainlens_stimuli.import_params import TableParams
from brainlens_stimuli.table import read
from PIL import Image

import brainlens

COCO = Path(__file__).parents[4] / "shared" / "data" / "photos_coco_ccby"
ROWS = {
    "file": ["b/2.png", "a/1.png"],
    "coco": ["000785", "000885"],
    "what": ["a dog", "NA"],
    "also": ["it, \"runs\"", "sky"],
    "kind": ["animal", "place"],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(ROWS["file"]):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(tmp_path / name)
    pd.DataFrame(ROWS).to_csv(tmp_path / "table.csv", index=False)
    pd.DataFrame(ROWS).to_csv(tmp_path / "table.tsv", index=False, sep="\t")
    (tmp_path / "records.json").write_text(pd.DataFrame(ROWS).to_json(orient="records"))
    (tmp_path / "captions.json").write_text(
        json.dumps({"b/2.png": ["a dog", "runs"], "a/1.png": ["sky", "blue", "up"]})
    )
    return tmp_path


def run(table: Path, **params: object) -> dict:
    return dict(read(params=TableParams(table=str(table), **params), context=brainlens.Context()))


@pytest.mark.parametrize("name", ["table.csv", "table.tsv", "records.json"])
def test_rows_say_which_pictures_and_captions_belong_together(folder: Path, name: str) -> None:
    made = run(folder / name, stimulus="coco", captions=["what", "also"], language="en", keep=["kind"])
    images, texts = made["images"], made["captions"]
    brainlens.validate(images, "stimulus_image.v1")
    brainlens.validate(texts, "stimulus_text.v1")
    for each in (images, texts):
        assert each["stimulus"].values.tolist() == ["000785", "000885"]
        assert each["kind"].values.tolist() == ["animal", "place"]
    assert images["image"][:, 0, 0, 0].values.tolist() == [0, 1]
    assert texts["text"].values.tolist() == [["a dog", 'it, "runs"'], ["NA", "sky"]]
    assert texts["caption"].values.tolist() == ["what", "also"]


def test_an_object_from_paths_to_captions_is_taken(folder: Path) -> None:
    with pytest.raises(
        brainlens.DimensionError,
        match="expected 3 captions of every stimulus, found fewer of 1: 'b/2.png'.*n_captions=2",
    ):
        run(folder / "captions.json", language="en")
    made = run(folder / "captions.json", language="en", n_captions=2)
    assert made["captions"]["text"].values.tolist() == [["a dog", "runs"], ["sky", "blue"]]
    assert made["images"]["stimulus"].values.tolist() == ["b/2", "a/1"]


def test_captions_alone_need_no_pictures(folder: Path) -> None:
    made = run(folder / "table.csv", file="", stimulus="coco", captions=["what"], language="en")
    assert list(made) == [""]
    brainlens.validate(made[""], "stimulus_text.v1")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"file": "files"}, "expected a column 'files'. Closest: 'file'"),
        ({"captions": ["what"]}, "language: expected the tag of the captions' language"),
        ({"file": "", "stimulus": "coco"}, "expected a column of paths, file=, or of captions"),
        ({"file": ""}, "stimulus: expected the column with the identifiers"),
        ({"root": "a"}, "expected the picture 'b/2.png' in '.*a', found nothing there"),
    ],
)
def test_what_is_missing_is_said(folder: Path, params: dict, message: str) -> None:
    # The column "file" is what identifiers are made of, unless it is not there.
    if params == {"file": ""}:
        pd.DataFrame(ROWS).drop(columns="file").to_csv(folder / "table.csv", index=False)
    if "root" in params:
        params = {"root": str(folder / "a")}
    with pytest.raises(brainlens.BrainlensError, match=message):
        run(folder / "table.csv", **params)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": ["b/2.png", "b/2.png"]}, "expected every stimulus once, found 'b/2' again"),
        ({"file": ["b/2.png", "../b/2.png"]}, "expected paths below .*, found '../b/2.png'"),
        ({"file": ["b/2.png", "/etc/hosts"]}, "expected paths below .*, found '/etc/hosts'"),
        ({"file": ["b/2.png", ""]}, "expected a value in every row, found none in 1, the first is row 2"),
    ],
)
def test_rows_that_cannot_be_meant_are_refused(folder: Path, change: dict, message: str) -> None:
    pd.DataFrame({**ROWS, **change}).to_csv(folder / "table.csv", index=False)
    with pytest.raises(brainlens.ParameterError, match=message):
        run(folder / "table.csv")


@pytest.mark.parametrize(
    ("name", "content"), [("a.json", "[1, 2"), ("a.json", "3"), ("a.csv", "a,b\n1,2,3,4\n5\n"), ("a.xls", "")]
)
def test_a_file_that_is_no_table_is_refused(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(brainlens.ParameterError, match="table .*: expected"):
        run(folder / name)


@pytest.mark.skipif(not COCO.is_dir(), reason="needs the shared photographs")
def test_real_photographs_come_with_their_captions() -> None:
    made = run(COCO / "captions.json", root=str(COCO / "images"), language="en", size=32, fit="crop")
    assert made["captions"]["text"].shape == (44, 5)
    assert made["images"]["image"].shape == (44, 32, 32, 3)
    made = run(
        COCO / "attribution.csv", root=str(COCO / "images"), stimulus="coco_id", keep=["license"], size=32, fit="crop"
    )
    assert made[""]["stimulus"].values[0] == "785"
    assert made[""]["license"].values[0] == "CC BY 2.0"


def test_the_registry_stores_both_beside_each_other(folder: Path, tmp_path: Path) -> None:
    registry = brainlens.open(tmp_path / "study", quiet=True)
    more = {"captions": ["what"], "language": "en"}
    assert registry.ingest("stimuli.table", "mine", table=str(folder / "table.csv"), **more) == [
        "mine/images",
        "mine/captions",
    ]
    registry.ingest("stimuli.table", "alone", table=str(folder / "table.csv"))
    assert registry["alone"]["image"].shape == (2, 4, 4, 3)
