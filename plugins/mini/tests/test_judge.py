import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_mini.judge import Judge, embed_judged, judge_images, load_judge, pooled
from brainlens_mini.params import JudgeParams

import brainlens


def test_logits_are_those_of_pooled_features() -> None:
    torch.manual_seed(0)
    model = Judge(5, widths=(4, 8, 8, 8)).eval()
    images = torch.randn(2, 3, 64, 64)
    names, cells = model(images)
    assert names.shape == (2, 5)
    assert cells.shape == (2, 6, 8, 8)
    torch.testing.assert_close(names, model.names(pooled(model.features(images))))


def test_a_verdict_does_not_depend_on_the_batch() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    one, all_ = (judge_images(pixels, batch_size=size) for size in (1, 5))
    np.testing.assert_allclose(one.scores, all_.scores, atol=1e-4)
    assert one.features.shape == (5, 128 * 64)


def test_pooled_features_are_mean_and_maximum_over_cells() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    found = judge_images(pixels)
    cells = found.features.reshape(3, 128, 64)
    np.testing.assert_allclose(found.pooled, np.hstack([cells.mean(axis=2), cells.max(axis=2)]), atol=1e-5)


def test_the_judge_knows_a_concept_for_each_name() -> None:
    model, names, concepts = load_judge()
    assert len(set(names)) == len(names)
    assert len(concepts) == model.names.out_features == 21
    assert set(concepts) == {"face", "body", "animal", "food", "tool", "vehicle", "word"}


@pytest.mark.parametrize(("layer", "shape"), [("features", (5, 64, 128)), ("pooled", (5, 256)), ("names", (5, 21))])
def test_what_it_sees_follows_the_schema(
    layer: str, shape: tuple[int, ...], images: xr.Dataset, context: brainlens.Context
) -> None:
    made = embed_judged(stimuli=images, images=None, params=JudgeParams(layer=layer), context=context)
    brainlens.validate(made, "embedding.v1")
    assert made["embedding"].shape == shape


def test_a_token_is_a_cell(images: xr.Dataset, context: brainlens.Context) -> None:
    made = embed_judged(stimuli=images, images=None, params=JudgeParams(), context=context)
    grid = judge_images(images["image"].values).features.reshape(5, 128, 8, 8)
    np.testing.assert_allclose(made["embedding"][2, 8 * 3 + 5], grid[2, :, 3, 5], atol=1e-5)


def test_images_of_another_size_are_refused(images: xr.Dataset, context: brainlens.Context) -> None:
    with pytest.raises(brainlens.DimensionError, match="expected 64 x 64 pixels, .* found 32 x 64"):
        embed_judged(stimuli=images.isel(y=slice(32)), images=None, params=JudgeParams(), context=context)
