from dataclasses import replace

import numpy as np
import pytest
from brainlens_simulate.concepts import OBJECTS, POSES
from brainlens_simulate.scene import Thing, sample_scene
from brainlens_simulate.shapes import draw_thing

KINDS = [(concept, name) for concept, names in OBJECTS.items() for name in names]


def make(concept: str, name: str, seed: int = 0) -> Thing:
    found: list[Thing] = []
    while not found or found[0].name != name:
        found = list(sample_scene(np.random.default_rng([3, seed]), concepts=(concept,), n_objects=1).things)
        seed += 1
    return found[0]


@pytest.mark.parametrize(("concept", "name"), KINDS)
def test_every_kind_of_thing_fills_its_box_and_stays_in_it(concept: str, name: str) -> None:
    thing = make(concept, name)
    for pose in POSES[concept]:
        points = np.concatenate([points for points, _ in draw_thing(replace(thing, pose=pose))])
        assert np.abs(points).max() <= 1.2
        assert np.ptp(points, axis=0).max() > 1.6


@pytest.mark.parametrize(("concept", "name"), [kind for kind in KINDS if "right" in POSES[kind[0]]])
def test_right_is_left_mirrored(concept: str, name: str) -> None:
    thing = make(concept, name)
    left, right = (draw_thing(replace(thing, pose=pose)) for pose in ("left", "right"))
    for (one, _), (other, _) in zip(left, right, strict=True):
        np.testing.assert_allclose(one * (-1, 1), other)


def test_poses_of_faces_and_bodies_look_different() -> None:
    for concept in ("face", "body"):
        thing = make(concept, concept)
        drawn = {str(draw_thing(replace(thing, pose=pose))) for pose in POSES[concept]}
        assert len(drawn) == len(POSES[concept])


def test_words_are_written_as_they_are() -> None:
    sign = make("word", "word")
    # Two letters of the same strokes make a sign with as many strokes, one more letter a sign with more.
    parts = [len(draw_thing(replace(sign, text=text))) for text in ("o", "oo", "ooo")]
    assert parts[2] - parts[1] == parts[1] - parts[0] > 0


def test_colours_are_those_of_the_object() -> None:
    car = replace(make("vehicle", "car"), rgb=(1, 2, 3))
    assert (1, 2, 3) in {rgb for _, rgb in draw_thing(car)}
