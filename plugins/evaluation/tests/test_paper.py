from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brainlens_evaluation.paper import Line, Page, lay_out, number
from brainlens_evaluation.params import PaperParams, TableParams
from brainlens_evaluation.table import make_table

import brainlens

ScoresOf = Callable[..., xr.Dataset]


def make_page(scores_of: ScoresOf, *, subjects: int = 2, shared: float | None = 0.2, **params: Any) -> Page:
    """Two systems of a few subjects: ssim, clip in %, swav, and inception without weights."""
    scores, systems = [], []
    for system, good in (("ours", 0.4), ("theirs", 0.3)):
        for subject in range(subjects):
            each = {
                "ssim": {"reconstructed": [good - 0.05, good + 0.05 + 0.1 * subject], "mean_image": [0.5, 0.5]},
                "clip": {"reconstructed": [0.9, 0.9 + good / 10], "mean_image": [0.5, 0.5]},
                "swav": {"reconstructed": [0.6 - good, 0.6], "mean_image": [shared or good + 0.5] * 2},
            }
            one = scores_of(each, subject=f"subj{subject + 1:02d}", lower=("swav",))
            one = one.assign(chance=("metric", [0.1 + good, 0.5, 0.5 + good]))
            one = one.assign_coords(chance_from=("metric", ["shuffled", "definition", "wrong pairs"]))
            scores.append(one.assign_attrs(absent={"inception": "fetch it with: curl"}))
            systems.append(system)
    table = make_table(scores, params=TableParams(systems=tuple(systems)), context=brainlens.Context())
    return lay_out(table, PaperParams(**params))


def _line(page: Page, label: str, detail: str = "") -> Line:
    return next(line for line in page.lines if (line.label, line.detail) == (label, detail))


def test_columns_have_the_names_of_the_papers_and_their_direction(scores_of: ScoresOf) -> None:
    page = make_page(scores_of)
    assert page.columns == ("SSIM", "Inception %", "CLIP %", "SwAV")
    assert page.arrows == ("up", "up", "up", "down")


def test_systems_come_first_then_floors_then_chance(scores_of: ScoresOf) -> None:
    page = make_page(scores_of)
    assert [(line.label, line.kind) for line in page.lines] == [
        ("ours", "system"), ("theirs", "system"), ("mean image", "floor"), ("chance", "chance"),
    ]  # fmt: skip
    assert all(len(line.cells) == len(page.columns) for line in page.lines)
    assert [line.kind for line in make_page(scores_of, floors=False).lines] == ["system", "system"]


def test_numbers_are_those_of_the_table(scores_of: ScoresOf) -> None:
    ours = _line(make_page(scores_of), "ours").cells
    assert [cell.text for cell in ours] == ["0.425", "absent", "92.0", "0.400"]
    assert ours[0].spread == "± 0.025"
    assert _line(make_page(scores_of, percent=False, digits=2), "ours").cells[2].text == "0.92"


def test_the_best_and_what_a_floor_beats_are_marked(scores_of: ScoresOf) -> None:
    page = make_page(scores_of)
    assert [cell.best for cell in _line(page, "ours").cells] == [True, False, True, True]
    assert [cell.beaten_by for cell in _line(page, "theirs").cells] == ["mean_image", "", "", "mean_image"]
    assert "Bold: best of the systems." in page.notes
    assert "†: no better than a floor." in page.notes


def test_a_floor_that_all_share_has_one_row_and_others_one_for_each(scores_of: ScoresOf) -> None:
    assert _line(make_page(scores_of), "mean image").cells[3].text == "0.200"
    page = make_page(scores_of, shared=None)
    assert _line(page, "mean image", "ours").cells[3].text == "0.900"
    assert _line(page, "mean image", "theirs").cells[3].text == "0.800"


def test_chance_that_differs_is_a_range(scores_of: ScoresOf) -> None:
    chance = _line(make_page(scores_of), "chance").cells
    # That of the shuffled pairs stands in their row.
    assert [cell.text for cell in chance] == ["–", "–", "50.0", "0.800 to 0.900"]


def test_one_subject_has_its_own_numbers_and_intervals(scores_of: ScoresOf) -> None:
    page = make_page(scores_of, subject="subj01")
    assert _line(page, "ours").cells[0].text == "0.400"
    assert _line(page, "ours").cells[0].spread == "0.350 to 0.450"
    assert page.notes[0] == "Subject subj01; 2 cases for each score."
    assert page.spread == "Small: 95 % interval over images."
    with pytest.raises(brainlens.ParameterError, match="subject: expected one of the table, found 'subj9'"):
        make_page(scores_of, subject="subj9")


def test_absent_cells_carry_their_command(scores_of: ScoresOf) -> None:
    page = make_page(scores_of)
    assert page.commands == ("Inception: fetch it with: curl",)
    assert _line(page, "ours").cells[1].why == "fetch it with: curl"
    assert "Absent: no weights of that network were there." in page.notes


def test_missing_numbers_are_dashes() -> None:
    assert number(np.nan, percent=True, digits=3) == "–"
    assert number(0.25, percent=False, digits=4) == "0.2500"


def test_another_dataset_is_refused(scores_of: ScoresOf) -> None:
    scores = scores_of({"ssim": {"reconstructed": [0.1, 0.2]}})
    with pytest.raises(
        brainlens.DimensionError, match="score_table.v1, found 'score.v1'. Make one with evaluation.table"
    ):
        lay_out(scores, PaperParams())


def test_a_system_of_fewer_subjects_says_so(scores_of: ScoresOf) -> None:
    def scores(value: float, subject: str) -> xr.Dataset:
        return scores_of({"ssim": {"reconstructed": [value, value]}}, subject=subject)

    of_subjects = [scores(0.2, "a"), scores(0.2, "b"), scores(0.1, "a"), scores(0.1, "b"), scores(0.3, "a")]
    params = TableParams(systems=("ours", "ours", "theirs", "theirs", "few"))
    page = lay_out(make_table(of_subjects, params=params, context=brainlens.Context()), PaperParams())
    assert _line(page, "few", "1 of 2 subjects").cells[0].best is False
    assert _line(page, "ours").cells[0].best is True
    assert "Bold: best of the systems with all subjects." in page.notes
