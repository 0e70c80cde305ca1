from dataclasses import replace

import numpy as np
import pytest
from brainlens_simulate.clips import Clip, Motion, clip_maker, draw_flow, move_thing, read, sample_clip
from brainlens_simulate.params import ClipsParams
from brainlens_simulate.render import draw_image, map_objects
from brainlens_simulate.scene import Scene
from scipy.ndimage import map_coordinates

import brainlens


@pytest.fixture
def clips(scenes: list[Scene]) -> list[Clip]:
    unlit = [replace(scene, light=replace(scene.light, gradient=0)) for scene in scenes[:8]]
    return [sample_clip(np.random.default_rng(number), scene) for number, scene in enumerate(unlit)]


def test_what_is_made_follows_its_schemas(context: brainlens.Context) -> None:
    made = read(params=ClipsParams(n=2, n_frames=3), context=context)
    for dataset in made.values():
        brainlens.validate(dataset, dataset.attrs["schema"])
    assert made["videos"]["video"].shape == (2, 3, 64, 64, 3)
    assert made["videos"]["flow"].shape == (2, 3, 64, 64, 2)


def test_frames_are_the_scene_at_their_time(context: brainlens.Context) -> None:
    params = ClipsParams(n=2, n_frames=5)
    clip = clip_maker(params, context)(1)
    videos = read(params=params, context=context)["videos"]
    np.testing.assert_array_equal(videos["video"][1, 0], draw_image(clip.scene, 64))
    half = draw_image(clip.scene_at(0.5), 64, clip.view_at(0.5))
    np.testing.assert_array_equal(videos["video"][1, 2], half)


def test_the_flow_leads_to_the_same_thing(clips: list[Clip]) -> None:
    """Pixels of the next frame, looked up where the flow leads, look as they did, apart from what is newly hidden."""
    for clip in clips:
        size, step = 96, 1 / 15
        before = draw_image(clip.scene, size).astype(float)
        after = draw_image(clip.scene_at(step), size, clip.view_at(step)).astype(float)
        flow = draw_flow(clip, size, 0, step)
        y, x = np.mgrid[:size, :size]
        there = np.stack([y + flow[..., 1], x + flow[..., 0]])
        looked_up = np.stack([map_coordinates(after[..., channel], there, order=1) for channel in range(3)], axis=-1)
        inside = np.all((there >= 1) & (there <= size - 2), axis=0)
        unmoved = np.abs(after - before)[inside].mean()
        assert np.median(np.abs(looked_up - before)[inside]) <= 1.5
        assert np.abs(looked_up - before)[inside].mean() < max(2.0, 0.7 * unmoved)


def test_still_things_do_not_flow(scenes: list[Scene]) -> None:
    scene = scenes[0]
    clip = Clip(scene=scene, camera=Motion(), things=tuple(Motion() for _ in scene.things))
    assert not draw_flow(clip, 64, 0, 1).any()


def test_a_pan_moves_every_pixel_alike(scenes: list[Scene]) -> None:
    scene = scenes[0]
    clip = Clip(scene=scene, camera=Motion(x=0.25, y=-0.125), things=tuple(Motion() for _ in scene.things))
    np.testing.assert_allclose(draw_flow(clip, 64, 0, 1), np.broadcast_to((16, -8), (64, 64, 2)), atol=1e-4)


def test_an_object_that_glides_takes_its_pixels_along(scenes: list[Scene]) -> None:
    scene = next(scene for scene in scenes if len(scene.things) == 1)
    clip = Clip(scene=scene, camera=Motion(), things=(Motion(x=0.1),))
    inside = map_objects(scene, 64) == 1
    flow = draw_flow(clip, 64, 0, 1)
    np.testing.assert_allclose(flow[inside], np.broadcast_to((6.4, 0), flow[inside].shape), atol=1e-4)
    assert not flow[~inside].any()


def test_motion_is_all_done_at_the_end(scenes: list[Scene]) -> None:
    thing = next(scene for scene in scenes if scene.things).things[0]
    moved = move_thing(thing, Motion(x=0.1, y=0.2, growth=2, turn=30), 1)
    assert (moved.x, moved.y) == (thing.x + 0.1, thing.y + 0.2)
    assert moved.size == pytest.approx(2 * thing.size)
    assert moved.angle == thing.angle + 30
