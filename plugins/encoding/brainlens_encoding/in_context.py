"""The encoder `encoding.in_context`: trained across sites and subjects, it reads the weights of new ones off a context.

The network is in `in_context_network`, its training in `in_context_learning`, the axes it reads in `population`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import xarray as xr

import brainlens
from brainlens_encoding import spaces
from brainlens_encoding.in_context_learning import Subject, make_network, part_subject, train
from brainlens_encoding.in_context_network import N_REGISTERS, InContextNetwork
from brainlens_encoding.population import find_axes

_PARTS = 2
_NETWORK = "network."
# Numbers that a token costs in the network, as multiples of its width, while it is read.
_COST = 16


class InContextEncoder(brainlens.Trainable):
    """Map a few images and the responses of a site to its weights, with no fitting to that site (BraInCoRL).

    Fitted to several subjects, it learns what sites have in common. Fitted from such a model to the responses of one
    subject, it learns nothing: their training trials are the context that weights are read from. Fitted to one subject
    alone it does both, one after the other.

    Attributes
    ----------
    axes_
        Axes of the scaled features that the network reads; dims (feature, axis); float32.
    coef_, intercept_
        Weights of the scaled features (feature, site), and intercepts (site); float32; of one subject only:
        response = (features - feature_mean_) / feature_scale_ @ coef_ + intercept_.
    feature_mean_, feature_scale_, space_
        Of each feature: mean and root mean variance over the training trials of all subjects, and 0.
    explained_
        Share of the variance of held-out sites and stimuli, noise included, after each tenth of the training.

    References
    ----------
    Yu et al. (2025), Meta-learning an in-context transformer model of human higher visual cortex, arXiv:2505.15813.

    Examples
    --------
    >>> from brainlens_encoding.in_context_params import InContextParams
    >>> rng = np.random.default_rng(0)
    >>> shown = {"trial": np.arange(60), "stimulus_id": ("trial", np.arange(60))}
    >>> values = rng.standard_normal((60, 3), dtype="float32")
    >>> features = xr.Dataset({"embedding": (("trial", "channel"), values)}, shown, {"model": "toy"})
    >>> measured = values @ rng.standard_normal((3, 8), dtype="float32")
    >>> response = xr.Dataset({"response": (("trial", "voxel"), measured)}, shown)
    >>> encoder = InContextEncoder(InContextParams(steps=2, width=8, depth=1), brainlens.Context())
    >>> encoder.fit([features], [response.assign_coords(voxel=np.arange(8))])
    >>> encoder.predict(features)["response"].sizes["voxel"]
    8
    """

    _started: bool = False

    def start_from(self, state: Mapping[str, np.ndarray], model: xr.Dataset) -> None:
        """Take over axes and network; what the model knows of its own sites is left behind.

        Raises
        ------
        ParameterError
            If its network has another shape than the parameters say.
        """
        kept = {name: value for name, value in state.items() if name not in ("coef_", "intercept_", "on_vertices_")}
        self.load_state(kept)
        self._model_name = str(model.attrs["model"])
        self._started = True

    def fit(self, features: Sequence[xr.Dataset], responses: Sequence[xr.Dataset]) -> None:
        """Train the network, unless it is there; then read the weights of the sites, unless there are several subjects.

        Parameters
        ----------
        features
            For each subject `embedding` of dims (trial, channel), row for row the trials of its response.
        responses
            For each subject `response` of dims (trial, voxel) or (trial, vertex), standardised, with the coordinate
            `stimulus_id` (trial). All are read into memory.

        Raises
        ------
        DimensionError
            If features have tokens, do not vary, are not finite, or are not those of the model that it starts from; or
            there are fewer than 4 stimuli.
        CheckpointError, DeviceError
            If training is gone on with from a damaged file, or leads to a loss that is not finite.
        """
        self._check(features)
        tables = [spaces.stack([each]) for each in features]
        if not self._started:
            self._scale(tables, str(features[0].attrs.get("model", "")))
        scaled = [spaces.apply_scaling(each, self.feature_mean_, self.feature_scale_) for each in tables]
        measured = [np.asarray(each["response"].values, np.float32) for each in responses]
        if not self._started:
            self.axes_ = find_axes(zip(scaled, measured, strict=True), self.params.n_axes)
            self._network = make_network(self.axes_.shape[1], self.params, self.context)
        if not self._started and len(responses) == 1:
            self.context.log.warning(
                "in-context encoder: trained on the sites of one subject alone, who is then read as well; give several "
                "subjects first, and fit the new one with start=MODEL."
            )
        if not self._started or len(responses) > 1:
            subjects = [
                self._part(number, table, values, response)
                for number, (table, values, response) in enumerate(zip(scaled, measured, responses, strict=True))
            ]
            self.explained_ = np.array(train(self._network, subjects, self.params, self.context))
        if len(responses) == 1:
            self.coef_, self.intercept_ = self._read(scaled[0] @ self.axes_, measured[0])
            self.on_vertices_ = np.array("vertex" in responses[0]["response"].dims)

    def predict(self, features: xr.Dataset) -> xr.Dataset:
        """Predict the response to each trial or stimulus.

        Parameters
        ----------
        features
            `embedding` (trial, channel) of the same feature space, any trials.

        Returns
        -------
        Dataset
            `response` (trial, voxel) or (trial, vertex), float32.

        Raises
        ------
        DimensionError
            If it was fitted to several subjects, whose sites it has no weights of; or features are others.
        """
        if not hasattr(self, "coef_"):
            raise brainlens.DimensionError(
                "encoding.in_context: expected an encoder of one subject, found one of several. Fit one to the "
                "responses of the subject in question, with start=..."
            )
        table = spaces.stack([features])
        self._refuse_other_width(table.shape[1])
        scaled = spaces.apply_scaling(table, self.feature_mean_, self.feature_scale_)
        site = "vertex" if self.on_vertices_ else "voxel"
        return xr.Dataset({"response": (("trial", site), scaled @ self.coef_ + self.intercept_)})

    def differentiate(self, features: xr.Dataset) -> brainlens.Differentiated:
        """Predict, and say how a gradient comes back: through the weights that were read from the context.

        Returns
        -------
        Differentiated
            `value`: what `predict` returns; `pull_back`: from (trial, site) to the shape of the features' embedding.

        Raises
        ------
        DimensionError
            As in `predict`.
        """
        value = self.predict(features)
        shape = features["embedding"].shape

        def pull_back(gradient: np.ndarray) -> np.ndarray:
            back = gradient @ self.coef_.T / self.feature_scale_
            return back.reshape(shape).astype(np.float32)

        return brainlens.Differentiated(value, pull_back)

    def state(self) -> dict[str, np.ndarray]:
        """Return what was learnt: arrays, and the weights of the network by their names."""
        network = {f"{_NETWORK}{name}": value.cpu().numpy() for name, value in self._network.state_dict().items()}
        return {**super().state(), **network}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state` returned.

        Raises
        ------
        ParameterError
            If the network has another shape than the parameters say.
        """
        own = {name: value for name, value in state.items() if not name.startswith(_NETWORK)}
        super().load_state(own)
        self._network = make_network(self.axes_.shape[1], self.params, self.context)
        learnt = {
            name.removeprefix(_NETWORK): torch.from_numpy(np.array(value))
            for name, value in state.items()
            if name not in own
        }
        try:
            self._network.load_state_dict(learnt, strict=True)
        except RuntimeError as error:
            raise brainlens.ParameterError(
                "encoding.in_context: expected the parameters width, depth, n_heads and spanned of the model that it "
                f"starts from, found others: {' '.join(str(error).split())[:200]}"
            ) from error
        self._network.eval()

    def _check(self, features: Sequence[xr.Dataset]) -> None:
        for each in features:
            if each["embedding"].ndim != 2:
                raise brainlens.DimensionError(
                    f"feature space {each.attrs.get('model')!r}: expected dims (trial, channel), found "
                    f"({', '.join(map(str, each['embedding'].dims))}). Pool the tokens, or embed with layer='pooled'."
                )
        if self._started:
            self._refuse_other_width(features[0].sizes["channel"])
            name = str(features[0].attrs.get("model", ""))
            if name != self._model_name:
                raise brainlens.DimensionError(
                    f"start: expected features of {self._model_name!r}, which the model was trained on, found {name!r}."
                )

    def _refuse_other_width(self, found: int) -> None:
        if found != len(self.feature_mean_):
            raise brainlens.DimensionError(
                f"features: expected the {len(self.feature_mean_)} that the encoder was fitted to, found {found}. Give "
                "the same feature space."
            )

    def _scale(self, tables: Sequence[np.ndarray], name: str) -> None:
        """Find the mean of the features, and one divisor for all: a channel that hardly varies hardly matters."""
        table = np.concatenate(tables) if len(tables) > 1 else tables[0]
        number = np.zeros(table.shape[1], np.int64)
        found = spaces.find_scaling(table, number, scale="space", names=[name])
        self.feature_mean_, self.feature_scale_, self.space_ = found.mean, found.scale, found.space

    def _part(self, number: int, scaled: np.ndarray, measured: np.ndarray, response: xr.Dataset) -> Subject:
        return part_subject(
            scaled @ self.axes_, measured, response["stimulus_id"].values, share=self.params.validation,
            rng=self.context.rng(_PARTS, number),
        )  # fmt: skip

    def _read(self, features: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights of the scaled features (feature, site), and intercepts, of all sites of a subject."""
        n_trials, n_sites = measured.shape
        n_parts = -(-n_trials // self.params.most_context)
        # Trials of a session lie together: parts that take every so-many-th hold the same mixture.
        parts = [np.arange(n_trials)[number::n_parts] for number in range(n_parts)]
        n_tokens = len(parts[0]) + N_REGISTERS
        at_once = max(1, int(self.params.memory_mb * 2**20 / (4 * _COST * n_tokens * self.params.width)))
        weights, intercepts = np.zeros((features.shape[1], n_sites), np.float32), np.zeros(n_sites, np.float32)
        starts = range(0, n_sites, at_once)
        for start in self.context.progress(starts, label="reading sites"):
            sites = slice(start, start + at_once)
            for part in parts:
                found, level = _read_part(self._network, features[part], measured[part, sites].T, self.context)
                weights[:, sites] += found.T / n_parts
                intercepts[sites] += level / n_parts
        return self.axes_ @ weights, intercepts


@torch.no_grad()
def _read_part(
    network: InContextNetwork, features: np.ndarray, responses: np.ndarray, context: brainlens.Context
) -> tuple[np.ndarray, np.ndarray]:
    given = [torch.from_numpy(np.ascontiguousarray(each)).to(context.device) for each in (features, responses)]
    kind = torch.device(context.device).type
    with torch.autocast(kind, torch.bfloat16, enabled=context.precision == "bfloat16"):
        weights, intercepts = network(*given)
    return weights.float().cpu().numpy(), intercepts.float().cpu().numpy()
