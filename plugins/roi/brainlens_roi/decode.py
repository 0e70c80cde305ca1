"""The analysis `roi.decode`: how well each ROI alone, all but each ROI, or growing sets of ROIs are decoded from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.stats
import xarray as xr

import brainlens
from brainlens_roi.cases import Cases, prepare
from brainlens_roi.ceiling import noise_ceiling
from brainlens_roi.params import DecodeParams
from brainlens_roi.sets import Sets, make_sets, site_dim
from brainlens_roi.tally import Problem, Tally, join_tallies, tally_of

_BOOTSTRAP, _EXCHANGED = 3, 4
IDENTIFICATION = ("two_way_identification", "top_1")


def decode(
    *, response: list[xr.Dataset], target: xr.Dataset | None, params: DecodeParams, context: brainlens.Context
) -> xr.Dataset:
    """Decode stimuli from sets of ROIs, cross-validated.

    Parameters
    ----------
    response
        Responses (response.v1), one or several subjects, dims (trial, voxel) or (trial, vertex), with `roi_mask`.
    target
        Embeddings (embedding.v1) of the stimuli, dims (stimulus, channel) or (stimulus, token, channel); or None to
        decode the coordinate `params.classes`, one-hot.
    params
        Which sets, which folds, how many shuffles; see `DecodeParams`.
    context
        Seed of folds, shuffles and draws; device; progress.

    Returns
    -------
    Dataset (score.v1)
        Dims (metric, roi), or (subject, metric, roi) of several responses. `roi` names the set: the ROI alone, what is
        left out, or what is added.

        `score`, `chance`, `n` (rows tested); `ci_low` and `ci_high`, 95 %, over units, which are stimuli or values of
        `cv_by`; `p_value`, labels shuffled; `q_value`, Benjamini and Hochberg over sets, of which "all sites" is none.

        Metrics: two_way_identification and top_1 among the stimuli that the fold tests, or among all classes; r2 over
        all channels, 1 - squared error / squared distance from the training mean; and `r2 CHANNEL`.

        `n_sites` (roi), decoded from; `noise_ceiling` (roi), the mean over sites of the share of the variance of rows
        that is signal, not a number where nothing was shown twice and there is no `ncsnr`.

        Left out: `drop`, what scores lose against all sites, `drop_low`, `drop_high`, `drop_p_value` (one-sided, the
        two exchanged for whole units) and `drop_q_value`. Drawn sites: `score_sd` over draws. Best first: `added`
        (fold, roi), which ROI each fold added.

    Raises
    ------
    DimensionError
        If an ROI is unknown, empty or absent from a subject, ROIs overlap that must not, a set has too few sites,
        stimuli have no target, or folds cannot be tested.
    ParameterError
        If an expression cannot be read, or a channel does not exist.

    References
    ----------
    The penalty of every channel is chosen by leave-one-out in the training rows, as `brainlens.fit_ridge` does, also
    for shuffled labels. p-values: Phipson & Smyth (2010), doi:10.2202/1544-6115.1585. False discovery rate: Benjamini &
    Hochberg (1995), doi:10.1111/j.2517-6161.1995.tb02031.x.

    Examples
    --------
    >>> from brainlens.testing import synthetic_study
    >>> study = synthetic_study()
    >>> params = DecodeParams(rois=("V1", "empty"), n_permutations=99)
    >>> given = {"response": [study["response"]], "target": study["target"]}
    >>> scores = decode(**given, params=params, context=brainlens.Context())
    >>> (scores["p_value"].sel(metric="r2") < 0.05).values.tolist()
    [True, False]
    """
    subjects = [str(each.attrs.get("subject", number)) for number, each in enumerate(response)]
    repeated = sorted({name for name in subjects if subjects.count(name) > 1})
    if repeated:
        raise brainlens.DimensionError(
            f"response: expected one of each subject, found several of {repeated[0]!r}. Decode them one by one."
        )
    if not params.rois and len(response) > 1:
        _refuse_different_rois(response, subjects)
    problems, ceilings = [], []
    for subject, each in zip(subjects, response, strict=True):
        try:
            problem, sets = _pose(each, target, params, context)
        except brainlens.DimensionError as error:
            if len(response) == 1:
                raise
            raise brainlens.DimensionError(f"subject {subject!r}: {error}") from error
        problems.append(problem)
        ceilings.append(sets)
    tallies = _tallies(problems, params, context)
    parts = [
        _as_scores(problem, found, ceiling, each, context).assign_attrs(subject=subject)
        for subject, each, problem, found, ceiling in zip(subjects, response, problems, tallies, ceilings, strict=True)
    ]
    if len(parts) == 1:
        return parts[0]
    joined = xr.concat([part.drop_attrs() for part in parts], dim=xr.Variable("subject", subjects))
    return joined.assign_attrs({key: value for key, value in parts[0].attrs.items() if key != "subject"})


def _tallies(problems: list[Problem], params: DecodeParams, context: brainlens.Context) -> list[Tally]:
    """Decode from all sets of each subject, some sets at a time where several processes take part."""
    if params.n_workers and context.device != "cpu":
        raise brainlens.ParameterError(
            f"n_workers: expected 0 on {context.device!r}, which processes would only share, found {params.n_workers}. "
            "Say device='cpu'."
        )
    items = [
        (number, numbers.tolist())
        for number, problem in enumerate(problems)
        for numbers in np.array_split(np.arange(len(problem.sets)), _n_parts(len(problem.sets), params))
    ]
    # Progress of parts is shown here then, and not by each process.
    bare = replace(context, components={}, scratch=None, quiet=context.quiet or params.n_workers > 0)
    made = brainlens.spread(tally_of, items, (problems, bare), n_workers=params.n_workers)
    if params.n_workers:
        made = context.progress(made, total=len(items), label="decoding")
    found: list[list[Tally]] = [[] for _ in problems]
    for (number, _), each in zip(items, made, strict=True):
        found[number].append(each)
    return [join_tallies(each) for each in found]


def _n_parts(n_sets: int, params: DecodeParams) -> int:
    """Return into how many parts sets are cut: sets that share kernels should not be cut finer than workers need."""
    if not params.n_workers:
        return 1
    return min(n_sets, params.n_workers * (4 if params.mode == "alone" else 1))


def _pose(
    response: xr.Dataset, target: xr.Dataset | None, params: DecodeParams, context: brainlens.Context
) -> tuple[Problem, np.ndarray]:
    """Read what is decoded, and estimate the noise ceiling of its sites."""
    site = site_dim(response)
    sets = make_sets(response, params)
    used = np.unique(np.concatenate([sets.within, *sets.members]))
    members = tuple(np.searchsorted(used, each) for each in sets.members)
    sets = replace(sets, members=members, within=np.searchsorted(used, sets.within))
    _check_sizes(sets, params, site)
    kept = [name for name in response.data_vars if name == "response"]
    trials = response[kept].isel({site: used}).transpose("trial", site)
    rows, cases = prepare(trials, target, params, context)
    problem = Problem(
        values=np.asarray(rows["response"].values, np.float32),
        cases=cases,
        sets=sets,
        chosen=_chosen_channels(cases, params),
        params=params,
    )
    return problem, noise_ceiling(trials, rows)


def _as_scores(
    problem: Problem, found: Tally, ceiling: np.ndarray, response: xr.Dataset, context: brainlens.Context
) -> xr.Dataset:
    cases, sets, params = problem.cases, problem.sets, problem.params
    metrics = [*IDENTIFICATION, "r2", *(f"r2 {cases.channels[channel]}" for channel in problem.chosen)]
    dims = ("metric", "roi")
    totals = found.gained.sum(axis=2), found.possible.sum(axis=2)
    score = _score(*totals)
    low, high = _intervals(found.gained, found.possible, context, params)
    variables = {"score": score, "chance": np.tile(_chance(cases, len(metrics)), (len(sets), 1))}
    variables |= {"n": np.full(score.shape, sum(len(fold.test) for fold in cases.folds))}
    variables |= {"ci_low": low, "ci_high": high}
    counted = np.arange(len(sets)) > 0 if sets.mode == "left_out" else np.ones(len(sets), bool)
    if params.n_permutations:
        null = _score(found.null_gained, found.null_possible)
        p_value = (1 + (null >= score[:, :, None]).sum(axis=2)) / (1 + params.n_permutations)
        variables |= {"p_value": p_value, "q_value": _q_values(p_value, counted)}
    if sets.mode == "left_out":
        variables |= _drops(found, counted, context, params)
    if params.n_voxels:
        of_draw = _score(found.of_draw, totals[1][:, :, None])
        variables["score_sd"] = of_draw.std(axis=2)
    orders = found.orders if sets.by_score else found.orders[:1]
    sites = [[sets.sites(number, order) for order in orders] for number in range(len(sets))]
    n_sites = np.array([params.n_voxels or np.mean([len(each) for each in of_fold]) for of_fold in sites])
    reached = np.array([np.mean([ceiling[each].mean() for each in of_fold]) for of_fold in sites])
    made = xr.Dataset(
        {name: (dims, values.T) for name, values in variables.items()},
        {"metric": metrics, "roi": list(sets.labels)},
        {**_attrs(response, cases, params), "schema": "score.v1"},
    )
    made = made.assign(noise_ceiling=("roi", reached)).assign_coords(n_sites=("roi", n_sites))
    if not sets.by_score:
        return made.assign_coords(n_sites=made["n_sites"].astype(np.int64))
    added = [[sets.rois[roi] for roi in order] for order in found.orders]
    return made.assign(added=(("fold", "roi"), added)).assign_coords(fold=[fold.label for fold in cases.folds])


def _score(gained: np.ndarray, possible: np.ndarray) -> np.ndarray:
    """Return scores from sums whose second dim is the measure: shares, and 1 - shares of what are errors."""
    share: np.ndarray = gained / possible
    n = len(IDENTIFICATION)
    return np.concatenate([share[:, :n], 1 - share[:, n:]], axis=1)


def _intervals(
    gained: np.ndarray, possible: np.ndarray, context: brainlens.Context, params: DecodeParams
) -> tuple[np.ndarray, np.ndarray]:
    """Return ends of 95 % intervals, (set, measure), from drawing units again, the same for all sets."""
    drawn = _drawn_units(gained.shape[2], context, params)
    scores = _score(gained @ drawn.T, possible @ drawn.T)
    low, high = np.quantile(scores, [0.025, 0.975], axis=2)
    return low, high


def _drawn_units(n_units: int, context: brainlens.Context, params: DecodeParams) -> np.ndarray:
    rng = context.rng(_BOOTSTRAP)
    return rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=params.n_resamples).astype(np.float32)


def _drops(
    found: Tally, counted: np.ndarray, context: brainlens.Context, params: DecodeParams
) -> dict[str, np.ndarray]:
    """Return what scores lose where an ROI is left out, against all sites, the first set; not a number for that."""
    sign = np.where(np.arange(found.gained.shape[1]) < len(IDENTIFICATION), 1.0, -1.0)[:, None]
    lost = (found.gained[:1] - found.gained) * sign
    total = found.possible.sum(axis=2)
    drop = lost.sum(axis=2) / total
    drawn = _drawn_units(lost.shape[2], context, params)
    low, high = np.quantile((lost @ drawn.T) / (found.possible @ drawn.T), [0.025, 0.975], axis=2)
    variables = {"drop": drop, "drop_low": low, "drop_high": high}
    if params.n_permutations:
        rng = context.rng(_EXCHANGED)
        signs = rng.choice([-1.0, 1.0], size=(params.n_permutations, lost.shape[2])).astype(np.float32)
        reached = ((lost @ signs.T) / total[:, :, None] >= drop[:, :, None]).sum(axis=2)
        p_value = (1 + reached) / (1 + params.n_permutations)
        variables |= {"drop_p_value": p_value, "drop_q_value": _q_values(p_value, counted)}
    return {name: np.where(counted[:, None], values, np.nan) for name, values in variables.items()}


def _q_values(p_value: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Return p-values after Benjamini and Hochberg over the sets that count; not a number for others."""
    found = np.full(p_value.shape, np.nan)
    found[counted] = scipy.stats.false_discovery_control(p_value[counted], axis=0)
    return found


def _chance(cases: Cases, n_measures: int) -> np.ndarray:
    """Return the score of guessing, and of the training mean."""
    tested = np.array([len(fold.test) for fold in cases.folds])
    among = [len(cases.items) if cases.all_items else len(np.unique(cases.code[fold.test])) for fold in cases.folds]
    chance = np.zeros(n_measures)
    chance[: len(IDENTIFICATION)] = 0.5, float((tested / np.array(among)).sum() / tested.sum())
    return chance


def _chosen_channels(cases: Cases, params: DecodeParams) -> tuple[int, ...]:
    if params.channels == ("*",):
        chosen = list(range(len(cases.channels)))
    else:
        unknown = [name for name in params.channels if name not in cases.channels]
        if unknown:
            near = brainlens.closest(unknown[0], cases.channels, what="channels")
            raise brainlens.ParameterError(f"channels: expected channels of the target, found {unknown[0]!r}. {near}")
        chosen = [cases.channels.index(name) for name in params.channels]
    stuck = [cases.channels[channel] for channel in chosen if np.ptp(cases.items[:, channel]) == 0]
    if stuck:
        raise brainlens.DimensionError(
            f"channels: expected channels that vary over the stimuli, found {brainlens.listed(stuck)} that do not. "
            "Leave these out."
        )
    return tuple(chosen)


def _check_sizes(sets: Sets, params: DecodeParams, site: str) -> None:
    if not params.n_voxels:
        return
    if sets.mode == "growing":
        raise brainlens.ParameterError(
            "n_voxels: expected 0 for mode='growing', whose sets differ by the sites that they have, found "
            f"{params.n_voxels}."
        )
    sizes = {label: len(sets.sites(number)) for number, label in enumerate(sets.labels)}
    small = {label: size for label, size in sizes.items() if size < params.n_voxels}
    if small:
        found = ", ".join(f"{label!r} {size}" for label, size in list(small.items())[:5])
        raise brainlens.DimensionError(
            f"n_voxels: expected sets of at least {params.n_voxels} {site} sites, found {len(small)} smaller ones: "
            f"{found}. Draw at most {min(small.values())}, or leave these out."
        )


def _refuse_different_rois(response: Sequence[xr.Dataset], subjects: Sequence[str]) -> None:
    named = [{str(name) for name in each["roi"].values} if "roi" in each.coords else set() for each in response]
    for subject, names in zip(subjects, named, strict=True):
        absent = sorted(set.union(*named) - names)
        if absent:
            owner = subjects[next(number for number, each in enumerate(named) if absent[0] in each)]
            raise brainlens.DimensionError(
                f"subject {subject!r}: expected the ROIs of the other subjects, found no {brainlens.listed(absent)}, "
                f"which {owner!r} has. Name the ROIs that all have in 'rois'."
            )


def _attrs(response: xr.Dataset, cases: Cases, params: DecodeParams) -> dict[str, object]:
    kept = {key: response.attrs[key] for key in ("subject", "space", "simulated") if key in response.attrs}
    return {
        **kept,
        "mode": params.mode,
        "cv_by": params.cv_by,
        "n_folds": len(cases.folds),
        "n_units": cases.n_units,
        "n_permutations": params.n_permutations,
        "n_draws": params.n_draws if params.n_voxels else 1,
    }
