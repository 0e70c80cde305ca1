"""What both decoders of this plugin share: subjects in, a trained network, and its state out and back.

What the network is and what it costs is said by each decoder.
"""

from __future__ import annotations

import abc
import contextlib
import copy
import dataclasses
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

import brainlens
from brainlens_mindeye.checks import refuse_not_finite, refuse_repeated, refuse_small_batch, refuse_too_few
from brainlens_mindeye.crew import Crew, refuse_processes, run_in_crew
from brainlens_mindeye.feed import Subject, as_float, hold_out, make_subject
from brainlens_mindeye.learner import Learner
from brainlens_mindeye.loop import ALONE, train
from brainlens_mindeye.params import TrainingParams
from brainlens_mindeye.plan import Plan, refuse_nondeterministic
from brainlens_mindeye.space import TargetSpace, measure_targets
from brainlens_mindeye.start import Known, first_weight, known_subjects, refuse_other_target, take_over

# Trials that are predicted at a time.
BATCH = 256
# What several processes leave for the one that waits for them.
TRAINED = "trained.pt"


class NetworkDecoder(brainlens.Trainable):
    """A decoder whose network has an entry for each subject, and shares the rest.

    Attributes
    ----------
    module
        The network.
    space
        Mean and scale of the training targets.
    subjects
        Names, in the order of the entries.
    history
        Losses of every epoch, and validations, by name.
    """

    # Which training a checkpoint belongs to is told by this and the parameters.
    training_version = "2"
    params: TrainingParams
    # The model to start from, and what is stored of it beside its weights.
    _start: tuple[NetworkDecoder, xr.Dataset] | None = None

    @abc.abstractmethod
    def make_module(self, n_voxels: Sequence[int], shape: tuple[int, int]) -> nn.Module:
        """Return the untrained network for subjects with so many voxels, and targets of (token, channel)."""

    @abc.abstractmethod
    def make_learner(self, training: Sequence[Subject], held_out: Sequence[Subject | None]) -> Learner:
        """Return what the loop trains `module` with."""

    @property
    def centre(self) -> bool:
        """Whether targets are taken about their mean."""
        return True

    def fit(self, response: Any, target: Any, **others: Any) -> None:
        """Train on trials of one subject or several.

        Parameters
        ----------
        response
            Responses, one dataset for each subject: dims (trial, voxel) or (trial, vertex), with `stimulus_id`
            (trial); may be lazy and larger than memory. A single dataset stands for a list of one.
        target
            For each response, `embedding` of dims (trial, channel) or (trial, token, channel), row for row its trials.
        **others
            Further targets of the same trials, where a decoder takes them: a list of datasets each, or None.

        Raises
        ------
        DimensionError
            If there are fewer stimuli than a batch takes, or more subjects, or two responses are of one subject, or a
            value is not finite; or a model to start from is of another target, or knows a subject by other sites.
        ParameterError
            If a model to start from takes targets about their mean and this one does not, or the other way round.
        CheckpointError
            If the folder of intermediate files holds a checkpoint of another training.
        DeviceError
            If memory does not suffice for one trial, or the loss is not finite, or there are fewer GPUs than processes,
            or one of them is stopped, or `deterministic` is more than this torch can do on a GPU as it was started.
        """
        responses, targets = (list(each) if isinstance(each, list | tuple) else [each] for each in (response, target))
        subjects = [make_subject(*pair) for pair in zip(responses, targets, strict=True)]
        self.subjects = [subject.name for subject in subjects]
        refuse_repeated(self.subjects)
        refuse_settings(self.params, self.context, n_subjects=len(subjects))
        parted = [
            hold_out(subject, self.params.validation, rng=self.context.rng(0, number))
            for number, subject in enumerate(subjects)
        ]
        training, held_out = [part[0] for part in parted], [part[1] for part in parted]
        refuse_too_few(training, self.params.batch_size)
        first = training[0].target
        shape, n_voxels = (first.shape[1], first.shape[2]), [subject.response.shape[1] for subject in training]
        self.target_dims = targets[0]["embedding"].ndim
        self.note_target(targets[0])
        known = self._check_start(responses, targets[0], shape)
        for name, given in {"target": targets, **others}.items():
            for each in given or ():
                refuse_not_finite(each["embedding"], name)
        for subject in subjects:
            refuse_not_finite(subject.response, "response")
        # What is started from is used once.
        start, self._start = (None if self._start is None else self._start[0]), None
        self.space = start.space if start is not None else measure_targets(training, centre=self.centre)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self.context.rng(1).integers(2**62)))
            self.module = self.make_module(n_voxels, shape)
        if start is not None:
            weights = self.module.state_dict(), start.module.state_dict()
            self.module.load_state_dict(take_over(*weights, known, but=self.left_behind(start)))
        self.others = others
        identity = f"{type(self).__name__} {self.training_version}, {n_voxels} voxels, {shape}, {self.params!r}"
        data = (training, held_out, identity)
        if self.params.processes == 1:
            self.history = train_decoder(ALONE, self, *data, self.context.scratch)
        else:
            self._train_in_crew(data)
        del self.others

    def _train_in_crew(self, data: tuple[Any, ...]) -> None:
        """Train in processes of their own, and take over what the first one found."""
        with contextlib.ExitStack() as leaving:
            folder = self.context.scratch
            if folder is None:
                folder = Path(leaving.enter_context(tempfile.TemporaryDirectory(prefix="brainlens-mindeye-")))
            run_in_crew(
                train_decoder, (self, *data, folder), n_processes=self.params.processes, device=self.context.device
            )
            found = torch.load(folder / TRAINED, map_location=self.context.device, weights_only=True)
        self.module.to(self.context.device).load_state_dict(found["module"])
        self.module.eval()
        self.history = found["history"]

    def note_target(self, target: xr.Dataset) -> None:
        """Keep what else a decoder wants to know of the target."""

    def start_from(self, state: Mapping[str, np.ndarray], model: xr.Dataset) -> None:
        """Begin with the weights of a model: the entries of its subjects, and all that subjects share.

        A subject that the model does not know gets a fresh entry. One that it knows must have the same sites, which may
        come in another order. Targets must be of the same model, and keep mean and scale of the first fit. All of this
        is looked at by `fit`.

        Parameters
        ----------
        state
            As `state` returned it.
        model
            What is stored beside the weights: labels of sites, channels and tokens, and whose they are.

        Raises
        ------
        CheckpointError
            If the model was fitted with other sizes.
        """
        start = type(self)(self.params, self.context)
        start.load_state(state)
        self._start = (start, model)

    def _check_start(
        self, responses: Sequence[xr.Dataset], target: xr.Dataset, shape: tuple[int, int]
    ) -> dict[int, Known]:
        """Return which subjects the model to start from knows; none where there is no model."""
        if self._start is None:
            return {}
        start, model = self._start
        self.refuse_start(start, shape)
        refuse_other_target(model, target)
        return known_subjects(model, start.subjects, responses)

    def refuse_start(self, start: Any, shape: tuple[int, int]) -> None:
        """Refuse to start from a decoder of targets of another shape than (token, channel), or of another space."""
        expected = tuple(start.space.mean.shape)
        if shape != expected:
            raise brainlens.DimensionError(
                f"target: expected {expected[0]} tokens of {expected[1]} channels as the model to start from has them, "
                f"found {shape[0]} of {shape[1]}. Give the target of that model, or fit without start."
            )
        centred = bool(start.space.mean.any())
        if centred != self.centre:
            raise brainlens.ParameterError(
                f"centre: expected {centred} as in the model to start from, whose mean of the targets is kept, found "
                f"{self.centre}. Choose that, or fit without start."
            )

    def left_behind(self, start: Any) -> tuple[str, ...]:
        """Return beginnings of names of weights that are not taken over from a decoder of the same kind."""
        return ()

    def subject_of(self, response: xr.Dataset) -> int:
        """Return the number of the entry for a response.

        Raises
        ------
        DimensionError
            If it is of none of the subjects, or has another number of voxels.
        """
        name = str(response.attrs.get("subject", ""))
        if name not in self.subjects and len(self.subjects) > 1:
            raise brainlens.DimensionError(
                f"response: expected one of the {len(self.subjects)} subjects that the decoder was fitted to, found "
                f"{name!r}. {brainlens.closest(name, self.subjects)}"
            )
        number = self.subjects.index(name) if name in self.subjects else 0
        expected, found = self.n_voxels()[number], response["response"].sizes
        n_found = next(length for dim, length in found.items() if dim != "trial")
        if n_found != expected:
            raise brainlens.DimensionError(
                f"response: expected the {expected} voxels that the decoder was fitted to, found {n_found}. "
                "Select the same ROI."
            )
        return number

    def n_voxels(self) -> list[int]:
        """Return the voxels of each subject."""
        return [_n_columns(entry.state_dict()) for entry in self.module.get_submodule(self.entries_at)]

    # Where in the module the entries are.
    entries_at = "network.entries"

    def voxel_blocks(self, response: xr.Dataset) -> Any:
        """Yield (rows, voxels) of a response a block at a time, on the device, with progress."""
        array = response["response"].transpose("trial", ...)
        for start in self.context.progress(range(0, len(array), BATCH), label="decoding"):
            rows = slice(start, min(start + BATCH, len(array)))
            yield rows, as_float(array.isel(trial=rows).values).to(self.context.device)

    def labelled(self, values: np.ndarray, mean: Tensor, variants: Sequence[str] = ()) -> xr.Dataset:
        """Return values ([variant,] trial, token, channel) with the dims of the target, and the targets' mean."""
        dims: tuple[str, ...] = ("token", "channel")
        centre = mean.cpu().numpy()
        if self.target_dims == 2:
            values, centre, dims = values[..., 0, :], centre[0], ("channel",)
        first = ("variant", "trial") if variants else ("trial",)
        coords = {"variant": list(variants)} if variants else {}
        return xr.Dataset({"embedding": ((*first, *dims), values), "target_mean": (dims, centre)}, coords)

    def about(self) -> dict[str, Any]:
        """Return what the state says in words."""
        return {"subjects": self.subjects, "target_dims": self.target_dims}

    def take_about(self, about: Mapping[str, Any]) -> None:
        """Take back what `about` returned."""
        self.subjects, self.target_dims = list(about["subjects"]), int(about["target_dims"])

    def state(self) -> dict[str, np.ndarray]:
        """Return weights, the space of the targets, the subjects and the history."""
        return {
            **{f"module.{name}": value.cpu().numpy() for name, value in self.module.state_dict().items()},
            **{f"history.{name}": np.array(values) for name, values in self.history.items()},
            "target_mean": self.space.mean.cpu().numpy(),
            "target_scale": np.array([self.space.scale, self.space.length]),
            "about": np.frombuffer(json.dumps(self.about()).encode(), np.uint8),
        }

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state` returned.

        Raises
        ------
        CheckpointError
            If a weight is missing, of another shape, or not expected.
        """
        self.take_about(json.loads(bytes(state["about"]).decode()))
        mean = torch.from_numpy(np.array(state["target_mean"]))
        self.space = TargetSpace(mean, *map(float, state["target_scale"]))
        self.history = _below(state, "history.", np.ndarray.tolist)
        weights = _below(state, "module.", lambda values: torch.from_numpy(np.array(values)))
        places = (f"{self.entries_at}.{number}." for number in range(len(self.subjects)))
        n_voxels = [_n_columns(_below(weights, place, lambda value: value)) for place in places]
        self.module = self.make_module(n_voxels, (mean.shape[0], mean.shape[1]))
        try:
            self.module.load_state_dict(weights)
        except RuntimeError as error:
            raise brainlens.CheckpointError(
                f"{type(self).__name__}: expected the weights of this network, found others: "
                f"{' '.join(str(error).split())} Fit the model again, or give the sizes it was fitted with."
            ) from error
        self.module.to(self.context.device).eval()


def train_decoder(
    crew: Crew,
    decoder: NetworkDecoder,
    training: Sequence[Subject],
    held_out: Sequence[Subject | None],
    identity: str,
    folder: Path | None,
) -> dict[str, list[float]]:
    """Train a decoder's module in one process of a crew, and return the history.

    One of several processes gets a copy of the decoder. Process 0 leaves weights and history in the folder then.
    """
    if crew.size > 1:
        quiet = decoder.context.quiet or crew.number > 0
        decoder.context = dataclasses.replace(decoder.context, device=crew.device, quiet=quiet)
        # Tensors come to another process in memory that all of them share.
        decoder.module = copy.deepcopy(decoder.module)
    context = decoder.context
    decoder.module.to(context.device)
    size = decoder.params.batch_size // len(training)
    plan = make_plan(decoder.params, context, steps_per_epoch=max(each.n_stimuli // size for each in training))
    learner = decoder.make_learner(training, held_out)
    progress = train(learner, plan, context=context, folder=folder, identity=identity, crew=crew)
    if crew.size > 1 and crew.number == 0 and folder is not None:
        torch.save({"module": decoder.module.state_dict(), "history": progress.history}, folder / TRAINED)
    return progress.history


def make_plan(params: TrainingParams, context: brainlens.Context, *, steps_per_epoch: int) -> Plan:
    """Return the plan that parameters and context ask for."""
    return Plan(
        n_epochs=params.epochs, steps_per_epoch=steps_per_epoch, learning_rate=params.learning_rate,
        weight_decay=params.weight_decay, warm_up=params.warm_up, piece=params.piece, averaging=params.averaging,
        clip=params.clip, patience=params.patience, validate_every=params.validate_every,
        precision=context.precision, device=context.device, seed=context.seed, deterministic=params.deterministic,
        checkpoint_s=params.checkpoint_s,
    )  # fmt: skip


def refuse_settings(params: TrainingParams, context: brainlens.Context, *, n_subjects: int) -> None:
    """Refuse what so many subjects, or this device, cannot be trained with.

    Raises
    ------
    DimensionError
        If a step does not show every subject, or processes cannot share it evenly.
    DeviceError
        If there are fewer GPUs than processes, or training cannot be deterministic as this process was started.
    """
    refuse_small_batch(params.batch_size, n_subjects)
    refuse_processes(params.processes, device=context.device, batch_size=params.batch_size, n_subjects=n_subjects)
    if params.deterministic:
        refuse_nondeterministic(context.device)


def _n_columns(entry: Mapping[str, Tensor]) -> int:
    """Return how many voxels an entry takes."""
    return int(entry[first_weight(entry)].shape[1])


def _below(state: Mapping[str, Any], prefix: str, change: Any) -> dict[str, Any]:
    return {name.removeprefix(prefix): change(values) for name, values in state.items() if name.startswith(prefix)}
