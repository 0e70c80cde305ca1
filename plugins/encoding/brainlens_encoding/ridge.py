"""The encoder `encoding.ridge`: datasets in, learnt arrays and predicted responses out.

The arithmetic is in `solver`, batches of sites in `sites`, features as a matrix in `spaces`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr

import brainlens
from brainlens_encoding import sites, solver, spaces


class RidgeEncoder(brainlens.Trainable):
    """Predict responses from features by ridge regression, with a penalty for each site.

    Minimises |Y - X B|^2 + alpha sum_s |B_s|^2 / g_s for each site, where B_s are the weights of the features of space
    s and g_s is its scaling, 1 where there is one space. X are the features, centred and divided as `scale` says, Y the
    responses, centred. alpha and g are chosen by cross-validation over inner folds of the training trials.

    Attributes
    ----------
    coef_
        Weights of the scaled features; dims (feature, site); float32.
    intercept_
        Mean of the training responses, shape (n_sites,), float32:
        response = (features - feature_mean_) / feature_scale_ @ coef_ + intercept_.
    feature_mean_, feature_scale_, space_
        Of each feature: mean over the training trials, what it is divided by, number of its space.
    alpha_, band_scaling_
        Chosen penalty (site) and scalings (space, site), float64.
    cv_score_
        R2 over all held-out trials at these, against the training mean; (site), float32; absent where there was
        nothing to choose.

    References
    ----------
    Hoerl & Kennard (1970), doi:10.1080/00401706.1970.10488634. Several spaces: Nunez-Elizalde et al. (2019),
    doi:10.1016/j.neuroimage.2019.04.012.

    Examples
    --------
    >>> from brainlens_encoding.params import RidgeParams
    >>> rng = np.random.default_rng(0)
    >>> shown = {"trial": np.arange(40), "stimulus_id": ("trial", np.arange(40))}
    >>> values = rng.standard_normal((40, 3), dtype="float32")
    >>> features = xr.Dataset({"embedding": (("trial", "channel"), values)}, shown, {"model": "toy"})
    >>> response = xr.Dataset({"response": (("trial", "voxel"), values @ np.ones((3, 2), "float32"))}, shown)
    >>> encoder = RidgeEncoder(RidgeParams(), brainlens.Context())
    >>> encoder.fit(features, response.assign_coords(voxel=[0, 1]))
    >>> encoder.predict(features)["response"].dims
    ('trial', 'voxel')
    """

    def fit(self, features: xr.Dataset | list[xr.Dataset], response: xr.Dataset) -> None:
        """Choose penalties on inner folds, then fit all trials.

        Parameters
        ----------
        features
            `embedding` of dims (trial, channel) or (trial, token, channel), or a list of several, row for row the
            trials of `response`; each with its name in `attrs["model"]`.
        response
            Dims (trial, voxel) or (trial, vertex), with the coordinate `cv_by` (trial); read some sites at a time.

        Raises
        ------
        DimensionError
            If features do not vary or are not finite, `cv_by` is no coordinate of trials, or there is one trial.
        ParameterError
            If `cv_by` has one label only, or workers are asked for on a GPU.
        DeviceError
            If another precision than float32 is asked for.
        """
        self._check(response)
        given = features if isinstance(features, list) else [features]
        table = spaces.stack(given)
        names = [str(each.attrs.get("model", f"number {number}")) for number, each in enumerate(given)]
        scaling = spaces.find_scaling(table, spaces.number_spaces(given), scale=self.params.scale, names=names)
        scalings = self.scalings(len(given))
        problem, order = self._prepare(table, scaling, response, n_choices=len(set(self.params.alphas)) * len(scalings))
        budget = sites.make_budget(problem, memory_mb=self.params.memory_mb)
        array = response["response"]
        self._site = str(array.dims[1])

        def read(columns: slice) -> np.ndarray:
            return np.asarray(array[:, columns].values)[order]

        choice = sites.choose(
            problem, read, array.shape[1], alphas=self.params.alphas, scalings=scalings,
            alpha_per=self.params.alpha_per, budget=budget, context=self.context, n_workers=self.params.n_workers,
        )  # fmt: skip
        self.coef_, self.intercept_ = sites.fit(
            problem, read, choice, scalings=scalings, budget=budget, context=self.context,
            n_workers=self.params.n_workers,
        )  # fmt: skip
        self.feature_mean_, self.feature_scale_, self.space_ = scaling.mean, scaling.scale, scaling.space
        self.alpha_, self.band_scaling_ = choice.alpha, scalings[choice.scaling].T
        if choice.score is not None:
            self.cv_score_ = choice.score
        self.on_vertices_ = np.array(self._site == "vertex")
        self._moved = None

    def scalings(self, n_spaces: int) -> np.ndarray:
        """Return the scalings of the feature spaces that are tried; shape (n_combinations, n_spaces)."""
        return np.ones((1, n_spaces))

    def predict(self, features: xr.Dataset | list[xr.Dataset]) -> xr.Dataset:
        """Predict the response to each trial or stimulus.

        Parameters
        ----------
        features
            As in `fit`, the same spaces in the same order, any trials.

        Returns
        -------
        Dataset
            `response` (trial, voxel) or (trial, vertex), float32.

        Raises
        ------
        DimensionError
            If the number of features is another than in `fit`.
        """
        table = spaces.stack(features if isinstance(features, list) else [features])
        if table.shape[1] != len(self.feature_mean_):
            raise brainlens.DimensionError(
                f"features: expected the {len(self.feature_mean_)} that the encoder was fitted to, found "
                f"{table.shape[1]}. Give the same feature spaces."
            )
        scaled = spaces.apply_scaling(table, self.feature_mean_, self.feature_scale_)
        site = "vertex" if self.on_vertices_ else "voxel"
        return xr.Dataset({"response": (("trial", site), self._times_weights(scaled) + self.intercept_)})

    def differentiate(self, features: xr.Dataset | list[xr.Dataset]) -> brainlens.Differentiated:
        """Predict, and say how a gradient comes back: through the weights, which are the same for all features.

        Parameters
        ----------
        features
            As in `predict`.

        Returns
        -------
        Differentiated
            `value`: what `predict` returns; `pull_back`: from (trial, site) to the shape of the features' embedding, or
            to a list of these where features are a list.

        Raises
        ------
        DimensionError
            As in `predict`.
        """
        given = features if isinstance(features, list) else [features]
        shapes = [each["embedding"].shape for each in given]
        edges = np.cumsum([math.prod(shape[1:]) for shape in shapes])[:-1]

        def pull_back(gradient: np.ndarray) -> np.ndarray | list[np.ndarray]:
            parts = np.split(gradient @ self.coef_.T / self.feature_scale_, edges, axis=1)
            found = [part.reshape(shape).astype(np.float32) for part, shape in zip(parts, shapes, strict=True)]
            return found if isinstance(features, list) else found[0]

        return brainlens.Differentiated(self.predict(features), pull_back)

    _moved: torch.Tensor | None = None

    def _times_weights(self, scaled: np.ndarray) -> np.ndarray:
        if self.context.device == "cpu":
            return np.asarray(scaled @ self.coef_)
        if self._moved is None:
            self._moved = torch.tensor(self.coef_, device=self.context.device)
        moved = torch.from_numpy(scaled).to(self.context.device)
        return np.asarray((moved @ self._moved).cpu().numpy())

    def _check(self, response: xr.Dataset) -> None:
        if self.context.precision != "float32":
            raise brainlens.DeviceError(
                f"precision: expected 'float32', found {self.context.precision!r}; ridge needs all its digits."
            )
        if self.params.n_workers and torch.device(self.context.device).type != "cpu":
            raise brainlens.ParameterError(
                f"n_workers: expected 0 on device {self.context.device!r}, found {self.params.n_workers}. Batches "
                "share the device; spread them over processes on the CPU only."
            )
        if response.sizes["trial"] < 2:
            raise brainlens.DimensionError(
                f"response: expected at least 2 trials to fit, found {response.sizes['trial']}."
            )

    def _prepare(
        self, table: np.ndarray, scaling: spaces.Scaling, response: xr.Dataset, *, n_choices: int
    ) -> tuple[solver.Problem, np.ndarray]:
        """Return the problem, trials of an inner fold in a row, and the order of the trials in it."""
        fold = np.zeros(len(table), np.int64)
        if n_choices > 1:
            fold = inner_folds(response, self.params.cv_by, n_folds=self.params.cv_folds, seed=self.context.seed)
        order = np.argsort(fold, kind="stable")
        edges = np.concatenate([[0], np.cumsum(np.bincount(fold))]).tolist()
        scaled = spaces.apply_scaling(table[order], scaling.mean, scaling.scale)
        # The solver counts on features that add up to 0; what rounding to float32 left of the mean is taken off.
        scaled -= scaled.mean(axis=0, dtype=np.float64).astype(np.float32)
        features = torch.from_numpy(scaled).to(self.context.device)
        space = torch.from_numpy(scaling.space).to(self.context.device)
        return solver.make_problem(features, space, folds=list(zip(edges[:-1], edges[1:], strict=True))), order


def inner_folds(response: xr.Dataset, by: str, *, n_folds: int, seed: int) -> np.ndarray:
    """Return the inner fold of each trial, from 0; trials with the same label in `by` are in the same fold.

    Raises
    ------
    DimensionError
        If there is no such coordinate on trials.
    ParameterError
        If it has one label only.
    """
    labels = np.unique(response[by].values) if by in response.coords else np.empty(0)
    if len(labels) == 1:
        raise brainlens.ParameterError(
            f"cv_by={by!r}: expected at least 2 labels to make inner folds of, found {brainlens.listed(labels)} in all "
            f"{response.sizes['trial']} training trials. Give another coordinate, or one alpha, which needs no folds."
        )
    fold = np.empty(response.sizes["trial"], np.int64)
    parts = brainlens.folds(response, by, n_folds=n_folds if len(labels) > n_folds else None, seed=seed)
    for number, part in enumerate(parts):
        fold[part.test] = number
    return fold
