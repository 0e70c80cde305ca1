"""What all trained encoders share: tokens in, a network trained, its state out and back."""

from __future__ import annotations

import abc
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import brainlens
from brainlens_encoding.grids import as_tokens, grid_of
from brainlens_encoding.network import Network
from brainlens_encoding.params import TrainedParams
from brainlens_encoding.plan import Data, Plan
from brainlens_encoding.rows import Rows, as_float, hold_out, moments, scale_channels
from brainlens_encoding.training import seed_of, train

NETWORK, HISTORY = "network.", "history."


class TrainedEncoder(brainlens.Trainable):
    """An encoder whose network is trained by gradients on tokens that lie on a grid.

    Attributes
    ----------
    network
        The network, of scaled tokens and standardised responses.
    about
        Sizes and choices that the network was made with.
    channel_mean, channel_scale
        Of each channel over tokens and training trials; float32.
    site_mean, site_scale
        Of each site over the training trials; float32.
    score
        R2 of each site over the held-out stimuli, by which weights were chosen; optimistic as the best of many.
    weight_decay
        Chosen for each site.
    history
        Measures of every epoch of every weight decay, by name.
    """

    # Which training a checkpoint belongs to is told by this and the parameters.
    training_version = "1"
    # Whether it is worth saying that features have no places.
    reads_places = True
    params: TrainedParams

    @abc.abstractmethod
    def describe(self, features: xr.Dataset, response: xr.Dataset) -> dict[str, Any]:
        """Return what the network is made from beside sizes of features and responses, as JSON can hold it."""

    @abc.abstractmethod
    def make_network(self, about: Mapping[str, Any]) -> Network:
        """Return the untrained network; random numbers are torch's, and were seeded."""

    def prepare(self, data: Data) -> Data:
        """Return data with what else is to be learnt; called before the network is made."""
        return data

    def make_plan(self) -> Plan:
        """Return how long and how is trained."""
        params = self.params
        return Plan(
            epochs=params.epochs, batch_size=params.batch_size, learning_rate=params.learning_rate,
            weight_decays=params.weight_decays, patience=params.patience, memory_mb=params.memory_mb,
            checkpoint_s=params.checkpoint_s, seed=self.context.seed,
        )  # fmt: skip

    def fit(self, features: xr.Dataset, response: xr.Dataset) -> None:
        """Train on the trials, but for a share of the stimuli that decides when to stop and what to choose.

        Parameters
        ----------
        features
            `embedding` of dims (trial, token, channel), tokens on a grid (`attrs["grid"]`, or a square), or (trial,
            channel), which is a grid of one cell; row for row the trials of `response`; may be lazy and larger than
            memory.
        response
            Dims (trial, voxel) or (trial, vertex), with `stimulus_id` (trial); may be lazy and larger than memory.

        Raises
        ------
        DimensionError
            If tokens lie on no grid, channels do not vary, values are not finite, no site varies, or there are fewer
            than four stimuli.
        CheckpointError
            If the folder of intermediate files holds a checkpoint of another training.
        DeviceError
            If another precision than float32 is asked for, or the loss is not finite.
        """
        params, device = self.params, self.context.device
        if self.context.precision != "float32":
            raise brainlens.DeviceError(
                f"precision: expected 'float32', found {self.context.precision!r}. Leave it out."
            )
        array = response["response"]
        grid = grid_of(features, skip=params.skip_tokens)
        if grid == (1, 1) and self.reads_places:
            self.context.log.warning("features have one token: every site reads the whole image.")
        training, held_out = hold_out(response["stimulus_id"].values, params.validation, self.context.rng(0))
        resident = int(params.memory_mb * 2**20)
        tokens = Rows(as_tokens(features["embedding"], skip=params.skip_tokens), device=device, resident_bytes=resident)
        answers = Rows(array, device=device, resident_bytes=resident)
        name = str(features.attrs.get("model", "features"))
        channels = moments(tokens, training, over_tokens=True, called=f"feature space {name!r}")
        sites = moments(answers, training, over_tokens=False, called="response")
        if not sites.std.any():
            raise brainlens.DimensionError(
                f"response: expected a site that varies over the {len(training)} training trials, found "
                f"{len(sites.std)} constant ones. Check which trials were chosen."
            )
        self.channel_mean = channels.mean
        self.channel_scale = scale_channels(channels, scale=params.scale, name=name, n_trials=len(training))
        self.site_mean, self.site_scale = sites.mean, np.where(sites.std > 0, sites.std, np.float32(1))
        self.about = {
            "site": str(array.dims[1]),
            "n_sites": array.shape[1],
            "n_channels": tokens.shape[2],
            "grid": list(grid),
            "skip": params.skip_tokens,
            **self.describe(features, response),
        }
        data = Data(
            tokens=lambda rows: self._scaled(tokens.take(rows)),
            response=answers,
            mean=as_float(self.site_mean).to(device),
            scale=as_float(self.site_scale).to(device),
            training=training,
            held_out=held_out,
        )
        data = self.prepare(data)
        self.network = self._seeded_network()
        identity = f"{type(self).__name__} {self.training_version}, {self.about!r}, {params!r}"
        found = train(self.network, self._seeded_network, data, self.make_plan(),
                      context=self.context, identity=identity)  # fmt: skip
        self.score, self.weight_decay, self.history = found.score, found.weight_decay, found.history

    def predict(self, features: xr.Dataset) -> xr.Dataset:
        """Predict the response to each trial or stimulus.

        Parameters
        ----------
        features
            As in `fit`, any trials.

        Returns
        -------
        Dataset
            `response` (trial, voxel) or (trial, vertex), float32.

        Raises
        ------
        DimensionError
            If the number of tokens or channels is another than in `fit`.
        """
        array = features["embedding"]
        made = np.empty((array.shape[0], self.about["n_sites"]), np.float32)
        for start in range(0, len(made), self.params.batch_size):
            rows = slice(start, start + self.params.batch_size)
            with torch.inference_mode():
                made[rows] = self.network(self.tokens(features.isel(trial=rows))).cpu().numpy()
        made *= self.site_scale
        made += self.site_mean
        return xr.Dataset({"response": (("trial", self.about["site"]), made)})

    def differentiate(self, features: xr.Dataset) -> brainlens.Differentiated:
        """Predict, and say how a gradient comes back, by automatic differentiation of the network.

        Parameters
        ----------
        features
            As in `predict`; few enough trials for one batch.

        Returns
        -------
        Differentiated
            `value`: what `predict` returns; `pull_back`: from (trial, site) to the shape of the features' embedding,
            0 at tokens that are skipped.

        Raises
        ------
        DimensionError
            As in `predict`.
        """
        tokens = self.tokens(features).requires_grad_()
        with torch.enable_grad():
            made = self.network(tokens)
        scale = as_float(self.site_scale).to(made.device)
        shape = features["embedding"].shape

        def pull_back(gradient: np.ndarray) -> np.ndarray:
            given = torch.from_numpy(np.ascontiguousarray(gradient, np.float32)).to(made.device)
            (found,) = torch.autograd.grad(made, tokens, given * scale)
            found = found / as_float(self.channel_scale).to(found.device)
            whole = np.zeros((shape[0], math.prod(shape[1:-1]), shape[-1]), np.float32)
            whole[:, self.about["skip"] :] = found.cpu().numpy()
            return whole.reshape(shape)

        values = made.detach().cpu().numpy() * self.site_scale + self.site_mean
        return brainlens.Differentiated(xr.Dataset({"response": (("trial", self.about["site"]), values)}), pull_back)

    def tokens(self, features: xr.Dataset) -> Tensor:
        """Return the scaled tokens of all trials of features, on the device.

        Raises
        ------
        DimensionError
            If the number of tokens or channels is another than in `fit`.
        """
        array = as_tokens(features["embedding"], skip=self.about["skip"])
        expected = (self.about["grid"][0] * self.about["grid"][1], self.about["n_channels"])
        if array.shape[1:] != expected:
            raise brainlens.DimensionError(
                f"features: expected {expected[0]} tokens of {expected[1]} channels as the encoder was fitted to, "
                f"found {' x '.join(map(str, array.shape[1:]))}. Give the same feature space."
            )
        return self._scaled(as_float(array.values).to(self.context.device))

    def _scaled(self, tokens: Tensor) -> Tensor:
        mean, scale = (as_float(each).to(tokens.device) for each in (self.channel_mean, self.channel_scale))
        return (tokens - mean) / scale

    def _seeded_network(self) -> Network:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self.context.seed, 0))
            return self.make_network(self.about)

    def state(self) -> dict[str, np.ndarray]:
        """Return weights, scaling, what was chosen, and the history."""
        return {
            **{NETWORK + name: value.cpu().numpy() for name, value in self.network.state_dict().items()},
            **{HISTORY + name: np.array(values) for name, values in self.history.items()},
            "channel_mean": self.channel_mean,
            "channel_scale": self.channel_scale,
            "site_mean": self.site_mean,
            "site_scale": self.site_scale,
            "score": self.score,
            "weight_decay": self.weight_decay,
            "about": np.frombuffer(json.dumps(self.about).encode(), np.uint8),
        }

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state` returned.

        Raises
        ------
        CheckpointError
            If a weight is missing, of another shape, or not expected.
        """
        self.about = json.loads(bytes(state["about"]).decode())
        for name in ("channel_mean", "channel_scale", "site_mean", "site_scale", "score", "weight_decay"):
            setattr(self, name, np.array(state[name]))
        self.history = {
            name.removeprefix(HISTORY): values.tolist() for name, values in state.items() if name.startswith(HISTORY)
        }
        weights = {
            name.removeprefix(NETWORK): torch.from_numpy(np.array(values))
            for name, values in state.items()
            if name.startswith(NETWORK)
        }
        self.network = self._seeded_network()
        try:
            self.network.load_state_dict(weights)
        except RuntimeError as error:
            raise brainlens.CheckpointError(
                f"{type(self).__name__}: expected the weights of this network, found others: "
                f"{' '.join(str(error).split())} Fit the model again."
            ) from error
        self.network.to(self.context.device).eval()
