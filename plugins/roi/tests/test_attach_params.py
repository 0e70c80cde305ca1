"""Parameters of `roi.attach`: one file stands for a list of one, and names keep their labels."""

from __future__ import annotations

from pathlib import Path

from brainlens_roi.attach_params import AttachParams


def test_files_and_names_come_as_one_writes_them():
    assert AttachParams(masks=Path("V1.nii.gz")).masks == ("V1.nii.gz",)
    assert AttachParams(masks={"V1": Path("a.nii")}).masks == {"V1": "a.nii"}
    assert AttachParams(masks="").masks == ()
    assert AttachParams(atlas_names={1: "V1", 7: "V2"}).atlas_names == {"1": "V1", "7": "V2"}
    assert AttachParams(atlas_names=["Background", "V1"]).atlas_names == ("Background", "V1")
    again = AttachParams.model_validate_json(AttachParams(atlas_names={3: "V1"}, masks="m.nii").model_dump_json())
    assert again == AttachParams(atlas_names={"3": "V1"}, masks=("m.nii",))
