from brainlens_simulate.concepts import AT_HOME, COLOURS, CONCEPTS, OBJECTS, PLACES, POSES, WORDS, colours_of, is_sized
from brainlens_simulate.outlines import LETTERS


def test_the_concepts_are_those_that_visual_cortex_separates() -> None:
    assert set(CONCEPTS) == {"face", "body", "animal", "food", "tool", "vehicle", "word", "indoor", "outdoor"}
    assert [concept for concept in CONCEPTS if not is_sized(concept)] == ["indoor", "outdoor"]


def test_every_concept_has_poses_and_every_place_concepts_at_home() -> None:
    assert set(POSES) == set(OBJECTS)
    assert set(AT_HOME) == set(PLACES)
    assert {concept for concepts in AT_HOME.values() for concept in concepts} <= set(OBJECTS)


def test_every_kind_of_thing_has_colours_that_exist() -> None:
    for concept, names in OBJECTS.items():
        for name in names:
            assert set(colours_of(name, concept)) <= set(COLOURS), name


def test_every_word_can_be_written() -> None:
    assert {letter for word in WORDS for letter in word} <= set(LETTERS)
    assert len(set(WORDS)) == len(WORDS)
