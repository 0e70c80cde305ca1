"""Further embeddings of a decoder or encoder: which there are, and row for row with trials."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import brainlens
from brainlens.further import align_further, further_inputs


def component(role: str) -> brainlens.Component:
    return brainlens.Component(
        name="toy.fit", role=role, summary="Toy.", version="1", target="toy:Toy",
        inputs={"text": "embedding", "depth": brainlens.Input("embedding", optional=True)},
    )  # fmt: skip


@pytest.mark.parametrize("role", ["decoder", "encoder"])
def test_what_the_role_does_not_bring_is_further(role: str) -> None:
    assert further_inputs(component(role)) == ["text", "depth"]


def space(names: list[str]) -> xr.Dataset:
    values = np.arange(len(names), dtype=np.float32)[:, None]
    return xr.Dataset({"embedding": (("stimulus", "channel"), values)}, {"stimulus": names}, {"model": "words"})


def test_rows_follow_the_trials_of_their_own_response() -> None:
    shown = {"trial": [7, 8, 9], "stimulus_id": ("trial", ["c", "a", "c"])}
    response = xr.Dataset({"response": (("trial", "voxel"), np.zeros((3, 1)))}, shown)
    opened = {"text": [space(["a", "b"]), space(["a", "b", "c"])], "depth": [None, None]}
    found = align_further(opened, 1, response, None)
    assert found["depth"] is None
    assert found["text"] is not None
    assert found["text"]["embedding"].values.ravel().tolist() == [2, 0, 2]
    assert found["text"]["trial"].values.tolist() == [7, 8, 9]
    with pytest.raises(brainlens.DimensionError, match=r"text: .*'c'"):
        align_further(opened, 0, response, None)
