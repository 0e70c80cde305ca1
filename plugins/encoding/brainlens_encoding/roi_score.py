"""The analysis `encoding.roi_score`: how well whole ROIs are predicted, with interval, chance and p-value."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

import brainlens
from brainlens_encoding import compare
from brainlens_encoding.params import RoiScoreParams

METRICS = ("correlation", "r2", "noise_ceiling")
EVERYWHERE = "all sites"
RESAMPLES = 16


def roi_score(
    *, predicted: xr.Dataset, measured: xr.Dataset, params: RoiScoreParams, context: brainlens.Context
) -> xr.Dataset:
    """Average the scores of the sites of each ROI.

    Parameters
    ----------
    predicted, measured, context
        As in `score`.
    params
        Which trials, how many permutations and resamples.

    Returns
    -------
    Dataset
        score.v1: `score`, `chance`, `ci_low`, `ci_high`, `p_value` (metric, roi), float64, and `n` (metric, roi), the
        number of sites whose score is known. Metrics: correlation, r2 and noise_ceiling, means over sites. Intervals
        at 95 % from resampling stimuli; p-values of the mean correlation and R2 from shuffling stimuli, not a number
        for the ceiling and without permutations. ROIs: those of the prediction, and all sites. ROIs without a site that
        has a score are left out; `attrs["dropped_rois"]` names them.

    Raises
    ------
    DimensionError
        As `compare.pair`; if no site has a score.
    """
    pairs = compare.pair(predicted, measured, params)
    names, mask = _rois(pairs.predicted, pairs.site)
    orders = compare.draw_orders(context, params.n_permutations, len(pairs.stimuli))
    n_stimuli, showings = len(pairs.stimuli), np.bincount(pairs.measured_code)
    drawn = _draw(context, params.n_resamples, n_stimuli)
    sizes = {"score": 1, "null": len(orders), "drawn": len(drawn)}
    sums = {what: np.zeros((len(METRICS), size, len(names))) for what, size in sizes.items()}
    counts = np.zeros((len(METRICS), len(names)), np.int64)
    for block in context.progress(
        compare.blocks(pairs, memory_mb=params.memory_mb, device=context.device), label="scoring ROIs"
    ):
        inside = mask[:, block.sites].T.astype(np.float64)
        values = _scores(pairs, compare.sums_of(block), block, showings)
        known = ~np.isnan(values)
        counts += (known @ inside).astype(np.int64)
        sums["score"][:, 0] += np.nan_to_num(values) @ inside
        for number, shuffled in enumerate(compare.shuffled_sums(block, orders)):
            found = _scores(pairs, shuffled, block, showings)[:2]
            sums["null"][:2, number] += np.where(known[:2], np.nan_to_num(found), 0) @ inside
        # Some resamples at a time: each takes as much room as the scores of all sites.
        for start in range(0, len(drawn), RESAMPLES):
            rows = slice(start, start + RESAMPLES)
            found = _scores(pairs, compare.drawn_sums(block, drawn[rows]), block, showings)
            sums["drawn"][:, rows] += np.where(known[:, None], np.nan_to_num(found), 0) @ inside
    if not counts[0].any():
        raise brainlens.DimensionError(
            "predicted: expected a site whose prediction varies over stimuli, found none. Check the encoder's features."
        )
    return _as_scores(pairs, names, sums, counts, params)


def _scores(pairs: compare.Pairs, sums: compare.Sums, block: compare.Block, showings: np.ndarray) -> np.ndarray:
    """Return the metrics of each site; first dim metric, last dim site; float64."""
    ceiling = compare.ceiling_of(pairs, block, sums, showings)
    return torch.stack([compare.correlation(sums), compare.r_squared(sums), ceiling]).cpu().numpy()


def _draw(context: brainlens.Context, n_resamples: int, n_stimuli: int) -> torch.Tensor:
    """Return how often each stimulus is drawn in each resample; dims (n_resamples, n_stimuli); float64."""
    drawn = context.rng(1).multinomial(n_stimuli, np.full(n_stimuli, 1 / n_stimuli), size=n_resamples)
    return torch.from_numpy(drawn.astype(np.float64)).to(context.device)


def _rois(predicted: xr.Dataset, site: str) -> tuple[list[str], np.ndarray]:
    everywhere = np.ones((1, predicted.sizes[site]), bool)
    if "roi_mask" not in predicted:
        return [EVERYWHERE], everywhere
    names = [str(name) for name in predicted["roi"].values]
    return [EVERYWHERE, *names], np.concatenate([everywhere, predicted["roi_mask"].transpose("roi", site).values])


def _as_scores(
    pairs: compare.Pairs,
    names: list[str],
    sums: dict[str, np.ndarray],
    counts: np.ndarray,
    params: RoiScoreParams,
) -> xr.Dataset:
    kept = np.flatnonzero(counts[0] > 0)
    metrics = [number for number in range(len(METRICS)) if (counts[number, kept] > 0).all()]
    n = counts[np.ix_(metrics, kept)]
    means = {what: each[metrics][:, :, kept] / n[:, None] for what, each in sums.items()}
    score = means["score"][:, 0]
    low, high = np.quantile(means["drawn"], [0.025, 0.975], axis=1)
    p_value = (1 + (means["null"] >= score[:, None]).sum(axis=1)) / (1 + params.n_permutations)
    tested = np.array([METRICS[number] != "noise_ceiling" for number in metrics])[:, None] & (params.n_permutations > 0)
    chance = np.where(tested, means["null"].mean(axis=1), 0.0) if params.n_permutations else np.zeros_like(score)
    dims = ("metric", "roi")
    return xr.Dataset(
        {
            "score": (dims, score),
            "chance": (dims, chance),
            "ci_low": (dims, low),
            "ci_high": (dims, high),
            "p_value": (dims, np.where(tested, p_value, np.nan)),
            "n": (dims, n),
        },
        {"metric": [METRICS[number] for number in metrics], "roi": [names[number] for number in kept]},
        {
            **compare.place_attrs(pairs), "schema": "score.v1", "n_permutations": params.n_permutations,
            "n_resamples": params.n_resamples,
            "dropped_rois": [name for number, name in enumerate(names) if number not in kept],
        },
    )  # fmt: skip
