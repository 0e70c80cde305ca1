import re
from dataclasses import replace

from brainlens_simulate.captions import LENGTHS, describe_scene
from brainlens_simulate.concepts import OBJECTS, OCCASIONS
from brainlens_simulate.scene import Scene


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text))


def test_texts_grow_from_tags_to_a_paragraph(scenes: list[Scene]) -> None:
    lengths = [[len(text.split()) for text in describe_scene(scene)] for scene in scenes]
    mean = [sum(column) / len(column) for column in zip(*lengths, strict=True)]
    assert len(mean) == len(LENGTHS)
    assert mean == sorted(mean)
    assert mean[2] > 2 * mean[1]


def test_tags_name_every_concept_and_nothing_that_is_absent(scenes: list[Scene]) -> None:
    for scene in scenes:
        tags = describe_scene(scene)[0].split(", ")
        present = {thing.concept for thing in scene.things}
        assert present == set(tags) & set(OBJECTS)
        assert scene.place in tags


def test_sentences_name_every_object(scenes: list[Scene]) -> None:
    for scene in scenes:
        said = words(describe_scene(scene)[1])
        assert all(set(thing.name.split()) <= said for thing in scene.things)
        assert all(thing.colour in said for thing in scene.things)


def test_only_the_paragraph_tells_the_occasion(scenes: list[Scene]) -> None:
    for scene in scenes:
        tags, sentence, paragraph = map(words, describe_scene(scene))
        assert scene.occasion in paragraph
        assert not (tags | sentence) & set(OCCASIONS)


def test_left_and_right_are_told_from_positions(scenes: list[Scene]) -> None:
    scene = next(scene for scene in scenes if len(scene.things) == 2)
    first, second = scene.things
    left = replace(scene, things=(replace(first, x=0.2, y=0.5), replace(second, x=0.8, y=0.5)))
    right = replace(scene, things=(replace(first, x=0.8, y=0.5), replace(second, x=0.2, y=0.5)))
    assert "to the left of" in describe_scene(left)[1]
    assert "to the right of" in describe_scene(right)[1]
