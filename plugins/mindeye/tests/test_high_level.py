import torch


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
