import json
import subprocess
import sys

import pydantic
import pytest
from brainlens_bids import BetasParams, BoldParams, GlmsingleParams, ImagesParams, brainlens_components

STUDY = {"derivatives": "fmriprep", "subject": "01", "task": "rest"}
FILES = {"betas": "b.nii", "events": "e.tsv", "subject": "01", "space": "T1w", "units": "z"}


def test_importing_the_plugin_loads_no_heavy_library():
    heavy = "{'h5py', 'nibabel', 'nilearn', 'numpy', 'pandas', 'scipy', 'sklearn', 'xarray'}"
    code = f"import sys, brainlens_bids; print(sorted({heavy} & set(sys.modules)))"
    path = {"PYTHONPATH": ":".join(sys.path)}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=path)
    assert found.stdout.strip() == "[]"


def test_components_are_named_after_the_plugin():
    roles = {component.name: component.role for component in brainlens_components()}
    assert roles == {
        "bids.bold": "importer",
        "bids.betas": "importer",
        "bids.images": "importer",
        "bids.glmsingle": "importer",
        "bids.glm": "analysis",
    }


def test_labels_are_taken_with_and_without_their_key():
    params = BoldParams(
        derivatives="d", subject="sub-01", task="task-rest", sessions="ses-pre", runs="run-2", space="T1w"
    )
    assert (params.subject, params.task, params.sessions, params.runs) == ("01", "rest", ("pre",), ("2",))


def test_ranges_are_written_out_with_their_zeros():
    params = BoldParams(**STUDY, sessions="09-11", runs={"09": "1-3", "10": ["1", "3"], "11": "2,4"})
    assert params.sessions == ("09", "10", "11")
    assert params.runs == {"09": ("1", "2", "3"), "10": ("1", "3"), "11": ("2", "4")}
    assert BoldParams(**STUDY, runs=["1-2", "5"]).runs == ("1", "2", "5")
    params = BoldParams(**STUDY, sessions=["ses-pre"], runs={"ses-pre": "run-1"})
    assert params.runs == {"pre": ("1",)}


def test_parameters_come_back_from_their_record():
    params = BetasParams(**STUDY, sessions="pre,post", runs={"pre": "1-2", "post": "1"}, entities={"acq": "seq"})
    assert BetasParams(**json.loads(params.model_dump_json())) == params
    images = ImagesParams(**FILES, rois={"V1": "v1.nii"})
    assert ImagesParams(**json.loads(images.model_dump_json())) == images


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"derivatives": ""}, "expected the folder of a dataset in one of them, found neither"),
        ({"subject": "01_02"}, "expected letters and digits, as in the label of an entity of BIDS, found '01_02'"),
        ({"runs": "3-1"}, "expected a range that ascends, such as '01-12', found '3-1'"),
        ({"runs": "1-3,2"}, "expected each label once, found '2' more than once"),
        ({"sessions": "pre", "runs": {"post": "1"}}, r"expected labels for each of sessions \['pre'\], found them for"),
        ({"confounds": "csf", "strategy": "motion"}, "expected columns by name or by kind, found both"),
        ({"derivatives": "", "raw": "raw", "confounds": "csf"}, "expected derivatives, whose tables hold them"),
        ({"strategy": "movement"}, "strategy"),
        ({"entities": {"acq": "a-b"}}, "expected letters and digits"),
    ],
)
def test_what_cannot_be_is_refused(change, text):
    with pytest.raises(pydantic.ValidationError, match=text):
        BoldParams(**STUDY | change)


@pytest.mark.parametrize("missing", ["betas", "events", "subject", "space", "units"])
def test_what_is_needed_must_be_given(missing):
    with pytest.raises(pydantic.ValidationError):
        ImagesParams(**{name: value for name, value in FILES.items() if name != missing})
    assert GlmsingleParams(**{name: value for name, value in FILES.items() if name != "units"}).variable == "betasmd"
