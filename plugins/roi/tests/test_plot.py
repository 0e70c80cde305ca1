"""Pictures: they are drawn where the values are, and refused where a view would mislead."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import xarray as xr
from brainlens_roi.plot import chance_of, choose_map, make_image, scale, write
from brainlens_roi.plot_params import PlotParams

import brainlens


@pytest.fixture
def volume() -> xr.Dataset:
    """Two maps of a block of voxels at the back of the left hemisphere, in MNI space at 4 mm."""
    index = np.argwhere(np.ones((5, 5, 5), bool)) + [10, 4, 12]
    values = np.stack([np.linspace(0.1, 0.9, len(index)), np.full(len(index), np.nan)])
    values[1, 0] = -0.4
    affine = np.array([[4, 0, 0, -90], [0, 4, 0, -126], [0, 0, 4, -72], [0, 0, 0, 1]], float)
    return xr.Dataset(
        {"map": (("map_name", "voxel"), values.astype(np.float32))},
        {
            "map_name": ["r2", "drop"], "voxel": np.arange(len(index)),
            **{name: ("voxel", index[:, axis]) for axis, name in enumerate("ijk")},
        },
        {"space": "MNI152NLin2009cAsym", "affine": affine.ravel().tolist(), "volume_shape": [46, 55, 46]},
    )  # fmt: skip


@pytest.fixture
def surfaces() -> xr.Dataset:
    """A map of every fourth vertex of fsaverage5, the right hemisphere behind the left."""
    number = np.arange(0, 20_484, 4)
    return xr.Dataset(
        {"map": ("vertex", np.sin(number / 900).astype(np.float32))},
        {"vertex": number, "hemisphere": ("vertex", np.where(number < 10_242, "left", "right"))},
        {"space": "fsaverage5"},
    )


def drawn(dataset, folder: Path, name: str = "map.brain.png", **given) -> Path:
    target = folder / name
    write(dataset, target, params=PlotParams(**given), context=brainlens.Context())
    return target


def colourful(path: Path) -> int:
    """Count the pixels that have a colour."""
    pixels = matplotlib.image.imread(path)[..., :3]
    return int((np.ptp(pixels, axis=2) > 0.2).sum())


@pytest.mark.parametrize("view", ["glass", "slices"])
def test_values_are_drawn_in_colour(volume, tmp_path, view):
    path = drawn(volume, tmp_path, view=view, label="r2")
    with_values = colourful(path)
    path.unlink()
    few = colourful(drawn(volume, tmp_path, view=view, label="r2", threshold=0.899, vmax=0.9))
    assert with_values > few + 500


def test_pages_need_no_network(volume, tmp_path):
    text = drawn(volume, tmp_path, "map.brain.html", view="slices", label="r2").read_text("utf-8")
    assert "<html" in text
    assert 'src="http' not in text
    assert "r2" in text


def test_vertices_are_drawn_on_the_mesh_that_comes_with_nilearn(surfaces, tmp_path):
    left = drawn(surfaces, tmp_path, "left.brain.png", view="surface", hemisphere="left")
    right = drawn(surfaces, tmp_path, "right.brain.png", view="surface", hemisphere="right")
    assert min(colourful(left), colourful(right)) > 1000
    page = drawn(surfaces, tmp_path, "left.brain.html", view="surface", hemisphere="left").read_text("utf-8")
    assert 'src="http' not in page


def test_a_missing_library_is_named(surfaces, tmp_path, monkeypatch):
    monkeypatch.setattr("brainlens_roi.plot.importlib.util.find_spec", lambda name: None)
    with pytest.raises(brainlens.PluginError, match="library 'plotly'.*brainlens-roi\\[pages\\]"):
        drawn(surfaces, tmp_path, "x.brain.html", view="surface", hemisphere="left")


def test_voxels_stand_where_the_affine_says(volume):
    values, label = choose_map(volume, PlotParams(label="r2"))
    assert label == "r2"
    image = make_image(volume, values)
    data = image.get_fdata()
    assert data.shape == (46, 55, 46)
    assert np.count_nonzero(data) == 125
    np.testing.assert_allclose(data[10, 4, 12], 0.1, rtol=1e-6)
    np.testing.assert_allclose(data[14, 8, 16], 0.9, rtol=1e-6)
    assert make_image(volume, choose_map(volume, PlotParams(label="drop"))[0]).get_fdata().sum() == pytest.approx(-0.4)


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({}, brainlens.ParameterError, "label: expected one along 'map_name', found ''. .*'drop'"),
        ({"label": "r3"}, brainlens.ParameterError, "label: expected one along 'map_name', found 'r3'"),
        ({"variable": "nap"}, brainlens.ParameterError, "variable: expected one of those with sites, found 'nap'"),
        ({"label": "r2", "threshold": 1}, brainlens.ParameterError, "values above 1.0, found none in 'r2'"),
        (
            {"label": "r2", "threshold": 1, "centre": 0.5},
            brainlens.ParameterError,
            "threshold: expected values farther than 1.0 from 0.5, found none in 'r2'",
        ),
        (
            {"label": "r2", "centre": 0.5, "vmax": 0.4},
            brainlens.ParameterError,
            "vmax: expected a value above the centre of the colours, 0.5, found 0.4",
        ),
    ],
)
def test_what_is_not_there_cannot_be_drawn(volume, tmp_path, given, error, text):
    with pytest.raises(error, match=text):
        drawn(volume, tmp_path, **given)
    assert not list(tmp_path.iterdir())


ACCURACY = np.array([0.526, 0.9, np.nan, 0.4, 0.5])


def test_colours_are_centred_on_chance():
    """A control region at .526, with chance .5, is nearly white, and what is below chance is blue."""
    shown = scale(ACCURACY, "accuracy", 0.5, PlotParams())
    np.testing.assert_allclose(shown.values, ACCURACY - 0.5)
    assert (shown.bar.vmin, shown.bar.vmax) == pytest.approx((0.1, 0.9))
    assert (shown.colours["vmin"], shown.colours["vmax"]) == pytest.approx((-0.4, 0.4))
    assert shown.words == "chance 0.5 in the middle"
    place = (shown.values[0] - shown.colours["vmin"]) / np.ptp([shown.colours["vmin"], shown.colours["vmax"]])
    assert matplotlib.colormaps[shown.colours["cmap"]](place)[:3] > (0.9, 0.9, 0.9)


@pytest.mark.parametrize("centre", [0.5, None])
def test_a_page_has_the_values_themselves(centre):
    known = None if centre else 0.5
    shown = scale(np.append(ACCURACY, 0.0), "a", known, PlotParams(centre=centre, threshold=0.05), interactive=True)
    # Near the centre nothing is drawn; 0 is a value like others, although nilearn takes it for none.
    np.testing.assert_allclose(shown.values, [np.nan, 0.9, np.nan, 0.4, np.nan, 2e-6])
    assert (shown.colours["vmin"], shown.colours["vmax"]) == pytest.approx((0, 1))
    assert shown.threshold < np.nanmin(shown.values)
    assert not shown.symmetric


def test_without_chance_colours_are_centred_on_0():
    for chance in (None, 0.0):
        shown = scale(ACCURACY, "r2", chance, PlotParams(), interactive=chance is None)
        np.testing.assert_array_equal(shown.values, ACCURACY)
        assert (shown.colours["vmin"], shown.colours["vmax"], shown.words) == (-0.9, 0.9, "")
    moved = scale(ACCURACY, "accuracy", 0.5, PlotParams(centre=0, vmax=2))
    assert (moved.bar.vmin, moved.bar.vmax, moved.words) == (-2, 2, "")
    assert scale(ACCURACY, "a", 0.5, PlotParams(centre=0.25)).words == "0.25 in the middle"


def test_one_side_shows_what_is_above_the_centre():
    shown = scale(ACCURACY, "accuracy", 0.5, PlotParams(symmetric=False))
    np.testing.assert_allclose(shown.values, [0.026, 0.4, np.nan, np.nan, np.nan])
    assert (shown.bar.vmin, shown.bar.vmax) == pytest.approx((0.5, 0.9))
    assert shown.words == "above chance 0.5"


def test_chance_is_found_where_it_is_kept(volume):
    assert chance_of(volume, PlotParams(), "r2") is None
    kept = volume.assign_coords(chance=("map_name", [0.5, np.nan]))
    assert [chance_of(kept, PlotParams(), name) for name in ("r2", "drop")] == [0.5, None]
    assert chance_of(kept.reset_coords("chance"), PlotParams(), "r2") == 0.5
    assert chance_of(volume.assign_attrs(chance=0.25), PlotParams(), "r2") == 0.25
    assert chance_of(volume.assign_attrs(chance="none"), PlotParams(), "r2") is None
    assert chance_of(volume.assign(chance=("voxel", np.ones(125))), PlotParams(), "r2") is None


@pytest.mark.parametrize("view", ["glass", "slices"])
def test_what_is_at_chance_is_not_coloured(volume, tmp_path, view):
    values = np.full((1, 125), 0.502, np.float32)
    values[0, :3] = 0.9
    known = volume.isel(map_name=[0]).assign(map=(("map_name", "voxel"), values))
    known = known.assign_coords(chance=("map_name", [0.5]))
    pale = colourful(drawn(known, tmp_path, view=view))
    strong = colourful(drawn(known, tmp_path, "zero.brain.png", view=view, centre=0))
    assert strong > pale + 500


def test_a_page_says_what_its_middle_is(volume, tmp_path):
    known = volume.assign_coords(chance=("map_name", [0.5, np.nan]))
    for view in ("slices", "surface"):
        page = drawn(known, tmp_path, f"{view}.brain.html", view=view, label="r2").read_text("utf-8")
        assert page.count("Colours: chance 0.5 in the middle.") == 1
    page = drawn(known, tmp_path, "drop.brain.html", view="slices", label="drop").read_text("utf-8")
    assert "in the middle" not in page


def test_views_that_would_mislead_are_refused(volume, surfaces, tmp_path):
    native = volume.assign_attrs(space="T1w")
    for view in ("glass", "surface"):
        with pytest.raises(
            brainlens.DimensionError, match=f"view '{view}': expected voxels in MNI space, found space 'T1w'"
        ):
            drawn(native, tmp_path, view=view, label="r2")
    assert drawn(native, tmp_path, view="slices", label="r2").exists()
    with pytest.raises(brainlens.DimensionError, match="view 'glass': expected voxels, found vertices"):
        drawn(surfaces, tmp_path)
    with pytest.raises(
        brainlens.ParameterError, match="hemisphere: expected 'left' or 'right'.*It has 'left', 'right'"
    ):
        drawn(surfaces, tmp_path, view="surface")
    with pytest.raises(brainlens.ParameterError, match="the path of the mesh, since the space is 'fsnative'"):
        drawn(surfaces.assign_attrs(space="fsnative"), tmp_path, view="surface", hemisphere="left")
    with pytest.raises(brainlens.DimensionError, match="expected coordinates i, j, k .* found no coordinate 'k'"):
        drawn(volume.drop_vars("k"), tmp_path, label="r2")
    with pytest.raises(brainlens.DimensionError, match="Put scores of ROIs onto their sites by roi.map"):
        drawn(xr.Dataset({"score": ("roi", [1.0])}, {"voxel": [1]}), tmp_path)
    (tmp_path / "mesh.gii").write_text("nothing")
    with pytest.raises(brainlens.ParameterError, match="expected a mesh"):
        drawn(surfaces, tmp_path, "x.brain.png", view="surface", hemisphere="left", mesh=str(tmp_path / "mesh.gii"))
