"""The field's networks: which file, which size, which layer, and how each is built and read.

Every network comes from its library and is the published one; a metric is a network with its weights at a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import torch
import torchvision
from torchvision.models.feature_extraction import create_feature_extractor

import brainlens
from brainlens_evaluation.resize import resize
from brainlens_evaluation.weights import check_digest, fetch_command, find_file, load_strictly, read_state

Features = Callable[[torch.Tensor], dict[str, torch.Tensor]]
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_TORCH = "https://download.pytorch.org/models/"
_OPENAI = "https://huggingface.co/timm/vit_large_patch14_clip_224.openai/resolve/main/open_clip_model.safetensors"
_SWAV = "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar"


@dataclass(frozen=True, kw_only=True)
class Network:
    """One public network as a judge of images.

    Parameters
    ----------
    name
        For messages.
    layers
        Metric to the node whose output is compared; "" for what the network returns.
    distance
        Whether the metric is one minus the correlation, instead of two-way identification.
    side
        Pixels that images are resized to.
    build
        Returns the network; called on the device "meta".
    url
        Where the weights are published.
    files
        Names under which the weights may lie in the folder, the published one first.
    digests
        First digits of the SHA-256 of files, as published.
    mean, std
        Of each colour channel, that are taken off and divided by.
    prefix
        Of the tensors that belong to the network, where the file has more.
    left_out
        Prefixes of tensors that the file has beside the network, and that are not used.
    """

    name: str
    layers: Mapping[str, str]
    distance: bool = False
    side: int
    build: Callable[[], torch.nn.Module]
    url: str
    files: tuple[str, ...]
    digests: Mapping[str, str] = field(default_factory=dict)
    mean: tuple[float, ...] = _IMAGENET[0]
    std: tuple[float, ...] = _IMAGENET[1]
    prefix: str = ""
    left_out: tuple[str, ...] = ()

    def fetch(self, folder: Path | None) -> str:
        """Return the command with which a user fetches the weights."""
        return fetch_command(self.url, self.files[0], folder)

    def preprocessing(self) -> str:
        """Return in words how images come to the network."""
        return (
            f"256 x 256, then {self.side} x {self.side}, both bilinear without antialiasing; mean "
            f"{', '.join(map(str, self.mean))} and standard deviation {', '.join(map(str, self.std))} of the channels"
        )

    def layer(self, metric: str) -> str:
        """Return in words which network and which layer a metric looks at."""
        return f"{self.name}, {self.layers[metric] or 'image embedding'}"


def _inception() -> torch.nn.Module:
    # With published weights torchvision brings the channels to [-1, 1] inside the network; without, it would not.
    return torchvision.models.inception_v3(weights=None, init_weights=False, transform_input=True)


def _swav() -> torch.nn.Module:
    model = torchvision.models.resnet50(weights=None)
    model.fc = torch.nn.Identity()
    return model


def _clip() -> torch.nn.Module:
    # It takes seconds to import, which scores of pixels should not wait for.
    import open_clip

    # OpenAI trained with the approximation of GELU that open_clip calls quickgelu.
    return open_clip.CLIP(**open_clip.get_model_config("ViT-L-14-quickgelu")).visual


NETWORKS: tuple[Network, ...] = (
    Network(
        name="AlexNet (torchvision, IMAGENET1K_V1)",
        layers=MappingProxyType({"alexnet_2": "features.4", "alexnet_5": "features.11"}),
        side=256,
        build=torchvision.models.alexnet,
        url=f"{_TORCH}alexnet-owt-7be5be79.pth",
        files=("alexnet-owt-7be5be79.pth", "alexnet.safetensors"),
        digests=MappingProxyType({"alexnet-owt-7be5be79.pth": "7be5be79"}),
    ),
    Network(
        name="Inception v3 (torchvision, IMAGENET1K_V1)",
        layers=MappingProxyType({"inception": "avgpool"}),
        side=342,
        build=_inception,
        url=f"{_TORCH}inception_v3_google-0cc3c7bd.pth",
        files=("inception_v3_google-0cc3c7bd.pth", "inception_v3.safetensors"),
        digests=MappingProxyType({"inception_v3_google-0cc3c7bd.pth": "0cc3c7bd"}),
    ),
    Network(
        name="CLIP ViT-L/14 (OpenAI, open_clip)",
        layers=MappingProxyType({"clip": ""}),
        side=224,
        build=_clip,
        url=_OPENAI,
        files=("clip-vit-l-14-openai.safetensors",),
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        prefix="visual.",
    ),
    Network(
        name="EfficientNet-B1 (torchvision, IMAGENET1K_V2)",
        layers=MappingProxyType({"efficientnet": "avgpool"}),
        distance=True,
        side=255,
        build=torchvision.models.efficientnet_b1,
        url=f"{_TORCH}efficientnet_b1-c27df63c.pth",
        files=("efficientnet_b1-c27df63c.pth", "efficientnet_b1.safetensors"),
        digests=MappingProxyType({"efficientnet_b1-c27df63c.pth": "c27df63c"}),
    ),
    Network(
        name="SwAV ResNet-50 (800 epochs)",
        layers=MappingProxyType({"swav": "avgpool"}),
        distance=True,
        side=224,
        build=_swav,
        url=_SWAV,
        files=("swav_800ep_pretrain.pth.tar", "swav_resnet50.safetensors"),
        prefix="module.",
        left_out=("projection_head.", "prototypes."),
    ),
)


def network_of(metric: str) -> Network | None:
    """Return the network that a metric looks through; None for metrics of pixels.

    Examples
    --------
    >>> network_of("alexnet_5").side
    256
    """
    return next((network for network in NETWORKS if metric in network.layers), None)


def load_network(
    network: Network, folder: Path | None, context: brainlens.Context, metrics: tuple[str, ...]
) -> tuple[Features, str] | None:
    """Load a network from a folder of weights.

    Parameters
    ----------
    network
        Which.
    folder
        Where weights lie, or None.
    context
        Device and precision; the file is noted among its sources.
    metrics
        Those of the network's metrics that are wanted.

    Returns
    -------
    tuple or None
        A function from images (image, rgb, 256, 256), float32 from 0 to 1, to the features (image, value), float32, of
        each metric; and the SHA-256 of the weights. None where the folder has no such file.

    Raises
    ------
    CheckpointError
        If the file is altered, is not the network's, or would run code.
    """
    path = find_file(folder, network.files)
    if path is None:
        return None
    sha256 = check_digest(context.source(path), network.digests)
    state = read_state(path, network.prefix)
    if not state:
        # A converted file may have the network alone.
        state = read_state(path)
    state = {key: value for key, value in state.items() if not key.startswith(network.left_out or "\0")}
    with torch.device("meta"):
        model = network.build()
    load_strictly(model, state, where=f"{network.name}, weights {str(path)!r}")
    nodes = {metric: network.layers[metric] for metric in metrics}
    if any(nodes.values()):
        nodes_out = {node: metric for metric, node in nodes.items()}
        model = create_feature_extractor(model, return_nodes=nodes_out, suppress_diff_warning=True)
    model = model.to(context.device)
    mean, std = (torch.tensor(values, device=context.device).view(3, 1, 1) for values in (network.mean, network.std))
    kind, dtype = torch.device(context.device).type, {"bfloat16": torch.bfloat16, "float16": torch.float16}

    def look(images: torch.Tensor) -> dict[str, torch.Tensor]:
        casting = torch.autocast(kind, dtype.get(context.precision), enabled=context.precision in dtype)
        with torch.inference_mode(), casting:
            found = model((resize(images, network.side) - mean) / std)
        found = found if isinstance(found, dict) else dict.fromkeys(nodes, found)
        return {metric: values.flatten(1).float() for metric, values in found.items()}

    return look, sha256
