"""Rank the candidates of a gallery by their similarity to decoded embeddings.

The gallery is read in blocks, so it may be larger than memory; no index is built and nothing is approximate.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

import brainlens
from brainlens_retrieval.directions import Space, make_space, refuse_without_direction
from brainlens_retrieval.params import RankParams
from brainlens_retrieval.rules import error_rule, training_pairs

BLOCK_BYTES = 2**28

Compare = Callable[[np.ndarray, np.ndarray], np.ndarray]


def rank(
    decoded: xr.Dataset,
    gallery: xr.Dataset,
    *,
    left_out: xr.Dataset | None = None,
    target: xr.Dataset | None = None,
    params: RankParams,
    context: brainlens.Context,
) -> xr.Dataset:
    """Compare every trial's decoded embedding with every candidate.

    Parameters
    ----------
    decoded
        `embedding` of dims (trial, channel) or (trial, token, channel), no unit, with a dim variant before these where
        the decoder gave several. `stimulus_id` (trial) names the true stimulus. For centred-cosine also `target_mean`
        (channel) or (token, channel): the mean of the targets that the decoder was fitted to.
    gallery
        `embedding` of dims (stimulus, channel) or (stimulus, token, channel) of the same model. May be lazy.
    left_out, target
        For lda: decoded embeddings of training trials by decoders that were fitted without them (`cross_predict` with
        `split="train"`, averaged as `decoded` is), with the same dims and variants; and the true embeddings of their
        stimuli, dims as in `gallery`.
    params
        The metric, which variant, and how many showings of a stimulus are averaged; tokens and channels are flattened
        before the metric.
    context
        For the progress bar.

    Returns
    -------
    Dataset following schema ranking.v1
        similarity (trial, stimulus), float, in [-1, 1], or for lda log-likelihoods up to a constant of the trial, which
        `attrs["likelihood"]` = 1 says; rank (trial), int64, of the true stimulus from 1, ties get the worst. The
        coordinates of the trials are kept; `attrs["variant"]` names the variant that was chosen.

    Raises
    ------
    ParameterError
        If a variant has to be chosen, does not exist, or is chosen where there are none; if lda lacks an input, or
        another metric is given one.
    DimensionError
        If a stimulus has fewer showings than are averaged, a left-out stimulus is tested or was in training, or if
        dims, models, or labels of tokens or channels differ, a true stimulus is not in the gallery, `target_mean`
        is wanted and missing or does not fit, or an embedding has no direction (constant for correlation, all 0 for
        cosine, the mean itself for centred-cosine).

    Examples
    --------
    >>> embedding = xr.DataArray(np.eye(3, 4), dims=("stimulus", "channel"))
    >>> gallery = xr.Dataset({"embedding": embedding}, {"stimulus": ["a", "b", "c"]}, {"model": "toy"})
    >>> decoded = gallery.isel(stimulus=[2, 0]).rename(stimulus="stimulus_id").swap_dims(stimulus_id="trial")
    >>> ranking = rank(decoded.assign_coords(trial=[0, 1]), gallery, params=RankParams(), context=brainlens.Context())
    >>> ranking["rank"].values
    array([1, 1])
    """
    decoded = first_showings(brainlens.choose_variant(decoded, params.variant), params.showings)
    check_spaces(decoded, gallery)
    true_column = candidate_columns(decoded, gallery)
    compare = _comparison(decoded, left_out, target, params)
    similarity = _similarity(decoded, gallery, compare, params=params, context=context)
    attrs = {key: decoded.attrs[key] for key in ("model", "subject") if key in decoded.attrs}
    if params.variant:
        attrs["variant"] = params.variant
    if params.showings:
        attrs["showings"] = params.showings
    if params.metric == "lda":
        attrs["likelihood"] = 1
    return xr.Dataset(
        {
            "rank": ("trial", brainlens.rank_of_true(similarity, true_column)),
            "similarity": (("trial", "stimulus"), similarity),
        },
        {**trial_coords(decoded), "stimulus": gallery["stimulus"].values},
        {**attrs, "schema": "ranking.v1", "metric": params.metric},
    )


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosine of every row of one array with every row of another.

    Parameters
    ----------
    a, b
        Shapes (n_a, n_values) and (n_b, n_values); real numbers, no row all 0.

    Returns
    -------
    array
        Shape (n_a, n_b), in [-1, 1]; float64 if an input is, else float32.

    Examples
    --------
    >>> cosine(np.array([[2.0, 0.0]]), np.array([[6.0, 0.0], [0.0, 3.0], [-1.0, 0.0]]))
    array([[ 1.,  0., -1.]])
    """
    dtype = np.result_type(a, b, np.float32)
    return np.clip(_unit(a.astype(dtype)) @ _unit(b.astype(dtype)).T, -1, 1)


def _unit(rows: np.ndarray) -> np.ndarray:
    # Scaling by the largest value first keeps the squares of very large and very small values representable.
    scaled = rows / np.abs(rows).max(axis=1, keepdims=True)
    return scaled / np.linalg.norm(scaled, axis=1, keepdims=True)


def first_showings(decoded: xr.Dataset, n: int) -> xr.Dataset:
    """Average the embeddings of the first trials of each stimulus; 0: leave trials as they are.

    Raises
    ------
    DimensionError
        If a stimulus has fewer.

    Examples
    --------
    >>> embedding = ("trial", "channel"), np.array([[1.0], [5.0], [3.0], [9.0]])
    >>> decoded = xr.Dataset({"embedding": embedding}, {"stimulus_id": ("trial", ["b", "a", "b", "a"])})
    >>> first_showings(decoded, 2)["embedding"].values
    array([[2.],
           [7.]])
    """
    if not n:
        return decoded
    shown = decoded["stimulus_id"].values
    labels, code = np.unique(shown, return_inverse=True)
    order = np.argsort(code, kind="stable")
    first = np.searchsorted(code[order], np.arange(len(labels)))
    number = np.empty(len(shown), np.int64)
    number[order] = np.arange(len(shown)) - first[code[order]]
    few = labels[np.bincount(code) < n]
    if few.size:
        raise brainlens.DimensionError(
            f"showings: expected at least {n} trials of every stimulus, found fewer of {few.size} of {len(labels)}: "
            f"{brainlens.listed(few)}. Average fewer, or drop these trials."
        )
    return brainlens.average_trials(decoded.isel(trial=np.flatnonzero(number < n)))


def _comparison(
    decoded: xr.Dataset, left_out: xr.Dataset | None, target: xr.Dataset | None, params: RankParams
) -> Compare:
    """Return what compares rows of decoded embeddings with rows of candidates."""
    given = [name for name, each in (("left_out", left_out), ("target", target)) if each is not None]
    if params.metric != "lda":
        if given:
            raise brainlens.ParameterError(
                f"{given[0]}: expected it with metric='lda' alone, found metric={params.metric!r}. Leave it out."
            )
        return brainlens.correlate if params.metric == "correlation" else cosine
    if left_out is None or target is None:
        raise brainlens.ParameterError(
            f"metric 'lda': expected 'left_out' and 'target', found {', '.join(map(repr, given)) or 'neither'}. Decode "
            "the training trials with cross_predict(..., split='train'), and give the embeddings it was fitted to."
        )
    left_out = brainlens.choose_variant(left_out, params.variant, name="left_out")
    check_spaces(left_out, target, names=("left_out", "target"))
    check_spaces(decoded, target, names=("decoded", "target"))
    pairs = training_pairs(left_out, target, tested=decoded["stimulus_id"].values)
    return error_rule(*pairs).log_likelihood


def _similarity(
    decoded: xr.Dataset, gallery: xr.Dataset, compare: Compare, *, params: RankParams, context: brainlens.Context
) -> np.ndarray:
    """Fill the similarities, shape (n_trials, n_stimuli), a block of the gallery at a time."""
    # Any embedding has a likelihood, also one without a direction.
    space = None if params.metric == "lda" else make_space(decoded, params.metric)
    rows = _rows(decoded, "trial", space, name="decoded")
    n_stimuli = gallery.sizes["stimulus"]
    step = max(1, BLOCK_BYTES // (rows.shape[1] * 8))
    blocks = []
    for start in context.progress(range(0, n_stimuli, step), label="comparing with the gallery"):
        part = gallery.isel(stimulus=slice(start, start + step))
        blocks.append(compare(rows, _rows(part, "stimulus", space, name="gallery")))
    return np.concatenate(blocks, axis=1)


def _rows(dataset: xr.Dataset, dim: str, space: Space | None, *, name: str) -> np.ndarray:
    """Read embeddings as rows, shape (n, tokens x channels), off the centre; refuse those that point nowhere."""
    rows = dataset["embedding"].values.reshape(dataset.sizes[dim], -1)
    if space is None:
        return rows
    refuse_without_direction(rows, space, dataset[dim].values, dim=dim, where=name)
    if space.centre is not None:
        # The mean is stored as precisely as the embeddings are.
        rows = np.subtract(rows, space.centre, dtype=np.result_type(rows, np.float32), casting="same_kind")
    return rows


def check_spaces(decoded: xr.Dataset, gallery: xr.Dataset, names: tuple[str, str] = ("decoded", "gallery")) -> None:
    """Refuse embeddings of different spaces.

    Raises
    ------
    DimensionError
        If dims, models, or labels of tokens or channels differ.
    """
    ours, theirs = names
    for dataset, name, first in ((decoded, ours, "trial"), (gallery, theirs, "stimulus")):
        dims = dataset["embedding"].dims
        if dims not in ((first, "channel"), (first, "token", "channel")):
            raise brainlens.DimensionError(
                f"{name}: expected dims ({first}, channel) or ({first}, token, channel) of 'embedding', "
                f"found ({', '.join(map(str, dims))}). Select, or give the other dataset."
            )
    models = decoded.attrs.get("model"), gallery.attrs.get("model")
    if models[0] != models[1]:
        raise brainlens.DimensionError(
            f"attrs/model: expected {ours} and {theirs} of one model, found {models[0]!r} and {models[1]!r}. "
            "Give embeddings of the model that the decoder was fitted to."
        )
    if decoded["embedding"].dims[1:] != gallery["embedding"].dims[1:]:
        raise brainlens.DimensionError(
            f"embedding: expected the same dims after the first, found {decoded['embedding'].dims!r} in {ours} "
            f"and {gallery['embedding'].dims!r} in {theirs}. Select or flatten the same tokens in both."
        )
    for dim in map(str, decoded["embedding"].dims[1:]):
        _check_labels(decoded, gallery, dim, names)


def _check_labels(decoded: xr.Dataset, gallery: xr.Dataset, dim: str, names: tuple[str, str]) -> None:
    ours, theirs = _labels(decoded, dim), _labels(gallery, dim)
    if len(ours) != len(theirs):
        raise brainlens.DimensionError(
            f"{dim}: expected as many in {names[0]} and {names[1]}, found {len(ours)} and {len(theirs)}. "
            f"Select the same {dim}s in both."
        )
    differ = [position for position, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1]]
    if differ:
        at = differ[0]
        raise brainlens.DimensionError(
            f"coords/{dim}: expected the same labels in the same order in {names[0]} and {names[1]}, found "
            f"{len(differ)} that differ, first at {at}: {ours[at]!r} and {theirs[at]!r}. Reorder one with "
            f".sel({dim}=...)."
        )


def _labels(dataset: xr.Dataset, dim: str) -> list[object]:
    """Return the labels of a dim; its positions where it has none."""
    return dataset[dim].values.tolist()


def candidate_columns(decoded: xr.Dataset, gallery: xr.Dataset, *, name: str = "gallery") -> np.ndarray:
    """Return the position in the gallery of each trial's stimulus; shape (n_trials,), int64.

    Raises
    ------
    DimensionError
        If one is not there.
    """
    shown = decoded["stimulus_id"].values.tolist()
    candidates = gallery["stimulus"].values.tolist()
    position = {label: column for column, label in enumerate(candidates)}
    missing = sorted({label for label in shown if label not in position}, key=str)
    if missing:
        raise brainlens.DimensionError(
            f"{name}: expected every stimulus of the {len(shown)} trials among its {len(candidates)}, found "
            f"{len(missing)} missing: {brainlens.listed(missing)}; the {name} has {brainlens.listed(candidates)}. "
            f"Add them to the {name}, or drop these trials."
        )
    return np.array([position[label] for label in shown], dtype=np.int64)


def trial_coords(decoded: xr.Dataset) -> dict[str, xr.Variable]:
    """Return what is known of trials."""
    return {str(name): coord.variable for name, coord in decoded.coords.items() if coord.dims == ("trial",)}
