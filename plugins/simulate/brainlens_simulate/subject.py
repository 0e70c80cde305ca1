"""The importer `simulate`: a subject whose visual cortex looks at rendered scenes, and everything that is true of it.

The parts are in other modules (`anatomy`, `pyramid`, `features`, `receptive_fields`, `tuning`, `drive`, `noise`,
`design`, `time_series`); here they are put together and labelled.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

import brainlens
from brainlens_simulate.anatomy import draw_sites
from brainlens_simulate.areas import median_ncsnr
from brainlens_simulate.design import STIMULUS_S, Design, draw_design
from brainlens_simulate.drive import Brain, describe_brain, grow_brain
from brainlens_simulate.features import Features
from brainlens_simulate.noise import NoiseLevels, SubjectNoise, draw_law, draw_noise_std, noise_ceiling
from brainlens_simulate.receptive_fields import share_inside
from brainlens_simulate.stimuli import Stimuli, make_stimuli, reference_features
from brainlens_simulate.subject_params import SubjectParams
from brainlens_simulate.time_series import BASELINE, Scanner, simulate_bold
from brainlens_simulate.tuning import Mix, draw_axes, draw_tuning

UNITS = "% signal change"
# Keys of the streams of random numbers; those of scenes are in `scenes`.
_ANATOMY, _TUNING, _LEVELS, _NOISE, _TRIAL, _ORDER, _SCANNER, _AXES = range(101, 109)
_BLOCK = 256
# SD of the logarithm of the ncsnr: between voxels of an area, and between subjects.
_VOXEL_SCATTER, _SUBJECT_SCATTER = 0.45, 0.12
_NCSNR_RANGE = (0.03, 1.5)


@dataclass(frozen=True)
class Subject:
    """A simulated subject: tuning of its voxels, the brain that responds, the law of its noise, and its trials."""

    tuning: xr.Dataset
    brain: Brain
    law: SubjectNoise
    design: Design


def read(*, params: SubjectParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Simulate a subject.

    Parameters
    ----------
    params
        Sizes, shares and levels; see `SubjectParams`.
    context
        Its seed, the population and the subject's name decide the subject. The population alone decides the axes that
        its subjects share, and the stimuli that all of them see.

    Returns
    -------
    Mapping
        `response` (response.v1): dims (trial, voxel), float32, % signal change, in order of acquisition, with session,
        run, repetition, onset in s, and split; voxels with `roi_mask`, place, `ncsnr`, and `noise_ceiling`: the
        correlation of the noiseless response with the mean of all repetitions. `images`, `captions`, `factors`: the
        stimuli, as `simulate.scenes` makes them. `truth` (forward_model.v1): noiseless responses to all stimuli, and
        the law of the noise. `tuning` (weights.v1): receptive fields, family, preference and weights of every voxel.
        With the parameter bold, also `bold` (bold.v1), with events.

    Raises
    ------
    ParameterError
        If there are not so many voxels, or too few for the ROIs.
    """
    own = replace(context, seed=_own_seed(params, context.seed))
    sites = draw_sites(own.rng(_ANATOMY), n_voxels=params.n_voxels, rois=params.rois)
    reference = reference_features(params)
    subject = _draw_subject(params, own, sites, reference)
    stimuli = make_stimuli(params, context, own_seed=own.seed)
    quality = _measure_quality(subject, stimuli.features, params, context)
    subject = replace(subject, tuning=subject.tuning.assign_coords(quality))

    names = stimuli.images["stimulus"].values
    response = _response(subject, stimuli, own, params)
    tuning = subject.tuning.assign_coords(describe_brain(subject.brain, reference))
    made = {
        "response": response,
        "images": stimuli.images,
        "captions": stimuli.captions,
        "factors": stimuli.factors,
        "truth": _truth(subject, stimuli, own, params),
        "tuning": tuning.assign_attrs(_attrs(subject, params), schema="weights.v1", units="no unit"),
    }
    if params.bold:
        made["bold"] = _bold(subject, response, names, own, params)
    return made


def _own_seed(params: SubjectParams, seed: int) -> int:
    """Return a seed for the subject alone, above all seeds of populations."""
    return 2**32 + zlib.crc32(f"{params.population} {seed} {params.subject}".encode())


def _draw_subject(params: SubjectParams, own: brainlens.Context, sites: xr.Dataset, reference: Features) -> Subject:
    axes = draw_axes(replace(own, seed=params.population).rng(_AXES))
    mix = Mix(params.mixture, params.route, params.text, params.null, params.private)
    tuning = draw_tuning(sites, axes, mix, signal=params.signal, context=own, stream=_TUNING)
    rng = own.rng(_LEVELS)
    std = draw_noise_std(rng, params.n_voxels)
    signal = tuning["family"].values != "null"
    amplitude = _draw_ncsnr(rng, tuning) * params.snr * std * signal
    baseline = np.maximum(0, rng.normal(0.8, 0.4, params.n_voxels)) * signal
    brain = grow_brain(tuning, reference, amplitude=amplitude, baseline=baseline)
    design = draw_design(
        own.rng(_ORDER),
        n_stimuli=params.n_stimuli + params.n_shared,
        n_repetitions=params.n_repetitions,
        n_sessions=params.n_sessions,
    )
    levels = NoiseLevels(
        smooth=params.noise_smooth,
        smooth_mm=params.noise_smooth_mm,
        echo=params.noise_echo,
        gain=params.noise_gain,
        tail=params.noise_tail,
        drift=params.drift,
    )
    law = draw_law(
        own.rng(_NOISE),
        levels=levels,
        std=std,
        xyz=np.stack([tuning[f"{axis}_mm"].values for axis in "xyz"], axis=1),
        reference=brain.respond(reference),
        session=design.session,
    )
    return Subject(tuning, brain, law, design)


def _draw_ncsnr(rng: np.random.Generator, tuning: xr.Dataset) -> np.ndarray:
    """Draw the ncsnr that each voxel has over the reference scenes; less where its receptive field leaves the image."""
    median = np.array([median_ncsnr(area) for area in tuning["area"].values])
    scatter = rng.normal(0, _SUBJECT_SCATTER) + rng.normal(0, _VOXEL_SCATTER, len(median))
    drawn = np.clip(median * np.exp(scatter), *_NCSNR_RANGE)
    fields = (tuning[name].values for name in ("prf_x", "prf_y", "prf_size"))
    inside = np.nan_to_num(share_inside(*fields), nan=1.0)
    reliable: np.ndarray = drawn * np.sqrt(inside)
    return reliable


def _measure_quality(
    subject: Subject, features: Features, params: SubjectParams, context: brainlens.Context
) -> dict[str, Any]:
    """Return ncsnr and noise ceiling of every voxel over the stimuli that are shown, exact in expectation."""
    total, squares = np.zeros(params.n_voxels), np.zeros(params.n_voxels)
    n = len(features.latent)
    for low in context.progress(range(0, n, _BLOCK), label="noise ceilings"):
        drive = subject.brain.respond(_rows(features, slice(low, low + _BLOCK))).astype(np.float64)
        total += drive.sum(axis=0)
        squares += (drive**2).sum(axis=0)
    variance = np.maximum(0, squares / n - (total / n) ** 2)
    # What rounding leaves of a constant is no signal.
    variance[variance < 1e-9] = 0
    ncsnr = np.sqrt(variance / subject.law.noise_variance(squares / n))
    ceiling = noise_ceiling(ncsnr, params.n_repetitions)
    note = f"correlation with the mean of {params.n_repetitions} trials"
    return {
        "ncsnr": ("voxel", ncsnr.astype(np.float32), {"units": "SD of signal by SD of noise in one trial"}),
        "noise_ceiling": ("voxel", ceiling.astype(np.float32), {"units": note}),
    }


def _rows(features: Features, rows: slice | np.ndarray) -> Features:
    return Features(maps=features.maps[rows], latent=features.latent[rows])


def _attrs(subject: Subject, params: SubjectParams) -> dict[str, Any]:
    return {**subject.tuning.attrs, "subject": params.subject, "units": UNITS, "population": params.population}


def _site_coords(subject: Subject) -> xr.Dataset:
    """Return what every dataset on voxels says of them: place, ROIs, quality."""
    names = ["voxel", "i", "j", "k", "x_mm", "y_mm", "z_mm", "hemisphere", "area", "family", "ncsnr", "noise_ceiling"]
    kept = subject.tuning[["roi_mask"]]
    return kept.drop_vars([name for name in kept.coords if name not in (*names, "roi")])


def _responder(
    subject: Subject, features: Features, own: brainlens.Context, label: str
) -> Callable[[int, int], np.ndarray]:
    """Return a function from the first trial, and the one behind the last, to their responses (trial, voxel)."""
    row = subject.design.row

    def make(low: int, high: int) -> np.ndarray:
        made = np.empty((high - low, len(subject.brain.kind)), np.float32)
        for start in own.progress(range(low, high, _BLOCK), label=f"{label} from trial {low}"):
            trials = range(start, min(start + _BLOCK, high))
            block = made[start - low : trials.stop - low]
            block[:] = subject.brain.respond(_rows(features, row[start : trials.stop]))
            subject.law.add_to(block, trials, context=own, stream=_TRIAL)
        return made

    return make


def _response(subject: Subject, stimuli: Stimuli, own: brainlens.Context, params: SubjectParams) -> xr.Dataset:
    design = subject.design
    make = _responder(subject, stimuli.features, own, "responses")
    shape = (len(design.row), params.n_voxels)
    coords = {
        "trial": np.arange(len(design.row)),
        "stimulus_id": stimuli.images["stimulus"].values[design.row],
        "session": design.session,
        "run": design.run,
        "repetition": design.repetition,
        "onset": design.onset,
        "split": np.where(design.row < params.n_shared, "test", "train"),
    }
    response = _site_coords(subject).assign(response=brainlens.made_rows(("trial", "voxel"), shape, np.float32, make))
    response = response.assign_coords({name: ("trial", values) for name, values in coords.items()})
    return response.assign_attrs(_attrs(subject, params), schema="response.v1", stimulus_s=STIMULUS_S)


def _truth(subject: Subject, stimuli: Stimuli, own: brainlens.Context, params: SubjectParams) -> xr.Dataset:
    law = subject.law

    def make(low: int, high: int) -> np.ndarray:
        blocks = own.progress(range(low, high, _BLOCK), label=f"noiseless responses from {low}")
        made = np.empty((high - low, params.n_voxels), np.float32)
        for start in blocks:
            stop = min(start + _BLOCK, high)
            made[start - low : stop - low] = subject.brain.respond(_rows(stimuli.features, slice(start, stop)))
        return made

    shape = (len(stimuli.features.latent), params.n_voxels)
    truth = _site_coords(subject).assign(
        drive=brainlens.made_rows(("stimulus", "voxel"), shape, np.float32, make),
        noise_std=("voxel", law.noise_std),
        noise_map=(("noise_factor", "voxel"), law.noise_map),
        drift_map=(("drift", "voxel"), law.drift_map),
        drift_course=(("trial", "drift"), law.drift_course),
    )
    truth = truth.assign_coords(
        stimulus=stimuli.images["stimulus"].values,
        trial=np.arange(len(law.drift_course)),
        split=("stimulus", np.where(np.arange(shape[0]) < params.n_shared, "test", "train")),
    )
    return truth.assign_attrs(_attrs(subject, params), schema="forward_model.v1", gain=law.gain, tail=law.tail)


def _bold(
    subject: Subject, response: xr.Dataset, names: np.ndarray, own: brainlens.Context, params: SubjectParams
) -> xr.Dataset:
    def respond(low: int, high: int) -> np.ndarray:
        return response["response"][low:high].values

    scanner = Scanner(t_r=params.t_r, noise=params.noise_bold)
    series = simulate_bold(respond, params.n_voxels, subject.design, scanner, context=own, stream=_SCANNER)
    stimulus = names[series["event_stimulus_row"].values]
    series = series.drop_vars("event_stimulus_row").assign(event_stimulus_id=("event", stimulus))
    units = f"scanner units, baseline {BASELINE:g}"
    attrs = {**_attrs(subject, params), "schema": "bold.v1", "units": units, "t_r": params.t_r}
    return _site_coords(subject).assign(series.data_vars).assign_coords(series.coords).assign_attrs(attrs)
