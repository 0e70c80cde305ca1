import pydantic
import pytest
from brainlens_simulate.params import ClipsParams, ScenesParams, check_concepts


@pytest.mark.parametrize("size", [0, 63, 225])
def test_impossible_sizes_are_refused(size: int) -> None:
    with pytest.raises(pydantic.ValidationError, match="greater than or equal to 64|less than or equal to 224"):
        ScenesParams(size=size)
    with pytest.raises(pydantic.ValidationError):
        ClipsParams(size=size)


def test_unknown_concepts_are_refused_with_the_closest() -> None:
    with pytest.raises(pydantic.ValidationError, match="no concept 'vehicel'. Closest: 'vehicle'"):
        ScenesParams(concepts=("face", "vehicel"))


def test_a_concept_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="expected each concept once, found face, face"):
        check_concepts(("face", "face"))
