import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
import torchvision
from brainlens_evaluation.networks import NETWORKS, Features, Network, load_network, network_of
from brainlens_evaluation.params import METRICS
from brainlens_evaluation.pixels import PIXEL_METRICS
from safetensors.torch import save_file

import brainlens

IMAGES = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))


def _network(metric: str) -> Network:
    network = network_of(metric)
    assert network is not None
    return network


def _load(metric: str, folder: Path, context: brainlens.Context) -> Features:
    network = _network(metric)
    found = load_network(network, folder, context, tuple(network.layers))
    assert found is not None
    return found[0]


def _prepared(side: int) -> torch.Tensor:
    resized = torchvision.transforms.Resize(side, antialias=False)(IMAGES)
    return torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(resized)


def _watched(model: torch.nn.Module, layer: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What leaves a layer while the whole model looks, as a hook sees it."""
    seen: list[torch.Tensor] = []
    handle = layer.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    with torch.inference_mode():
        model(images)
    handle.remove()
    return seen[0].flatten(1)


def test_every_metric_is_of_pixels_or_of_one_network() -> None:
    assert {metric for metric in METRICS if network_of(metric) is None} == set(PIXEL_METRICS)
    assert sorted(metric for network in NETWORKS for metric in network.layers) == sorted(
        set(METRICS) - set(PIXEL_METRICS)
    )


def test_files_are_those_that_torchvision_publishes() -> None:
    published = {
        "alexnet_2": torchvision.models.AlexNet_Weights.IMAGENET1K_V1,
        "inception": torchvision.models.Inception_V3_Weights.IMAGENET1K_V1,
        "efficientnet": torchvision.models.EfficientNet_B1_Weights.IMAGENET1K_V2,
    }
    for metric, entry in published.items():
        network = _network(metric)
        assert network.url == entry.url
        assert network.files[0] == entry.url.rsplit("/", 1)[1]
        assert network.digests[network.files[0]] in network.files[0]


def test_alexnet_looks_behind_the_second_and_the_fifth_convolution(
    models: dict[str, torch.nn.Module], weights: Path, context: brainlens.Context
) -> None:
    found = _load("alexnet_2", weights, context)(IMAGES)
    features = models["alexnet"].features
    assert [type(layer).__name__ for layer in features[:5]].count("Conv2d") == 2
    assert [type(layer).__name__ for layer in features[:12]].count("Conv2d") == 5
    with torch.inference_mode():
        for metric, depth, n_values in (("alexnet_2", 5, 192 * 31 * 31), ("alexnet_5", 12, 256 * 15 * 15)):
            expected = features[:depth](_prepared(256)).flatten(1)
            assert expected.shape[1] == n_values
            torch.testing.assert_close(found[metric], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("metric", "name", "side", "n_values"),
    [
        ("inception", "inception_v3", 342, 2048),
        ("efficientnet", "efficientnet_b1", 255, 1280),
        ("swav", "swav", 224, 2048),
    ],
)
def test_the_others_look_at_the_pooled_layer(
    models: dict[str, torch.nn.Module], weights: Path, context: brainlens.Context,
    metric: str, name: str, side: int, n_values: int,
) -> None:  # fmt: skip
    found = _load(metric, weights, context)(IMAGES)[metric]
    expected = _watched(models[name], models[name].avgpool, _prepared(side))
    assert expected.shape == (2, n_values)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_inception_brings_channels_to_its_own_range_as_with_published_weights() -> None:
    with torch.device("meta"):
        assert _network("inception").build().transform_input


def test_the_clip_tower_is_that_of_open_ai() -> None:
    with torch.device("meta"):
        tower = _network("clip").build()
    assert sum(parameter.numel() for parameter in tower.parameters()) == 303_966_208
    assert tower.output_dim == 768
    assert any("QuickGELU" in type(module).__name__ for module in tower.modules())


@pytest.fixture
def tiny_clip(tmp_path: Path) -> tuple[Network, open_clip.CLIP]:
    """The same network but for its size, and its file as open_clip publishes whole models."""
    config = {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 224, "layers": 2, "width": 64, "patch_size": 56},
        "text_cfg": {"context_length": 8, "vocab_size": 20, "width": 64, "heads": 1, "layers": 1},
    }
    torch.manual_seed(0)
    model = open_clip.CLIP(**config).eval()
    state = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    model.load_state_dict(state)
    network = replace(_network("clip"), build=lambda: open_clip.CLIP(**config).visual)
    save_file(state, tmp_path / network.files[0])
    return network, model


def test_clip_is_the_image_embedding_of_the_whole_model(
    tiny_clip: tuple[Network, open_clip.CLIP], tmp_path: Path, context: brainlens.Context
) -> None:
    network, model = tiny_clip
    loaded = load_network(network, tmp_path, context, ("clip",))
    assert loaded is not None
    resized = torchvision.transforms.Resize(224, antialias=False)(IMAGES)
    normalise = torchvision.transforms.Normalize(network.mean, network.std)
    with torch.inference_mode():
        expected = model.encode_image(normalise(resized))
    torch.testing.assert_close(loaded[0](IMAGES)["clip"], expected, rtol=1e-4, atol=1e-5)


def test_a_vision_tower_alone_will_do(
    tiny_clip: tuple[Network, open_clip.CLIP], tmp_path: Path, context: brainlens.Context
) -> None:
    network, model = tiny_clip
    whole = load_network(network, tmp_path, context, ("clip",))
    folder = tmp_path / "alone"
    folder.mkdir()
    save_file({key: value.contiguous() for key, value in model.visual.state_dict().items()}, folder / network.files[0])
    alone = load_network(network, folder, context, ("clip",))
    assert whole is not None
    assert alone is not None
    torch.testing.assert_close(alone[0](IMAGES)["clip"], whole[0](IMAGES)["clip"])


@pytest.mark.slow
def test_the_whole_clip_tower_loads_and_looks(tmp_path: Path, context: brainlens.Context) -> None:
    network = _network("clip")
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in network.build().state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    state = {f"visual.{name}": 0.02 * torch.randn(shape, generator=generator).half() for name, shape in shapes.items()}
    save_file(state, tmp_path / network.files[0])
    loaded = load_network(network, tmp_path, context, ("clip",))
    assert loaded is not None
    found = loaded[0](IMAGES)["clip"]
    assert found.shape == (2, 768)
    assert torch.isfinite(found).all()


def test_the_digest_of_the_file_comes_back_and_the_file_is_noted(weights: Path, context: brainlens.Context) -> None:
    loaded = load_network(_network("efficientnet"), weights, context, ("efficientnet",))
    assert loaded is not None
    file = weights / "efficientnet_b1.safetensors"
    assert loaded[1] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert context.sources == [file]


def test_absent_weights_are_none_and_the_command_says_where(tmp_path: Path, context: brainlens.Context) -> None:
    assert load_network(_network("swav"), tmp_path, context, ("swav",)) is None
    assert load_network(_network("swav"), None, context, ("swav",)) is None
    assert _network("swav").fetch(tmp_path) == (
        f"curl -L --create-dirs -o '{tmp_path}/swav_800ep_pretrain.pth.tar' "
        "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar"
    )


@pytest.fixture
def other_file(weights: Path, tmp_path: Path) -> Callable[[str, str], Path]:
    """A folder in which the weights of one network lie under the name of another."""

    def make(name: str, under: str) -> Path:
        shutil.copy(weights / name, tmp_path / under)
        return tmp_path

    return make


def test_weights_of_another_network_are_refused(
    other_file: Callable[[str, str], Path], context: brainlens.Context
) -> None:
    folder = other_file("efficientnet_b1.safetensors", "inception_v3.safetensors")
    with pytest.raises(
        brainlens.CheckpointError, match=r"Inception v3 .*: expected the weights of that network, found others"
    ):
        load_network(_network("inception"), folder, context, ("inception",))


def test_a_file_under_a_published_name_with_another_digest_is_refused(
    other_file: Callable[[str, str], Path], context: brainlens.Context
) -> None:
    folder = other_file("efficientnet_b1.safetensors", "efficientnet_b1-c27df63c.pth")
    with pytest.raises(brainlens.CheckpointError, match="SHA-256 that begins with c27df63c, as published"):
        load_network(_network("efficientnet"), folder, context, ("efficientnet",))


def test_a_published_torch_file_gives_the_same_features(
    models: dict[str, torch.nn.Module], weights: Path, tmp_path: Path, context: brainlens.Context
) -> None:
    torch.save(models["efficientnet_b1"].state_dict(), tmp_path / "published.pth")
    begin = hashlib.sha256((tmp_path / "published.pth").read_bytes()).hexdigest()[:8]
    network = replace(_network("efficientnet"), files=("published.pth",), digests={"published.pth": begin})
    loaded = load_network(network, tmp_path, context, ("efficientnet",))
    assert loaded is not None
    expected = _load("efficientnet", weights, context)(IMAGES)["efficientnet"]
    assert torch.equal(loaded[0](IMAGES)["efficientnet"], expected)


def test_lower_precision_is_near(weights: Path) -> None:
    exact = _load("swav", weights, brainlens.Context())(IMAGES)["swav"]
    rough = _load("swav", weights, brainlens.Context(precision="bfloat16"))(IMAGES)["swav"]
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=0, atol=0.05 * float(exact.abs().max()))
