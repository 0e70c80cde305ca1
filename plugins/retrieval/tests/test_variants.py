"""Which variant is taken, and what is refused."""

from __future__ import annotations

import pytest
import xarray as xr
from brainlens_retrieval.variants import choose_variant

import brainlens


@pytest.fixture
def several(embeddings, as_variants):
    return as_variants({"retrieval": embeddings()[0], "reconstruction": embeddings(noise=5)[0]})


def test_the_variant_that_was_named_is_taken(several, embeddings):
    xr.testing.assert_identical(choose_variant(several, "retrieval"), embeddings()[0])
    xr.testing.assert_identical(choose_variant(several, "reconstruction"), embeddings(noise=5)[0])


def test_variants_without_labels_are_known_by_their_position(several, embeddings):
    xr.testing.assert_identical(choose_variant(several.drop_vars("variant"), "1"), embeddings(noise=5)[0])


def test_an_embedding_without_variants_stays_as_it_is(embeddings):
    decoded, _ = embeddings()
    assert choose_variant(decoded, "") is decoded


def test_several_variants_and_no_choice_are_refused(several):
    with pytest.raises(brainlens.ParameterError) as caught:
        choose_variant(several, "")
    assert str(caught.value) == (
        "variant: expected one of the 2 that decoded has, 'retrieval', 'reconstruction', found ''. Choose one."
    )


def test_an_unknown_variant_is_refused_with_the_closest(several):
    with pytest.raises(brainlens.ParameterError) as caught:
        choose_variant(several, "Retreival")
    assert str(caught.value) == (
        "variant: expected one that decoded has, found 'Retreival'. "
        "Closest: 'retrieval'. Variants: 'reconstruction', 'retrieval'."
    )


def test_a_variant_where_there_are_none_is_refused(embeddings):
    with pytest.raises(brainlens.ParameterError) as caught:
        choose_variant(embeddings()[0], "retrieval")
    assert str(caught.value) == (
        "variant: expected '', as decoded has no dim 'variant', found 'retrieval'. Leave it out."
    )
