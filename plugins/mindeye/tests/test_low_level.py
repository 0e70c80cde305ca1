import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_mindeye.feed import Order, make_subject
from brainlens_mindeye.low_level import LowLevel, LowLevelDecoder, LowLevelLearner
from brainlens_mindeye.params import LowLevelParams
from brainlens_mindeye.space import measure_targets

import brainlens

SMALL = {
    "width": 64, "n_blocks": 1, "map_channels": 16, "up_channels": (16, 16), "epochs": 60, "batch_size": 20,
    "learning_rate": 3e-3, "entry_dropout": 0.2, "feature_width": 16,
}  # fmt: skip


def layouts(n_stimuli: int = 120, *, n_repetitions: int = 2, noise: float = 0.3, seed: int = 0):
    """Return responses of voxels that each look at one cell, latents of smooth pictures, and features of the cells."""
    rng = np.random.default_rng(seed)
    coarse = rng.standard_normal((n_stimuli, 4, 2, 2))
    pictures = np.repeat(np.repeat(coarse, 2, axis=2), 2, axis=3) + 2.0
    latents = pictures.reshape(n_stimuli, 4, 16).transpose(0, 2, 1).astype(np.float32)
    shown = rng.permutation(np.repeat(np.arange(n_stimuli), n_repetitions))
    voxels = latents.reshape(n_stimuli, -1)[shown] + noise * rng.standard_normal((len(shown), 64))
    trials = {"trial": np.arange(len(shown)), "stimulus_id": ("trial", shown)}
    response = xr.Dataset(
        {"response": (("trial", "voxel"), voxels.astype(np.float32))},
        {**trials, "voxel": np.arange(64)},
        {"subject": "s1", "units": "z"},
    )
    target = xr.Dataset(
        {"embedding": (("trial", "token", "channel"), latents[shown])}, trials, {"model": "vae", "grid": [4, 4]}
    )
    features = xr.Dataset(
        {"embedding": (("trial", "token", "channel"), np.abs(latents[shown]))}, trials, {"model": "net", "grid": [4, 4]}
    )
    return response, target, features


def parts(*datasets: xr.Dataset, n_test: int = 30) -> list[list[xr.Dataset]]:
    test = datasets[0]["stimulus_id"].values < n_test
    return [[each.isel(trial=np.flatnonzero(part)) for each in datasets] for part in (~test, test)]


def correlation(found: xr.Dataset, true: xr.Dataset) -> float:
    mean = found["target_mean"].values
    pair = [(each["embedding"].values - mean).ravel() for each in (found, true)]
    return float(np.corrcoef(*pair)[0, 1])


def fitted(response, target, features=None, **changes) -> LowLevelDecoder:
    decoder = LowLevelDecoder(LowLevelParams(**{**SMALL, **changes}), brainlens.Context())
    decoder.fit(response, target, features=features)
    return decoder


@pytest.mark.parametrize("with_features", [False, True])
def test_planted_layouts_are_found_and_shuffled_ones_are_not(with_features):
    (response, target, features), (test, test_target, _) = parts(*layouts())
    decoder = fitted(response, target, features if with_features else None)
    found = decoder.predict(test)
    assert found["embedding"].dims == ("trial", "token", "channel")
    assert found.attrs["grid"] == [4, 4]
    assert correlation(found, test_target) > 0.6
    assert ("contrastive" in decoder.history) == with_features
    wrong = target.isel(trial=np.random.default_rng(0).permutation(target.sizes["trial"]))
    wrong = wrong.assign_coords(trial=target["trial"], stimulus_id=target["stimulus_id"])
    assert abs(correlation(fitted(response, wrong, epochs=20).predict(test), test_target)) < 0.25


def test_a_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    module = LowLevel([30], (8, 8), 4, 5, LowLevelParams(**{**SMALL, "up_channels": (16, 16, 32)}))
    latents, features = module(torch.randn(6, 30), 0)
    assert latents.shape == (6, 64, 4)
    assert features.shape == (6, 4, 5)
    (latents.square().sum() + features.square().sum()).backward()
    missed = [name for name, each in module.named_parameters() if each.grad is None or not each.grad.abs().max() > 0]
    assert not missed


def test_the_published_size_has_the_published_linear_part():
    params = LowLevelParams(width=4096, n_blocks=4, map_channels=64, up_channels=(64, 128, 256))
    with torch.device("meta"):
        module = LowLevel([15724], (64, 64), 4, 0, params)
    assert module.small == (16, 16)
    linear = [each for each in module.modules() if isinstance(each, torch.nn.Linear)]
    flat = sum(each.weight.numel() for each in linear if each.bias is None)
    assert round(flat / 1e6, 1) == 198.6


def learner(showings: str, n_repetitions: int = 3) -> tuple[LowLevelLearner, xr.Dataset]:
    response, target, _ = layouts(40, n_repetitions=n_repetitions)
    subject = make_subject(response, target)
    params = LowLevelParams(**{**SMALL, "showings": showings})
    made = LowLevelLearner(
        torch.nn.Module(), [subject], [None], None, None, measure_targets([subject], centre=True), params, seed=0,
        device="cpu",
    )  # fmt: skip
    return made, response


def test_showings_are_mixed_as_published():
    made, response = learner("mixed")
    values, shown = response["response"].values, response["stimulus_id"].values
    order = Order(made.orders[0].subject, size=20, seed=[0, 0])
    plain = single = other = 0
    for step in range(30):
        voxels, target = made.read(step)[0]
        for row, stimulus in enumerate(order.stimuli(step)):
            own = values[shown == stimulus]
            weights, missed, *_ = np.linalg.lstsq(own.T, voxels[row].numpy(), rcond=None)
            assert weights.sum() == pytest.approx(1, abs=1e-3)
            assert weights.min() > -1e-3
            plain += bool(np.allclose(weights, 1 / 3, atol=1e-3))
            single += bool(weights.max() > 0.999)
            other += not (np.allclose(weights, 1 / 3, atol=1e-3) or weights.max() > 0.999)
    assert other / 600 == pytest.approx(0.5, abs=0.07)
    assert plain / 600 == pytest.approx(0.3, abs=0.07)
    assert single / 600 == pytest.approx(0.2, abs=0.07)
    assert torch.equal(made.read(7)[0][0], learner("mixed")[0].read(7)[0][0])


def test_a_step_pairs_showings_with_the_target_of_their_stimulus():
    for showings in ("mixed", "single"):
        made, response = learner(showings, n_repetitions=1)
        voxels, target = made.read(3)[0]
        assert np.allclose(voxels.numpy(), target.numpy().reshape(len(target), -1), atol=2)
        assert np.corrcoef(voxels.numpy().ravel(), target.numpy().ravel())[0, 1] > 0.9


def test_what_was_learnt_comes_back_from_its_state():
    response, target, features = layouts(60)
    decoder = fitted(response, target, features, epochs=2, validation=0.2)
    again = LowLevelDecoder(decoder.params, brainlens.Context())
    again.load_state({name: np.array(value) for name, value in decoder.state().items()})
    assert again.predict(response).identical(decoder.predict(response))
    assert set(again.history) == {"loss", "latents", "contrastive", "validated_epoch", "validation_r"}


def started(first: LowLevelDecoder, response, target, features=None, **changes) -> LowLevelDecoder:
    decoder = LowLevelDecoder(first.params.model_copy(update=changes), brainlens.Context())
    decoder.start_from(first.state(), xr.Dataset(coords={"voxel": response["voxel"]}, attrs={"model": "vae"}))
    decoder.fit(response, target, features=features)
    return decoder


def weights_below(decoder: LowLevelDecoder, start: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in decoder.module.state_dict().items() if name.startswith(start)}


def test_a_start_goes_on_with_its_head_beside_the_same_features_and_with_a_fresh_or_no_head_beside_others(caplog):
    response, target, features = layouts(40)
    still = {"epochs": 1, "learning_rate": 1e-12}
    with_head, without = fitted(response, target, features, epochs=2), fitted(response, target, epochs=2)
    narrow = features.isel(channel=slice(3))
    renamed = features.assign_attrs(model="other net")
    heads = {"same": features, "narrow": narrow, "renamed": renamed, "none": None}
    with caplog.at_level("INFO", logger="brainlens"):
        found = {name: started(with_head, response, target, each, **still) for name, each in heads.items()}
    expected = with_head.predict(response)["embedding"]
    for name, decoder in found.items():
        assert np.allclose(decoder.predict(response)["embedding"], expected, atol=1e-4), name
    own, fresh = weights_below(with_head, "head."), weights_below(fitted(response, target, features, **still), "head.")
    for case, wanted in (("same", own), ("renamed", fresh)):
        for name, value in weights_below(found[case], "head.").items():
            assert torch.allclose(value, wanted[name], atol=1e-6), (case, name)
    assert found["narrow"].module.head[-1].out_channels == 3
    assert found["none"].module.head is None
    assert sum("the head for those of 'other net' is fresh" in each for each in caplog.messages) == 1
    late = started(without, response, target, features, **still)
    assert late.module.head[-1].out_channels == 4
    assert np.allclose(late.predict(response)["embedding"], without.predict(response)["embedding"], atol=1e-4)


def test_a_start_of_other_voxels_latents_or_grids_is_refused(described):
    response, target, _ = layouts(40)
    first = fitted(response, target, epochs=1, up_channels=(16,))
    with pytest.raises(brainlens.DimensionError, match="expected a target of 'vae', .*, found 'another vae'"):
        started(first, response, target.assign_attrs(model="another vae"))
    with pytest.raises(brainlens.DimensionError, match="expected a grid of 4 x 4 as the model .*, found 2 x 8"):
        started(first, response, target.assign_attrs(grid=[2, 8]))
    decoder = LowLevelDecoder(first.params, brainlens.Context())
    decoder.start_from(first.state(), described(response, target))
    with pytest.raises(brainlens.DimensionError, match="expected the 64 voxels of 's1' .* found 63: 1 of its own miss"):
        decoder.fit(response.isel(voxel=slice(63)), target)


def test_features_that_are_not_finite_or_apart_are_refused_before_training():
    response, target, features = layouts(40)
    odd = features.copy(deep=True)
    odd["embedding"].values[7, 2, 1] = np.nan
    with pytest.raises(brainlens.DimensionError, match="features: expected finite values, found others .*: 7"):
        fitted(response, target, odd)
    responses, targets = [response, response.assign_attrs(subject="s2")], [target, target]
    apart = {
        "the same model for all subjects, found 'net' and 'x'": features.assign_attrs(model="x"),
        "the same channels for all subjects, found 4 and 3": features.isel(channel=slice(3)),
        "one grid for all subjects, found 4 x 4 and 2 x 8": features.assign_attrs(grid=[2, 8]),
    }
    for message, other in apart.items():
        with pytest.raises(brainlens.DimensionError, match=f"features: expected {message}"):
            fitted(responses, targets, [features, other])


def test_tokens_that_fill_no_grid_are_refused():
    response, target, features = layouts(40)
    with pytest.raises(brainlens.DimensionError, match="expected 16 tokens .* multiples of 2, found a grid of 3 x 5"):
        fitted(response, target.assign_attrs(grid=[3, 5]))
    with pytest.raises(brainlens.DimensionError, match="multiples of 8, found a grid of 4 x 4"):
        fitted(response, target, up_channels=(16, 16, 16, 16))
    flat = target.isel(token=0, drop=True)
    with pytest.raises(brainlens.DimensionError, match=r"target: expected dims \(trial, token, channel\)"):
        fitted(response, flat)
    with pytest.raises(brainlens.DimensionError, match="features: expected dims"):
        fitted(response, target, features.isel(token=0, drop=True))
