import math
import tracemalloc

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings, strategies as st

from brainlens import batches as module, layout
from brainlens.batches import Batches, MappedArray, check_rows
from brainlens.errors import DimensionError, RegistryError
from brainlens.records import Schema
from brainlens.store import map_array, open_dataset, open_place, open_rows, put_dataset

FREE = Schema(name="free.v1", document={})


def store(root, values, chunk_bytes):
    """Store an array in raw chunks; return its folder and the place."""
    place = open_place(root, must_exist=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "RAW_FROM_BYTES", 1)
        patch.setattr(layout, "CHUNK_BYTES", chunk_bytes)
        dims = [f"d{axis}" for axis in range(values.ndim)]
        put_dataset(place, "x", xr.Dataset({"v": (dims, values)}), FREE, provenance={})
    return place


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """Arrays of 1 to 3 dims in one, some and many chunks: values, map, and the lazy variable over it."""
    made = []
    rng = np.random.default_rng(0)
    for number, (shape, chunk_bytes) in enumerate(
        [((23,), 16), ((23, 6), 10_000), ((23, 6), 100), ((23, 6), 24), ((9, 4, 3), 100), ((1, 2), 1)]
    ):
        values = rng.normal(size=shape).astype("float32")
        place = store(tmp_path_factory.mktemp("arrays") / f"{number}.zarr", values, chunk_bytes)
        made.append((values, map_array(place.root / "x", "v"), place))
    return made


def indexers(size):
    """Return what xarray can be asked for along one axis."""
    # Not below -size: there xarray's own lazy arrays (2026.9) give a row for slices that go backwards, numpy none.
    bound = st.none() | st.integers(-size, size + 2)
    slices = st.builds(slice, bound, bound, st.none() | st.integers(-4, 4).filter(bool))
    some = st.lists(st.integers(-size, max(size, 1) - 1), max_size=8).map(lambda rows: np.array(rows, dtype=int))
    masks = st.lists(st.booleans(), min_size=size, max_size=size).map(lambda mask: np.array(mask, dtype=bool))
    return slices | some | masks | st.integers(-size, size - 1) if size else slices | masks


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_whatever_is_asked_of_the_lazy_array_is_what_numpy_gives(arrays, data):
    values, _, place = arrays[data.draw(st.integers(0, len(arrays) - 1))]
    oracle = xr.DataArray(values, dims=[f"d{axis}" for axis in range(values.ndim)], name="v")
    found = open_dataset(place, "x").v
    for _ in range(data.draw(st.integers(1, 2))):
        chosen = {str(dim): data.draw(indexers(size)) for dim, size in oracle.sizes.items() if data.draw(st.booleans())}
        oracle, found = oracle.isel(chosen), found.isel(chosen)
    xr.testing.assert_identical(found.drop_attrs(), oracle)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_points_and_transposed_views_are_what_numpy_gives(arrays, data):
    values, _, place = arrays[data.draw(st.integers(1, 3))]
    found = open_dataset(place, "x").v
    n_points = data.draw(st.integers(0, 6))
    points = [
        np.array(data.draw(st.lists(st.integers(-size, size - 1), min_size=n_points, max_size=n_points)), dtype=int)
        for size in values.shape
    ]
    picked = found.isel(d0=xr.DataArray(points[0], dims="p"), d1=xr.DataArray(points[1], dims="p"))
    np.testing.assert_array_equal(picked, values[points[0], points[1]])
    np.testing.assert_array_equal(found.T[::-1], values.T[::-1])


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_take_is_what_numpy_takes_with_and_without_a_buffer(arrays, data):
    values, mapped, _ = arrays[data.draw(st.integers(0, len(arrays) - 1))]
    rows = np.array(data.draw(st.lists(st.integers(0, len(values) - 1), max_size=40)), dtype=int)
    if data.draw(st.booleans()):
        rows.sort()
    np.testing.assert_array_equal(mapped.take(rows), values[rows])
    buffer = np.full((len(rows), *values.shape[1:]), np.nan, values.dtype)
    assert mapped.take(rows, buffer) is buffer
    np.testing.assert_array_equal(buffer, values[rows])


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_rectangles_are_what_numpy_indexes_axis_by_axis(arrays, data):
    values, mapped, _ = arrays[data.draw(st.integers(0, len(arrays) - 1))]
    keys = []
    oracle = values
    for axis, size in enumerate(values.shape):
        bound = st.integers(0, size)
        key = data.draw(
            st.builds(slice, bound, bound, st.none() | st.integers(1, 3))
            | st.lists(st.integers(0, size - 1), max_size=6).map(lambda rows: np.array(rows, dtype=int))
            | st.just(slice(None, None, -1))
        )
        keys.append(key)
        picked = np.arange(size)[key]
        oracle = oracle.take(picked, axis=axis)
    found = mapped.rectangle(keys[0], tuple(keys[1:]))
    np.testing.assert_array_equal(found, oracle)
    found.fill(0)  # a copy: the map cannot be written to


def test_length_and_shape_are_those_of_the_array(arrays):
    for values, mapped, _ in arrays:
        assert (len(mapped), mapped.shape, mapped.dtype) == (len(values), values.shape, values.dtype)


def test_chunks_are_read_only_and_padding_stays_out_of_reach(arrays):
    values, mapped, _ = arrays[2]
    assert not mapped.chunk(0).flags.writeable
    with pytest.raises(DimensionError, match="rows: expected 0 to 22, found 23 to 23"):
        mapped.take(np.array([23]))


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (np.array([-1]), "expected 0 to 9, found -1 to -1"),
        (np.array([3, 10]), "expected 0 to 9, found 3 to 10"),
        (np.ones(10, bool), "found 1-d bool. Use np.flatnonzero for a mask"),
        (np.array([0.5]), "expected a list of whole numbers, found 1-d float64"),
        (np.array([[1]]), "expected a list of whole numbers, found 2-d int64"),
        (3, "expected a list of whole numbers, found 0-d int64"),
        (["1"], "expected a list of whole numbers, found 1-d <U1"),
        (np.array([2**63], "uint64"), "expected 0 to 9, found 9223372036854775808"),
    ],
)
def test_rows_that_are_no_positions_are_refused(rows, found):
    with pytest.raises(DimensionError, match="rows: ") as caught:
        check_rows(rows, 10)
    assert found in str(caught.value)


def test_masks_and_negative_rows_would_otherwise_read_other_rows():
    values = np.arange(10.0)
    assert values.take(np.array([-1]), mode="clip") == 0
    assert np.asarray([True, False], dtype=np.intp).tolist() == [1, 0]


def test_positions_of_any_whole_dtype_will_do():
    assert check_rows([], 0).dtype == np.intp
    assert check_rows(np.array([1], "uint8"), 2).tolist() == [1]


# Checksums.


@pytest.fixture
def stored(tmp_path):
    values = np.random.default_rng(0).normal(size=(40, 8)).astype("float32")
    return values, store(tmp_path / "study.zarr", values, 320)


@pytest.mark.parametrize("position", [0, 100, -5, -4, -1])
def test_a_flipped_bit_is_found_when_its_chunk_is_first_touched(stored, position):
    values, place = stored
    path = place.root / "x/v/c/2/0"
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)
    mapped = map_array(place.root / "x", "v")
    np.testing.assert_array_equal(mapped.take(np.arange(20)), values[:20])
    with pytest.raises(RegistryError, match="c/2/0: expected CRC-32C 0x.*: the data were altered"):
        mapped.take(np.array([0, 39, 20]))


def test_a_chunk_of_another_size_and_a_missing_one_are_told_apart(stored):
    _, place = stored
    mapped = map_array(place.root / "x", "v")
    path = place.root / "x/v/c/0/0"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RegistryError, match="expected a chunk of 324 bytes, found 323. Run 'brainlens verify'"):
        mapped.chunk(0)
    path.write_bytes(b"")
    with pytest.raises(RegistryError, match="expected a chunk of 324 bytes, found none"):
        mapped.chunk(0)
    path.unlink()
    with pytest.raises(RegistryError, match="found none \\(No such file or directory\\)"):
        mapped.chunk(0)


def test_columns_nobody_asks_for_are_not_held_in_memory(tmp_path):
    values = np.zeros((4096, 1024), "float32")  # 16 MiB
    place = store(tmp_path / "study.zarr", values, 2**20)
    found = open_dataset(place, "x").v
    rows = np.random.default_rng(0).permutation(4096)
    found.isel(d0=[0], d1=[0]).load()
    tracemalloc.start()
    found.isel(d0=rows, d1=[3, 1, 2]).load()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


# Batches.


def compressed(tmp_path, values, rows_per_chunk):
    return zarr.create_array(tmp_path / "a.zarr", data=values, chunks=(rows_per_chunk, *values.shape[1:]))


@pytest.fixture(params=["mapped", "resident", "numpy", "blocks", "blocks of odd chunks", "remote"])
def rows_of(request, tmp_path, monkeypatch):
    """500 rows whose values say which row they are, held in every way that batches are read from."""
    monkeypatch.setattr(module, "POOL_ROWS", 130)
    values = np.repeat(np.arange(500.0)[:, None], 3, axis=1)
    if request.param == "mapped":
        return values, map_array(store(tmp_path / "s.zarr", values, 1000).root / "x", "v"), {}
    if request.param == "numpy":
        return values, values, {}
    if request.param == "remote":
        pytest.importorskip("obstore", reason="obstore is not installed: remote batches are not tried")
        place = open_place(f"memory://{tmp_path.name}", must_exist=False)
        put_dataset(place, "x", xr.Dataset({"v": (("d0", "d1"), values)}), FREE, provenance={})
        return values, open_rows(place, "x", "v"), {"resident_bytes": 0}
    chunk = 48 if request.param == "blocks of odd chunks" else 100
    limit = 2**30 if request.param == "resident" else 0
    return values, compressed(tmp_path, values, chunk), {"resident_bytes": limit}


def epoch(batches, number):
    """Return the rows of an epoch in order; check that values belong to rows, and batches are full."""
    rows, sizes = [], []
    for positions, values in batches.epoch(number):
        assert np.all(np.diff(positions) > 0)
        np.testing.assert_array_equal(values, np.repeat(positions[:, None].astype(float), 3, axis=1))
        rows.append(positions)
        sizes.append(len(positions))
    assert len(sizes) == len(batches)
    assert all(size == batches.batch_size for size in sizes[:-1])
    return np.concatenate(rows) if rows else np.empty(0, int)


@pytest.mark.parametrize("batch_size", [1, 7, 128, 499, 500, 501])
def test_every_row_comes_exactly_once_in_an_epoch(rows_of, batch_size):
    _, array, options = rows_of
    found = epoch(Batches(array, batch_size=batch_size, **options), 0)
    np.testing.assert_array_equal(np.sort(found), np.arange(500))


def test_seed_and_epoch_fix_the_order(rows_of):
    _, array, options = rows_of
    batches = Batches(array, batch_size=32, seed=3, **options)
    first, again, second = epoch(batches, 0), epoch(batches, 0), epoch(batches, 1)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, epoch(Batches(array, batch_size=32, seed=3, **options), 0))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, epoch(Batches(array, batch_size=32, seed=4, **options), 0))
    assert not np.array_equal(first, np.arange(500))


def test_only_the_rows_asked_for_take_part(rows_of):
    _, array, options = rows_of
    wanted = np.random.default_rng(0).permutation(500)[:77]
    found = epoch(Batches(array, batch_size=10, rows=wanted, **options), 0)
    np.testing.assert_array_equal(np.sort(found), np.sort(wanted))


def test_no_rows_make_no_batches(rows_of):
    _, array, options = rows_of
    assert list(Batches(array, rows=np.array([], dtype=int), **options).epoch(0)) == []


@pytest.mark.parametrize(
    "rows", [np.array([1, 1]), np.array([-1]), np.array([500]), np.ones(500, bool)], ids=["twice", "-1", "500", "mask"]
)
def test_rows_that_could_not_come_exactly_once_are_refused(rows_of, rows):
    _, array, options = rows_of
    with pytest.raises(DimensionError, match="rows: expected"):
        Batches(array, rows=rows, **options)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_empty_batches_are_refused(batch_size):
    with pytest.raises(DimensionError, match=f"batch_size: expected at least 1, found {batch_size}"):
        Batches(np.zeros((3, 1)), batch_size=batch_size)


class Counting:
    """An array that counts what is read of it; never read whole."""

    def __init__(self, values, rows_per_chunk):
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.chunks = (rows_per_chunk, *values.shape[1:])
        self.asked = []

    def __getitem__(self, key):
        found = self.values[key]
        self.asked.append((key.start, len(found)))
        return found


@pytest.mark.parametrize("rows_per_chunk", [1, 48, 64, 100, 1000])
def test_blocks_are_whole_chunks_and_each_is_read_once(rows_per_chunk):
    array = Counting(np.zeros((10_000, 2)), rows_per_chunk)
    for _ in Batches(array, resident_bytes=0).epoch(0):
        pass
    assert all(start % rows_per_chunk == 0 for start, _ in array.asked)
    assert sum(size for _, size in array.asked) == 10_000
    assert max(size for _, size in array.asked) <= max(rows_per_chunk, 64 + rows_per_chunk)


def test_blocks_without_a_wanted_row_are_not_read():
    array = Counting(np.zeros((10_000, 2)), 64)
    for _ in Batches(array, rows=np.array([5_000]), resident_bytes=0).epoch(0):
        pass
    assert array.asked == [(4992, 64)]


def test_memory_is_bounded_by_the_pool():
    array = Counting(np.zeros((2**16, 128)), 64)  # 64 MiB
    batches = Batches(array, resident_bytes=0)
    tracemalloc.start()
    for _ in batches.epoch(0):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * (module.POOL_ROWS + 2 * 128) * 128 * 8


def test_a_block_shuffle_mixes_rows_from_far_apart():
    array = Counting(np.zeros((20_000, 1)), 64)
    for rows, _ in Batches(array, batch_size=128, resident_bytes=0).epoch(0):
        if len(rows) == 128:
            assert np.ptp(rows) > 5_000
            assert len(np.unique(rows // 64)) > 16


def test_arrays_that_fit_are_read_once_and_kept():
    array = Counting(np.repeat(np.arange(100.0)[:, None], 3, axis=1), 10)
    batches = Batches(array, batch_size=8)
    epoch(batches, 0)
    epoch(batches, 1)
    assert array.asked == [(None, 100)]


def test_every_order_is_about_equally_likely(tmp_path):
    values = np.arange(40.0)[:, None]
    mapped = map_array(store(tmp_path / "s.zarr", values, 80).root / "x", "v")
    batches = Batches(mapped, batch_size=4, seed=0)
    n_epochs = 2000
    firsts = np.concatenate([next(batches.epoch(number))[0] for number in range(n_epochs)])
    counts = np.bincount(firsts, minlength=40)
    expected = n_epochs * 4 / 40
    # A chi-square statistic of 39 degrees of freedom; 4 standard deviations above its mean.
    assert ((counts - expected) ** 2 / expected).sum() < 39 + 4 * math.sqrt(2 * 39)


def test_a_mapped_array_is_what_the_public_name_says():
    import brainlens

    assert brainlens.MappedArray is MappedArray
    assert brainlens.Batches is Batches
