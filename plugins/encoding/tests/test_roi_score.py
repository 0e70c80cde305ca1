from __future__ import annotations

import numpy as np
import pytest

import brainlens


@pytest.fixture
def scored(registry):
    registry.fit("encoding.ridge", features="target", response="response", average="stimulus_id", name="m")
    registry.predict("m", features="target", name="p")
    return registry[
        registry.compute("encoding.roi_score", predicted="p", measured="response", n_permutations=99, n_resamples=100)
    ].load()


def test_rois_with_a_signal_are_told_from_the_empty_one(scored):
    brainlens.validate(scored, "score")
    found = scored.sel(metric="correlation")
    assert found["roi"].values.tolist() == ["all sites", "V1", "FFA", "empty"]
    assert (found["score"].sel(roi=["V1", "FFA"]) > 0.5).all()
    assert abs(float(found["score"].sel(roi="empty"))) < 0.2
    assert found["p_value"].values.tolist()[:3] == [0.01] * 3
    assert float(found["p_value"].sel(roi="empty")) > 0.01
    assert (abs(found["chance"]) < 0.1).all()


def test_means_are_those_of_the_maps(scored, registry, study):
    maps = registry[registry.compute("encoding.score", predicted="p", measured="response", n_permutations=0)]
    for roi in ("V1", "FFA", "empty"):
        inside = study["response"]["roi_mask"].sel(roi=roi).values
        for metric in ("correlation", "r2", "noise_ceiling"):
            expected = maps["map"].sel(map_name=metric).values[inside].mean()
            assert float(scored["score"].sel(metric=metric, roi=roi)) == pytest.approx(expected, abs=1e-5)
        assert int(scored["n"].sel(metric="r2", roi=roi)) == 10


def test_ncsnr_stands_in_for_repetitions(registry, study):
    response = study["response"]
    once = response.isel(trial=np.flatnonzero(response["repetition"].values == 0)).drop_vars("noise_ceiling")
    registry.put("once", once.assign_coords(ncsnr=("voxel", np.linspace(0.5, 2, 30, dtype=np.float32))))
    registry.fit("encoding.ridge", features="target", response="response", alphas=(10.0,), name="m")
    registry.predict("m", features="target", name="p")
    given = {"predicted": "p", "measured": "once", "n_permutations": 0, "n_resamples": 100}
    found = registry[registry.compute("encoding.roi_score", **given)].sel(metric="noise_ceiling", roi="all sites")
    expected = np.mean(np.linspace(0.5, 2, 30) ** 2 / (1 + np.linspace(0.5, 2, 30) ** 2))
    for name in ("score", "ci_low", "ci_high"):
        assert float(found[name]) == pytest.approx(expected, rel=1e-5)


def test_intervals_hold_the_scores(scored):
    found = scored.sel(metric="r2", roi=["V1", "FFA"])
    assert (found["ci_low"] < found["score"]).all()
    assert (found["score"] < found["ci_high"]).all()


def test_a_ceiling_is_not_tested(scored):
    assert np.isnan(scored["p_value"].sel(metric="noise_ceiling").values).all()


def test_rois_without_a_score_are_left_out_and_named(registry, scored):
    predicted = registry["p"].load()
    values = predicted["response"].values.copy()
    values[:, predicted["roi_mask"].sel(roi="FFA").values] = 1
    registry.put("flat", predicted.assign(response=(("trial", "voxel"), values)))
    made = registry[
        registry.compute("encoding.roi_score", predicted="flat", measured="response", n_permutations=0, n_resamples=100)
    ]
    assert made["roi"].values.tolist() == ["all sites", "V1", "empty"]
    assert made.attrs["dropped_rois"] == ["FFA"]
    registry.put("dead", predicted.assign(response=(("trial", "voxel"), np.ones_like(values))))
    with pytest.raises(
        brainlens.DimensionError, match="^predicted: expected a site whose prediction varies over stimuli"
    ):
        registry.compute("encoding.roi_score", predicted="dead", measured="response", n_permutations=0, n_resamples=100)
