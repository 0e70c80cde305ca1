"""The object that users hold: a mapping from names to lazy datasets, with the verbs of the suite."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from brainlens import compute, exporting, fitting, ingesting
from brainlens.errors import RegistryError
from brainlens.jobs import Settings, Workplace
from brainlens.plugins import PluginHost
from brainlens.shelf import Shelf
from brainlens.store import open_place
from brainlens.trials import Preparation, coordinate_names


def open(
    path_or_url: str | Path, *, mode: Literal["a", "r"] = "a", host: PluginHost | None = None, quiet: bool = False
) -> Registry:  # noqa: A001
    """Open the registry in a folder or below a URL.

    Parameters
    ----------
    path_or_url
        Folder such as `study.zarr`, or a URL such as `s3://bucket/study.zarr` (needs `brainlens[cloud]`).
    mode
        `"a"` makes the folder when the first dataset is stored; `"r"` demands that it exists, and refuses to store or
        remove anything.
    host
        Plugins to work with; the installed ones when left out.
    quiet
        Whether progress, and notes that a result is stored already, are off.

    Raises
    ------
    RegistryError
        If the path is a file or a folder of other things, or does not exist though it must.

    Examples
    --------
    >>> registry = open(tmp_path / "study.zarr")
    >>> registry.list()
    []
    """
    if mode not in ("a", "r"):
        raise RegistryError(f"mode: expected 'a' or 'r', found {mode!r}.")
    place = open_place(path_or_url, must_exist=mode == "r")
    return Registry(Workplace(place=place, host=host or PluginHost(), quiet=quiet), mode=mode)


class Registry(Shelf):
    """Every dataset and model of a study, by name, with the verbs of the suite; made by `brainlens.open`."""

    def ingest(
        self, component: str, name: str, *, seed: int = 0, recompute: bool = False, **options: Any
    ) -> builtins.list[str]:
        """Bring files in with an importer; return the names of what was stored.

        Parameters
        ----------
        component
            An importer, such as `"nifti"`.
        name
            Name of the dataset, or first part of the names when there are several.
        seed, recompute
            As in `compute`.
        **options
            The importer's parameters; `brainlens plugins info COMPONENT` lists them.

        Raises
        ------
        PluginError, ParameterError, RegistryError, SchemaError
            Nothing is stored then.
        """
        return ingesting.ingest(self._work, component, options, Settings(name=name, seed=seed, recompute=recompute))

    def fit(
        self,
        component: str,
        *,
        response: str | Sequence[str],
        target: str | Sequence[str] | None = None,
        features: str | Sequence[str] | None = None,
        name: str | None = None,
        roi: str | None = None,
        average: str | Sequence[str] = (),
        standardize: Literal["training", "center", "none"] = "training",
        split: str | None = None,
        start: str | None = None,
        seed: int = 0,
        device: str = "auto",
        precision: str = "float32",
        recompute: bool = False,
        **options: Any,
    ) -> str:
        """Fit a decoder from a response to a target embedding, or an encoder from features to a response.

        Returns the name of the stored model.

        Parameters
        ----------
        component
            A decoder, such as `"linear"`, or an encoder, such as `"encoding.ridge"`.
        response, target
            Of a decoder: names of a stored response and embedding; trials are joined to targets by `stimulus_id`.
            Several responses, each of another subject, with one target or one for each, where the decoder takes
            several.
        features, response
            Of an encoder: names of a stored embedding, or several where the encoder takes several feature spaces, and
            of a stored response; joined in the same way.
        name
            Name of the model; made from component and recipe when left out.
        roi
            ROI expression, such as `"V1 + V2"`.
        average
            Coordinates over which repetitions are averaged before fitting, such as `"stimulus_id"`.
        standardize
            What each site is scaled with: statistics of the training trials, or nothing.
        split
            Trials to fit on; those with split `train` where there is a `split`.
        start
            Name of a stored model of the same component from which the fit starts, where the component can do that.
        seed, device, precision, recompute
            As in `compute`.
        **options
            The component's parameters; a single value where several are taken stands for a tuple of one.
        """
        preparation = Preparation(roi=roi, average=coordinate_names(average), standardize=standardize, split=split)
        settings = Settings(name=name, seed=seed, device=device, precision=precision, recompute=recompute)
        given = _given(response=response, target=target, features=features) | options
        return fitting.fit(self._work, component, given, settings, preparation, start=start)

    def predict(
        self,
        model: str,
        *,
        response: str | None = None,
        features: str | Sequence[str] | None = None,
        name: str | None = None,
        average: str | Sequence[str] = (),
        split: str | None = None,
        seed: int = 0,
        device: str = "auto",
        precision: str = "float32",
        recompute: bool = False,
    ) -> str:
        """Predict with a stored model; return the name of the stored embedding or response.

        A decoder takes sites by label, scaled with the model's training statistics; coordinate `in_training` says of
        each trial whether the model was fitted on it. An encoder takes feature spaces by name, and predicts a response
        for each stimulus or trial of the features, in the unit of the training responses; `in_training` says whether
        the model was fitted on a trial of that stimulus.

        Parameters
        ----------
        model
            Name of a stored model.
        response
            Of a decoder: name of a stored response.
        features
            Of an encoder: name of a stored embedding, or one for each of the model's feature spaces.
        average
            Coordinates over which repetitions are averaged before predicting.
        split
            Trials to predict; those with split `test` where there is a `split`, else all.
        name, seed, device, precision, recompute
            As in `compute`.
        """
        settings = Settings(name=name, seed=seed, device=device, precision=precision, recompute=recompute)
        return fitting.predict(
            self._work,
            model,
            _given(response=response, features=features),
            settings,
            average=coordinate_names(average),
            split=split,
        )

    def cross_predict(
        self,
        component: str,
        *,
        response: str,
        target: str | None = None,
        features: str | Sequence[str] | None = None,
        leave_out: str,
        n_folds: int | None = None,
        average_predicted: str | Sequence[str] = (),
        also: str | None = None,
        name: str | None = None,
        roi: str | None = None,
        average: str | Sequence[str] = (),
        standardize: Literal["training", "center", "none"] = "training",
        split: str | None = None,
        seed: int = 0,
        device: str = "auto",
        precision: str = "float32",
        recompute: bool = False,
        **options: Any,
    ) -> str:
        """Predict every trial by a decoder or encoder fitted without its fold; return the name of what is stored.

        What an encoder predicts for a trial is marked `in_training` where another fold shows the same stimulus.

        Parameters
        ----------
        leave_out
            Coordinate (trial) that makes the folds: `run`, `session`, `repetition` or `stimulus_id`; one value is
            left out at a time.
        n_folds
            Put the values into so many folds instead.
        average_predicted
            Coordinates (trial) over which the trials that a decoder predicts are averaged, where it is fitted to single
            ones.
        also
            Another part of `split`, such as `"test"`, whose trials the decoders of all folds predict: the mean of their
            embeddings stands behind the trials that were left out, with "all" as its fold. Each of these decoders draws
            random numbers of its own, which follow from the seed.
        component, response, target, features, name, roi, average, standardize, split, **options
            As in `fit`; `split` is `all` when left out.
        seed, device, precision, recompute
            As in `compute`.
        """
        preparation = Preparation(roi=roi, average=coordinate_names(average), standardize=standardize, split=split)
        settings = Settings(name=name, seed=seed, device=device, precision=precision, recompute=recompute)
        given = _given(response=response, target=target, features=features) | options
        return fitting.cross_predict(
            self._work, component, given, settings, preparation, leave_out=leave_out, n_folds=n_folds,
            average_predicted=coordinate_names(average_predicted, called="average_predicted"), also=also,
        )  # fmt: skip

    def compute(
        self,
        component: str,
        *,
        name: str | None = None,
        seed: int = 0,
        device: str = "auto",
        precision: str = "float32",
        recompute: bool = False,
        **options: Any,
    ) -> str:
        """Carry out an analysis, embedder or generator; return the name of the stored result.

        Parameters
        ----------
        component
            Such as `"retrieval.rank"`.
        name
            Name of the result; made from component and recipe when left out.
        seed
            Whole number from 0; every random choice derives from it.
        device
            `"auto"`, `"cpu"`, `"cuda"` or `"cuda:N"`.
        precision
            `"float32"`, `"bfloat16"` or `"float16"`.
        recompute
            A result of the same recipe that is stored under this name, or without a name under one that was made for
            it, is not computed again unless this is set. What is computed again takes a name that is free: the one
            that is given, or the one that is made with the next number, such as `-2`, behind it. Later calls without a
            name find the newest.
        **options
            The component's inputs (names of datasets) and parameters. Where a parameter takes several values, a single
            one stands for a tuple of one: `top_k=1`.

        Raises
        ------
        PluginError, ParameterError, RegistryError, SchemaError, DimensionError, DeviceError
            Nothing is stored then.
        """
        settings = Settings(name=name, seed=seed, device=device, precision=precision, recompute=recompute)
        return compute.compute(self._work, component, options, settings)

    def export(
        self, name: str, target: str | Path, *, exporter: str | None = None, overwrite: bool = False, **options: Any
    ) -> Path:
        """Write a dataset to a file or folder for other tools; return its path.

        Parameters
        ----------
        name
            A stored dataset.
        target
            Path that does not exist; its ending decides the format. `.zarr` needs no plugin.
        exporter
            Component that writes it; by the ending when left out.
        overwrite
            Whether the target may exist: a file, or a Zarr folder that was exported. It is replaced once the new one is
            written. Other folders, links and whatever lies in a registry are never overwritten.
        **options
            The exporter's parameters.
        """
        return exporting.export(self._readable, name, Path(target), options, exporter=exporter, overwrite=overwrite)


def _given(**inputs: Any) -> dict[str, Any]:
    """Return the inputs that the user gave."""
    return {key: value for key, value in inputs.items() if value is not None}
