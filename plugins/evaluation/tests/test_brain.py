import logging
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brainlens_evaluation.brain import correlate_brains
from brainlens_evaluation.params import BrainParams

import brainlens


def _responses(
    n: int = 40, n_voxels: int = 60, *, repetitions: int = 3, noise: float = 1.0, means: float = 0.0, seed: int = 0
) -> tuple[xr.Dataset, xr.Dataset]:
    """An encoder that knows the signal, and what was measured of it; the second ROI has no signal."""
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((n, n_voxels))
    signal[:, n_voxels // 2 :] = 0
    mean = means * rng.standard_normal(n_voxels)
    ids = np.array([f"s{number:03d}" for number in range(n)])
    order = rng.permutation(np.repeat(np.arange(n), repetitions))
    measured = signal[order] + mean + noise * rng.standard_normal((n * repetitions, n_voxels))
    guess = signal.copy()
    guess[:, n_voxels // 2 :] = rng.standard_normal((n, n_voxels - n_voxels // 2))
    mask = np.stack(
        [np.arange(n_voxels) < n_voxels // 2, np.arange(n_voxels) >= n_voxels // 2, np.arange(n_voxels) < 2]
    )
    ncsnr = np.where(np.arange(n_voxels) < n_voxels // 2, 1 / noise, 0.0)
    attrs = {"schema": "response.v1", "subject": "planted", "units": "a.u."}
    return (
        xr.Dataset(
            {"response": (("trial", "voxel"), guess + mean)},
            {"trial": np.arange(n), "stimulus_id": ("trial", ids), "voxel": np.arange(n_voxels)},
            attrs,
        ),
        xr.Dataset(
            {"response": (("trial", "voxel"), measured), "roi_mask": (("roi", "voxel"), mask)},
            {
                "trial": np.arange(n * repetitions), "stimulus_id": ("trial", ids[order]), "voxel": np.arange(n_voxels),
                "roi": ["V1", "no signal", "tiny"], "ncsnr": ("voxel", ncsnr),
            },
            attrs,
        ),
    )  # fmt: skip


def _score(predicted: xr.Dataset, measured: xr.Dataset, **params: Any) -> xr.Dataset:
    given = {"n_resamples": 300, "n_permutations": 300, **params}
    found = correlate_brains(
        predicted=predicted, measured=measured, params=BrainParams(**given), context=brainlens.Context()
    )
    brainlens.validate(found, "score")
    return found


def _means(measured: xr.Dataset) -> np.ndarray:
    return np.asarray(measured["response"].groupby("stimulus_id").mean().values)


def test_both_correlations_are_those_of_numpy_on_averaged_trials() -> None:
    predicted, measured = _responses(means=1)
    found = _score(predicted, measured, rois=("V1",))
    x, y = predicted["response"].values[:, :30], _means(measured)[:, :30]
    over_sites = [np.corrcoef(a, b)[0, 1] for a, b in zip(x, y, strict=True)]
    over_stimuli = [np.corrcoef(a, b)[0, 1] for a, b in zip(x.T, y.T, strict=True)]
    np.testing.assert_allclose(found["value"].values[0], over_sites, atol=1e-9)
    np.testing.assert_allclose(found["score"].values[0], [np.mean(over_sites), np.mean(over_stimuli)], atol=1e-9)
    wrong = [np.corrcoef(x[i], y[j])[0, 1] for i in range(40) for j in range(40) if i != j]
    np.testing.assert_allclose(found["chance"].values[0], [np.mean(wrong), 0], atol=1e-9)


def test_the_interval_is_that_of_resampled_stimuli() -> None:
    predicted, measured = _responses(n=60, noise=2)
    found = _score(predicted, measured, rois=("V1",), n_resamples=4000).sel(roi="V1")
    x, y = predicted["response"].values[:, :30], _means(measured)[:, :30]
    rng = np.random.default_rng(5)
    scores = []
    for _ in range(500):
        rows = rng.integers(60, size=60)
        a, b = x[rows] - x[rows].mean(axis=0), y[rows] - y[rows].mean(axis=0)
        scores.append(np.mean((a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))))
    bounds = [found[name].sel(metric="site_correlation").item() for name in ("ci_low", "ci_high")]
    np.testing.assert_allclose(bounds, np.quantile(scores, [0.025, 0.975]), atol=0.01)


def test_signal_is_found_where_it_is() -> None:
    found = _score(*_responses())
    assert found["roi"].values.tolist() == ["V1", "no signal", "all"]
    assert found.attrs["left_out_rois"] == ["tiny"]
    assert (found["p_value"].sel(roi="V1") < 0.01).all()
    assert (found["p_value"].sel(roi="no signal") > 0.05).all()
    assert found["n_sites"].values.tolist() == [30, 30, 60]
    assert found["n"].values.tolist() == [40, 40]


def test_a_perfect_encoder_reaches_the_ceiling() -> None:
    found = _score(*_responses(400, 600, noise=1.5), rois=("V1",)).sel(roi="V1", metric="site_correlation")
    assert found["noise_ceiling"].item() == pytest.approx(np.sqrt((1 / 1.5**2) / (1 / 1.5**2 + 1 / 3)))
    assert found["score"].item() == pytest.approx(found["noise_ceiling"].item(), abs=0.005)


def test_uneven_repetitions_lower_the_ceiling() -> None:
    predicted, measured = _responses()
    fewer = measured.isel(trial=slice(60))
    predicted = predicted.isel(trial=np.isin(predicted["stimulus_id"].values, fewer["stimulus_id"].values))
    ceilings = [
        _score(predicted, each, rois=("V1",))["noise_ceiling"].sel(metric="site_correlation").item()
        for each in (fewer, measured)
    ]
    assert ceilings[0] < ceilings[1]


def test_means_of_sites_raise_one_correlation_and_its_chance_but_not_the_other() -> None:
    flat, bumpy = (_score(*_responses(means=means), rois=("V1",)).sel(roi="V1") for means in (0, 5))
    assert bumpy["score"].sel(metric="brain_correlation") > flat["score"].sel(metric="brain_correlation")
    assert bumpy["chance"].sel(metric="brain_correlation").item() > 0.8
    assert abs(flat["chance"].sel(metric="brain_correlation").item()) < 0.1
    site = [each["score"].sel(metric="site_correlation").item() for each in (flat, bumpy)]
    assert site[0] == pytest.approx(site[1], abs=1e-9)


def test_without_ncsnr_there_is_no_ceiling() -> None:
    predicted, measured = _responses()
    assert _score(predicted, measured.drop_vars("ncsnr"))["noise_ceiling"].isnull().all()


def test_without_rois_all_sites_are_scored() -> None:
    predicted, measured = _responses()
    assert _score(predicted, measured.drop_vars(["roi_mask", "roi"]))["roi"].values.tolist() == ["all"]


def test_order_of_trials_does_not_matter() -> None:
    predicted, measured = _responses()
    other = _score(predicted.isel(trial=slice(None, None, -1)), measured.isel(trial=slice(None, None, -1)))
    np.testing.assert_allclose(other["score"], _score(predicted, measured)["score"], atol=1e-12)


def test_sites_that_never_vary_count_as_zero_and_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    predicted, measured = _responses()
    predicted["response"][:, :3] = 7
    measured["response"][:, 3] = 0
    with caplog.at_level(logging.WARNING, "brainlens"):
        found = _score(predicted, measured, rois=("V1",)).sel(roi="V1")
    assert found["undefined"].item() == 4
    assert "4 of 30 sites of V1 never vary" in caplog.text
    x, y = predicted["response"].values[:, 4:30], _means(measured)[:, 4:30]
    rest = [np.corrcoef(a, b)[0, 1] for a, b in zip(x.T, y.T, strict=True)]
    assert found["score"].sel(metric="site_correlation").item() == pytest.approx(np.sum(rest) / 30)


def test_predictions_of_training_stimuli_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    predicted, measured = _responses()
    inside = predicted.assign_coords(in_training=("trial", np.arange(40) < 7))
    with caplog.at_level(logging.WARNING, "brainlens"):
        assert _score(inside, measured).attrs["n_in_training"] == 7
    assert "7 of 40 predictions are for stimuli that the encoder was fitted to" in caplog.text
    assert "n_in_training" not in _score(predicted, measured).attrs


def test_more_was_measured_than_reconstructed() -> None:
    predicted, measured = _responses()
    found = _score(predicted.isel(trial=slice(10)), measured)
    assert found["n"].values.tolist() == [10, 10]


def test_other_sites_are_refused() -> None:
    predicted, measured = _responses()
    with pytest.raises(
        brainlens.DimensionError, match="predicted: expected the 60 labels of 'voxel' that measured has"
    ):
        _score(predicted.isel(voxel=slice(None, None, -1)), measured)
    with pytest.raises(brainlens.DimensionError, match="found 60 of 'vertex'"):
        _score(predicted.rename(voxel="vertex"), measured)


def test_stimuli_that_were_not_measured_are_refused() -> None:
    predicted, measured = _responses()
    other = predicted.assign_coords(stimulus_id=("trial", [f"x{number}" for number in range(40)]))
    with pytest.raises(
        brainlens.DimensionError, match="measured: expected responses to every stimulus.*found 40 of 40 missing"
    ):
        _score(other, measured)


def test_responses_without_stimuli_are_refused() -> None:
    predicted, measured = _responses()
    with pytest.raises(
        brainlens.DimensionError, match="predicted: expected a coordinate 'stimulus_id' of trials, found none"
    ):
        _score(predicted.drop_vars("stimulus_id"), measured)


def test_two_stimuli_are_refused() -> None:
    predicted, measured = _responses()
    with pytest.raises(brainlens.DimensionError, match="predicted: expected at least 3 stimuli, found 2"):
        _score(predicted.isel(trial=slice(2)), measured)


def test_an_roi_that_is_too_small_is_refused_when_named() -> None:
    with pytest.raises(brainlens.DimensionError, match="rois: expected at least 3 sites, found 2 in 'tiny'"):
        _score(*_responses(), rois=("tiny",))


def test_an_unknown_roi_is_refused() -> None:
    with pytest.raises(brainlens.BrainlensError, match="V9"):
        _score(*_responses(), rois=("V9",))
