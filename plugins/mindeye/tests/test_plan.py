from typing import Any

import pytest
import torch
from brainlens_mindeye.plan import Plan, make_optimizer, make_schedule, refuse_nondeterministic, seed_of
from torch import nn

import brainlens


def plan(**changes: Any) -> Plan:
    return Plan(**{"n_epochs": 4, "steps_per_epoch": 5, "learning_rate": 1e-2, **changes})


def test_only_matrices_have_weight_decay():
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    decays = {
        id(parameter): group["weight_decay"]
        for group in make_optimizer(module, plan(weight_decay=0.3)).param_groups
        for parameter in group["params"]
    }
    expected = {"0.weight": 0.3, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0}
    assert {name: decays[id(parameter)] for name, parameter in module.named_parameters()} == expected


def test_seeds_of_steps_and_pieces_are_their_own():
    seeds = {seed_of(seed, step, piece) for seed in range(3) for step in range(50) for piece in range(4)}
    assert len(seeds) == 600
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_learning_rate_goes_through_one_cycle_as_torch_has_it():
    weight = nn.Parameter(torch.zeros(1))
    rates = {}
    for name in ("ours", "torch"):
        optimizer = torch.optim.SGD([weight], lr=0.3)
        schedule = (
            make_schedule(optimizer, plan(learning_rate=0.3, n_epochs=10, steps_per_epoch=7, warm_up=2))
            if name == "ours"
            # Its rising phase ends a step early: at pct_start * total_steps - 1.
            else torch.optim.lr_scheduler.OneCycleLR(
                optimizer, 0.3, total_steps=70, pct_start=15 / 70, final_div_factor=1000, cycle_momentum=False
            )
        )
        rates[name] = []
        for _ in range(70):
            rates[name].append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if len(rates[name]) < 70:
                schedule.step()
    assert rates["ours"] == pytest.approx(rates["torch"], rel=1e-6)


@pytest.mark.parametrize("warm_up", [0.0, 1.0, 5.0])
def test_short_trainings_have_a_schedule_too(warm_up: float):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make_schedule(optimizer, plan(learning_rate=1.0, n_epochs=1, steps_per_epoch=1, warm_up=warm_up))
    optimizer.step()
    schedule.step()
    assert 0 < optimizer.param_groups[0]["lr"] <= 1


@pytest.mark.parametrize("found", [None, ":4096:2", ""])
def test_deterministic_training_says_what_an_older_torch_wants_on_a_gpu(found):
    environment = {} if found is None else {"CUBLAS_WORKSPACE_CONFIG": found}
    message = (
        r"deterministic: expected the environment variable CUBLAS_WORKSPACE_CONFIG to be ':4096:8' or ':16:8', .* "
        rf"torch 2\.9\.1\+cu128 .* on 'cuda:0', found {found!r}\. Set it before Python is started "
        r"\(CUBLAS_WORKSPACE_CONFIG=:4096:8\)"
    )
    with pytest.raises(brainlens.DeviceError, match=message):
        refuse_nondeterministic("cuda:0", version="2.9.1+cu128", environment=environment)


@pytest.mark.parametrize(
    ("device", "version", "environment"),
    [
        ("cpu", "2.9.1", {}),
        ("cuda:0", "2.9.1", {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}),
        ("cuda:1", "2.6.0+cu124", {"CUBLAS_WORKSPACE_CONFIG": ":16:8"}),
        ("cuda:0", "2.10.0+cu130", {}),
        ("cuda:0", "2.15.0", {}),
    ],
)
def test_where_torch_can_be_deterministic_nothing_is_refused(device, version, environment):
    refuse_nondeterministic(device, version=version, environment=environment)
