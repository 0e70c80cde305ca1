"""Patterns are active where they should be, in the unit of the response, and made of training trials alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brainlens_roi.params import PatternParams
from brainlens_roi.patterns import make_patterns, read_weights

import brainlens

CONTEXT = brainlens.Context()


def made(response: xr.Dataset, maps: xr.Dataset | None = None, **given: Any) -> xr.Dataset:
    return make_patterns(response=response, maps=maps, params=PatternParams(**given), context=CONTEXT)


def statistics(response: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return means of the training stimuli, and mean and SD of these."""
    shown = response["stimulus_id"].values
    values = response["response"].values.astype(np.float64)
    means = np.stack([values[shown == stimulus].mean(axis=0) for stimulus in range(40)])
    return means, means.mean(axis=0), means.std(axis=0)


def test_the_published_form_is_one_sd_inside_and_the_mean_outside(response):
    found = made(response)
    assert found["roi"].values.tolist() == ["V1", "FFA", "OFA", "PPA"]
    _, mean, std = statistics(response)
    mask = response["roi_mask"].sel(roi=found["roi"]).values
    np.testing.assert_array_equal(found["z"], mask.astype(np.float32))
    np.testing.assert_allclose(found["pattern"], mean + std * mask, rtol=1e-5)
    np.testing.assert_allclose(found["training_mean"], mean, rtol=1e-6)
    np.testing.assert_allclose(found["training_std"], std, rtol=1e-6)
    assert found["n_sites"].values.tolist() == [3, 2, 2, 2]
    assert found["i"].dims == ("voxel",)
    assert found.attrs["units"] == "%"


def test_expressions_contrasts_and_mixtures_are_read(response):
    texts = ("V1 + FFA", "FFA - OFA > PPA", "0.7 FFA ; -0.5 OFA", "V*")
    found = made(response, patterns=texts, level=2.0)
    expected = np.zeros((4, 10))
    expected[0, :5] = 2
    expected[1, 3], expected[1, [6, 7]] = 2, -2
    expected[2, [3, 4, 5]] = 1.4, 0.4, -1.0
    expected[3, :3] = 2
    np.testing.assert_allclose(found["z"], expected, atol=1e-6)
    assert found["roi_mask"].values[2].tolist() == [False] * 3 + [True] * 3 + [False] * 4


def test_the_form_norm_has_the_mean_length_of_training_patterns(response):
    means, mean, std = statistics(response)
    length = np.linalg.norm((means - mean) / std, axis=1).mean()
    found = made(response, form="norm", patterns=("FFA", "V1 > PPA"))
    np.testing.assert_allclose(np.linalg.norm(found["z"], axis=1), length, rtol=1e-5)
    assert found["z"].values[0, 3] == pytest.approx(found["z"].values[0, 4])


def test_the_natural_form_is_the_regression_on_the_mean_of_the_roi(response):
    means, mean, std = statistics(response)
    standard = (means - mean) / std
    found = made(response, form="natural", patterns=("FFA", "FFA > PPA"), level=1.5)["z"].values
    along = standard[:, [3, 4]].mean(axis=1)
    slopes = [np.polyfit(along, standard[:, site], 1)[0] for site in range(10)]
    np.testing.assert_allclose(found[0], 1.5 * np.array(slopes), atol=1e-5)
    assert found[0, [3, 4]].mean() == pytest.approx(1.5, abs=1e-5)
    # What goes with it goes along, and what goes against it goes the other way.
    assert found[0, 5] > 0.7
    assert found[0, 6] < -0.3
    assert found[1, [3, 4]].mean() - found[1, [6, 7]].mean() == pytest.approx(1.5, abs=1e-5)


def test_the_form_ceiling_weights_by_the_root_of_the_ceiling(response):
    found = made(response, form="ceiling", patterns=("V1",))["z"].values[0]
    root = np.sqrt(response["ncsnr"].values ** 2 / (response["ncsnr"].values ** 2 + 1))[:3]
    np.testing.assert_allclose(found[:3], root / root.mean(), rtol=1e-5)
    assert not found[3:].any()


def test_test_trials_change_nothing(response):
    changed = response.copy(deep=True)
    changed["response"].values[response["split"].values == "test"] *= 100
    for form in ("published", "norm", "natural"):
        xr.testing.assert_equal(made(changed, form=form), made(response, form=form))


def test_maps_are_patterns_by_their_labels(response):
    values = np.zeros((2, 10))
    values[0, 2], values[1, [0, 1]], values[1, 5] = 3.0, 2.0, np.nan
    maps = xr.Dataset(
        {"map": (("map_name", "voxel"), values[:, ::-1])},
        {"map_name": ["peak", "two"], "voxel": response["voxel"].values[::-1]},
    )
    found = made(response, maps, level=2.0)
    assert found["roi"].values.tolist() == ["peak", "two"]
    np.testing.assert_allclose(found["z"].values[0, 2], 2.0)
    np.testing.assert_allclose(found["z"].values[1, :3], [2, 2, 0])
    both = made(response, maps, patterns=("V1",))
    assert both["roi"].values.tolist() == ["V1", "peak", "two"]
    with pytest.raises(brainlens.DimensionError, match="maps: expected values of the response's 10 voxels"):
        made(response, maps.isel(voxel=slice(4)))
    with pytest.raises(brainlens.ParameterError, match="maps: expected other names than the patterns', found 'V1'"):
        made(response, maps.assign_coords(map_name=["V1", "two"]), patterns=("V1",))


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"patterns": ("FAA",)}, brainlens.DimensionError, "FAA"),
        ({"patterns": ("empty",)}, brainlens.DimensionError, "empty"),
        ({"patterns": ("V1 & FFA",)}, brainlens.DimensionError, "V1 & FFA"),
        (
            {"patterns": ("FFA > OFA",)}, brainlens.DimensionError,
            "pattern 'FFA > OFA': expected ROIs that do not overlap, found 1 voxels in both: 104. Take the overlap off",
        ),
        ({"patterns": ("V1 > FFA > PPA",)}, brainlens.ParameterError, "expected one '>' between two expressions"),
        ({"patterns": ("0.7 FFA ; PPA",)}, brainlens.ParameterError, "expected a number and an ROI .* 'PPA'"),
        ({"patterns": ("V1", "V1")}, brainlens.ParameterError, "patterns: expected each once, found 'V1' twice"),
        ({"train": "training"}, brainlens.DimensionError, "expected at least 2 trials of split 'training', found 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_said(response, given, error, text):
    with pytest.raises(error, match=text):
        made(response, **given)


def test_responses_that_lack_something_are_refused(response):
    with pytest.raises(brainlens.DimensionError, match="expected a coordinate 'ncsnr' of its sites for form='ceiling'"):
        made(response.drop_vars("ncsnr"), form="ceiling")
    with pytest.raises(brainlens.DimensionError, match="expected a coordinate 'split' with 'train', found none"):
        made(response.drop_vars("split"))
    with pytest.raises(brainlens.ParameterError, match="patterns: expected at least one, found none, and the response"):
        made(response.drop_vars(["roi_mask", "roi"]))
    constant = response.copy(deep=True)
    constant["response"].values[:, 4] = 1
    with pytest.raises(brainlens.DimensionError, match="found 1 in the patterns that do not: 104"):
        made(constant, patterns=("FFA",))
    assert made(constant, patterns=("PPA",), form="natural")["z"].values[0, 4] == 0


def test_regions_whose_names_hold_spaces_or_signs_are_regions(response):
    renamed = response.assign_coords(roi=["left V1", "aHIP-rh", "OFA", "PPA", "empty"])
    found = made(renamed)
    assert found["roi"].values.tolist() == ["left V1", "aHIP-rh", "OFA", "PPA"]
    np.testing.assert_array_equal(found["z"].sel(roi="aHIP-rh") != 0, renamed["roi_mask"].sel(roi="aHIP-rh"))


def test_weights_are_those_that_are_written(response):
    assert read_weights(response, "2 V1 ; .5 FFA", "voxel").tolist() == [2, 2, 2, 0.5, 0.5, 0, 0, 0, 0, 0]


def test_patterns_go_through_the_registry_into_a_decoder(response, tmp_path: Path):
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    registry.put("response", response)
    rng = np.random.default_rng(1)
    target = xr.Dataset(
        {"embedding": (("stimulus", "channel"), rng.standard_normal((44, 3)))}, {"stimulus": np.arange(44)}
    ).assign_attrs(model="toy", schema="embedding.v1")
    registry.put("target", target)
    model = registry.fit("linear", response="response", target="target", average="stimulus_id", device="cpu")
    patterns = registry.compute("roi.patterns", response="response", patterns=("FFA", "PPA > V1"))
    decoded = registry[registry.predict(model, response=patterns, device="cpu")]
    assert decoded["embedding"].dims == ("roi", "channel")
    assert decoded["roi"].values.tolist() == ["FFA", "PPA > V1"]
    # A linear decoder is additive: half of the pattern has half of the effect.
    half = registry.compute("roi.patterns", response="response", patterns=("FFA", "PPA > V1"), level=0.5)
    less = registry[registry.predict(model, response=half, device="cpu")]
    mean = decoded["target_mean"].values
    np.testing.assert_allclose(less["embedding"] - mean, (decoded["embedding"] - mean) / 2, atol=1e-5)
