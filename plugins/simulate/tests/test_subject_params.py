"""What the importer `simulate` refuses."""

from typing import Any

import pytest
from brainlens_simulate.subject_params import SubjectParams
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"concepts": ("face", "fase")}, r"no concept 'fase'\. Closest: 'face'\."),
        ({"rois": ("V1", "FFA2")}, r"no ROI 'FFA2'\. Closest: 'FFA'\."),
        ({"n_voxels": 0}, "greater than or equal to 1"),
        ({"n_stimuli": 10**9}, "less than or equal to 100000"),
        ({"n_stimuli": 1, "n_shared": 0}, "n_stimuli and n_shared: expected at least 2 together, found 1"),
        ({"n_stimuli": 2, "n_shared": 0, "n_sessions": 7}, "n_sessions: expected at most one for each of 6 trials"),
        ({"size": 32}, "greater than or equal to 64"),
        ({"text": 0.6, "null": 0.6}, "mixture, route, text, null: expected shares of at most 1 together, found 1.55"),
        ({"noise_tail": 1.5}, "noise_tail.*\n.*expected 0 or more than 2, whose variance is finite, found 1.5"),
        ({"signal": "cubic"}, "'full', 'linear' or 'none'"),
        ({"voxels": 10}, "Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        SubjectParams(**given)


def test_all_parameters_are_described() -> None:
    assert all(field.description for field in SubjectParams.model_fields.values())


def test_parameters_survive_json() -> None:
    params = SubjectParams(rois=("V1", "FFA"), noise_tail=5.0)
    assert SubjectParams.model_validate_json(params.model_dump_json()) == params
