"""The analysis `roi.guide`: images that drive an ROI, painted under the gradient of an encoder (BrainDiVE)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

import brainlens
from brainlens_roi.gallery import Gallery
from brainlens_roi.guide_params import GuideParams
from brainlens_roi.patterns import read_weights
from brainlens_roi.sets import own_rois, unquoted

_NOISE_STREAM, _CONDITION_STREAM = 12, 13


def guide_images(
    *,
    model: xr.Dataset,
    embedding: xr.Dataset,
    initial: xr.Dataset | None = None,
    params: GuideParams,
    context: brainlens.Context,
) -> xr.Dataset:
    """Paint images of which an encoder predicts that they drive an ROI, or change images so that they do.

    At every step of the generator the gradient of the predicted activation, with respect to what is being painted, is
    added to the score, `scale` times. What the encoder then says of the images is no evidence that they drive the
    brain: an encoder that fitted other data, and knows another feature space, has to judge.

    Parameters
    ----------
    model
        An encoder of one subject that can be differentiated, fitted to a response with `roi_mask`.
    embedding
        Embeddings (embedding.v1) of stimuli that the generator paints from, (stimulus, ...). Images are conditioned on
        some of them (`conditioned`), or on as many zeros.
    initial
        Images (stimulus_image.v1) of these stimuli to start from, (stimulus, y, x, rgb), of the size that the generator
        paints, or None to start from noise. How far it goes from them is its own parameter, `strength` with most.
    params
        ROIs, scale, generator, embedder; see `GuideParams`.
    context
        Its seed and the number of the image decide noise and condition: the same for every ROI, so that ROIs differ by
        their guide alone. Finished images are kept in its scratch folder, so that a killed call goes on from there.

    Returns
    -------
    Dataset (image.v1)
        `image` (roi, candidate, y, x, rgb), uint8; `predicted` (roi, candidate), float32, the activation that the
        encoder predicts of the image: mean over the ROI's sites, in SDs of the training trials, of a contrast the
        difference of two means; `noise_seed` (roi, candidate); `condition` (roi, candidate), the stimulus whose
        embedding or image was given to the generator, where one was.

    Raises
    ------
    ParameterError
        If encoder or embedder cannot be differentiated, the generator cannot be guided, or it is told what this
        analysis decides.
    DimensionError
        If an ROI does not exist or has no site, sites do not vary, the embedder is of another space than the model, or
        `initial` lacks the image of a stimulus.
    PluginError
        If a called component fails, or the generator does not paint by the seeds that it is given.

    References
    ----------
    Luo, Henderson, Wehbe and Tarr (2023), Brain diffusion for visual exploration, NeurIPS. Differences: the activation
    is in SDs of the training trials; the generator is one that is conditioned on embeddings; there is no self-attention
    guidance.

    Cerdas et al. (2025), BrainACTIV, ICLR, doi:10.1101/2024.10.29.620889, for changing images of stimuli; here by the
    same gradient as from noise.
    """
    for name in ("variant", "n_candidates"):
        if name in params.generator_params:
            raise brainlens.ParameterError(
                f"generator_params: expected no {name!r}, found {params.generator_params[name]!r}: the analysis "
                "decides it. Set 'n_images' beside generator_params."
            )
    if "stimulus" not in embedding["embedding"].dims:
        raise brainlens.DimensionError(
            f"embedding: expected embeddings of stimuli, dims (stimulus, ...), found {embedding['embedding'].dims}. "
            "Give those of the stimuli, in the space that the generator paints from."
        )
    encoder = context.encoder("model")
    sites = read_activations(encoder.frame, params.rois)
    numbers = np.arange(params.n_images)
    seeds = context.rng(_NOISE_STREAM, 0).integers(2**62, size=params.n_images)
    owners = draw_owners(context.rng(_CONDITION_STREAM, 0), embedding.sizes["stimulus"], params.n_images)
    given = embedding.isel(stimulus=owners).load()
    starts = None if initial is None else _find_images(initial, given["stimulus"].values)
    gallery = Gallery(rois=len(sites), images=params.n_images, folder=context.scratch)
    parts = [numbers[low : low + params.images_at_once] for low in range(0, len(numbers), params.images_at_once)]
    todo = [(row, part) for row in range(len(sites)) for part in parts if not gallery.has(row, part)]
    weights = list(sites.values())
    for row, part in context.progress(todo, label="painting", note=gallery.said):
        inputs = {"embedding": _conditions(given.isel(stimulus=part), seeds[part], conditioned=params.conditioned)}
        if starts is not None:
            inputs["initial"] = _as_trials(starts[part], inputs["embedding"])
        guide = make_guide(weights[row] * params.scale, encoder, context) if params.scale else None
        made = context.call("generator", **inputs, guide=guide)
        if "noise_seed" not in made or not np.array_equal(made["noise_seed"].values, seeds[part]):
            raise brainlens.PluginError(
                "generator: expected one that paints by the coordinate 'noise_seed' of its embeddings and returns it, "
                f"found {'other seeds' if 'noise_seed' in made else 'none'}. Choose one that does, such as "
                "'mini.generate'."
            )
        predicted = predict_activation(weights[row], encoder, context.call("embedder", images=made))
        gallery.add(row, part, made["image"].values, predicted, model=str(made.attrs["model"]))
    stimuli = given["stimulus"].values if params.conditioned or initial is not None else None
    return _label(gallery, list(sites), seeds, stimuli, encoder.frame, params)


def draw_owners(rng: np.random.Generator, n_stimuli: int, n_images: int) -> np.ndarray:
    """Return the stimulus of each image, (image,), at random; none stands twice before each stands once.

    Examples
    --------
    >>> found = draw_owners(np.random.default_rng(0), 3, 7)
    >>> sorted(found[:3].tolist()), sorted(found[3:6].tolist()), len(found)
    ([0, 1, 2], [0, 1, 2], 7)
    """
    rounds = [rng.permutation(n_stimuli) for _ in range(-(-n_images // n_stimuli))]
    return np.concatenate(rounds)[:n_images]


def read_activations(frame: xr.Dataset, rois: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return what the activation of each ROI is: weights of the responses of all sites, (site,), float64.

    They give the mean over the ROI's sites in SDs of the training trials, less that of what it is contrasted with.

    Raises
    ------
    DimensionError
        If an ROI does not exist or has no site, the model knows no ROIs, or a site does not vary.
    ParameterError
        If one stands twice, or a contrast or mixture cannot be read.
    """
    site = next(dim for dim in ("voxel", "vertex") if dim in frame.dims)
    if "roi_mask" not in frame:
        raise brainlens.DimensionError(
            "model: expected one that was fitted to a response with ROIs, found none. Attach ROIs to the response with "
            "roi.attach, and fit again."
        )
    wanted = list(rois) or list(own_rois(frame))
    repeated = sorted({text for text in wanted if wanted.count(text) > 1})
    if repeated:
        raise brainlens.ParameterError(f"rois: expected each once, found {repeated[0]!r} twice. Leave one out.")
    std = frame["training_std"].values.astype(np.float64)
    found = {}
    for text in wanted:
        weights = read_weights(frame, text, site)
        stuck = frame[site].values[(weights != 0) & (std == 0)].tolist()
        if stuck:
            raise brainlens.DimensionError(
                f"rois: expected sites that vary over the training trials in {text!r}, found {len(stuck)} that do not: "
                f"{brainlens.listed(stuck)}. Leave them out of the ROI."
            )
        shares = np.zeros(len(weights))
        for side in (weights > 0, weights < 0):
            if side.any():
                shares[side] = weights[side] / np.abs(weights[side]).sum()
        found[unquoted(text)] = np.divide(shares, std, out=np.zeros(len(std)), where=std > 0)
    return found


def make_guide(
    weights: np.ndarray, encoder: brainlens.Encoder, context: brainlens.Context
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the gradient of a weighted sum of predicted responses with respect to pixels, as a generator takes it.

    Parameters
    ----------
    weights
        Of each site, (site,).
    encoder
        Predicts the responses from what the component `embedder` makes of the pixels.
    context
        Calls the embedder.
    """

    def guide(pixels: np.ndarray) -> np.ndarray:
        seen = context.differentiate("embedder", pixels)
        driven = encoder.differentiate(seen.value)
        gradient = np.broadcast_to(weights, (len(pixels), len(weights)))
        return seen.pull_back(driven.pull_back(gradient))

    return guide


def predict_activation(weights: np.ndarray, encoder: brainlens.Encoder, features: xr.Dataset) -> np.ndarray:
    """Return the activation that an encoder predicts of each trial, in SDs from the mean; float32.

    Weights (site,) give (trial,), weights (site, activation) give (trial, activation).
    """
    mean = encoder.frame["training_mean"].values.astype(np.float64)
    values = encoder.predict(features)["response"].values.astype(np.float64) - mean
    found: np.ndarray = (values @ weights).astype(np.float32)
    return found


def _find_images(initial: xr.Dataset, stimuli: np.ndarray) -> np.ndarray:
    """Return the images of stimuli, (image, y, x, rgb), in their order; only these are read."""
    if initial["image"].dims != ("stimulus", "y", "x", "rgb"):
        raise brainlens.DimensionError(
            f"initial: expected images of stimuli, dims (stimulus, y, x, rgb), found {initial['image'].dims}. Give the "
            "images whose embeddings are in 'embedding'."
        )
    names = initial["stimulus"].values
    missing = sorted(set(stimuli.tolist()) - set(names.tolist()))
    if missing:
        raise brainlens.DimensionError(
            f"initial: expected an image of every stimulus that is drawn from 'embedding', found none of "
            f"{len(missing)}: {brainlens.listed(missing)}. Give the images whose embeddings are in 'embedding'."
        )
    place = {name: row for row, name in enumerate(names.tolist())}
    rows, back = np.unique([place[name] for name in stimuli.tolist()], return_inverse=True)
    found: np.ndarray = initial["image"].isel(stimulus=rows).values[back]
    return found


def _as_trials(pixels: np.ndarray, trials: xr.Dataset) -> xr.Dataset:
    """Return images (trial, y, x, rgb) with the labels of the trials that they start."""
    labels = {name: trials[name].variable for name in ("trial", "stimulus_id")}
    return xr.Dataset({"image": (("trial", "y", "x", "rgb"), pixels)}, labels, {"schema": "image.v1"})


def _conditions(given: xr.Dataset, seeds: np.ndarray, *, conditioned: bool) -> xr.Dataset:
    """Return embeddings for a generator, each a trial of its own with its seed; zeros where nothing is a condition."""
    values = given["embedding"].values
    axes = {name: each.variable for name, each in given.coords.items() if "stimulus" not in each.dims and each.ndim}
    labels = {"stimulus_id": ("trial", given["stimulus"].values), "noise_seed": ("trial", seeds)}
    return xr.Dataset(
        {"embedding": (("trial", *given["embedding"].dims[1:]), values if conditioned else np.zeros_like(values))},
        {**axes, "trial": np.arange(len(seeds)), **labels},
        {"schema": "embedding.v1", "model": given.attrs["model"]},
    )


def _label(
    gallery: Gallery,
    rois: list[str],
    seeds: np.ndarray,
    stimuli: np.ndarray | None,
    frame: xr.Dataset,
    params: GuideParams,
) -> xr.Dataset:
    """Return what was painted as a dataset: all of it, or the best of each ROI."""
    order = np.tile(np.arange(params.n_images), (len(rois), 1))
    if params.n_best:
        # The best in the order in which they were painted; the first of equal ones.
        best = np.argsort(-gallery.predicted, axis=1, kind="stable")[:, : params.n_best]
        order = np.sort(best, axis=1)
    rows = np.arange(len(rois))[:, None]
    dims = ("roi", "candidate")
    pixels = gallery.pixels if not params.n_best else gallery.pixels[rows, order]
    variables = {
        "image": ((*dims, "y", "x", "rgb"), pixels),
        "predicted": (dims, gallery.predicted[rows, order], {"units": "SD of training trials"}),
        "noise_seed": (dims, seeds[order]),
    }
    if stimuli is not None:
        variables["condition"] = (dims, stimuli[order])
    attrs = {key: frame.attrs[key] for key in ("subject", "simulated") if key in frame.attrs}
    attrs |= {"schema": "image.v1", "model": gallery.model, "generator": params.generator}
    return xr.Dataset(
        variables, {"roi": rois, "candidate": np.arange(order.shape[1])}, {**attrs, "embedder": params.embedder}
    )
