"""Several decoders as one: planted truths, controls, what must not matter, and what is refused."""

from __future__ import annotations

import re
import tracemalloc
from typing import Any

import brainlens_retrieval.combine as module
import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval.combine import combine
from brainlens_retrieval.likelihood import rank_by_likelihood
from brainlens_retrieval.params import CombineParams, LikelihoodParams, RankParams
from brainlens_retrieval.rank import rank

import brainlens
from brainlens.testing import synthetic_study

QUIET = brainlens.Context(quiet=True)
N_TRAIN, N_TEST, N_CHANNELS, N_FOLDS = 200, 60, 6, 4


class Study:
    """Embeddings, and decoders of them whose noise is known along every channel."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.true = self.rng.standard_normal((N_TRAIN + N_TEST, N_CHANNELS)) + 2
        self.names = np.array([f"s{number:03d}" for number in range(N_TRAIN + N_TEST)])
        self.target = self.embeddings(self.true[:N_TRAIN], self.names[:N_TRAIN])
        self.gallery = self.embeddings(self.true[N_TRAIN:], self.names[N_TRAIN:])

    @staticmethod
    def embeddings(values: np.ndarray, names: np.ndarray) -> xr.Dataset:
        labels = {"stimulus": names, "channel": np.arange(values.shape[1])}
        return xr.Dataset({"embedding": (("stimulus", "channel"), values)}, labels, {"model": "toy"})

    def decoder(self, noise: Any, *, repetitions: int = 1) -> tuple[xr.Dataset, xr.Dataset]:
        """Return what it decodes of test stimuli, and of training stimuli that were left out."""
        row = np.repeat(np.arange(len(self.true)), repetitions)
        values = self.true[row] + noise * self.rng.standard_normal((len(row), N_CHANNELS))
        labels = {
            "trial": np.arange(len(row)), "channel": np.arange(N_CHANNELS), "stimulus_id": ("trial", self.names[row]),
            "fold": ("trial", [f"fold {number % N_FOLDS}" for number in row]),
            "in_training": ("trial", np.zeros(len(row), bool)),
        }  # fmt: skip
        found = xr.Dataset({"embedding": (("trial", "channel"), values)}, labels, {"model": "toy", "subject": "s1"})
        return found.isel(trial=row >= N_TRAIN).drop_vars("fold"), found.isel(trial=row < N_TRAIN)

    def response(self) -> xr.Dataset:
        """Return responses that are a mixture of the embedding."""
        values = self.true @ self.rng.standard_normal((N_CHANNELS, 9)) + self.rng.standard_normal((len(self.true), 9))
        labels = {
            "trial": np.arange(len(values)), "voxel": np.arange(9), "stimulus_id": ("trial", self.names),
            "split": ("trial", np.where(np.arange(len(values)) < N_TRAIN, "train", "test")),
        }  # fmt: skip
        return xr.Dataset({"response": (("trial", "voxel"), values)}, labels, {"subject": "s1", "units": "z"})

    def encoder(self, response: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
        """Return what a linear encoder predicts for the gallery, in another order, and for folds it has not met."""
        values, predicted = response["response"].values, np.empty((len(self.true), 9))
        fold = np.where(np.arange(len(self.true)) < N_TRAIN, np.arange(len(self.true)) % N_FOLDS, -1)
        for number in range(-1, N_FOLDS):
            kept = (fold != number) & (fold >= 0)
            weights, *_ = np.linalg.lstsq(self.true[kept], values[kept], rcond=None)
            predicted[fold == number] = self.true[fold == number] @ weights
        labels = {
            "trial": np.arange(len(predicted)), "voxel": np.arange(9), "stimulus_id": ("trial", self.names),
            "fold": ("trial", fold), "in_training": ("trial", np.zeros(len(predicted), bool)),
        }  # fmt: skip
        found = xr.Dataset({"response": (("trial", "voxel"), predicted)}, labels)
        return found.isel(trial=slice(None, N_TRAIN - 1, -1), voxel=slice(None, None, -1)), found.isel(
            trial=slice(N_TRAIN)
        )

    def combine(self, *decoders: tuple[xr.Dataset, xr.Dataset], **options: Any) -> xr.Dataset:
        given = {name: options.pop(name) for name in ("target", "gallery") if name in options}
        given = {"target": self.target, "gallery": self.gallery, **given}
        further = ("response", "models", "encoded", "encoded_left_out")
        given |= {name: options.pop(name) for name in further if name in options}
        context = options.pop("context", QUIET)
        decoded, left_out = (list(each) for each in zip(*decoders, strict=True))
        return combine(decoded, **given, left_out=left_out, params=CombineParams(**options), context=context)


def top_1(ranking: xr.Dataset) -> float:
    return float((ranking["rank"] == 1).mean())


HALVES = np.array([0.4, 0.4, 0.4, 9, 9, 9]), np.array([9, 9, 9, 0.4, 0.4, 0.4])


def test_the_result_follows_its_schema_and_its_ranks_its_similarities():
    study = Study()
    found = study.combine(study.decoder(1.0), study.decoder(2.0), response=study.response(), n_rectified=(0, 5))
    brainlens.validate(found, "ranking.v1")
    names = [f"decoder {number}, {rule}" for number in (1, 2) for rule in ("projection", "lda", "direction-lda")]
    assert found["member"].values.tolist() == [*names, "encoder", "encoder, 5 rectified"]
    expected = brainlens.rank_of_true(found["similarity"].values, np.arange(N_TEST))
    np.testing.assert_array_equal(found["rank"], expected)
    np.testing.assert_array_equal(found["stimulus_id"], found["stimulus"])
    assert found["member_rank"].shape == (8, N_TEST)
    kept = {key: found.attrs[key] for key in ("model", "subject", "metric", "likelihood", "n_left_out", "n_folds")}
    assert kept == {
        "model": "toy", "subject": "s1", "metric": "combined", "likelihood": 1, "n_left_out": N_TRAIN,
        "n_folds": N_FOLDS,
    }  # fmt: skip
    assert 0 < found.attrs["left_out_loss"] < found["left_out_loss"].min() < found.attrs["chance_loss"]
    assert found.attrs["chance_loss"] == pytest.approx(np.log(N_TRAIN / N_FOLDS))


def test_decoders_that_know_different_things_are_better_together():
    study = Study()
    halves = [study.decoder(noise) for noise in HALVES]
    both = study.combine(*halves, rules=("lda",))
    each = (both["member_rank"] == 1).mean("trial").values
    assert top_1(both) > each.max() + 0.1
    assert both.attrs["left_out_top_1"] > both["left_out_top_1"].max() + 0.1
    np.testing.assert_allclose(both["standard_weight"], both["standard_weight"].mean(), rtol=0.3)


def test_a_decoder_that_knows_nothing_gets_no_weight_and_spoils_nothing():
    study = Study()
    good, blind = study.decoder(0.7), study.decoder(100.0)
    alone = study.combine(good, rules=("lda",))
    found = study.combine(good, blind, rules=("lda",))
    assert abs(found["standard_weight"][1]) < 0.05 * found["standard_weight"][0]
    assert top_1(found) > top_1(alone) - 0.05
    assert found["left_out_loss"][1] == pytest.approx(found.attrs["chance_loss"], abs=0.1)


def test_a_decoder_of_shuffled_stimuli_gets_no_weight():
    study = Study()
    good = study.decoder(0.7)
    order = study.rng.permutation(N_TRAIN)
    values = good[1]["embedding"].values[order]
    shuffled = good[0], good[1].assign(embedding=(("trial", "channel"), values))
    found = study.combine(study.decoder(0.7), shuffled, rules=("projection",), labels=("good", "shuffled"))
    assert abs(found["standard_weight"].sel(member="shuffled, projection")) < 0.1 * found["standard_weight"][0]


def test_one_member_ranks_as_its_rule_does_alone():
    study = Study()
    decoded, left_out = study.decoder(1.0)
    found = study.combine((decoded, left_out), rules=("lda",))
    given = {"left_out": left_out, "target": study.target, "params": RankParams(metric="lda"), "context": QUIET}
    expected = rank(decoded, study.gallery, **given)
    np.testing.assert_array_equal(found["rank"], expected["rank"])
    np.testing.assert_array_equal(found["rank"], found["member_rank"][0])
    scaled = found["similarity"] / found["weight"].item()
    away = [each - each.mean("stimulus") for each in (scaled, expected["similarity"])]
    np.testing.assert_allclose(away[0], away[1], rtol=1e-6, atol=1e-8)
    assert found["temperature"].item() == pytest.approx(1 / found["weight"].item())


def test_encoders_score_as_retrieval_likelihood_does():
    study = Study()
    response = study.response()
    found = study.combine(study.decoder(3.0), response=response, rules=("lda",), n_rectified=(0, 7))
    for number, row in zip((0, 7), found["member_rank"].values[1:], strict=True):
        given = {"params": LikelihoodParams(n_rectified=number), "context": QUIET}
        expected = rank_by_likelihood(response, study.target, study.gallery, **given)
        np.testing.assert_array_equal(row, expected["rank"])
    assert top_1(found) > (found["member_rank"][0] == 1).mean()


def test_stored_encoders_take_part_by_stimulus_and_by_site():
    study = Study()
    decoder, response = study.decoder(3.0), study.response()
    shown, left_out = study.encoder(response)
    given = {"encoded": [shown], "encoded_left_out": [left_out], "rules": ("lda",)}
    built_in = study.combine(decoder, response=response, rules=("lda",), n_rectified=(0,))
    found = study.combine(decoder, response=response, n_rectified=(), **given)
    assert found["member"].values.tolist() == ["decoder 1, lda", "stored encoder 1"]
    # Ordinary least squares and ridge of the same embeddings hardly differ.
    np.testing.assert_allclose(found["weight"], built_in["weight"], rtol=0.1)
    assert (found["member_rank"][1] == built_in["member_rank"][1]).mean() > 0.8
    assert top_1(found) > (found["member_rank"][0] == 1).mean() + 0.3
    given["encoded_left_out"] = [left_out.isel(trial=study.rng.permutation(N_TRAIN))]
    mixed = response.isel(voxel=[3, 1, 4, 0, 5, 2, 6, 8, 7])
    again = study.combine(decoder, response=mixed, n_rectified=(), **given)
    np.testing.assert_array_equal(again["rank"], found["rank"])
    both = study.combine(decoder, response=response, n_rectified=(0,), **given)
    assert both.sizes["member"] == 3


def test_stored_encoders_that_do_not_go_with_the_rest_are_refused():
    study = Study()
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


def test_weights_and_other_rows_know_nothing_of_the_test():
    study = Study()
    decoded, left_out = study.decoder(1.0)
    whole = study.combine((decoded, left_out))
    changed = decoded.copy(deep=True)
    changed["embedding"][30:] *= -5
    again = study.combine((changed, left_out))
    few = study.combine((decoded.isel(trial=slice(30)), left_out))
    for other in (again, few):
        np.testing.assert_array_equal(other["weight"], whole["weight"])
        np.testing.assert_allclose(other["similarity"][:30], whole["similarity"][:30], rtol=1e-9)


def test_order_of_decoders_trials_candidates_and_targets_does_not_matter():
    study = Study()
    first, second, response = study.decoder(1.0), study.decoder(1.5), study.response()
    plain = study.combine(first, second, labels=("a", "b"), response=response, n_rectified=(4,), pool_size=30)

    def mixed(dataset: xr.Dataset, dim: str) -> xr.Dataset:
        return dataset.isel({dim: np.random.default_rng(1).permutation(dataset.sizes[dim])})

    moved = [tuple(mixed(each, "trial") for each in pair) for pair in (second, first)]
    other = study.combine(
        *moved, labels=("b", "a"), response=mixed(response, "trial"), n_rectified=(4,), pool_size=30,
        target=mixed(study.target, "stimulus"), gallery=mixed(study.gallery, "stimulus"),
    )  # fmt: skip
    other = other.sel(stimulus=plain["stimulus"], member=plain["member"]).sortby("trial")
    np.testing.assert_array_equal(other["stimulus_id"], plain["stimulus_id"])
    for name in ("rank", "member_rank"):
        np.testing.assert_array_equal(other[name], plain[name])
    for name in ("weight", "similarity", "left_out_loss"):
        np.testing.assert_allclose(other[name], plain[name], rtol=1e-5, atol=1e-6)


def test_names_of_folds_do_not_matter():
    study = Study()
    first, (decoded, left_out) = study.decoder(1.0), study.decoder(1.5)
    numbered = left_out.assign_coords(fold=("trial", [9 - int(str(name)[-1]) for name in left_out["fold"].values]))
    xr.testing.assert_allclose(
        study.combine(first, (decoded, numbered)), study.combine(first, (decoded, left_out)), rtol=1e-9
    )


def test_repetitions_are_averaged():
    study = Study()
    decoded, left_out = study.decoder(1.0, repetitions=3)
    means = brainlens.average_trials(decoded), brainlens.average_trials(left_out)
    found, expected = study.combine((decoded, left_out)), study.combine(means)
    np.testing.assert_allclose(found["similarity"], expected["similarity"])
    np.testing.assert_array_equal(found["n_repetitions"], 3)


def test_parts_of_one_dataset_are_told_apart_by_split():
    study = Study()
    decoded, left_out = study.decoder(1.0)
    joined = xr.concat([left_out, decoded.assign_coords(fold=("trial", ["all"] * N_TEST))], dim="trial")
    joined = joined.assign_coords(split=("trial", ["train"] * N_TRAIN + ["test"] * N_TEST))
    found = study.combine((joined, joined))
    np.testing.assert_allclose(found["similarity"], study.combine((decoded, left_out))["similarity"])
    alone = combine([joined], study.target, study.gallery, params=CombineParams(), context=QUIET)
    xr.testing.assert_identical(alone, found)
    with pytest.raises(brainlens.DimensionError, match="of decoder 1: expected trials with split 'val', found 'test'"):
        study.combine((joined, joined), test="val")


def test_variants_and_tokens_are_chosen_and_flattened():
    study = Study()
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


def test_blocks_and_the_scratch_folder_change_nothing(monkeypatch, tmp_path):
    study = Study()
    decoders = study.decoder(1.0), study.decoder(2.0)
    whole = study.combine(*decoders)
    monkeypatch.setattr(module, "BLOCK_BYTES", 8 * N_TEST * 8 * 7)  # seven candidates at a time
    blocks = study.combine(*decoders, context=brainlens.Context(quiet=True, scratch=tmp_path))
    assert (tmp_path / "similarity.npy").exists()
    for name in ("rank", "member_rank"):
        np.testing.assert_array_equal(blocks[name], whole[name])
    np.testing.assert_allclose(blocks["similarity"], whole["similarity"], rtol=1e-9)


def test_memory_does_not_grow_with_the_gallery(monkeypatch, tmp_path):
    study = Study()
    decoder = study.decoder(1.0)
    monkeypatch.setattr(module, "BLOCK_BYTES", 2**20)
    names = np.concatenate([study.names[N_TRAIN:], [f"x{number:05d}" for number in range(20_000)]])
    values = np.concatenate([study.true[N_TRAIN:], study.rng.standard_normal((20_000, N_CHANNELS)) + 2])
    gallery = study.embeddings(values, names)
    tracemalloc.start()
    found = study.combine(decoder, gallery=gallery, context=brainlens.Context(quiet=True, scratch=tmp_path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # All scores of all members would take 38 MB.
    assert found["similarity"].nbytes > 9e6
    assert peak < 16e6
    assert found["rank"].max() > N_TEST


@pytest.mark.parametrize("at", [0, 60])
def test_a_candidate_that_is_the_same_is_a_tie_in_any_block(monkeypatch, at):
    study = Study()
    monkeypatch.setattr(module, "BLOCK_BYTES", 8 * N_TEST * 5 * 16)
    twin = study.embeddings(study.true[[N_TRAIN + 7]], np.array(["twin"]))
    parts = [study.gallery.isel(stimulus=slice(at)), twin, study.gallery.isel(stimulus=slice(at, None))]
    found = study.combine(study.decoder(0.3), gallery=xr.concat(parts, dim="stimulus"))
    assert found["rank"][7] == 2
    assert (found["member_rank"][:, 7] == 2).all()


def test_through_the_registry(tmp_path):
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    for name, dataset in synthetic_study().items():
        registry.put(name, dataset)
    given = {"response": "response", "target": "target", "average": "stimulus_id"}
    decoders = []
    for options in ({"roi": "V1"}, {"roi": "FFA"}):
        model = registry.fit("linear", **given, **options)
        decoded = registry.predict(model, response="response", average="stimulus_id")
        crossed = {"split": "train", "leave_out": "stimulus_id", "n_folds": 4}
        decoders.append((model, decoded, registry.cross_predict("linear", **given, **options, **crossed)))
    models, decoded, left_out = (list(each) for each in zip(*decoders, strict=True))
    name = registry.compute(
        "retrieval.combine", decoded=decoded, left_out=left_out, target="target", gallery="target", models=models,
        response="response", labels=("V1", "FFA"), n_rectified=(0,),
    )  # fmt: skip
    found = registry[name].load()
    assert top_1(found) >= (found["member_rank"] == 1).mean("trial").max()
    assert found.attrs["n_left_out"] == 84
    registry.verify()
    met = registry.predict(models[0], response="response", average="stimulus_id", split="train")
    with pytest.raises(brainlens.DimensionError, match="not fitted on, found 84 of 84 that it was. Predict train"):
        registry.compute("retrieval.combine", decoded=decoded[:1], left_out=met, target="target", gallery="target")


def test_decoders_of_folds_and_a_stored_encoder_through_the_registry(tmp_path):
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    for name, dataset in synthetic_study().items():
        registry.put(name, dataset)
    folds = {"split": "train", "leave_out": "stimulus_id", "n_folds": 4}
    asked = {"also": "test", "average_predicted": "stimulus_id", "roi": "V1"}
    decoded = registry.cross_predict("linear", response="response", target="target", **folds, **asked)
    space = {"response": "response", "features": "target", "average": "stimulus_id", "roi": "FFA"}
    model = registry.fit("encoding.ridge", **space)
    name = registry.compute(
        "retrieval.combine", decoded=decoded, target="target", gallery="target", response="response", rules=("lda",),
        n_rectified=(), encoded=registry.predict(model, features="target", split="all"),
        encoded_left_out=registry.cross_predict("encoding.ridge", **space, **folds), models=model,
    )  # fmt: skip
    found = registry[name].load()
    assert found["member"].values.tolist() == ["decoder 1, lda", "stored encoder 1"]
    # Each knows one half of the channels.
    assert top_1(found) > (found["member_rank"] == 1).mean("trial").max() + 0.1


def test_test_stimuli_that_decided_anything_are_refused():
    study = Study()
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
    assert top_1(study.combine((decoded, left_out), models=[ok])) == top_1(study.combine((decoded, left_out)))


def test_trials_that_their_decoder_has_met_are_refused():
    study = Study()
    decoded, left_out = study.decoder(1.0)
    for number, where in ((0, "decoded"), (1, "left_out")):
        pair = [decoded, left_out]
        pair[number] = pair[number].assign_coords(in_training=("trial", np.arange(pair[number].sizes["trial"]) < 3))
        with pytest.raises(
            brainlens.DimensionError, match=f"{where} of decoder 1: expected trials .* not fitted on, f"
        ):
            study.combine(tuple(pair))


def test_folds_that_leave_nothing_out_are_refused():
    study = Study()
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


def test_other_folds_or_stimuli_than_those_of_the_first_decoder_are_refused():
    study = Study()
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


def test_a_response_of_other_stimuli_is_refused():
    study = Study()
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


def test_spaces_that_differ_and_stimuli_without_an_embedding_are_refused():
    study = Study()
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


def test_as_many_of_everything_as_decoders():
    study = Study()
    decoder = study.decoder(1.0)
    for name, words in (("labels", "'a', 'b'"), ("variants", "'a', 'b'"), ("rules", "'lda', 'projection'")):
        values = ("lda", "projection") if name == "rules" else ("a", "b")
        with pytest.raises(brainlens.ParameterError, match=f"{name}: expected one for each of the 1 dec.* 2: {words}."):
            study.combine(decoder, **{name: values})
    with pytest.raises(brainlens.ParameterError, match="left_out: expected one for each of the 2 decoded, found 1. Gi"):
        combine(
            [decoder[0]] * 2, study.target, study.gallery, left_out=[decoder[1]], params=CombineParams(), context=QUIET
        )  # fmt: skip


def test_scores_that_are_not_finite_name_their_member_and_candidate():
    study = Study()
    decoder = study.decoder(1.0)
    gallery = study.gallery.copy(deep=True)
    gallery["embedding"][4] = study.true[:N_TRAIN].mean(axis=0)
    with pytest.raises(
        brainlens.DimensionError, match="1, projection: expected finite .* infinite ones for 's204'. An"
    ):
        study.combine(decoder, gallery=gallery)
    assert np.isfinite(study.combine(decoder, gallery=gallery, rules=("lda",))["similarity"]).all()
    broken = decoder[1].copy(deep=True)
    broken["embedding"][3, 2] = np.inf
    with pytest.raises(
        brainlens.DimensionError, match="1, centred-cosine: expected finite .* ones for left-out stimul"
    ):
        study.combine((decoder[0], broken), rules=("centred-cosine",))
