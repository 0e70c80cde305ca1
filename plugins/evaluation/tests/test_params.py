from typing import Any

import pydantic
import pytest
from brainlens_evaluation.params import METRICS, EmbeddingParams, ImageParams, PaperParams


def test_all_metrics_are_computed_by_default() -> None:
    assert ImageParams().metrics == METRICS


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"metrics": ("ssim", "ssim")}, "metrics: expected each once"),
        ({"metrics": ()}, "at least 1"),
        ({"metrics": ("lpips",)}, "ssim"),
        ({"candidate": -2}, "greater than or equal to -1"),
        ({"n_shuffles": 0}, "greater than or equal to 1"),
        ({"batch_size": 0}, "greater than or equal to 1"),
    ],
)
def test_values_that_do_not_fit_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        ImageParams(**given)


@pytest.mark.parametrize("name", ["", "Judge", "two words", "1st"])
def test_a_metric_has_a_plain_name(name: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        EmbeddingParams(metric=name)


def test_digits_are_few() -> None:
    with pytest.raises(pydantic.ValidationError, match="less than or equal to 6"):
        PaperParams(digits=7)
