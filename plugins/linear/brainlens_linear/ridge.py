"""The ridge decoder: datasets in, learnt arrays and predicted embeddings out.

The arithmetic is in `solver`, the choice of penalties in `search`, bands and batches in `bands` and `targets`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import xarray as xr

import brainlens
from brainlens_linear import bands, search, solver, targets


class RidgeDecoder(brainlens.Trainable):
    """Predict embeddings from responses by ridge regression, with a penalty for each target.

    Minimises |Y - X B|^2 + alpha sum_b |B_b|^2 / s_b for each target (channel of a token), where B_b are the weights
    of the voxels of band b and s_b is its scaling; X and Y are centred on the training means. alpha and s are chosen by
    cross-validation over inner folds of the training trials.

    Attributes
    ----------
    coef_
        Weights, dims (voxel, target), float32; embedding unit per response unit. Absent when the dual form is
        smaller, that is with more voxels than trials and very many targets; then these two stand for it:
    dual_, training_
        Dual coefficients (trial, target) and centred training responses (trial, voxel), float32. For a target,
        the weights of band b are s_b training_[:, b].T @ dual_. Trials are in the order of the inner folds.
    voxel_mean_, intercept_
        Means of responses (voxel) and targets (target) over the training trials, float32:
        embedding = (response - voxel_mean_) @ coef_ + intercept_.
    alpha_, band_scaling_
        Chosen penalty (target) and scalings (band, target), float64.
    cv_score_
        R2 over all held-out trials at these, against the training mean; (target), float32; not a number for targets
        that do not vary. Absent when there was one penalty and one scaling only, so nothing to choose.
    band_, target_shape_
        Number of each voxel's band (voxel); sizes of (token, channel) or of (channel,).

    References
    ----------
    Hoerl & Kennard (1970), doi:10.1080/00401706.1970.10488634. Bands: Nunez-Elizalde et al. (2019),
    doi:10.1016/j.neuroimage.2019.04.012, with the scalings on a grid instead of sampled.

    Examples
    --------
    >>> from brainlens_linear import RidgeParams
    >>> rng = np.random.default_rng(0)
    >>> shown = xr.DataArray(np.arange(40) // 2, dims="trial")
    >>> values = rng.standard_normal((40, 5), dtype="float32")
    >>> response = xr.Dataset({"response": (("trial", "voxel"), values)}, {"stimulus_id": shown, "voxel": range(5)})
    >>> target = xr.Dataset({"embedding": (("trial", "channel"), 2 * values[:, :3])})
    >>> decoder = RidgeDecoder(RidgeParams(), brainlens.Context())
    >>> decoder.fit(response, target)
    >>> decoder.alpha_
    array([0.1, 0.1, 0.1])
    >>> decoder.predict(response)["embedding"].dims
    ('trial', 'channel')
    """

    def fit(self, response: xr.Dataset, target: xr.Dataset) -> None:
        """Choose penalties on inner folds, then fit all trials.

        Parameters
        ----------
        response
            Dims (trial, voxel) or (trial, vertex), with the coordinate `cv_by` (trial).
        target
            `embedding` of dims (trial, channel) or (trial, token, channel), row for row the trials of `response`.

        Raises
        ------
        ParameterError
            If `cv_by` has one label only, or there are too many combinations of scalings.
        DimensionError
            If `cv_by` is no coordinate of trials, there is one trial, no target varies, or the bands do not divide
            the voxels.
        DeviceError
            If another precision than float32 is asked for.
        """
        self._check(response, target)
        self.band_ = bands.assign_bands(response, self.params.bands)
        scalings = bands.list_scalings(max(1, len(self.params.bands)), self.params.band_scalings)
        values = targets.target_values(target)
        self.target_shape_ = np.array(target["embedding"].shape[1:], dtype=np.int64)
        problem, order = self._prepare(response, needs_folds=len(set(self.params.alphas)) * len(scalings) > 1)
        most = targets.columns_that_fit(*problem.centred.shape, n_folds=len(problem.folds))
        batches = list(targets.cut(*values.shape[1:], most=most))

        def load(batch: targets.Batch) -> tuple[torch.Tensor, torch.Tensor]:
            return targets.load_batch(values, batch, order=order, device=self.context.device)

        choice = search.choose(
            problem, batches, load, alphas=self.params.alphas, scalings=scalings, alpha_per=self.params.alpha_per,
            context=self.context,
        )  # fmt: skip
        self.alpha_ = choice.alpha
        self.band_scaling_ = scalings[choice.scaling].T
        if choice.score is not None:
            self.cv_score_ = choice.score
        self._fit_all(problem, batches, load, choice=choice, scalings=scalings)

    def predict(self, response: xr.Dataset) -> xr.Dataset:
        """Predict the embedding of each trial.

        Parameters
        ----------
        response
            As in `fit`, the same voxels in the same order, any trials.

        Returns
        -------
        Dataset
            `embedding` with the dims of the target that was fitted, float32; `target_mean`, the same dims without
            trial, the mean of the training targets, which `centred-cosine` takes off decoded embeddings.

        Raises
        ------
        DimensionError
            If the number of voxels is another than in `fit`.
        """
        values = response["response"].values
        if values.shape[1] != len(self.voxel_mean_):
            raise brainlens.DimensionError(
                f"response: expected the {len(self.voxel_mean_)} voxels that the decoder was fitted to, "
                f"found {values.shape[1]}. Select the same ROI."
            )
        centred = self._tensor(np.subtract(values, self.voxel_mean_, dtype=np.float32))
        predicted = np.empty((len(values), len(self.intercept_)), dtype=np.float32)
        for columns, sites, weights in self._factors(centred):
            block = sites @ self._tensor(weights[:, columns])
            predicted[:, columns] = block.cpu().numpy() + self.intercept_[columns]
        dims = ("token", "channel")[2 - len(self.target_shape_) :]
        # Responses are centred on the training means, so what is predicted for those is the mean of the targets.
        mean = self.intercept_.reshape(self.target_shape_)
        return xr.Dataset(
            {
                "embedding": (("trial", *dims), predicted.reshape(len(values), *self.target_shape_)),
                "target_mean": (dims, mean.copy()),
            }
        )

    def _check(self, response: xr.Dataset, target: xr.Dataset) -> None:
        if self.context.precision != "float32":
            raise brainlens.DeviceError(
                f"precision: expected 'float32', found {self.context.precision!r}; ridge needs all its digits."
            )
        n_trials = response.sizes["trial"]
        if n_trials < 2:
            raise brainlens.DimensionError(f"response: expected at least 2 trials to fit, found {n_trials}.")
        if target.sizes.get("trial") != n_trials:
            raise brainlens.DimensionError(
                f"target: expected the {n_trials} trials of the response, found {target.sizes.get('trial')}."
            )

    def _prepare(self, response: xr.Dataset, *, needs_folds: bool) -> tuple[solver.Problem, np.ndarray]:
        """Centre the responses, trials of an inner fold in a row; return also the order of the trials."""
        values = response["response"].values
        fold = np.zeros(len(values), dtype=np.int64)
        if needs_folds:
            fold = search.inner_folds(response, self.params.cv_by, n_folds=self.params.cv_folds, seed=self.context.seed)
        order = np.argsort(fold, kind="stable")
        edges = np.concatenate([[0], np.cumsum(np.bincount(fold))]).tolist()
        mean = values.mean(axis=0, dtype=np.float64)
        centred = values[order].astype(np.float32, copy=False)
        np.subtract(centred, mean, out=centred, casting="same_kind")
        self.voxel_mean_ = mean.astype(np.float32)
        problem = solver.prepare(
            self._tensor(centred), self._tensor(self.band_), folds=list(zip(edges[:-1], edges[1:], strict=True))
        )
        return problem, order

    def _fit_all(
        self,
        problem: solver.Problem,
        batches: list[targets.Batch],
        load: search.Load,
        *,
        choice: search.Choice,
        scalings: np.ndarray,
    ) -> None:
        """Fit all trials and keep the weights or the dual coefficients, whichever are smaller."""
        (n_trials, n_voxels), n_targets = problem.centred.shape, len(choice.alpha)
        keep_dual = problem.dual and n_targets * (n_voxels - n_trials) > n_trials * n_voxels
        self.intercept_ = np.empty(n_targets, dtype=np.float32)
        learnt = np.empty((n_trials if keep_dual else n_voxels, n_targets), dtype=np.float32)
        for number in np.unique(choice.scaling):
            scaling = torch.from_numpy(scalings[number])
            factored = solver.solve(
                solver.scaled_gram(problem, scaling), torch.from_numpy(choice.alpha[choice.scaling == number])
            )
            for batch in self.context.progress(batches, label="fitting all trials"):
                here = choice.scaling[batch.columns] == number
                if not here.any():
                    continue
                columns, mean = load(batch)
                alphas = self._tensor(choice.alpha[batch.columns][here].astype(np.float32))
                fitted = solver.fit_batch(
                    problem, factored, columns[:, self._tensor(here)], scaling=scaling, alphas=alphas
                )
                if problem.dual and not keep_dual:
                    fitted = solver.weights_of(problem, fitted, scaling)
                learnt[:, batch.columns][:, here] = fitted.cpu().numpy()
                self.intercept_[batch.columns] = mean.cpu().numpy()
        if keep_dual:
            self.dual_, self.training_ = learnt, problem.centred.cpu().numpy()
        else:
            self.coef_ = learnt

    def _factors(self, centred: torch.Tensor) -> Iterator[tuple[slice | np.ndarray, torch.Tensor, np.ndarray]]:
        """Yield columns, and the two factors whose product is the prediction for them."""
        n_targets, most = len(self.intercept_), targets.MOST_COLUMNS
        if hasattr(self, "coef_"):
            for start in range(0, n_targets, most):
                yield slice(start, start + most), centred, self.coef_
            return
        band, training = self._tensor(self.band_), self._tensor(self.training_)
        scalings, group = np.unique(self.band_scaling_, axis=1, return_inverse=True)
        for number, scaling in enumerate(scalings.T):
            kernel = (centred * self._tensor(scaling.astype(np.float32))[band]) @ training.T
            members = np.flatnonzero(group.reshape(-1) == number)
            for start in range(0, len(members), most):
                yield members[start : start + most], kernel, self.dual_

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        # A mapped or read-only array cannot become a tensor without a copy.
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self.context.device)
