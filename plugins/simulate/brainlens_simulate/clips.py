"""The importer `simulate.clips`: moving scenes, and the optical flow that moves every pixel to the next frame.

Objects glide, grow and turn, the camera pans and zooms; poses do not change, so that the flow is known exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

import brainlens
from brainlens_simulate.captions import describe_scene
from brainlens_simulate.draws import Draws
from brainlens_simulate.params import ClipsParams
from brainlens_simulate.render import View, draw_image, map_objects, scene_grid
from brainlens_simulate.scene import Scene, Thing, sample_scene

_SCENE_STREAM, _MOTION_STREAM = 3, 4
# Largest changes over a whole clip: shares of the image, factors, degrees.
_GLIDE, _GROW, _TURN, _PAN, _ZOOM = 0.35, 1.35, 40.0, 0.25, 1.25
_STILL_SHARE = 0.25
_MOTION_FACTORS = ("pan_x", "pan_y", "zoom", "object_x", "object_y", "object_growth", "object_turn")


@dataclass(frozen=True, slots=True)
class Motion:
    """How one thing changes from the first to the last frame.

    Parameters
    ----------
    x, y
        Shift in shares of the image, to the right and downwards.
    growth
        Factor of its size.
    turn
        Rotation in degrees, anticlockwise.
    """

    x: float = 0.0
    y: float = 0.0
    growth: float = 1.0
    turn: float = 0.0


@dataclass(frozen=True, slots=True)
class Clip:
    """A scene that moves: one motion for the camera, one for each object."""

    scene: Scene
    camera: Motion
    things: tuple[Motion, ...]

    def scene_at(self, share: float) -> Scene:
        """Return the scene at a time from 0, the first frame, to 1, the last."""
        moved = (move_thing(thing, motion, share) for thing, motion in zip(self.scene.things, self.things, strict=True))
        return replace(self.scene, things=tuple(moved))

    def view_at(self, share: float) -> View:
        """Return where the camera is at a time from 0 to 1."""
        return View(x=self.camera.x * share, y=self.camera.y * share, zoom=self.camera.growth**share)


def read(*, params: ClipsParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Render clips.

    Parameters
    ----------
    params
        How many, how long, how large; see `ClipsParams`.
    context
        Its seed and a clip's number alone decide the clip.

    Returns
    -------
    Mapping
        `videos` (stimulus_video.v1): `video`, dims (stimulus, frame, y, x, rgb), uint8; with `annotate` also `flow`,
        dims (stimulus, frame, y, x, axis), float16, in pixels to the right and downwards from one frame to the next,
        0 in the last frame, and `object_map`, dims (stimulus, frame, y, x), uint8.
        `captions` (stimulus_text.v1): tag, sentence and paragraph of the first frame.
        `motions` (embedding.v1): one named channel for each factor of motion.

    Raises
    ------
    ParameterError
        If a parameter does not fit.
    """
    clip = clip_maker(params, context)
    labels = np.array([f"clip-{context.seed}-{number:06d}" for number in range(params.n)])
    sampled = [clip(number) for number in range(params.n)]
    texts = np.array([describe_scene(item.scene) for item in sampled], dtype=np.dtypes.StringDType())
    videos = xr.Dataset(
        _draw_variables(clip, params, context),
        {"stimulus": labels, "time_s": ("frame", np.arange(params.n_frames) / params.frame_rate)},
        {"schema": "stimulus_video.v1", "frame_rate": params.frame_rate, "simulated": 1},
    )
    captions = xr.Dataset(
        {"text": (("stimulus", "caption"), texts)},
        {"stimulus": labels, "caption": ["tag", "sentence", "paragraph"]},
        {"schema": "stimulus_text.v1", "language": "en", "simulated": 1},
    )
    motions = xr.Dataset(
        {"embedding": (("stimulus", "channel"), np.array([_motion_row(item) for item in sampled], np.float32))},
        {"stimulus": labels, "channel": list(_MOTION_FACTORS)},
        {"schema": "embedding.v1", "model": "simulated motion", "simulated": 1},
    )
    return {"videos": videos, "captions": captions, "motions": motions}


def clip_maker(params: ClipsParams, context: brainlens.Context) -> Callable[[int], Clip]:
    """Return a function from the number of a clip to the clip."""

    def make(number: int) -> Clip:
        scene = sample_scene(context.rng(_SCENE_STREAM, number), concepts=params.concepts)
        return sample_clip(context.rng(_MOTION_STREAM, number), scene)

    return make


def sample_clip(rng: np.random.Generator, scene: Scene) -> Clip:
    """Draw how a scene moves; a quarter of the cameras and of the objects stay still.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> len(sample_clip(rng, sample_scene(rng, n_objects=1)).things)
    1
    """
    draws = Draws(rng)
    camera = Motion()
    if not draws.chance(_STILL_SHARE):
        camera = Motion(draws.between(-_PAN, _PAN), draws.between(-_PAN, _PAN), _ZOOM ** draws.between(-1, 1))
    return Clip(scene=scene, camera=camera, things=tuple(_sample_motion(draws) for _ in scene.things))


def _sample_motion(draws: Draws) -> Motion:
    if draws.chance(_STILL_SHARE):
        return Motion()
    x, y = draws.between(-_GLIDE, _GLIDE), draws.between(-_GLIDE, _GLIDE)
    return Motion(x, y, _GROW ** draws.between(-1, 1), draws.between(-_TURN, _TURN))


def move_thing(thing: Thing, motion: Motion, share: float) -> Thing:
    """Return an object after a share of its motion."""
    return replace(
        thing,
        x=thing.x + share * motion.x,
        y=thing.y + share * motion.y,
        size=thing.size * motion.growth**share,
        angle=thing.angle + share * motion.turn,
    )


def draw_flow(clip: Clip, size: int, now: float, then: float) -> np.ndarray:
    """Return where every pixel of one moment goes until another.

    Parameters
    ----------
    clip
        What moves.
    size
        Width and height in pixels.
    now, then
        Times from 0, the first frame, to 1, the last.

    Returns
    -------
    ndarray
        (y, x, axis), float32, in pixels, to the right and downwards. What is hidden at the second moment has a flow
        all the same.
    """
    before, after = clip.view_at(now), clip.view_at(then)
    x, y = np.broadcast_arrays(*scene_grid(size, before))
    points = np.stack([x, y], axis=-1)
    moved = points.copy()
    objects = map_objects(clip.scene_at(now), size, before)
    for number, (thing, motion) in enumerate(zip(clip.scene.things, clip.things, strict=True), start=1):
        inside = objects == number
        moved[inside] = _carry(points[inside], move_thing(thing, motion, now), move_thing(thing, motion, then))
    flow: np.ndarray = (after.to_image(moved) - before.to_image(points)) * size
    return flow.astype(np.float32)


def _carry(points: np.ndarray, before: Thing, after: Thing) -> np.ndarray:
    """Move points of an object along with it."""
    turn = math.radians(after.angle - before.angle)
    matrix = np.array(((math.cos(turn), -math.sin(turn)), (math.sin(turn), math.cos(turn)))) * (
        after.size / before.size
    )
    carried: np.ndarray = (points - (before.x, before.y)) @ matrix + (after.x, after.y)
    return carried


def _motion_row(clip: Clip) -> list[float]:
    """Return the motion of the camera, and the mean motion of the objects, over the whole clip."""
    things = clip.things or (Motion(),)
    means = [
        sum(values) / len(things)
        for values in zip(*((item.x, item.y, math.log2(item.growth), item.turn) for item in things), strict=True)
    ]
    return [clip.camera.x, clip.camera.y, math.log2(clip.camera.growth), *means]


def _draw_variables(
    clip: Callable[[int], Clip], params: ClipsParams, context: brainlens.Context
) -> dict[str, xr.Variable]:
    times = np.linspace(0, 1, params.n_frames)
    shape = (params.n, params.n_frames, params.size, params.size)

    def frames(item: Clip) -> np.ndarray:
        return np.stack([draw_image(item.scene_at(time), params.size, item.view_at(time)) for time in times])

    def objects(item: Clip) -> np.ndarray:
        return np.stack([map_objects(item.scene_at(time), params.size, item.view_at(time)) for time in times])

    def flows(item: Clip) -> np.ndarray:
        found = [draw_flow(item, params.size, now, then) for now, then in zip(times, times[1:], strict=False)]
        return np.stack([*found, np.zeros_like(found[0])]).astype(np.float16)

    def rows(draw: Callable[[Clip], np.ndarray], label: str) -> Callable[[int, int], np.ndarray]:
        def make(low: int, high: int) -> np.ndarray:
            drawn = (draw(clip(number)) for number in range(low, high))
            return np.stack(list(context.progress(drawn, total=high - low, label=f"{label} from {low}")))

        return make

    dims = ("stimulus", "frame", "y", "x")
    made = {"video": brainlens.made_rows((*dims, "rgb"), (*shape, 3), np.uint8, rows(frames, "drawing"))}
    if params.annotate:
        made["object_map"] = brainlens.made_rows(dims, shape, np.uint8, rows(objects, "objects"))
        made["flow"] = brainlens.made_rows((*dims, "axis"), (*shape, 2), np.float16, rows(flows, "flow"))
        made["flow"].attrs["units"] = "pixels per frame, to the right and downwards"
    return made
