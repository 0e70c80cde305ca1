from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_encoding import compare
from brainlens_encoding.params import ScoreParams
from sklearn.metrics import r2_score

import brainlens


def response(values, stimuli, *, trial=None, **attrs):
    coords = {
        "trial": np.arange(len(values)) if trial is None else trial,
        "stimulus_id": ("trial", stimuli),
        "voxel": np.arange(values.shape[1]) + 10,
    }
    return xr.Dataset(
        {"response": (("trial", "voxel"), values)},
        coords,
        {"units": "z", "subject": "a", "schema": "response.v1", **attrs},
    )


@pytest.fixture
def both():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((20, 6))
    stimuli = np.array([f"s{number}" for number in range(20)])
    shown = np.tile(np.arange(20), 3)
    measured = response(truth[shown] + rng.standard_normal((60, 6)), stimuli[shown])
    order = rng.permutation(20)
    return response(truth[order], stimuli[order]), measured


def pair_of(predicted, measured, **params):
    return compare.pair(predicted, measured, ScoreParams(**params))


def test_stimuli_and_sites_are_joined_by_label(both):
    predicted, measured = both
    pairs = pair_of(predicted, measured.isel(voxel=[3, 1, 0, 2, 5, 4]))
    (block,) = compare.blocks(pairs, memory_mb=100, device="cpu")
    means = brainlens.average_trials(measured)
    np.testing.assert_allclose(block.measured, means["response"].values, atol=1e-12)
    by_label = predicted.isel(trial=np.argsort(predicted["stimulus_id"].values))
    order = np.argsort(pairs.stimuli.astype(str))
    np.testing.assert_array_equal(block.predicted.numpy()[order], by_label["response"].values)


def test_scores_are_those_of_numpy_and_scikit_learn(both):
    pairs = pair_of(*both)
    (block,) = compare.blocks(pairs, memory_mb=100, device="cpu")
    for site in range(6):
        predicted, measured = block.predicted[:, site].numpy(), block.measured[:, site].numpy()
        assert compare.correlation(compare.sums_of(block))[site] == pytest.approx(
            np.corrcoef(predicted, measured)[0, 1]
        )
        assert compare.r_squared(compare.sums_of(block))[site] == pytest.approx(r2_score(measured, predicted))


def again(block, rows, *, measured=True):
    """Return a block whose stimuli are chosen anew, of both or of the prediction alone."""
    return compare.Block(
        sites=block.sites,
        predicted=block.predicted[rows],
        measured=block.measured[rows] if measured else block.measured,
        within=block.within,
    )


def test_shuffled_and_drawn_stimuli_are_scored_like_any_others(both):
    (block,) = compare.blocks(pair_of(*both), memory_mb=100, device="cpu")
    rng = np.random.default_rng(4)
    orders = torch.from_numpy(np.stack([rng.permutation(20) for _ in range(3)]))
    rows = torch.from_numpy(rng.integers(0, 20, (3, 20)))
    counts = torch.stack([torch.bincount(row, minlength=20) for row in rows]).double()
    drawn, showings = compare.drawn_sums(block, counts), np.full(20, 3)
    for number, shuffled in enumerate(compare.shuffled_sums(block, orders)):
        plain = compare.sums_of(again(block, orders[number], measured=False))
        single = {"rtol": 1e-5, "atol": 1e-6}
        torch.testing.assert_close(compare.correlation(shuffled), compare.correlation(plain), **single)
        torch.testing.assert_close(compare.r_squared(shuffled), compare.r_squared(plain), **single)
        plain = compare.sums_of(again(block, rows[number]))
        torch.testing.assert_close(compare.correlation(drawn)[number], compare.correlation(plain))
        torch.testing.assert_close(compare.r_squared(drawn)[number], compare.r_squared(plain))
        torch.testing.assert_close(
            compare.noise_ceiling(drawn, block.within, showings)[number],
            compare.noise_ceiling(plain, block.within, showings),
        )


def test_blocks_make_no_difference(both):
    pairs = pair_of(*both)
    (whole,) = compare.blocks(pairs, memory_mb=100, device="cpu")
    parts = list(compare.blocks(pairs, memory_mb=0.004, device="cpu"))
    assert len(parts) > 2
    np.testing.assert_allclose(torch.cat([each.measured for each in parts], 1), whole.measured)
    np.testing.assert_allclose(torch.cat([each.within for each in parts]), whole.within)


def test_the_noise_ceiling_is_that_of_the_planted_noise():
    rng = np.random.default_rng(1)
    signal, n_showings = 0.5, rng.integers(1, 6, 3000)
    code = np.repeat(np.arange(3000), n_showings)
    truth = np.sqrt(signal) * rng.standard_normal((3000, 4))
    values = truth[code] + np.sqrt(1 - signal) * rng.standard_normal((len(code), 4))
    pairs = pair_of(response(truth, np.arange(3000)), response(values, code))
    (block,) = compare.blocks(pairs, memory_mb=100, device="cpu")
    ceiling = compare.noise_ceiling(compare.sums_of(block), block.within, n_showings).numpy()
    expected = signal / (signal + (1 - signal) * np.mean(1 / n_showings))
    np.testing.assert_allclose(ceiling, expected, atol=0.03)
    # A perfect model reaches it.
    np.testing.assert_allclose(compare.correlation(compare.sums_of(block)).numpy() ** 2, ceiling, atol=0.05)


def test_a_ceiling_needs_repetitions(both):
    predicted, measured = both
    pairs = pair_of(predicted, measured.isel(trial=slice(20)))
    (block,) = compare.blocks(pairs, memory_mb=100, device="cpu")
    assert compare.noise_ceiling(compare.sums_of(block), block.within, np.ones(20, int)).isnan().all()


def test_constant_predictions_have_no_correlation(both):
    predicted, measured = both
    values = predicted["response"].values.copy()
    values[:, 2] = 0.1
    (block,) = compare.blocks(
        pair_of(predicted.assign(response=(("trial", "voxel"), values)), measured), memory_mb=100, device="cpu"
    )
    assert compare.correlation(compare.sums_of(block)).isnan().tolist() == [site == 2 for site in range(6)]


def test_stimuli_of_training_are_refused_unless_allowed(both):
    predicted, measured = both
    met = predicted.assign_coords(in_training=("trial", np.arange(20) < 4)).assign_attrs(model="clip")
    text = (
        "^predicted from 'clip': expected predictions for stimuli that the encoder was not fitted on, found 4 of 20 "
        "that it was: "
    )
    with pytest.raises(brainlens.DimensionError, match=text):
        pair_of(met, measured)
    assert pair_of(met, measured, allow_training=True).n_in_training == 4
    others = met["stimulus_id"].values[~met["in_training"].values]
    rest = measured.isel(trial=np.flatnonzero(np.isin(measured["stimulus_id"].values, others)))
    assert pair_of(met, rest).n_in_training == 0


def test_the_split_is_chosen(both):
    predicted, measured = both
    part = np.where(np.isin(measured["stimulus_id"].values, ["s0", "s1", "s2"]), "test", "train")
    split = measured.assign_coords(split=("trial", part))
    assert len(pair_of(predicted, split).stimuli) == 3
    assert len(pair_of(predicted, split, split="all").stimuli) == 20
    with pytest.raises(brainlens.DimensionError, match="^split 'val': no measured trial is in it."):
        pair_of(predicted, split, split="val")
    with pytest.raises(
        brainlens.DimensionError, match="^split 'test': the measured response has no coordinate 'split'"
    ):
        pair_of(predicted, measured, split="test")


BAD = {
    "no stimulus in common": (
        lambda p, m: (p.assign_coords(stimulus_id=("trial", [f"x{n}" for n in range(20)])), m),
        "predicted: expected a prediction for each of 20 measured stimuli, found none for 20 of them: 's0'",
    ),
    "missing sites": (
        lambda p, m: (p, m.isel(voxel=slice(4))),
        "measured: expected the 6 voxels of the prediction, found 2 of them missing: 14, 15.",
    ),
    "another unit": (
        lambda p, m: (p, m.assign_attrs(units="% signal change")),
        "predicted: expected a prediction of units '% signal change' as measured, found 'z'.",
    ),
    "another subject": (
        lambda p, m: (p, m.assign_attrs(subject="b")),
        "predicted: expected a prediction of subject 'b' as measured, found 'a'.",
    ),
    "another kind of site": (
        lambda p, m: (p, m.rename(voxel="vertex")),
        "measured: expected dim 'voxel' as in the prediction, found trial, vertex.",
    ),
    "two stimuli": (
        lambda p, m: (p, m.isel(trial=[0, 1])),
        "measured: expected at least 3 stimuli to compare, found 2.",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_compared_is_refused(both, what):
    change, text = BAD[what]
    with pytest.raises(brainlens.DimensionError) as caught:
        pair_of(*change(*both))
    assert str(caught.value).startswith(text)
