from __future__ import annotations

import numpy as np
import pytest

import brainlens

QUICK = {
    "features": "features", "response": "response", "name": "m", "epochs": 2, "weight_decays": (0.1,)
}  # fmt: skip
SMALL = {"width": 8, "heads": 2, "hidden": 4}


def test_attention_of_regions_is_labelled_and_adds_up_to_one(grids):
    grids.fit("encoding.transformer", **QUICK, **SMALL)
    found = grids[grids.compute("encoding.attention", model="m", features="features")]
    assert found.attrs["schema"] == "attention.v1"
    assert found["attention"].dims == ("stimulus", "roi", "y", "x")
    assert dict(found.sizes) == {"stimulus": 400, "roi": 2, "y": 4, "x": 4}
    assert found["roi"].values.tolist() == ["V1", "V2"]
    np.testing.assert_allclose(found["attention"].sum(("y", "x")), 1, rtol=1e-5)
    assert found.attrs["subject"] == "planted"


def test_a_stimulus_has_its_own_attention_whatever_the_company(grids):
    grids.fit("encoding.transformer", **QUICK, **SMALL)
    grids.put("some", grids["features"].isel(stimulus=[7, 300, 2]))
    whole, some = (
        grids[grids.compute("encoding.attention", model="m", features=name)]["attention"]
        for name in ("features", "some")
    )
    assert some["stimulus"].values.tolist() == [7, 300, 2]
    np.testing.assert_allclose(some.values, whole.sel(stimulus=[7, 300, 2]).values, atol=1e-6)
    assert float(whole.std("stimulus").max()) > 1e-4


@pytest.mark.parametrize(
    ("component", "more"),
    [
        ("encoding.transformer", {**SMALL, "queries": "site"}),
        ("encoding.readout", {"readout": "semantic-transformer"}),
        ("encoding.convolutional", {"readout": "semantic-transformer", "channels": (4,)}),
    ],
)
def test_sites_that_read_by_themselves_may_be_chosen(grids, component, more):
    grids.fit(component, **QUICK, **more)
    whole = grids[grids.compute("encoding.attention", model="m", features="features")]["attention"]
    some = grids[grids.compute("encoding.attention", model="m", features="features", roi="V2")]["attention"]
    assert whole.dims == ("stimulus", "voxel", "y", "x")
    assert some["voxel"].values.tolist() == [2, 3, 4, 5]
    np.testing.assert_allclose(some.values, whole.values[:, 2:], atol=1e-6)
    np.testing.assert_allclose(whole.sum(("y", "x")), 1, rtol=1e-4)


def test_sites_of_regions_cannot_be_chosen(grids):
    grids.fit("encoding.transformer", **QUICK, **SMALL)
    with pytest.raises(
        brainlens.ParameterError, match="^roi='V1': expected none for a model whose regions read as one"
    ):
        grids.compute("encoding.attention", model="m", features="features", roi="V1")


def test_a_field_that_stays_attends_to_nothing(grids):
    grids.fit("encoding.readout", **QUICK)
    with pytest.raises(
        brainlens.DimensionError, match="^model: expected one that reads elsewhere in each image, a trans"
    ):
        grids.compute("encoding.attention", model="m", features="features")
