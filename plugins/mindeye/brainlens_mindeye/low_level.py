"""The decoder `mindeye.low_level`: voxels to the latents of an autoencoder, which say how an image is laid out.

A residual network makes a small map, a convolutional decoder lets it grow to the latents. Where features of the image
are given, a head on the small map is trained beside it to tell the cells of the batch apart by them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from diffusers.models.autoencoders.vae import Decoder
from torch import Tensor, nn
from torch.nn import functional

import brainlens
from brainlens_mindeye.checks import refuse_apart
from brainlens_mindeye.feed import Order, Rows, Subject, held_out_means
from brainlens_mindeye.grids import by_cell, grid_of, refuse_other_grids
from brainlens_mindeye.learner import Batch, Outputs
from brainlens_mindeye.losses import soft_clip
from brainlens_mindeye.params import LowLevelParams
from brainlens_mindeye.pixels import PixelLoss, load_autoencoder
from brainlens_mindeye.plan import casting, seed_of
from brainlens_mindeye.space import TargetSpace
from brainlens_mindeye.trained import NetworkDecoder, make_plan

# How often a step takes a random mean of the showings, and how often that or their plain mean.
RANDOM_MEAN, ANY_MEAN = 0.5, 0.8


class LowLevel(nn.Module):
    """Voxels to latents (trial, token, channel), and to features of the cells of the small map.

    Parameters
    ----------
    n_voxels
        Of each subject.
    grid
        Height and width of the latents.
    channels
        Of the latents.
    feature_channels
        Of the features, 0 for no auxiliary head.
    params
        Sizes.
    """

    def __init__(
        self,
        n_voxels: Sequence[int],
        grid: tuple[int, int],
        channels: int,
        feature_channels: int,
        params: LowLevelParams,
    ) -> None:
        super().__init__()
        stages = len(params.up_channels)
        shrink = 2 ** (stages - 1)
        self.grid, self.small = grid, (grid[0] // shrink, grid[1] // shrink)
        width = params.width
        self.entries = nn.ModuleList(
            nn.Sequential(
                nn.Linear(count, width, bias=False), nn.LayerNorm(width), nn.SiLU(), nn.Dropout(params.entry_dropout)
            )
            for count in n_voxels
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width, width, bias=False), nn.LayerNorm(width), nn.SiLU(), nn.Dropout(params.dropout)
            )
            for _ in range(params.n_blocks)
        )
        self.map = nn.Linear(width, params.map_channels * math.prod(self.small), bias=False)
        self.norm = nn.GroupNorm(1, params.map_channels)
        self.grow = Decoder(
            in_channels=params.map_channels, out_channels=channels, up_block_types=("UpDecoderBlock2D",) * stages,
            block_out_channels=params.up_channels, layers_per_block=1,
            norm_num_groups=math.gcd(32, *params.up_channels),
        )  # fmt: skip
        hidden = params.feature_width
        self.head = None
        if feature_channels:
            self.head = nn.Sequential(
                nn.Conv2d(params.map_channels, hidden, 1), nn.GroupNorm(1, hidden), nn.ReLU(),
                nn.Conv2d(hidden, hidden, 1), nn.GroupNorm(1, hidden), nn.ReLU(),
                nn.Conv2d(hidden, feature_channels, 1),
            )  # fmt: skip

    def forward(self, voxels: Tensor, subject: int) -> tuple[Tensor, Tensor | None]:
        """Return latents (trial, token, channel), and features (trial, cell, channel) where there is a head."""
        values = self.entries[subject](voxels)
        for block in self.blocks:
            values = values + block(values)
        small = self.norm(self.map(values).unflatten(1, (-1, *self.small)))
        latents = self.grow(small).flatten(2).transpose(1, 2)
        return latents, None if self.head is None else self.head(small).flatten(2).transpose(1, 2)


class LowLevelLearner:
    """Feeds the training loop with showings of all subjects, and says what their latents cost.

    Parameters
    ----------
    module
        What is trained.
    training, held_out
        Training data, and the stimuli that are held out.
    features
        For each subject, features of its trials (trial, token, channel), or None.
    feature_grid
        Height and width of the features.
    space
        Where the latents lie.
    params
        Losses.
    pixels
        The loss of pixels, or None.
    seed, device
        As everywhere.
    """

    def __init__(
        self,
        module: LowLevel,
        training: Sequence[Subject],
        held_out: Sequence[Subject | None],
        features: Sequence[xr.DataArray] | None,
        feature_grid: tuple[int, int] | None,
        space: TargetSpace,
        params: LowLevelParams,
        *,
        pixels: PixelLoss | None = None,
        seed: int,
        device: str,
    ) -> None:
        self.module, self.params, self.seed, self.device = module, params, seed, device
        self.pixels = pixels
        self.space = space.to(device)
        size = params.batch_size // len(training)
        self.orders = [Order(each, size=size, seed=[seed, number]) for number, each in enumerate(training)]
        self.voxels = [Rows(each.response, device=device) for each in training]
        self.targets = [Rows(each.target, device=device) for each in training]
        self.features = None if features is None else [Rows(each, device=device) for each in features]
        self.feature_grid = feature_grid
        self.validation = [None if each is None else held_out_means(each) for each in held_out]

    def read(self, step: int) -> list[tuple[Tensor, ...]]:
        """Read the showings of each subject's stimuli of a step, averaged as asked, with latents and features."""
        found = []
        for number, order in enumerate(self.orders):
            if self.params.showings == "single":
                rows = order.rows(step)
                voxels = self.voxels[number].take(rows)
            else:
                rows, voxels = self._mixed(order, number, step)
            parts = [voxels, self.targets[number].take(rows)]
            if self.features is not None:
                parts.append(self.features[number].take(rows))
            found.append(tuple(parts))
        return found

    def _mixed(self, order: Order, number: int, step: int) -> tuple[np.ndarray, Tensor]:
        """Return one trial of each stimulus, for its target, and means of its showings as published."""
        subject, stimuli = order.subject, order.stimuli(step)
        count = subject.count[stimuli]
        owner = np.repeat(np.arange(len(stimuli)), count)
        rows = np.concatenate([subject.trials[first : first + n] for first, n in
                               zip(subject.first[stimuli], count, strict=True)])  # fmt: skip
        rng = np.random.default_rng([seed_of(self.seed, step, number), 1])
        way = rng.random(len(stimuli))
        chosen = np.cumsum(count) - count + rng.integers(0, count)
        weight = np.where((way < RANDOM_MEAN)[owner], rng.random(len(rows)), 1.0)
        weight[((way >= ANY_MEAN)[owner]) & ~np.isin(np.arange(len(rows)), chosen)] = 0.0
        weight /= np.bincount(owner, weight)[owner]
        by_row = np.argsort(rows)
        trials = self.voxels[number].take(rows[by_row])
        where = torch.from_numpy(owner[by_row]).to(trials.device)
        share = torch.from_numpy(weight[by_row].astype(np.float32)).to(trials.device)
        mixed = trials.new_zeros((len(stimuli), trials.shape[1])).index_add_(0, where, trials * share[:, None])
        return rows[np.cumsum(count) - count], mixed

    def prepare(self, read: Any, *, epoch: int, generator: torch.Generator) -> Batch:
        """Bring what was read to the device."""
        moved = [tuple(part.to(self.device, non_blocking=True) for part in parts) for parts in read]
        target = self.space.scale * (torch.cat([parts[1] for parts in moved]) - self.space.mean)
        draws = {} if self.features is None else {"features": torch.cat([self._cells(parts[2]) for parts in moved])}
        return Batch(parts=[(number, parts[0]) for number, parts in enumerate(moved)], target=target, draws=draws)

    def _cells(self, features: Tensor) -> Tensor:
        """Return features of the cells of the small map (trial, cell, channel): means of those that lie in each."""
        assert self.feature_grid is not None
        grid = features.transpose(1, 2).unflatten(2, self.feature_grid)
        return functional.adaptive_avg_pool2d(grid, self.module.small).flatten(2).transpose(1, 2)

    def forward(self, subject: int, voxels: Tensor, draws: Mapping[str, Tensor]) -> Outputs:
        """Return latents, and features where there is a head."""
        latents, features = self.module(voxels, subject)
        return {"latents": latents} if features is None else {"latents": latents, "features": features}

    def loss(self, outputs: Outputs, batch: Batch, *, epoch: int) -> dict[str, Tensor]:
        """Return the mean absolute error of the latents, the losses that stand beside it, and their sum."""
        error = functional.l1_loss(outputs["latents"], batch.target)
        losses = {"loss": error, "latents": error}
        if self.pixels is not None:
            found, wanted = (
                each.float() / self.space.scale + self.space.mean for each in (outputs["latents"], batch.target)
            )
            losses["pixels"] = self.pixels(found, wanted)
            losses["loss"] = losses["loss"] + self.params.pixel_weight * losses["pixels"]
        if "features" not in outputs:
            return losses
        found, wanted = (
            functional.normalize(each.flatten(0, 1), dim=1) for each in (outputs["features"], batch.draws["features"])
        )
        contrastive = soft_clip(found, wanted, temperature=self.params.contrastive_temperature)
        total = losses["loss"] + self.params.contrastive_weight * contrastive
        return {**losses, "loss": total, "contrastive": contrastive}

    def validate(self, module: nn.Module) -> dict[str, float]:
        """Return the mean correlation of decoded and true latents of held-out stimuli, about the training mean."""
        found = []
        for number, pair in enumerate(self.validation):
            if pair is None:
                continue
            voxels, target = (part.to(self.device) for part in pair)
            with torch.inference_mode():
                latents = module(voxels, number)[0].float().flatten(1)
            true = (target - self.space.mean).flatten(1)
            found.append(float(functional.cosine_similarity(latents, true, dim=1).mean()))
        return {"validation_r": float(np.mean(found))} if found else {}


class LowLevelDecoder(NetworkDecoder):
    """Predict the latents of an autoencoder from responses: how the image is laid out, in colour.

    `predict` emits latents like those it was fitted to, which the autoencoder turns into an initial image.

    Differences from the published method: sizes for small studies and small latents; latents are taken about their
    training mean, in units of their spread; the teacher of the auxiliary loss is whatever `features` were given, of the
    image as it is, where the published one looks at two altered views of it.

    References
    ----------
    Scotti et al. (2023), arXiv:2305.18274, low-level pipeline.

    Examples
    --------
    >>> import brainlens
    >>> from brainlens_mindeye.params import LowLevelParams
    >>> rng = np.random.default_rng(0)
    >>> latents = rng.standard_normal((24, 16, 4), dtype="float32")
    >>> shown = {"stimulus_id": ("trial", np.arange(24) // 2), "voxel": np.arange(64)}
    >>> response = xr.Dataset({"response": (("trial", "voxel"), latents.reshape(24, 64))}, shown, {"subject": "s1"})
    >>> target = xr.Dataset({"embedding": (("trial", "token", "channel"), latents)}, attrs={"grid": [4, 4]})
    >>> params = LowLevelParams(width=8, n_blocks=1, map_channels=8, up_channels=(8, 8), epochs=2, batch_size=4)
    >>> decoder = LowLevelDecoder(params, brainlens.Context())
    >>> decoder.fit(response, target)
    >>> dict(decoder.predict(response)["embedding"].sizes)
    {'trial': 24, 'token': 16, 'channel': 4}
    """

    params: LowLevelParams
    module: LowLevel
    entries_at = "entries"

    def fit(self, response: Any, target: Any, *, features: Any = None) -> None:
        """Train on trials, with `features` (embedding) of the same trials where the auxiliary loss is wanted.

        The head of that loss goes on from a model to start from where features are of the same model and width.
        Otherwise it is fresh, and without features there is none; it takes no part in predicting.
        """
        given = None if features is None else list(features) if isinstance(features, list | tuple) else [features]
        self.feature_channels, self.feature_model = 0, ""
        if given is not None:
            for each in given:
                by_cell(each)
            refuse_apart(given, "features")
            refuse_other_grids(given, "features", 1)
            self.feature_channels = int(given[0]["embedding"].sizes["channel"])
            self.feature_model = str(given[0].attrs.get("model", ""))
        refuse_other_grids(list(target) if isinstance(target, list | tuple) else [target], "target", self._shrink)
        super().fit(response, target, features=given)

    @property
    def _shrink(self) -> int:
        """How many times the sides of the latents are those of the small map."""
        return int(2 ** (len(self.params.up_channels) - 1))

    def note_target(self, target: xr.Dataset) -> None:
        """Keep the grid of the latents."""
        self.grid = grid_of(target, "target", self._shrink)

    def refuse_start(self, start: LowLevelDecoder, shape: tuple[int, int]) -> None:
        """Refuse to start from a decoder of latents of another shape or grid."""
        super().refuse_start(start, shape)
        if start.grid != self.grid:
            raise brainlens.DimensionError(
                f"target: expected a grid of {start.grid[0]} x {start.grid[1]} as the model to start from has it, "
                f"found {self.grid[0]} x {self.grid[1]}. Give the target of that model, or fit without start."
            )

    def left_behind(self, start: LowLevelDecoder) -> tuple[str, ...]:
        """Return the auxiliary head, unless it was trained beside features of the same kind."""
        own, given = ((each.feature_model, each.feature_channels) for each in (self, start))
        if own == given:
            return ()
        if self.feature_channels and start.feature_channels:
            self.context.log.info(
                "features: the model to start from was trained beside those of %r; the head for those of %r is fresh",
                given[0], own[0],
            )  # fmt: skip
        return ("head.",)

    def make_module(self, n_voxels: Sequence[int], shape: tuple[int, int]) -> LowLevel:
        """Return the network for latents of that shape."""
        return LowLevel(n_voxels, self.grid, shape[1], self.feature_channels, self.params)

    def make_learner(self, training: Sequence[Subject], held_out: Sequence[Subject | None]) -> LowLevelLearner:
        """Return what feeds and judges it."""
        features = self.others["features"]
        arrays = None if features is None else [by_cell(each) for each in features]
        grid = None if features is None else grid_of(features[0], "features", 1)
        pixels = None
        if self.params.pixel_weight:
            pixels = PixelLoss(load_autoencoder(self.params.autoencoder, self.context), self.grid)
        return LowLevelLearner(
            self.module, training, held_out, arrays, grid, self.space, self.params, pixels=pixels,
            seed=self.context.seed, device=self.context.device,
        )  # fmt: skip

    def predict(self, response: xr.Dataset) -> xr.Dataset:
        """Predict the latents of each trial.

        Parameters
        ----------
        response
            As in `fit`, of one subject: the same voxels in the same order, any trials; single ones or averages.

        Returns
        -------
        Dataset
            `embedding` (trial, token, channel), float32, with `attrs["grid"]`, height and width; `target_mean`
            (token, channel), the mean of the training targets.

        Raises
        ------
        DimensionError
            If the response is of another subject, or has another number of voxels than in `fit`.
        """
        subject = self.subject_of(response)
        plan = make_plan(self.params, self.context, steps_per_epoch=1)
        mean = self.space.mean.to(self.context.device)
        found = np.empty((response.sizes["trial"], *mean.shape), np.float32)
        for rows, voxels in self.voxel_blocks(response):
            with torch.inference_mode(), casting(plan):
                latents = self.module(voxels, subject)[0].float()
            found[rows] = (mean + latents / self.space.scale).cpu().numpy()
        return self.labelled(found, self.space.mean).assign_attrs(grid=list(self.grid))

    def about(self) -> dict[str, Any]:
        """Return what the state says in words."""
        features = {"feature_channels": self.feature_channels, "feature_model": self.feature_model}
        return {**super().about(), "grid": list(self.grid), **features}

    def take_about(self, about: Mapping[str, Any]) -> None:
        """Take back what `about` returned."""
        super().take_about(about)
        self.grid = (int(about["grid"][0]), int(about["grid"][1]))
        self.feature_channels, self.feature_model = int(about["feature_channels"]), str(about["feature_model"])
