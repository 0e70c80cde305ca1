"""The analysis `diffusion.reconstruct`: images from decoded embeddings, the best of several candidates."""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_diffusion.candidates import Board, Candidates, restore_or_begin
from brainlens_diffusion.reconstruct_params import ReconstructParams
from brainlens_diffusion.seeds import noise_seeds


def reconstruct(
    *, decoded: xr.Dataset, initial: xr.Dataset | None, params: ReconstructParams, context: brainlens.Context
) -> xr.Dataset:
    """Paint several candidates for each trial, and choose the one whose embedding is most like what was decoded.

    No ground truth takes part in the choice (MindEye, Scotti et al. 2023, section 3.3). Candidates differ by the noise
    that they are painted from alone.

    Parameters
    ----------
    decoded
        Embeddings (embedding.v1), dims (trial or stimulus, channel) or (trial or stimulus, token, channel), with a dim
        variant before these where the decoder gave several: one is painted, one is what candidates are compared with.
    initial
        Images (image.v1) of the same trials that painting starts from, such as a low-level decoder's, or None.
    params
        Generator, embedder, candidates; see `ReconstructParams`.
    context
        Its seed and the position of trial and candidate decide the noise. Finished trials are kept in its scratch
        folder, so that a call that was killed goes on from there.

    Returns
    -------
    Dataset (image.v1)
        `image` (trial, y, x, rgb), or (trial, candidate, y, x, rgb) with `keep_candidates`, uint8; `similarity` and
        `noise_seed`, each (trial), or (trial, candidate); `chosen` (trial), int64, the number of the best candidate.
        With a single candidate nothing is compared, and there is no `similarity`.

    Raises
    ------
    ParameterError
        If a variant has to be there and is not, or the generator is told what this analysis decides.
    DimensionError
        If the embedder is of another model than what was decoded, or initial images are of other trials.
    PluginError
        If generator or embedder fail, or the generator does not paint by the seeds that it is given.
    """
    _refuse_decided(params)
    painted, compared = (_choose(decoded, variant) for variant in (params.painted, params.compared))
    dim = str(painted["embedding"].dims[0])
    n_trials = painted.sizes[dim]
    if initial is not None and not np.array_equal(initial["trial"].values, painted[dim].values):
        raise brainlens.DimensionError(
            f"initial: expected images of the {n_trials} trials of 'decoded' in the same order, found "
            f"{initial.sizes['trial']} trials. Decode both from one response."
        )
    seeds = noise_seeds(context, n_trials, params.n_candidates)
    board = restore_or_begin(n_trials, params, context)
    starts = range(0, n_trials, params.trials_at_once)
    for start in context.progress(starts, label="reconstructing", note=board.said):
        rows = np.arange(start, min(start + params.trials_at_once, n_trials))
        if board.has(rows):
            continue
        made = _paint(painted.isel({dim: rows}), initial, rows, seeds[rows], context)
        found = Candidates(made["image"].values.reshape(*seeds[rows].shape, *made["image"].shape[1:]), None)
        if params.n_candidates > 1:
            found = found.compared(_similarity(compared.isel({dim: rows}), made, params, context))
        board.add(rows, found, model=str(made.attrs["model"]))
    return _label(board, painted, seeds, params)


def _refuse_decided(params: ReconstructParams) -> None:
    for name in ("variant", "n_candidates"):
        if name in params.generator_params:
            raise brainlens.ParameterError(
                f"generator_params: expected no {name!r}, found {params.generator_params[name]!r}: the analysis "
                "decides it. Set 'painted' or 'n_candidates' beside generator_params."
            )


def _choose(decoded: xr.Dataset, variant: str) -> xr.Dataset:
    """Return a variant where there are several."""
    if "variant" not in decoded["embedding"].dims:
        return decoded
    return brainlens.choose_variant(decoded, variant, name="decoded")


def _paint(
    painted: xr.Dataset, initial: xr.Dataset | None, rows: np.ndarray, seeds: np.ndarray, context: brainlens.Context
) -> xr.Dataset:
    """Return an image for each seed of some trials, (trial, y, x, rgb), candidates of a trial behind each other."""
    dim = str(painted["embedding"].dims[0])
    owners = np.repeat(np.arange(len(rows)), seeds.shape[1])
    # Every candidate is a trial of its own to the generator, which so needs to know nothing of candidates.
    numbers = np.arange(len(owners))
    several = painted.isel({dim: owners}).assign_coords({dim: numbers, "noise_seed": (dim, seeds.ravel())})
    given = {"embedding": several}
    if initial is not None:
        given["initial"] = initial.isel(trial=rows[owners]).assign_coords(trial=numbers)
    made: xr.Dataset = context.call("generator", **given)
    if "noise_seed" not in made or not np.array_equal(made["noise_seed"].values, seeds.ravel()):
        raise brainlens.PluginError(
            "generator: expected one that paints by the coordinate 'noise_seed' of its embeddings and returns it, "
            f"found {'other seeds' if 'noise_seed' in made else 'none'}. Choose one that does, such as 'mini.generate'."
        )
    return made


def _similarity(
    compared: xr.Dataset, made: xr.Dataset, params: ReconstructParams, context: brainlens.Context
) -> np.ndarray:
    """Return how similar the embedding of each image is to that of its trial; (trial, candidate), float32."""
    embedded = context.call("embedder", images=made)
    if embedded.attrs["model"] != compared.attrs["model"]:
        raise brainlens.DimensionError(
            f"embedder: expected one of the model that was decoded, {compared.attrs['model']!r}, found "
            f"{params.embedder!r} of {embedded.attrs['model']!r}. Choose another embedder, or n_candidates=1."
        )
    if embedded["embedding"].shape[1:] != compared["embedding"].shape[1:]:
        raise brainlens.DimensionError(
            f"embedder: expected embeddings of dims {compared['embedding'].shape[1:]} as decoded, found "
            f"{embedded['embedding'].shape[1:]}. Choose its layer in embedder_params."
        )
    wanted = compared["embedding"].values.reshape(len(compared["embedding"]), 1, -1).astype(np.float64)
    found = embedded["embedding"].values.reshape(len(wanted), -1, wanted.shape[2]).astype(np.float64)
    if params.metric == "centred-cosine":
        if "target_mean" not in compared:
            raise brainlens.DimensionError(
                "metric: expected 'target_mean' in what was decoded for 'centred-cosine', found none. Choose 'cosine'."
            )
        mean = compared["target_mean"].values.reshape(-1)
        wanted, found = wanted - mean, found - mean
    lengths = np.linalg.norm(wanted, axis=2) * np.linalg.norm(found, axis=2)
    products = np.einsum("tov,tcv->tc", wanted, found)
    similarity: np.ndarray = (products / np.maximum(lengths, np.finfo(np.float64).tiny)).astype(np.float32)
    return similarity


def _label(board: Board, painted: xr.Dataset, seeds: np.ndarray, params: ReconstructParams) -> xr.Dataset:
    """Return everything that was painted as a dataset."""
    dim = str(painted["embedding"].dims[0])
    dims = ("trial", "candidate")[: 1 + params.keep_candidates]
    chosen = board.chosen
    rows = np.arange(len(chosen))
    values: dict[str, object] = {
        "image": ((*dims, "y", "x", "rgb"), board.pixels),
        "noise_seed": (dims, seeds if params.keep_candidates else seeds[rows, chosen]),
        "chosen": ("trial", chosen),
    }
    if params.n_candidates > 1:
        values["similarity"] = (dims, board.similarity if params.keep_candidates else board.similarity[rows, chosen])
    if dim == "trial":
        labels = {name: coord.variable for name, coord in painted.coords.items() if coord.dims == ("trial",)}
    else:
        labels = dict.fromkeys(("trial", "stimulus_id"), ("trial", painted["stimulus"].values))
    if params.keep_candidates:
        labels["candidate"] = ("candidate", np.arange(params.n_candidates))
    attrs = {key: painted.attrs[key] for key in ("subject",) if key in painted.attrs}
    attrs |= {"schema": "image.v1", "model": board.model, "generator": params.generator}
    attrs |= {"embedder": params.embedder, "metric": params.metric} if params.n_candidates > 1 else {}
    return xr.Dataset(values, labels, attrs)
