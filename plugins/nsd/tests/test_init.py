import json

import pydantic
import pytest
from brainlens_nsd import BetasParams, CaptionsParams, StimuliParams, brainlens_components


def test_components_are_named_after_the_plugin():
    names = [component.name for component in brainlens_components()]
    assert names == ["nsd", "nsd.stimuli", "nsd.captions"]
    assert all("s41593-021-00962-x" in component.citations[0] for component in brainlens_components())


def test_one_name_stands_for_a_list_of_one():
    params = BetasParams(root="nsd", subject="subj01", sites="all", rois="")
    assert params.sites == ("all",)
    assert params.rois == ()


def test_parameters_come_back_from_their_record():
    params = CaptionsParams(root="nsd", subject="subj02", captions=["a.json", "b.json"], sessions="1-3")
    assert CaptionsParams(**json.loads(params.model_dump_json())) == params


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "subj09"},
        {"space": "MNI"},
        {"betas": "restingbetas_fithrf"},
        {"standardize": "session"},
        {"root": ""},
    ],
)
def test_what_does_not_exist_is_refused(change):
    with pytest.raises(pydantic.ValidationError):
        BetasParams(**{"root": "nsd", "subject": "subj01"} | change)


@pytest.mark.parametrize(
    "change",
    [
        {"images": "shared1000", "subject": "subj01"},
        {"images": "subject"},
        {"images": "shared1000", "sessions": "1-3"},
        {"images": "shared1000", "size": 426},
    ],
)
def test_images_that_contradict_each_other_are_refused(change):
    with pytest.raises(pydantic.ValidationError):
        StimuliParams(**{"root": "nsd"} | change)
