"""The analysis `encoding.score`: maps of how well predicted responses match measured ones."""

from __future__ import annotations

import numpy as np
import scipy.stats
import torch
import xarray as xr

import brainlens
from brainlens_encoding import compare
from brainlens_encoding.params import ScoreParams

MEANINGS = {
    "correlation": "Pearson correlation over stimuli",
    "r2": "1 - squared error / variance of the measured means, in their unit",
    "noise_ceiling": "share of that variance which is signal",
    "share_of_ceiling": "signed square of the correlation / noise ceiling",
    "p_value": "one-sided, of the correlation, stimuli shuffled",
    "q_value": "p-value after Benjamini and Hochberg over all sites",
}


def score(
    *, predicted: xr.Dataset, measured: xr.Dataset, params: ScoreParams, context: brainlens.Context
) -> xr.Dataset:
    """Compare predicted with measured responses in each site.

    Showings of a stimulus are averaged first; stimuli are joined by `stimulus_id`, sites by their labels.

    Parameters
    ----------
    predicted
        What an encoder predicts: response.v1 with `in_training` (trial).
    measured
        Responses to those stimuli, single trials, so that the noise ceiling can be told from repetitions; where there
        are none, `ncsnr` (voxel) is taken.
    params
        Which trials, how many permutations.
    context
        Seed, device, progress.

    Returns
    -------
    Dataset
        stat_map.v1: `map` (map_name, voxel), float32, no unit. Maps: correlation, r2, noise_ceiling (share of the
        variance of the means over showings), share_of_ceiling (signed squared correlation / noise ceiling), p_value and
        q_value. Not a number where it is not known: predictions or responses that are constant, no repetitions, no
        permutations, a ceiling of 0. `roi_mask` (roi, voxel) where the predictions have ROIs. `attrs` hold n_stimuli,
        n_in_training, n_permutations.

    Raises
    ------
    DimensionError
        As `compare.pair`.
    """
    pairs = compare.pair(predicted, measured, params)
    n_sites = pairs.measured.sizes[pairs.site]
    maps = {name: np.full(n_sites, np.nan, np.float32) for name in MEANINGS}
    showings = np.bincount(pairs.measured_code)
    orders = compare.draw_orders(context, params.n_permutations, len(pairs.stimuli))
    for block in context.progress(
        compare.blocks(pairs, memory_mb=params.memory_mb, device=context.device), label="scoring"
    ):
        sums = compare.sums_of(block)
        found = compare.correlation(sums)
        maps["correlation"][block.sites] = found.cpu().numpy()
        maps["r2"][block.sites] = compare.r_squared(sums).cpu().numpy()
        maps["noise_ceiling"][block.sites] = compare.ceiling_of(pairs, block, sums, showings).cpu().numpy()
        if params.n_permutations:
            reached = torch.zeros_like(found)
            for shuffled in compare.shuffled_sums(block, orders):
                reached += compare.correlation(shuffled) >= found
            p_value = (1 + reached) / (1 + len(orders))
            maps["p_value"][block.sites] = torch.where(found.isnan(), torch.nan, p_value).cpu().numpy()
    explained = np.sign(maps["correlation"]) * maps["correlation"] ** 2
    np.divide(explained, maps["noise_ceiling"], out=maps["share_of_ceiling"], where=maps["noise_ceiling"] > 0)
    known = ~np.isnan(maps["p_value"])
    if known.any():
        maps["q_value"][known] = scipy.stats.false_discovery_control(maps["p_value"][known].astype(np.float64))
    return as_maps(pairs, maps, MEANINGS, n_permutations=params.n_permutations)


def as_maps(pairs: compare.Pairs, maps: dict[str, np.ndarray], meanings: dict[str, str], **attrs: object) -> xr.Dataset:
    """Return named maps over the sites, with their ROIs, as stat_map.v1."""
    coords = {
        **compare.site_labels(pairs),
        "map_name": list(maps),
        "meaning": ("map_name", [meanings[name] for name in maps]),
    }
    values = np.stack(list(maps.values())).astype(np.float32)
    placed = {**compare.place_attrs(pairs), **attrs, "schema": "stat_map.v1", "units": "1"}
    made = xr.Dataset({"map": (("map_name", pairs.site), values)}, coords, placed)
    return made.assign(roi_mask=pairs.predicted["roi_mask"]) if "roi_mask" in pairs.predicted else made
