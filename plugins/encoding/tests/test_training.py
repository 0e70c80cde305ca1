"""The training loop: what its steps are, how it chooses, and that a kill changes nothing."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_encoding.plan import Data, Plan
from brainlens_encoding.queries import Attention, RegionNetwork
from brainlens_encoding.readouts import StillNetwork
from brainlens_encoding.rows import Rows
from brainlens_encoding.training import FILE, train

import brainlens

N_SITES = 6


def factorised():
    return StillNetwork("factorised", n_sites=N_SITES, n_channels=3, grid=(2, 2))


def regions(dropout=0.2):
    torch.manual_seed(3)
    attention = Attention(n_channels=3, grid=(2, 2), width=8, n_heads=2, n_hidden=8, dropout=dropout)
    return RegionNetwork(torch.arange(N_SITES)[:, None] // 3 == torch.arange(2), attention, 8)


def make_data(n_sites=N_SITES, noise=0.3):
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((150, 4, 3)).astype(np.float32)
    field, vector = np.eye(4)[np.arange(N_SITES) % 4], rng.choice([-1.0, 1.0], (N_SITES, 3))
    values = np.einsum("btc,vt,vc->bv", tokens, field, vector) + noise * rng.standard_normal((150, N_SITES))
    values[:, -1] = rng.standard_normal(150)
    kept = torch.from_numpy(tokens)
    response = xr.DataArray(values[:, :n_sites].astype(np.float32), dims=("trial", "voxel"))
    return Data(
        tokens=lambda rows: kept[torch.from_numpy(rows)],
        response=Rows(response, device="cpu", resident_bytes=10**9),
        mean=torch.zeros(n_sites),
        scale=torch.full((n_sites,), 1.0),
        training=np.arange(30, 150),
        held_out=np.arange(30),
    )


def plan(**changes):
    given = {
        "epochs": 8, "batch_size": 20, "learning_rate": 0.03, "weight_decays": (0.1, 1.0), "patience": 8,
        "memory_mb": 100.0, "checkpoint_s": 1e9, "seed": 0, **changes,
    }  # fmt: skip
    return Plan(**given)


def trained(make, data=None, context=None, identity="toy", **changes):
    network = make()
    found = train(network, make, data or make_data(), plan(**changes), context=context or brainlens.Context(),
                  identity=identity)  # fmt: skip
    return found, torch.cat([value.detach().flatten() for value in network.state_dict().values()])


def test_the_loss_falls_and_held_out_stimuli_are_predicted():
    found, _ = trained(factorised, epochs=40, patience=40)
    loss = found.history["loss"]
    assert len(loss) == 80
    assert loss[39] < 0.5 * loss[0]
    assert found.score[:-1].min() > 0.5
    assert found.score[-1] < 0.1


@pytest.mark.parametrize("make", [factorised, regions])
def test_the_same_seed_gives_the_same_weights_and_another_one_does_not(make):
    first, second, other = (trained(make, seed=seed)[1] for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_site_that_shares_nothing_does_not_depend_on_the_others():
    def two():
        return StillNetwork("factorised", n_sites=2, n_channels=3, grid=(2, 2))

    whole, some = (trained(make, make_data(n_sites), patience=100)[0] for make, n_sites in ((factorised, 6), (two, 2)))
    np.testing.assert_allclose(whole.score[:2], some.score, atol=1e-4)
    np.testing.assert_array_equal(whole.weight_decay[:2], some.weight_decay)


def test_each_site_that_shares_nothing_takes_its_own_weight_decay():
    found, _ = trained(factorised, weight_decays=(0.0, 30.0), epochs=20)
    assert found.weight_decay[:-1].tolist() == [0.0] * 5
    assert found.weight_decay[-1] == 30.0
    shared, _ = trained(regions, weight_decays=(0.0, 30.0), epochs=20)
    assert set(shared.weight_decay.tolist()) == {0.0}


@pytest.mark.parametrize("make", [factorised, regions])
def test_what_is_kept_is_what_scored_best(make):
    network, data = make(), make_data()
    found = train(network, make, data, plan(epochs=15), context=brainlens.Context(), identity="toy")
    with torch.no_grad():
        errors = (network(data.tokens(data.held_out)) - data.responses(data.held_out)).square().sum(0)
    null = data.responses(data.held_out).square().sum(0)
    np.testing.assert_allclose(found.score, 1 - errors / null, atol=1e-5)
    reached = found.history["held_out_r2"]
    if network.alone:
        assert found.score.mean() >= max(reached)
    else:
        assert found.score.mean() == pytest.approx(max(reached), abs=1e-5)


def test_training_stops_when_held_out_stimuli_are_predicted_no_better():
    found, _ = trained(factorised, weight_decays=(50.0,), epochs=200, patience=3)
    reached = found.history["held_out_r2"]
    best = max(number for number, value in enumerate(reached) if value > max([-9, *reached[:number]]) + 1e-4)
    assert len(reached) < 200
    assert len(reached) - 1 - best >= 3


@pytest.mark.parametrize("make", [factorised, regions])
@pytest.mark.parametrize("killed_at", [3, 16, 48, 53, 70])
def test_a_killed_training_ends_as_one_that_was_not(tmp_path, make, killed_at):
    expected, weights = trained(make)

    class Killed(brainlens.Context):
        def progress(self, items, **more):
            for number, item in enumerate(items):
                yield item
                if number == killed_at:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(make, context=Killed(scratch=tmp_path), checkpoint_s=0.0)
    assert (tmp_path / FILE).exists()
    found, again = trained(make, context=brainlens.Context(scratch=tmp_path), checkpoint_s=0.0)
    assert torch.equal(again, weights)
    assert found.history == expected.history
    np.testing.assert_array_equal(found.weight_decay, expected.weight_decay)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    context = brainlens.Context(scratch=tmp_path)
    trained(factorised, context=context, checkpoint_s=0.0)
    with pytest.raises(brainlens.CheckpointError, match="^checkpoint 'checkpoint.pt': expected format 2 of 'other', "):
        trained(factorised, context=context, identity="other")
    (tmp_path / FILE).write_bytes(b"nonsense")
    with pytest.raises(brainlens.CheckpointError, match="found a file that cannot be read .*Remove '.*' to start"):
        trained(factorised, context=context)


def test_a_loss_that_is_not_finite_is_refused():
    with pytest.raises(
        brainlens.DeviceError, match="^training: expected a finite loss, found .* Lower 'learning_rate'"
    ):
        trained(factorised, learning_rate=1e30)


def test_a_site_that_does_not_vary_among_held_out_stimuli_has_no_score():
    data = make_data()
    data.response.kept[:, 0] = 0
    found, _ = trained(factorised, data)
    assert np.isnan(found.score[0])
    assert np.isfinite(found.score[1:]).all()


def test_global_randomness_is_left_as_it_was_and_epochs_are_logged(caplog):
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    with caplog.at_level(logging.INFO, logger="brainlens"):
        trained(factorised, epochs=2)
    assert torch.equal(torch.rand(1), expected)
    assert "epoch 2 of 2: weight decay 1, loss" in caplog.text
