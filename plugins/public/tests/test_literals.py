"""Names of labels from pickled dictionaries, of every protocol, and pickles that would do something."""

import pickle
import struct

import numpy as np
import pytest
from brainlens_public.literals import read_names
from hypothesis import HealthCheck, given, settings, strategies as st

NAMES = {0: "Unknown", 1: "V1v", 2: "V1d", 300: "hV4", 70000: "x" * 300}


def save(path, value, protocol=4):
    """Write what numpy.save writes, with a protocol of choice."""
    array = np.empty((), object)
    array[()] = value
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + pickle.dumps(array, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_names_are_read_from_every_protocol(tmp_path, protocol):
    path = save(tmp_path / "a.npy", NAMES, protocol)
    assert np.load(path, allow_pickle=True).item() == NAMES
    assert read_names(path, what="mapping") == NAMES


def test_names_are_read_from_what_numpy_saves(tmp_path):
    np.save(tmp_path / "a.npy", NAMES)
    assert read_names(tmp_path / "a.npy", what="mapping") == NAMES
    np.save(tmp_path / "a.npy", {7: "one"})
    assert read_names(tmp_path / "a.npy", what="mapping") == {7: "one"}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.integers(0, 2**40), st.text(max_size=20), min_size=1, max_size=40))
def test_any_names_come_back(tmp_path, names):
    np.save(tmp_path / "a.npy", names)
    assert read_names(tmp_path / "a.npy", what="mapping") == names


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_names_that_were_spelt_before_are_read(tmp_path, protocol):
    """A pickle spells a text once, whether it stands in the dictionary or is the dtype's own mark of byte order."""
    left = "left"
    number = 2**70
    names = {0: "|", 1: left, 2: left, number: "V1", number + 1: "V2", 3: "|"}
    assert read_names(save(tmp_path / "a.npy", names, protocol), what="mapping") == names


class Runs:
    """Unpickled, it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("place", ["value", "key", "beside"])
def test_nothing_is_run(tmp_path, refused, place):
    mark = tmp_path / "run"
    value = {"value": {1: Runs(mark)}, "key": {(1, Runs(mark)): "a"}, "beside": [{1: "a"}, Runs(mark), {2: "b"}]}[place]
    path = save(tmp_path / "a.npy", value)
    message = refused(read_names, path, what="mapping")
    assert message.startswith(f"mapping {str(path)!r}: expected a whole file")
    assert not mark.exists()


@pytest.mark.parametrize(
    "value",
    [{1: 2}, {"a": 1}, {}, [1, "a"], {1: "a", 2: None}, {1.5: "a"}, {1: {2: "a"}}, {True: "a"}, {1: np.ndarray}],
)
def test_anything_else_is_refused(tmp_path, refused, value):
    assert "expected" in refused(read_names, save(tmp_path / "a.npy", value), what="mapping")


def test_other_files_are_refused(tmp_path, refused):
    np.save(tmp_path / "a.npy", np.arange(3))
    assert "an array of shape (3,)" in refused(read_names, tmp_path / "a.npy", what="mapping")
    (tmp_path / "a.npy").write_bytes(b"PK")
    assert "something else than a small .npy file" in refused(read_names, tmp_path / "a.npy", what="mapping")
    whole = save(tmp_path / "b.npy", NAMES).read_bytes()
    (tmp_path / "b.npy").write_bytes(whole[:-40])
    assert "expected a whole file" in refused(read_names, tmp_path / "b.npy", what="mapping")
