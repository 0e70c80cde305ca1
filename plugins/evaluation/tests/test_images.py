import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_evaluation.images import score_images
from brainlens_evaluation.params import METRICS, ImageParams
from brainlens_evaluation.pixels import PIXEL_METRICS, compare_pixels
from scipy.spatial.distance import correlation
from torchvision.transforms import Normalize, Resize

import brainlens

FEW: dict[str, Any] = {"n_resamples": 200, "n_permutations": 200}
PIXELS: dict[str, Any] = {"metrics": PIXEL_METRICS, **FEW}
QUICK: dict[str, Any] = {"metrics": ("pix_corr", "ms_ssim"), **FEW}


def _score(
    reconstructed: xr.Dataset,
    seen: xr.Dataset,
    *,
    floors: list[xr.Dataset] | None = None,
    training: xr.Dataset | None = None,
    context: brainlens.Context | None = None,
    **params: Any,
) -> xr.Dataset:
    found = score_images(
        reconstructed=reconstructed, seen=seen, floors=floors, training=training, params=ImageParams(**params),
        context=context or brainlens.Context(),
    )  # fmt: skip
    brainlens.validate(found, "score")
    return found


def _seen_of(reconstructions: xr.Dataset, stimuli: xr.Dataset) -> np.ndarray:
    return np.asarray(stimuli["image"].sel(stimulus=reconstructions["stimulus_id"].values).values)


def test_values_of_pixels_are_those_of_each_pair(reconstructions: xr.Dataset, stimuli: xr.Dataset) -> None:
    found = _score(reconstructions, stimuli, **PIXELS)
    expected = compare_pixels(reconstructions["image"].values, _seen_of(reconstructions, stimuli), PIXEL_METRICS)
    values = found["value"].sel(source="reconstructed")
    for metric in PIXEL_METRICS:
        np.testing.assert_allclose(values.sel(metric=metric), expected[metric], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["score"], found["value"].mean("trial"))
    assert found["better"].values.tolist() == ["higher"] * 4
    assert found["n"].values.tolist() == [6] * 4
    assert found.attrs["subject"] == "planted"


def test_all_metrics_of_networks_are_those_of_a_script_written_from_the_definitions(
    reconstructions: xr.Dataset, stimuli: xr.Dataset, models: dict[str, torch.nn.Module], weights: Path
) -> None:
    reconstructions = reconstructions.isel(trial=slice(3))
    found = _score(reconstructions, stimuli, weights=str(weights), batch_size=2, metrics=METRICS[4:], **FEW)

    def features(pixels: np.ndarray, name: str, side: int, depth: int = 0) -> np.ndarray:
        images = Resize((256, 256), antialias=False)(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
        images = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(Resize(side, antialias=False)(images))
        model = models[name]
        seen: list[torch.Tensor] = []
        layer = model.features[depth - 1] if depth else model.avgpool
        handle = layer.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
        with torch.inference_mode():
            model(images)
        handle.remove()
        return seen[0].flatten(1).double().numpy()

    made, seen = reconstructions["image"].values, _seen_of(reconstructions, stimuli)
    ours = found["value"].sel(source="reconstructed")
    for metric, name, side, depth in (
        ("alexnet_2", "alexnet", 256, 5), ("alexnet_5", "alexnet", 256, 12), ("inception", "inception_v3", 342, 0),
    ):  # fmt: skip
        real, fake = features(seen, name, side, depth), features(made, name, side, depth)
        r = np.corrcoef(real, fake)[: len(real), len(real) :]
        np.testing.assert_allclose(ours.sel(metric=metric), (r < np.diag(r)).sum(axis=0) / (len(real) - 1), atol=1e-6)
    for metric, name, side in (("efficientnet", "efficientnet_b1", 255), ("swav", "swav", 224)):
        pairs = zip(features(seen, name, side), features(made, name, side), strict=True)
        expected = [correlation(real, fake) for real, fake in pairs]
        np.testing.assert_allclose(ours.sel(metric=metric), expected, rtol=0, atol=1e-6)
    assert found["metric"].values.tolist() == ["alexnet_2", "alexnet_5", "inception", "efficientnet", "swav"]
    assert found["better"].values.tolist() == ["higher"] * 3 + ["lower"] * 2
    assert found["chance"].values[:3].tolist() == [0.5] * 3
    assert found["chance_from"].values.tolist() == ["definition"] * 3 + ["shuffled"] * 2
    assert "features.4" in found["layer"].sel(metric="alexnet_2").item()
    assert "342 x 342" in found["preprocessing"].sel(metric="inception").item()


def test_absent_networks_are_said_with_the_command_and_replaced_by_nothing(
    reconstructions: xr.Dataset, stimuli: xr.Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "brainlens"):
        found = _score(reconstructions, stimuli, weights=str(tmp_path), metrics=("ssim", "clip", "swav"), **FEW)
    assert found["metric"].values.tolist() == ["ssim"]
    assert set(found.attrs["absent"]) == {"clip", "swav"}
    assert (
        f"curl -L --create-dirs -o '{tmp_path}/swav_800ep_pretrain.pth.tar' https://" in found.attrs["absent"]["swav"]
    )
    assert "absent: clip: clip-vit-l-14-openai.safetensors is not in" in caplog.text
    assert found.attrs["weights"] == {}


def test_without_a_folder_the_command_names_one(reconstructions: xr.Dataset, stimuli: xr.Dataset) -> None:
    found = _score(reconstructions, stimuli, metrics=("ssim", "inception"), **FEW)
    assert found.attrs["absent"]["inception"].startswith("no folder of weights was given; fetch it with: curl")
    assert "'weights/inception_v3_google-0cc3c7bd.pth'" in found.attrs["absent"]["inception"]


def test_nothing_but_absent_metrics_is_refused(reconstructions: xr.Dataset, stimuli: xr.Dataset) -> None:
    with pytest.raises(brainlens.CheckpointError, match="expected the weights of at least one, found none of 'clip'"):
        _score(reconstructions, stimuli, metrics=("clip",))


def test_a_folder_that_does_not_exist_is_refused(
    reconstructions: xr.Dataset, stimuli: xr.Dataset, tmp_path: Path
) -> None:
    with pytest.raises(brainlens.RegistryError, match="expected a file or folder, found nothing there"):
        _score(reconstructions, stimuli, weights=str(tmp_path / "nowhere"))
    (tmp_path / "file").touch()
    with pytest.raises(brainlens.CheckpointError, match="expected a folder, found a file"):
        _score(reconstructions, stimuli, weights=str(tmp_path / "file"))


def test_weights_that_are_no_network_stop_everything(
    reconstructions: xr.Dataset, stimuli: xr.Dataset, tmp_path: Path
) -> None:
    (tmp_path / "alexnet.safetensors").write_bytes(b"no weights")
    with pytest.raises(brainlens.CheckpointError, match="expected safetensors"):
        _score(reconstructions, stimuli, weights=str(tmp_path), metrics=("ssim", "alexnet_2"))


def test_perfect_reconstructions_are_perfect_and_shuffled_ones_are_not(
    reconstructions_of: Callable[..., xr.Dataset], stimuli: xr.Dataset, weights: Path
) -> None:
    same = reconstructions_of(stimuli, noise=0)
    found = _score(same, stimuli, weights=str(weights), metrics=(*PIXEL_METRICS, "alexnet_2", "efficientnet"), **FEW)
    ours = found["score"].sel(source="reconstructed")
    np.testing.assert_allclose(ours.sel(metric=[*PIXEL_METRICS, "alexnet_2"]), 1, atol=1e-6)
    assert ours.sel(metric="efficientnet").item() == pytest.approx(0, abs=1e-5)
    shuffled = found["score"].sel(source="shuffled")
    assert (shuffled.sel(metric=list(PIXEL_METRICS)) < 0.9).all()
    assert shuffled.sel(metric="alexnet_2").item() < 0.6
    assert shuffled.sel(metric="efficientnet").item() > ours.sel(metric="efficientnet").item()


def test_order_and_company_of_trials_do_not_matter(reconstructions: xr.Dataset, stimuli: xr.Dataset) -> None:
    found = _score(reconstructions, stimuli, **QUICK)["value"].sel(source="reconstructed")
    other = _score(reconstructions.isel(trial=[3, 1, 5]), stimuli.isel(stimulus=slice(None, None, -1)), **QUICK)
    np.testing.assert_array_equal(other["value"].sel(source="reconstructed"), found.isel(trial=[3, 1, 5]))


def test_shuffled_pairs_are_the_same_images_against_other_stimuli(
    reconstructions: xr.Dataset, stimuli: xr.Dataset
) -> None:
    found = _score(reconstructions, stimuli, n_shuffles=5, **QUICK)
    made, seen = reconstructions["image"].values, _seen_of(reconstructions, stimuli)
    # Five other stimuli are all others, so that the floor is known.
    for number in range(6):
        others = np.delete(seen, number, axis=0)
        pairs = compare_pixels(np.repeat(made[[number]], 5, axis=0), others, ["ms_ssim"])["ms_ssim"]
        value = found["value"].sel(source="shuffled", metric="ms_ssim")[number].item()
        assert value == pytest.approx(pairs.mean(), abs=1e-9)
    np.testing.assert_allclose(found["chance"], found["score"].sel(source="shuffled"))


def test_floors_are_scored_like_reconstructions(
    reconstructions: xr.Dataset, stimuli: xr.Dataset, stimuli_of: Callable[..., xr.Dataset]
) -> None:
    prior = reconstructions.assign(image=(reconstructions["image"].dims, stimuli_of(6, 32, seed=9)["image"].values))
    prior = prior.isel(trial=slice(None, None, -1))
    found = _score(reconstructions, stimuli, floors=[prior], training=stimuli, **QUICK)
    assert found["source"].values.tolist() == ["reconstructed", "shuffled", "prior", "mean_image", "nearest_training"]
    alone = _score(prior.sel(trial=reconstructions["trial"].values), stimuli, ms_ssim_side=40, **QUICK)
    np.testing.assert_allclose(
        found["value"].sel(source="prior"), alone["value"].sel(source="reconstructed"), rtol=0, atol=1e-6
    )
    assert found.attrs["training_left_out"] == 6
    assert found.attrs["n_training"] == 4
    mean = np.rint(stimuli["image"].values[:4].mean(axis=0)).astype(np.uint8)[None]
    expected = compare_pixels(mean.repeat(6, axis=0), _seen_of(reconstructions, stimuli), QUICK["metrics"])
    for metric in QUICK["metrics"]:
        ours = found["value"].sel(source="mean_image", metric=metric)
        np.testing.assert_allclose(ours, expected[metric], rtol=0, atol=1e-6)


def test_of_a_floor_with_candidates_the_first_is_taken(reconstructions: xr.Dataset, stimuli: xr.Dataset) -> None:
    image = reconstructions["image"].expand_dims(candidate=2, axis=1).copy()
    image.values[:, 1] = 0
    found = _score(reconstructions, stimuli, floors=[reconstructions.assign(image=image)], **QUICK)
    np.testing.assert_array_equal(found["value"].sel(source="prior"), found["value"].sel(source="reconstructed"))


def test_floors_of_networks_are_at_chance(reconstructions: xr.Dataset, stimuli: xr.Dataset, weights: Path) -> None:
    found = _score(reconstructions, stimuli, training=stimuli, weights=str(weights), metrics=("alexnet_2",), **FEW)
    # The same image for all is as often above as below.
    assert found["score"].sel(source="mean_image", metric="alexnet_2").item() == pytest.approx(0.5)
    assert found["p_value"].sel(source="reconstructed", metric="alexnet_2").item() < 0.05


def test_one_of_several_candidates_is_scored(reconstructions: xr.Dataset, stimuli: xr.Dataset) -> None:
    image = reconstructions["image"].expand_dims(candidate=2, axis=1).copy()
    image.values[:, 0] = 255 - image.values[:, 0]
    found = _score(reconstructions.assign(image=image), stimuli, candidate=1, **QUICK)
    expected = _score(reconstructions, stimuli, **QUICK)
    np.testing.assert_array_equal(found["value"], expected["value"])


def test_repetitions_share_their_distractors_and_their_wrong_stimulus(
    reconstructions_of: Callable[..., xr.Dataset], stimuli: xr.Dataset, weights: Path
) -> None:
    twice = reconstructions_of(stimuli, repetitions=2, noise=5)
    found = _score(twice, stimuli, weights=str(weights), metrics=("alexnet_5", "ssim"), **FEW)
    assert found.attrs["n_stimuli"] == 6
    assert found["n"].values.tolist() == [12, 12]
    assert found["score"].sel(source="reconstructed", metric="alexnet_5").item() > 0.8


def test_a_blank_reconstruction_counts_as_zero_and_is_counted(
    reconstructions: xr.Dataset, stimuli: xr.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    blank = reconstructions.copy(deep=True)
    blank["image"][2] = 0
    with caplog.at_level(logging.WARNING, "brainlens"):
        found = _score(blank, stimuli, **QUICK)
    assert found["undefined"].values.tolist() == [1, 0]
    assert found["value"].sel(source="reconstructed", metric="pix_corr")[2].item() == 0
    assert "pix_corr of 1 of 6 reconstructions does not exist" in caplog.text


def test_grey_images_are_scored(
    stimuli_of: Callable[..., xr.Dataset], reconstructions_of: Callable[..., xr.Dataset]
) -> None:
    grey = stimuli_of(grey=True)
    found = _score(reconstructions_of(grey), grey, training=grey, **QUICK)
    assert (found["score"].sel(source="reconstructed") > found["score"].sel(source="shuffled")).all()


def test_grey_against_colour_is_refused(reconstructions: xr.Dataset, stimuli_of: Callable[..., xr.Dataset]) -> None:
    with pytest.raises(brainlens.DimensionError, match="expected all in colour or all grey"):
        _score(reconstructions, stimuli_of(grey=True), **PIXELS)


def test_no_stimulus_in_common_is_refused(reconstructions: xr.Dataset, stimuli: xr.Dataset) -> None:
    with pytest.raises(brainlens.DimensionError, match="found none of them"):
        _score(reconstructions, stimuli.assign_coords(stimulus=[f"other{number}" for number in range(10)]), **PIXELS)


def test_one_stimulus_is_refused(reconstructions: xr.Dataset, stimuli: xr.Dataset) -> None:
    with pytest.raises(brainlens.DimensionError, match="expected trials of at least 2 stimuli, found 1"):
        _score(reconstructions.isel(trial=[0]), stimuli, **PIXELS)


def test_images_without_room_for_ms_ssim_are_refused_before_anything_is_computed(
    stimuli_of: Callable[..., xr.Dataset], reconstructions_of: Callable[..., xr.Dataset]
) -> None:
    small = stimuli_of(4, 10)
    with pytest.raises(brainlens.DimensionError, match="ms_ssim: expected images of at least 11 x 11"):
        _score(reconstructions_of(small, 3), small, **PIXELS)
    assert _score(reconstructions_of(small, 3), small, ms_ssim_side=32, **QUICK)["score"].notnull().all()


def test_the_side_of_ms_ssim_is_said(reconstructions: xr.Dataset, stimuli: xr.Dataset) -> None:
    found = _score(reconstructions, stimuli, **QUICK)
    assert found["preprocessing"].sel(metric="ms_ssim").item() == (
        "40 x 40, bilinear with antialiasing; 2 scales; colour channels apart"
    )


def test_a_registry_stores_scores_with_the_weights_they_rest_on(
    reconstructions: xr.Dataset, stimuli: xr.Dataset, weights: Path, tmp_path: Path
) -> None:
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    registry.put("made", reconstructions)
    registry.put("seen", stimuli)
    given: dict[str, Any] = {"metrics": ("ssim", "efficientnet", "clip"), "weights": weights, **FEW}
    name = registry.compute("evaluation.images", reconstructed="made", seen="seen", training="seen", **given)
    again = registry.compute("evaluation.images", reconstructed="made", seen="seen", training="seen", **given)
    assert name == again
    stored = registry[name]
    assert stored["score"].sel(source="reconstructed", metric="ssim").item() > 0.1
    assert set(stored.attrs["absent"]) == {"clip"}
    digest = hashlib.sha256((weights / "efficientnet_b1.safetensors").read_bytes()).hexdigest()
    assert stored.attrs["weights"]["efficientnet"] == digest


@pytest.mark.gpu
def test_the_same_numbers_on_a_gpu(reconstructions: xr.Dataset, stimuli: xr.Dataset, weights: Path) -> None:
    given: dict[str, Any] = {"weights": str(weights), "training": stimuli, **FEW}
    there = _score(reconstructions, stimuli, context=brainlens.Context(device="cuda:0"), **given)
    here = _score(reconstructions, stimuli, **given)
    difference = np.abs(there["value"] - here["value"]).max(("source", "trial"))
    assert (difference.sel(metric=list(PIXEL_METRICS)) < 1e-5).all()
    assert (difference.sel(metric=["efficientnet", "swav"]) < 5e-3).all()
