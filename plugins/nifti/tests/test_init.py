import json
import subprocess
import sys

import pydantic
import pytest
from brainlens_nifti import MapParams, NiftiParams, brainlens_components

REQUIRED = {"bold": "b.nii", "mask": "m.nii", "subject": "s", "space": "x"}


def test_importing_the_plugin_loads_no_heavy_library():
    heavy = "{'nibabel', 'nilearn', 'numpy', 'pandas', 'scipy', 'sklearn', 'xarray'}"
    code = f"import sys, brainlens_nifti; print(sorted({heavy} & set(sys.modules)))"
    environment_path = {"PYTHONPATH": ":".join(sys.path)}
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment_path
    )
    assert found.stdout.strip() == "[]"


def test_components_are_named_after_the_plugin():
    assert {component.name: component.role for component in brainlens_components()} == {
        "nifti": "importer",
        "nifti.map": "exporter",
    }


@pytest.mark.parametrize("params", [NiftiParams, MapParams])
def test_every_parameter_is_described(params):
    assert all(field.description for field in params.model_fields.values())


def test_one_path_stands_for_a_list_of_one(tmp_path):
    assert NiftiParams(**REQUIRED).bold == ("b.nii",)
    assert NiftiParams(**REQUIRED | {"bold": [tmp_path, "b.nii"]}).bold == (str(tmp_path), "b.nii")
    assert NiftiParams(**REQUIRED, rest="").rest == ()
    assert NiftiParams(**REQUIRED, rois={"V1": tmp_path}).rois == {"V1": str(tmp_path)}


def test_parameters_come_back_from_their_record():
    params = NiftiParams(**REQUIRED, rois={"V1": "v1.nii"}, confounds=["a.tsv"], t_r=2)
    assert NiftiParams(**json.loads(params.model_dump_json())) == params


@pytest.mark.parametrize(
    "change", [{"bold": ""}, {"bold": []}, {"mask": ""}, {"space": ""}, {"t_r": -1}, {"t_r": float("nan")}]
)
def test_empty_and_impossible_values_are_refused(change):
    with pytest.raises(pydantic.ValidationError):
        NiftiParams(**REQUIRED | change)
