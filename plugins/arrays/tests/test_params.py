from __future__ import annotations

import brainlens_arrays
import pydantic
import pytest
from brainlens_arrays.params import EmbeddingParams, ImagesParams, ResponseParams


def test_the_three_importers_are_offered() -> None:
    components = {component.name: component for component in brainlens_arrays.brainlens_components()}
    assert set(components) == {"arrays", "arrays.embedding", "arrays.images"}
    assert {component.role for component in components.values()} == {"importer"}


@pytest.mark.parametrize("params", [ResponseParams, EmbeddingParams, ImagesParams])
def test_every_parameter_is_described(params: type[pydantic.BaseModel]) -> None:
    assert [name for name, field in params.model_fields.items() if not field.description] == []


def test_the_subject_must_be_given() -> None:
    with pytest.raises(pydantic.ValidationError, match="subject"):
        ResponseParams(responses="betas.npy")
    with pytest.raises(pydantic.ValidationError, match="subject"):
        ResponseParams(responses="betas.npy", subject="")


def test_an_orientation_is_one_of_two_words() -> None:
    with pytest.raises(pydantic.ValidationError, match="trial_by_voxel"):
        ResponseParams(responses="betas.npy", subject="S1", orientation="transposed")
