"""How much of the variance that is decoded from is signal, by site."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse
import xarray as xr

BLOCK_SITES = 4096


def noise_ceiling(trials: xr.Dataset, rows: xr.Dataset) -> np.ndarray:
    """Estimate which share of the variance of the rows is signal, in each site.

    The variance of showings around the mean of their stimulus is that of the noise; what it leaves of the variance of
    the rows is the signal, at least 0. Where rows repeat stimuli, as those of several runs do, they are the showings.

    Parameters
    ----------
    trials
        Single trials, dims (trial, site).
    rows
        The same as they are decoded, averaged or not.

    Returns
    -------
    array
        Shape (n_sites,), float64, from 0 to 1. Where nothing was shown twice, from `ncsnr` (site), and not a number
        without it.

    References
    ----------
    Allen et al. (2022), doi:10.1038/s41593-021-00962-x, for stimuli shown equally often; here the noise of a mean is
    averaged over rows, as `encoding.score` does.
    """
    site = str(rows["response"].dims[1])
    n_sites = rows.sizes[site]
    repeated = pd.Index(rows["stimulus_id"].values).has_duplicates
    shown = rows if repeated else trials
    code = pd.factorize(np.asarray(shown["stimulus_id"].values))[0]
    counts = np.bincount(code)
    freedom = int((counts - 1).sum())
    n_showings = rows["n_repetitions"].values if "n_repetitions" in rows.coords and not repeated else np.ones(1)
    share = float(np.mean(1 / n_showings))
    if freedom == 0:
        if "ncsnr" not in rows.coords:
            return np.full(n_sites, np.nan)
        signal = rows["ncsnr"].values.astype(np.float64) ** 2
        return np.asarray(signal / (signal + share))
    found = np.empty(n_sites)
    belongs = scipy.sparse.csr_array((np.ones(len(code)), (code, np.arange(len(code)))))
    for start in range(0, n_sites, BLOCK_SITES):
        sites = slice(start, start + BLOCK_SITES)
        values = shown["response"][:, sites].values.astype(np.float64)
        means = (belongs @ values) / counts[:, None]
        noise = ((values - means[code]) ** 2).sum(axis=0) / freedom * share
        total = rows["response"][:, sites].values.astype(np.float64).var(axis=0, ddof=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            found[sites] = np.clip(1 - noise / total, 0, 1)
    return found
