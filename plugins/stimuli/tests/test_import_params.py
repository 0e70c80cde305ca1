import pytest
from brainlens_stimuli.import_params import FolderParams, PictureParams
from pydantic import ValidationError


@pytest.mark.parametrize("wrong", [{"size": -1}, {"fit": "squash"}, {"pad_value": 256}, {"resample": "area"}])
def test_values_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        PictureParams(**wrong)


def test_nothing_is_resized_unless_it_is_asked_for() -> None:
    params = FolderParams(folder="f")
    assert (params.size, params.fit) == (0, "exact")
