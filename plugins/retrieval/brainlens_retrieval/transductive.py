"""Rankings that are corrected by the other test trials: no decoder's merit, and named for what they are.

Candidates that are close to many trials (hubs) are pushed back. That needs all trials of the test at once, which a
decoder does not have when it meets the next one.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_retrieval.columns import true_columns
from brainlens_retrieval.params import TransductiveParams


def correct(ranking: xr.Dataset, *, params: TransductiveParams, context: brainlens.Context) -> xr.Dataset:
    """Correct similarities by what they are for the other trials, and rank again.

    Parameters
    ----------
    ranking
        Follows schema ranking.v1.
    params
        Method, and its numbers.
    context
        Not used.

    Returns
    -------
    Dataset following schema ranking.v1
        The same labels; `attrs["metric"]` begins with "transductive".

    Raises
    ------
    ParameterError
        If there are fewer trials or candidates than neighbours.
    DimensionError
        If the ranking was corrected before, or a true stimulus is no candidate.

    References
    ----------
    csls: Conneau et al. (2018), arXiv:1710.04087. query-softmax: the inverted softmax of Smith et al. (2017),
    arXiv:1702.03859.

    Examples
    --------
    >>> similarity = xr.DataArray([[0.75, 0.8], [0.1, 0.9]], dims=("trial", "stimulus"))
    >>> labels = {"trial": [0, 1], "stimulus_id": ("trial", ["a", "b"]), "stimulus": ["a", "b"]}
    >>> ranking = xr.Dataset({"similarity": similarity, "rank": ("trial", [2, 1])}, labels, {"metric": "cosine"})
    >>> params = TransductiveParams(n_neighbours=1)
    >>> correct(ranking, params=params, context=brainlens.Context())["rank"].values
    array([1, 1])
    """
    before = str(ranking.attrs["metric"])
    if before.startswith("transductive"):
        raise brainlens.DimensionError(
            f"ranking: expected similarities that know nothing of other trials, found {before!r}. Give the ranking "
            "before that."
        )
    own = true_columns(ranking)
    similarity = ranking["similarity"].values.astype(np.float64)
    if params.method == "csls":
        values = csls(similarity, n_neighbours=_possible(params.n_neighbours, similarity.shape))
    else:
        values = query_softmax(similarity, temperature=params.temperature)
    corrected = ranking.assign(
        similarity=(ranking["similarity"].dims, values), rank=("trial", brainlens.rank_of_true(values, own))
    )
    kept = {key: value for key, value in ranking.attrs.items() if key != "likelihood"}
    corrected.attrs = kept | {"metric": f"transductive {params.method} of {before}"}
    return corrected


def csls(similarity: np.ndarray, *, n_neighbours: int) -> np.ndarray:
    """Return twice the similarity less the mean of the nearest candidates of a trial and nearest trials of a candidate.

    Parameters
    ----------
    similarity
        Shape (n_trials, n_candidates).
    n_neighbours
        Nearest on either side.

    Examples
    --------
    >>> csls(np.array([[0.5, 0.75], [0.25, 0.75]]), n_neighbours=1)
    array([[-0.25,  0.  ],
           [-0.75,  0.  ]])
    """
    of_trial = np.partition(similarity, -n_neighbours, axis=1)[:, -n_neighbours:].mean(axis=1)
    of_candidate = np.partition(similarity, -n_neighbours, axis=0)[-n_neighbours:].mean(axis=0)
    return np.asarray(2 * similarity - of_trial[:, None] - of_candidate)


def query_softmax(similarity: np.ndarray, *, temperature: float) -> np.ndarray:
    """Return the logarithm of each trial's share in a candidate.

    Parameters
    ----------
    similarity
        Shape (n_trials, n_candidates).
    temperature
        What similarities are divided by.

    Examples
    --------
    >>> np.exp(query_softmax(np.zeros((4, 2)), temperature=1.0))[0]
    array([0.25, 0.25])
    """
    scaled = similarity / temperature
    highest = scaled.max(axis=0)
    return np.asarray(scaled - highest - np.log(np.exp(scaled - highest).sum(axis=0)))


def _possible(n_neighbours: int, shape: tuple[int, ...]) -> int:
    if n_neighbours > min(shape):
        raise brainlens.ParameterError(
            f"n_neighbours: expected at most the {min(shape)} there are of {shape[0]} trials and {shape[1]} "
            f"candidates, found {n_neighbours}. Choose fewer."
        )
    return n_neighbours
