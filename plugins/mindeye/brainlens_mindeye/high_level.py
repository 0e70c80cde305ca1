"""What MindEye's high level learns: embeddings that name the image among others, and others that can be painted.

Two submodules on one backbone. The projector's output is compared with the target by the contrastive losses; the
backbone's output is the condition of the diffusion prior, whose output lies where the targets lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainlens_mindeye.feed import Order, Rows, Subject, held_out_means
from brainlens_mindeye.learner import Batch, Outputs
from brainlens_mindeye.losses import Mixture, bimixco, draw_mixture, soft_clip, temperature_at
from brainlens_mindeye.matching import ranking_loss
from brainlens_mindeye.network import Network, on_sphere
from brainlens_mindeye.params import HighLevelParams
from brainlens_mindeye.prior import PriorNetwork, make_noise_schedule
from brainlens_mindeye.space import TargetSpace


class HighLevel(nn.Module):
    """Backbone, projector and prior in one module.

    Parameters
    ----------
    n_voxels
        Of each subject.
    shape
        Tokens and channels of the target.
    params
        Sizes and kinds.
    """

    def __init__(self, n_voxels: Sequence[int], shape: tuple[int, int], params: HighLevelParams) -> None:
        super().__init__()
        self.network = Network(
            n_voxels, shape, width=params.width, entry=params.entry, backbone=params.backbone,
            n_blocks=params.n_blocks, projector_width=params.projector_width, entry_dropout=params.entry_dropout,
            dropout=params.dropout, gradient_checkpointing=params.gradient_checkpointing,
        )  # fmt: skip
        self.prior = None
        if params.prior == "diffusion":
            self.prior = PriorNetwork(
                shape, depth=params.prior_depth, n_heads=params.prior_heads, head_width=params.prior_head_width,
                gradient_checkpointing=params.gradient_checkpointing,
            )  # fmt: skip
        self.one_head = params.heads == "shared"

    def forward(self, voxels: Tensor, subject: int) -> tuple[Tensor, Tensor]:
        """Return the condition of the prior, and what is compared with targets; each (trial, token, channel)."""
        backbone, projected = self.network(voxels, subject)
        return (projected if self.one_head else backbone), projected


class HighLevelLearner:
    """Feeds the training loop with trials of all subjects, and says what their outputs cost.

    Parameters
    ----------
    module
        What is trained.
    subjects
        Training data, without the stimuli that are held out.
    held_out
        The same subjects' held-out stimuli, or None for each.
    space
        Where the targets lie.
    params
        Losses and their weights.
    n_epochs
        Of the whole training, for the schedules.
    seed, device
        As everywhere.
    """

    def __init__(
        self,
        module: HighLevel,
        subjects: Sequence[Subject],
        held_out: Sequence[Subject | None],
        space: TargetSpace,
        params: HighLevelParams,
        *,
        n_epochs: int,
        seed: int,
        device: str,
    ) -> None:
        self.module, self.params, self.device = module, params, device
        self.space = space.to(device)
        size = params.batch_size // len(subjects)
        self.orders = [Order(each, size=size, seed=[seed, number]) for number, each in enumerate(subjects)]
        self.voxels = [Rows(each.response, device=device) for each in subjects]
        self.targets = [Rows(each.target, device=device) for each in subjects]
        self.validation = [None if each is None else held_out_means(each) for each in held_out]
        self.schedule = make_noise_schedule(params.prior_steps)
        self.levels = self.schedule.alphas_cumprod.to(device)
        self.n_epochs = n_epochs
        self.mixed_epochs = int(params.mixup_share * n_epochs) if params.contrast == "mindeye" else 0

    def read(self, step: int) -> list[tuple[Tensor, Tensor]]:
        """Read voxels and targets of each subject's trials of a step."""
        rows = [order.rows(step) for order in self.orders]
        return [
            (voxels.take(chosen), targets.take(chosen))
            for voxels, targets, chosen in zip(self.voxels, self.targets, rows, strict=True)
        ]

    def prepare(self, read: Any, *, epoch: int, generator: torch.Generator) -> Batch:
        """Mix voxels within each subject, and draw times and noise of the prior."""
        parts, partners, shares, start = [], [], [], 0
        for number, (voxels, _) in enumerate(read):
            voxels = voxels.to(self.device, non_blocking=True)
            n = len(voxels)
            mixture = Mixture(torch.arange(n, device=self.device), torch.ones(n, device=self.device))
            if epoch < self.mixed_epochs:
                mixture = draw_mixture(n, generator=generator, beta=self.params.mixup_beta)
                voxels = mixture.apply(voxels)
            parts.append((number, voxels))
            partners.append(mixture.partner + start)
            shares.append(mixture.share)
            start += n
        target = torch.cat([target.to(self.device, non_blocking=True) for _, target in read]) - self.space.mean
        draws = {"partner": torch.cat(partners), "share": torch.cat(shares)}
        if self.module.prior is not None:
            draws |= self._noisy(target, generator)
        if self.params.contrast == "ranking":
            draws["rival"] = torch.randint(1, len(target), (len(target),), generator=generator, device=self.device)
        return Batch(parts=parts, target=target, draws=draws)

    def _noisy(self, target: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        n, drop = len(target), self.params.prior_drop
        step = torch.randint(0, self.params.prior_steps, (n,), generator=generator, device=self.device)
        noise = torch.randn(target.shape, generator=generator, device=self.device)
        level = self.levels[step].view(-1, 1, 1)
        dropped = torch.rand((2, n), generator=generator, device=self.device) < drop
        noisy = level.sqrt() * (self.space.scale * target) + (1 - level).sqrt() * noise
        return {"step": step, "noisy": noisy, "no_brain": dropped[0], "no_image": dropped[1]}

    def forward(self, subject: int, voxels: Tensor, draws: Mapping[str, Tensor]) -> Outputs:
        """Return what is compared with targets, and what the prior makes of noisy targets."""
        condition, projected = self.module(voxels, subject)
        outputs = {"projected": projected}
        if self.module.prior is not None:
            outputs["clean"] = self.module.prior(
                draws["noisy"], draws["step"], condition, no_brain=draws["no_brain"], no_image=draws["no_image"]
            )
        elif self.params.prior == "regression":
            outputs["clean"] = condition
        return outputs

    def loss(self, outputs: Outputs, batch: Batch, *, epoch: int) -> dict[str, Tensor]:
        """Return the contrastive loss, the prior's, and their weighted sum as `loss`."""
        params, losses = self.params, {}
        total = outputs["projected"].new_zeros(())
        if params.contrastive_weight:
            losses["contrastive"] = self._contrast(outputs["projected"], batch, epoch)
            total = total + params.contrastive_weight * losses["contrastive"]
        if "clean" in outputs:
            losses["prior"] = functional.mse_loss(outputs["clean"], self.space.scale * batch.target)
            total = total + params.prior_weight * losses["prior"]
        return {"loss": total, **losses}

    def _contrast(self, projected: Tensor, batch: Batch, epoch: int) -> Tensor:
        params = self.params
        predicted, target = on_sphere(projected), on_sphere(batch.target)
        if params.contrast == "ranking":
            return ranking_loss(
                predicted, target, margin=params.margin, negatives=params.negatives, side=params.negative_side,
                rival=batch.draws["rival"],
            )  # fmt: skip
        if epoch < self.mixed_epochs or not params.soft:
            mixture = Mixture(batch.draws["partner"], batch.draws["share"])
            return bimixco(predicted, target, temperature=params.mixup_temperature, mixture=mixture)
        first, last = params.soft_temperature
        now, n = epoch - self.mixed_epochs, self.n_epochs - self.mixed_epochs
        return soft_clip(predicted, target, temperature=temperature_at(now, n, first=first, last=last))

    def validate(self, module: nn.Module) -> dict[str, float]:
        """Return how often a held-out stimulus, all its showings averaged, is found among the others."""
        found = []
        for number, pair in enumerate(self.validation):
            if pair is None:
                continue
            voxels, target = (part.to(self.device) for part in pair)
            with torch.inference_mode():
                predicted = on_sphere(module(voxels, number)[1].float())
            similarity = predicted @ on_sphere(target - self.space.mean).T
            found.append(_top_1(similarity))
        return {"validation_top_1": float(np.mean(found))} if found else {}


def _top_1(similarity: Tensor) -> float:
    """Return how often the own one is the only nearest."""
    own = similarity.diagonal()[:, None]
    return float(((similarity >= own).sum(dim=1) == 1).float().mean())
