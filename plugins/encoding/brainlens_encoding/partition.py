"""The analysis `encoding.partition`: the variance that feature spaces explain alone, and what they share.

It compares predictions of several fits, so nothing is fitted here: cross-predict, or predict held-out stimuli, from
each set of spaces that is needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

import brainlens
from brainlens_encoding import compare
from brainlens_encoding.params import PartitionParams
from brainlens_encoding.score import as_maps


def partition(
    *, predicted: list[xr.Dataset], measured: xr.Dataset, params: PartitionParams, context: brainlens.Context
) -> xr.Dataset:
    """Partition the R2 of all feature spaces together by fits with and without each.

    Parameters
    ----------
    predicted
        Predictions from all spaces together and from all but each one; with two spaces these are the three sets of
        them. `attrs["features"]` names the spaces that each was predicted from.
    measured, params, context
        As in `score`.

    Returns
    -------
    Dataset
        stat_map.v1: `map` (map_name, voxel), float32, no unit: `r2 A + B` for each set that was given, `unique A` for
        each space, the R2 of all minus that without A, and `shared`, the R2 of all minus the unique parts: what no
        single space can be left out of without losing. Parts can be below 0: they are differences of held-out scores.

    Raises
    ------
    ParameterError
        If a set is missing, or given twice.
    DimensionError
        As `compare.pair`; if the predictions do not have the same sites.

    References
    ----------
    Lescroart, Stansbury & Gallant (2015), doi:10.3389/fncom.2015.00135.
    """
    sets = _by_spaces(predicted)
    everything = max(sets, key=len)
    pairs = {spaces: compare.pair(each, measured, params) for spaces, each in sets.items()}
    first = pairs[everything]
    _refuse_apart(pairs, first)
    scores = {spaces: np.full(first.measured.sizes[first.site], np.nan) for spaces in sets}
    for spaces, each in context.progress(pairs.items(), label="scoring"):
        for block in compare.blocks(each, memory_mb=params.memory_mb, device=context.device):
            scores[spaces][block.sites] = compare.r_squared(compare.sums_of(block)).cpu().numpy()
    maps = {f"r2 {_words(spaces)}": values for spaces, values in scores.items()}
    unique = {
        space: scores[everything] - scores[tuple(other for other in everything if other != space)]
        for space in everything
    }
    maps |= {f"unique {space}": values for space, values in unique.items()}
    maps["shared"] = scores[everything] - np.sum(list(unique.values()), axis=0)
    meanings = {name: _meaning(name) for name in maps}
    return as_maps(first, maps, meanings)


def _by_spaces(predicted: Sequence[xr.Dataset]) -> dict[tuple[str, ...], xr.Dataset]:
    """Return the predictions by the spaces that they are from, sorted; refuse sets that are missing."""
    sets: dict[tuple[str, ...], xr.Dataset] = {}
    for each in predicted:
        if "features" not in each.attrs:
            raise brainlens.ParameterError(
                "predicted: expected responses that an encoder predicted, found some without attrs['features']."
            )
        spaces = tuple(sorted(space["model"] for space in json.loads(each.attrs["features"])))
        if spaces in sets:
            raise brainlens.ParameterError(
                f"predicted: expected each set of feature spaces once, found {_words(spaces)!r} twice. Leave one out."
            )
        sets[spaces] = each
    everything = tuple(sorted({space for spaces in sets for space in spaces}))
    wanted = [everything, *(tuple(other for other in everything if other != space) for space in everything)]
    missing = [_words(spaces) for spaces in wanted if spaces not in sets]
    if len(everything) < 2 or missing:
        raise brainlens.ParameterError(
            f"predicted: expected predictions from all of at least 2 feature spaces and from all but each, found "
            f"{brainlens.listed([_words(spaces) for spaces in sets])}. Missing: "
            f"{brainlens.listed(missing) if len(everything) > 1 else 'a second space'}."
        )
    return sets


def _refuse_apart(pairs: Mapping[tuple[str, ...], compare.Pairs], first: compare.Pairs) -> None:
    for spaces, each in pairs.items():
        labels = each.predicted[each.site].values if each.site == first.site else np.empty(0)
        if not np.array_equal(labels, first.predicted[first.site].values):
            raise brainlens.DimensionError(
                f"predicted from {_words(spaces)!r}: expected the same {first.site}s in the same order in all "
                "predictions, found others. Fit all encoders to the same response and ROI."
            )


def _words(spaces: Sequence[str]) -> str:
    return " + ".join(spaces)


def _meaning(name: str) -> str:
    if name.startswith("r2 "):
        return f"R2 of predictions from {name[3:]}"
    return (
        "R2 that only this space adds to the others" if name.startswith("unique ") else "R2 of all minus unique parts"
    )
