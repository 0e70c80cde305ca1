"""Draw a scene at any size: pixels, which object each pixel shows, and how far away it is.

Edges are smoothed by drawing large and averaging blocks of pixels; there is no other source of randomness than the
scene's own numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from brainlens_simulate.outlines import Rgb
from brainlens_simulate.places import FAR, Surface, ground_depth, lay_out
from brainlens_simulate.scene import Light, Scene, Thing
from brainlens_simulate.shapes import draw_thing
from brainlens_simulate.textures import texture

SMALLEST, LARGEST = 64, 224
_SHADOW = (0, 0, 0, 70)
_SUN = np.stack([np.cos(np.linspace(0, 2 * np.pi, 20)), np.sin(np.linspace(0, 2 * np.pi, 20))], axis=1)


@dataclass(frozen=True, slots=True)
class View:
    """A camera: shift in shares of the image, and zoom about its middle."""

    x: float = 0.0
    y: float = 0.0
    zoom: float = 1.0

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Return where points of the scene (n, 2) lie in the image, in shares of its size."""
        return (points - 0.5) * self.zoom + (0.5 + self.x, 0.5 + self.y)


STILL = View()


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a scene looks like.

    Parameters
    ----------
    image
        (y, x, rgb), uint8, sRGB.
    object_map
        (y, x), uint8: 0 where the place is seen, otherwise the number of the object from 1, in the scene's order.
    depth
        (y, x), float32, distance in m.
    """

    image: np.ndarray
    object_map: np.ndarray
    depth: np.ndarray


def draw_image(scene: Scene, size: int, view: View = STILL) -> np.ndarray:
    """Return the pixels of a scene.

    Parameters
    ----------
    scene
        What to draw.
    size
        Width and height in pixels.
    view
        Where the camera is.

    Returns
    -------
    ndarray
        (y, x, rgb), uint8, sRGB.
    """
    finer = _finer(size)
    canvas = _draw_place(scene, size, finer, view)
    brush, glaze = ImageDraw.Draw(canvas), ImageDraw.Draw(canvas, "RGBA")
    for thing in scene.things:
        _draw_shadow(glaze, thing, size * finer, view)
        for points, rgb in _outlines(thing, size * finer, view):
            brush.polygon(points, fill=rgb)
    return _lit(np.asarray(canvas.reduce(finer)), scene.light)


def draw_scene(scene: Scene, size: int, view: View = STILL) -> Drawing:
    """Return the pixels of a scene, its object map and its depth.

    Parameters
    ----------
    scene
        What to draw.
    size
        Width and height in pixels.
    view
        Where the camera is.
    """
    return Drawing(
        image=draw_image(scene, size, view),
        object_map=map_objects(scene, size, view),
        depth=map_depth(scene, size, view),
    )


def scene_grid(size: int, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Return the scene's coordinates of the middle of each pixel: x (1, size) and y (size, 1)."""
    middle = (np.arange(size) + 0.5) / size
    return (middle[None] - 0.5 - view.x) / view.zoom + 0.5, (middle[:, None] - 0.5 - view.y) / view.zoom + 0.5


def _finer(size: int) -> int:
    return 4 if size < 128 else 2


def _draw_place(scene: Scene, size: int, finer: int, view: View) -> Image.Image:
    surfaces, details = lay_out(scene)
    canvas: Image.Image | None = None
    x, y = scene_grid(size, view)
    for surface in surfaces:
        filled = Image.fromarray(_paint(surface, x, y)).resize((size * finer,) * 2, Image.Resampling.NEAREST)
        if canvas is None or surface.outline is None:
            canvas = filled
            continue
        mask = Image.new("L", canvas.size)
        ImageDraw.Draw(mask).polygon(_pixels(surface.outline, size * finer, view), fill=255)
        canvas.paste(filled, mask=mask)
    assert canvas is not None
    brush = ImageDraw.Draw(canvas)
    for detail in details:
        brush.polygon(_pixels(detail.outline, size * finer, view), fill=detail.rgb)
    return canvas


def _paint(surface: Surface, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    share = texture(surface.kind, x, y, surface.numbers)[..., None]
    dark, light = (np.array(rgb, dtype=np.float32) for rgb in (surface.dark, surface.light))
    return (dark + share * (light - dark) + 0.5).astype(np.uint8)


def _draw_shadow(brush: ImageDraw.ImageDraw, thing: Thing, width: int, view: View) -> None:
    foot = np.array((thing.x, thing.y + 0.93 * thing.size))
    brush.polygon(_pixels(foot + _SUN * (0.85 * thing.size, 0.16 * thing.size), width, view), fill=_SHADOW)


def _outlines(thing: Thing, width: int, view: View) -> list[tuple[list[float], Rgb]]:
    """Return the polygons of an object in pixels, all mapped at once."""
    parts = draw_thing(thing)
    ends = np.cumsum([len(points) for points, _ in parts])[:-1]
    turn = np.deg2rad(thing.angle)
    turned = np.array(((np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn)))) * thing.size
    points = np.concatenate([points for points, _ in parts]) @ turned + (thing.x, thing.y)
    placed = np.split(view.to_image(points) * width - 0.5, ends)
    return [(part.ravel().tolist(), rgb) for part, (_, rgb) in zip(placed, parts, strict=True)]


def _pixels(points: np.ndarray, width: int, view: View) -> list[float]:
    flat: list[float] = (view.to_image(points) * width - 0.5).ravel().tolist()
    return flat


def _lit(pixels: np.ndarray, light: Light) -> np.ndarray:
    size = len(pixels)
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    angle = np.deg2rad(light.direction)
    slope = 1 + np.float32(light.gradient) * (
        np.float32(np.cos(angle)) * ramp[None] + np.float32(np.sin(angle)) * ramp[:, None]
    )
    gains = np.float32(light.gain) * np.array(light.tint, np.float32)
    return np.minimum(pixels * (slope[..., None] * gains) + np.float32(0.5), 255).astype(np.uint8)


def map_objects(scene: Scene, size: int, view: View = STILL) -> np.ndarray:
    """Return which object each pixel shows: (y, x), uint8, 0 for the place and else the object's number from 1."""
    finer = _finer(size)
    canvas = Image.new("L", (size * finer,) * 2)
    brush = ImageDraw.Draw(canvas)
    for number, thing in enumerate(scene.things, start=1):
        for points, _ in _outlines(thing, size * finer, view):
            brush.polygon(points, fill=number)
    # The middle of each block says what the pixel shows; averaging numbers of objects would invent others.
    return np.asarray(canvas)[finer // 2 :: finer, finer // 2 :: finer].copy()


def map_depth(scene: Scene, size: int, view: View = STILL) -> np.ndarray:
    """Return the distance in m of what each pixel shows: (y, x), float32; nearer where the camera zooms in."""
    surfaces, details = lay_out(scene)
    _, y = scene_grid(size, view)
    depth = np.full((size, size), surfaces[0].depth, np.float32)
    for surface in surfaces[1:]:
        level = np.broadcast_to(ground_depth(y, surface.horizon, _farthest(surfaces)), depth.shape)
        depth = np.where(_inside(surface.outline, size, view), level, depth)
    canvas = Image.fromarray(depth)
    brush = ImageDraw.Draw(canvas)
    for detail in details:
        brush.polygon(_pixels(detail.outline, size, view), fill=detail.depth)
    depth = np.asarray(canvas).copy()
    objects = map_objects(scene, size, view)
    for number, thing in enumerate(scene.things, start=1):
        depth[objects == number] = thing.depth
    return depth / np.float32(view.zoom)


def _inside(outline: np.ndarray | None, size: int, view: View) -> np.ndarray:
    mask = Image.new("1", (size, size))
    assert outline is not None
    ImageDraw.Draw(mask).polygon(_pixels(outline, size, view), fill=1)
    return np.asarray(mask)


def _farthest(surfaces: list[Surface]) -> float:
    return surfaces[0].depth or FAR
