import pydantic
import pytest
from brainlens_retrieval.params import CombineParams, PictureParams, ScoreParams


def test_n_way_needs_two():
    with pytest.raises(pydantic.ValidationError, match="greater than or equal to 2"):
        ScoreParams(n_way=(1,))


def test_too_many_pictures_are_refused():
    assert PictureParams(n_hits=100, n_trials=100).n_hits == 100
    with pytest.raises(pydantic.ValidationError, match="expected at most 10,000 pictures, found 10100"):
        PictureParams(n_hits=101, n_trials=100)


def test_rules_are_known_and_each_counts_once():
    assert CombineParams.rules_of("lda + projection+lda") == ["lda", "projection"]
    assert CombineParams(rules=("lda", "projection+direction-lda")).rules[0] == "lda"
    with pytest.raises(pydantic.ValidationError, match="rules: there is no rule 'ida'. Closest: 'lda'"):
        CombineParams(rules=("lda+ida",))


@pytest.mark.parametrize(("name", "values"), [("labels", ("a", "a")), ("n_rectified", (0, 0))])
def test_names_of_members_are_given_once(name, values):
    with pytest.raises(pydantic.ValidationError, match=f"{name}: expected each once, found"):
        CombineParams(**{name: values})
