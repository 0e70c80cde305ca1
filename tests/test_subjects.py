"""Several subjects in one model: what goes together, and that each gets back what is its own."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings, strategies as st

import brainlens
from brainlens.schema import builtin_schemas, structure_problems
from brainlens.subjects import join_models, model_of_subject, refuse_apart


def response_of(subject: str = "subj01", site: str = "voxel", **attrs: Any) -> xr.Dataset:
    return xr.Dataset(
        {"response": (("trial", site), np.zeros((2, 3)))}, attrs={"subject": subject, "units": "z", **attrs}
    )


def target_of(model: str = "toy", channel: Any = (0, 1)) -> xr.Dataset:
    values = np.zeros((4, len(channel)))
    return xr.Dataset({"embedding": (("stimulus", "channel"), values)}, {"channel": list(channel)}, {"model": model})


def model_of(subject: str, labels: Any, *, site: str = "voxel", attrs: Any = None, **coords: Any) -> xr.Dataset:
    rng = np.random.default_rng(len(labels))
    return xr.Dataset(
        {name: (site, rng.random(len(labels), np.float32)) for name in ("training_mean", "training_std")},
        {site: labels, "channel": [5, 6], **{name: (site, values) for name, values in coords.items()}},
        {"subject": subject, "units": "z", "model": "toy", "schema": "model.v1", **(attrs or {})},
    )


def test_responses_of_different_subjects_and_one_target_go_together() -> None:
    refuse_apart({"a": response_of(), "b": response_of("subj02", space="other")}, {"t": target_of()})
    refuse_apart({"a": response_of(), "b": response_of("subj02")}, {"t": target_of(), "u": target_of()})


@pytest.mark.parametrize(
    ("second", "targets", "text"),
    [
        (
            response_of(),
            {},
            "fit: expected each response of another subject, found 'a' and 'b' both of 'subj01'. Put all trials of a",
        ),
        (
            response_of().drop_attrs(),
            {},
            "fit: expected attrs['subject'] to say whose response 'b' is, found None. Store it so.",
        ),
        (
            response_of("subj02", units="%"),
            {},
            "fit: expected responses of one unit, found 'z' in 'a' and '%' in 'b'. Convert one of them.",
        ),
        (
            response_of("subj02", "vertex"),
            {},
            "fit: expected sites of one kind, found 'voxel' in 'a' and 'vertex' in 'b'. Fit volumes and surfaces apart",
        ),
        (
            response_of("subj02"),
            {"u": target_of("clip")},
            "fit: expected targets of one model, found 'toy' in 't' and 'clip' in 'u'. Give targets of one model, with",
        ),
        (
            response_of("subj02"),
            {"u": target_of(channel=(0, 1, 2))},
            "fit: expected the same channel labels in all targets, found others: 3 in 'u' and 2 in 't'. Give targets",
        ),
        (
            response_of("subj02"),
            {"u": target_of(channel=(1, 0))},
            "fit: expected the same channel labels in all targets, found others: 2 in 'u' and 2 in 't'. Give targets",
        ),
        (
            response_of("subj02"),
            {"u": target_of().expand_dims(token=3)},
            "fit: expected the same token labels in all targets, found others: 3 in 'u' and 0 in 't'. Give targets",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(second: xr.Dataset, targets: dict[str, xr.Dataset], text: str) -> None:
    with pytest.raises(brainlens.DimensionError) as caught:
        refuse_apart({"a": response_of(), "b": second}, {"t": target_of(), **targets})
    assert str(caught.value).startswith(text)


def test_sites_are_numbered_and_say_whose_they_are() -> None:
    joined = join_models([model_of("ann", [7, 9], i=[1, 2]), model_of("bob", [9, 3, 7], i=[4, 5, 6])])
    assert joined["voxel"].values.tolist() == [0, 1, 2, 3, 4]
    assert joined["subject"].values.tolist() == ["ann", "ann", "bob", "bob", "bob"]
    assert joined["source_voxel"].values.tolist() == [7, 9, 9, 3, 7]
    assert joined["i"].values.tolist() == [1, 2, 4, 5, 6]
    assert joined["channel"].values.tolist() == [5, 6]
    assert joined.attrs["subject"] == "ann, bob"
    assert json.loads(joined.attrs["origins"]) == {"ann": {}, "bob": {}}
    marked = joined.assign_attrs(standardize="none", weights_sha256="0" * 64)
    assert structure_problems(marked, builtin_schemas()["model.v1"]) == []


@settings(deadline=None, max_examples=50)
@given(
    site=st.sampled_from(["voxel", "vertex"]),
    sizes=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    as_text=st.booleans(),
)
def test_every_subject_gets_back_what_was_put_in(site: str, sizes: list[int], as_text: bool) -> None:
    models = []
    for number, size in enumerate(sizes):
        labels = np.random.default_rng(number).permutation(9)[:size]
        attrs = {"space": f"native{number}", "volume_shape": [number + 1, 2, 3], "affine": [0.5] * 16}
        named = labels.astype(str).astype(object) if as_text else labels
        models.append(model_of(f"s{number}", named, site=site, attrs=attrs, noise_ceiling=np.full(size, np.nan)))
    joined = join_models(models)
    for number, model in enumerate(models):
        xr.testing.assert_identical(model_of_subject(joined, response_of(f"s{number}"), "m"), model)
    assert joined.attrs["affine"] == [0.5] * 16
    assert not {"space", "volume_shape"} & set(joined.attrs)


def test_labels_that_some_subjects_lack_are_left_and_said_to_be() -> None:
    joined = join_models([model_of("ann", [7], i=[1], hemisphere=["left"]), model_of("bob", [7], i=[1], ncsnr=[0.5])])
    assert {"hemisphere", "ncsnr"} & set(joined.coords) == set()
    assert joined.attrs["dropped_coords"] == ["hemisphere", "ncsnr"]


@pytest.mark.parametrize("labels", [["7"], np.array([7], dtype=object).astype(str)])
def test_labels_of_two_kinds_are_refused(labels: Any) -> None:
    with pytest.raises(
        brainlens.DimensionError, match="^fit: expected 'voxel' of one kind in all subjects, found int64 i"
    ):
        join_models([model_of("ann", [7]), model_of("bob", labels)])


def test_whole_numbers_that_no_common_type_holds_are_refused() -> None:
    large = np.array([2**64 - 1], dtype=np.uint64)
    with pytest.raises(brainlens.DimensionError, match="^fit: expected 'voxel' of one kind in all subjects, found"):
        join_models([model_of("ann", [-1]), model_of("bob", large)])


def test_a_model_of_one_subject_is_left_as_it_is() -> None:
    model = model_of("ann", [7, 9])
    assert model_of_subject(model, response_of("bob"), "m") is model


def test_a_subject_that_a_model_does_not_know_is_refused_with_the_closest() -> None:
    joined = join_models([model_of("ann", [7]), model_of("bob", [7])])
    with pytest.raises(brainlens.DimensionError) as caught:
        model_of_subject(joined, response_of("anna"), "models/m")
    assert str(caught.value) == (
        "model 'models/m': expected a response of one of its 2 subjects, found 'anna'. Closest: 'ann'. Known: 'ann', "
        "'bob'. Fit a model to that subject, with start='models/m' where the decoder can."
    )
