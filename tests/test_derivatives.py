"""The record that steps hand to each other."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import xarray as xr

import brainlens


def test_gradients_of_steps_are_chained_in_reverse() -> None:
    first = brainlens.Differentiated(xr.Dataset({"embedding": (("trial", "channel"), [[2.0]])}), lambda back: 3 * back)
    second = brainlens.Differentiated(xr.Dataset({"response": (("trial", "voxel"), [[4.0]])}), lambda back: back + 1)
    assert first.pull_back(second.pull_back(np.array([[1.0]]))).item() == 6.0


def test_it_does_not_change() -> None:
    made = brainlens.Differentiated(xr.Dataset(), abs)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.value = xr.Dataset()  # type: ignore[misc]
