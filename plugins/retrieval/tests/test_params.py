import pydantic
import pytest
from brainlens_retrieval.params import PictureParams, ScoreParams


def test_n_way_needs_two():
    with pytest.raises(pydantic.ValidationError, match="greater than or equal to 2"):
        ScoreParams(n_way=(1,))


def test_too_many_pictures_are_refused():
    assert PictureParams(n_hits=100, n_trials=100).n_hits == 100
    with pytest.raises(pydantic.ValidationError, match="expected at most 10,000 pictures, found 10100"):
        PictureParams(n_hits=101, n_trials=100)
