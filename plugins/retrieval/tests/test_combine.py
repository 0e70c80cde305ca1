"""Several decoders as one: planted truths, controls, what must not matter, and what is refused."""

from __future__ import annotations

import tracemalloc

import brainlens_retrieval.combine as module
import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval.likelihood import rank_by_likelihood
from brainlens_retrieval.params import LikelihoodParams, RankParams
from brainlens_retrieval.rank import rank

import brainlens
from brainlens.testing import synthetic_study

QUIET = brainlens.Context(quiet=True)
N_TRAIN, N_TEST, N_CHANNELS, N_FOLDS = 200, 60, 6, 4


def top_1(ranking: xr.Dataset) -> float:
    return float((ranking["rank"] == 1).mean())


HALVES = np.array([0.4, 0.4, 0.4, 9, 9, 9]), np.array([9, 9, 9, 0.4, 0.4, 0.4])


def test_the_result_follows_its_schema_and_its_ranks_its_similarities(study):
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


def test_decoders_that_know_different_things_are_better_together(study):
    halves = [study.decoder(noise) for noise in HALVES]
    both = study.combine(*halves, rules=("lda",))
    each = (both["member_rank"] == 1).mean("trial").values
    assert top_1(both) > each.max() + 0.1
    assert both.attrs["left_out_top_1"] > both["left_out_top_1"].max() + 0.1
    np.testing.assert_allclose(both["standard_weight"], both["standard_weight"].mean(), rtol=0.3)


def test_a_decoder_that_knows_nothing_gets_no_weight_and_spoils_nothing(study):
    good, blind = study.decoder(0.7), study.decoder(100.0)
    alone = study.combine(good, rules=("lda",))
    found = study.combine(good, blind, rules=("lda",))
    assert abs(found["standard_weight"][1]) < 0.05 * found["standard_weight"][0]
    assert top_1(found) > top_1(alone) - 0.05
    assert found["left_out_loss"][1] == pytest.approx(found.attrs["chance_loss"], abs=0.1)


def test_a_decoder_of_shuffled_stimuli_gets_no_weight(study):
    good = study.decoder(0.7)
    order = study.rng.permutation(N_TRAIN)
    values = good[1]["embedding"].values[order]
    shuffled = good[0], good[1].assign(embedding=(("trial", "channel"), values))
    found = study.combine(study.decoder(0.7), shuffled, rules=("projection",), labels=("good", "shuffled"))
    assert abs(found["standard_weight"].sel(member="shuffled, projection")) < 0.1 * found["standard_weight"][0]


def test_one_member_ranks_as_its_rule_does_alone(study):
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


def test_encoders_score_as_retrieval_likelihood_does(study):
    response = study.response()
    found = study.combine(study.decoder(3.0), response=response, rules=("lda",), n_rectified=(0, 7))
    for number, row in zip((0, 7), found["member_rank"].values[1:], strict=True):
        given = {"params": LikelihoodParams(n_rectified=number), "context": QUIET}
        expected = rank_by_likelihood(response, study.target, study.gallery, **given)
        np.testing.assert_array_equal(row, expected["rank"])
    assert top_1(found) > (found["member_rank"][0] == 1).mean()


def test_stored_encoders_take_part_by_stimulus_and_by_site(study):
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


def test_weights_and_other_rows_know_nothing_of_the_test(study):
    decoded, left_out = study.decoder(1.0)
    whole = study.combine((decoded, left_out))
    changed = decoded.copy(deep=True)
    changed["embedding"][30:] *= -5
    again = study.combine((changed, left_out))
    few = study.combine((decoded.isel(trial=slice(30)), left_out))
    for other in (again, few):
        np.testing.assert_array_equal(other["weight"], whole["weight"])
        np.testing.assert_allclose(other["similarity"][:30], whole["similarity"][:30], rtol=1e-9)


def test_order_of_decoders_trials_candidates_and_targets_does_not_matter(study):
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


def test_names_of_folds_do_not_matter(study):
    first, (decoded, left_out) = study.decoder(1.0), study.decoder(1.5)
    numbered = left_out.assign_coords(fold=("trial", [9 - int(str(name)[-1]) for name in left_out["fold"].values]))
    xr.testing.assert_allclose(
        study.combine(first, (decoded, numbered)), study.combine(first, (decoded, left_out)), rtol=1e-9
    )


def test_blocks_and_the_scratch_folder_change_nothing(study, monkeypatch, tmp_path):
    decoders = study.decoder(1.0), study.decoder(2.0)
    whole = study.combine(*decoders)
    monkeypatch.setattr(module, "BLOCK_BYTES", 8 * N_TEST * 8 * 7)  # seven candidates at a time
    blocks = study.combine(*decoders, context=brainlens.Context(quiet=True, scratch=tmp_path))
    assert (tmp_path / "similarity.npy").exists()
    for name in ("rank", "member_rank"):
        np.testing.assert_array_equal(blocks[name], whole[name])
    np.testing.assert_allclose(blocks["similarity"], whole["similarity"], rtol=1e-9)


def test_memory_does_not_grow_with_the_gallery(study, monkeypatch, tmp_path):
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
def test_a_candidate_that_is_the_same_is_a_tie_in_any_block(study, monkeypatch, at):
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


def test_scores_that_are_not_finite_name_their_member_and_candidate(study):
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
