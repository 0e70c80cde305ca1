"""What fits together, what is refused, and how rows are read."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval.shards import Shard, block_rows, blocks, open_shards, read_block, read_rows, spans

import brainlens


@pytest.fixture
def stored(tmp_path):
    """Return a stored gallery of several chunks, and what it holds."""
    values = np.random.default_rng(0).standard_normal((40_000, 256)).astype(np.float32)
    dataset = xr.Dataset({"embedding": (("stimulus", "channel"), values)}, {"stimulus": np.arange(40_000)})
    registry = brainlens.open(tmp_path / "study")
    registry.put("gallery", dataset.assign_attrs(model="toy"), schema="embedding")
    return registry["gallery"], values


def test_a_gallery_of_another_model_is_refused_naming_both(embeddings):
    decoded, gallery = embeddings()
    with pytest.raises(brainlens.DimensionError) as caught:
        open_shards(decoded, [gallery, gallery.assign_attrs(model="other")])
    assert str(caught.value) == (
        "attrs/model: expected decoded and gallery of one model, found 'toy' in decoded and 'other' in gallery "
        "'shard 1'. Give a gallery embedded by 'toy'."
    )


def test_other_channels_are_refused(embeddings):
    decoded, gallery = embeddings()
    with pytest.raises(brainlens.DimensionError, match="found 20 in decoded and 19 in gallery 'shard 0'. Select the"):
        open_shards(decoded, [gallery.isel(channel=slice(19))])
    swapped = gallery.isel(channel=[1, 0, *range(2, 20)])
    with pytest.raises(
        brainlens.DimensionError, match="found 2 that differ, first at 0: 0 and 2. Reorder one with .sel"
    ):
        open_shards(decoded, [swapped])


def test_other_dims_are_refused(embeddings):
    decoded, gallery = embeddings(tokens=2)
    with pytest.raises(brainlens.DimensionError, match="expected the same dims after the first, found"):
        open_shards(decoded, [gallery.isel(token=0)])
    with pytest.raises(brainlens.DimensionError, match=r"gallery 'shard 0': expected dims \(stimulus, channel\)"):
        open_shards(decoded, [gallery.rename(stimulus="roi")])


def test_shards_of_stimuli_and_trials_are_not_mixed(embeddings):
    decoded, gallery = embeddings()
    with pytest.raises(
        brainlens.DimensionError, match="one kind of item, found 'shard 0' of dim 'stimulus', 'shard 1'"
    ):
        open_shards(decoded, [gallery, decoded])


def test_a_shard_without_items_is_refused(embeddings):
    decoded, gallery = embeddings()
    with pytest.raises(brainlens.DimensionError, match="gallery 'shard 1': expected at least 1 stimulus, found none"):
        open_shards(decoded, [gallery, gallery.isel(stimulus=slice(0))])


def test_shards_are_named_by_as_little_of_their_path_as_tells_them_apart(embeddings):
    decoded, gallery = embeddings()
    parts = [gallery.copy() for _ in range(2)]
    parts[0].encoding["source"], parts[1].encoding["source"] = "study/web/0000", "study/web/0001"
    assert [shard.name for shard in open_shards(decoded, parts)] == ["0000", "0001"]
    parts[1].encoding["source"] = "study/coco/0000"
    assert [shard.name for shard in open_shards(decoded, parts)] == ["web/0000", "coco/0000"]


def test_blocks_of_stored_rows_are_not_copied(stored):
    dataset, values = stored
    shard = Shard("gallery", dataset, "stimulus")
    assert len(spans(shard)) > 2
    seen = 0
    for start, rows in blocks(shard):
        np.testing.assert_array_equal(rows, values[start : start + len(rows)])
        assert rows.base is not None
        assert not rows.flags.writeable
        seen += len(rows)
    assert seen == 40_000


def test_rows_of_a_selection_are_those_selected(stored):
    dataset, values = stored
    order = np.random.default_rng(1).permutation(40_000)[:5000]
    shard = Shard("gallery", dataset.isel(stimulus=order), "stimulus")
    np.testing.assert_array_equal(read_block(shard, 10, 20), values[order[10:20]])
    shard = Shard("gallery", dataset.isel(stimulus=slice(None, None, -1)), "stimulus")
    np.testing.assert_array_equal(read_block(shard, 0, 5), values[::-1][:5])
    shard = Shard("gallery", dataset.isel(channel=slice(None, None, 2)), "stimulus")
    np.testing.assert_array_equal(read_block(shard, 3, 9), values[3:9, ::2])


def test_rows_are_read_in_the_order_asked_for(stored):
    dataset, values = stored
    positions = np.array([39_999, 3, 3, 12_000])
    np.testing.assert_array_equal(read_rows(Shard("gallery", dataset, "stimulus"), positions), values[positions])


def test_tokens_are_flattened_and_blocks_of_wide_rows_are_short(embeddings):
    _, gallery = embeddings(tokens=3)
    shard = Shard("gallery", gallery, "stimulus")
    assert shard.n_values == 60
    np.testing.assert_array_equal(read_block(shard, 0, 12), gallery["embedding"].values.reshape(12, 60))
    assert block_rows(10**9) == 1
