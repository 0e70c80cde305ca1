"""What a training is given: responses come standardised, and nothing else is learnt unless it is asked for."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from brainlens_encoding.plan import Data
from brainlens_encoding.rows import Rows


def test_responses_are_standardised_by_what_is_given() -> None:
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    data = Data(
        tokens=lambda rows: torch.zeros(len(rows), 1, 1),
        response=Rows(xr.DataArray(values, dims=("trial", "voxel")), device="cpu", resident_bytes=10**6),
        mean=torch.tensor([1.0, 2.0, 3.0]),
        scale=torch.tensor([1.0, 2.0, 4.0]),
        training=np.arange(3),
        held_out=np.array([3]),
    )
    expected = (values[[2, 0]] - [1, 2, 3]) / [1, 2, 4]
    np.testing.assert_allclose(data.responses(np.array([2, 0])), expected)
    assert data.beside is None
