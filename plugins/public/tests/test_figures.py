"""The file of block means, made up and real."""

import numpy as np
import pytest
import scipy.io
from brainlens_public import MiyawakiParams
from brainlens_public.figures import FILE
from brainlens_public.miyawaki import read

import brainlens


@pytest.fixture
def truth(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 2, (100, 6)).astype(np.uint8)
    images[:, 3:] = images[:, :3]
    values = {"I2": images, "R2": rng.normal(size=(7, 6))}
    scipy.io.savemat(tmp_path / FILE, values)
    return values


def load(root, **changes):
    return read(params=MiyawakiParams(root=root, **changes), context=brainlens.Context())


def test_block_means_and_figures_are_those_of_the_file(tmp_path, truth, valid):
    made = valid(load(tmp_path))
    np.testing.assert_array_equal(made["response"]["response"].values, truth["R2"].T.astype(np.float32))
    assert made["response"]["repetition"].values.tolist() == [0, 0, 0, 1, 1, 1]
    shown = made["patches"]["embedding"].sel(stimulus=made["response"]["stimulus_id"].values).values
    np.testing.assert_array_equal(shown, truth["I2"].T)
    assert set(made["response"]["split"].values) == {"test"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"R2": np.zeros((7, 5))}, "expected I2 (100, n) and R2 (voxels, n), found (100, 6) and (7, 5)"),
        ({"I2": np.full((100, 6), 2)}, "array 'I2': expected 0 and 1, found 2"),
        ({"R2": np.ones((7, 6))}, "found 7 that do not, first 0"),
    ],
)
def test_other_contents_are_refused(tmp_path, truth, refused, change, message):
    scipy.io.savemat(tmp_path / FILE, truth | change)
    assert message in refused(load, tmp_path)


def test_a_damaged_file_is_refused(tmp_path, truth, refused):
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[: len(content) // 2])
    assert f"figures {str(tmp_path / FILE)!r}: expected " in refused(load, tmp_path)
    scipy.io.savemat(tmp_path / FILE, {"I2": truth["I2"]})
    assert "expected an array 'R2'" in refused(load, tmp_path)


def test_parameters_of_time_series_are_refused(tmp_path, truth, refused):
    assert "delay: expected the default" in refused(load, tmp_path, delay=3)


def test_the_real_file_is_read_and_decoded_as_its_page_says(shared, valid):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    made = valid(load(shared("miyawaki2008_v1_figures")))
    response = made["response"]
    assert dict(response.sizes) == {"trial": 80, "voxel": 797, "roi": 1}
    assert np.unique(response["stimulus_id"], return_counts=True)[1].tolist() == [8] * 10
    assert "BSD" in response.attrs["licence"]
    x, y = response["response"].values, response["stimulus_id"].values
    score = cross_val_score(LogisticRegression(max_iter=2000), x, y, cv=StratifiedKFold(8)).mean()
    # 0.888 on its page, with folds that it does not say; one of 80 is 0.0125, chance is 0.1.
    assert abs(score - 0.888) < 0.03
