"""Average and scale over trials: means of repetitions, and standardising with the statistics of training trials.

Values are read in blocks of rows, so that a lazy variable is never in memory as a whole. Which trials go where is
decided in `brainlens.selection`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr

from brainlens.errors import DimensionError, ParameterError, closest, listed

BLOCK_BYTES = 64 * 2**20

Standardize = Literal["training", "center", "none"]

_REMEDY = "Drop them at ingest with bad_voxels='drop', or choose other sites with roi=..."


def average_trials(dataset: xr.Dataset, *, by: str | Sequence[str] = ("stimulus_id",)) -> xr.Dataset:
    """Average the trials that agree in some coordinates, such as the repetitions of each stimulus.

    Parameters
    ----------
    dataset
        Dataset with float variables that have a dim `trial`; may be lazy.
    by
        Coordinates (trial) that the averaged trials share.

    Returns
    -------
    Dataset
        One trial for each combination, in order of first appearance, numbered from 0 in `trial`. Float variables are
        means, all trials weighted alike, summed in float64; float16 becomes float32. Everything else on `trial` is kept
        where it is the same within every group; the names of what is not are listed in `attrs["dropped_coords"]`.
        Coordinate `n_repetitions` (trial), int, counts the showings behind each mean.

    Raises
    ------
    DimensionError
        If a coordinate is missing, there is no float variable on `trial`, or averages would mix the parts of
        `split`.
    ParameterError
        If `by` is empty.

    Examples
    --------
    >>> response = ("trial", "voxel"), np.array([[1.0], [5.0], [3.0]])
    >>> dataset = xr.Dataset({"response": response}, {"stimulus_id": ("trial", ["b", "a", "b"])})
    >>> average_trials(dataset)["response"].values
    array([[2.],
           [5.]])
    """
    names = (by,) if isinstance(by, str) else tuple(by)
    codes, first = _combinations(dataset, names)
    averaged = [name for name, array in dataset.data_vars.items() if "trial" in array.dims and array.dtype.kind == "f"]
    if not averaged:
        found = ", ".join(map(repr, dataset.data_vars)) or "no variable"
        raise DimensionError(f"average: expected a float variable with dim 'trial', found {found}. Give responses.")
    rest = dataset.drop_vars([*averaged, "trial"], errors="ignore")
    dropped = [name for name, variable in rest.variables.items() if not _is_constant(variable, codes, first)]
    if "split" in dropped:
        raise DimensionError(
            f"average over {names!r}: expected trials of one part of 'split' in each average, found averages that mix "
            f"{listed(np.unique(dataset['split'].values))}. Select one part first, or average by 'split' too."
        )
    means = {name: _mean_of_groups(dataset[name].variable, codes, len(first)) for name in averaged}
    rest = rest.drop_vars(dropped).isel(trial=first)
    variables = {name: means.get(name, rest.variables.get(name)) for name in dataset.data_vars if name not in dropped}
    before = dataset["n_repetitions"].values if "n_repetitions" in dataset.coords else None
    showings = np.bincount(codes, weights=before).astype(np.int64)
    result = xr.Dataset(variables, rest.coords, dataset.attrs)
    result = result.assign_coords(trial=np.arange(len(first)), n_repetitions=("trial", showings))
    gone = {*map(str, dropped), *dataset.attrs.get("dropped_coords", ())} - {"n_repetitions"}
    return result.assign_attrs(dropped_coords=sorted(gone)) if gone else result


def training_statistics(
    response: xr.Dataset | xr.DataArray, *, standardize: Standardize
) -> tuple[xr.DataArray, xr.DataArray]:
    """Compute mean and standard deviation of each site over the training trials.

    Parameters
    ----------
    response
        Training trials only; dims (trial, voxel) or (trial, vertex) with the sites' labels; or a dataset with such
        a variable `response`. May be lazy.
    standardize
        "training" for both; "center" for the mean alone, with standard deviation 1; "none" for 0 and 1, which reads
        nothing.

    Returns
    -------
    tuple of DataArray
        Mean and standard deviation (divided by n, not n - 1); dims (voxel,) or (vertex,) with the sites' labels;
        float32, computed in float64; in the unit of the response.

    Raises
    ------
    DimensionError
        If labels or trials are missing, a value is not finite, or with "training" a site is constant.
    ParameterError
        If `standardize` is none of the three.

    References
    ----------
    Blocks are merged as in Chan, Golub & LeVeque (1983), Am Stat 37:242-247, doi:10.1080/00031305.1983.10483115.

    Examples
    --------
    >>> response = xr.DataArray([[1.0, 5.0], [3.0, 9.0]], dims=("trial", "voxel"), coords={"voxel": [7, 8]})
    >>> mean, std = training_statistics(response, standardize="training")
    >>> mean.values.tolist(), std.values.tolist()
    ([2.0, 7.0], [1.0, 2.0])
    """
    if standardize not in get_args(Standardize):
        known = closest(standardize, get_args(Standardize))
        raise ParameterError(f"standardize: there is no choice {standardize!r}. {known}")
    array, site = _response_array(response)
    labels = array[site].variable
    mean, std = np.zeros(len(labels), np.float32), np.ones(len(labels), np.float32)
    if standardize != "none":
        mean, spread = _moments(array.variable)
        _refuse_not_finite(mean, spread, labels.values, site=site)
        if standardize == "training":
            _refuse_constant(spread, labels.values, site=site)
            std = spread
    coords = {site: labels}
    return xr.DataArray(mean, coords, dims=site, name="mean"), xr.DataArray(std, coords, dims=site, name="std")


def standardize(dataset: xr.Dataset, mean: xr.DataArray, std: xr.DataArray) -> xr.Dataset:
    """Subtract the mean and divide by the standard deviation of each site.

    Parameters
    ----------
    dataset
        With `response` (trial, voxel) or (trial, vertex); may be lazy, and stays lazy then.
    mean, std
        As `training_statistics` returns them. They are matched by site label: all labels must be in both, in any order.

    Returns
    -------
    Dataset
        `response` is float32; its unit, in `attrs["units"]`, becomes `z` unless `std` is 1 everywhere. Of a lazy
        response, only the rows and sites that are indexed are read, subtracted from and divided; all of its values are
        kept once they were asked for, as xarray keeps those of files. One in memory is standardised at once.

    Raises
    ------
    DimensionError
        If labels are missing on a side, or `std` is not positive.

    Examples
    --------
    >>> dataset = xr.Dataset({"response": (("trial", "voxel"), [[1.0, 5.0], [3.0, 9.0]])}, {"voxel": [7, 8]})
    >>> standardize(dataset, *training_statistics(dataset, standardize="training"))["response"].values
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    """
    array, site = _response_array(dataset)
    labels = array[site].values
    shift = _statistic_for(mean, "mean", labels, site=site)
    scale = _statistic_for(std, "std", labels, site=site)
    unusable = ~(scale > 0)
    if unusable.any():
        raise DimensionError(
            f"standardize: expected standard deviations above 0, found {float(scale[unusable][0])!r} for "
            f"{int(unusable.sum())} {site}(s): {listed(labels[unusable])}. Drop those sites."
        )
    values: Any = _Standardized(array.variable, shift, scale)
    # xarray has no public name for what every variable knows: whether its values are in memory.
    if array.variable._in_memory:
        values = values.rectangle(slice(None), slice(None))
    else:
        indexing: Any = xr.core.indexing
        values = indexing.MemoryCachedArray(indexing.CopyOnWriteArray(indexing.LazilyIndexedArray(values)))
    result = dataset.assign(response=xr.Variable(("trial", site), values, array.attrs))
    return result if (scale == 1).all() else result.assign_attrs(units="z")


class _Standardized(xr.backends.BackendArray):
    """Responses (trial, site) that are standardised as they are read, by blocks of the rows and sites asked for."""

    def __init__(self, variable: xr.Variable, shift: np.ndarray, scale: np.ndarray) -> None:
        self.variable = variable
        self.shift = shift
        self.scale = scale
        self.shape = variable.shape
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: Any) -> Any:
        indexing = xr.core.indexing
        if isinstance(key, indexing.VectorizedIndexer):
            support = indexing.IndexingSupport.OUTER
            return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)
        # Not through the adapter: it fails on an empty slice that goes backwards.
        return self._read(key.tuple)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        values = self.rectangle(*(item if isinstance(item, slice) else np.atleast_1d(item) for item in key))
        drop = tuple(axis for axis, item in enumerate(key) if isinstance(item, int | np.integer))
        return values.squeeze(axis=drop) if drop else values

    def rectangle(self, rows: slice | np.ndarray, sites: slice | np.ndarray) -> np.ndarray:
        """Return some rows of some sites."""
        chosen, shift, scale = self.variable[rows, sites], self.shift[sites], self.scale[sites]
        values = np.empty(chosen.shape, dtype=np.float32)
        for part, block in _row_blocks(chosen):
            np.subtract(block, shift, out=values[part], casting="same_kind")
            values[part] /= scale
        return values


def _combinations(dataset: xr.Dataset, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each trial's combination of labels, and the first trial of each combination."""
    if not names:
        raise ParameterError("average: expected at least one coordinate in 'by', such as 'stimulus_id', found none.")
    known = [str(name) for name, array in dataset.coords.items() if array.dims == ("trial",)]
    for name in names:
        if name not in known:
            raise DimensionError(f"average: expected a coordinate {name!r} (trial), found none. {closest(name, known)}")
        missing = np.flatnonzero(pd.isna(dataset[name].values))
        if len(missing):
            raise DimensionError(
                f"average: expected a label in {name!r} for every trial, found none at position {listed(missing)}. "
                "Drop those trials or label them."
            )
    frame = pd.DataFrame({name: dataset[name].values for name in names})
    codes: np.ndarray = frame.groupby(list(names), sort=False).ngroup().to_numpy()
    return codes, np.unique(codes, return_index=True)[1]


def _is_constant(variable: xr.Variable, codes: np.ndarray, first: np.ndarray) -> bool:
    """Whether a variable has one value in each group of trials, or is not about trials at all."""
    if "trial" not in variable.dims:
        return True
    values = variable.transpose("trial", ...).values
    expected = values[first][codes]
    same = values == expected
    if values.dtype.kind == "f":
        same |= np.isnan(values) & np.isnan(expected)
    return bool(np.all(same))


def _mean_of_groups(variable: xr.Variable, codes: np.ndarray, n_groups: int) -> xr.Variable:
    """Average rows by group; the rows of a group may lie in different blocks."""
    by_trial = variable.transpose("trial", ...)
    sums = np.zeros((n_groups, *by_trial.shape[1:]))
    for rows, block in _row_blocks(by_trial):
        order = np.argsort(codes[rows], kind="stable")
        groups, starts = np.unique(codes[rows][order], return_index=True)
        # One sum for each group of whole rows takes a quarter of the time of np.add.reduceat, which goes down columns.
        for group, members in zip(groups, np.split(order, starts[1:]), strict=True):
            sums[group] += block[members].sum(axis=0, dtype=np.float64)
    counts = np.bincount(codes, minlength=n_groups).reshape(-1, *[1] * (by_trial.ndim - 1))
    means = np.divide(sums, counts, out=sums).astype(np.result_type(variable.dtype, np.float32), copy=False)
    return xr.Variable(by_trial.dims, means, variable.attrs).transpose(*variable.dims)


def _row_blocks(variable: xr.Variable) -> Iterator[tuple[slice, np.ndarray]]:
    """Read blocks of rows that take at most 64 MiB as float64; stored chunks are read once each."""
    rows = max(1, BLOCK_BYTES // max(1, 8 * int(np.prod(variable.shape[1:]))))
    chunk = int((variable.encoding.get("shards") or variable.encoding.get("chunks") or (1,))[0])
    step = max(chunk, rows - rows % chunk)
    for start in range(0, variable.shape[0], step):
        read = np.asarray(variable[start : start + step].values)
        for offset in range(0, len(read), rows):
            block = read[offset : offset + rows]
            yield slice(start + offset, start + offset + len(block)), block


def _response_array(response: xr.Dataset | xr.DataArray) -> tuple[xr.DataArray, str]:
    """Return the responses with dims (trial, site), and which dim holds the sites."""
    if isinstance(response, xr.Dataset):
        if "response" not in response:
            known = closest("response", response.data_vars)
            raise DimensionError(f"expected a variable 'response' (trial, voxel), found none. {known}")
        response = response["response"]
    sites: list[Hashable] = [dim for dim in response.dims if dim != "trial"]
    if response.ndim != 2 or len(sites) != 1 or sites[0] not in response.coords:
        labels = listed(map(str, response.coords), most=10) or "none"
        raise DimensionError(
            f"response: expected dims (trial, voxel) or (trial, vertex) and a label for each site, found dims "
            f"{response.dims!r} and coordinates {labels}. Assign the missing labels."
        )
    return response.transpose("trial", sites[0]), str(sites[0])


def _moments(variable: xr.Variable) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each column; float32, not finite where a value is not."""
    if variable.shape[0] == 0:
        raise DimensionError("training statistics: expected at least one training trial, found none. Check the split.")
    # Differences from the first row make constant columns exactly 0 and keep large offsets out of the squares.
    pivot = np.asarray(variable[0].values).astype(np.float64)
    n, mean, squares = 0, np.zeros(len(pivot)), np.zeros(len(pivot))
    # An infinite value turns into NaN here and is refused, with its site, by the caller.
    with np.errstate(invalid="ignore", over="ignore"):
        for _, block in _row_blocks(variable):
            centred = block - pivot
            block_mean = centred.mean(axis=0)
            centred -= block_mean
            delta, total = block_mean - mean, n + len(block)
            squares += np.einsum("ij,ij->j", centred, centred) + delta**2 * (n * len(block) / total)
            mean += delta * (len(block) / total)
            n = total
        return (pivot + mean).astype(np.float32), np.sqrt(squares / n).astype(np.float32)


def _refuse_not_finite(mean: np.ndarray, std: np.ndarray, labels: np.ndarray, *, site: str) -> None:
    odd = ~(np.isfinite(mean) & np.isfinite(std))
    if odd.any():
        raise DimensionError(
            f"training statistics: expected finite values, found others in {int(odd.sum())} {site}(s) "
            f"of {len(labels)}: {listed(labels[odd])}. {_REMEDY}"
        )


def _refuse_constant(std: np.ndarray, labels: np.ndarray, *, site: str) -> None:
    constant = std == 0
    if constant.any():
        raise DimensionError(
            f"standardize='training': expected {site}s that vary over the training trials, found {int(constant.sum())} "
            f"constant {site}(s) of {len(labels)}: {listed(labels[constant])}. {_REMEDY}"
        )


def _statistic_for(statistic: xr.DataArray, name: str, labels: np.ndarray, *, site: str) -> np.ndarray:
    """Return a statistic's values in the order of some site labels, which must be exactly its own."""
    if statistic.dims != (site,) or site not in statistic.coords:
        raise DimensionError(f"{name}: expected dims ({site},) with labels, found dims {statistic.dims!r}.")
    own, rows = pd.Index(statistic[site].values), pd.Index(labels)
    for index, where in ((own, f"the {name}"), (rows, "the response")):
        repeated = index[index.duplicated()]
        if len(repeated):
            raise DimensionError(f"{where}: expected unique {site} labels, found {listed(repeated)} more than once.")
    missing, surplus = rows.difference(own, sort=False), own.difference(rows, sort=False)
    for absent, where in ((missing, f"the {name}"), (surplus, "the response")):
        if len(absent):
            raise DimensionError(
                f"standardize: expected the same {site} labels in response and {name}, found {len(absent)} missing in "
                f"{where}: {listed(absent)}. Select the same sites as in training."
            )
    values: np.ndarray = statistic.values[own.get_indexer(rows)].astype(np.float32, copy=False)
    return values
