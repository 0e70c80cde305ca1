"""Training across sites: what a step draws, what is kept apart, and going on after a kill to the same weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from brainlens_encoding import in_context_learning
from brainlens_encoding.in_context_learning import Subject, draw_task, make_network, part_subject, train, validate
from brainlens_encoding.in_context_params import InContextParams

import brainlens

QUICK = InContextParams(steps=12, width=16, depth=1, context_sizes=(5, 20), n_queries=10, batch_sites=8)


def make_subject(seed: int = 0, *, n: int = 60, n_sites: int = 30, noise: float = 0.1) -> Subject:
    """Every site is one of two: the first axis, or minus the second."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, 4)).astype(np.float32)
    kinds = np.array([[1.0, 0, 0, 0], [0, -1.0, 0, 0]])[rng.integers(2, size=n_sites)]
    responses = features @ kinds.T + noise * rng.standard_normal((n, n_sites))
    return part_subject(
        features, responses.astype(np.float32), np.repeat(np.arange(n // 2), 2), share=0.1, rng=np.random.default_rng(1)
    )


def test_stimuli_and_sites_for_validation_are_never_trained_on() -> None:
    subject = make_subject()
    assert sorted([*subject.learnt_stimuli, *subject.checked_stimuli]) == list(range(30))
    assert sorted([*subject.learnt_sites, *subject.checked_sites]) == list(range(30))
    assert len(subject.checked_stimuli) == len(subject.checked_sites) == 3
    for step in range(50):
        context, _, queries, _ = draw_task([subject], QUICK, np.random.default_rng(step), synthetic=False)
        rows = [np.flatnonzero((subject.features == each).all(axis=1))[0] for each in (*context, *queries)]
        shown = subject.stimuli[rows]
        # One trial of each stimulus: no query is another showing of what is in the context.
        assert len(set(shown)) == len(shown)
        assert not set(shown) & set(subject.checked_stimuli)


def test_responses_of_a_step_belong_to_its_images_and_sites() -> None:
    subject = make_subject()
    params = replace_params(context_sizes=(5, 15))
    context, responses, queries, wanted = draw_task([subject], params, np.random.default_rng(4), synthetic=False)
    assert 5 <= len(context) <= 15
    assert responses.shape == (8, len(context))
    assert wanted.shape == (8, len(queries)) == (8, 10)
    for images, values in ((context, responses), (queries, wanted)):
        rows = [np.flatnonzero((subject.features == each).all(axis=1))[0] for each in images]
        for site in values:
            assert any((subject.responses[rows, number] == site).all() for number in subject.learnt_sites)


def test_synthetic_sites_are_linear_with_noise_and_standardised() -> None:
    subject = make_subject(n=400)
    params = replace_params(batch_sites=200, context_sizes=(150, 150))
    features, responses, _, _ = draw_task([subject], params, np.random.default_rng(0), synthetic=True)
    assert responses.std(axis=1).mean() == pytest.approx(1, abs=0.1)
    made = features @ np.linalg.lstsq(features, responses.T, rcond=None)[0]
    share = made.var(axis=0) / responses.T.var(axis=0)
    # Noise between 0.3 and 3 times the signal.
    assert share.min() < 0.3
    assert share.max() > 0.8


def replace_params(**changes: object) -> InContextParams:
    return InContextParams(**{**QUICK.model_dump(), **changes})


def test_few_stimuli_leave_one_to_be_asked_for() -> None:
    subject = make_subject(n=8)
    context, _, queries, _ = draw_task([subject], QUICK, np.random.default_rng(0), synthetic=False)
    assert len(queries) >= 1
    assert len(context) + len(queries) <= len(subject.learnt_stimuli)


def test_what_sites_have_in_common_is_learnt() -> None:
    """There are two kinds of site; noisy responses to a few images say which one it is, and so everything about it."""
    params = replace_params(
        steps=500, width=32, depth=2, context_sizes=(4, 20), learning_rate=0.005, synthetic_share=0.0
    )
    subjects = [make_subject(seed, n=200, n_sites=60, noise=1.0) for seed in range(2)]
    network = make_network(4, params, brainlens.Context())
    assert validate(network, subjects, params, brainlens.Context()) == pytest.approx(0, abs=0.02)
    scores = train(network, subjects, params, brainlens.Context())
    assert len(scores) == 10
    new = make_subject(7, n=200, n_sites=40, noise=1.0)
    with torch.no_grad():
        weights, _ = network(torch.from_numpy(new.features[:12]), torch.from_numpy(new.responses[:12].T.copy()))
    truth = make_subject(7, n=200, n_sites=40, noise=0.0).responses
    found = 1 - ((truth - new.features @ weights.numpy().T) ** 2).mean() / (truth**2).mean()
    ridge = new.features @ brainlens.fit_ridge(new.features[:12], new.responses[:12]).weights
    by_ridge = 1 - ((truth - ridge) ** 2).mean() / (truth**2).mean()
    assert found > 0.7
    assert found > by_ridge + 0.3


class Killed(Exception):
    """Stands for a kill: nothing after it runs."""


def test_a_training_that_was_killed_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects, params = [make_subject(), make_subject(1)], replace_params(checkpoint_s=0.0, dropout=0.2)
    whole = make_network(4, params, brainlens.Context())
    scores = train(whole, subjects, params, brainlens.Context())
    draw, context = in_context_learning.draw_task, brainlens.Context(scratch=tmp_path)
    calls: list[int] = []

    def draw_until_killed(*args: object, **more: object) -> object:
        calls.append(1)
        if len(calls) == 8:
            raise Killed
        return draw(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(in_context_learning, "draw_task", draw_until_killed)
    with pytest.raises(Killed):
        train(make_network(4, params, context), subjects, params, context)
    monkeypatch.undo()
    resumed = make_network(4, params, context)
    assert train(resumed, subjects, params, context) == scores
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(value, resumed.state_dict()[name], rtol=0, atol=0)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "in_context.pt").write_bytes(b"half")
    context = brainlens.Context(scratch=tmp_path)
    with pytest.raises(brainlens.CheckpointError, match=r"^checkpoint 'in_context\.pt': expected a checkpoint of this"):
        train(make_network(4, QUICK, context), [make_subject()], QUICK, context)


def test_torch_randomness_of_others_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train(make_network(4, QUICK, brainlens.Context()), [make_subject()], QUICK, brainlens.Context())
    assert torch.rand(1) == expected


def test_too_few_stimuli_are_refused() -> None:
    with pytest.raises(brainlens.DimensionError, match="^response: expected at least 4 stimuli to learn from, found 3"):
        part_subject(np.zeros((3, 2)), np.zeros((3, 2)), np.arange(3), share=0.1, rng=np.random.default_rng(0))


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    subject = make_subject()
    broken = replace(subject, responses=np.full_like(subject.responses, np.inf))
    params = replace_params(synthetic_share=0.0)
    with pytest.raises(brainlens.DeviceError, match="^training: expected a finite loss, found (nan|inf) in step 0"):
        train(make_network(4, params, brainlens.Context()), [broken], params, brainlens.Context())
