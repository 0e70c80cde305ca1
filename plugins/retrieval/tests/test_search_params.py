from __future__ import annotations

import pytest
from brainlens_retrieval.search_params import SearchParams, ShardsParams, TarParams


@pytest.mark.parametrize(
    ("field", "value"),
    [("k", 0), ("oversample", 0), ("index", "hnsw"), ("metric", "euclidean"), ("n_probe", 0), ("n_workers", -1)],
)
def test_parameters_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match="Input should be"):
        SearchParams(**{field: value})


def test_a_gallery_says_which_model_embedded_it():
    with pytest.raises(ValueError, match="model"):
        ShardsParams(files="img_emb.npy")
    with pytest.raises(ValueError, match="at least 1 character"):
        ShardsParams(files="img_emb.npy", model="")


@pytest.mark.parametrize("params", [SearchParams, ShardsParams, TarParams])
def test_every_field_is_described(params):
    assert all(field.description for field in params.model_fields.values())
