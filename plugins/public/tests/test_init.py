import json
import subprocess
import sys

import pydantic
import pytest
from brainlens_public import BDataParams, HaxbyParams, MiyawakiParams, brainlens_components


def test_importing_the_plugin_loads_no_heavy_library():
    heavy = "{'h5py', 'nibabel', 'nilearn', 'numpy', 'pandas', 'scipy', 'sklearn', 'xarray'}"
    code = f"import sys, brainlens_public; print(sorted({heavy} & set(sys.modules)))"
    path = {"PYTHONPATH": ":".join(sys.path)}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=path)
    assert found.stdout.strip() == "[]"


def test_every_component_is_an_importer_with_its_citation():
    for component in brainlens_components():
        assert component.name.startswith("public.")
        assert component.role == "importer"
        assert component.citations


@pytest.mark.parametrize("params", [component.params for component in brainlens_components()])
def test_every_parameter_is_described(params):
    assert all(field.description for field in params.model_fields.values())


def test_parameters_come_back_from_their_record():
    params = BDataParams(files=["a.h5", "b.h5"], subject="S1", splits=("train", "test"))
    assert BDataParams(**json.loads(params.model_dump_json())) == params
    assert HaxbyParams(root="haxby2001", subject="subj1", sites="face").sites == ("face",)


@pytest.mark.parametrize(
    ("params", "given"),
    [
        (HaxbyParams, {"root": "a", "subject": "subj7"}),
        (HaxbyParams, {"root": "", "subject": "subj1"}),
        (MiyawakiParams, {"root": "a", "delay": -1}),
        (BDataParams, {"files": (), "subject": "S1"}),
        (BDataParams, {"files": "a.h5", "subject": "S1", "data_types": "test"}),
        (BDataParams, {"files": "a.h5", "subject": "S1", "splits": ("train", "test")}),
        (BDataParams, {"files": "a.h5", "subject": "S1", "splits": "imagery"}),
    ],
)
def test_what_cannot_be_is_refused(params, given):
    with pytest.raises(pydantic.ValidationError):
        params(**given)
