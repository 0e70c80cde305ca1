"""Parts of the variance: planted spaces are told apart, and what they share is found."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray as xr

import brainlens

N = 240
ROIS = np.array([[True, False, False], [False, True, True]])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Three sites: driven by what only A has, by what only B has, and by what both have."""
    rng = np.random.default_rng(0)
    own, other, both = (rng.standard_normal((N, 3)) for _ in range(3))
    registry = brainlens.open(tmp_path_factory.mktemp("partition") / "study.zarr", quiet=True)
    for name, table in (("A", [own, both]), ("B", [other, both])):
        values = np.concatenate(table, axis=1).astype(np.float32)
        registry.put(
            name,
            xr.Dataset(
                {"embedding": (("stimulus", "channel"), values)}, {"stimulus": range(N)},
                {"schema": "embedding.v1", "model": name},
            ),
        )  # fmt: skip
    signal = np.stack([each.sum(axis=1) for each in (own, other, both)], axis=1)
    signal = signal / signal.std(axis=0) + rng.standard_normal((N, 3))
    registry.put(
        "response",
        xr.Dataset(
            {"response": (("trial", "voxel"), signal.astype(np.float32)), "roi_mask": (("roi", "voxel"), ROIS)},
            {"trial": range(N), "voxel": [7, 8, 9], "stimulus_id": ("trial", range(N)), "roi": ["one", "two"]},
            {"schema": "response.v1", "subject": "planted", "units": "z"},
        ),
    )
    for spaces in (["A"], ["B"], ["A", "B"]):
        registry.cross_predict(
            "encoding.banded", features=spaces, response="response", leave_out="stimulus_id", n_folds=4,
            name="from-" + "-".join(spaces), n_scalings=8,
        )  # fmt: skip
    return registry


def test_unique_and_shared_parts_are_those_that_were_planted(world):
    made = world[world.compute("encoding.partition", predicted=["from-A", "from-B", "from-A-B"], measured="response")]
    brainlens.validate(made, "stat_map")
    np.testing.assert_array_equal(made["roi_mask"], ROIS)
    maps = made["map"].to_pandas()
    half = 0.5
    np.testing.assert_allclose(maps.loc["r2 A + B"], half, atol=0.12)
    np.testing.assert_allclose(maps.loc["unique A"], [half, 0, 0], atol=0.12)
    np.testing.assert_allclose(maps.loc["unique B"], [0, half, 0], atol=0.12)
    np.testing.assert_allclose(maps.loc["shared"], [0, 0, half], atol=0.12)
    np.testing.assert_allclose(maps.loc[["unique A", "unique B", "shared"]].sum(), maps.loc["r2 A + B"], rtol=1e-4)


def test_the_order_of_the_predictions_makes_no_difference(world):
    found = [
        world[world.compute("encoding.partition", predicted=list(order), measured="response")].load()
        for order in itertools.islice(itertools.permutations(["from-A", "from-B", "from-A-B"]), 3)
    ]
    for each in found[1:]:
        xr.testing.assert_equal(each.sortby("map_name"), found[0].sortby("map_name"))


@pytest.mark.parametrize(
    ("predicted", "text"),
    [
        (["from-A", "from-A-B"], "from all but each, found 'A', 'A + B'. Missing: 'B'."),
        (["from-A"], "from all but each, found 'A'. Missing: a second space."),
        (["from-A", "from-B"], "from all but each, found 'A', 'B'. Missing: 'A + B'."),
        (["from-A", "from-A", "from-B"], "expected each set of feature spaces once, found 'A' twice."),
        (["response", "from-B"], "expected responses that an encoder predicted, found some without attrs['features']"),
    ],
)
def test_sets_that_are_missing_or_given_twice_are_refused(world, predicted, text):
    with pytest.raises(brainlens.ParameterError) as caught:
        world.compute("encoding.partition", predicted=predicted, measured="response")
    assert text in str(caught.value)


def test_predictions_of_other_sites_are_refused(world):
    few = world["from-A"].isel(voxel=[0, 1])
    world.put("few", few)
    with pytest.raises(
        brainlens.DimensionError, match="^predicted from 'A': expected the same voxels in the same order"
    ):
        world.compute("encoding.partition", predicted=["few", "from-B", "from-A-B"], measured="response")
