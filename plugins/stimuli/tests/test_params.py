import pydantic
import pytest
from brainlens_stimuli.params import OpenClipImageParams

import brainlens


def test_a_digest_is_64_hexadecimal_digits() -> None:
    OpenClipImageParams(model="m", sha256="a" * 64)
    with pytest.raises(pydantic.ValidationError, match="sha256"):
        OpenClipImageParams(model="m", sha256="abc")


def test_every_embedder_has_the_common_parameters() -> None:
    import brainlens_stimuli

    common = {
        "sha256",
        "download",
        "label",
        "normalise",
        "dtype",
        "batch_size",
        "cache",
        "n_workers",
        "layer",
    }
    embedders = [each for each in brainlens_stimuli.brainlens_components() if each.role == "embedder"]
    assert len(embedders) >= 5
    for component in embedders:
        assert isinstance(component, brainlens.Component)
        assert common <= set(component.params.model_fields), component.name
