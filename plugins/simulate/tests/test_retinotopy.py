"""Maps of the visual field around the calcarine sulcus."""

import numpy as np
from brainlens_simulate.retinotopy import BORDERS, LENGTH_MM, POLE, Calcarine, find_early, visual_field

V4 = (np.array([29.0, -78.0, -13.0]), 10.0)


def around(along: float, degrees: float, radius: float) -> np.ndarray:
    """Return a place by its distance along the line, and angle and distance around it."""
    angle = np.deg2rad(degrees)
    offset = (radius * np.cos(angle), along, 0.2 * along + radius * np.sin(angle))
    return (np.array(POLE) + offset)[None]


def look(area: str, place: np.ndarray) -> tuple[float, float]:
    eccentricity, elevation = visual_field(area, place, Calcarine(), V4)[0]
    return float(eccentricity), float(elevation)


def test_the_upper_bank_sees_the_lower_field() -> None:
    for area, radius in (("V1", 8.0), ("V2", 13.0), ("V3", 19.0)):
        assert look(area, around(20, 90, radius))[1] < 0 < look(area, around(20, -90, radius))[1]


def test_eccentricity_grows_to_the_front() -> None:
    seen = [look("V1", around(along, 90, 5))[0] for along in (2, 10, 20, 30, LENGTH_MM)]
    assert np.all(np.diff(seen) > 0)
    assert seen[-1] > 4.2


def test_the_field_is_mirrored_at_the_borders_of_areas() -> None:
    border = BORDERS[1]
    assert abs(look("V1", around(20, 90, border))[1] - look("V2", around(20, 90, border))[1]) < 1
    assert abs(look("V2", around(20, 90, BORDERS[2]))[1] - look("V3", around(20, 90, BORDERS[2]))[1]) < 1


def test_v4_holds_upper_and_lower_field() -> None:
    near, far = V4[0] - (8, 0, 0), V4[0] + (8, 0, 0)
    assert look("V4", far[None])[1] < 0 < look("V4", near[None])[1]


def test_v1_to_v3_are_shells_that_do_not_overlap() -> None:
    places = np.concatenate([around(20, degrees, radius) for degrees in (-90, 90) for radius in (3, 13, 19, 30)])
    found = find_early(places, Calcarine())
    assert np.stack(list(found.values())).sum(axis=0).tolist() == [1, 1, 1, 0, 1, 1, 1, 0]


def test_a_shifted_and_larger_sulcus_moves_the_areas() -> None:
    place = around(20, 90, 12)
    assert not find_early(place, Calcarine())["V1"][0]
    assert find_early(place, Calcarine(scale=1.3))["V1"][0]
    assert find_early(place, Calcarine(shift=(0, 0, 5)))["V1"][0]
