"""Feature spaces: one is known again whatever stimuli are in it, and refused with what changed."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, strategies as st

import brainlens
from brainlens.feature_spaces import describe_space, describe_spaces, match_spaces


def space(
    model: str = "clip", n_channels: int = 3, n_tokens: int = 0, rows: str = "stimulus", n_rows: int = 4, **coords: Any
) -> xr.Dataset:
    dims = (rows, "token", "channel") if n_tokens else (rows, "channel")
    shape = (n_rows, n_tokens, n_channels) if n_tokens else (n_rows, n_channels)
    return xr.Dataset({"embedding": (dims, np.zeros(shape))}, {rows: range(n_rows), **coords}, {"model": model})


@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from(["stimulus", "trial"]), st.integers(0, 3))
def test_stimuli_make_no_difference(first: int, second: int, rows: str, n_tokens: int) -> None:
    known = describe_space(space(n_rows=first, n_tokens=n_tokens))
    assert describe_space(space(n_rows=second, rows=rows, n_tokens=n_tokens)) == known


def test_labels_that_count_from_0_are_the_same_as_none() -> None:
    assert describe_space(space(channel=range(3))) == describe_space(space())


def test_spaces_are_put_in_the_order_of_the_model() -> None:
    one, two = space("one"), space("two", 5, n_tokens=2)
    known = describe_spaces([one, two])
    for given_spaces in ([one, two], [two, one]):
        found = match_spaces(known, given_spaces, model="m")
        assert [each.attrs["model"] for each in found] == ["one", "two"]


KNOWN = {
    "width": (space(n_channels=4), "changed since the model was fitted: expected 3 channels, found 4 channels. Give"),
    "tokens": (space(n_tokens=2), "changed since the model was fitted: expected 3 channels, found 2 tokens x 3 chan"),
    "labels": (space(channel=[0, 2, 1]), "changed since the model was fitted: expected the same channel labels in the"),
    "maker": (
        space().assign_attrs(component="clip.embed", component_version="2"),
        "changed since the model was fitted: expected embeddings made by clip.embed version 1, found some made by "
        "clip.embed version 2. Give features made as those were, or fit again.",
    ),
    "weights": (
        space().assign_attrs(weights_sha256="b" * 64),
        "changed since the model was fitted: expected embeddings by the weights aaaaaaaaaaaa, found some by "
        "bbbbbbbbbbbb. Give features made as those were, or fit again.",
    ),
}


@pytest.mark.parametrize("what", KNOWN)
def test_a_space_that_changed_is_refused_with_what_changed(what: str) -> None:
    made = {"component": "clip.embed", "component_version": "1", "weights_sha256": "a" * 64}
    known = describe_spaces([space().assign_attrs(made)])
    other, text = KNOWN[what]
    with pytest.raises(brainlens.DimensionError, match=f"^model 'm': feature space 'clip' {re.escape(text)}"):
        match_spaces(known, [other], model="m")


def test_who_put_the_features_makes_no_difference() -> None:
    known = describe_spaces([space().assign_attrs(component="clip.embed", component_version="1")])
    assert len(match_spaces(known, [space().assign_attrs(component="put")], model="m")) == 1


def test_other_spaces_and_missing_ones_are_refused() -> None:
    known = describe_spaces([space("clip"), space("text")])
    with pytest.raises(
        brainlens.DimensionError,
        match=r"^model 'm': expected features of 'clip', 'text', found 'clap'. Closest: 'clip'.",
    ):
        match_spaces(known, [space("clap"), space("text")], model="m")
    with pytest.raises(
        brainlens.DimensionError,
        match=r"^model 'm': expected features of all 2 spaces that it was fitted from, found none of 'text'. Give one",
    ):
        match_spaces(known, [space("clip")], model="m")


def test_a_space_twice_is_refused() -> None:
    with pytest.raises(
        brainlens.ParameterError, match="^features: expected each feature space once, found 'a' 2 times"
    ):
        describe_spaces([space("a"), space("b"), space("a")])


@pytest.mark.parametrize("dims", [("variant", "trial", "channel"), ("roi", "channel"), ("trial", "channel", "token")])
def test_other_dims_are_refused(dims: tuple[str, ...]) -> None:
    other = xr.Dataset({"embedding": (dims, np.zeros([2] * len(dims)))}, attrs={"model": "clip"})
    found = re.escape(f"found ({', '.join(dims)})")
    with pytest.raises(
        brainlens.DimensionError, match=f"^feature space 'clip': expected dims .*{found}. Select one of"
    ):
        describe_space(other)
