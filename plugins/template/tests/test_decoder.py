import numpy as np
import pytest
import xarray as xr
from brainlens_template import DecoderParams
from brainlens_template.decoder import Decoder

import brainlens


@pytest.mark.parametrize("dims", [{"channel": 4}, {"token": 2, "channel": 3}])
def test_a_linear_map_without_noise_is_recovered(dims: dict[str, int]) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 6))
    n_values = int(np.prod(list(dims.values())))
    y = (x @ rng.standard_normal((6, n_values)) + 3).reshape(50, *dims.values())
    response = xr.Dataset({"response": (("trial", "voxel"), x)})
    target = xr.Dataset({"embedding": (("trial", *dims), y)})
    decoder = Decoder(DecoderParams(alpha=1e-9), brainlens.Context())
    decoder.fit(response, target)
    np.testing.assert_allclose(decoder.predict(response)["embedding"].values, y, atol=1e-6)


def test_a_large_penalty_predicts_the_mean() -> None:
    rng = np.random.default_rng(0)
    response = xr.Dataset({"response": (("trial", "voxel"), rng.standard_normal((50, 6)))})
    target = xr.Dataset({"embedding": (("trial", "channel"), rng.standard_normal((50, 2)))})
    decoder = Decoder(DecoderParams(alpha=1e12), brainlens.Context())
    decoder.fit(response, target)
    expected = np.tile(target["embedding"].values.mean(axis=0), (50, 1))
    np.testing.assert_allclose(decoder.predict(response)["embedding"].values, expected, atol=1e-6)
