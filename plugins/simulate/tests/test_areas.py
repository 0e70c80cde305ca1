"""The table of visual areas."""

import pytest
from brainlens_simulate.areas import AREAS, ROIS, VISUAL, check_rois, median_ncsnr
from brainlens_simulate.concepts import CONCEPTS


def test_areas_prefer_concepts_that_exist() -> None:
    wanted = {concept for area in AREAS.values() for concept in area.concepts}
    assert wanted <= set(CONCEPTS)


def test_shares_of_concepts_sum_to_one() -> None:
    assert all(sum(area.concepts.values()) == pytest.approx(1) for area in AREAS.values() if area.concepts)


def test_left_is_left_and_right_is_right() -> None:
    assert all(area.left[0] < 0 < area.right[0] for area in AREAS.values())


def test_only_the_control_has_no_signal() -> None:
    assert [name for name in ROIS if median_ncsnr(name) == 0] == ["control"]


def test_rois_are_sorted_and_visual_is_added() -> None:
    assert check_rois(("FFA", "V1")) == ("V1", "FFA", VISUAL)


def test_an_unknown_roi_is_refused_with_the_closest() -> None:
    with pytest.raises(ValueError, match=r"no ROI 'ffa'\. Closest: 'FFA'\."):
        check_rois(("ffa",))


def test_a_roi_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="expected each ROI once, found V1, V1"):
        check_rois(("V1", "V1"))
