"""The analysis `evaluation.images`: reconstructions against what was seen, by the field's metrics, with floors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import xarray as xr

import brainlens
from brainlens_evaluation.identification import Compared, Rows, identify
from brainlens_evaluation.networks import Features, Network, load_network, network_of
from brainlens_evaluation.params import ImageParams
from brainlens_evaluation.pixels import PIXEL_METRICS, compare_pixels, shared_side
from brainlens_evaluation.resize import first_resize
from brainlens_evaluation.sources import (
    Source,
    choose_candidate,
    mean_image,
    nearest_training,
    read,
    refuse_other_colours,
    rows_of_stimuli,
    rows_of_trials,
    training_rows,
)
from brainlens_evaluation.structure import scale_weights
from brainlens_evaluation.summary import (
    MADE,
    SHUFFLED,
    About,
    check_names,
    permuted_stimuli,
    summarise,
    wrong_stimuli,
)

# Pairs of images that are compared at a time: 425 x 425 pixels in double precision take 4 MB each.
_PAIRS = 16
_TWICE = "256 x 256, then 425 x 425, both bilinear without antialiasing"


def score_images(
    *,
    reconstructed: xr.Dataset,
    seen: xr.Dataset,
    floors: Sequence[xr.Dataset] | None,
    training: xr.Dataset | None,
    params: ImageParams,
    context: brainlens.Context,
) -> xr.Dataset:
    """Score how much reconstructions are like what was seen.

    Parameters
    ----------
    reconstructed
        Follows schema image.v1: `image` (trial, y, x, rgb), (trial, y, x) or (trial, candidate, y, x, rgb), uint8.
    seen
        Follows schema stimulus_image.v1: the image of every stimulus of the trials; more are not looked at.
    floors
        Images of the same trials that no brain helped to make, such as what the generator paints from random
        embeddings; named by `floor_names`; of several candidates the first. None or empty: no such floor.
    training
        Images that the decoder was fitted on, for the floors `mean_image` and `nearest_training`. Those that a scored
        trial shows are left out, and counted in the attribute `training_left_out`. None: no such floors.
    params
        Metrics, weights, candidate.
    context
        Device, precision, seed; the weights are noted among its sources.

    Returns
    -------
    Dataset following schema score.v1
        Dims (source, metric): score, mean over trials; ci_low, ci_high and p_value. Dim metric: chance, n,
        `undefined`, the number of reconstructions whose pix_corr does not exist and counts as 0, and coordinates
        `better`, `chance_from`, `p_value_from`, `preprocessing` and `layer`. Dims (source, metric, trial): value.
        Sources: "reconstructed"; "shuffled", the same images against other stimuli; the names of the floors;
        "mean_image" and "nearest_training". Attributes: `absent`, metrics without weights, with
        the command that fetches these; `weights`, the SHA-256 of what was used.

    Raises
    ------
    DimensionError
        If a stimulus has no image, trials differ, grey meets colour, images are too small for MS-SSIM, or there are
        fewer than two stimuli.
    ParameterError
        If a candidate or the names of floors do not fit.
    RegistryError
        If the folder of weights does not exist.
    CheckpointError
        If a file of weights is not the network's, or all metrics are absent.

    References
    ----------
    Definitions and preprocessing: Scotti et al. (2023), arXiv:2305.18274, and their scripts; Ozcelik & VanRullen
    (2023), doi:10.1038/s41598-023-42891-8. Differs: ties count as half in two-way identification; the distractors are
    the other stimuli, so that another trial of the same stimulus is none.

    Examples
    --------
    >>> pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    >>> made = xr.Dataset({"image": (("trial", "y", "x", "rgb"), pixels)}, {"trial": [7, 8, 9]})
    >>> made = made.assign_coords(stimulus_id=("trial", ["a", "b", "c"]))
    >>> seen = xr.Dataset({"image": (("stimulus", "y", "x", "rgb"), pixels)}, {"stimulus": ["a", "b", "c"]})
    >>> given = {"reconstructed": made, "seen": seen, "floors": None, "training": None}
    >>> params = ImageParams(metrics=("pix_corr", "ssim"))
    >>> scores = score_images(**given, params=params, context=brainlens.Context())
    >>> scores["score"].sel(source="reconstructed").values.round(6)
    array([1., 1.])
    """
    floors = list(floors or ())
    check_names(params.floor_names, len(floors))
    stimuli, truth = np.unique(reconstructed["stimulus_id"].values, return_inverse=True)
    if len(stimuli) < 2:
        raise brainlens.DimensionError(
            f"reconstructed: expected trials of at least 2 stimuli, found {len(stimuli)}. One shows neither chance nor "
            "spread."
        )
    pixels = choose_candidate(reconstructed, params.candidate, name="reconstructed")
    shown = Source(name="seen", pixels=seen["image"], rows=rows_of_stimuli(seen, stimuli))
    made = Source(name=MADE, pixels=pixels, rows=np.arange(len(truth)))
    others = [
        Source(
            name=name,
            pixels=choose_candidate(floor, 0 if "candidate" in floor["image"].dims else -1, name=f"floors, {name}"),
            rows=rows_of_trials(floor, reconstructed, name),
        )
        for name, floor in zip(params.floor_names, floors, strict=False)
    ]
    named = [(source.name, source.pixels) for source in (made, shown, *others)]
    refuse_other_colours([*named, *([("training", training["image"])] if training is not None else [])])
    side = params.ms_ssim_side or shared_side(made.pixels.shape, shown.pixels.shape)
    if "ms_ssim" in params.metrics:
        scale_weights(side)
    attrs = {key: reconstructed.attrs[key] for key in ("model", "subject", "variant") if key in reconstructed.attrs}
    loaded, absent = _load(params, context)
    if training is not None:
        rows = training_rows(training, stimuli)
        others.append(mean_image(training["image"], rows, len(truth)))
        others.append(nearest_training(training["image"], rows, made, context))
        attrs |= {"n_training": len(rows), "training_left_out": training.sizes["stimulus"] - len(rows)}
    wrong = wrong_stimuli(truth, len(stimuli), params.n_shuffles, context.rng(1))
    scored = [(made, {MADE: truth[None], SHUFFLED: wrong}), *((each, {each.name: truth[None]}) for each in others)]
    values, undefined = _pixel_values(scored, shown, side, params, context)
    orders = permuted_stimuli(truth, params.n_permutations, context.rng(2))
    by_network, null = _network_values(scored, shown, loaded, orders, params, context)
    values |= by_network
    values = {metric: values[metric] for metric in params.metrics if metric in values}
    about = {metric: _about(metric, side) for metric in values}
    trials = {name: reconstructed[name].variable for name in ("trial", "stimulus_id")}
    found = summarise(values, about, trials, null=null, params=params, context=context, attrs=attrs)
    found["undefined"] = "metric", np.array([undefined.get(metric, 0) for metric in values])
    weights = {metric: sha256 for (_, _, sha256), metrics in loaded for metric in metrics}
    return found.assign_attrs(absent=absent, weights=weights)


_Loaded = list[tuple[tuple[Network, Features, str], tuple[str, ...]]]


def _load(params: ImageParams, context: brainlens.Context) -> tuple[_Loaded, dict[str, str]]:
    """Load the networks that are wanted; return them with their metrics, and what to do about those that are absent."""
    folder = context.source(params.weights) if params.weights else None
    if folder is not None and not folder.is_dir():
        raise brainlens.CheckpointError(
            f"weights {params.weights!r}: expected a folder, found a file. Give the folder it lies in."
        )
    wanted: dict[str, tuple[Network, list[str]]] = {}
    for metric in params.metrics:
        network = network_of(metric)
        if network is not None:
            wanted.setdefault(network.name, (network, []))[1].append(metric)
    loaded: _Loaded = []
    absent: dict[str, str] = {}
    for network, metrics in wanted.values():
        found = load_network(network, folder, context, tuple(metrics))
        if found is None:
            where = f"{network.files[0]} is not in {str(folder)!r}" if folder else "no folder of weights was given"
            absent |= dict.fromkeys(metrics, f"{where}; fetch it with: {network.fetch(folder)}")
        else:
            loaded.append(((network, *found), tuple(metrics)))
    if len(absent) == len(params.metrics):
        raise brainlens.CheckpointError(
            f"metrics: expected the weights of at least one, found none of {brainlens.listed(params.metrics)}: "
            f"{next(iter(absent.values()))}, and give that folder as weights."
        )
    for why in dict.fromkeys(absent.values()):
        names = ", ".join(name for name, reason in absent.items() if reason == why)
        context.log.warning("evaluation.images: absent: %s: %s. Then score under a new name.", names, why)
    return loaded, absent


_Scored = Sequence[tuple[Source, Mapping[str, np.ndarray]]]
_Values = dict[str, dict[str, np.ndarray]]


def _pixel_values(
    scored: _Scored, shown: Source, side: int, params: ImageParams, context: brainlens.Context
) -> tuple[_Values, dict[str, int]]:
    """Return the values of trials for metrics of pixels, and how many of the reconstructions have none."""
    metrics: list[str] = [metric for metric in params.metrics if metric in PIXEL_METRICS]
    found: _Values = {metric: {} for metric in metrics}
    undefined: dict[str, int] = {}
    if not metrics:
        return found, undefined
    for source, truths in scored:
        for name, comparisons in truths.items():
            n_trials = comparisons.shape[1]
            for metric in metrics:
                found[metric][name] = np.zeros(n_trials)
            for start in context.progress(range(0, n_trials, _PAIRS), label=f"pixels: {name}"):
                trials = slice(start, start + _PAIRS)
                made = read(source.pixels, source.rows[trials])
                for truth in comparisons:
                    seen = read(shown.pixels, shown.rows[truth[trials]])
                    each = compare_pixels(made, seen, metrics, side=side, device=context.device)
                    for metric, values in each.items():
                        missing = np.isnan(values)
                        if name == MADE:
                            undefined[metric] = undefined.get(metric, 0) + int(missing.sum())
                        # A blank image says nothing of what was seen.
                        found[metric][name][trials] += np.where(missing, 0.0, values) / len(comparisons)
    if undefined.get("pix_corr"):
        context.log.warning(
            "evaluation.images: pix_corr of %d of %d reconstructions does not exist, since all values of it or of "
            "what was seen are the same; it counts as 0.",
            undefined["pix_corr"], len(scored[0][0].rows),
        )  # fmt: skip
    return found, undefined


def _network_values(
    scored: _Scored,
    shown: Source,
    loaded: _Loaded,
    orders: np.ndarray,
    params: ImageParams,
    context: brainlens.Context,
) -> tuple[_Values, _Values]:
    """Return the values of trials for metrics of networks, and their means in permuted orders."""
    found: _Values = {}
    null: _Values = {}
    for (network, look, _), _ in loaded:
        compared = [
            Compared(features=_rows_of(source.pixels, look, context), rows=source.rows, truths=truths, orders=orders)
            for source, truths in scored
        ]
        both = identify(
            _rows_of(shown.pixels, look, context, shown.rows),
            len(shown.rows),
            compared,
            context=context,
            batch_size=params.batch_size,
            label=network.name,
        )
        for metric, by_name in both.items():
            what = "distance" if network.distance else "two_way"
            found[metric] = {name: getattr(each, what) for name, each in by_name.items()}
            null[metric] = {name: getattr(each, f"null_{what}") for name, each in by_name.items()}
    return found, null


def _rows_of(pixels: xr.DataArray, look: Features, context: brainlens.Context, order: np.ndarray | None = None) -> Rows:
    """Return the features of images by row, or by position in an order of rows."""

    def features(rows: np.ndarray) -> dict[str, torch.Tensor]:
        images = read(pixels, rows if order is None else order[rows])
        return look(first_resize(images, context.device))

    return features


def _about(metric: str, side: int) -> About:
    network = network_of(metric)
    if network is not None:
        return About(
            better="lower" if network.distance else "higher",
            preprocessing=network.preprocessing(),
            layer=network.layer(metric),
            chance=None if network.distance else 0.5,
        )
    words = {
        "pix_corr": _TWICE,
        "ssim": f"{_TWICE}; grey by skimage.color.rgb2gray",
        "ssim_columns": f"{_TWICE}; grey by skimage.color.rgb2gray; each pixel column by itself",
        "ms_ssim": f"{side} x {side}, bilinear with antialiasing",
    }
    if metric == "ms_ssim":
        words[metric] += f"; {len(scale_weights(side))} scales; colour channels apart"
    return About(better="higher", preprocessing=words[metric])
