import numpy as np
import pytest
from brainlens_mindeye.feed import make_subject
from brainlens_mindeye.space import measure_targets

import brainlens


def test_the_space_of_targets_is_measured_on_training_stimuli_once_each(planted):
    response, target = planted(n_stimuli=30, n_repetitions=3, shape=(2, 4))
    kept = np.flatnonzero(np.arange(90) != 5)  # a stimulus with fewer showings weighs no less
    space = measure_targets([make_subject(response.isel(trial=kept), target.isel(trial=kept))], centre=True)
    _, first = np.unique(response["stimulus_id"].values, return_index=True)
    values = target["embedding"].values[first].astype(np.float64)
    away = values - values.mean(axis=0)
    assert np.allclose(space.mean.numpy(), values.mean(axis=0), atol=1e-6)
    assert space.scale == pytest.approx(1 / np.sqrt(np.mean(away**2)), rel=1e-5)
    assert space.length == pytest.approx(np.linalg.norm(away.reshape(30, -1), axis=1).mean(), rel=1e-5)


def test_targets_of_length_1_get_the_published_scale(planted):
    response, target = planted(n_stimuli=30, shape=(64,))
    values = target["embedding"].values
    target["embedding"].values[:] = values / np.linalg.norm(values, axis=1, keepdims=True)
    space = measure_targets([make_subject(response, target)], centre=False)
    assert space.scale == pytest.approx(8, rel=1e-5)
    assert not space.mean.any()


@pytest.mark.parametrize(
    ("centre", "value", "said"), [(True, 0.3, "that differ between"), (False, 0.0, "other than 0")]
)
def test_targets_that_are_all_the_same_are_refused(planted, centre: bool, value: float, said: str):
    response, target = planted(n_stimuli=30)
    target["embedding"].values[:] = value
    with pytest.raises(brainlens.DimensionError, match=f"target: expected targets {said}.*, found the same for all 30"):
        measure_targets([make_subject(response, target)], centre=centre)
