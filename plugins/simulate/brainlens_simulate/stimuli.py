"""The stimuli of a subject: scenes that its whole population sees, then scenes of its own; and the features of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import xarray as xr

import brainlens
from brainlens_simulate.features import Features, observe
from brainlens_simulate.params import ScenesParams
from brainlens_simulate.pyramid import PIXELS
from brainlens_simulate.scene import Scene
from brainlens_simulate.scenes import draw_variables, read, scene_maker
from brainlens_simulate.subject_params import SubjectParams

N_REFERENCE = 400
# Above all seeds of populations and subjects.
_REFERENCE_SEED = 2**34
_PIXEL_VARIABLES = ("image", "object_map", "depth")


@dataclass(frozen=True)
class Stimuli:
    """Datasets of the stimuli, shared ones first, and their features in the same order."""

    images: xr.Dataset
    captions: xr.Dataset
    factors: xr.Dataset
    features: Features


def make_stimuli(params: SubjectParams, context: brainlens.Context, *, own_seed: int) -> Stimuli:
    """Make the stimuli of a subject.

    Parameters
    ----------
    params
        How many, and what is in them.
    context
        Shows progress.
    own_seed
        Seed of the scenes of the subject's own. Shared ones have the population's, and so are what `simulate.scenes`
        makes with that seed, under the same names.
    """
    parts = [(params.population, params.n_shared), (own_seed, params.n_stimuli)]
    made = [read(params=_scenes(params, n), context=replace(context, seed=seed)) for seed, n in parts if n]
    tables = [part["images"].drop_vars(_PIXEL_VARIABLES, errors="ignore") for part in made]
    images = _joined(tables)
    scene = _all_scenes(params, context, own_seed)
    everything = _scenes(params, params.n_shared + params.n_stimuli)
    factors = _joined([part["factors"] for part in made])
    pixels = draw_variables(scene, everything.model_copy(update={"size": PIXELS, "annotate": False}), _silent(context))
    features = observe(pixels["image"], factors["embedding"].values, images, context=context, label="looking at scenes")
    return Stimuli(
        images=images.assign(draw_variables(scene, everything, context)),
        captions=_joined([part["captions"] for part in made]),
        factors=factors,
        features=features,
    )


def reference_features(params: SubjectParams) -> Features:
    """Return the features of scenes that nobody is shown, by which the brains of a population are scaled."""
    return _look_at_reference(_scenes(params, N_REFERENCE).model_copy(update={"size": PIXELS}), params.population)


# Several subjects of one population are often made one after another, and these take seconds.
@lru_cache(maxsize=2)
def _look_at_reference(scenes: ScenesParams, population: int) -> Features:
    context = brainlens.Context(seed=_REFERENCE_SEED + population)
    made = read(params=scenes.model_copy(update={"annotate": False}), context=context)
    images, factors = made["images"], made["factors"]["embedding"].values
    return observe(images["image"].variable, factors, images, context=context, label="reference scenes")


def _scenes(params: SubjectParams, n: int) -> ScenesParams:
    names = ("size", "concepts", "n_objects", "co_occurrence", "spread", "annotate")
    return ScenesParams(n=n, **{name: getattr(params, name) for name in names})


def _all_scenes(params: SubjectParams, context: brainlens.Context, own_seed: int) -> Callable[[int], Scene]:
    """Return a function from the number of a stimulus to its scene: shared ones first."""
    of_all = scene_maker(_scenes(params, 1), replace(context, seed=params.population))
    of_one = scene_maker(_scenes(params, 1), replace(context, seed=own_seed))

    def make(number: int) -> Scene:
        return of_all(number) if number < params.n_shared else of_one(number - params.n_shared)

    return make


def _joined(parts: list[xr.Dataset]) -> xr.Dataset:
    return xr.concat(parts, dim="stimulus", data_vars="minimal", coords="minimal", compat="equals", join="exact")


def _silent(context: brainlens.Context) -> brainlens.Context:
    """Return the context without progress bars, for parts that are shown as one."""
    return replace(context, quiet=True)
