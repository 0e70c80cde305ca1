"""The object that users hold: a mapping from names to lazy datasets, with the verbs of the suite."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from brainlens import compute, exporting, fitting, ingesting, provenance
from brainlens.batches import Batches
from brainlens.compute import Settings, Workplace
from brainlens.errors import RegistryError, SchemaError
from brainlens.labels import check_name
from brainlens.lineage import trace_lineage
from brainlens.plugins import PluginHost
from brainlens.records import Entry
from brainlens.rois import list_rois
from brainlens.store import (
    open_dataset,
    open_place,
    open_rows,
    put_dataset,
    query_entries,
    read_manifest,
    verify_dataset,
)
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
        Whether progress bars are off.

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


class Registry(Mapping[str, xr.Dataset]):
    """Every dataset and model of a study, by name; made by `brainlens.open`."""

    def __init__(self, work: Workplace, *, mode: Literal["a", "r"] = "a") -> None:
        self._readable = work
        self._mode = mode

    @property
    def _work(self) -> Workplace:
        """The workplace of the verbs that store or remove."""
        if self._mode == "r":
            found = f"registry {self.path!r}: expected one opened for writing, found mode 'r'"
            raise RegistryError(f"{found}. Nothing was changed. Open it with mode='a'.")
        return self._readable

    def __repr__(self) -> str:
        return f"<brainlens.Registry {str(self._readable.place)!r}: {len(self)} datasets>"

    def __getitem__(self, name: str) -> xr.Dataset:
        """Open a dataset lazily; it is a plain `xarray.Dataset`."""
        return open_dataset(self._readable.place, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._readable.place.names())

    def __len__(self) -> int:
        return len(self._readable.place.names())

    def __contains__(self, name: object) -> bool:
        return name in set(self._readable.place.names())

    def get(self, name: str, default: Any = None) -> Any:
        """Open a dataset, or return `default` when there is none of that name."""
        if name not in self:
            return default
        return self[name]

    @property
    def plugins(self) -> PluginHost:
        """The plugins that this registry works with."""
        return self._readable.host

    @property
    def path(self) -> str:
        """Folder or URL."""
        return str(self._readable.place)

    def list(self, prefix: str = "") -> builtins.list[str]:
        """Return the names of all datasets and models, sorted; those that begin with `prefix` only."""
        return [name for name in self._readable.place.names() if name.startswith(prefix)]

    def query(
        self,
        *,
        kind: str | None = None,
        subject: str | None = None,
        plugin: str | None = None,
        component: str | None = None,
    ) -> builtins.list[Entry]:
        """Return the entries that fit all conditions, by name.

        Parameters
        ----------
        kind
            Such as `"response"`, `"embedding"` or `"model"`.
        subject
            As in `attrs["subject"]`.
        plugin, component
            What made it; `"put"` is the component of what the user stored.
        """
        return query_entries(
            self._readable.place, {"kind": kind, "subject": subject, "plugin": plugin, "component": component}
        )

    def put(self, name: str, dataset: xr.Dataset, *, schema: str | None = None) -> str:
        """Store a dataset under a new name, whole or not at all; return the name.

        Parameters
        ----------
        name
            Parts joined by `/`, such as `subj01/response`.
        dataset
            Follows its schema; may be lazy and larger than memory.
        schema
            Such as `"response"` or `"response.v1"`; `attrs["schema"]` when left out.

        Raises
        ------
        RegistryError
            If the name is bad or taken, or the registry cannot be written.
        SchemaError
            If the dataset does not follow the schema; every problem is listed.
        """
        check_name(name)
        if not isinstance(dataset, xr.Dataset):
            raise SchemaError(
                f"put {name!r}: expected an xarray.Dataset, found {type(dataset).__name__}. Use "
                ".to_dataset(name=…) for a DataArray."
            )
        wanted = schema or dataset.attrs.get("schema")
        if not isinstance(wanted, str):
            raise SchemaError(
                f"put {name!r}: expected a schema, found none. Say which, as in put(name, dataset, schema='response')."
            )
        put_dataset(self._work.place, name, dataset, self._work.schema(wanted), provenance=provenance.stamp_put())
        return name

    def remove(self, name: str) -> None:
        """Take a dataset or model away for good.

        Raises
        ------
        RegistryError
            If there is none of that name.
        """
        self._work.place.remove(check_name(name))

    def show(self, name: str) -> dict[str, Any]:
        """Return the manifest of a dataset: schema, digests, sizes and provenance."""
        return read_manifest(self._readable.place, name)

    def lineage(self, name: str) -> dict[str, Any]:
        """Return what a dataset was made from, back to the raw files, as a tree.

        Returns
        -------
        dict
            `name`, `component`, `params`, `sources` (files with their SHA-256) and `inputs` (list of such trees; an
            input that was removed or replaced since has `missing` or `replaced` set).
        """
        return trace_lineage(self._readable.place, name)

    def verify(self, name: str | None = None) -> builtins.list[str]:
        """Read every byte of one dataset, or of all, and compare with the manifests; return the names checked.

        Raises
        ------
        RegistryError
            Listing everything that is damaged.
        """
        names = [name] if name is not None else self.list()
        damaged = builtins.list(self._readable.place.broken().values()) if name is None else []
        for item in names:
            try:
                verify_dataset(self._readable.place, item)
            except RegistryError as error:
                damaged.append(str(error))
        if damaged:
            raise RegistryError("\n".join(damaged))
        return names

    def rois(self, name: str) -> dict[str, int]:
        """Return the ROIs of a dataset and how many sites each has."""
        return list_rois(self[name])

    def batches(
        self, name: str, variable: str, *, batch_size: int = 128, rows: np.ndarray | None = None, seed: int = 0
    ) -> Batches:
        """Return shuffled batches of a variable's rows, mapped from the files where they are raw and local.

        Parameters
        ----------
        name, variable
            Which variable of which dataset; its first dim is batched over.
        batch_size
            Rows in a batch.
        rows
            Positions of the rows that take part; all when left out.
        seed
            Fixes the order together with the epoch.

        Raises
        ------
        RegistryError
            If there is no such dataset or variable, or it was altered.
        """
        array = open_rows(self._readable.place, name, variable)
        return Batches(array, batch_size=batch_size, rows=rows, seed=seed)

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
        target: str | Sequence[str],
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
        """Fit a decoder from a response to a target embedding; return the name of the stored model.

        Parameters
        ----------
        component
            A decoder, such as `"linear"`.
        response, target
            Names of a stored response and embedding; trials are joined to targets by `stimulus_id`. Several responses,
            each of another subject, with one target or one for each, where the decoder takes several.
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
            Name of a stored model of the same component from which the fit starts, where the decoder can do that.
        seed, device, precision, recompute
            As in `compute`.
        **options
            The decoder's parameters.
        """
        preparation = Preparation(roi=roi, average=coordinate_names(average), standardize=standardize, split=split)
        settings = Settings(name=name, seed=seed, device=device, precision=precision, recompute=recompute)
        given = {"response": response, "target": target, **options}
        return fitting.fit(self._work, component, given, settings, preparation, start=start)

    def predict(
        self,
        model: str,
        *,
        response: str,
        name: str | None = None,
        average: str | Sequence[str] = (),
        split: str | None = None,
        seed: int = 0,
        device: str = "auto",
        precision: str = "float32",
        recompute: bool = False,
    ) -> str:
        """Predict with a stored model; return the name of the stored embedding.

        Sites are taken by label and scaled with the model's training statistics. Coordinate `in_training` says of
        each trial whether the model was fitted on it.

        Parameters
        ----------
        model, response
            Names of a stored model and response.
        average
            Coordinates over which repetitions are averaged before predicting.
        split
            Trials to predict; those with split `test` where there is a `split`, else all.
        name, seed, device, precision, recompute
            As in `compute`.
        """
        settings = Settings(name=name, seed=seed, device=device, precision=precision, recompute=recompute)
        return fitting.predict(
            self._work, model, {"response": response}, settings, average=coordinate_names(average), split=split
        )

    def cross_predict(
        self,
        component: str,
        *,
        response: str,
        target: str,
        leave_out: str,
        n_folds: int | None = None,
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
        """Predict every trial by a decoder fitted without its fold; return the name of the stored embedding.

        Parameters
        ----------
        leave_out
            Coordinate (trial) that makes the folds: `run`, `session`, `repetition` or `stimulus_id`; one value is
            left out at a time.
        n_folds
            Put the values into so many folds instead.
        component, response, target, name, roi, average, standardize, split, **options
            As in `fit`; `split` is `all` when left out.
        seed, device, precision, recompute
            As in `compute`.
        """
        preparation = Preparation(roi=roi, average=coordinate_names(average), standardize=standardize, split=split)
        settings = Settings(name=name, seed=seed, device=device, precision=precision, recompute=recompute)
        given = {"response": response, "target": target, **options}
        return fitting.cross_predict(
            self._work, component, given, settings, preparation, leave_out=leave_out, n_folds=n_folds
        )

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
            A result that is stored under this name with the same recipe is not computed again unless this is set.
        **options
            The component's inputs (names of datasets) and parameters.

        Raises
        ------
        PluginError, ParameterError, RegistryError, SchemaError, DimensionError, DeviceError
            Nothing is stored then.
        """
        settings = Settings(name=name, seed=seed, device=device, precision=precision, recompute=recompute)
        return compute.compute(self._work, component, options, settings)

    def export(self, name: str, target: str | Path, *, exporter: str | None = None, **options: Any) -> Path:
        """Write a dataset to a file or folder for other tools; return its path.

        Parameters
        ----------
        name
            A stored dataset.
        target
            Path that does not exist; its ending decides the format. `.zarr` needs no plugin.
        exporter
            Component that writes it; by the ending when left out.
        **options
            The exporter's parameters.
        """
        return exporting.export(self._readable, name, Path(target), options, exporter=exporter)
