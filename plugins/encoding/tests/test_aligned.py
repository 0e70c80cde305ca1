"""The aligned encoder: captions help where they know what the responses are about, and only then."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import xarray as xr
from brainlens_encoding.aligned import AlignedEncoder
from brainlens_encoding.aligned_params import AlignedParams
from brainlens_encoding.params import RidgeParams
from brainlens_encoding.ridge import RidgeEncoder
from brainlens_encoding.rows import hold_out
from safetensors.torch import load_file
from timm.models import save_for_hf

import brainlens

N_TRAIN, N_TEST, N_CHANNELS, N_MEANT, N_SITES = 200, 300, 40, 3, 12
SMALL: dict[str, Any] = {
    "width": 24, "epochs": 40, "weight_decays": (0.3,), "learning_rate": 0.01, "batch_size": 30, "dropout": 0.1,
    "validation": 0.2,
}  # fmt: skip


def make_study(seed: int = 0) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset, np.ndarray]:
    """Features of which few directions are meant; captions say which value they have, responses say it in noise."""
    rng = np.random.default_rng(seed)
    n = N_TRAIN + N_TEST
    values = rng.standard_normal((n, N_CHANNELS))
    meant = values @ np.linalg.qr(rng.standard_normal((N_CHANNELS, N_MEANT)))[0]
    drive = meant @ rng.standard_normal((N_MEANT, N_SITES)) / np.sqrt(N_MEANT)
    shown = {"trial": np.arange(n), "stimulus_id": ("trial", np.arange(n))}

    def embedding(rows: np.ndarray, model: str) -> xr.Dataset:
        return xr.Dataset({"embedding": (("trial", "channel"), rows.astype(np.float32))}, shown, {"model": model})

    noisy = drive + 3 * rng.standard_normal(drive.shape)
    response = xr.Dataset({"response": (("trial", "voxel"), noisy.astype(np.float32))}, shown)
    said = meant @ rng.standard_normal((N_MEANT, 8))
    return (
        embedding(values, "toy"),
        response.assign_coords(voxel=np.arange(N_SITES)),
        embedding(said, "captions"),
        drive,
    )


def fitted(text: xr.Dataset | None, **changes: Any) -> AlignedEncoder:
    features, response, _, _ = make_study()
    train = slice(N_TRAIN)
    encoder = AlignedEncoder(AlignedParams(**{**SMALL, **changes}), brainlens.Context())
    encoder.fit(features.isel(trial=train), response.isel(trial=train), text=text and text.isel(trial=train))
    return encoder


def score(encoder: AlignedEncoder) -> float:
    features, _, _, drive = make_study()
    test = slice(N_TRAIN, None)
    found = encoder.predict(features.isel(trial=test))["response"].values
    return float(np.mean([np.corrcoef(*pair)[0, 1] for pair in zip(found.T, drive[test].T, strict=True)]))


def test_captions_help_where_they_say_what_responses_are_about_and_those_of_others_do_not() -> None:
    _, _, text, _ = make_study()
    order = np.concatenate([np.random.default_rng(1).permutation(N_TRAIN), np.arange(N_TRAIN, N_TRAIN + N_TEST)])
    shuffled = text.assign(embedding=text["embedding"].copy(data=text["embedding"].values[order]))
    alone, aligned, other = (score(fitted(said, alignment=1.0 if said else 0.0)) for said in (None, text, shuffled))
    assert aligned > max(alone, other) + 0.2, (alone, aligned, other)


def test_captions_that_are_not_looked_at_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    _, _, text, _ = make_study()
    one, other = (fitted(said, alignment=0.0, epochs=3) for said in (None, text))
    assert score(one) == score(other)
    assert "beside" not in one.history
    # Pooled features are what many will give.
    assert "one token" not in caplog.text


def test_the_first_epochs_learn_from_captions_alone() -> None:
    _, _, text, _ = make_study()
    encoder = fitted(text, alignment=1.0, epochs=12, align_epochs=8)
    held_out, beside = encoder.history["held_out_r2"], encoder.history["beside"]
    assert beside[7] < 0.8 * beside[0]
    # Weights of sites start at 0 and stay there.
    np.testing.assert_allclose(held_out[:8], held_out[0], atol=1e-6)
    assert held_out[-1] != held_out[0]


def test_only_captions_of_stimuli_that_are_trained_on_are_looked_at() -> None:
    """What is held out by the encoder itself may have any caption."""
    features, response, text, _ = make_study()
    train = slice(N_TRAIN)
    given = features.isel(trial=train), response.isel(trial=train)
    encoder = AlignedEncoder(AlignedParams(**{**SMALL, "epochs": 3, "alignment": 1.0}), brainlens.Context())
    encoder.fit(*given, text=text.isel(trial=train))
    # Weights of sites are fitted to all trials in the end; what is trained is not.
    _, held_out = hold_out(response["stimulus_id"].values[train], SMALL["validation"], encoder.context.rng(0))
    values = text["embedding"].values[train].copy()
    values[held_out] = 100
    other = AlignedEncoder(encoder.params, brainlens.Context())
    changed = text.isel(trial=train).assign(embedding=(("trial", "channel"), values))
    other.fit(*given, text=changed)
    for name, array in encoder.state().items():
        np.testing.assert_array_equal(array, other.state()[name])


def test_responses_are_read_by_principal_components_of_the_training_trials() -> None:
    encoder = fitted(None, alignment=0.0, head="pca", n_components=N_MEANT)
    assert score(encoder) > score(fitted(None, alignment=0.0)) - 0.05
    features = make_study()[0]
    predicted = (encoder.predict(features)["response"].values - encoder.site_mean) / encoder.site_scale
    singular = np.linalg.svd(predicted - predicted.mean(axis=0), compute_uv=False)
    assert singular[N_MEANT] < 1e-4 * singular[0]


def test_weights_of_sites_are_those_of_ridge_from_the_embedding_of_all_trials() -> None:
    features, response, _, _ = make_study()
    train = slice(N_TRAIN)
    encoder = fitted(None, alignment=0.0, epochs=5)
    with torch.inference_mode():
        seen = encoder.network.share(encoder.tokens(features))[0].numpy()
    embedding = features.assign(embedding=(("trial", "channel"), seen))
    ridge = RidgeEncoder(RidgeParams(scale="space"), brainlens.Context())
    ridge.fit(embedding.isel(trial=train), response.isel(trial=train))
    expected = ridge.predict(embedding)["response"].values
    np.testing.assert_allclose(encoder.predict(features)["response"].values, expected, atol=2e-4)
    kept = fitted(None, alignment=0.0, epochs=5, refit=False)
    assert not np.allclose(kept.predict(features)["response"].values, expected, atol=0.01)


@pytest.mark.parametrize("head", ["direct", "pca"])
def test_what_was_learnt_comes_back(head: str) -> None:
    features, _, text, _ = make_study()
    changes = {"alignment": 0.5, "epochs": 3, "head": head, "n_components": 4}
    encoder = fitted(text, **changes)
    loaded = AlignedEncoder(AlignedParams(**{**SMALL, **changes}), brainlens.Context())
    loaded.load_state({name: np.array(array) for name, array in encoder.state().items()})
    np.testing.assert_array_equal(
        loaded.predict(features)["response"].values, encoder.predict(features)["response"].values
    )


def test_convolutions_learn_from_pixels() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((200, 64, 1), dtype=np.float32)
    shown = {"trial": np.arange(200), "stimulus_id": ("trial", np.arange(200))}
    features = xr.Dataset({"embedding": (("trial", "token", "channel"), values)}, shown, {"model": "pixels"})
    drive = values[:, :32, 0].mean(axis=1)[:, None] * np.array([[1.0, -1.0]])
    response = xr.Dataset({"response": (("trial", "voxel"), drive.astype(np.float32))}, shown)
    given = {**SMALL, "tower": "convolutional", "channels": (8, 8), "alignment": 0.0, "dropout": 0.0}
    encoder = AlignedEncoder(AlignedParams(**given), brainlens.Context())
    train, test = slice(150), slice(150, None)
    encoder.fit(features.isel(trial=train), response.isel(trial=train).assign_coords(voxel=[0, 1]))
    found = encoder.predict(features.isel(trial=test))["response"].values
    assert min(np.corrcoef(*pair)[0, 1] for pair in zip(found.T, drive[test].T, strict=True)) > 0.8
    small = features.isel(token=slice(1))
    with pytest.raises(brainlens.DimensionError, match=r"expected at least 2 pixels on each side .* found 1 x 1"):
        AlignedEncoder(AlignedParams(**given), brainlens.Context()).fit(small, response)


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        ("none", brainlens.ParameterError, "text: expected an embedding of captions to align with, found none, with"),
        ("tokens", brainlens.DimensionError, "text: expected one embedding of each caption, dims (trial, channel)"),
        ("nan", brainlens.DimensionError, "text: expected finite values, found 1 of 200 trials with others."),
        ("same", brainlens.DimensionError, "text: expected captions that differ, found one embedding for all 200"),
        ("components", brainlens.ParameterError, "n_components: expected at most 12, with 12 sites and 160 training"),
    ],
)
def test_bad_captions_and_sizes_are_refused(fault: str, error: type[Exception], text: str) -> None:
    _, _, said, _ = make_study()
    values = said["embedding"].values.copy()
    if fault == "nan":
        values[5, 2] = np.nan
    if fault == "same":
        values[:] = 1
    dims = ("trial", "channel")
    changed: xr.Dataset | None = said.assign(embedding=(dims, values))
    if fault == "tokens":
        changed = said.drop_vars("embedding").assign(embedding=(("trial", "token", "channel"), values[:, None]))
    if fault == "none":
        changed = None
    with pytest.raises(error, match=re.escape(text)):
        fitted(changed, head="pca" if fault == "components" else "direct", n_components=13)


SIDE = 32


@pytest.fixture(scope="module")
def public_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with random weights as timm writes it, for images of 32 x 32 pixels."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("public") / "model"
    given = {"img_size": SIDE}
    save_for_hf(
        timm.create_model("test_vit", num_classes=10, **given), folder, model_args=given, safe_serialization=True
    )
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["input_size"] = [3, SIDE, SIDE]
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def make_images(side: int = SIDE, n_colours: int = 3, n: int = 24) -> tuple[xr.Dataset, xr.Dataset]:
    """Pixels, and the brightness of both halves as responses."""
    rng = np.random.default_rng(0)
    shown = {"trial": np.arange(n), "stimulus_id": ("trial", np.arange(n))}
    values = rng.random((n, 1, n_colours)) * rng.random((n, side * side, n_colours))
    drive = np.stack([half.mean(axis=(1, 2)) for half in np.split(values, 2, axis=1)], axis=1)
    features = xr.Dataset(
        {"embedding": (("trial", "token", "channel"), values.astype(np.float32))}, shown, {"model": "pixels"}
    )
    response = xr.Dataset({"response": (("trial", "voxel"), drive.astype(np.float32))}, shown)
    return features, response.assign_coords(voxel=[0, 1])


def tuned(model: str, images: tuple[xr.Dataset, xr.Dataset], **changes: Any) -> AlignedEncoder:
    given = {**SMALL, "tower": "timm", "model": model, "alignment": 0.0, "epochs": 3, "batch_size": 10, **changes}
    encoder = AlignedEncoder(AlignedParams(**given), brainlens.Context())
    encoder.fit(*images)
    return encoder


def trunk(encoder: AlignedEncoder) -> dict[str, np.ndarray]:
    return {name: value for name, value in encoder.state().items() if ".trunk." in name}


def test_of_a_public_tower_the_last_blocks_alone_move_and_as_slowly_as_asked(public_model: str) -> None:
    images = make_images()
    frozen, last, slower = (
        trunk(tuned(public_model, images, trained_blocks=blocks, tower_rate=rate))
        for blocks, rate in ((0, 1.0), (2, 1.0), (2, 0.01))
    )
    published = load_file(Path(public_model) / "model.safetensors")
    moved, less = set(), []
    for name, value in frozen.items():
        short = name.removeprefix("network.tower.trunk.")
        np.testing.assert_array_equal(value, published[short].numpy())
        if (change := np.abs(last[name] - value).max()) > 0:
            moved.add(".".join(short.split(".")[:2]))
            less.append(np.abs(slower[name] - value).max() / change)
    assert moved == {"blocks.4", "blocks.5", "norm.weight", "norm.bias"}
    assert 0.001 < np.median(less) < 0.1


def test_a_public_tower_comes_back_without_its_folder(public_model: str, tmp_path: Path) -> None:
    copy = shutil.copytree(public_model, tmp_path / "copy")
    images = make_images()
    encoder = tuned(str(copy), images)
    shutil.rmtree(copy)
    loaded = AlignedEncoder(encoder.params, brainlens.Context())
    loaded.load_state({name: np.array(array) for name, array in encoder.state().items()})
    expected = encoder.predict(images[0])["response"].values
    np.testing.assert_array_equal(loaded.predict(images[0])["response"].values, expected)
    # What a stored model was made from is told to the last file.
    assert encoder.about["weights_sha256"] == loaded.about["weights_sha256"]
    assert [path.name for path in encoder.context.sources] == ["copy"]


def test_a_gradient_goes_through_a_public_tower_to_the_pixels(public_model: str) -> None:
    features, response = make_images()
    encoder = tuned(public_model, (features, response))
    one = features.isel(trial=[0])
    found = encoder.differentiate(one).pull_back(np.array([[1.0, -0.5]], np.float32))
    direction = np.sign(found) * 0.002
    up, down = (
        encoder.predict(one.assign(embedding=one["embedding"] + sign * direction.astype(np.float32)))["response"].values
        for sign in (1, -1)
    )
    expected = float(((up - down) / 2 @ np.array([1.0, -0.5])).item())
    assert float((found * direction).sum()) == pytest.approx(expected, rel=0.05)


def test_images_of_another_size_or_with_other_colours_are_refused(public_model: str) -> None:
    with pytest.raises(
        brainlens.DimensionError, match=r"expected images of 32 x 32 pixels as 'test_vit' .* resize=True"
    ):
        tuned(public_model, make_images(side=16))
    assert tuned(public_model, make_images(side=16), resize=True, epochs=1).about["grid"] == [16, 16]
    with pytest.raises(
        brainlens.DimensionError, match="expected pixels of 3 colours as 'test_vit' .* found 1 channels"
    ):
        tuned(public_model, make_images(n_colours=1))
