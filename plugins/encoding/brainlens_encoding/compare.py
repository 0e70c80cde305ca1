"""Predicted and measured responses to the same stimuli: joined by label, and compared some sites at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

import brainlens
from brainlens_encoding.params import ScoreParams


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Which trials of two datasets belong together, without their values.

    Attributes
    ----------
    measured, predicted
        As they are stored, with the chosen trials only; lazy.
    stimuli
        Labels of the stimuli that are compared; shape (n_stimuli,).
    measured_code, predicted_code
        Position of each trial's stimulus among them.
    site
        `voxel` or `vertex`.
    n_in_training
        Of the stimuli, how many the encoder was fitted on.
    """

    measured: xr.Dataset
    predicted: xr.Dataset
    stimuli: np.ndarray
    measured_code: np.ndarray
    predicted_code: np.ndarray
    site: str
    n_in_training: int


@dataclass(frozen=True, kw_only=True)
class Block:
    """Values of some sites.

    Attributes
    ----------
    sites
        Which sites.
    predicted, measured
        Means for each stimulus; dims (stimulus, site); float64; on the device.
    within
        Sum of squares of single showings around their stimulus's mean; shape (n_sites,).
    """

    sites: slice
    predicted: Tensor
    measured: Tensor
    within: Tensor


def pair(predicted: xr.Dataset, measured: xr.Dataset, params: ScoreParams) -> Pairs:
    """Join predicted and measured responses by stimulus and site.

    Parameters
    ----------
    predicted
        Responses that an encoder predicted, dims (trial, voxel) or (trial, vertex); `in_training` (trial) says which
        stimuli it was fitted on.
    measured
        Measured responses to some of those stimuli, with those sites at least.
    params
        Which trials, and whether stimuli of training may count.

    Raises
    ------
    DimensionError
        If a stimulus or site has no counterpart, units differ, stimuli were in the training, or there are fewer than
        three.
    """
    where = _names(predicted)
    site = str(predicted["response"].dims[1])
    if site not in measured.dims:
        raise brainlens.DimensionError(
            f"measured: expected dim {site!r} as in the prediction, found {', '.join(map(str, measured.sizes))}."
        )
    for key in ("units", "subject", "space"):
        if key in predicted.attrs and key in measured.attrs and predicted.attrs[key] != measured.attrs[key]:
            raise brainlens.DimensionError(
                f"{where}: expected a prediction of {key} {measured.attrs[key]!r} as measured, found "
                f"{predicted.attrs[key]!r}. Compare an encoder with responses like those that it was fitted to."
            )
    rows = _positions(measured[site].values, predicted[site].values, what=f"{site}s", where="measured")
    measured = _chosen(measured, params.split)
    if not np.array_equal(rows, np.arange(measured.sizes[site])):
        measured = measured.isel({site: rows})
    shown, foretold = (each["stimulus_id"].values for each in (measured, predicted))
    stimuli, measured_code = _factorize(shown)
    code = pd.Index(stimuli).get_indexer(pd.Index(_plain(foretold)))
    absent = np.setdiff1d(np.arange(len(stimuli)), code)
    if len(absent):
        raise brainlens.DimensionError(
            f"{where}: expected a prediction for each of {len(stimuli)} measured stimuli, found none for {len(absent)} "
            f"of them: {brainlens.listed(stimuli[absent])}. Predict from features of all of them, or choose a split."
        )
    if len(stimuli) < 3:
        raise brainlens.DimensionError(
            f"measured: expected at least 3 stimuli to compare, found {len(stimuli)}. Choose another split."
        )
    predicted = predicted.isel(trial=np.flatnonzero(code >= 0))
    code = code[code >= 0]
    return Pairs(
        measured=measured,
        predicted=predicted,
        stimuli=stimuli,
        measured_code=measured_code,
        predicted_code=code,
        site=site,
        n_in_training=_count_training(predicted, code, stimuli, where, allowed=params.allow_training),
    )


def blocks(pairs: Pairs, *, memory_mb: float, device: str) -> Iterator[Block]:
    """Read the values of some sites after the other, averaged over the showings of each stimulus."""
    n_rows = len(pairs.measured_code) + len(pairs.predicted_code) + 6 * len(pairs.stimuli)
    step = max(1, int(memory_mb * 2**20 / (8 * n_rows)))
    n_sites = pairs.measured.sizes[pairs.site]
    for start in range(0, n_sites, step):
        sites = slice(start, min(start + step, n_sites))
        measured, within = _means(pairs.measured, pairs.measured_code, len(pairs.stimuli), sites, device)
        predicted, _ = _means(pairs.predicted, pairs.predicted_code, len(pairs.stimuli), sites, device)
        yield Block(sites=sites, predicted=predicted, measured=measured, within=within)


@dataclass(frozen=True, kw_only=True)
class Sums:
    """What scores are made of, for the stimuli as they are, shuffled, or drawn again; last dim site.

    Attributes
    ----------
    n
        Number of stimuli.
    measured, predicted
        Squared distances from the mean over stimuli.
    products
        Of both distances.
    gap
        Mean of the measured minus mean of the predicted responses.
    """

    n: int
    measured: Tensor
    predicted: Tensor
    products: Tensor
    gap: Tensor


def sums_of(block: Block) -> Sums:
    """Sum over the stimuli as they are."""
    predicted, measured = (each - each.mean(0) for each in (block.predicted, block.measured))
    return Sums(
        n=len(measured),
        measured=_varying(measured.square().sum(0), block.measured),
        predicted=_varying(predicted.square().sum(0), block.predicted),
        products=(predicted * measured).sum(0),
        gap=block.measured.mean(0) - block.predicted.mean(0),
    )


def shuffled_sums(block: Block, orders: Tensor) -> Iterator[Sums]:
    """Sum over stimuli whose predictions are in another order; `orders` (n_permutations, n_stimuli)."""
    as_they_are = sums_of(block)
    # Products of a thousand orders take minutes in float64; p-values do not need its digits.
    predicted, measured = ((each - each.mean(0)).float() for each in (block.predicted, block.measured))
    for order in orders:
        products = predicted.index_select(0, order).mul_(measured).sum(0)
        yield replace(as_they_are, products=products.double())


def drawn_sums(block: Block, counts: Tensor) -> Sums:
    """Sum over stimuli that are drawn again; `counts` (n_resamples, n_stimuli) says how often; first dim resample."""
    n = len(block.measured)
    middle = block.measured.mean(0), block.predicted.mean(0)
    measured, predicted = block.measured - middle[0], block.predicted - middle[1]
    means = counts @ measured / n, counts @ predicted / n
    return Sums(
        n=n,
        measured=_varying(counts @ measured.square() - n * means[0].square(), block.measured),
        predicted=_varying(counts @ predicted.square() - n * means[1].square(), block.predicted),
        products=counts @ (measured * predicted) - n * means[0] * means[1],
        gap=middle[0] - middle[1] + means[0] - means[1],
    )


def correlation(sums: Sums) -> Tensor:
    """Return the correlation over stimuli of predicted and measured responses; not a number where one is constant."""
    return sums.products / (sums.measured * sums.predicted).sqrt()


def r_squared(sums: Sums) -> Tensor:
    """Return 1 - squared error / squared distance of the measured responses from their mean over these stimuli."""
    constant = torch.nan_to_num(sums.predicted)
    missed = sums.measured + constant - 2 * sums.products + sums.n * sums.gap.square()
    return 1 - missed / sums.measured


def noise_ceiling(sums: Sums, within: Tensor, n_showings: np.ndarray) -> Tensor:
    """Return the share of the variance of measured means that a perfect model explains; not a number if unknown.

    The variance of single showings around the mean of their stimulus estimates that of the noise; what it leaves of the
    variance of the means is the signal, at least 0.

    Parameters
    ----------
    sums
        Of the measured means.
    within
        Squared distances of single showings from the mean of their stimulus; shape (n_sites,).
    n_showings
        Of each stimulus; shape (n_stimuli,).

    References
    ----------
    Allen et al. (2022), doi:10.1038/s41593-021-00962-x, for stimuli shown equally often; here the noise of a mean is
    averaged over the stimuli.
    """
    freedom = int((n_showings - 1).sum())
    if freedom == 0:
        return torch.full_like(sums.measured, torch.nan)
    noise = within / freedom * float(np.mean(1 / n_showings))
    return (1 - noise / (sums.measured / (sums.n - 1))).clamp_(min=0)


def ceiling_of(pairs: Pairs, block: Block, sums: Sums, n_showings: np.ndarray) -> Tensor:
    """Return the noise ceiling of each site: from repetitions, or where there are none from `ncsnr` if it is known."""
    if "ncsnr" in pairs.measured.coords and (n_showings == 1).all():
        signal = torch.from_numpy(np.square(pairs.measured["ncsnr"].values[block.sites], dtype=np.float64))
        return (signal / (signal + 1)).to(sums.measured.device).expand_as(sums.measured)
    return noise_ceiling(sums, block.within, n_showings)


def draw_orders(context: brainlens.Context, n_permutations: int, n_stimuli: int) -> Tensor:
    """Return random orders of the stimuli, the same for all sites; int64."""
    rng = context.rng()
    orders = np.array([rng.permutation(n_stimuli) for _ in range(n_permutations)], np.int64)
    return torch.from_numpy(orders.reshape(n_permutations, n_stimuli)).to(context.device)


def site_labels(pairs: Pairs) -> dict[str, xr.DataArray]:
    """Return everything that is known of the sites: indices, places, hemispheres."""
    return {str(name): coord for name, coord in pairs.predicted.coords.items() if coord.dims == (pairs.site,)}


def place_attrs(pairs: Pairs) -> dict[str, object]:
    """Return whose sites they are and where they lie, and what was compared."""
    kept = ("subject", "space", "affine", "volume_shape", "mask_sha256", "simulated", "model")
    attrs = {key: pairs.predicted.attrs[key] for key in kept if key in pairs.predicted.attrs}
    return {**attrs, "n_stimuli": len(pairs.stimuli), "n_in_training": pairs.n_in_training}


def _varying(spread: Tensor, values: Tensor) -> Tensor:
    """Return squared distances from a mean; not a number where they are no more than rounding."""
    rounding = len(values) * (1e-6 * values.abs().amax(0)).square()
    return torch.where(spread > rounding, spread, torch.nan)


def _means(dataset: xr.Dataset, code: np.ndarray, n_stimuli: int, sites: slice, device: str) -> tuple[Tensor, Tensor]:
    """Return the mean of each stimulus's trials, and the sum of squares around it."""
    values = torch.from_numpy(np.asarray(dataset["response"][:, sites].values, np.float64)).to(device)
    group = torch.from_numpy(code).to(device)
    counts = torch.bincount(group, minlength=n_stimuli)[:, None]
    means = values.new_zeros((n_stimuli, values.shape[1])).index_add_(0, group, values) / counts
    return means, (values - means[group]).square_().sum(0)


def _chosen(measured: xr.Dataset, split: str) -> xr.Dataset:
    part = split or ("test" if "split" in measured.coords else "all")
    if part == "all":
        return measured
    if "split" not in measured.coords:
        raise brainlens.DimensionError(
            f"split {part!r}: the measured response has no coordinate 'split'. Make one with brainlens.split_trials, "
            "or use split='all'."
        )
    inside = np.flatnonzero(np.asarray(measured["split"].values, dtype=str) == part)
    if not len(inside):
        raise brainlens.DimensionError(f"split {part!r}: no measured trial is in it. Choose another.")
    return measured.isel(trial=inside)


def _count_training(predicted: xr.Dataset, code: np.ndarray, stimuli: np.ndarray, where: str, *, allowed: bool) -> int:
    if "in_training" not in predicted.coords:
        return 0
    met = np.unique(code[predicted["in_training"].values])
    if len(met) and not allowed:
        raise brainlens.DimensionError(
            f"{where}: expected predictions for stimuli that the encoder was not fitted on, found {len(met)} of "
            f"{len(stimuli)} that it was: {brainlens.listed(stimuli[met])}. Score another split, leave stimuli out in "
            "cross_predict, or say allow_training=True."
        )
    return len(met)


def _names(predicted: xr.Dataset) -> str:
    return f"predicted from {predicted.attrs['model']!r}" if "model" in predicted.attrs else "predicted"


def _positions(known: np.ndarray, wanted: np.ndarray, *, what: str, where: str) -> np.ndarray:
    rows = pd.Index(_plain(known)).get_indexer(pd.Index(_plain(wanted)))
    if (rows < 0).any():
        raise brainlens.DimensionError(
            f"{where}: expected the {len(wanted)} {what} of the prediction, found {int((rows < 0).sum())} of them "
            f"missing: {brainlens.listed(wanted[rows < 0])}."
        )
    return np.asarray(rows)


def _factorize(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    codes, known = pd.factorize(_plain(labels))
    return np.asarray(known), codes.astype(np.int64)


def _plain(labels: np.ndarray) -> np.ndarray:
    return np.array(labels.tolist(), dtype=object) if labels.dtype.kind in "OUT" else labels
