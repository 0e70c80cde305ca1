from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_diffusion.inputs import check_embedding, choose_embedding, choose_start, read_rows
from brainlens_diffusion.params import KandinskyParams
from diffusers import VQModel

import brainlens

Make = Callable[..., xr.Dataset]
SHAPE = (4, 8, 8)


@pytest.fixture
def autoencoder(kandinsky: Path) -> VQModel:
    return VQModel.from_pretrained(kandinsky / "movq").eval().requires_grad_(False)


def start_of(autoencoder: VQModel, embedding: xr.Dataset, **more: xr.Dataset) -> object:
    given = {"initial": None, "latents": None, **more}
    return choose_start(embedding, autoencoder=autoencoder, shape=SHAPE, device="cpu", **given)


def test_the_variant_that_was_chosen_is_taken(random_embedding: Make) -> None:
    one = random_embedding(4)
    several = one.assign(
        embedding=(("variant", "trial", "channel"), np.stack([one["embedding"], -one["embedding"]]))
    ).assign_coords(variant=["retrieval", "reconstruction"])
    params = KandinskyParams(model="anything", variant="reconstruction")
    np.testing.assert_array_equal(choose_embedding(several, params, known=())["embedding"], -one["embedding"])
    with pytest.raises(brainlens.ParameterError, match="the 2 that embedding has, 'retrieval', 'reconstruction', fou"):
        choose_embedding(several, KandinskyParams(model="anything"), known=())


def test_the_model_of_the_embedding_is_compared_where_it_is_known(random_embedding: Make) -> None:
    embedding = random_embedding(4)
    choose_embedding(embedding, KandinskyParams(model="anything"), known=("A", "B"))
    choose_embedding(embedding, KandinskyParams(embedding_model="some-model"), known=("A", "B"))
    with pytest.raises(brainlens.DimensionError) as caught:
        choose_embedding(embedding, KandinskyParams(), known=("A", "B"))
    assert str(caught.value) == (
        "embedding: expected embeddings of model 'A' or 'B', found those of 'some-model'. Decode to that model's "
        "embeddings; if it is the same model under another name, say embedding_model='some-model'."
    )
    with pytest.raises(brainlens.DimensionError, match="expected embeddings of model 'C', found"):
        choose_embedding(embedding, KandinskyParams(model="anything", embedding_model="C"), known=("A", "B"))


def test_dims_and_sizes_of_embeddings_are_compared(random_embedding: Make) -> None:
    pooled, tokens = random_embedding(4)["embedding"], random_embedding(3, 4)["embedding"]
    assert check_embedding(pooled, n_channels=4) is pooled
    assert check_embedding(tokens, n_channels=4, n_tokens=3) is tokens
    for values, n_tokens in ((pooled, 3), (tokens, 0), (tokens, 5), (tokens.transpose("trial", "channel", "token"), 3)):
        with pytest.raises(brainlens.DimensionError, match="embedding: expected dims"):
            check_embedding(values, n_channels=4, n_tokens=n_tokens)
    with pytest.raises(brainlens.DimensionError) as caught:
        check_embedding(pooled.rename(trial="variant"), n_channels=4, n_tokens=3, name="text")
    assert str(caught.value).startswith(
        "text: expected dims (trial, stimulus or roi, token, channel) with 3 tokens and 4 channels, found {'variant': 5"
    )


def test_rows_are_read_once_and_come_back_in_the_order_of_their_numbers() -> None:
    read: list[object] = []

    class Reading(xr.backends.BackendArray):
        shape, dtype = (6, 2), np.dtype(float)

        def __getitem__(self, key: xr.core.indexing.ExplicitIndexer) -> np.ndarray:
            def rows(index: tuple) -> np.ndarray:
                read.extend(np.atleast_1d(index[0]).tolist())
                return np.arange(12.0).reshape(6, 2)[index]

            support = xr.core.indexing.IndexingSupport.OUTER
            return xr.core.indexing.explicit_indexing_adapter(key, self.shape, support, rows)

    values = xr.DataArray(xr.Variable(("trial", "channel"), xr.core.indexing.LazilyIndexedArray(Reading())))
    found = read_rows(values, np.array([4, 4, 1]))
    np.testing.assert_array_equal(found, [[8, 9], [8, 9], [2, 3]])
    assert sorted(read) == [1, 4]


def test_latents_are_laid_out_by_rows_of_the_grid(autoencoder: VQModel, random_embedding: Make) -> None:
    embedding = random_embedding(16)
    latents = random_embedding(64, 4).assign_attrs(grid=[8, 8])
    found = start_of(autoencoder, embedding, latents=latents)(np.array([2]))
    assert found.shape == (1, *SHAPE)
    values = latents["embedding"].values
    assert float(found[0, 3, 1, 5]) == values[2, 1 * 8 + 5, 3]


def test_an_initial_image_is_encoded(autoencoder: VQModel, random_embedding: Make, initial: xr.Dataset) -> None:
    found = start_of(autoencoder, random_embedding(16), initial=initial)(np.array([1, 1, 4]))
    assert found.shape == (3, *SHAPE)
    assert torch.allclose(found[0], found[1], atol=1e-5)
    assert not torch.allclose(found[0], found[2], atol=1e-5)


def test_nothing_to_start_from_is_noise(autoencoder: VQModel, random_embedding: Make) -> None:
    assert start_of(autoencoder, random_embedding(16)) is None


def test_initial_images_and_latents_together_are_refused(
    autoencoder: VQModel, random_embedding: Make, initial: xr.Dataset
) -> None:
    with pytest.raises(brainlens.ParameterError, match="expected initial images or latents, found both"):
        start_of(autoencoder, random_embedding(16), initial=initial, latents=random_embedding(64, 4))


def test_initial_images_of_another_size_are_refused(
    autoencoder: VQModel, random_embedding: Make, initial: xr.Dataset
) -> None:
    with pytest.raises(brainlens.DimensionError) as caught:
        start_of(autoencoder, random_embedding(16), initial=initial.isel(y=slice(16)))
    assert str(caught.value) == (
        "initial images: expected dims (trial, y, x, rgb) with 32 x 32 pixels, found {'trial': 5, 'y': 16, 'x': 32, "
        "'rgb': 3}. Give one image of that size for each trial."
    )


def test_what_is_of_other_trials_is_refused(autoencoder: VQModel, random_embedding: Make, initial: xr.Dataset) -> None:
    embedding, back = random_embedding(16), slice(None, None, -1)
    with pytest.raises(brainlens.DimensionError, match="initial images: .* in the same order, found 5, the first"):
        start_of(autoencoder, embedding, initial=initial.isel(trial=back))
    with pytest.raises(brainlens.DimensionError, match="latents: expected the 5 rows .*, the first 's4'"):
        start_of(autoencoder, embedding, latents=random_embedding(64, 4).isel(trial=back))


@pytest.mark.parametrize(("shape", "grid"), [((64, 4), [4, 16]), ((36, 4), None), ((64, 3), [8, 8]), ((64,), None)])
def test_latents_of_another_grid_are_refused(
    autoencoder: VQModel, random_embedding: Make, shape: tuple[int, ...], grid: list[int] | None
) -> None:
    latents = random_embedding(*shape)
    if grid:
        latents = latents.assign_attrs(grid=grid)
    with pytest.raises(
        brainlens.DimensionError, match="with 64 tokens on a grid 8 x 8 and 4 channels, found"
    ) as caught:
        start_of(autoencoder, random_embedding(16), latents=latents)
    if grid == [4, 16]:
        assert "on a grid 4 x 16. Decode to latents of this generator's autoencoder." in str(caught.value)
