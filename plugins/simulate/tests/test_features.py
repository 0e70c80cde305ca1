"""Features of stimuli: seen, routed, told."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from brainlens_simulate.concepts import OBJECTS
from brainlens_simulate.features import (
    HIDDEN,
    Features,
    latent_channels,
    observe,
    route_channels,
    route_features,
    seen_channels,
    text_channels,
)
from brainlens_simulate.params import ScenesParams
from brainlens_simulate.pyramid import GRID, grid_degrees, pyramid_channels
from brainlens_simulate.scenes import read

import brainlens

CONTEXT = brainlens.Context(seed=3)


@pytest.fixture(scope="module")
def scenes() -> dict[str, xr.Dataset]:
    return dict(read(params=ScenesParams(n=70), context=CONTEXT))


def look(scenes: dict[str, xr.Dataset], rows: slice) -> Features:
    images = scenes["images"].isel(stimulus=rows)
    factors = scenes["factors"]["embedding"].values[rows]
    return observe(images["image"].variable, factors, images, context=CONTEXT, label="")


def test_blocks_give_what_the_whole_gives(scenes: dict[str, xr.Dataset]) -> None:
    whole, part = look(scenes, slice(None)), look(scenes, slice(60, 70))
    np.testing.assert_allclose(part.maps, whole.maps[60:], atol=1e-6)
    np.testing.assert_allclose(part.latent, whole.latent[60:], atol=1e-6)


def test_channels_are_named_once(scenes: dict[str, xr.Dataset]) -> None:
    names = latent_channels()
    assert len(set(names)) == len(names) == look(scenes, slice(2)).latent.shape[1]


def test_no_occasion_can_be_seen() -> None:
    assert not any(name.startswith("occasion") for name in seen_channels())
    assert set(HIDDEN) < set(text_channels())


def test_hidden_channels_are_those_of_the_factors(scenes: dict[str, xr.Dataset]) -> None:
    hidden = look(scenes, slice(None)).latent[:, [latent_channels().index(name) for name in HIDDEN]]
    np.testing.assert_array_equal(hidden, scenes["factors"]["embedding"].sel(channel=list(HIDDEN)).values)


def test_the_meaning_of_a_sign_is_told(scenes: dict[str, xr.Dataset]) -> None:
    features = look(scenes, slice(None))
    word = next(text for text in scenes["images"]["object_text"].values.ravel() if text)
    shown = (scenes["images"]["object_text"].values == word).any(axis=1)
    np.testing.assert_array_equal(features.latent[:, latent_channels().index(f"meaning.{word}")], shown)


def spot(x_deg: float) -> np.ndarray:
    """Return maps that are red at one place."""
    maps = np.zeros((1, GRID * GRID, len(pyramid_channels())), np.float32)
    right, up = grid_degrees()
    maps[0, np.hypot(right - x_deg, up) < 1, pyramid_channels().index("red-green")] = 1
    return maps


def route_to(x: float, maps: np.ndarray) -> dict[str, float]:
    where = np.full((1, 1), x), np.full((1, 1), 0.5), np.full((1, 1), 0.1)
    return dict(zip(route_channels(), route_features(maps, np.array([["face"]]), *where)[0], strict=True))


def test_a_routed_feature_is_read_where_the_object_is() -> None:
    maps = spot(2.1)
    assert route_to(0.75, maps)["route.face.red-green"] > 0.5
    assert route_to(0.25, maps)["route.face.red-green"] < 0.05


def test_a_routed_feature_of_an_absent_concept_is_zero() -> None:
    routed = route_to(0.75, spot(2.1))
    assert all(value == 0 for name, value in routed.items() if name.split(".")[1] != "face")
    assert {name.split(".")[1] for name in routed} == set(OBJECTS)


def test_progress_can_be_shown(scenes: dict[str, xr.Dataset], capsys: pytest.CaptureFixture[str]) -> None:
    images = scenes["images"].isel(stimulus=slice(2))
    factors = scenes["factors"]["embedding"].values[:2]
    observe(images["image"].variable, factors, images, context=replace(CONTEXT, quiet=True), label="looking")
    assert capsys.readouterr().err == ""
