import io
import logging

import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval.params import PictureParams, SheetParams
from brainlens_retrieval.pictures import draw_hits, write_sheet
from PIL import Image

import brainlens


def numbered(n: int, *, first: int = 0, dim: str = "stimulus", side: int = 6) -> xr.Dataset:
    """Images that are their own number everywhere."""
    values = np.arange(first, first + n, dtype=np.uint8)[:, None, None, None] * np.ones((side, side, 3), np.uint8)
    return xr.Dataset({"image": ((dim, "y", "x", "rgb"), values)}, {dim: np.arange(n)})


def drawn(ranking, stimuli, made=None, **params):
    return draw_hits(ranking, stimuli, made=made, params=PictureParams(**params), context=brainlens.Context())


def ranked(as_ranking):
    similarity = np.random.default_rng(0).standard_normal((5, 9)) + np.eye(5, 9)
    return as_ranking(similarity, np.arange(5))


def test_what_was_seen_stands_beside_the_best_candidates(as_ranking):
    ranking = ranked(as_ranking)
    found = drawn(ranking, numbered(9), numbered(5, first=100, dim="trial"), n_hits=3)
    brainlens.validate(found, "image.v1")
    assert found["candidate"].values.tolist() == ["seen", "made", "hit 1", "hit 2", "hit 3"]
    for trial in range(5):
        order = np.argsort(-ranking["similarity"].values[trial])[:3]
        shown = found["image"].values[trial, :, 0, 0, 0].tolist()
        assert shown == [trial, 100 + trial, *order]
        assert found["candidate_stimulus"].values[trial].tolist() == [str(trial), "", *map(str, order)]
    np.testing.assert_array_equal(found["found"], ranking["rank"])


def test_few_candidates_and_trials(as_ranking):
    found = drawn(ranked(as_ranking), numbered(9), n_hits=50, n_trials=2)
    assert dict(found.sizes) == {"trial": 2, "candidate": 10, "y": 6, "x": 6, "rgb": 3}


def sheet(dataset, target, **params):
    write_sheet(dataset, target, params=SheetParams(**params), context=brainlens.Context())
    return target.read_bytes()


def test_a_sheet_has_a_row_for_each_candidate(as_ranking, tmp_path):
    found = drawn(ranked(as_ranking), numbered(9), n_hits=2)
    content = sheet(found, tmp_path / "hits.png")
    rows = [(name, found["image"].sel(candidate=name).values) for name in ("seen", "hit 1", "hit 2")]
    labels = [str(label) for label in found["stimulus_id"].values]
    assert content == brainlens.contact_sheet(rows, labels=labels)
    assert Image.open(io.BytesIO(content)).format == "PNG"
    plain = found.isel(candidate=0)
    assert sheet(plain, tmp_path / "seen.png") == brainlens.contact_sheet([("", plain["image"].values)], labels=labels)


def test_a_sheet_of_regions_has_a_row_for_each(tmp_path):
    images = numbered(6)["image"].values.reshape(3, 2, 6, 6, 3)
    painted = xr.Dataset({"image": (("roi", "candidate", "y", "x", "rgb"), images)}, {"roi": ["V1", "FFA", "PPA"]})
    rows = [(name, images[row]) for row, name in enumerate(("V1", "FFA", "PPA"))]
    expected = brainlens.contact_sheet(rows, labels=["candidate 0", "candidate 1"])
    assert sheet(painted, tmp_path / "painted.png") == expected


def test_long_sheets_are_wrapped_and_paged(tmp_path, caplog):
    images = numbered(20)
    whole = Image.open(io.BytesIO(sheet(images, tmp_path / "a.png", n_columns=5)))
    assert whole.width == 5 * 100
    with caplog.at_level(logging.WARNING, "brainlens"):
        page = sheet(images, tmp_path / "b.png", n_columns=5, first=10, max_images=5)
    assert Image.open(io.BytesIO(page)).height < whole.height / 3
    assert caplog.messages == [
        "retrieval.sheet: stimulus 11 to 15 of 20, 15 left out. Go on with 'first', or raise 'max_images'."
    ]
    large = numbered(1, side=300)
    assert Image.open(io.BytesIO(sheet(large, tmp_path / "c.png", max_side=100))).width == 104
    assert Image.open(io.BytesIO(sheet(large, tmp_path / "d.png", max_side=0))).width == 304


def test_what_does_not_fit_is_refused(as_ranking, tmp_path):
    ranking = ranked(as_ranking)
    with pytest.raises(brainlens.DimensionError, match=r"seen or found, found 5 of \d missing: 0, 1, 2, 3, 4\. Give"):
        drawn(ranking, numbered(9).assign_coords(stimulus=np.arange(9) + 5), n_hits=9)
    with pytest.raises(brainlens.DimensionError, match="an image of every trial, found 2 of 5 missing: 3, 4"):
        drawn(ranking, numbered(9), numbered(3, dim="trial"))
    with pytest.raises(brainlens.DimensionError, match="made: expected images of 6 x 6 like the stimuli, found 4 x 4"):
        drawn(ranking, numbered(9), numbered(5, dim="trial", side=4))
    with pytest.raises(
        brainlens.DimensionError, match="a variable 'image' of dims .* found the variables 'similarity', 'rank'"
    ):
        sheet(ranking, tmp_path / "no.png")
    with pytest.raises(brainlens.DimensionError, match="first: expected a position along 'stimulus' from 0 to 8"):
        sheet(numbered(9), tmp_path / "no.png", first=9)
    assert not (tmp_path / "no.png").exists()
