"""Which candidate is the true one of each trial, and what all analyses of rankings ask of them."""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens


def true_columns(ranking: xr.Dataset) -> np.ndarray:
    """Return the position among the candidates of each trial's stimulus.

    Parameters
    ----------
    ranking
        Follows schema ranking.v1.

    Returns
    -------
    array
        Shape (n_trials,), int64.

    Raises
    ------
    DimensionError
        If a stimulus is no candidate.

    Examples
    --------
    >>> true_columns(xr.Dataset(coords={"stimulus": ["a", "b"], "stimulus_id": ("trial", ["b", "b"])}))
    array([1, 1])
    """
    position = {label: column for column, label in enumerate(ranking["stimulus"].values.tolist())}
    shown = ranking["stimulus_id"].values.tolist()
    missing = sorted({label for label in shown if label not in position}, key=str)
    if missing:
        raise brainlens.DimensionError(
            f"ranking: expected every stimulus_id among its {len(position)} candidates, found {len(missing)} missing: "
            f"{brainlens.listed(missing)}. Compute the ranking with retrieval.rank."
        )
    return np.array([position[label] for label in shown], dtype=np.int64)


def refuse_other_dims(dataset: xr.Dataset, name: str) -> None:
    """Refuse embeddings that are not those of stimuli.

    Raises
    ------
    DimensionError
        If the dims are not (stimulus, channel) or (stimulus, token, channel).
    """
    dims = dataset["embedding"].dims
    if dims not in (("stimulus", "channel"), ("stimulus", "token", "channel")):
        raise brainlens.DimensionError(
            f"{name}: expected dims (stimulus, channel) or (stimulus, token, channel) of 'embedding', found "
            f"({', '.join(map(str, dims))}). Give embeddings of stimuli."
        )


def fitting_top_k(params: brainlens.Params, n_candidates: int) -> tuple[int, ...]:
    """Return the numbers k that are asked for; of those that nobody named, the ones that not every ranking reaches.

    Examples
    --------
    >>> from brainlens_retrieval.params import ScoreParams
    >>> fitting_top_k(ScoreParams(), 4), fitting_top_k(ScoreParams(top_k=(5,)), 4)
    ((1,), (5,))
    """
    top_k: tuple[int, ...] = params.top_k  # type: ignore[attr-defined]
    return top_k if "top_k" in params.model_fields_set else tuple(k for k in top_k if k < n_candidates)


def refuse_top_k(top_k: tuple[int, ...], n_candidates: int, *, among: str = "candidates") -> None:
    """Refuse numbers that every ranking reaches, and numbers given twice.

    Raises
    ------
    ParameterError
        Naming the first.
    """
    too_large = [k for k in top_k if k >= n_candidates]
    if too_large:
        raise brainlens.ParameterError(
            f"top_k: expected numbers under the {n_candidates} {among}, found {too_large[0]}, which every ranking "
            "reaches. Leave it out, or give a larger gallery."
        )
    if len(set(top_k)) < len(top_k):
        raise brainlens.ParameterError(f"top_k: expected each number once, found {top_k!r}.")


def scored_attrs(ranking: xr.Dataset, context: brainlens.Context, *, component: str) -> dict[str, object]:
    """Return attributes of scores; say so where trials were among those the decoder was fitted to."""
    attrs: dict[str, object] = {key: ranking.attrs[key] for key in ("model", "subject") if key in ranking.attrs}
    attrs |= {"schema": "score.v1", "similarity": ranking.attrs["metric"]}
    if "in_training" in ranking.coords:
        n_inside = int(ranking["in_training"].values.sum())
        attrs["n_in_training"] = n_inside
        if n_inside:
            context.log.warning(
                "%s: %d of %d trials were in the training of their decoder; their scores are too good.",
                component, n_inside, ranking.sizes["trial"],
            )  # fmt: skip
    return attrs
