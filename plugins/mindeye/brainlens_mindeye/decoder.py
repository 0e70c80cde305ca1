"""The decoder `mindeye`: datasets in, learnt weights and two variants of the decoded embedding out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from brainlens_mindeye.feed import Subject
from brainlens_mindeye.high_level import HighLevel, HighLevelLearner
from brainlens_mindeye.params import HighLevelParams
from brainlens_mindeye.plan import casting
from brainlens_mindeye.prior import make_noise_schedule, sample
from brainlens_mindeye.trained import NetworkDecoder, make_plan


class MindEyeDecoder(NetworkDecoder):
    """Predict embeddings from responses by MindEye's two submodules.

    Trains on single trials unless the response holds averages; a step sees each stimulus once, by one of its trials.
    `predict` emits two variants: `retrieval`, the projector's output, to be compared with a gallery by cosine
    (`centred-cosine` where targets were centred, the default); and `reconstruction`, a sample of the diffusion prior,
    which lies where the targets lie.

    Differences from the published method, all of which can be undone by parameters unless said: sizes and
    temperatures for small studies; targets are centred; gains of norms have no weight decay (fixed: the released code
    meant it so); validation stimuli come from the training stimuli, never from the test set (fixed); a partial last
    batch of an epoch is left out, and its stimuli come in other epochs (fixed).

    References
    ----------
    Scotti et al. (2023), arXiv:2305.18274; Scotti et al. (2024), arXiv:2403.11207.

    Examples
    --------
    >>> import brainlens
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
    module: HighLevel

    @property
    def centre(self) -> bool:
        """Whether targets are taken about their mean."""
        return self.params.centre

    def make_module(self, n_voxels: Sequence[int], shape: tuple[int, int]) -> HighLevel:
        """Return backbone, projector and prior."""
        return HighLevel(n_voxels, shape, self.params)

    def make_learner(self, training: Sequence[Subject], held_out: Sequence[Subject | None]) -> HighLevelLearner:
        """Return what feeds and judges them."""
        return HighLevelLearner(
            self.module, training, held_out, self.space, self.params, n_epochs=self.params.epochs,
            seed=self.context.seed, device=self.context.device,
        )  # fmt: skip

    def predict(self, response: xr.Dataset) -> xr.Dataset:
        """Predict both variants of each trial's embedding.

        Parameters
        ----------
        response
            As in `fit`, of one subject: the same voxels in the same order, any trials; single ones or averages.

        Returns
        -------
        Dataset
            `embedding` (variant, trial, channel) or (variant, trial, token, channel), float32; `target_mean` (channel)
            or (token, channel), the mean of the training targets, 0 where they were not centred. The noise of a trial's
            sample follows from the seed and the trial's own values, so it is the same whatever else is predicted.

        Raises
        ------
        DimensionError
            If the response is of another subject, or has another number of voxels than in `fit`.
        """
        subject = self.subject_of(response)
        plan = make_plan(self.params, self.context, steps_per_epoch=1)
        variants = ["retrieval", "reconstruction"][: 1 if self.params.prior == "none" else 2]
        found = np.empty((len(variants), response.sizes["trial"], *self.space.mean.shape), np.float32)
        for rows, voxels in self.voxel_blocks(response):
            with torch.inference_mode(), casting(plan):
                condition, projected = self.module(voxels, subject)
                found[0, rows] = self._retrieval(projected.float()).cpu().numpy()
                if len(variants) == 2:
                    found[1, rows] = self._reconstruction(condition.float(), voxels).cpu().numpy()
        return self.labelled(found, self.space.mean, variants)

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
