"""The importer `stimuli.table`: pictures and captions of which a table or a JSON file says which belong together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import brainlens
from brainlens_stimuli.import_params import TableParams
from brainlens_stimuli.pictures import read_lazily

SUFFIXES = (".csv", ".tsv", ".json")


def read(*, params: TableParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read the pictures and captions that a table lists, in its order.

    Parameters
    ----------
    params
        Table, columns, and how pictures come to one size; see `TableParams`.
    context
        Notes table and folder; shows progress.

    Returns
    -------
    Mapping
        `images`: stimulus_image.v1 with `image` (stimulus, y, x, rgb), uint8, sRGB. `captions`: stimulus_text.v1 with
        `text` (stimulus, caption). Under `""` where there is but one of them. Columns of `keep` are coordinates of
        both.

    Raises
    ------
    ParameterError
        If the table cannot be read, a column or a value is missing, an identifier is there twice, a path leads out of
        the folder, or a picture is broken.
    DimensionError
        If pictures differ in size, or stimuli in the number of captions.
    RegistryError
        If the table or a picture does not exist.
    """
    path = context.source(params.table)
    table, captions = _read_table(path, params)
    for column in filter(None, [params.file, params.stimulus, *params.keep, *captions]):
        if column not in table:
            raise brainlens.ParameterError(
                f"table {params.table!r}: expected a column {column!r}. {brainlens.closest(column, table.columns)}"
            )
        empty = np.flatnonzero(table[column].isna())
        if empty.size:
            raise brainlens.ParameterError(
                f"table {params.table!r}, column {column!r}: expected a value in every row, found none in "
                f"{empty.size}, the first is row {int(empty[0]) + 1}. Fill it in, or leave the row out."
            )
    coords = _labels(table, params)
    made = {}
    if params.file:
        root = context.source(params.root) if params.root else path.parent
        files = [_inside(root, str(name), params) for name in table[params.file]]
        pictures, attrs = read_lazily(files, params, context, where=f"table {params.table!r}")
        made["images"] = xr.Dataset({"image": pictures}, coords, {"schema": "stimulus_image.v1", **attrs})
    if captions:
        if not params.language:
            raise brainlens.ParameterError(
                "language: expected the tag of the captions' language, such as 'en', found ''."
            )
        text = table[captions].astype(str).to_numpy(dtype=object)
        made["captions"] = xr.Dataset(
            {"text": (("stimulus", "caption"), text)},
            {**coords, "caption": np.array(captions)},
            {"schema": "stimulus_text.v1", "language": params.language, **_origin(params)},
        )
    if not made:
        raise brainlens.ParameterError("expected a column of paths, file=, or of captions, captions=, found neither.")
    return made if len(made) > 1 else {"": next(iter(made.values()))}


def _read_table(path: Path, params: TableParams) -> tuple[pd.DataFrame, list[str]]:
    """Return the table, and which of its columns are captions."""
    if path.suffix not in SUFFIXES:
        raise brainlens.ParameterError(
            f"table {params.table!r}: expected one of {', '.join(SUFFIXES)}, found {path.suffix!r}. Convert it."
        )
    try:
        if path.suffix == ".json":
            found = json.loads(path.read_text("utf-8"))
            if isinstance(found, dict):
                return _from_object(found, params)
            return pd.DataFrame.from_records(found), list(params.captions)
        # Identifiers such as 000785 stay as they are written.
        separator = "," if path.suffix == ".csv" else "\t"
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, na_values=[""]), list(params.captions)
    except (ValueError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise brainlens.ParameterError(
            f"table {params.table!r}: expected rows with named columns, or an object from paths to captions, found "
            f"{error}. "
            "Correct the file."
        ) from error


def _from_object(found: Mapping[str, Any], params: TableParams) -> tuple[pd.DataFrame, list[str]]:
    """Return a table of an object from paths to a caption or a list of them."""
    if params.captions:
        raise brainlens.ParameterError(
            f"captions: expected none for an object from paths to captions, found {params.captions!r}. Leave it out."
        )
    texts = {name: [value] if isinstance(value, str) else list(value) for name, value in found.items()}
    counts = {name: len(value) for name, value in texts.items()}
    n_captions = params.n_captions or max(counts.values(), default=0)
    few = [name for name, count in counts.items() if count < n_captions]
    if few or not n_captions:
        raise brainlens.DimensionError(
            f"table {params.table!r}: expected {n_captions or 'some'} captions of every stimulus, found fewer of "
            f"{len(few)}: {brainlens.listed(few)}. Take the first of each with "
            f"n_captions={min(counts.values(), default=1)}."
        )
    names = [f"{number}" for number in range(n_captions)]
    rows = [[name, *value[:n_captions]] for name, value in texts.items()]
    return pd.DataFrame(rows, columns=[params.file or "file", *names]), names


def _labels(table: pd.DataFrame, params: TableParams) -> dict[str, Any]:
    if params.stimulus:
        stimulus = table[params.stimulus].to_numpy()
    else:
        column = params.file or "file"
        if column not in table:
            raise brainlens.ParameterError(
                f"stimulus: expected the column with the identifiers of {params.table!r}, found ''. Name it."
            )
        stimulus = np.array([Path(str(name)).with_suffix("").as_posix() for name in table[column]])
    if stimulus.dtype == object:
        stimulus = stimulus.astype(str)
    twice = pd.Series(stimulus).duplicated().to_numpy()
    if twice.any():
        raise brainlens.ParameterError(
            f"table {params.table!r}: expected every stimulus once, found {brainlens.listed(stimulus[twice])} again. "
            "Leave rows out, or name the column with the identifiers as stimulus=."
        )
    kept = {}
    for name in params.keep:
        values = table[name].to_numpy()
        kept[name] = ("stimulus", values.astype(str) if values.dtype == object else values)
    return {"stimulus": stimulus, **kept}


def _inside(root: Path, name: str, params: TableParams) -> Path:
    """Return the path of a picture, which has to lie in the folder."""
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise brainlens.ParameterError(
            f"table {params.table!r}: expected paths below {str(root)!r}, found {name!r}. Choose the folder with root=."
        )
    if not path.is_file():
        raise brainlens.RegistryError(
            f"table {params.table!r}: expected the picture {name!r} in {str(root)!r}, found nothing there. Copy it, or "
            "choose the folder with root=."
        )
    return path


def _origin(params: TableParams) -> dict[str, str]:
    return {key: text for key, text in (("citation", params.citation), ("licence", params.licence)) if text}
