"""Averages against pandas, statistics against numpy, alignment by label, memory, the texts of errors."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from brainlens import averages
from brainlens.averages import average_trials, standardize, training_statistics
from brainlens.errors import DimensionError, ParameterError

# A busy machine is slow now and then; pytest-timeout catches what hangs.
examples = settings(deadline=None, max_examples=50)

ROWS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), min_size=1, max_size=30)
# Multiples of 1/128 up to 1e4, exact in float32: a spread that float32 cannot hold is rightly called constant.
MATRICES = hnp.arrays(
    "float32",
    st.tuples(st.integers(1, 20), st.integers(1, 4)),
    elements=st.integers(-1_280_000, 1_280_000).map(lambda value: value / 128),
)


@pytest.fixture(params=[averages.BLOCK_BYTES, 100])
def block_bytes(request, monkeypatch):
    """Once with everything in one block, once with a few rows in each."""
    monkeypatch.setattr(averages, "BLOCK_BYTES", request.param)


def responses(values, stimulus_id=None, **coords):
    values = np.asarray(values, dtype=None if isinstance(values, np.ndarray) else "float32")
    n_trials, n_voxels = values.shape
    shown = np.zeros(n_trials, int) if stimulus_id is None else stimulus_id
    return xr.Dataset(
        {"response": (("trial", "voxel"), values, {"long_name": "beta"})},
        {"trial": np.arange(n_trials) + 10, "voxel": np.arange(n_voxels) + 70, "stimulus_id": ("trial", shown)}
        | {name: ("trial", labels) for name, labels in coords.items()},
        {"units": "% signal change", "subject": "subj01"},
    )


@examples
@given(rows=ROWS, n_rows_in_block=st.integers(1, 40), dtype=st.sampled_from(["float16", "float32", "float64"]))
def test_averages_agree_with_pandas(rows, n_rows_in_block, dtype):
    values = np.random.default_rng(len(rows)).standard_normal((len(rows), 3)).astype(dtype)
    stimuli, sessions = [row[0] for row in rows], [row[1] for row in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(averages, "BLOCK_BYTES", n_rows_in_block * 3 * 8)
        made = average_trials(responses(values, stimuli, session=sessions), by=("stimulus_id", "session"))
    frame = pd.DataFrame(values.astype("float64")).groupby([stimuli, sessions], sort=False)
    assert list(zip(made["stimulus_id"].values, made["session"].values, strict=True)) == list(frame.mean().index)
    tolerance = 1e-14 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(made["response"].values, frame.mean().values, rtol=0, atol=tolerance)
    assert made["n_repetitions"].values.tolist() == frame.size().tolist()
    assert made["response"].dtype == ("float64" if dtype == "float64" else "float32")


def test_averaging_keeps_labels_attributes_and_what_is_constant(block_bytes):
    dataset = responses(
        np.arange(8.0).reshape(4, 2),
        ["b", "a", "b", "a"],
        run=[1, 1, 2, 2],
        category=["x", "y", "x", "y"],
        repetition=[0, 0, 1, 1],
    )
    dataset["mask"] = "voxel", [True, False]
    dataset["onset"] = "trial", [1.0, 2.0, 3.0, 4.0]
    made = average_trials(dataset)
    expected = xr.Dataset(
        {
            "response": (("trial", "voxel"), [[2.0, 3.0], [4.0, 5.0]], {"long_name": "beta"}),
            "mask": ("voxel", [True, False]),
            "onset": ("trial", [2.0, 3.0]),
        },
        {
            "trial": [0, 1],
            "voxel": [70, 71],
            "stimulus_id": ("trial", ["b", "a"]),
            "category": ("trial", ["x", "y"]),
            "n_repetitions": ("trial", [2, 2]),
        },
        {**dataset.attrs, "dropped_coords": ["repetition", "run"]},
    )
    xr.testing.assert_identical(made, expected)
    assert list(made.data_vars) == ["response", "mask", "onset"]


def test_nothing_is_said_to_be_dropped_when_nothing_was():
    made = average_trials(responses(np.eye(4), [1, 1, 2, 2], category=[5.0, 5.0, np.nan, np.nan]))
    assert "dropped_coords" not in made.attrs
    assert made["category"].values.tolist()[0] == 5


def test_averages_do_not_depend_on_the_order_of_trials_but_for_their_own_order():
    rng = np.random.default_rng(3)
    dataset = responses(rng.standard_normal((12, 2)), np.repeat([4, 5, 6], 4))
    made, shuffled = (average_trials(data) for data in (dataset, dataset.isel(trial=rng.permutation(12))))
    for stimulus in (4, 5, 6):
        pair = (data["response"].values[data["stimulus_id"].values == stimulus][0] for data in (made, shuffled))
        np.testing.assert_allclose(*pair, atol=1e-15)


def test_variables_of_any_dims_are_averaged_by_name(block_bytes):
    values = np.random.default_rng(0).standard_normal((2, 6, 3))
    dataset = xr.Dataset(
        {"embedding": (("variant", "trial", "channel"), values)}, {"stimulus_id": ("trial", [0, 1, 2, 0, 1, 2])}
    )
    made = average_trials(dataset, by="stimulus_id")
    assert made["embedding"].dims == ("variant", "trial", "channel")
    np.testing.assert_allclose(made["embedding"].values, (values[:, :3] + values[:, 3:]) / 2)


def test_many_repetitions_do_not_lose_precision():
    values = np.full((30_000, 1), 1000.1, dtype="float32")
    assert average_trials(responses(values))["response"].values[0, 0] == values[0, 0]
    values = np.full((30_000, 1), 60_000, dtype="float16")
    assert average_trials(responses(values))["response"].values[0, 0] == values[0, 0]


def test_showings_add_up_when_averages_are_averaged():
    once = average_trials(responses(np.eye(5), [1, 1, 1, 2, 2], session=[1, 1, 2, 1, 1]), by=("stimulus_id", "session"))
    assert once["n_repetitions"].values.tolist() == [2, 1, 2]
    twice = average_trials(once)
    assert twice["n_repetitions"].values.tolist() == [3, 2]
    assert twice.attrs["dropped_coords"] == ["session"]


def test_averages_over_two_parts_of_a_split_are_refused():
    dataset = responses(np.eye(4), [1, 1, 2, 2], split=["train", "test", "train", "train"])
    with pytest.raises(DimensionError, match="found averages that mix 'test', 'train'. Select one part first"):
        average_trials(dataset)
    assert average_trials(dataset, by=("stimulus_id", "split")).sizes["trial"] == 3


def test_averages_that_cannot_be_made_are_refused():
    dataset = responses(np.eye(3), [1, 1, 2])
    with pytest.raises(DimensionError, match=r"coordinate 'stimulus' \(trial\), found none. Closest: 'stimulus_id'"):
        average_trials(dataset, by="stimulus")
    with pytest.raises(ParameterError, match="expected at least one coordinate in 'by'"):
        average_trials(dataset, by=())
    with pytest.raises(DimensionError, match="expected a float variable with dim 'trial', found 'response'"):
        average_trials(dataset.astype(int))
    with pytest.raises(DimensionError, match="a label in 'onset' for every trial, found none at position 1"):
        average_trials(dataset.assign_coords(onset=("trial", [1.0, np.nan, 2.0])), by="onset")


@examples
@given(MATRICES, st.integers(1, 25))
def test_training_statistics_agree_with_numpy(values, n_rows_in_block):
    dataset = responses(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(averages, "BLOCK_BYTES", n_rows_in_block * values.shape[1] * 8)
        if (constant := np.ptp(values, axis=0) == 0).any():
            with pytest.raises(DimensionError, match=f"found {constant.sum()} constant voxel"):
                training_statistics(dataset, standardize="training")
            return
        mean, std = training_statistics(dataset, standardize="training")
    assert mean.dtype == std.dtype == "float32"
    np.testing.assert_allclose(mean, values.astype(float).mean(axis=0), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(std, values.astype(float).std(axis=0), rtol=1e-6)


def test_large_offsets_do_not_spoil_the_spread(block_bytes):
    values = np.random.default_rng(0).standard_normal((300, 2)) + [1e9, -1e9]
    _, std = training_statistics(responses(values), standardize="training")
    np.testing.assert_allclose(std, values.std(axis=0), rtol=1e-6)


def test_statistics_of_an_array_and_of_its_dataset_are_the_same():
    dataset = responses(np.eye(4))
    for one, other in zip(
        training_statistics(dataset["response"].transpose("voxel", "trial"), standardize="training"),
        training_statistics(dataset, standardize="training"),
        strict=True,
    ):
        xr.testing.assert_identical(one, other)
        assert one["voxel"].values.tolist() == [70, 71, 72, 73]


def test_constant_voxels_are_refused_with_their_labels(block_bytes):
    values = np.random.default_rng(0).standard_normal((50, 9))
    values[:, [2, 5]] = 0.1
    with pytest.raises(DimensionError) as caught:
        training_statistics(responses(values), standardize="training")
    assert str(caught.value) == (
        "standardize='training': expected voxels that vary over the training trials, found 2 constant voxel(s) of 9: "
        "72, 75. Drop them at ingest with bad_voxels='drop', or choose other sites with roi=..."
    )


def test_constant_voxels_may_be_centred():
    mean, std = training_statistics(responses([[3.0, 1.0], [3.0, 2.0]]), standardize="center")
    assert mean.values.tolist() == [3, 1.5]
    assert std.values.tolist() == [1, 1]


def test_without_standardising_nothing_is_computed():
    mean, std = training_statistics(responses([[np.nan, 1.0]]), standardize="none")
    assert mean.values.tolist() == [0, 0]
    assert std.values.tolist() == [1, 1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("choice", ["training", "center"])
@pytest.mark.parametrize("row", [0, 2])
def test_values_that_are_not_finite_are_refused_with_their_voxel(value, choice, row):
    values = np.eye(4)
    values[row, 1] = value
    with pytest.raises(DimensionError, match=r"expected finite values, found others in 1 voxel\(s\) of 4: 71\. Drop"):
        training_statistics(responses(values), standardize=choice)


def test_statistics_that_cannot_be_computed_are_refused():
    dataset = responses(np.eye(3))
    with pytest.raises(ParameterError, match="no choice 'zscore'. Known: 'center', 'none', 'training'"):
        training_statistics(dataset, standardize="zscore")
    with pytest.raises(DimensionError, match="expected at least one training trial, found none. Check the split"):
        training_statistics(dataset.isel(trial=[]), standardize="training")
    with pytest.raises(DimensionError, match="a label for each site, found dims .'trial', 'voxel'."):
        training_statistics(dataset.drop_vars("voxel"), standardize="training")
    with pytest.raises(DimensionError, match="expected a variable 'response' .* Known: 'respons'"):
        training_statistics(dataset.rename(response="respons"), standardize="training")


def test_standardised_training_trials_have_mean_0_and_spread_1(block_bytes):
    values = (np.random.default_rng(0).standard_normal((200, 5)) * 30 + 1000).astype("float32")
    dataset = responses(values)
    made = standardize(dataset, *training_statistics(dataset, standardize="training"))
    assert made["response"].dtype == "float32"
    np.testing.assert_allclose(made["response"].mean("trial"), 0, atol=1e-5)
    np.testing.assert_allclose(made["response"].std("trial"), 1, atol=1e-5)
    assert made.attrs == {"units": "z", "subject": "subj01"}
    assert made["response"].attrs == {"long_name": "beta"}
    xr.testing.assert_identical(made["stimulus_id"], dataset["stimulus_id"])
    assert dataset["response"].values is values


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_other_trials_are_scaled_with_the_statistics_given(dtype):
    test = responses(np.array([[3.0, 4.0]], dtype=dtype))
    mean = xr.DataArray([4.0, 1.0], {"voxel": [71, 70]}, dims="voxel")
    std = xr.DataArray([10.0, 2.0], {"voxel": [71, 70]}, dims="voxel")
    assert standardize(test, mean, std)["response"].values.tolist() == [[1, 0]]


def test_units_stay_when_only_the_mean_is_taken_away():
    dataset = responses(np.eye(3))
    made = standardize(dataset, *training_statistics(dataset, standardize="center"))
    assert made.attrs["units"] == "% signal change"


def test_sites_are_never_joined_by_what_both_happen_to_have():
    dataset = responses(np.random.default_rng(0).standard_normal((5, 4)))
    mean, std = training_statistics(dataset, standardize="training")
    with pytest.raises(DimensionError) as caught:
        standardize(dataset, mean.isel(voxel=[0, 1]), std)
    assert str(caught.value) == (
        "standardize: expected the same voxel labels in response and mean, found 2 missing in the mean: 72, 73. "
        "Select the same sites as in training."
    )
    with pytest.raises(DimensionError, match="in response and mean, found 1 missing in the response: 70"):
        standardize(dataset.isel(voxel=[1, 2, 3]), mean, std)
    with pytest.raises(DimensionError, match="in response and std, found 1 missing in the std: 73"):
        standardize(dataset, mean, std.assign_coords(voxel=[70, 71, 72, 99]))
    with pytest.raises(DimensionError, match="the response: expected unique voxel labels, found 70 more than once"):
        standardize(dataset.assign_coords(voxel=[70, 70, 72, 73]), mean, std)
    with pytest.raises(DimensionError, match=r"std: expected dims \(voxel,\) with labels, found dims \('voxel',\)"):
        standardize(dataset, mean, std.drop_vars("voxel"))


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_standard_deviations_that_cannot_divide_are_refused(value):
    dataset = responses(np.eye(3))
    mean, std = training_statistics(dataset, standardize="training")
    with pytest.raises(
        DimensionError, match=rf"expected standard deviations above 0, found {value} for 1 voxel\(s\): 71"
    ):
        standardize(dataset, mean, std.copy(data=[1.0, value, 1.0]))


@pytest.fixture
def lazy(tmp_path, monkeypatch):
    """Eight megabytes of responses on disk, in chunks of 100 trials; blocks of a quarter megabyte."""
    monkeypatch.setattr(averages, "BLOCK_BYTES", 2**18)
    values = np.random.default_rng(0).standard_normal((4000, 500), dtype=np.float32)
    dataset = responses(values, np.arange(4000) % 20)
    dataset.to_zarr(tmp_path / "a.zarr", consolidated=False, encoding={"response": {"chunks": (100, 500)}})
    return dataset, xr.open_zarr(tmp_path / "a.zarr", chunks=None, consolidated=False)


def peak_bytes(work):
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_lazy_variables_are_never_in_memory_as_a_whole(lazy):
    _, stored = lazy
    work = {
        "training_statistics": lambda: training_statistics(stored, standardize="training"),
        "average_trials": lambda: average_trials(stored),
    }
    peaks = {name: peak_bytes(do) for name, do in work.items()}
    assert all(peak < 4_000_000 for peak in peaks.values()), peaks


def is_lazy(dataset):
    """Whether xarray would read something to show the first value; a variable in memory shows it."""
    return "values with dtype=float32]" in repr(dataset["response"].variable)


def test_a_lazy_response_stays_lazy_and_one_in_memory_is_standardised_at_once(lazy):
    dataset, stored = lazy
    statistics = training_statistics(dataset, standardize="training")
    assert is_lazy(standardize(stored, *statistics))
    assert is_lazy(standardize(stored.isel(trial=np.arange(0, 4000, 3), voxel=slice(0, 500)), *statistics))
    assert not is_lazy(standardize(dataset, *statistics))
    assert not is_lazy(standardize(stored.load(), *statistics))


class Watched(xr.backends.BackendArray):
    """An array that notes which rectangles are read."""

    def __init__(self, values):
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.read = []

    def __getitem__(self, key):
        positions = (np.arange(size)[item] for size, item in zip(self.shape, key.tuple, strict=True))
        self.read.append(tuple(np.atleast_1d(item).tolist() for item in positions))
        return xr.Variable(("trial", "voxel"), self.values)[key.tuple].values


def watched(values):
    array = Watched(values)
    dataset = responses(values)
    lazy = xr.core.indexing.LazilyIndexedArray(array)
    dataset["response"] = xr.Variable(("trial", "voxel"), lazy, dataset["response"].attrs)
    return dataset, array


KEYS = st.one_of(
    st.integers(-6, 5),
    st.slices(6),
    st.lists(st.integers(-6, 5), max_size=8).map(lambda items: np.array(items, dtype=int)),
)


@settings(deadline=None, max_examples=200)
@given(rows=KEYS, sites=KEYS, first=KEYS, dtype=st.sampled_from(["float16", "float32", "float64"]), order=st.booleans())
def test_whatever_is_indexed_is_what_standardising_at_once_gives_bit_by_bit(rows, sites, first, dtype, order):
    values = (np.random.default_rng(0).standard_normal((6, 6)) * 30 + 100).astype(dtype)
    dataset, _ = watched(values)
    mean, std = training_statistics(responses(values), standardize="training")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(averages, "BLOCK_BYTES", 100)
        lazy, expected = (
            standardize(dataset, mean, std)["response"],
            standardize(responses(values), mean, std)["response"],
        )
        if np.ndim(first) or isinstance(first, slice):
            lazy, expected = lazy.isel(trial=first), expected.isel(trial=first)
        n_rows = lazy.sizes["trial"]
        if isinstance(rows, int):
            rows = rows % n_rows if n_rows else []
        elif not isinstance(rows, slice):
            rows = rows % n_rows if n_rows else rows[:0]
        keys = {"trial": rows, "voxel": sites}
        for name in ("voxel", "trial") if order else ("trial", "voxel"):
            lazy, expected = lazy.isel({name: keys[name]}), expected.isel({name: keys[name]})
        xr.testing.assert_identical(lazy, expected)
        assert lazy.values.dtype == np.float32


def test_only_the_rows_and_sites_that_are_indexed_are_read():
    values = np.random.default_rng(0).standard_normal((50, 8), dtype=np.float32)
    dataset, array = watched(values)
    mean, std = training_statistics(responses(values), standardize="training")
    lazy = standardize(dataset.isel(voxel=[1, 2, 5]), mean.isel(voxel=[1, 2, 5]), std.isel(voxel=[1, 2, 5]))
    assert array.read == []
    lazy["response"].isel(trial=[40, 3]).values  # noqa: B018
    assert array.read == [([40, 3], [1, 2, 5])]
    pairs = lazy["response"].isel(trial=xr.DataArray([3, 4], dims="pair"), voxel=xr.DataArray([0, 2], dims="pair"))
    expected = standardize(responses(values), mean, std)["response"].values[[3, 4], [1, 5]]
    np.testing.assert_array_equal(pairs.values, expected)
    assert array.read[1:] == [([3, 4], [1, 5])]


def test_all_values_are_read_once_and_kept_but_not_those_of_a_selection():
    values = np.random.default_rng(0).standard_normal((50, 8), dtype=np.float32)
    dataset, array = watched(values)
    lazy = standardize(dataset, *training_statistics(responses(values), standardize="training"))
    first = lazy["response"].isel(trial=slice(0, 5)).values
    assert np.shares_memory(lazy["response"].values, lazy["response"].values)
    np.testing.assert_array_equal(lazy["response"].isel(trial=slice(0, 5)).values, first)
    assert len(array.read) == 2
    assert dataset["response"].copy(deep=True).identical(dataset["response"])


def test_batches_of_a_lazy_response_are_never_in_memory_as_a_whole(lazy):
    _, stored = lazy
    statistics = training_statistics(stored, standardize="training")

    def stream():
        response = standardize(stored, *statistics)["response"]
        for start in range(0, 4000, 100):
            response.isel(trial=slice(start, start + 100)).values  # noqa: B018

    assert peak_bytes(stream) < 2_000_000


def test_lazy_variables_give_what_those_in_memory_give(lazy):
    dataset, stored = lazy
    mean, std = training_statistics(dataset, standardize="training")
    for one, other in zip(training_statistics(stored, standardize="training"), (mean, std), strict=True):
        xr.testing.assert_allclose(one, other)
    xr.testing.assert_allclose(average_trials(stored), average_trials(dataset))
    some = stored.isel(trial=np.arange(0, 4000, 7))
    expected = dataset.isel(trial=np.arange(0, 4000, 7))
    xr.testing.assert_identical(standardize(some, mean, std), standardize(expected, mean, std))
