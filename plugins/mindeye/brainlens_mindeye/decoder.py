"""The decoder `mindeye`: datasets in, learnt weights and two variants of the decoded embedding out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import brainlens
from brainlens_mindeye.feed import Subject, as_float, blocks, hold_out, make_subject
from brainlens_mindeye.high_level import HighLevel, HighLevelLearner, TargetSpace, measure_targets
from brainlens_mindeye.loop import Plan, casting, train
from brainlens_mindeye.params import HighLevelParams
from brainlens_mindeye.prior import make_noise_schedule, sample

BATCH = 256
VERSION = "1"


class MindEyeDecoder(brainlens.Trainable):
    """Predict embeddings from responses by MindEye's two submodules.

    Trains on single trials unless the response holds averages; a step sees each stimulus once, by one of its trials.
    `predict` emits two variants: `retrieval`, the projector's output, to be compared with a gallery by cosine
    (`centred-cosine` where targets were centred, the default); and `reconstruction`, a sample of the diffusion prior,
    which lies where the targets lie.

    Differences from the published method, all of which can be undone by parameters unless said: sizes and
    temperatures for small studies; targets are centred; gains of norms have no weight decay (fixed: the released code
    meant it so); validation stimuli come from the training stimuli, never from the test set (fixed); a partial last
    batch of an epoch is left out, and its stimuli come in other epochs (fixed).

    Attributes
    ----------
    module
        Backbone, projector and prior, `HighLevel`.
    space
        Mean and scale of the training targets, `TargetSpace`.
    subjects
        Names, in the order of the entries of the network.
    history
        Losses of every epoch, and validations, by name.

    References
    ----------
    Scotti et al. (2023), arXiv:2305.18274; Scotti et al. (2024), arXiv:2403.11207.

    Examples
    --------
    >>> from brainlens_mindeye.params import HighLevelParams
    >>> rng = np.random.default_rng(0)
    >>> embedding = rng.standard_normal((24, 4), dtype="float32")
    >>> shown = {"stimulus_id": ("trial", np.arange(24) // 2), "voxel": np.arange(4)}
    >>> response = xr.Dataset({"response": (("trial", "voxel"), embedding)}, shown, {"subject": "s1"})
    >>> target = xr.Dataset({"embedding": (("trial", "channel"), embedding)})
    >>> params = HighLevelParams(width=8, n_blocks=1, projector_width=8, epochs=2, batch_size=4, prior_depth=1)
    >>> decoder = MindEyeDecoder(params, brainlens.Context())
    >>> decoder.fit(response, target)
    >>> decoder.predict(response)["embedding"].sizes["variant"]
    2
    """

    params: HighLevelParams
    _start: Mapping[str, np.ndarray] | None = None

    def fit(self, response: xr.Dataset, target: xr.Dataset) -> None:
        """Train on trials.

        Parameters
        ----------
        response
            Dims (trial, voxel) or (trial, vertex), with `stimulus_id` (trial); may be lazy and larger than memory.
        target
            `embedding` of dims (trial, channel) or (trial, token, channel), row for row the trials of `response`.

        Raises
        ------
        DimensionError
            If there are fewer stimuli than a batch takes, or a value is not finite.
        CheckpointError
            If the folder of intermediate files holds a checkpoint of another training.
        DeviceError
            If memory does not suffice for one trial, or the loss is not finite.
        """
        params = self.params
        subjects = [make_subject(response, target)]
        for subject in subjects:
            refuse_not_finite(subject)
        parted = [
            hold_out(subject, params.validation, rng=self.context.rng(0, number))
            for number, subject in enumerate(subjects)
        ]
        training, held_out = [part[0] for part in parted], [part[1] for part in parted]
        refuse_too_few(training, params.batch_size)
        shape = training[0].target.shape[1:]
        n_voxels = [subject.response.shape[1] for subject in training]
        self.subjects = [subject.name for subject in training]
        self.space = measure_targets(training, centre=params.centre)
        self.target_dims = target["embedding"].ndim
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self.context.rng(1).integers(2**62)))
            self.module = HighLevel(n_voxels, shape, params).to(self.context.device)
        learner = HighLevelLearner(
            self.module, training, held_out, self.space, params, n_epochs=params.epochs, seed=self.context.seed,
            device=self.context.device,
        )  # fmt: skip
        plan = make_plan(params, self.context, steps_per_epoch=max(order.steps_per_pass for order in learner.orders))
        identity = f"mindeye {VERSION}, {n_voxels} voxels, {shape}, {params.model_dump_json()}"
        scratch = getattr(self.context, "scratch", None)
        self.history = train(learner, plan, context=self.context, folder=scratch, identity=identity).history

    def predict(self, response: xr.Dataset) -> xr.Dataset:
        """Predict both variants of each trial's embedding.

        Parameters
        ----------
        response
            As in `fit`, the same voxels in the same order, any trials; single ones or averages.

        Returns
        -------
        Dataset
            `embedding` (variant, trial, channel) or (variant, trial, token, channel), float32; `target_mean` (channel)
            or (token, channel), the mean of the training targets, 0 where they were not centred. The noise of a trial's
            sample follows from the seed and the trial's own values, so it is the same whatever else is predicted.
        """
        device, subject = self.context.device, 0
        array = response["response"].transpose("trial", ...)
        expected = self._n_voxels()[subject]
        if array.shape[1] != expected:
            raise brainlens.DimensionError(
                f"response: expected the {expected} voxels that the decoder was fitted to, found {array.shape[1]}. "
                "Select the same ROI."
            )
        module = self.module.to(device).eval()
        variants = ["retrieval", "reconstruction"][: 1 if self.params.prior == "none" else 2]
        found = np.empty((len(variants), len(array), *self.space.mean.shape), np.float32)
        for start in self.context.progress(range(0, len(array), BATCH), label="decoding"):
            rows = slice(start, min(start + BATCH, len(array)))
            voxels = as_float(array.isel(trial=rows).values).to(device)
            with torch.inference_mode(), casting(make_plan(self.params, self.context, steps_per_epoch=1)):
                condition, projected = module(voxels, subject)
                found[0, rows] = self._retrieval(projected.float()).cpu().numpy()
                if len(variants) == 2:
                    found[1, rows] = self._reconstruction(condition.float(), voxels).cpu().numpy()
        values, mean = found, self.space.mean.cpu().numpy()
        dims: tuple[str, ...] = ("token", "channel")
        if self.target_dims == 2:
            values, mean, dims = found[:, :, 0], mean[0], ("channel",)
        return xr.Dataset(
            {"embedding": (("variant", "trial", *dims), values), "target_mean": (dims, mean)}, {"variant": variants}
        )

    def _retrieval(self, projected: Tensor) -> Tensor:
        """Return the projector's output moved to where targets are; its direction is what was trained."""
        away = projected / projected.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1)
        return self.space.mean.to(away) + self.space.length * away

    def _reconstruction(self, condition: Tensor, voxels: Tensor) -> Tensor:
        mean = self.space.mean.to(condition)
        if self.module.prior is None:
            return mean + condition / self.space.scale
        digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in voxels.cpu().numpy())
        keys = [int.from_bytes(digest, "little") for digest in digests]
        generators = [torch.Generator().manual_seed(int(self.context.rng(2, key).integers(2**62))) for key in keys]
        tokens = sample(
            self.module.prior, condition, schedule=make_noise_schedule(self.params.prior_steps),
            n_steps=self.params.sampling_steps or self.params.prior_steps, generators=generators,
        )  # fmt: skip
        return mean + tokens / self.space.scale

    def _n_voxels(self) -> list[int]:
        entries = self.module.network.entries
        return [(entry[0] if self.params.entry == "mlp" else entry).in_features for entry in entries]

    def state(self) -> dict[str, np.ndarray]:
        """Return weights, the space of the targets, the subjects and the history."""
        about = {"subjects": self.subjects, "target_dims": self.target_dims}
        return {
            **{f"module.{name}": value.cpu().numpy() for name, value in self.module.state_dict().items()},
            **{f"history.{name}": np.array(values) for name, values in self.history.items()},
            "target_mean": self.space.mean.cpu().numpy(),
            "target_scale": np.array([self.space.scale, self.space.length]),
            "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
        }

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state` returned.

        Raises
        ------
        CheckpointError
            If a weight is missing, of another shape, or not expected.
        """
        about = json.loads(bytes(state["about"]).decode())
        self.subjects, self.target_dims = about["subjects"], about["target_dims"]
        mean = torch.from_numpy(np.array(state["target_mean"]))
        self.space = TargetSpace(mean, *map(float, state["target_scale"]))
        self.history = {
            name.removeprefix("history."): values.tolist()
            for name, values in state.items()
            if name.startswith("history.")
        }
        weights = {
            name.removeprefix("module."): torch.from_numpy(np.array(values))
            for name, values in state.items()
            if name.startswith("module.")
        }
        first = "0.weight" if self.params.entry == "mlp" else "weight"
        n_voxels = [weights[f"network.entries.{number}.{first}"].shape[1] for number in range(len(self.subjects))]
        self.module = HighLevel(n_voxels, (mean.shape[0], mean.shape[1]), self.params)
        try:
            self.module.load_state_dict(weights)
        except RuntimeError as error:
            raise brainlens.CheckpointError(
                f"mindeye: expected the weights of this network, found others: {' '.join(str(error).split())} Fit the "
                "model again."
            ) from error


def make_plan(params: HighLevelParams, context: brainlens.Context, *, steps_per_epoch: int) -> Plan:
    """Return the plan that parameters and context ask for."""
    return Plan(
        n_epochs=params.epochs, steps_per_epoch=steps_per_epoch, learning_rate=params.learning_rate,
        weight_decay=params.weight_decay, warm_up=params.warm_up, piece=params.piece, averaging=params.averaging,
        clip=params.clip, patience=params.patience, validate_every=params.validate_every,
        precision=context.precision, device=context.device, seed=context.seed, deterministic=params.deterministic,
        checkpoint_s=params.checkpoint_s,
    )  # fmt: skip


def refuse_not_finite(subject: Subject) -> None:
    """Read everything once before any time is spent on training."""
    for array, what in ((subject.response, "response"), (subject.target, "target")):
        for rows, block in blocks(array):
            # A sum is finite when all its parts are, but for overflow, which float64 excludes here.
            sums = block.reshape(len(block), -1).sum(axis=1, dtype=np.float64)
            odd = np.flatnonzero(~np.isfinite(sums))
            if odd.size:
                labels = array["trial"].values[rows][odd] if "trial" in array.coords else odd + rows.start
                raise brainlens.DimensionError(
                    f"{what}: expected finite values, found others in {odd.size} trials of a block: "
                    f"{brainlens.listed(labels)}. Drop these trials."
                )


def refuse_too_few(subjects: list[Subject], batch_size: int) -> None:
    """Refuse a batch that takes more stimuli than there are."""
    size = batch_size // len(subjects)
    for subject in subjects:
        if subject.n_stimuli < max(2, size):
            raise brainlens.DimensionError(
                f"response of {subject.name!r}: expected at least the {max(2, size)} stimuli that a batch takes, found "
                f"{subject.n_stimuli} to train on. Choose a smaller batch_size."
            )
