import numpy as np
import pytest
from brainlens_simulate.concepts import PLACES
from brainlens_simulate.places import BACKDROP_M, SKY_M, WALL_M, ground_depth, lay_out
from brainlens_simulate.scene import Scene

KINDS = [(place, kind) for place, kinds in PLACES.items() for kind in kinds]


def of_kind(scenes: list[Scene], kind: str) -> list[Scene]:
    return [scene for scene in scenes if scene.kind == kind]


@pytest.mark.parametrize(("place", "kind"), KINDS)
def test_every_kind_of_place_can_be_laid_out(place: str, kind: str, scenes: list[Scene]) -> None:
    behind = {"outdoor": SKY_M, "indoor": WALL_M, "backdrop": BACKDROP_M}[place]
    for scene in of_kind(scenes, kind):
        surfaces, details = lay_out(scene)
        assert surfaces[0].outline is None
        assert surfaces[0].depth == behind
        assert all(0 < detail.depth <= SKY_M for detail in details)
        assert all(0 <= value <= 255 for detail in details for value in detail.rgb)


def test_two_places_of_one_kind_differ(scenes: list[Scene]) -> None:
    first, second = of_kind(scenes, "street")[:2]
    assert str(lay_out(first)) != str(lay_out(second))


def test_the_ground_comes_nearer_towards_the_viewer() -> None:
    depth = ground_depth(np.linspace(0.5, 1, 50), horizon=0.5, farthest=100)
    assert depth[0] == 100
    assert np.all(np.diff(depth) <= 0)
    # At twice the angle below the horizon the ground is half as far away.
    near, far = ground_depth(np.array([0.9, 0.7]), horizon=0.5, farthest=100)
    assert far == pytest.approx(2 * near)
