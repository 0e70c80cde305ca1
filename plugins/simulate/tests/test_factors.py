import numpy as np
from brainlens_simulate.factors import factor_names, factor_row, object_table
from brainlens_simulate.scene import Scene


def column(scenes: list[Scene], name: str) -> np.ndarray:
    return np.stack([factor_row(scene) for scene in scenes])[:, factor_names().index(name)]


def test_names_are_unique_and_there_is_a_number_for_each(scenes: list[Scene]) -> None:
    names = factor_names()
    assert len(set(names)) == len(names)
    assert factor_row(scenes[0]).shape == (len(names),)


def test_presence_is_1_where_a_concept_is_seen(scenes: list[Scene]) -> None:
    seen = [any(thing.concept == "animal" for thing in scene.things) for scene in scenes]
    np.testing.assert_array_equal(column(scenes, "animal.presence"), seen)


def test_factors_of_an_absent_concept_are_0(scenes: list[Scene]) -> None:
    absent = column(scenes, "face.presence") == 0
    for name in ("face.x", "face.size", "face.red", "face.smiling"):
        assert not column(scenes, name)[absent].any()


def test_positions_are_relative_to_the_middle(scenes: list[Scene]) -> None:
    scene = next(scene for scene in scenes if len(scene.things) == 1)
    thing = scene.things[0]
    row = dict(zip(factor_names(), factor_row(scene), strict=True))
    assert row[f"{thing.concept}.x"] == np.float32(thing.x - 0.5)
    assert row[f"{thing.concept}.size"] == np.float32(2 * thing.size)


def test_a_place_is_one_of_its_kinds(scenes: list[Scene]) -> None:
    kinds = sum(column(scenes, f"indoor.{kind}") for kind in ("living room", "kitchen", "corridor"))
    np.testing.assert_array_equal(kinds, column(scenes, "indoor"))


def test_the_table_of_objects_says_what_object_each_number_is(scenes: list[Scene]) -> None:
    table = object_table(scenes)
    assert table["concept"].shape == (len(scenes), 3)
    for number, scene in enumerate(scenes[:50]):
        assert table["concept"][number].tolist() == [thing.concept for thing in scene.things] + [""] * (
            3 - len(scene.things)
        )
        assert not table["x"][number, len(scene.things) :].any()
