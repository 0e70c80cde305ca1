"""What is refused before anything is trained."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest
from brainlens_encoding.aligned_params import AlignedParams


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"epochs": 5, "align_epochs": 5}, "align_epochs: expected fewer than epochs=5, so that responses are learnt"),
        ({"alignment": 0.0, "align_epochs": 2}, "alignment: expected more than 0 with align_epochs, found 0"),
        ({"channels": (8, 0)}, "channels: expected at least 1 in each convolution, found 0"),
    ],
)
def test_what_cannot_be_trained_is_refused(given: dict[str, Any], text: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=text):
        AlignedParams(**given)
