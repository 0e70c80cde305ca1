from dataclasses import replace

import numpy as np
import pytest
from brainlens_simulate.render import STILL, View, draw_image, draw_scene, map_depth, map_objects, scene_grid
from brainlens_simulate.scene import Scene
from PIL import Image


def test_a_scene_is_drawn_the_same_every_time(scenes: list[Scene]) -> None:
    np.testing.assert_array_equal(draw_image(scenes[0], 64), draw_image(scenes[0], 64))


def test_a_drawing_has_pixels_objects_and_depth(scenes: list[Scene]) -> None:
    drawn = draw_scene(scenes[0], 96)
    assert (drawn.image.shape, drawn.image.dtype) == ((96, 96, 3), np.uint8)
    assert (drawn.object_map.shape, drawn.object_map.dtype) == ((96, 96), np.uint8)
    assert (drawn.depth.shape, drawn.depth.dtype) == ((96, 96), np.float32)


@pytest.mark.parametrize("number", range(5))
def test_a_scene_looks_the_same_at_every_size(number: int, scenes: list[Scene]) -> None:
    large = Image.fromarray(draw_image(scenes[number], 192)).reduce(3)
    difference = np.abs(np.asarray(large, float) - draw_image(scenes[number], 64))
    # Edges fall on other subpixels, areas do not change: a few grey values on average.
    assert difference.mean() < 4


def test_objects_are_where_their_factors_say(scenes: list[Scene]) -> None:
    for scene in scenes[:60]:
        objects = map_objects(scene, 128)
        for number, thing in enumerate(scene.things, start=1):
            y, x = np.nonzero(objects == number)
            away = np.hypot(x.mean() / 128 - thing.x, y.mean() / 128 - thing.y)
            assert away < 0.45 * thing.size, (thing.name, away)


def test_every_object_can_be_seen(scenes: list[Scene]) -> None:
    shares = [
        (map_objects(scene, 64) == number).sum() / (4 * (64 * thing.size) ** 2)
        for scene in scenes[:150]
        for number, thing in enumerate(scene.things, start=1)
    ]
    assert min(shares) > 0.08


def test_what_is_outside_the_objects_is_the_place(scenes: list[Scene]) -> None:
    for scene in scenes[:20]:
        empty = replace(scene, things=())
        away = map_objects(scene, 64) == 0
        same = np.all(draw_image(scene, 64) == draw_image(empty, 64), axis=-1)
        # Shadows and soft edges lie outside the objects too.
        assert same[away].mean() > 0.75


def test_depth_is_that_of_the_nearest_object(scenes: list[Scene]) -> None:
    for scene in scenes[:20]:
        depth, objects = map_depth(scene, 64), map_objects(scene, 64)
        for number, thing in enumerate(scene.things, start=1):
            np.testing.assert_allclose(depth[objects == number], thing.depth, rtol=1e-6)
        assert np.all(depth[objects == 0] > 0)


def test_light_scales_pixels(scenes: list[Scene]) -> None:
    scene = scenes[0]
    dark = replace(scene, light=replace(scene.light, gain=0.4, gradient=0))
    bright = replace(scene, light=replace(scene.light, gain=0.8, gradient=0))
    ratio = draw_image(bright, 64).astype(float).mean() / draw_image(dark, 64).mean()
    assert ratio == pytest.approx(2, abs=0.05)


def test_a_camera_that_pans_shifts_the_picture(scenes: list[Scene]) -> None:
    scene = replace(scenes[0], light=replace(scenes[0].light, gradient=0))
    still, panned = draw_image(scene, 64, STILL), draw_image(scene, 64, View(x=8 / 64))
    np.testing.assert_array_equal(panned[:, 8:], still[:, :-8])


def test_the_grid_inverts_the_view() -> None:
    view = View(x=0.1, y=-0.2, zoom=1.3)
    x, y = np.broadcast_arrays(*scene_grid(16, view))
    middle = (np.arange(16) + 0.5) / 16
    back = view.to_image(np.stack([x, y], axis=-1))
    np.testing.assert_allclose(back[..., 0], np.broadcast_to(middle, (16, 16)))
    np.testing.assert_allclose(back[..., 1], np.broadcast_to(middle[:, None], (16, 16)))


def test_the_nearest_picture_does_not_know_the_concept(scenes: list[Scene]) -> None:
    """Negative control of the world: pixels alone, compared one by one, must not tell what is seen."""
    single = [scene for scene in scenes if len(scene.things) == 1]
    pixels = np.stack([draw_image(scene, 64)[::2, ::2].ravel() for scene in single]).astype(np.float32)
    concepts = np.array([scene.things[0].concept for scene in single])
    squares = (pixels**2).sum(axis=1)
    distance = squares[:, None] + squares - 2 * pixels @ pixels.T
    np.fill_diagonal(distance, np.inf)
    hits = (concepts[distance.argmin(axis=1)] == concepts).mean()
    # Chance is 1/7, .19 was found among 815; a decoder of concepts reaches above .95.
    assert hits < 0.25
