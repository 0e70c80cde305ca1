"""The encoder `encoding.aligned`: features that are trained on responses and held to what was said of the images.

What the network is, is in `aligned_network`; how it is trained in `training`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import brainlens
from brainlens_encoding.aligned_network import (
    Adapter,
    AlignedNetwork,
    Components,
    Convolutions,
    Direct,
    Head,
    contrastive_loss,
)
from brainlens_encoding.aligned_params import AlignedParams
from brainlens_encoding.axes import principal_axes
from brainlens_encoding.convolutions import refuse_small
from brainlens_encoding.grids import grid_of
from brainlens_encoding.network import Network, Shared
from brainlens_encoding.params import RidgeParams
from brainlens_encoding.plan import Data, Plan
from brainlens_encoding.ridge import RidgeEncoder
from brainlens_encoding.trained import TrainedEncoder

if TYPE_CHECKING:
    from brainlens_encoding.tower import PublicTower

# Trials of which responses are read at once for their principal axes.
BLOCK = 256


class AlignedEncoder(TrainedEncoder):
    """Predict responses from an image embedding that is trained, and that captions of the training images help to find.

    A tower takes features or pixels to an embedding, which all sites read. Beside the squared error of the responses
    the embedding has to tell the caption of its own image from those of the other images of the batch, by a linear map
    into the space of the captions. Captions are of training stimuli alone, and are not needed to predict.

    References
    ----------
    After LLM-VEM (arXiv:2401.03851), which is known here by its abstract and second hand: its exact losses, their
    weights and the order of its stages are not. Differs: the tower is an adapter of frozen features, a small one of its
    own, or any model of timm, of which some blocks are trained; trials of one stimulus are no negatives; stages are
    what `align_epochs` and `alignment` say; weights of sites are fitted once more by ridge, unless `refit=False`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> shown = {"trial": np.arange(40), "stimulus_id": ("trial", np.arange(40))}
    >>> values = rng.standard_normal((40, 6), dtype="float32")
    >>> features = xr.Dataset({"embedding": (("trial", "channel"), values)}, shown, {"model": "toy"})
    >>> response = xr.Dataset({"response": (("trial", "voxel"), values[:, :2])}, shown).assign_coords(voxel=[0, 1])
    >>> encoder = AlignedEncoder(AlignedParams(epochs=2, width=8), brainlens.Context())
    >>> encoder.fit(features, response, text=features)
    >>> encoder.predict(features)["response"].dims
    ('trial', 'voxel')
    """

    params: AlignedParams
    reads_places = False
    _said: np.ndarray | None = None
    _labels: np.ndarray | None = None
    _axes: np.ndarray | None = None
    # Of a model of timm, before it is trained here; a stored network knows its own.
    _weights: dict[str, Tensor] | None = None

    def fit(self, features: xr.Dataset, response: xr.Dataset, *, text: xr.Dataset | None = None) -> None:
        """Train on the trials, as every trained encoder does.

        Parameters
        ----------
        features, response
            As in `TrainedEncoder.fit`.
        text
            `embedding` (trial, channel) of captions, row for row the trials; may be left out with alignment=0.

        Raises
        ------
        ParameterError
            If there are no captions to align with, or more components than sites or training trials.
        DimensionError
            If captions have tokens, are not finite, or are all the same; and as in `TrainedEncoder.fit`.
        CheckpointError, DeviceError
            As in `TrainedEncoder.fit`.
        """
        wanted = self.params.alignment > 0
        if wanted and text is None:
            raise brainlens.ParameterError(
                f"text: expected an embedding of captions to align with, found none, with alignment="
                f"{self.params.alignment:g}. Give one, such as mini.text or stimuli.transformers_text make, or "
                "alignment=0."
            )
        self._said = _check_text(text) if wanted and text is not None else None
        self._labels = np.unique(response["stimulus_id"].values, return_inverse=True)[1]
        super().fit(features, response)
        self._weights = None
        if self.params.head == "direct" and self.params.refit:
            self._refit(features, response)

    def describe(self, features: xr.Dataset, response: xr.Dataset) -> dict[str, Any]:
        """Return the sizes of the network.

        Raises
        ------
        DimensionError
            If the image is too small to be halved so often, or not as a model of timm takes it.
        CheckpointError, ParameterError
            As `tower.describe_tower`.
        """
        params = self.params
        about: dict[str, Any] = {
            "tower": params.tower,
            "width": params.width,
            "dropout": params.dropout,
            "n_text": 0 if self._said is None else self._said.shape[1],
            "n_components": params.n_components if params.head == "pca" else 0,
        }
        if params.tower == "timm":
            return about | self._describe_public(features)
        if params.tower == "adapter":
            return about | {"token_width": params.token_width}
        refuse_small(grid_of(features, skip=params.skip_tokens), len(params.channels))
        return about | {"widths": list(params.channels)}

    def _describe_public(self, features: xr.Dataset) -> dict[str, Any]:
        """Return what a model of timm is made from, and what is done to scaled tokens before it.

        Raises
        ------
        DimensionError
            If images have other colours or another size than the model takes.
        CheckpointError, ParameterError
            As `tower.describe_tower`.
        """
        from brainlens_encoding.tower import describe_tower, read_weights

        params = self.params
        folder = self.context.source(params.model)
        about = describe_tower(folder, params.sha256, params.trained_blocks)
        expected, grid = about["input"], grid_of(features, skip=params.skip_tokens)
        n_colours = features["embedding"].sizes["channel"]
        if n_colours != expected["size"][0]:
            raise brainlens.DimensionError(
                f"features: expected pixels of {expected['size'][0]} colours as {about['architecture']!r} takes them, "
                f"found {n_colours} channels. Give what encoding.pixels makes of the images."
            )
        if list(grid) != expected["size"][1:] and not params.resize:
            raise brainlens.DimensionError(
                f"features: expected images of {' x '.join(map(str, expected['size'][1:]))} pixels as "
                f"{about['architecture']!r} takes them, found {grid[0]} x {grid[1]}. Store the images in that size, or "
                "say resize=True."
            )
        self._weights = read_weights(folder, about)
        scale = np.broadcast_to(self.channel_scale, n_colours) / np.array(expected["std"])
        offset = (self.channel_mean - np.array(expected["mean"])) / np.array(expected["std"])
        chosen = {"trained_blocks": params.trained_blocks, "tower_rate": params.tower_rate}
        return about | chosen | {"factor": scale.tolist(), "offset": offset.tolist()}

    def prepare(self, data: Data) -> Data:
        """Find the principal axes of the training responses, and scale captions by the training trials."""
        params = self.params
        if params.head == "pca":
            most = min(len(data.mean), len(data.training) - 1)
            if params.n_components > most:
                raise brainlens.ParameterError(
                    f"n_components: expected at most {most}, with {len(data.mean)} sites and {len(data.training)} "
                    f"training trials, found {params.n_components}. Give fewer, or head='direct'."
                )
            self._axes, _ = principal_axes(
                lambda: _blocks(data), n_sites=len(data.mean), n_axes=params.n_components, rng=self.context.rng(1)
            )
        if self._said is None:
            return data
        said = _unit(self._said - self._said[data.training].mean(axis=0))
        device = data.mean.device
        texts, labels = torch.from_numpy(said).to(device), torch.from_numpy(self._labels).to(device)

        def align(network: Network, shared: Shared, *, rows: np.ndarray) -> Tensor:
            assert isinstance(network, AlignedNetwork)
            chosen = torch.from_numpy(rows).to(device)
            expected = network.say(shared)
            loss = contrastive_loss(expected, texts[chosen], labels[chosen], temperature=params.temperature)
            return params.alignment * loss

        return replace(data, beside=align)

    def _refit(self, features: xr.Dataset, response: xr.Dataset) -> None:
        """Fit the weights of sites by ridge from the image embeddings of all trials, those held out as well."""
        network = self.network
        assert isinstance(network, AlignedNetwork)
        assert isinstance(network.sites, Direct)
        seen = np.empty((features.sizes["trial"], network.width), np.float32)
        for start in range(0, len(seen), self.params.batch_size):
            rows = slice(start, start + self.params.batch_size)
            with torch.inference_mode():
                seen[rows] = network.share(self.tokens(features.isel(trial=rows)))[0].cpu().numpy()
        trials = {name: coord for name, coord in response.coords.items() if coord.dims == ("trial",)}
        embedding = xr.Dataset({"embedding": (("trial", "channel"), seen)}, trials, {"model": "image embedding"})
        ridge = RidgeEncoder(RidgeParams(scale="space", memory_mb=self.params.memory_mb), self.context)
        ridge.fit(embedding, response)
        weights = ridge.coef_ / ridge.feature_scale_[:, None]
        vector = (weights / self.site_scale).T
        bias = (ridge.intercept_ - ridge.feature_mean_ @ weights - self.site_mean) / self.site_scale
        with torch.no_grad():
            network.sites.vector.copy_(torch.from_numpy(vector))
            network.sites.bias.copy_(torch.from_numpy(bias))

    def make_plan(self) -> Plan:
        """Return how long and how is trained."""
        return replace(super().make_plan(), lead_epochs=self.params.align_epochs)

    def make_network(self, about: Mapping[str, Any]) -> Network:
        """Return the untrained network."""
        grid, n_sites, width = tuple(about["grid"]), about["n_sites"], about["width"]
        tower: Adapter | Convolutions | PublicTower
        if about["tower"] == "timm":
            tower = self._make_public(about)
        elif about["tower"] == "adapter":
            tower = Adapter(
                n_tokens=grid[0] * grid[1], n_channels=about["n_channels"], token_width=about["token_width"],
                width=width, dropout=about["dropout"],
            )  # fmt: skip
        else:
            tower = Convolutions(
                grid=grid, n_channels=about["n_channels"], widths=about["widths"], width=width, dropout=about["dropout"]
            )
        head: Head = Direct(n_sites, width)
        if about["n_components"]:
            # A stored network knows its axes itself.
            axes = np.zeros((n_sites, about["n_components"]), np.float32) if self._axes is None else self._axes
            head = Components(torch.from_numpy(axes.copy()), width)
        # Models that were stored before there were such towers say nothing of them.
        return AlignedNetwork(tower, head, width=width, n_text=about["n_text"], tower_rate=about.get("tower_rate", 1.0))

    def _make_public(self, about: Mapping[str, Any]) -> PublicTower:
        from brainlens_encoding.tower import PublicTower, build

        model = build(about)
        if self._weights is not None:
            model.load_state_dict(self._weights)
        return PublicTower(
            model, grid=tuple(about["grid"]), size=tuple(about["input"]["size"][1:]), factor=about["factor"],
            offset=about["offset"], trained_blocks=about["trained_blocks"], width=about["width"],
            dropout=about["dropout"],
        )  # fmt: skip


def _check_text(text: xr.Dataset) -> np.ndarray:
    """Return an embedding of captions, (trial, channel), float32.

    Raises
    ------
    DimensionError
        If it has tokens, is not finite, or is the same for all trials.
    """
    values = text["embedding"]
    if values.ndim != 2:
        raise brainlens.DimensionError(
            f"text: expected one embedding of each caption, dims (trial, channel), found {values.dims}. Pool the "
            "tokens, or embed captions as a whole."
        )
    found: np.ndarray = values.values.astype(np.float32)
    if not np.isfinite(found).all():
        raise brainlens.DimensionError(
            f"text: expected finite values, found {int((~np.isfinite(found)).any(axis=1).sum())} of {len(found)} "
            "trials with others. Embed the captions again."
        )
    if not np.ptp(found, axis=0).any():
        raise brainlens.DimensionError(
            f"text: expected captions that differ, found one embedding for all {len(found)} trials. Check which "
            "captions were embedded."
        )
    return found


def _unit(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


def _blocks(data: Data) -> Iterator[Tensor]:
    """Return standardised responses of the training trials, some at a time."""
    for start in range(0, len(data.training), BLOCK):
        yield data.responses(data.training[start : start + BLOCK])
