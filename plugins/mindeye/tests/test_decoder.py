import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_mindeye.decoder import MindEyeDecoder
from brainlens_mindeye.feed import make_subject
from brainlens_mindeye.params import HighLevelParams
from brainlens_mindeye.space import measure_targets
from pydantic import ValidationError

import brainlens

SMALL = {
    "width": 32, "n_blocks": 1, "projector_width": 32, "epochs": 40, "batch_size": 20, "learning_rate": 3e-3,
    "entry_dropout": 0.2, "prior_depth": 1, "prior_heads": 2, "prior_head_width": 16, "prior_steps": 20,
}  # fmt: skip


def fitted(response: xr.Dataset, target: xr.Dataset, *, seed: int = 0, **changes) -> MindEyeDecoder:
    decoder = MindEyeDecoder(HighLevelParams(**{**SMALL, **changes}), brainlens.Context(seed=seed))
    decoder.fit(response, target)
    return decoder


def split(response: xr.Dataset, target: xr.Dataset, n_test: int = 20) -> tuple[xr.Dataset, ...]:
    test = response["stimulus_id"].values < n_test
    parts = [each.isel(trial=np.flatnonzero(part)) for part in (~test, test) for each in (response, target)]
    return tuple(parts)


def top_1(predicted: xr.Dataset, target: xr.Dataset, variant: str) -> float:
    mean = predicted["target_mean"].values
    found = predicted["embedding"].sel(variant=variant).values - mean
    true = target["embedding"].values - mean
    found, true = (rows.reshape(len(rows), -1) for rows in (found, true))
    similarity = found @ (true / np.linalg.norm(true, axis=1, keepdims=True)).T
    own = np.diag(similarity)[:, None]
    same = (true[:, None] == true[None]).all(axis=2)
    return float(((similarity >= own) & ~same).sum(axis=1).__eq__(0).mean())


def shuffle_stimuli(target: xr.Dataset, *, seed: int) -> xr.Dataset:
    """Give every stimulus the target of another one."""
    _, first, codes = np.unique(target["stimulus_id"].values, return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(first))
    return target.assign(embedding=target["embedding"].copy(data=target["embedding"].values[first[order[codes]]]))


@pytest.mark.parametrize("shape", [(16,), (3, 16)])
def test_a_planted_code_is_found_by_both_variants_and_a_shuffled_one_is_not(planted, shape):
    response, target = planted(n_stimuli=160, shape=shape, noise=0.1, n_voxels=60)
    train, train_target, test, test_target = split(response, target)
    options = {"epochs": 300, "prior_depth": 3, "prior_head_width": 32}
    predicted = fitted(train, train_target, **options).predict(test)
    dims = ("channel",) if len(shape) == 1 else ("token", "channel")
    assert predicted["embedding"].dims == ("variant", "trial", *dims)
    assert predicted["variant"].values.tolist() == ["retrieval", "reconstruction"]
    assert top_1(predicted, test_target, "retrieval") > 0.5
    assert top_1(predicted, test_target, "reconstruction") > 0.25
    control = fitted(train, shuffle_stimuli(train_target, seed=0), **options).predict(test)
    assert top_1(control, test_target, "retrieval") < 0.2
    assert top_1(control, test_target, "reconstruction") < 0.2


def test_reconstructions_lie_where_the_targets_lie(planted):
    response, target = planted(n_stimuli=150, noise=0.1, shape=(16,))
    train, train_target, test, test_target = split(response, target)
    decoder = fitted(train, train_target, epochs=200, prior_depth=2)
    predicted = decoder.predict(test)["embedding"].sel(variant="reconstruction").values
    true = test_target["embedding"].values
    assert np.allclose(predicted.mean(axis=0), true.mean(axis=0), atol=0.5)
    assert predicted.std() == pytest.approx(true.std(), rel=0.3)


def test_the_space_of_targets_is_measured_on_training_stimuli_once_each(planted):
    response, target = planted(n_stimuli=30, n_repetitions=3, shape=(2, 4))
    kept = np.flatnonzero(np.arange(90) != 5)  # a stimulus with fewer showings weighs no less
    space = measure_targets([make_subject(response.isel(trial=kept), target.isel(trial=kept))], centre=True)
    _, first = np.unique(response["stimulus_id"].values, return_index=True)
    values = target["embedding"].values[first].astype(np.float64)
    away = values - values.mean(axis=0)
    assert np.allclose(space.mean.numpy(), values.mean(axis=0), atol=1e-6)
    assert space.scale == pytest.approx(1 / np.sqrt(np.mean(away**2)), rel=1e-5)
    assert space.length == pytest.approx(np.linalg.norm(away.reshape(30, -1), axis=1).mean(), rel=1e-5)


def test_targets_of_length_1_get_the_published_scale(planted):
    response, target = planted(n_stimuli=30, shape=(64,))
    values = target["embedding"].values
    target["embedding"].values[:] = values / np.linalg.norm(values, axis=1, keepdims=True)
    space = measure_targets([make_subject(response, target)], centre=False)
    assert space.scale == pytest.approx(8, rel=1e-5)
    assert not space.mean.any()


def test_a_trial_is_predicted_the_same_whatever_else_is(planted):
    response, target = planted()
    decoder = fitted(response, target, epochs=3)
    together = decoder.predict(response)["embedding"].values
    assert np.array_equal(decoder.predict(response)["embedding"].values, together)
    turned = decoder.predict(response.isel(trial=slice(None, None, -1)))["embedding"].values[:, ::-1]
    alone = decoder.predict(response.isel(trial=[7]))["embedding"].values
    assert np.allclose(turned, together, atol=1e-4)
    assert np.allclose(alone[:, 0], together[:, 7], atol=1e-4)


def test_another_seed_draws_another_reconstruction_and_the_same_retrieval(planted):
    response, target = planted()
    decoder = fitted(response, target, epochs=3)
    first = decoder.predict(response)["embedding"]
    decoder.context = brainlens.Context(seed=1)
    again = decoder.predict(response)["embedding"]
    assert again.sel(variant="retrieval").equals(first.sel(variant="retrieval"))
    assert not np.allclose(again.sel(variant="reconstruction"), first.sel(variant="reconstruction"), atol=1e-2)


def test_what_was_learnt_comes_back_from_its_state(planted):
    response, target = planted(shape=(3, 4))
    decoder = fitted(response, target, epochs=2, validation=0.2)
    state = {name: np.array(value) for name, value in decoder.state().items()}
    again = MindEyeDecoder(decoder.params, brainlens.Context())
    again.load_state(state)
    assert again.predict(response).equals(decoder.predict(response))
    assert again.history == decoder.history
    assert set(again.history) == {"loss", "contrastive", "prior", "validated_epoch", "validation_top_1"}
    del state["module.network.backbone.out.bias"]
    with pytest.raises(
        brainlens.CheckpointError, match="expected the weights of this network, found others: .*out.bias"
    ):
        MindEyeDecoder(decoder.params, brainlens.Context()).load_state(state)


@pytest.mark.parametrize(
    ("changes", "variants", "losses"),
    [
        ({"prior": "none"}, ["retrieval"], {"loss", "contrastive"}),
        ({"prior": "regression"}, ["retrieval", "reconstruction"], {"loss", "contrastive", "prior"}),
        ({"contrastive_weight": 0.0}, ["retrieval", "reconstruction"], {"loss", "prior"}),
        ({"heads": "shared"}, ["retrieval", "reconstruction"], {"loss", "contrastive", "prior"}),
        ({"projector_width": 0, "backbone": "as-released"}, ["retrieval", "reconstruction"],
         {"loss", "contrastive", "prior"}),
        ({"entry": "linear", "backbone": "linear", "sampling_steps": 5}, ["retrieval", "reconstruction"],
         {"loss", "contrastive", "prior"}),
    ],
)  # fmt: skip
def test_parts_can_be_left_out_or_exchanged(planted, changes, variants, losses):
    response, target = planted()
    decoder = fitted(response, target, epochs=3, **changes)
    predicted = decoder.predict(response)
    assert predicted["variant"].values.tolist() == variants
    assert set(decoder.history) == losses
    assert np.isfinite(predicted["embedding"].values).all()


def test_voxels_are_mixed_in_the_first_epochs_only(planted):
    response, target = planted()
    seen = []
    for share, soft in ((0.0, True), (0.5, True), (1.0, True), (0.0, False)):
        decoder = fitted(response, target, epochs=4, mixup_share=share, soft=soft, prior="none")
        seen.append(decoder.history["contrastive"])
    assert len({round(history[0], 6) for history in seen}) == 3  # soft, mixed (twice), hard
    assert seen[1][:2] == seen[2][:2]
    assert seen[1][2] != seen[2][2]


def test_training_is_the_same_in_memory_and_streamed(planted, monkeypatch):
    response, target = planted()
    kept = fitted(response, target, epochs=4)
    monkeypatch.setattr("brainlens_mindeye.feed.RESIDENT_BYTES", 0)
    streamed = fitted(response, target, epochs=4)
    for one, other in zip(kept.module.parameters(), streamed.module.parameters(), strict=True):
        assert torch.equal(one, other)


def subjects(planted, names: tuple[str, ...], **options) -> tuple[list[xr.Dataset], list[xr.Dataset]]:
    """Return subjects who saw the same stimuli, each with voxels of their own."""
    made = [planted(seed=3, subject=name, n_voxels=20 + 5 * number, **options) for number, name in enumerate(names)]
    return [each[0] for each in made], [each[1] for each in made]


def test_several_subjects_share_all_but_their_entries(planted):
    responses, targets = subjects(planted, ("s1", "s2"))
    decoder = fitted(responses, targets, epochs=3)
    assert decoder.n_voxels() == [20, 25]
    alone = [decoder.predict(each)["embedding"] for each in responses]
    assert alone[0].shape == alone[1].shape
    again = MindEyeDecoder(decoder.params, brainlens.Context())
    again.load_state(decoder.state())
    assert again.predict(responses[1])["embedding"].equals(alone[1])
    with pytest.raises(brainlens.DimensionError, match="expected one of the 2 subjects .* found 's3'. Closest: 's2'"):
        decoder.predict(responses[0].assign_attrs(subject="s3"))
    with pytest.raises(brainlens.DimensionError, match="expected the 25 voxels .* found 20"):
        decoder.predict(responses[0].assign_attrs(subject="s2"))


def test_what_one_subject_teaches_helps_another_with_little_data(planted):
    # Their voxels differ; what is shared is the way from the common width to the target.
    responses, targets = subjects(planted, ("s1", "s2", "s3"), n_stimuli=200, noise=0.5, shape=(16,))
    test = [split(*pair, n_test=40) for pair in zip(responses, targets, strict=True)]
    options = {"entry": "linear", "epochs": 60, "prior": "none", "entry_dropout": 0.0}
    shared = fitted([each[0] for each in test[1:]], [each[1] for each in test[1:]], **options)
    few = np.flatnonzero(np.isin(test[0][0]["stimulus_id"], np.unique(test[0][0]["stimulus_id"])[:20]))
    little = test[0][0].isel(trial=few), test[0][1].isel(trial=few)
    scores = {}
    for name in ("fresh", "shared"):
        decoder = MindEyeDecoder(HighLevelParams(**{**SMALL, **options, "batch_size": 20}), brainlens.Context())
        if name == "shared":
            decoder.start_from(shared.state(), xr.Dataset())
        decoder.fit(*little)
        scores[name] = top_1(decoder.predict(test[0][2]), test[0][3], "retrieval")
    assert scores["shared"] > scores["fresh"]


def test_a_start_gives_its_weights_and_its_space_and_keeps_the_entry_of_a_subject_it_knows(planted):
    responses, targets = subjects(planted, ("s1", "s2"))
    first = fitted(responses, targets, epochs=2)
    options = {**SMALL, "epochs": 1, "learning_rate": 1e-12}
    second = MindEyeDecoder(HighLevelParams(**options), brainlens.Context(seed=5))
    second.start_from(first.state(), xr.Dataset())
    second.fit([responses[1]], [targets[1]])
    assert second.subjects == ["s2"]
    found, expected = (each.predict(responses[1])["embedding"].sel(variant="retrieval") for each in (second, first))
    assert np.allclose(found, expected, atol=1e-4)
    third = MindEyeDecoder(HighLevelParams(**options), brainlens.Context(seed=5))
    third.start_from(first.state(), xr.Dataset())
    other, other_target = planted(subject="s9", n_voxels=13)
    third.fit([other], [other_target])
    assert torch.equal(third.space.mean, first.space.mean)
    for name, value in third.module.state_dict().items():
        if "entries" not in name:
            assert torch.allclose(value, first.module.state_dict()[name], atol=1e-6), name
    fresh = MindEyeDecoder(HighLevelParams(**options), brainlens.Context(seed=5))
    fresh.fit([other], [other_target])
    assert torch.allclose(
        third.module.network.entries[0][0].weight, fresh.module.network.entries[0][0].weight, atol=1e-6
    )


def test_a_start_of_another_target_is_refused(planted):
    first = fitted(*planted(), epochs=1)
    second = MindEyeDecoder(first.params, brainlens.Context())
    second.start_from(first.state(), xr.Dataset())
    with pytest.raises(brainlens.DimensionError, match="expected 1 tokens of 6 channels as the model to start from"):
        second.fit(*planted(shape=(8,)))


def test_fewer_stimuli_than_a_batch_takes_are_refused_before_training(planted):
    response, target = planted(n_stimuli=19)
    message = "response of 's1': expected at least the 20 stimuli that a batch takes, found 19 to train on"
    with pytest.raises(brainlens.DimensionError, match=message):
        fitted(response, target)
    response, target = planted(n_stimuli=21)
    with pytest.raises(brainlens.DimensionError, match="found 17 to train on"):
        fitted(response, target, validation=0.2)


@pytest.mark.parametrize("where", ["response", "target"])
def test_values_that_are_not_finite_are_refused_before_training(planted, where):
    response, target = planted()
    (response if where == "response" else target)[where if where == "response" else "embedding"].values[7, 2] = np.nan
    with pytest.raises(brainlens.DimensionError, match=f"{where}: expected finite values, found others .*: 7"):
        fitted(response, target)


def test_another_number_of_voxels_is_refused(planted):
    response, target = planted()
    decoder = fitted(response, target, epochs=1)
    with pytest.raises(brainlens.DimensionError, match="expected the 30 voxels .* found 29"):
        decoder.predict(response.isel(voxel=slice(29)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patience": 3}, "expected a 'validation' share above 0"),
        ({"soft_temperature": (0.0, 0.1)}, "expected values above 0"),
        ({"contrastive_weight": 0, "prior": "none"}, "expected something to train"),
        ({"sampling_steps": 200}, "expected at most the 100 of prior_steps, found 200"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        HighLevelParams(**changes)
