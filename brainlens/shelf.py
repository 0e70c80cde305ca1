"""What is stored of a study, by name: a mapping of lazy datasets that can be listed, put, shown, verified and removed.

The verbs that make new datasets from these are in `brainlens.registry`.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import xarray as xr

from brainlens import provenance
from brainlens.batches import Batches
from brainlens.errors import RegistryError, SchemaError
from brainlens.jobs import Workplace
from brainlens.labels import check_name
from brainlens.lineage import trace_lineage
from brainlens.plugins import PluginHost
from brainlens.records import Entry
from brainlens.rois import list_rois
from brainlens.store import (
    open_dataset,
    open_rows,
    put_dataset,
    query_entries,
    read_manifest,
    verify_dataset,
)


class Shelf(Mapping[str, xr.Dataset]):
    """Every dataset and model of a study, by name."""

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
            raise _no_dataset(name, dataset, schema)
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


def _no_dataset(name: str, found: object, schema: str | None) -> SchemaError:
    remedy = "Name its dims and labels: xarray.Dataset({'response': (('trial', 'voxel'), array)}, {'trial': …})"
    if isinstance(found, xr.DataArray):
        remedy = "Name the variable, as in .to_dataset(name='response')"
    return SchemaError(
        f"put {name!r}: expected an xarray.Dataset, found {type(found).__name__}. {remedy}; what it needs is said by "
        f"'brainlens schemas {schema or 'response'}'."
    )
