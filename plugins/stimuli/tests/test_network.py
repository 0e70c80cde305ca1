from __future__ import annotations

import numpy as np
import pytest
import torch
from brainlens_stimuli.network import Found, Network, digest, embed_batch

import brainlens


def network(encode: object, **more: object) -> Network:
    return Network(
        name="n", sha256="0" * 64, prepare=lambda items: torch.tensor(np.stack(items)), encode=encode, **more
    )  # type: ignore[arg-type]


def test_a_batch_is_normalised_as_asked_for(context: brainlens.Context) -> None:
    items = list(np.random.default_rng(0).standard_normal((4, 5, 3)).astype(np.float32))
    tokens = network(lambda batch: Found(values=batch, pooled=batch[:, 0]))
    plain, _ = embed_batch(tokens, items, normalise="none", context=context)
    torch.testing.assert_close(plain, torch.tensor(np.stack(items)))
    unit, _ = embed_batch(tokens, items, normalise="length", context=context)
    torch.testing.assert_close(unit.norm(dim=-1), torch.ones(4, 5))
    scaled, _ = embed_batch(tokens, items, normalise="pooled", context=context)
    torch.testing.assert_close(scaled[:, 0].norm(dim=-1), torch.ones(4))
    torch.testing.assert_close(scaled[:, 3] * plain[:, :1].norm(dim=-1), plain[:, 3])


def test_memory_that_runs_out_is_said(context: brainlens.Context) -> None:
    def encode(batch: torch.Tensor) -> Found:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(brainlens.DeviceError, match="expected memory for 1 items of 'n'.* Set a smaller batch_size"):
        embed_batch(network(encode), [np.zeros(2)], normalise="none", context=context)


def test_an_identity_is_that_of_weights_and_all_that_was_said() -> None:
    first, second = (network(None, about={"layer": layer}) for layer in ("a", "b"))
    assert first.identity() == network(None, about={"layer": "a"}).identity()
    assert len({first.identity(), second.identity(), first.identity("float16")}) == 3
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
