"""What is refused before anything is trained."""

from __future__ import annotations

import pydantic
import pytest
from brainlens_encoding.in_context_params import InContextParams


@pytest.mark.parametrize("sizes", [(1, 10), (20, 10)])
def test_context_sizes_are_in_order(sizes: tuple[int, int]) -> None:
    with pytest.raises(
        pydantic.ValidationError, match="context_sizes: expected two numbers, from 2, the smaller first"
    ):
        InContextParams(context_sizes=sizes)


def test_heads_share_the_width() -> None:
    with pytest.raises(pydantic.ValidationError, match="n_heads: expected a divisor of the width 64, found 5"):
        InContextParams(n_heads=5)
