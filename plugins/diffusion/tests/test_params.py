import pydantic
import pytest
from brainlens_diffusion.params import GeneratorParams, KandinskyParams


@pytest.mark.parametrize(
    "wrong",
    [
        {"strength": -0.1}, {"strength": 1.1}, {"guidance": 0.5}, {"n_candidates": 0}, {"n_steps": 1}, {"model": ""},
        {"scheduler": "euler"}, {"batch_size": 0},
    ],
)  # fmt: skip
def test_impossible_parameters_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(pydantic.ValidationError, match=next(iter(wrong))):
        KandinskyParams(**wrong)


def test_all_generators_have_the_parameters_of_one_interface() -> None:
    common = set(GeneratorParams.model_fields)
    for params in GeneratorParams.__subclasses__():
        assert common <= set(params.model_fields)
        assert params().model
