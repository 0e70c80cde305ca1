"""The published ending of Brain-Diffuser's regressions, which looks at all test trials at once."""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_linear.streaming import BLOCK_BYTES, make_room
from brainlens_linear.targets import cut


def restandardize(*, decoded: xr.Dataset, params: brainlens.Params, context: brainlens.Context) -> xr.Dataset:
    """Give every channel over the decoded trials the mean and SD that it has over the training targets.

    This is transductive: what comes out for a trial depends on which other test trials there are, so it is no decoder
    of single trials. It stands for the comparison with what was published; `linear.decode` does without.

    Parameters
    ----------
    decoded
        Embeddings (embedding.v1), dims (trial, channel) or (trial, token, channel), with `target_mean` and `target_std`
        of the training targets, as `linear.decode` emits them.
    params
        Not used.
    context
        For scratch folder and progress.

    Returns
    -------
    Dataset (embedding.v1)
        The same with other values; a channel that is the same in all trials becomes the training mean.
        `attrs["transductive"]` says how many trials took part.

    Raises
    ------
    DimensionError
        If `target_mean` or `target_std` are missing, or there is one trial.

    References
    ----------
    Ozcelik & VanRullen (2023), doi:10.1038/s41598-023-42891-8, as released: predictions minus their mean over the test
    items, divided by their SD over these (of n), times the SD of the training features, plus their mean.

    Examples
    --------
    >>> decoded = xr.Dataset({"embedding": (("trial", "channel"), [[1.0, 5.0], [3.0, 5.0]])})
    >>> decoded = decoded.assign(target_mean=("channel", [0.0, 7.0]), target_std=("channel", [10.0, 1.0]))
    >>> restandardize(decoded=decoded, params=brainlens.Params(), context=brainlens.Context())["embedding"].values
    array([[-10.,   7.],
           [ 10.,   7.]], dtype=float32)
    """
    embedding = decoded["embedding"]
    missing = [name for name in ("target_mean", "target_std") if name not in decoded]
    if missing:
        raise brainlens.DimensionError(
            f"decoded: expected 'target_mean' and 'target_std' of the training targets, found no {missing[0]!r}. "
            "Decode with 'linear.decode'."
        )
    if embedding.dims not in (("trial", "channel"), ("trial", "token", "channel")) or embedding.sizes["trial"] < 2:
        raise brainlens.DimensionError(
            "decoded: expected at least 2 trials and dims (trial, channel) or (trial, token, channel), found "
            f"{dict(embedding.sizes)}. Choose one variant."
        )
    n_trials, *shape = embedding.shape
    n_tokens, n_channels = (1, *shape)[-2:]
    mean, std = (decoded[name].values.reshape(n_tokens, n_channels) for name in ("target_mean", "target_std"))
    found = make_room((n_trials, n_tokens, n_channels), context)
    blocks = list(cut(n_tokens, n_channels, most=max(1, BLOCK_BYTES // (4 * n_trials))))
    for block in context.progress(blocks, label="restandardizing"):
        where = (block.tokens, block.channels)
        part = embedding[(slice(None), *where)] if len(shape) == 2 else embedding[:, block.channels]
        values = part.values.astype(np.float64).reshape(n_trials, *mean[where].shape)
        values -= values.mean(axis=0)
        spread = values.std(axis=0)
        found[(slice(None), *where)] = values / np.where(spread > 0, spread, 1.0) * std[where] + mean[where]
    made = decoded.assign(embedding=(embedding.dims, found.reshape(embedding.shape)))
    kept = {key: decoded.attrs[key] for key in ("model", "subject", "grid", "alpha") if key in decoded.attrs}
    made.attrs = {**kept, "schema": "embedding.v1", "transductive": n_trials}
    return made
