"""Receptive fields of early voxels."""

import numpy as np
from brainlens_simulate.pyramid import grid_degrees, pyramid_channels
from brainlens_simulate.receptive_fields import draw_fields, draw_spectra, share_inside, weigh_places

N = 400


def fields_of(area: str, eccentricity: float = 2.0) -> dict[str, np.ndarray]:
    side = np.repeat(["left", "right"], N // 2)
    elevation = np.linspace(-80, 80, N)
    return draw_fields(np.random.default_rng(0), np.full(N, area), np.full(N, eccentricity), elevation, side)


def test_each_hemisphere_sees_the_other_side() -> None:
    x = fields_of("V1")["prf_x"]
    assert np.median(x[: N // 2]) > 1
    assert np.median(x[N // 2 :]) < -1


def test_elevation_points_up() -> None:
    assert np.corrcoef(fields_of("V1")["prf_y"], np.linspace(-80, 80, N))[0, 1] > 0.95


def test_size_grows_with_eccentricity_and_from_area_to_area() -> None:
    near, far = (np.median(fields_of("V1", degrees)["prf_size"]) for degrees in (0.5, 4.0))
    assert near < far
    sizes = [np.median(fields_of(area)["prf_size"]) for area in ("V1", "V2", "V3", "V4", "visual")]
    assert np.all(np.diff(sizes) > 0)


def test_places_are_drawn_where_no_map_is_known() -> None:
    nothing = np.full(N, np.nan)
    drawn = draw_fields(np.random.default_rng(0), np.full(N, "visual"), nothing, nothing, np.full(N, "left"))
    assert all(np.isfinite(values).all() for values in drawn.values())


def test_weights_over_places_sum_to_one_and_peak_at_the_centre() -> None:
    weights = weigh_places(np.array([1.0, 30.0]), np.array([-2.0, 0.0]), np.array([0.5, 0.5]))
    np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-5)
    x, y = grid_degrees()
    assert np.hypot(x[weights[:, 0].argmax()] - 1, y[weights[:, 0].argmax()] + 2) < 0.4


def test_a_receptive_field_is_inside_in_part() -> None:
    inside = share_inside(np.array([0.0, 4.2, 12.0]), np.zeros(3), np.full(3, 0.8))
    np.testing.assert_allclose(inside, [1, 0.5, 0], atol=0.02)


def test_spectra_prefer_their_orientation() -> None:
    weights, preferred = draw_spectra(np.random.default_rng(0), np.full(N, "V1"), private=0.0)
    names = np.array(pyramid_channels())
    flat = np.abs(preferred - 90) < 10
    upright = weights[names == "energy.8.90"][0, flat] - weights[names == "energy.8.0"][0, flat]
    assert upright.min() > 0.3


def test_v4_weighs_colour_more_than_v1() -> None:
    first, fourth = (draw_spectra(np.random.default_rng(0), np.full(N, name), private=0.1)[0] for name in ("V1", "V4"))
    assert np.abs(fourth[-2:]).mean() > 1.5 * np.abs(first[-2:]).mean()
    assert fourth[:-2].min() >= 0
