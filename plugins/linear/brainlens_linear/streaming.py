"""Ridge from responses to more targets than memory holds: predictions of the test trials without any weights.

With one penalty for all targets, predictions are a matrix of test times training trials applied to the targets, which
so pass by in blocks. Weights of 15,724 voxels and 197,376 targets would take 12 GB.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import brainlens
from brainlens_linear.decode_params import DecodeParams
from brainlens_linear.targets import cut

# What a block of targets takes as float32.
BLOCK_BYTES = 2**28


@dataclass(frozen=True)
class Parts:
    """Training and test trials, sites on the scale of the training trials, and where their targets are."""

    train: np.ndarray
    test: np.ndarray
    trials: xr.Dataset
    rows: np.ndarray


def decode(*, response: xr.Dataset, target: xr.Dataset, params: DecodeParams, context: brainlens.Context) -> xr.Dataset:
    """Predict embeddings of test trials by ridge regression fitted to training trials, without keeping weights.

    Parameters
    ----------
    response
        Responses (response.v1), dims (trial, voxel) or (trial, vertex), with coordinates `split` and `stimulus_id`.
    target
        Embeddings (embedding.v1), dims (stimulus, channel) or (stimulus, token, channel), of all these stimuli; read
        block by block.
    params
        Penalties, splits, averaging; see `DecodeParams`.
    context
        Its seed draws the targets that choose the penalty; its device computes.

    Returns
    -------
    Dataset (embedding.v1)
        `embedding` (trial, channel) or (trial, token, channel), float32, of the test trials; `target_mean` and
        `target_std`, the same dims without trial, of the training targets; `loo_r2` (alpha), the mean over targets of
        R2 over stimuli left out. `attrs["alpha"]` is what was chosen. Nothing is learnt from test trials.

    Raises
    ------
    DimensionError
        If there is no split, one part is empty, stimuli are in both, a stimulus has no embedding, a site is constant
        over the training trials, or a value is not finite.
    DeviceError
        If another precision than float32 is asked for.

    References
    ----------
    Brain-Diffuser: Ozcelik & VanRullen (2023), doi:10.1038/s41598-023-42891-8. Leaving out with a mean that is not
    penalised: Golub, Heath & Wahba (1979), doi:10.1080/00401706.1979.10489751.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values = rng.standard_normal((40, 5), dtype="float32")
    >>> labels = {"stimulus_id": ("trial", np.arange(40)), "split": ("trial", ["train"] * 30 + ["test"] * 10)}
    >>> response = xr.Dataset({"response": (("trial", "voxel"), values)}, {**labels, "trial": np.arange(40)})
    >>> target = xr.Dataset({"embedding": (("stimulus", "channel"), 2 * values)}, {"stimulus": np.arange(40)})
    >>> target = target.assign_attrs(model="toy")
    >>> params = DecodeParams(alphas=(1e-3, 1e3))
    >>> found = decode(response=response, target=target, params=params, context=brainlens.Context())
    >>> bool(np.allclose(found["embedding"], 2 * values[30:], atol=1e-3)), found.attrs["alpha"]
    (True, 0.001)
    """
    if context.precision != "float32":
        raise brainlens.DeviceError(
            f"precision: expected 'float32', found {context.precision!r}; ridge needs all its digits."
        )
    embedding = _check_target(target)
    parts = _read_parts(response, target, params)
    train, test = (torch.from_numpy(each).to(context.device) for each in (parts.train, parts.test))
    kernel = (train @ train.T).double()
    chosen, r2 = choose_penalty(kernel, _sample(embedding, parts.rows, params, context), params.alphas, context)
    # (test, train): what the targets are multiplied with.
    hat = torch.cholesky_solve((test @ train.T).double().T, _factor(kernel, chosen)).T.float()
    del kernel, train
    shape = embedding.shape[1:]
    n_tokens, n_channels = (1, shape[0]) if len(shape) == 1 else shape
    found = make_room((len(test), n_tokens, n_channels), context)
    mean, std = (np.empty((n_tokens, n_channels), np.float32) for _ in range(2))
    blocks = list(cut(n_tokens, n_channels, most=max(1, BLOCK_BYTES // (4 * len(parts.rows)))))
    for block in context.progress(blocks, label="decoding"):
        values = read_columns(embedding, parts.rows, block.tokens, block.channels)
        columns = torch.from_numpy(values).to(context.device)
        mean_here = columns.mean(dim=0)
        columns -= mean_here
        where = (block.tokens, block.channels)
        mean[where] = mean_here.cpu().numpy().reshape(mean[where].shape)
        std[where] = columns.std(dim=0, correction=1).cpu().numpy().reshape(mean[where].shape)
        predicted = (hat @ columns + mean_here).cpu().numpy()
        found[:, block.tokens, block.channels] = predicted.reshape(len(test), *mean[where].shape)
    dims = ("token", "channel")[2 - len(shape) :]
    variables = {
        "embedding": (("trial", *dims), found.reshape(len(test), *shape)),
        "target_mean": (dims, mean.reshape(shape)),
        "target_std": (dims, std.reshape(shape)),
        "loo_r2": ("alpha", r2),
    }
    coords: dict[Hashable, object] = {"alpha": list(params.alphas)}
    coords |= {name: coord.variable for name, coord in parts.trials.coords.items() if coord.dims == ("trial",)}
    coords |= {name: coord.variable for name, coord in target.coords.items() if coord.dims in ((dim,) for dim in dims)}
    attrs = {key: response.attrs[key] for key in ("subject",) if key in response.attrs}
    attrs |= {key: target.attrs[key] for key in ("model", "grid") if key in target.attrs}
    return xr.Dataset(variables, coords, {**attrs, "schema": "embedding.v1", "alpha": chosen})


def choose_penalty(
    kernel: Tensor, targets: Tensor, alphas: tuple[float, ...], context: brainlens.Context
) -> tuple[float, np.ndarray]:
    """Choose the penalty that predicts training trials left out best, on the mean over targets.

    Parameters
    ----------
    kernel
        Products of all training trials, (train, train), float64.
    targets
        (train, target), float64.
    alphas
        To choose from.
    context
        For the progress bar.

    Returns
    -------
    float
        The best.
    array
        Mean R2 of each, float64: 1 - squared errors left out / squares about the mean of all.
    """
    scores = []
    total = (targets - targets.mean(dim=0)).square().sum(dim=0)
    varies = total > 0
    for alpha in context.progress(alphas, label="choosing the penalty"):
        inverse = torch.cholesky_inverse(_factor(kernel, alpha))
        # Of the regression with a mean that is not penalised: the error of a trial left out is (C y)_i / C_ii.
        ones = inverse.sum(dim=1)
        own = inverse.diagonal() - ones**2 / ones.sum()
        errors = (inverse @ targets - ones[:, None] * (ones @ targets / ones.sum())) / own[:, None]
        scores.append(float((1 - errors.square().sum(dim=0)[varies] / total[varies]).mean()))
    found = np.array(scores)
    return float(alphas[int(found.argmax())]), found


def make_room(shape: tuple[int, ...], context: brainlens.Context) -> np.ndarray:
    """Return an array to write to, float32: in the scratch folder where there is one, so that memory does not count."""
    if context.scratch is None or not np.prod(shape):
        return np.empty(shape, np.float32)
    return np.memmap(context.scratch / "decoded.raw", np.float32, "w+", shape=shape)


def read_columns(embedding: xr.DataArray, rows: np.ndarray, tokens: slice, channels: slice) -> np.ndarray:
    """Return some targets of some stimuli, (stimulus, target), float32.

    Raises
    ------
    DimensionError
        If a value is not finite.
    """
    part = embedding[:, tokens, channels] if embedding.ndim == 3 else embedding[:, channels]
    values = np.asarray(part.isel({part.dims[0]: rows}).values, dtype=np.float32).reshape(len(rows), -1)
    if not np.isfinite(values).all():
        raise brainlens.DimensionError(
            f"target: expected finite embeddings, found others of {int((~np.isfinite(values)).any(axis=1).sum())} "
            "stimuli. Embed these again."
        )
    return values


def _factor(kernel: Tensor, alpha: float) -> Tensor:
    penalised = kernel.clone()
    penalised.diagonal().add_(alpha)
    factor: Tensor = torch.linalg.cholesky(penalised)
    return factor


def _sample(embedding: xr.DataArray, rows: np.ndarray, params: DecodeParams, context: brainlens.Context) -> Tensor:
    """Return targets drawn at random, channel by channel, (train, target), float64."""
    n_tokens, n_channels = (1, *embedding.shape[1:])[-2:]
    n_wanted = min(params.alpha_targets, n_tokens * n_channels)
    chosen = np.sort(context.rng(0).choice(n_tokens * n_channels, n_wanted, replace=False))
    found = []
    for token in np.unique(chosen // n_channels).tolist():
        values = read_columns(embedding, rows, slice(token, token + 1), slice(0, n_channels))
        found.append(values[:, chosen[chosen // n_channels == token] % n_channels])
    return torch.from_numpy(np.concatenate(found, axis=1)).to(context.device).double()


def _check_target(target: xr.Dataset) -> xr.DataArray:
    embedding = target["embedding"]
    if embedding.dims not in (("stimulus", "channel"), ("stimulus", "token", "channel")):
        raise brainlens.DimensionError(
            "target: expected dims (stimulus, channel) or (stimulus, token, channel) of 'embedding', found "
            f"({', '.join(map(str, embedding.dims))}). Give embeddings of stimuli."
        )
    return embedding


def _read_parts(response: xr.Dataset, target: xr.Dataset, params: DecodeParams) -> Parts:
    """Return both parts, averaged and on the scale of the training trials."""
    if "split" not in response.coords:
        raise brainlens.DimensionError(
            "response: expected a coordinate 'split' (trial), found none. Assign it with brainlens.split_trials."
        )
    if params.roi:
        response = brainlens.select_roi(response, params.roi)
    parts = []
    for name in (params.train, params.test):
        rows = np.flatnonzero(response["split"].values == name)
        if not len(rows):
            found = brainlens.listed(np.unique(response["split"].values).tolist())
            raise brainlens.DimensionError(f"response: expected trials of the split {name!r}, found only {found}.")
        part = response.isel(trial=rows)
        parts.append(brainlens.average_trials(part) if params.average else part)
    both = np.intersect1d(*(part["stimulus_id"].values for part in parts)).tolist()
    if both:
        raise brainlens.DimensionError(
            f"response: expected other stimuli in {params.test!r} than in {params.train!r}, found {len(both)} in both: "
            f"{brainlens.listed(both)}. Split by stimulus."
        )
    train, test = (np.array(part["response"].values, dtype=np.float32) for part in parts)
    mean = train.mean(axis=0, dtype=np.float64).astype(np.float32)
    train -= mean
    test -= mean
    if params.standardize == "training":
        std = np.sqrt(np.einsum("ij,ij->j", train, train, dtype=np.float64) / len(train)).astype(np.float32)
        if not (std > 0).all():
            raise brainlens.DimensionError(
                f"response: expected sites that vary over the training trials, found {int((std <= 0).sum())} that do "
                "not. Leave them out by an ROI, or choose standardize='center'."
            )
        train /= std
        test /= std
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        raise brainlens.DimensionError("response: expected finite values, found others. Drop those sites at ingest.")
    position = {label: row for row, label in enumerate(target["stimulus"].values.tolist())}
    shown = parts[0]["stimulus_id"].values.tolist()
    missing = sorted({label for label in shown if label not in position}, key=str)
    if missing:
        raise brainlens.DimensionError(
            f"target: expected an embedding of every training stimulus, found {len(missing)} missing: "
            f"{brainlens.listed(missing)}. Embed these too."
        )
    return Parts(train, test, parts[1], np.array([position[label] for label in shown]))
