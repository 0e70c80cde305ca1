"""The diffusion prior: embeddings of images from what the backbone made of the voxels.

A transformer that is told the backbone's tokens, the time and noisy image tokens, and says what the image tokens are
without noise; noise schedule and sampling steps are those of diffusers. The layers are those of the published prior,
down to the number of parameters (its library is no longer maintained): one key and value head for all queries, a
learned null key, rotary positions on part of each head, and a learned bias by relative position.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

# Channels of each head that are rotated, buckets and reach of the relative bias, and the scale of cosine attention.
ROTARY, BUCKETS, REACH, SHARPNESS = 32, 32, 128, 16.0
SWIGLU = 4


class Gain(nn.Module):
    """Layer norm with a gain and no bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, values: Tensor) -> Tensor:
        """Return values of the same shape."""
        return functional.layer_norm(values, self.gain.shape, self.gain)


class Attention(nn.Module):
    """Cosine attention of every token to every token, and to a learned null token.

    Parameters
    ----------
    width
        Channels of a token.
    n_heads, head_width
        Heads of the queries; keys and values have one.
    """

    def __init__(self, width: int, *, n_heads: int, head_width: int) -> None:
        super().__init__()
        self.n_heads, self.head_width = n_heads, head_width
        self.norm = Gain(width)
        self.query = nn.Linear(width, n_heads * head_width, bias=False)
        self.key_value = nn.Linear(width, 2 * head_width, bias=False)
        self.null = nn.Parameter(torch.randn(2, head_width))
        self.out = nn.Sequential(nn.Linear(n_heads * head_width, width, bias=False), Gain(width))

    def forward(self, tokens: Tensor, bias: Tensor, turn: Tensor) -> Tensor:
        """Return what is added to the tokens (row, token, channel)."""
        values = self.norm(tokens)
        query = self.query(values).unflatten(-1, (self.n_heads, self.head_width)).transpose(1, 2)
        key, value = self.key_value(values).chunk(2, dim=-1)
        query, key = rotated(query, turn), rotated(key, turn)
        null_key, null_value = self.null.to(key).unsqueeze(1).expand(2, 1, -1)
        key = torch.cat([null_key.expand(len(key), 1, -1), key], dim=1)
        value = torch.cat([null_value.expand(len(value), 1, -1), value], dim=1)
        query, key = functional.normalize(query, dim=-1), functional.normalize(key, dim=-1)
        shared = (len(query), self.n_heads, *key.shape[1:])
        attended = functional.scaled_dot_product_attention(
            query, key.unsqueeze(1).expand(shared), value.unsqueeze(1).expand(shared),
            attn_mask=bias.to(query), scale=SHARPNESS,
        )  # fmt: skip
        added: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return added


class FeedForward(nn.Module):
    """A gated layer (SwiGLU) between two linear ones without bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = Gain(width)
        self.wide = nn.Linear(width, 2 * SWIGLU * width, bias=False)
        self.narrow = nn.Linear(SWIGLU * width, width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return what is added to the tokens."""
        values, gate = self.wide(self.norm(tokens)).chunk(2, dim=-1)
        narrow: Tensor = self.narrow(values * functional.silu(gate))
        return narrow


class PriorNetwork(nn.Module):
    """Say what noisy image tokens are without noise.

    Parameters
    ----------
    shape
        Tokens and channels of an embedding.
    depth, n_heads, head_width
        Sizes of the transformer; its width is the number of channels.
    gradient_checkpointing
        Whether layers are computed again in the backward pass instead of kept.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        *,
        depth: int = 6,
        n_heads: int = 12,
        head_width: int = 64,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        n_tokens, width = shape
        self.shape, self.gradient_checkpointing = shape, gradient_checkpointing
        self.time = nn.Sequential(
            nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, 2 * width), nn.SiLU(),
            nn.Linear(2 * width, width),
        )  # fmt: skip
        self.place = nn.Parameter(torch.randn(n_tokens, width) * width**-0.5)
        self.null_brain = nn.Parameter(torch.randn(n_tokens, width))
        self.null_image = nn.Parameter(torch.randn(n_tokens, width))
        self.bias = nn.Embedding(BUCKETS, n_heads)
        turned = min(ROTARY, head_width)
        # Kept as a parameter that is not trained, as in the original, so that its parameters add up.
        self.turns = nn.Parameter(10000 ** -(torch.arange(0, turned, 2) / turned), requires_grad=False)
        self.layers = nn.ModuleList(
            nn.ModuleList([Attention(width, n_heads=n_heads, head_width=head_width), FeedForward(width)])
            for _ in range(depth)
        )
        self.out = nn.Sequential(Gain(width), nn.Linear(width, width, bias=False))

    def forward(
        self, noisy: Tensor, step: Tensor, brain: Tensor, *, no_brain: Tensor | None = None,
        no_image: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Return image tokens without noise.

        Parameters
        ----------
        noisy
            Image tokens (row, token, channel).
        step
            Diffusion step of each row; shape (row,), int64.
        brain
            What the backbone made of the voxels (row, token, channel).
        no_brain, no_image
            Rows whose brain or image tokens are replaced by learned ones; shape (row,), bool.
        """
        noisy, brain = noisy.to(self.place), brain.to(self.place)
        if no_brain is not None:
            brain = torch.where(no_brain[:, None, None], self.null_brain, brain)
        if no_image is not None:
            noisy = torch.where(no_image[:, None, None], self.null_image, noisy)
        time = self.time(sinusoids(step, self.shape[1]))
        tokens = torch.cat([brain, time.to(brain)[:, None], noisy + self.place], dim=1)
        position = torch.arange(tokens.shape[1], device=tokens.device)
        bias, turn = self._bias(position), position[:, None] * self.turns
        for attend, feed in self.layers:
            if self.gradient_checkpointing and self.training:
                tokens = tokens + checkpoint(attend, tokens, bias, turn, use_reentrant=False)
                tokens = tokens + checkpoint(feed, tokens, use_reentrant=False)
            else:
                tokens = tokens + attend(tokens, bias, turn)
                tokens = tokens + feed(tokens)
        out: Tensor = self.out(tokens[:, -self.shape[0] :])
        return out

    def _bias(self, position: Tensor) -> Tensor:
        """Return the bias of every query for every key (head, query, key); the null key comes first, at position 0."""
        key = torch.cat([position, position[-1:] + 1])
        values: Tensor = self.bias(bucket(position[:, None] - key[None]))
        return values.permute(2, 0, 1)


def bucket(back: Tensor) -> Tensor:
    """Return the bucket of each distance that a key lies before its query (T5; Raffel et al. 2020).

    Distances up to half the buckets have one each, longer ones share them logarithmically up to the reach. Every
    key that comes after its query shares bucket 0 with distance 0, as in the published prior.
    """
    back = back.clamp(min=0)
    exact = BUCKETS // 2
    ratio = torch.log(back.clamp(min=1).float() / exact) / math.log(REACH / exact)
    far = exact + (ratio * (BUCKETS - exact)).long()
    return torch.where(back < exact, back, far.clamp(max=BUCKETS - 1))


def rotated(values: Tensor, turn: Tensor) -> Tensor:
    """Turn pairs of channels by angles (token, pair); channels after the pairs stay (RoPE; Su et al. 2021)."""
    turned = 2 * turn.shape[-1]
    cosine, sine = turn.cos().to(values), turn.sin().to(values)
    even, odd = values[..., 0:turned:2], values[..., 1:turned:2]
    pairs = torch.stack([even * cosine - odd * sine, odd * cosine + even * sine], dim=-1).flatten(-2)
    return torch.cat([pairs, values[..., turned:]], dim=-1)


def sinusoids(step: Tensor, width: int) -> Tensor:
    """Return sines and cosines of a number (row, width) (Vaswani et al. 2017)."""
    half = max(1, width // 2)
    speed = torch.exp(torch.arange(half, device=step.device) * -(math.log(10000) / max(1, half - 1)))
    angle = step[:, None].float() * speed
    waves = torch.cat([angle.sin(), angle.cos()], dim=1)[:, :width]
    return functional.pad(waves, (0, width - waves.shape[1]))


def make_noise_schedule(n_steps: int) -> DDPMScheduler:
    """Return diffusers' scheduler: cosine levels (Nichol and Dhariwal 2021), the network predicts what is clean."""
    return DDPMScheduler(
        num_train_timesteps=n_steps, beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=False
    )


@torch.inference_mode()
def sample(
    network: nn.Module,
    brain: Tensor,
    *,
    schedule: DDPMScheduler,
    n_steps: int,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Draw image tokens by the reverse process, in the scale of the training.

    Parameters
    ----------
    network
        As `PriorNetwork`: called with (noisy, step, brain).
    brain
        What the backbone made of the voxels (row, token, channel).
    schedule
        The schedule of the training; its state is changed.
    n_steps
        As many as in training: all ancestral steps (Ho et al. 2020). Fewer: DDIM with full noise (Song et al. 2021).
    generators
        Source of randomness of each row, so that a row is the same whatever else is in the batch.

    Returns
    -------
    Tensor
        Image tokens (row, token, channel), float32.
    """
    scheduler, options = schedule, {}
    if n_steps != schedule.config.num_train_timesteps:
        scheduler, options = DDIMScheduler.from_config(schedule.config), {"eta": 1.0}
    scheduler.set_timesteps(n_steps, device=brain.device)
    chosen: Any = list(generators)
    tokens = randn_tensor(brain.shape, generator=chosen, device=brain.device, dtype=torch.float32)
    for step in scheduler.timesteps:
        clean = network(tokens, step.expand(len(tokens)), brain).float()
        tokens = scheduler.step(clean, step, tokens, generator=chosen, return_dict=False, **options)[0]
    return tokens
