import pydantic
import pytest
from brainlens_mini.params import GenerateParams, ImageParams


@pytest.mark.parametrize("wrong", [{"strength": 0}, {"strength": 1.1}, {"guidance": 0.5}, {"n_candidates": 0}])
def test_impossible_parameters_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(pydantic.ValidationError, match=next(iter(wrong))):
        GenerateParams(**wrong)


def test_an_unknown_layer_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="'pooled', 'grid4' or 'grid8'"):
        ImageParams(layer="grid16")
