from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from brainlens_formats.blocks import block_shape, blocks
from hypothesis import given


@given(st.lists(st.integers(0, 5), max_size=4).map(tuple), st.integers(1, 30))
def test_blocks_cut_an_array_into_its_values_in_order(shape: tuple[int, ...], most: int) -> None:
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    pieces = [values[piece] for piece in blocks(shape, most)]
    assert all(piece.size <= most for piece in pieces)
    assert np.concatenate([piece.ravel() for piece in pieces] or [[]]).tolist() == values.ravel().tolist()


def test_every_piece_but_the_last_has_the_shape_that_is_announced() -> None:
    found = [tuple(part.stop - part.start for part in piece) for piece in blocks((7, 3, 2), 12)]
    assert found == [(2, 3, 2)] * 3 + [(1, 3, 2)]
    assert block_shape((7, 3, 2), 12) == (2, 3, 2)
