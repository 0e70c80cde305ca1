from __future__ import annotations

import numpy as np
import pytest
import torch
from brainlens_encoding.grids import cell_centres
from brainlens_encoding.params import TransformerParams
from brainlens_encoding.readout import ReadoutEncoder, ReadoutParams
from brainlens_encoding.transformer import TransformerEncoder, regions_of

import brainlens

SMALL = {"width": 16, "heads": 2, "hidden": 16, "epochs": 20, "weight_decays": (0.1,), "learning_rate": 0.01}


def with_rois(response, **masks):
    return response.assign(roi_mask=(("roi", "voxel"), np.array(list(masks.values())))).assign_coords(roi=list(masks))


def test_a_query_finds_where_the_cue_is_and_what_it_reads_there(make_tokens):
    features, response, drive = make_tokens(900, n_sites=6, n_channels=4, planted="route", noise=0.3, with_drive=True)
    response = with_rois(response, V4=np.ones(6, bool))
    train, test = slice(600), slice(600, None)
    r = {}
    for name, encoder in {
        "transformer": TransformerEncoder(TransformerParams(**SMALL), brainlens.Context()),
        "factorised": ReadoutEncoder(ReadoutParams(epochs=15, weight_decays=(0.1,)), brainlens.Context()),
    }.items():
        encoder.fit(features.isel(trial=train), response.isel(trial=train))
        found = encoder.predict(features.isel(trial=test))["response"].values
        r[name] = np.mean([np.corrcoef(*pair)[0, 1] for pair in zip(found.T, drive[test].T, strict=True)])
        if name == "transformer":
            tokens = encoder.tokens(features.isel(trial=test))
            with torch.inference_mode():
                attention = encoder.network.attend(tokens, slice(0, 1))[:, 0].numpy()
    assert r["transformer"] > max(0.9, r["factorised"] + 0.1), r
    cue = cell_centres((6, 6))[features["embedding"].isel(trial=test).values[:, :, 0].argmax(axis=1)]
    found = attention @ cell_centres((6, 6))
    assert min(np.corrcoef(found[:, axis], cue[:, axis])[0, 1] for axis in (0, 1)) > 0.9


def test_regions_are_those_of_the_response_and_the_rest(make_tokens):
    _, response = make_tokens(n_sites=4)
    masks = {"V1": [1, 1, 0, 0], "none here": [0, 0, 0, 0], "V2": [0, 1, 1, 0]}
    response = with_rois(response, **{name: np.array(mask, bool) for name, mask in masks.items()})
    names, member = regions_of(response, ())
    assert names == ["V1", "V2", "none"]
    assert member.astype(int).tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]]
    names, member = regions_of(response, ("V2",))
    assert names == ["V2", "none"]
    assert member[:, 0].tolist() == [False, True, True, False]


def test_regions_that_are_not_there_are_refused(make_tokens):
    features, response = make_tokens()
    text = "^response: expected ROIs, each of which gets a query, found none. Store 'roi_mask' .* queries='site'.$"
    with pytest.raises(brainlens.DimensionError, match=text):
        TransformerEncoder(TransformerParams(), brainlens.Context()).fit(features, response)
    with pytest.raises(
        brainlens.DimensionError, match="^rois: expected ROIs of the response, found 'V3'. Closest: 'V1'"
    ):
        regions_of(with_rois(response, V1=np.ones(response.sizes["voxel"], bool)), ("V3",))


@pytest.mark.parametrize("queries", ["roi", "site"])
def test_what_was_learnt_comes_back_with_its_regions(make_tokens, queries):
    features, response = make_tokens(n_sites=4)
    response = with_rois(response, V1=np.arange(4) < 3, V2=np.arange(4) > 0)
    given = {**SMALL, "epochs": 3, "queries": queries}
    encoder = TransformerEncoder(TransformerParams(**given), brainlens.Context())
    encoder.fit(features, response)
    loaded = TransformerEncoder(TransformerParams(**given), brainlens.Context())
    loaded.load_state({name: np.array(array) for name, array in encoder.state().items()})
    np.testing.assert_array_equal(
        loaded.predict(features)["response"].values, encoder.predict(features)["response"].values
    )
