import numpy as np
import pytest
import xarray as xr

import brainlens


def shuffle_stimuli(target: xr.Dataset, *, seed: int) -> xr.Dataset:
    """Give every stimulus the target of another one."""
    _, first, codes = np.unique(target["stimulus_id"].values, return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(first))
    return target.assign(embedding=target["embedding"].copy(data=target["embedding"].values[first[order[codes]]]))


@pytest.mark.parametrize("shape", [(16,), (3, 16)])
def test_a_planted_code_is_found_by_both_variants_and_a_shuffled_one_is_not(planted, shape, fitted, split, top_1):
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


def test_reconstructions_lie_where_the_targets_lie(planted, fitted, split):
    response, target = planted(n_stimuli=150, noise=0.1, shape=(16,))
    train, train_target, test, test_target = split(response, target)
    decoder = fitted(train, train_target, epochs=200, prior_depth=2)
    predicted = decoder.predict(test)["embedding"].sel(variant="reconstruction").values
    true = test_target["embedding"].values
    assert np.allclose(predicted.mean(axis=0), true.mean(axis=0), atol=0.5)
    assert predicted.std() == pytest.approx(true.std(), rel=0.3)


def test_a_trial_is_predicted_the_same_whatever_else_is(planted, fitted):
    response, target = planted()
    decoder = fitted(response, target, epochs=3)
    together = decoder.predict(response)["embedding"].values
    assert np.array_equal(decoder.predict(response)["embedding"].values, together)
    turned = decoder.predict(response.isel(trial=slice(None, None, -1)))["embedding"].values[:, ::-1]
    alone = decoder.predict(response.isel(trial=[7]))["embedding"].values
    assert np.allclose(turned, together, atol=1e-4)
    assert np.allclose(alone[:, 0], together[:, 7], atol=1e-4)


def test_another_seed_draws_another_reconstruction_and_the_same_retrieval(planted, fitted):
    response, target = planted()
    decoder = fitted(response, target, epochs=3)
    first = decoder.predict(response)["embedding"]
    decoder.context = brainlens.Context(seed=1)
    again = decoder.predict(response)["embedding"]
    assert again.sel(variant="retrieval").equals(first.sel(variant="retrieval"))
    assert not np.allclose(again.sel(variant="reconstruction"), first.sel(variant="reconstruction"), atol=1e-2)


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
def test_parts_can_be_left_out_or_exchanged(planted, changes, variants, losses, fitted):
    response, target = planted()
    decoder = fitted(response, target, epochs=3, **changes)
    predicted = decoder.predict(response)
    assert predicted["variant"].values.tolist() == variants
    assert set(decoder.history) == losses
    assert np.isfinite(predicted["embedding"].values).all()
