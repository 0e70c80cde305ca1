import pytest
import torch
from brainlens_mindeye.learner import Batch
from hypothesis import given, strategies as some


@given(some.lists(some.integers(1, 6), min_size=1, max_size=3), some.integers(0, 9), some.integers(1, 4))
def test_pieces_of_all_processes_are_the_batch(shares: list[int], size: int, n_processes: int):
    """Parts that can be shared evenly: every trial comes once, with the subject that it belongs to."""
    parts, start = [], 0
    for number, share in enumerate(shares):
        n = share * n_processes
        parts.append((number, torch.arange(start, start + n)[:, None]))
        start += n
    batch = Batch(parts=parts, target=torch.zeros(start, 1))
    seen = []
    for process in range(n_processes):
        pieces = batch.pieces(size, process=process, n_processes=n_processes)
        assert {subject for subject, _, _ in pieces} == set(range(len(shares)))
        for subject, voxels, rows in pieces:
            assert len(voxels) <= (size or len(voxels))
            assert voxels[:, 0].tolist() == list(range(rows.start, rows.stop))
            assert voxels[0, 0] in parts[subject][1]
            seen += voxels[:, 0].tolist()
    assert sorted(seen) == list(range(start))


def test_whole_parts_are_the_default():
    batch = Batch(parts=[(0, torch.zeros(4, 2)), (2, torch.zeros(3, 5))], target=torch.zeros(7, 1))
    assert [(subject, len(voxels), rows) for subject, voxels, rows in batch.pieces(0)] == [
        (0, 4, slice(0, 4)), (2, 3, slice(4, 7)),
    ]  # fmt: skip
    with pytest.raises(AttributeError):
        batch.parts = []  # type: ignore[misc]
