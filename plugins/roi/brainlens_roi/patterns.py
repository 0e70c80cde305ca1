"""The analysis `roi.patterns`: response patterns that are active where one says, in the unit of the response."""

from __future__ import annotations

import re

import numpy as np
import xarray as xr

import brainlens
from brainlens_roi.params import PatternParams
from brainlens_roi.sets import own_rois, unquoted

_WEIGHTED = re.compile(r"\s*([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)\s+(.+)")


def make_patterns(
    *, response: xr.Dataset, maps: xr.Dataset | None, params: PatternParams, context: brainlens.Context
) -> xr.Dataset:
    """Make up patterns that are active in chosen ROIs, or like given maps.

    Parameters
    ----------
    response
        Responses (response.v1), dims (trial, voxel) or (trial, vertex), with `roi_mask`; mean and SD of every site are
        those of its training trials.
    maps
        Maps (stat_map.v1) of the same sites, dims (map_name, voxel), or (voxel,), or the same of vertices: one more
        pattern for each, which is the map divided by its root mean square over sites that are not 0, times `level`.
        NaN counts as 0.
    params
        Which patterns, of which form; see `PatternParams`.
    context
        Not used.

    Returns
    -------
    Dataset (roi_pattern.v1)
        `pattern` (roi, voxel), float32, in the unit of the response, where `roi` is the text that asked for it or the
        name of the map; `z` of the same dims, in SDs from the training mean; `training_mean` and `training_std`
        (voxel); `roi_mask`, which sites take part, and `n_sites` (roi), how many.

    Raises
    ------
    DimensionError
        If an ROI does not exist or has no site, there are no training trials, sites of a contrast are on both sides,
        a site that is used does not vary, there is no `ncsnr` for 'ceiling', or maps are of other sites.
    ParameterError
        If a contrast or mixture cannot be read, or nothing is asked for.

    References
    ----------
    Ozcelik & VanRullen (2023): 1 inside an ROI and 0 outside, in z-scores. 'natural' is the regression of every site on
    the ROI's mean over training stimuli, so what is usual together stays together.

    Examples
    --------
    >>> values = np.random.default_rng(0).standard_normal((20, 4)).astype("float32")
    >>> coords = {"trial": np.arange(20), "voxel": np.arange(4), "roi": ["V1", "FFA"]}
    >>> coords["stimulus_id"] = "trial", np.arange(20)
    >>> mask = ("roi", "voxel"), [[True, True, False, False], [False, False, True, True]]
    >>> response = xr.Dataset({"response": (("trial", "voxel"), values), "roi_mask": mask}, coords, {"units": "%"})
    >>> params = PatternParams(patterns=("FFA > V1",), train="")
    >>> made = make_patterns(response=response, maps=None, params=params, context=brainlens.Context())
    >>> made["z"].values.tolist()
    [[-1.0, -1.0, 1.0, 1.0]]
    """
    site = next(dim for dim in ("voxel", "vertex") if dim in response.dims)
    training = _training(response, params)
    mean, std = training.mean(axis=0), training.std(axis=0)
    wanted = list(params.patterns) or ([] if maps is not None else list(own_rois(response)))
    repeated = sorted({text for text in wanted if wanted.count(text) > 1})
    if repeated:
        raise brainlens.ParameterError(f"patterns: expected each once, found {repeated[0]!r} twice. Leave one out.")
    weights = {unquoted(text): read_weights(response, text, site) for text in wanted}
    with np.errstate(divide="ignore", invalid="ignore"):
        standard = np.where(std > 0, (training - mean) / std, 0.0)
    z = {text: _shape(each, standard, response, params) for text, each in weights.items()}
    if maps is not None:
        for name, values in _read_maps(maps, response, site).items():
            if name in z:
                raise brainlens.ParameterError(f"maps: expected other names than the patterns', found {name!r}.")
            weights[name] = values
            z[name] = params.level * values / np.sqrt(np.mean(values[values != 0] ** 2))
    if not z:
        raise brainlens.ParameterError(
            "patterns: expected at least one, found none, and the response has no ROIs. Name ROIs, or give maps."
        )
    values, masks = np.stack(list(z.values())), np.stack([each != 0 for each in weights.values()])
    stuck = (masks & (std == 0)).any(axis=0)
    if stuck.any():
        labels = response[site].values[stuck].tolist()
        raise brainlens.DimensionError(
            f"response: expected sites that vary over the training trials, found {len(labels)} in the patterns that do "
            f"not: {brainlens.listed(labels)}. Leave them out of the ROI."
        )
    coords = {name: coord.variable for name, coord in response.coords.items() if coord.dims == (site,)}
    kept = ("subject", "units", "space", "affine", "volume_shape")
    attrs = {key: response.attrs[key] for key in kept if key in response.attrs}
    dims = ("roi", site)
    return xr.Dataset(
        {
            "pattern": (dims, (mean + std * values).astype(np.float32)),
            "z": (dims, values.astype(np.float32)),
            "roi_mask": (dims, masks),
            "training_mean": (site, mean.astype(np.float32)),
            "training_std": (site, std.astype(np.float32)),
        },
        {"roi": list(z), **coords, "n_sites": ("roi", masks.sum(axis=1))},
        {**attrs, "schema": "roi_pattern.v1", "form": params.form, "level": params.level},
    )


def read_weights(response: xr.Dataset, text: str, site: str) -> np.ndarray:
    """Return how active each site is meant to be, (site,), float64: 1 in an ROI, -1 in what it is contrasted with.

    Parameters
    ----------
    response
        With `roi_mask`.
    text
        An expression, a contrast of two by `>`, or weighted expressions joined by `;`.
    site
        `"voxel"` or `"vertex"`.

    Raises
    ------
    DimensionError
        If an ROI does not exist or has no site, or sites are on both sides of a contrast.
    ParameterError
        If it cannot be read.
    """
    if ">" in text:
        if text.count(">") > 1 or ";" in text:
            raise brainlens.ParameterError(f"pattern {text!r}: expected one '>' between two expressions.")
        left, right = (_members(response, part, site, text) for part in text.split(">"))
        both = response[site].values[left & right].tolist()
        if both:
            raise brainlens.DimensionError(
                f"pattern {text!r}: expected ROIs that do not overlap, found {len(both)} {site}s in both: "
                f"{brainlens.listed(both)}. Take the overlap off one side, as in 'A - B > B'."
            )
        return left.astype(np.float64) - right
    if ";" not in text:
        return _members(response, text, site, text).astype(np.float64)
    found = np.zeros(response.sizes[site])
    for part in text.split(";"):
        match = _WEIGHTED.fullmatch(part)
        if match is None:
            raise brainlens.ParameterError(
                f"pattern {text!r}: expected a number and an ROI expression between semicolons, such as '0.7 FFA ; 0.3 "
                f"PPA', found {part.strip()!r}."
            )
        found += float(match[1]) * _members(response, match[2], site, text)
    return found


def _members(response: xr.Dataset, expression: str, site: str, text: str) -> np.ndarray:
    """Return which sites an expression names, (site,), bool."""
    masks = response.drop_vars([name for name in response.data_vars if name != "roi_mask"])
    chosen = brainlens.select_roi(masks, expression.strip())[site].values
    if not len(chosen):
        raise brainlens.DimensionError(
            f"pattern {text!r}: expected an ROI with sites, found none in {expression.strip()!r}. See registry.rois."
        )
    return np.isin(response[site].values, chosen)


def _training(response: xr.Dataset, params: PatternParams) -> np.ndarray:
    """Return training responses, (trial or stimulus, site), float64."""
    if params.train:
        if "split" not in response.coords:
            raise brainlens.DimensionError(
                f"response: expected a coordinate 'split' with {params.train!r}, found none. Assign it with "
                "brainlens.split_trials, or set train=''."
            )
        rows = np.flatnonzero(response["split"].values == params.train)
        response = response.isel(trial=rows)
    if response.sizes["trial"] < 2:
        raise brainlens.DimensionError(
            f"response: expected at least 2 trials of split {params.train!r}, found {response.sizes['trial']}."
        )
    if params.average:
        response = brainlens.average_trials(response[["response"]])
    return np.asarray(response["response"].values, dtype=np.float64)


def _shape(weights: np.ndarray, standard: np.ndarray, response: xr.Dataset, params: PatternParams) -> np.ndarray:
    """Return a pattern in SDs from the training mean, (site,)."""
    if params.form == "natural":
        # The mean of what is active minus that of what is not, for every training stimulus.
        along = sum(_mean_of(standard, weights * sign > 0, weights) * sign for sign in (1, -1))
        return params.level * (standard.T @ along) / (along @ along)
    if params.form == "ceiling":
        if "ncsnr" not in response.coords:
            raise brainlens.DimensionError(
                "response: expected a coordinate 'ncsnr' of its sites for form='ceiling', found none. Choose another "
                "form, or a response whose noise ceiling is known."
            )
        snr = np.nan_to_num(response["ncsnr"].values.astype(np.float64))
        root = np.sqrt(snr**2 / (snr**2 + 1))
        inside = weights != 0
        if not root[inside].any():
            raise brainlens.DimensionError(
                "response: expected sites with a noise ceiling over 0 in the pattern, found none. Choose another form."
            )
        return params.level * weights * root / root[inside].mean()
    if params.form == "norm":
        length = np.linalg.norm(standard, axis=1).mean()
        return params.level * weights * length / np.linalg.norm(weights)
    return params.level * weights


def _mean_of(standard: np.ndarray, chosen: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean over chosen sites of each row; 0 where none is chosen; (row,)."""
    if not chosen.any():
        return np.zeros(len(standard))
    share = np.abs(weights[chosen])
    found: np.ndarray = standard[:, chosen] @ share / share.sum()
    return found


def _read_maps(maps: xr.Dataset, response: xr.Dataset, site: str) -> dict[str, np.ndarray]:
    """Return each map in the order of the response's sites."""
    if site not in maps.dims or not np.array_equal(np.sort(maps[site].values), np.sort(response[site].values)):
        raise brainlens.DimensionError(
            f"maps: expected values of the response's {response.sizes[site]} {site}s, found "
            f"{dict(maps['map'].sizes)}. Bring the map to the grid of the response first."
        )
    values = maps["map"].sel({site: response[site].values})
    named = values if "map_name" in values.dims else values.expand_dims(map_name=["map"])
    found = {}
    for name in named["map_name"].values.tolist():
        each = np.nan_to_num(named.sel(map_name=name).values.astype(np.float64))
        if not each.any():
            raise brainlens.DimensionError(f"maps: expected values other than 0, found none in {name!r}.")
        found[str(name)] = each
    return found
