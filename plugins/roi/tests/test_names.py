"""Names of atlas labels, in every form in which they come."""

from __future__ import annotations

from pathlib import Path

import pytest
from brainlens_roi.attach_params import AttachParams
from brainlens_roi.names import name_of_file, read_names

import brainlens

SHARED = Path(__file__).parents[4] / "shared/data/atlas_schaefer_tian_mni"


def names(tmp_path: Path, text: str = "", **given) -> dict[int, str]:
    if text:
        (tmp_path / "names.txt").write_text(text, "utf-8")
        given["atlas_labels"] = str(tmp_path / "names.txt")
    return read_names(AttachParams(atlas="atlas.nii.gz", **given), brainlens.Context())


@pytest.mark.parametrize(
    "text",
    [
        "V1\nleft V2\nunknown\n",
        "index\tname\n1\tV1\n2\tleft V2\n0\tBackground\n",
        "\ufeffIndex,Node-Label,x\n1,V1,3\n2,left V2,4\n",
        "# comment\nname,index\nV1,1\nleft V2,2\n???,5\n",
    ],
)
def test_tables_are_read(tmp_path, text):
    assert names(tmp_path, text) == {1: "V1", 2: "left V2"}


def test_numbered_lines_without_a_header(tmp_path):
    assert names(tmp_path, "3 V1 0 0 0 0\n17 V2 255 0 0 0\n0 Unknown 0 0 0 0\n") == {3: "V1", 17: "V2"}


def test_lists_as_nilearn_gives_them(tmp_path):
    assert names(tmp_path, atlas_names=["Background", "V1", "V2"]) == {1: "V1", 2: "V2"}
    assert names(tmp_path, atlas_names=["V1", "V2"]) == {1: "V1", 2: "V2"}
    assert names(tmp_path, atlas_names={4: "V1", 0: "nothing"}) == {4: "V1"}
    assert names(tmp_path, atlas_names=["V1", "V2"], background="v2") == {1: "V1"}


def test_what_is_no_table_is_said(tmp_path):
    with pytest.raises(brainlens.ParameterError, match="in atlas_labels or in atlas_names, found neither"):
        names(tmp_path)
    with pytest.raises(brainlens.ParameterError, match="in atlas_labels or in atlas_names, found both"):
        names(tmp_path, "V1\n", atlas_names=["V1"])
    with pytest.raises(brainlens.ParameterError, match="every index once, found 1 for 'V1' and 'V2'"):
        names(tmp_path, "index,name\n1,V1\n1,V2\n")
    with pytest.raises(brainlens.ParameterError, match="every ROI name once, found 'V1' more than once"):
        names(tmp_path, "V1\nV1\n")
    with pytest.raises(brainlens.ParameterError, match="whole numbers as index, found 'one' for 'V1'"):
        names(tmp_path, "index,name\none,V1\n")
    with pytest.raises(brainlens.ParameterError, match="a column of names beside 'index'"):
        names(tmp_path, "index,x\n1,3\n")
    with pytest.raises(brainlens.ParameterError, match="found nothing in it"):
        names(tmp_path, "\n\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(brainlens.ParameterError, match="expected a text table"):
        names(tmp_path, atlas_labels=str(tmp_path / "binary.txt"))
    with pytest.raises(brainlens.RegistryError, match="expected a file or folder, found nothing there"):
        names(tmp_path, atlas_labels=str(tmp_path / "none.txt"))


def test_files_name_rois():
    assert name_of_file(Path("sub-01_hemi-L_label-V1_desc-x_mask.nii.gz")) == "V1"
    assert name_of_file(Path("a.b.nii")) == "a.b"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared atlas is not here")
def test_published_tables_are_read(tmp_path):
    schaefer = names(tmp_path, atlas_labels=str(SHARED / "schaefer200x7/schaefer200x7NodeNames.txt"))
    assert len(schaefer) == 200
    assert schaefer[1] == "LH_Vis_1"
    tian = names(tmp_path, atlas_labels=str(SHARED / "TianSubcortexS2x3T/indexTable.csv"))
    assert len(tian) == 32
    assert tian == names(tmp_path, atlas_labels=str(SHARED / "TianSubcortexS2x3T/TianSubcortexS2x3TNodeNames.txt"))
