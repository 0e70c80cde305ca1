import numpy as np
import pytest
import torch
from brainlens_mindeye.feed import make_subject


def test_voxels_are_mixed_in_the_first_epochs_only(planted, fitted):
    response, target = planted()
    seen = []
    for share, soft in ((0.0, True), (0.5, True), (1.0, True), (0.0, False)):
        decoder = fitted(response, target, epochs=4, mixup_share=share, soft=soft, prior="none")
        seen.append(decoder.history["contrastive"])
    assert len({round(history[0], 6) for history in seen}) == 3  # soft, mixed (twice), hard
    assert seen[1][:2] == seen[2][:2]
    assert seen[1][2] != seen[2][2]


def test_training_is_the_same_in_memory_and_streamed(planted, monkeypatch, fitted):
    response, target = planted()
    kept = fitted(response, target, epochs=4)
    monkeypatch.setattr("brainlens_mindeye.feed.RESIDENT_BYTES", 0)
    streamed = fitted(response, target, epochs=4)
    for one, other in zip(kept.module.parameters(), streamed.module.parameters(), strict=True):
        assert torch.equal(one, other)


def learner_of(planted, fitted, **changes):
    """Return an untrained learner and its first batch, of which every random draw can be repeated."""
    response, target = planted(shape=(2, 3))
    decoder = fitted(response, target, epochs=4, prior_weight=3.0, contrastive_weight=2.0, **changes)
    learner = decoder.make_learner([make_subject(response, target)], [None])
    batch = learner.prepare(learner.read(0), epoch=0, generator=torch.Generator().manual_seed(7))
    return learner, batch


def test_noise_is_added_as_diffusers_adds_it(planted, fitted):
    learner, batch = learner_of(planted, fitted, mixup_share=0.0)
    generator = torch.Generator().manual_seed(7)
    step = torch.randint(0, 20, (20,), generator=generator)
    noise = torch.randn(batch.target.shape, generator=generator)
    clean = learner.space.scale * batch.target
    assert torch.equal(batch.draws["step"], step)
    torch.testing.assert_close(batch.draws["noisy"], learner.schedule.add_noise(clean, noise, step))
    # At the ends: hardly any noise, and hardly anything else.
    assert learner.levels[0] > 0.98
    assert learner.levels[-1] < 1e-3


def test_losses_are_those_of_plain_numpy(planted, fitted):
    learner, batch = learner_of(planted, fitted, mixup_share=0.0, soft_temperature=(0.1, 0.3))
    with torch.no_grad():
        outputs = learner.forward(0, batch.parts[0][1], batch.draws)
    found = {name: value.item() for name, value in learner.loss(outputs, batch, epoch=3).items()}

    target = batch.target.numpy().astype(np.float64)
    clean = outputs["clean"].numpy().astype(np.float64)
    prior = np.mean((clean - learner.space.scale * target) ** 2)
    rows = [each.reshape(20, -1) for each in (outputs["projected"].numpy().astype(np.float64), target)]
    one, other = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in rows)
    # The last of four epochs without mixing: the last temperature.
    share = np.exp(other @ other.T / 0.3)
    share /= share.sum(axis=1, keepdims=True)
    contrastive = 0.0
    for scores in (one @ other.T / 0.3, other @ one.T / 0.3):
        contrastive -= (share * (scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)))).sum() / (2 * 20)
    expected = {"loss": 3 * prior + 2 * contrastive, "prior": prior, "contrastive": contrastive}
    assert found == pytest.approx(expected, rel=1e-5)
