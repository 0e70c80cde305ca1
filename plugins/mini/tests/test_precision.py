import pytest
import torch
from brainlens_mini.precision import casting

import brainlens


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_products_are_computed_in_the_precision_asked_for(precision: str, dtype: torch.dtype) -> None:
    matrix = torch.eye(3)
    with casting(brainlens.Context(precision=precision)):
        assert (matrix @ matrix).dtype == dtype
