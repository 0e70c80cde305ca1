"""The importer `simulate.scenes`: rendered images with object maps and depth, captions, and latent factors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

import brainlens
from brainlens_simulate.captions import LENGTHS, describe_scene
from brainlens_simulate.factors import factor_names, factor_row, object_table
from brainlens_simulate.params import ScenesParams
from brainlens_simulate.render import draw_image, map_depth, map_objects
from brainlens_simulate.scene import MOST_OBJECTS, Scene, sample_scene

FACTORS = "simulated factors"
_SCENE_STREAM = 1


def read(*, params: ScenesParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Render scenes.

    Parameters
    ----------
    params
        How many, how large, and what is in them; see `ScenesParams`.
    context
        Its seed and a scene's number alone decide the scene.

    Returns
    -------
    Mapping
        `images` (stimulus_image.v1): `image`, dims (stimulus, y, x, rgb), uint8, drawn while it is stored; with
        `annotate` also `object_map` (stimulus, y, x), uint8, 0 for the place and else the number of the object that is
        seen, and `depth` (stimulus, y, x), float16, in m; and what each object is, dims (stimulus, object).
        `captions` (stimulus_text.v1): dims (stimulus, caption): tag, sentence, paragraph.
        `factors` (embedding.v1): dims (stimulus, channel), float32, one named channel for each factor.

    Raises
    ------
    ParameterError
        If a parameter does not fit.
    """
    scene = scene_maker(params, context)
    numbers = range(params.n)
    labels = stimulus_names(params.n, context.seed)
    sampled = [scene(number) for number in context.progress(numbers, total=params.n, label="sampling")]
    texts = [describe_scene(item) for item in sampled]
    captions = xr.Dataset(
        {"text": (("stimulus", "caption"), np.array(texts, dtype=np.dtypes.StringDType()))},
        {"stimulus": labels, "caption": list(LENGTHS)},
        {"schema": "stimulus_text.v1", "language": "en", "simulated": 1},
    )
    factors = xr.Dataset(
        {"embedding": (("stimulus", "channel"), np.stack([factor_row(item) for item in sampled]))},
        {"stimulus": labels, "channel": list(factor_names())},
        {"schema": "embedding.v1", "model": FACTORS, "simulated": 1},
    )
    table = {f"object_{name}": (("stimulus", "object"), values) for name, values in object_table(sampled).items()}
    place = {
        "place": ("stimulus", [item.place for item in sampled]),
        "kind": ("stimulus", [item.kind for item in sampled]),
    }
    images = xr.Dataset(
        {**draw_variables(scene, params, context), **table},
        {"stimulus": labels, "object": np.arange(1, MOST_OBJECTS + 1), **place},
        {"schema": "stimulus_image.v1", "simulated": 1},
    )
    return {"images": images, "captions": captions, "factors": factors}


def scene_maker(params: ScenesParams, context: brainlens.Context) -> Callable[[int], Scene]:
    """Return a function from the number of a scene to the scene."""
    wanted = None if params.n_objects is None else params.n_objects

    def make(number: int) -> Scene:
        return sample_scene(
            context.rng(_SCENE_STREAM, number),
            concepts=params.concepts,
            n_objects=wanted,
            co_occurrence=params.co_occurrence,
            spread=params.spread,
        )

    return make


def stimulus_names(count: int, seed: int) -> np.ndarray:
    """Return the identifiers of scenes.

    Examples
    --------
    >>> stimulus_names(2, 7).tolist()
    ['scene-7-000000', 'scene-7-000001']
    """
    return np.array([f"scene-{seed}-{number:06d}" for number in range(count)])


def draw_variables(
    scene: Callable[[int], Scene], params: ScenesParams, context: brainlens.Context
) -> dict[str, xr.Variable]:
    """Return the pixels, and what is known of each, drawn when they are read."""
    shape = (params.n, params.size, params.size)

    def rows(draw: Callable[[Scene, int], np.ndarray], label: str) -> Callable[[int, int], np.ndarray]:
        def make(low: int, high: int) -> np.ndarray:
            drawn = (draw(scene(number), params.size) for number in range(low, high))
            return np.stack(list(context.progress(drawn, total=high - low, label=f"{label} from {low}")))

        return make

    made = {
        "image": brainlens.made_rows(("stimulus", "y", "x", "rgb"), (*shape, 3), np.uint8, rows(draw_image, "drawing"))
    }
    if params.annotate:
        dims = ("stimulus", "y", "x")
        made["object_map"] = brainlens.made_rows(dims, shape, np.uint8, rows(map_objects, "objects"))
        made["depth"] = brainlens.made_rows(dims, shape, np.float16, rows(_half_depth, "depth"))
        made["depth"].attrs["units"] = "m"
    return made


def _half_depth(scene: Scene, size: int) -> np.ndarray:
    return map_depth(scene, size).astype(np.float16)
