"""Decoding ROI by ROI: planted truth is found, nothing is found where there is none, bad input is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from brainlens_roi.decode import decode
from brainlens_roi.params import DecodeParams

import brainlens
from brainlens.testing import synthetic_study


@pytest.fixture(scope="module")
def study():
    return synthetic_study()


def scored(study, *, response=None, target="target", seed=0, **given) -> xr.Dataset:
    params = DecodeParams(**{"n_permutations": 99, "n_resamples": 200, **given})
    responses = [study["response"]] if response is None else response
    made = decode(
        response=responses,
        target=study[target] if target else None,
        params=params,
        context=brainlens.Context(seed=seed),
    )
    brainlens.validate(made, "score")
    return made


def test_each_region_alone_tells_what_it_carries(study):
    found = scored(study, channels=("*",))
    assert found["roi"].values.tolist() == ["V1", "FFA", "empty"]
    significant = found["q_value"].sel(metric=["two_way_identification", "top_1", "r2"]) < 0.05
    np.testing.assert_array_equal(significant, [[True, True, False]] * 3)
    # The study plants the first half of the channels in V1, the other in FFA.
    r2 = found["score"].sel(metric=[f"r2 {channel}" for channel in range(12)])
    assert r2.sel(roi="V1")[:6].min() > 0.5
    assert r2.sel(roi="FFA")[6:].min() > 0.5
    assert max(r2.sel(roi="V1")[6:].max(), r2.sel(roi="FFA")[:6].max(), r2.sel(roi="empty").max()) < 0.05
    assert ((found["ci_low"] <= found["score"]) & (found["score"] <= found["ci_high"])).all()
    assert found["chance"].sel(roi="V1").values[:3] == pytest.approx([0.5, 1 / 24, 0])
    assert found["noise_ceiling"].sel(roi="empty") < 0.1 < 0.5 < found["noise_ceiling"].sel(roi="V1")


def test_leaving_a_region_out_hurts_what_it_carries_and_nothing_else(study):
    found = scored(study, mode="left_out", channels=("*",))
    assert found["roi"].values.tolist() == ["all sites", "V1", "FFA", "empty"]
    drop = found["drop"].sel(metric=[f"r2 {channel}" for channel in range(12)])
    hurt = found["drop_q_value"].sel(metric=drop["metric"]) < 0.05
    carried = np.arange(12) < 6
    np.testing.assert_array_equal(hurt.sel(roi="V1"), carried)
    np.testing.assert_array_equal(hurt.sel(roi="FFA"), ~carried)
    assert not hurt.sel(roi="empty").any()
    assert drop.sel(roi="V1")[:6].min() > 0.4
    assert np.isnan(found["drop"].sel(roi="all sites")).all()
    whole = found["score"].sel(roi="all sites")
    others = found.isel(roi=slice(1, None))
    np.testing.assert_allclose(whole - others["score"], others["drop"], atol=1e-12)
    assert ((others["drop_low"] <= others["drop"]) & (others["drop"] <= others["drop_high"])).all()


def test_growing_sets_end_with_all(study):
    given = scored(study, mode="growing", rois=("FFA", "V1", "empty"))
    assert given["roi"].values.tolist() == ["+ FFA", "+ V1", "+ empty"]
    best = scored(study, mode="growing", order="score")
    assert best["roi"].values.tolist() == ["best 1", "best 2", "best 3"]
    assert set(best["added"].isel(roi=2).values) == {"empty"}
    whole = scored(study, rois=("all",))
    for made in (given, best):
        np.testing.assert_allclose(made["score"].isel(roi=2), whole["score"].isel(roi=0), atol=1e-9)
    assert given["score"].sel(metric="r2", roi="+ V1") > given["score"].sel(metric="r2", roi="+ FFA") + 0.2
    assert best["n_sites"].values.tolist() == [20, 40, 60]


def test_as_many_sites_are_drawn_of_each(study):
    found = scored(study, rois=("V1", "V1 + FFA", "empty"), n_voxels=20, n_draws=4)
    whole = scored(study, rois=("V1", "empty"))
    # All sites of a set are always the same draw.
    np.testing.assert_allclose(found["score"].sel(roi=["V1", "empty"]), whole["score"], atol=1e-9)
    np.testing.assert_allclose(found["p_value"].sel(roi=["V1", "empty"]), whole["p_value"], atol=0.011)
    np.testing.assert_allclose(found["score_sd"].sel(roi="V1"), 0, atol=1e-9)
    assert found["score_sd"].sel(roi="V1 + FFA", metric="r2") > 0.01
    assert found.attrs["n_draws"] == 4
    assert found["n_sites"].values.tolist() == [20, 20, 20]


def test_shuffled_sites_or_stimuli_give_nothing(study):
    rng = np.random.default_rng(0)
    values = study["response"]["response"].values
    # Every trial has another order of the sites; without its mean nothing is left that is linear in the pattern.
    mixed = np.stack([rng.permutation(row - row.mean()) for row in values])
    noise = study["response"].assign(response=(("trial", "voxel"), mixed))
    stimuli = np.unique(study["response"]["stimulus_id"].values)
    other = dict(zip(stimuli, rng.permutation(stimuli), strict=True))
    relabelled = study["response"].assign_coords(
        stimulus_id=("trial", [other[label] for label in study["response"]["stimulus_id"].values])
    )
    for response in (noise, relabelled):
        found = scored(study, response=[response], n_permutations=199)
        assert found["q_value"].min() > 0.05
        assert found["score"].sel(metric="r2").max() < 0.05


def test_p_values_without_signal_are_not_too_small():
    found = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        response = xr.Dataset(
            {
                "response": (("trial", "voxel"), rng.standard_normal((40, 12))),
                "roi_mask": (("roi", "voxel"), np.ones((1, 12), bool)),
            },
            {"trial": np.arange(40), "stimulus_id": ("trial", np.arange(40)), "voxel": np.arange(12), "roi": ["a"]},
        )
        target = xr.Dataset(
            {"embedding": (("stimulus", "channel"), rng.standard_normal((40, 4)))}, {"stimulus": np.arange(40)}
        )
        found.append(
            scored({"target": target}, response=[response], n_permutations=39, seed=seed)["p_value"].values[:, 0]
        )
    for metric in np.array(found).T:
        assert scipy.stats.kstest(metric, "uniform", alternative="greater").pvalue > 0.01


def test_categories_are_decoded_run_by_run(study):
    response = study["response"]
    kind = np.where(study["target"]["embedding"].values[:, 0] > 0, "large", "small")
    of = dict(zip(study["target"]["stimulus"].values.tolist(), kind.tolist(), strict=True))
    named = response.assign_coords(size=("trial", [of[label] for label in response["stimulus_id"].values.tolist()]))
    found = scored(study, response=[named], target=None, classes="size", cv_by="session", n_folds=0)
    assert found["score"].sel(metric="top_1", roi="V1") > 0.7
    assert found["chance"].sel(metric="top_1", roi="V1") == 0.5
    assert (found["q_value"].sel(metric="top_1") < 0.05).values.tolist() == [True, False, False]
    assert found.attrs["n_units"] == 3


def test_subjects_stand_side_by_side(study):
    other = study["response"].assign_attrs(subject="other")
    both = scored(study, response=[study["response"], other], rois=("V1", "empty"))
    assert both["score"].dims == ("subject", "metric", "roi")
    alone = scored(study, rois=("V1", "empty"))
    for subject in both["subject"].values:
        xr.testing.assert_equal(both.sel(subject=subject, drop=True), alone)
    with pytest.raises(brainlens.DimensionError, match="expected one of each subject, found several of"):
        scored(study, response=[other, other])


def test_processes_come_to_the_same_numbers(study):
    given = {"mode": "growing", "order": "score"}
    other = study["response"].assign_attrs(subject="other")
    apart = scored(study, response=[study["response"], other], n_permutations=9, n_workers=2, **given)
    alone = scored(study, response=[study["response"], other], n_permutations=9, **given)
    xr.testing.assert_allclose(apart, alone, rtol=1e-9)
    np.testing.assert_array_equal(apart["p_value"], alone["p_value"])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("mode", ["alone", "left_out"])
def test_a_cluster_shares_subjects_and_regions_and_comes_to_the_same_numbers(study, monkeypatch, mode):
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed: no cluster is tried")
    # A worker is a process of its own, and starts with the threads that it is told here.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    responses = [study["response"], study["response"].assign_attrs(subject="other")]
    alone = scored(study, response=responses, n_permutations=9, mode=mode)
    done = []

    class Watch(distributed.diagnostics.plugin.SchedulerPlugin):
        def transition(self, key, start, finish, *args, **kwargs):
            if finish == "memory":
                done.append(kwargs.get("worker"))

    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster),
    ):
        cluster.scheduler.add_plugin(Watch())
        apart = scored(study, response=responses, n_permutations=9, mode=mode, n_workers=1)
    assert len(set(done) - {None}) == 2, "both workers take part"
    xr.testing.assert_allclose(apart, alone, rtol=1e-9)
    np.testing.assert_array_equal(apart["p_value"], alone["p_value"])


def test_processes_pass_on_what_is_wrong(study):
    stuck = study["response"].copy(deep=True)
    stuck["response"].values[:, 3] = 1
    with pytest.raises(brainlens.DimensionError, match="expected sites that vary"):
        scored(study, response=[stuck], n_workers=2)
    with pytest.raises(brainlens.ParameterError, match="n_workers: expected 0 on 'cuda:0'"):
        decode(
            response=[study["response"]], target=study["target"], params=DecodeParams(n_workers=2),
            context=brainlens.Context(device="cuda:0"),
        )  # fmt: skip


def test_a_region_that_a_subject_lacks_is_said(study):
    lacks = study["response"].isel(roi=[0, 2]).assign_attrs(subject="s2")
    with pytest.raises(brainlens.DimensionError, match="subject 's2': expected the ROIs of the other.*no 'FFA'"):
        scored(study, response=[study["response"], lacks])
    with pytest.raises(brainlens.DimensionError, match="subject 's2': ROI expression 'FFA': there is no ROI 'FFA'"):
        scored(study, response=[study["response"], lacks], rois=("FFA",))


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"channels": ("13",)}, brainlens.ParameterError, "channels: expected channels of the target, found '13'"),
        ({"n_voxels": 21}, brainlens.DimensionError, "sets of at least 21 voxel sites, found 3 smaller ones: 'V1' 20"),
        ({"n_voxels": 2, "mode": "growing"}, brainlens.ParameterError, "expected 0 for mode='growing'"),
        ({"rois": ("FFB",)}, brainlens.DimensionError, "there is no ROI 'FFB'"),
    ],
)
def test_what_cannot_be_done_is_said(study, given, error, text):
    with pytest.raises(error, match=text):
        scored(study, **given)


def test_channels_that_do_not_vary_have_no_score(study):
    flat = study["target"].copy(deep=True)
    flat["embedding"].values[:, 2] = 1
    with pytest.raises(brainlens.DimensionError, match="channels that vary over the stimuli, found '2' that do not"):
        scored({**study, "target": flat}, channels=("2",))


def test_it_goes_through_the_registry_lazily_and_the_same_twice(study, tmp_path: Path):
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    registry.put("response", study["response"])
    registry.put("target", study["target"])
    given = {"response": "response", "target": "target", "n_permutations": 49, "device": "cpu"}
    first = registry[registry.compute("roi.decode", **given)].load()
    again = registry[registry.compute("roi.decode", name="again", **given)].load()
    xr.testing.assert_equal(first, again)
    expected = scored(study, n_permutations=49)
    np.testing.assert_allclose(first["score"], expected["score"], atol=1e-9)
    assert first.attrs["mode"] == "alone"
    with pytest.raises(brainlens.DimensionError):
        registry.compute("roi.decode", name="bad", rois=("FFB",), **given)
    assert "bad" not in registry.list()
