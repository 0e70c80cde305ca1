from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_stimuli import embed as engine
from brainlens_stimuli.embed import embed, narrow
from brainlens_stimuli.inputs import choose_images
from brainlens_stimuli.network import Found, Network
from brainlens_stimuli.params import EmbedParams

import brainlens


class Counting:
    """A network of the mean of each colour, which counts what it is shown, and may fail at some image."""

    def __init__(self, *, fails_at: int = 10**6, sha256: str = "0" * 64) -> None:
        self.n_seen, self.fails_at, self.sha256 = 0, fails_at, sha256
        self.batches: list[int] = []

    def __call__(self, params: EmbedParams, context: brainlens.Context) -> Network:
        return Network(
            name="mean", sha256=self.sha256, about={"layer": "mean"}, prepare=self.prepare, encode=self.encode
        )

    def prepare(self, images: list[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(images)).float()

    def encode(self, batch: torch.Tensor) -> Found:
        if self.n_seen + len(batch) > self.fails_at:
            raise KeyboardInterrupt
        self.n_seen += len(batch)
        self.batches.append(len(batch))
        return Found(values=batch.mean(dim=(1, 2)))


def run(images: xr.Dataset, network: Counting, context: brainlens.Context, **params: object) -> xr.Dataset:
    return embed(choose_images(images, None), network, EmbedParams(**params), context)


def means(images: xr.Dataset) -> np.ndarray:
    return images["image"].mean(("y", "x")).values


def test_rows_are_in_order_and_lazy(images: xr.Dataset, context: brainlens.Context, tmp_path: Path) -> None:
    found = run(images, Counting(), context, batch_size=2, cache=str(tmp_path))
    assert not isinstance(found["embedding"].variable._data, np.ndarray)
    brainlens.validate(found, "embedding.v1")
    np.testing.assert_allclose(found["embedding"].values, means(images), rtol=1e-6)
    np.testing.assert_allclose(found["embedding"][4:2:-1].values, means(images)[4:2:-1], rtol=1e-6)


def test_nothing_is_embedded_twice(images: xr.Dataset, context: brainlens.Context, tmp_path: Path) -> None:
    first, second = Counting(), Counting()
    run(images.isel(stimulus=[0, 1, 2, 1, 0]).assign_coords(stimulus=range(5)), first, context, cache=str(tmp_path))
    assert first.n_seen == 3
    found = run(images, second, context, cache=str(tmp_path), batch_size=3)
    assert second.n_seen == 4
    np.testing.assert_allclose(found["embedding"].values, means(images), rtol=1e-6)


def test_the_same_images_twice_in_one_dataset_are_embedded_once(images: xr.Dataset, context: brainlens.Context) -> None:
    several = images.isel(stimulus=[0, 1, 0, 1, 2] * 40).assign_coords(stimulus=range(200))
    network = Counting()
    found = run(several, network, context, batch_size=2)
    assert network.n_seen == 3
    np.testing.assert_allclose(found["embedding"].values, means(several), rtol=1e-6)


@pytest.mark.parametrize(
    "change",
    [{"normalise": "length"}, {"dtype": "float16"}, {"sha256": "1" * 64}, {"precision": "bfloat16"}],
    ids=lambda change: next(iter(change)),
)
def test_whatever_decides_the_numbers_decides_what_is_found(
    images: xr.Dataset, tmp_path: Path, change: dict[str, str]
) -> None:
    run(images, Counting(), brainlens.Context(), cache=str(tmp_path))
    other = Counting(sha256=change.pop("sha256", "0" * 64))
    context = brainlens.Context(precision=change.pop("precision", "float32"))
    run(images, other, context, cache=str(tmp_path), **change)
    assert other.n_seen == 7


def test_a_call_that_was_killed_goes_on(images: xr.Dataset, tmp_path: Path) -> None:
    context = brainlens.Context(scratch=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(images, Counting(fails_at=5), context, batch_size=2)
    again = Counting()
    found = run(images, again, context, batch_size=2)
    assert again.n_seen == 3
    np.testing.assert_allclose(found["embedding"].values, means(images), rtol=1e-6)


def test_batches_are_full_whatever_is_known_already(
    images: xr.Dataset, context: brainlens.Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_LOOK_UP", 2)
    run(images.isel(stimulus=[1, 3]), Counting(), context, cache=str(tmp_path))
    network = Counting()
    run(images, network, context, cache=str(tmp_path), batch_size=2)
    assert network.batches == [2, 2, 1]


def test_images_are_read_once_and_a_few_at_a_time(context: brainlens.Context) -> None:
    asked: list[tuple[int, int]] = []

    def make(low: int, high: int) -> np.ndarray:
        asked.append((low, high))
        return np.arange(low, high, dtype=np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, 4, 4, 3), np.uint8)

    lazy = brainlens.made_rows(("stimulus", "y", "x", "rgb"), (200, 4, 4, 3), np.uint8, make)
    dataset = xr.Dataset({"image": lazy}, {"stimulus": range(200)}, {"schema": "stimulus_image.v1"})
    run(dataset, Counting(), context)
    assert asked == [(0, 64), (64, 128), (128, 192), (192, 200)]


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        (np.array([[1.0, 70_000.0]]), "float16", "fit into float16, found 7e\\+04. Choose dtype='float32'"),
        (np.array([[1.0, np.nan]]), "float32", "found a layer that overflows"),
    ],
)
def test_values_that_do_not_fit_are_refused(values: np.ndarray, dtype: str, message: str) -> None:
    with pytest.raises(brainlens.ParameterError, match=message):
        narrow(values, dtype)


def test_the_registry_computes_it_once_and_verifies(images: xr.Dataset, clip_folder: Path, tmp_path: Path) -> None:
    registry = brainlens.open(tmp_path / "study", quiet=True)
    registry.put("images", images, schema="stimulus_image")
    name = registry.compute("stimuli.open_clip_image", stimuli="images", model=str(clip_folder))
    assert registry.compute("stimuli.open_clip_image", stimuli="images", model=str(clip_folder)) == name
    assert registry[name]["embedding"].shape == (7, 16)
    registry.verify(name)
    assert registry.show(name)["provenance"]["sources"]
