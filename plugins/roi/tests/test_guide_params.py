import pydantic
import pytest
from brainlens_roi.guide_params import GuideParams


def test_the_scale_is_that_of_the_publication_unless_one_says_otherwise() -> None:
    assert GuideParams().scale == 100.0
    assert not GuideParams().conditioned


@pytest.mark.parametrize(
    "given", [{"scale": -1.0}, {"scale": float("inf")}, {"n_images": 0}, {"n_best": -1}, {"images_at_once": 0}]
)
def test_what_makes_no_sense_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(pydantic.ValidationError):
        GuideParams(**given)
