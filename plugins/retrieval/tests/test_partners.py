"""Who takes part in a combination: what is chosen and averaged, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval.combine import combine
from brainlens_retrieval.params import CombineParams

import brainlens

QUIET = brainlens.Context(quiet=True)
N_TRAIN, N_TEST = 200, 60


def test_stored_encoders_that_do_not_go_with_the_rest_are_refused(study):
    decoder, response = study.decoder(3.0), study.response()
    shown, left_out = study.encoder(response)
    met = xr.ones_like(shown["in_training"])
    for given, error, text in (
        ({"encoded_left_out": []}, brainlens.ParameterError, "encoded: expected as many encoded_left_out, and a resp"),
        ({"response": None}, brainlens.ParameterError, "and a response, found 1, 1 and no response. Predict the cand"),
        ({"encoded": [shown.isel(trial=slice(1, None))]}, brainlens.DimensionError,
         "encoded of stored encoder 1: expected the 60 stimuli of the gallery, found 1 missing and 0 more: 's259'"),
        ({"encoded": [shown.assign_coords(in_training=met)]}, brainlens.DimensionError,
         "encoded of stored encoder 1: expected trials that their model was not fitted on, found 60 of 60 that it was"),
        ({"encoded_left_out": [left_out.drop_vars("fold")]}, brainlens.DimensionError,
         "encoded_left_out of stored encoder 1: expected a coordinate 'fold'"),
        ({"encoded_left_out": [left_out.isel(trial=slice(1, None))]}, brainlens.DimensionError,
         "left_out of stored encoder 1: expected the 200 stimuli of decoder 1, found 1 missing"),
        ({"response": response.isel(voxel=slice(7))}, brainlens.DimensionError,
         "stored encoder 1: expected the 9 labels of 'voxel' that it predicts in response and encoded, found 2 missing"
         ": 7, 8. Give the response that it was fitted to."),
    ):  # fmt: skip
        options = {"response": response, "encoded": [shown], "encoded_left_out": [left_out], **given}
        with pytest.raises(error, match=re.escape(text)):
            study.combine(decoder, **options)


def test_repetitions_are_averaged(study):
    decoded, left_out = study.decoder(1.0, repetitions=3)
    means = brainlens.average_trials(decoded), brainlens.average_trials(left_out)
    found, expected = study.combine((decoded, left_out)), study.combine(means)
    np.testing.assert_allclose(found["similarity"], expected["similarity"])
    np.testing.assert_array_equal(found["n_repetitions"], 3)


def test_parts_of_one_dataset_are_told_apart_by_split(study):
    decoded, left_out = study.decoder(1.0)
    joined = xr.concat([left_out, decoded.assign_coords(fold=("trial", ["all"] * N_TEST))], dim="trial")
    joined = joined.assign_coords(split=("trial", ["train"] * N_TRAIN + ["test"] * N_TEST))
    found = study.combine((joined, joined))
    np.testing.assert_allclose(found["similarity"], study.combine((decoded, left_out))["similarity"])
    alone = combine([joined], study.target, study.gallery, params=CombineParams(), context=QUIET)
    xr.testing.assert_identical(alone, found)
    with pytest.raises(brainlens.DimensionError, match="of decoder 1: expected trials with split 'val', found 'test'"):
        study.combine((joined, joined), test="val")


def test_variants_and_tokens_are_chosen_and_flattened(study):
    plain, pair = study.decoder(1.0), study.decoder(1.0)
    several = tuple(xr.concat([each * 0, each], dim="variant").assign_coords(variant=["no", "yes"]) for each in pair)
    found = study.combine(plain, several, variants=("", "yes"))
    np.testing.assert_allclose(found["similarity"], study.combine(plain, pair)["similarity"])
    with pytest.raises(brainlens.ParameterError, match="expected one of the 2 that decoded of decoder 1 has"):
        study.combine(several)

    def tokens(dataset: xr.Dataset) -> xr.Dataset:
        first = dataset["embedding"].dims[0]
        values = dataset["embedding"].values.reshape(-1, 2, 3)
        return dataset.drop_dims("channel").assign(embedding=((first, "token", "channel"), values))

    cut = study.combine(
        tuple(map(tokens, plain)), target=tokens(study.target), gallery=tokens(study.gallery), rules=("lda",)
    )
    np.testing.assert_allclose(cut["similarity"], study.combine(plain, rules=("lda",))["similarity"])


def test_test_stimuli_that_decided_anything_are_refused(study):
    decoded, left_out = study.decoder(1.0)
    with pytest.raises(brainlens.DimensionError) as caught:
        study.combine((left_out.isel(trial=slice(2)).drop_vars("fold"), left_out), gallery=study.target)
    assert str(caught.value) == (
        "left_out: expected stimuli that are not tested, found 2 that are: 's000', 's001'. Decode the training trials "
        "alone, with cross_predict(..., split='train')."
    )
    model = xr.Dataset(coords={"training_stimulus": ("training_trial", ["s000", "s203"])})
    with pytest.raises(brainlens.DimensionError) as caught:
        study.combine((decoded, left_out), models=[model.drop_vars("training_stimulus"), model])
    assert str(caught.value) == (
        "models: expected models that have not met what is tested, found 1 of 60 stimuli in the training of number 2: "
        "'s203'. Split by stimulus, with brainlens.split_trials, and fit again."
    )
    ok = model.isel(training_trial=[0])
    assert study.combine((decoded, left_out), models=[ok]).equals(study.combine((decoded, left_out)))


def test_trials_that_their_decoder_has_met_are_refused(study):
    decoded, left_out = study.decoder(1.0)
    for number, where in ((0, "decoded"), (1, "left_out")):
        pair = [decoded, left_out]
        pair[number] = pair[number].assign_coords(in_training=("trial", np.arange(pair[number].sizes["trial"]) < 3))
        with pytest.raises(
            brainlens.DimensionError, match=f"{where} of decoder 1: expected trials .* not fitted on, f"
        ):
            study.combine(tuple(pair))


def test_folds_that_leave_nothing_out_are_refused(study):
    decoded, left_out = study.decoder(1.0, repetitions=2)
    with pytest.raises(brainlens.DimensionError, match=r"'fold' \(trial\), found none. Decode the training trials wi"):
        study.combine((decoded, left_out.drop_vars("fold")))
    by_repetition = left_out.assign_coords(fold=("trial", np.arange(left_out.sizes["trial"]) % 2))
    with pytest.raises(
        brainlens.DimensionError, match="in one fold, found 200 in several: 's000', .* Use leave_out='s"
    ):
        study.combine((decoded, by_repetition))
    for fold, words in (
        (left_out["stimulus_id"].values, "found 200, the smallest of 1"),
        (["a"] * 400, "found 1, the smallest of 200"),
    ):
        with pytest.raises(brainlens.DimensionError, match=f"at least 2 folds of at least 2 stimuli, {words}. Put"):
            study.combine((decoded, left_out.assign_coords(fold=("trial", fold))))


def test_other_folds_or_stimuli_than_those_of_the_first_decoder_are_refused(study):
    first, (decoded, left_out) = study.decoder(1.0), study.decoder(1.0)
    names = left_out["fold"].values.copy()
    names[[0, 1]] = names[[1, 0]]
    merged = ["fold 0" if name == "fold 1" else name for name in left_out["fold"].values]
    for folds in (names, merged, np.arange(N_TRAIN) % 8):
        with pytest.raises(brainlens.DimensionError) as caught:
            study.combine(first, (decoded, left_out.assign_coords(fold=("trial", folds))), labels=("a", "b"))
        assert str(caught.value) == (
            "left_out of b: expected the folds of a, found other ones. Use the same leave_out, n_folds and seed for "
            "all decoders."
        )
    with pytest.raises(brainlens.DimensionError) as caught:
        study.combine(first, (decoded, left_out.isel(trial=slice(1, None))))
    assert str(caught.value) == (
        "left_out of decoder 2: expected the 200 stimuli of decoder 1, found 1 missing and 0 more: 's000'. Give the "
        "same stimuli to all."
    )
    with pytest.raises(brainlens.DimensionError, match="decoded of decoder 2: expected the 59 .* 0 missing and 1 more"):
        study.combine((first[0].isel(trial=slice(59)), first[1]), (decoded, left_out))


def test_a_response_of_other_stimuli_is_refused(study):
    decoder, response = study.decoder(1.0), study.response()
    with pytest.raises(brainlens.DimensionError, match="response, split 'train': expected the 200 .* found 3 missing"):
        study.combine(decoder, response=response.isel(trial=slice(3, None)))
    with pytest.raises(
        brainlens.DimensionError, match="split 'test': expected the 60 stimuli of the decoders, found 1 "
    ):
        study.combine(decoder, response=response.isel(trial=slice(-1)))
    with pytest.raises(brainlens.ParameterError, match="at least one encoder for the response, found none. Give a nu"):
        study.combine(decoder, response=response, n_rectified=())
    flat = response.assign(response=response["response"] * (np.arange(9) > 0))
    with pytest.raises(brainlens.DimensionError, match="sites that vary .* found 1 of 9 that do not: 0"):
        study.combine(decoder, response=flat)


def test_spaces_that_differ_and_stimuli_without_an_embedding_are_refused(study):
    decoder = study.decoder(1.0)
    with pytest.raises(
        brainlens.DimensionError, match="decoded of decoder 1 and gallery of one model, found 'toy' and"
    ):
        study.combine(decoder, gallery=study.gallery.assign_attrs(model="other"))
    with pytest.raises(brainlens.DimensionError, match="channel: expected as many in left_out of decoder 1 and target"):
        study.combine(decoder, target=study.target.isel(channel=slice(3)))
    with pytest.raises(
        brainlens.DimensionError, match="target: expected every stimulus .* missing: 's000'; the target"
    ):
        study.combine(decoder, target=study.target.isel(stimulus=slice(1, None)))
    with pytest.raises(brainlens.DimensionError, match="gallery: expected every stimulus .* missing: 's200'; the gal"):
        study.combine(decoder, gallery=study.gallery.isel(stimulus=slice(1, None)))


def test_as_many_of_everything_as_decoders(study):
    decoder = study.decoder(1.0)
    for name, words in (("labels", "'a', 'b'"), ("variants", "'a', 'b'"), ("rules", "'lda', 'projection'")):
        values = ("lda", "projection") if name == "rules" else ("a", "b")
        with pytest.raises(brainlens.ParameterError, match=f"{name}: expected one for each of the 1 dec.* 2: {words}."):
            study.combine(decoder, **{name: values})
    with pytest.raises(brainlens.ParameterError, match="left_out: expected one for each of the 2 decoded, found 1. Gi"):
        combine(
            [decoder[0]] * 2, study.target, study.gallery, left_out=[decoder[1]], params=CombineParams(), context=QUIET
        )  # fmt: skip
