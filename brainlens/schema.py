"""Check datasets against the JSON Schema documents, all problems at once, each with its path.

The documents in `schemas/` say everything that JSON Schema can say; the few checks on values are named in
their `x-checks` section and done here. Structure is checked on labels only; values in blocks, so that a
dataset larger than memory can be checked.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import brainlens_schemas
import jsonschema
import numpy as np
import pandas as pd
import xarray as xr

from brainlens.errors import SchemaError, closest, listed
from brainlens.records import Schema

BLOCK_BYTES = 64 * 2**20
# What xarray takes for instructions to the decoder instead of attributes.
_ENCODING_ATTRS = frozenset(
    {
        "_Encoding",
        "_FillValue",
        "_Unsigned",
        "add_offset",
        "calendar",
        "coordinates",
        "dtype",
        "missing_value",
        "scale_factor",
    }
)


@functools.cache
def builtin_schemas() -> dict[str, Schema]:
    """Read the schemas that come with brainlens, by name."""
    folder = importlib.resources.files(brainlens_schemas)
    files = sorted((item for item in folder.iterdir() if item.name.endswith(".json")), key=lambda item: item.name)
    documents = {item.name.removesuffix(".json"): json.loads(item.read_text("utf-8")) for item in files}
    return {name: Schema(name=name, document=document) for name, document in documents.items()}


def find_schema(name: str, schemas: Mapping[str, Schema]) -> Schema:
    """Return the schema called `name` (`"response.v1"`), or the newest version of a kind (`"response"`).

    Raises
    ------
    SchemaError
        If there is none, naming the closest.
    """
    if name in schemas:
        return schemas[name]
    versions = [schema for schema in schemas.values() if schema.kind == name]
    if not versions:
        raise SchemaError(f"no schema {name!r}. {closest(name, schemas)}")
    return max(versions, key=lambda schema: int(schema.name.rsplit(".v", 1)[1]))


def describe(dataset: xr.Dataset) -> dict[str, Any]:
    """Describe names, dims, dtypes and attributes as the JSON value that the schemas are applied to."""
    description = dataset.to_dict(data=False)
    for section in ("coords", "data_vars"):
        for name, variable in description[section].items():
            variable["dtype"] = _dtype_word(dataset[name].dtype)
    described: dict[str, Any] = json.loads(json.dumps(description, default=_json_value))
    return described


def structure_problems(dataset: xr.Dataset, schema: Schema) -> list[str]:
    """List what is wrong with names, dims, dtypes, attributes and labels, without reading large arrays."""
    unstorable = list(_unstorable(dataset))
    if unstorable:
        return unstorable
    validator = jsonschema.Draft202012Validator(dict(schema.document))
    errors = sorted(
        validator.iter_errors(describe(dataset)), key=lambda error: [str(part) for part in error.absolute_path]
    )
    return [*map(_sentence, errors), *_label_problems(dataset, schema)]


def value_problems(
    name: str, block: np.ndarray, schema: Schema, *, dims: tuple[str, ...], start: int = 0
) -> Iterator[str]:
    """Check one block of a variable's rows; `start` is the first row's position, for the message."""
    checks = schema.document.get("x-checks", {})
    if name in checks.get("finite", ()) and block.dtype.kind == "f" and not _all_finite(block):
        bad = ~np.isfinite(block)
        # A value without dims comes as a block of one row.
        where = [int(index) for index in np.argwhere(bad)[0]][: len(dims)]
        if where:
            where[0] += start
        place = ", ".join(f"{dim} {index}" for dim, index in zip(dims, where, strict=True))
        count = f"{int(bad.sum())} of {bad.size} not finite"
        first = f", first at {place}" if place else ""
        yield f"data_vars/{name}: expected finite values, found {count}{first}"
    if name in checks.get("positive", ()) and block.size and block.min() < 1:
        yield f"data_vars/{name}: expected values from 1, found {block.min()}"


def row_blocks(variable: xr.Variable, *, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, np.ndarray]]:
    """Read a variable in blocks of whole rows: position of the first row, and the values."""
    if variable.ndim == 0:
        yield 0, np.asarray(variable.values)[None]
        return
    per_row = max(1, int(np.prod(variable.shape[1:])) * variable.dtype.itemsize)
    rows = max(1, block_bytes // per_row)
    for start in range(0, variable.shape[0], rows):
        yield start, np.asarray(variable[start : start + rows].values)


def validate(dataset: xr.Dataset, schema: Schema | str, *, where: str = "dataset") -> None:
    """Raise one error that lists everything wrong with a dataset.

    Parameters
    ----------
    dataset
        Any dataset; nothing in it is changed.
    schema
        What it should follow: a schema, or the name of one that comes with brainlens, such as `"response"` (the
        newest version) or `"response.v1"`.
    where
        Name for the message.

    Raises
    ------
    SchemaError
        If anything does not fit; `problems` holds one line each.
    """
    if isinstance(schema, str):
        schema = find_schema(schema, builtin_schemas())
    problems = structure_problems(dataset, schema)
    checked = {name for key in ("finite", "positive") for name in schema.document.get("x-checks", {}).get(key, ())}
    for name in sorted(checked & set(map(str, dataset.data_vars))):
        dims = tuple(map(str, dataset[name].dims))
        for start, block in row_blocks(dataset[name].variable):
            found = list(value_problems(name, block, schema, dims=dims, start=start))
            problems += found
            if found:
                break
    raise_problems(problems, schema, where=where)


def raise_problems(problems: list[str], schema: Schema, *, where: str) -> None:
    """Raise the listed problems as one error; do nothing when there are none."""
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise SchemaError(
            f"{where}: {count} with {schema.name}{lines}\n  See 'brainlens schemas {schema.name}'.", problems
        )


def text_values(array: np.ndarray) -> bool:
    """Whether an object or string array holds nothing but text."""
    return array.dtype.kind in "UT" or (
        array.dtype.kind == "O" and all(isinstance(item, str) for item in array.ravel())
    )


def _all_finite(block: np.ndarray) -> bool:
    if block.dtype.itemsize == 2:
        # Half precision is not finite when all bits of the exponent are set; numpy's isfinite is five times slower.
        bits = block.view(np.dtype(np.uint16).newbyteorder(block.dtype.byteorder))
        return not block.size or bool((bits & 0x7FFF).max() < 0x7C00)
    return bool(np.isfinite(block).all())


def _dtype_word(dtype: Any) -> str:
    # Byte order is how values lie in memory, not what they are.
    return "string" if dtype.kind in "OUT" else str(dtype.newbyteorder("=") if isinstance(dtype, np.dtype) else dtype)


def _json_value(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return str(value)


def plain_attrs(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes as the JSON object they are stored as."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(attrs), default=_plain_only))
    return plain


def _unstorable(dataset: xr.Dataset) -> Iterator[str]:
    """Yield what Zarr would lose, refuse or alter; each with what to do instead."""
    for name, index in dataset.indexes.items():
        if isinstance(index, pd.MultiIndex) and name in dataset.dims:
            remedy = f"use dataset.reset_index({name!r}) to make plain coordinates"
            yield f"coords/{name}: a MultiIndex cannot be stored; {remedy}"
    for dim in dataset.dims:
        if dim not in dataset.variables:
            yield from _name_problems(dim, "dim")
    for name, variable in dataset.variables.items():
        wrong = [*_name_problems(name, "variable")]
        yield from wrong or _dtype_problems(dataset, str(name), variable)
    yield from _attribute_problems(dataset.attrs, "attrs", reserved={"coordinates"})
    for name, variable in dataset.variables.items():
        yield from _attribute_problems(variable.attrs, f"{name}/attrs", reserved=_ENCODING_ATTRS)
        yield from _unit_problems(name, variable)


def _name_problems(name: object, what: str) -> Iterator[str]:
    if not isinstance(name, str) or not name or "/" in name or name.startswith(("__", ".")):
        yield f"{what} {name!r}: expected a name without '/' that starts with neither '.' nor '__'; rename it"
    elif not name.isprintable() or any(character.isspace() for character in name):
        yield f"{what} {name!r}: expected a name without spaces and control characters; rename it"
    elif len(name.encode()) > 200:
        yield f"{what} {name!r}: expected a name of at most 200 bytes, found {len(name.encode())}; rename it"
    elif what == "variable" and name.lower() in ("zarr.json", "manifest.json"):
        yield f"variable {name!r}: that is a file that Zarr or the registry writes; rename it"


def _dtype_problems(dataset: xr.Dataset, name: str, variable: xr.Variable) -> Iterator[str]:
    dtype = variable.dtype
    if not isinstance(dtype, np.dtype):
        yield f"{name}: {dtype} values cannot be stored; use .astype(str) or plain numbers"
    elif dtype.kind in "OUT":
        if not (name in dataset.indexes and isinstance(dataset.indexes[name], pd.MultiIndex)):
            yield from _text_problems(name, variable.values.ravel().tolist())
    elif dtype.kind in "Mm":
        if _overflows(variable):
            yield f"{name}: expected times from 1678 to 2261, found others; store them as text or as numbers"
    elif dtype.kind not in "biufc" or dtype.itemsize > (16 if dtype.kind == "c" else 8):
        yield f"{name}: dtype {dtype} cannot be stored; use text, numbers or booleans"


def _text_problems(name: str, values: list[object]) -> Iterator[str]:
    wrong = next(((index, item) for index, item in enumerate(values) if not _is_text(item)), None)
    if wrong is not None:
        yield f"{name}: expected text everywhere, found {wrong[1]!r} at {wrong[0]}; use '' or drop those rows"
        return
    # The padding of fixed-width text: numpy and zarr take it off in some places and not in others.
    padded = next(((index, item) for index, item in enumerate(values) if str(item).endswith("\0")), None)
    if padded is not None:
        yield f"{name}: expected text without trailing NUL, found {padded[1]!r} at {padded[0]}; use .rstrip('\\0')"


def _is_text(item: object) -> bool:
    """Whether it is text that UTF-8 can spell: half a surrogate pair is none."""
    return isinstance(item, str) and (
        item.isascii() or not any("\ud800" <= character <= "\udfff" for character in item)
    )


def _overflows(variable: xr.Variable) -> bool:
    if np.datetime_data(variable.dtype)[0] == "ns":
        return False
    whole = np.asarray(variable.values)
    return bool((whole.astype(f"{whole.dtype.kind}8[ns]").astype(whole.dtype) != whole)[~np.isnat(whole)].any())


def _unit_problems(name: object, variable: xr.Variable) -> Iterator[str]:
    """Yield units that would turn numbers into dates when they are read."""
    units = variable.attrs.get("units")
    if isinstance(units, str) and "since" in units:
        remedy = "store dates as datetime64, or rename the attribute"
        yield f"{name}/attrs/units: {units!r} would read back as dates; {remedy}"
    elif "units" in variable.attrs and variable.dtype.kind in "Mm":
        yield f"{name}/attrs/units: times carry their unit themselves, found {units!r}; remove it"


def _attribute_problems(attrs: Mapping[Any, Any], path: str, *, reserved: Iterable[str]) -> Iterator[str]:
    for key, value in attrs.items():
        if not isinstance(key, str) or not _is_text(key):
            yield f"{path}: expected text as key, found {key!r}; rename it"
        elif key in reserved:
            yield f"{path}/{key}: reserved for how values are encoded, found {value!r}; rename it"
        else:
            try:
                json.dumps(value, default=_plain_only, allow_nan=False, ensure_ascii=False).encode()
                plain = _has_text_keys(value)
            except (TypeError, ValueError, RecursionError):
                plain = False
            if not plain:
                remedy = "convert it, for instance with str()"
                yield f"{path}/{key}: expected text, a finite number, or a list of them, found {value!r}; {remedy}"


def _has_text_keys(value: object) -> bool:
    """Whether all mappings within a value have text as keys; JSON would turn other keys into text."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _has_text_keys(item) for key, item in value.items())
    return all(map(_has_text_keys, value)) if isinstance(value, list | tuple) else True


def _plain_only(value: object) -> object:
    # Times of numpy would turn into numbers without a word.
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind in "biufU":
        return value.tolist()
    raise TypeError(type(value).__name__)


def _label_problems(dataset: xr.Dataset, schema: Schema) -> Iterator[str]:
    checks = schema.document.get("x-checks", {})
    sizes = {str(dim): size for dim, size in dataset.sizes.items()}
    for dim in checks.get("nonempty", ()):
        if sizes.get(dim) == 0:
            yield f"dims/{dim}: expected at least 1, found 0"
    for name in checks.get("unique", ()):
        if name in dataset.coords and dataset[name].ndim == 1:
            labels = pd.Index(dataset[name].values)
            repeated = labels[labels.duplicated()].unique()
            if len(repeated):
                yield f"coords/{name}: expected unique labels, found {listed(repeated)} more than once"
    for name, allowed in checks.get("within", {}).items():
        if name in dataset.coords:
            strange = sorted(set(map(str, np.unique(np.asarray(dataset[name].values, dtype=str)))) - set(allowed))
            if strange:
                yield f"coords/{name}: expected {', '.join(map(repr, allowed))}, found {listed(strange)}"
    for dim, needed in checks.get("labelled", {}).items():
        for name in needed:
            if dim in sizes and name not in dataset.coords:
                yield f"coords/{name}: missing, needed wherever there is a dim {dim!r}"


def _sentence(error: jsonschema.ValidationError) -> str:
    path = "/".join(map(str, error.absolute_path))
    value = error.instance
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in value)
        names = [name for name in error.validator_value if name not in value]
        # One error per missing name comes from jsonschema; its message starts with that name.
        missing = next((name for name in names if error.message.startswith(repr(name))), missing)
        return f"{path}/{missing}: missing"
    if path == "coords/roi/dims" and value in (["voxel"], ["vertex"]):
        # One label for each site is what many have; sites may be in several ROIs here.
        (site,) = value
        remedy = f"say which {site}s are in which ROI by a variable 'roi_mask' (roi, {site}), bool"
        return f"{path}: expected (roi), found ({site}); {remedy}"
    if error.validator == "const":
        return f"{path}: expected {_shown(error.validator_value)}, found {_shown(value)}"
    if error.validator == "enum":
        allowed = " or ".join(map(_shown, error.validator_value))
        return f"{path}: expected {allowed}, found {_shown(value)}"
    if error.validator == "type":
        words = {
            "string": "text",
            "number": "a number",
            "integer": "a whole number",
            "array": "a list",
            "object": "named fields",
        }
        return f"{path}: expected {words.get(error.validator_value, error.validator_value)}, found {_shown(value)}"
    if error.validator == "minLength":
        return f"{path}: expected text, found ''"
    return f"{path}: {error.message}"


def _shown(value: object) -> str:
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return f"({', '.join(value)})"
    return repr(value) if not isinstance(value, str) else value
