from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest
from brainlens_simulate.concepts import AT_HOME, OBJECTS, OCCASIONS, PLACES, POSES, SIZES
from brainlens_simulate.scene import N_OBJECTS, Scene, sample_scene


def make(seed: int, **knobs: object) -> Scene:
    return sample_scene(np.random.default_rng([9, seed]), **knobs)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_scene_and_another_another() -> None:
    assert make(1) == make(1)
    assert make(1) != make(2)


def test_no_two_scenes_are_alike(scenes: list[Scene]) -> None:
    assert len({str(asdict(scene)) for scene in scenes}) == len(scenes)


def test_scenes_have_objects_as_often_as_said(scenes: list[Scene]) -> None:
    counts = np.bincount([len(scene.things) for scene in scenes], minlength=4) / len(scenes)
    # Three objects do not always find room; five standard errors otherwise.
    assert counts[:2] == pytest.approx(N_OBJECTS[:2], abs=0.13)
    assert counts[3] > 0.07


def test_factors_stay_in_their_ranges(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.kind in PLACES[scene.place]
        assert scene.occasion in OCCASIONS
        for thing in scene.things:
            low, high = SIZES[thing.size_name]
            assert low <= thing.size < high
            assert thing.pose in POSES[thing.concept]
            assert thing.name in OBJECTS[thing.concept]
            assert 0 < thing.x < 1
            assert 0 < thing.y < 1


def test_objects_come_from_the_farthest_to_the_nearest(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert all(first.depth >= second.depth for first, second in pairwise(scene.things))


def test_objects_keep_their_distance(scenes: list[Scene]) -> None:
    for scene in scenes:
        for first, second in pairwise(scene.things):
            assert np.hypot(first.x - second.x, first.y - second.y) > 0.85 * (first.size + second.size)


def test_the_number_of_objects_can_be_fixed() -> None:
    assert {len(make(seed, n_objects=1).things) for seed in range(50)} == {1}
    assert not make(0, n_objects=0).things


def test_only_concepts_that_are_asked_for_occur() -> None:
    found = {thing.concept for seed in range(80) for thing in make(seed, concepts=("face", "tool")).things}
    assert found == {"face", "tool"}


def test_without_spread_single_objects_are_in_the_middle() -> None:
    thing = make(3, n_objects=1, spread=0).things[0]
    assert (thing.x, thing.y) == (0.5, 0.5)


@pytest.mark.parametrize(("knob", "share"), [(0.0, 3 / 7), (1.0, 1.0)])
def test_concepts_go_with_places_as_much_as_asked(knob: float, share: float) -> None:
    made = [make(seed, n_objects=1, co_occurrence=knob) for seed in range(700)]
    at_home = np.mean([scene.things[0].concept in AT_HOME[scene.place] for scene in made])
    # Three of seven concepts are at home in every place; five standard errors.
    assert at_home == pytest.approx(share, abs=0.1)
