from __future__ import annotations

import numpy as np
import pytest
from brainlens_encoding.grids import cell_centres

import brainlens

QUICK = {"features": "features", "response": "response", "name": "m", "weight_decays": (0.01,)}


@pytest.mark.parametrize("readout", ["factorised", "gaussian"])
def test_field_times_features_times_weights_is_the_prediction(grids, readout):
    grids.fit("encoding.readout", readout=readout, epochs=5, **QUICK)
    predicted = grids[grids.predict("m", features="features")]["response"].values
    found = grids[grids.compute("encoding.fields", model="m")]
    brainlens.validate(found, "weights")
    assert found["field"].dims == ("y", "x", "voxel")
    np.testing.assert_allclose(found["field"].sum(("y", "x")), 1, rtol=1e-5)
    features = grids["features"]["embedding"].values.reshape(-1, 4, 4, 3)
    expected = np.einsum("syxc,yxv,cv->sv", features, found["field"].values, found["weights"].values)
    np.testing.assert_allclose(expected + found["intercept"].values, predicted, atol=1e-4)
    assert found["channel"].values.tolist() == ["a", "b", "c"]
    assert found.attrs["units"] == "z per unit of the features"


def test_planted_fields_are_found(grids):
    """Fields and weights were drawn by the fixture's maker with this seed."""
    grids.fit("encoding.readout", readout="gaussian", epochs=30, **QUICK)
    found = grids[grids.compute("encoding.fields", model="m")]
    features = grids["features"]["embedding"].values
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(rng.standard_normal((400, 16, 3)).astype(np.float32), features)
    vectors = rng.standard_normal((3, 6))
    places = cell_centres((4, 4))
    for site in range(6):
        centre = rng.uniform(-0.7, 0.7, 2)
        field = np.exp(-((places - centre) ** 2).sum(axis=1) / (2 * rng.uniform(0.25, 0.4) ** 2))
        assert np.corrcoef(found["field"].values[..., site].ravel(), field)[0, 1] > 0.95
        assert np.corrcoef(found["weights"].values[:, site], vectors[:, site])[0, 1] > 0.95
        expected = ((field / field.sum()) @ places + 1) / 2
        np.testing.assert_allclose([found["field_x"][site], found["field_y"][site]], expected, atol=0.1)


def test_fields_over_the_maps_of_convolutions_have_their_grid(grids):
    grids.fit("encoding.convolutional", epochs=1, channels=(4,), **QUICK)
    found = grids[grids.compute("encoding.fields", model="m")]
    assert dict(found.sizes) == {"channel": 4, "voxel": 6, "y": 2, "x": 2}
    assert found.attrs["model"] == "toy, convolutions of [4]"


@pytest.mark.parametrize("readout", ["linear", "semantic-transformer"])
def test_readouts_without_a_field_that_stays_are_refused(grids, readout):
    grids.fit("encoding.readout", readout=readout, epochs=1, **QUICK)
    text = f"^model: expected the readout factorised or gaussian, found {readout!r}. A linear readout has no field;"
    with pytest.raises(brainlens.DimensionError, match=text):
        grids.compute("encoding.fields", model="m")
