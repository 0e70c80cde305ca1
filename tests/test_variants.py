import numpy as np
import pytest
import xarray as xr

import brainlens
from brainlens import choose_variant


@pytest.fixture
def parts() -> dict[str, xr.Dataset]:
    rng = np.random.default_rng(0)
    labels = {"trial": [7, 8, 9], "stimulus_id": ("trial", ["a", "b", "a"]), "channel": np.arange(4)}
    return {
        name: xr.Dataset({"embedding": (("trial", "channel"), rng.standard_normal((3, 4)))}, labels, {"model": "toy"})
        for name in ("retrieval", "reconstruction")
    }


def variants_of(parts: dict[str, xr.Dataset]) -> xr.Dataset:
    return xr.concat(list(parts.values()), dim=xr.Variable("variant", list(parts)), combine_attrs="identical")


def test_the_variant_that_was_named_is_taken(parts: dict[str, xr.Dataset]) -> None:
    for name, part in parts.items():
        xr.testing.assert_identical(choose_variant(variants_of(parts), name, name="latents"), part)


def test_variants_without_labels_are_known_by_their_position(parts: dict[str, xr.Dataset]) -> None:
    unlabelled = variants_of(parts).drop_vars("variant")
    xr.testing.assert_identical(choose_variant(unlabelled, "1", name="latents"), parts["reconstruction"])


def test_an_embedding_without_variants_stays_as_it_is(parts: dict[str, xr.Dataset]) -> None:
    assert choose_variant(parts["retrieval"], "", name="latents") is parts["retrieval"]


def test_several_variants_and_no_choice_are_refused(parts: dict[str, xr.Dataset]) -> None:
    with pytest.raises(brainlens.ParameterError) as caught:
        choose_variant(variants_of(parts), "", name="latents")
    assert str(caught.value) == (
        "variant: expected one of the 2 that latents has, 'retrieval', 'reconstruction', found ''. Choose one."
    )


def test_an_unknown_variant_is_refused_with_the_closest(parts: dict[str, xr.Dataset]) -> None:
    with pytest.raises(brainlens.ParameterError) as caught:
        choose_variant(variants_of(parts), "Retreival", name="embedding")
    assert str(caught.value) == (
        "variant: expected one that embedding has, found 'Retreival'. "
        "Closest: 'retrieval'. Variants: 'reconstruction', 'retrieval'."
    )


def test_a_variant_where_there_are_none_is_refused(parts: dict[str, xr.Dataset]) -> None:
    with pytest.raises(brainlens.ParameterError) as caught:
        choose_variant(parts["retrieval"], "retrieval", name="embedding")
    assert str(caught.value) == (
        "variant: expected '', as embedding has no dim 'variant', found 'retrieval'. Leave it out."
    )
