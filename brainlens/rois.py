"""Sets of sites by name: ROI expressions over `roi_mask`, a listing of what there is, and sites sorted by ROI.

ROIs are read here, never made: masks and atlases come in through importers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from brainlens.errors import DimensionError, ParameterError, closest

SITE_DIMS = ("voxel", "vertex")
HEMISPHERES = ("left", "right")
MOST_NESTED = 50

_TOKEN = re.compile(r"""(?P<operator>[-+&()])|'(?P<single>[^']+)'|"(?P<double>[^"]+)"|(?P<bare>[^\s+\-&()'"]+)""")
_NEEDS_QUOTES = re.compile(r"""[\s+\-&()'"*?]""")


@dataclass(frozen=True)
class _Token:
    kind: Literal["name", "pattern", "operator", "end"]
    text: str
    start: int


def list_rois(dataset: xr.Dataset) -> dict[str, int]:
    """Count the sites of every ROI.

    Parameters
    ----------
    dataset
        Any dataset with `roi_mask` (roi, voxel) or (roi, vertex), bool, or a coordinate `hemisphere` on the sites.

    Returns
    -------
    dict
        ROI names in stored order, then `left` and `right` where there is `hemisphere`; each with its number of
        sites. Empty when the dataset has neither.

    Raises
    ------
    DimensionError
        If `roi_mask` or its names are malformed.

    Examples
    --------
    >>> mask = xr.DataArray([[True, True, False]], dims=("roi", "voxel"), coords={"roi": ["V1"]})
    >>> list_rois(xr.Dataset({"roi_mask": mask}))
    {'V1': 2}
    """
    rows = _roi_rows(dataset)
    sizes = dict(zip(rows, _mask_values(dataset).sum(axis=1).tolist(), strict=True)) if rows else {}
    if "hemisphere" in dataset.coords:
        sizes |= {side: int(_hemisphere(dataset, side).sum()) for side in HEMISPHERES if side not in rows}
    return sizes


def roi_sites(dataset: xr.Dataset, expression: str) -> np.ndarray:
    """Find the sites that an ROI expression names.

    Parameters
    ----------
    dataset
        As in `list_rois`.
    expression
        ROI names joined by `+` (union), `-` (difference) and `&` (intersection, binds tighter), with parentheses.
        `*` and `?` stand for any characters and any one character of ROI names, and mean the union of the matches.
        `left`, `right` and `all` are the sites of a hemisphere and all sites, unless an ROI is called so. Names that
        hold spaces or operators go in single or double quotes.

    Returns
    -------
    array
        Shape (n_sites,); bool; at least one is true.

    Raises
    ------
    ParameterError
        If the expression cannot be read; the text points at the place.
    DimensionError
        If a name is unknown, a wildcard matches nothing, there is no `roi_mask`, or no site is left.

    Examples
    --------
    >>> mask = xr.DataArray(np.eye(2, 3, dtype=bool), dims=("roi", "voxel"), coords={"roi": ["V1", "V2"]})
    >>> roi_sites(xr.Dataset({"roi_mask": mask}), "all - V1")
    array([False,  True,  True])
    """
    stack: list[np.ndarray] = []
    sizes: dict[str, int] = {}
    for token in _Parser(expression).parse():
        if token.kind == "operator":
            right, left = stack.pop(), stack.pop()
            stack.append(_COMBINE[token.text](left, right))
        else:
            stack.append(_named_sites(dataset, token, expression))
            sizes[token.text] = int(stack[-1].sum())
    (sites,) = stack
    if not sites.any():
        parts = ", ".join(f"{name!r} {size}" for name, size in sizes.items())
        raise DimensionError(
            f"ROI expression {expression!r}: expected at least one {_site_dim(dataset)}, found none. "
            f"Sizes of its parts: {parts}. list_rois(dataset) gives the sizes of all ROIs."
        )
    return sites


def select_roi(dataset: xr.Dataset, expression: str) -> xr.Dataset:
    """Keep the sites that an ROI expression names, in stored order, in every variable that has sites.

    Parameters
    ----------
    dataset
        As in `list_rois`; may be lazy: nothing but ROI masks is read.
    expression
        As in `roi_sites`, such as `"V1"`, `"V1 + V2"`, `"(FFA + OFA) & left"`, `"nsdgeneral - V*"`.

    Returns
    -------
    Dataset
        The same variables on fewer sites; all ROIs stay in `roi_mask`.

    Raises
    ------
    ParameterError, DimensionError
        As in `roi_sites`.

    Examples
    --------
    >>> mask = xr.DataArray(np.eye(2, 3, dtype=bool), dims=("roi", "voxel"), coords={"roi": ["V1", "V2"]})
    >>> select_roi(xr.Dataset({"roi_mask": mask}, {"voxel": [7, 8, 9]}), "V2")["voxel"].values
    array([8])
    """
    positions = np.flatnonzero(roi_sites(dataset, expression))
    first, last = int(positions[0]), int(positions[-1])
    # A slice keeps arrays in memory as views and lazy ones cheap to read; sorted ROIs are often in one piece.
    contiguous = last - first + 1 == len(positions)
    return dataset.isel({_site_dim(dataset): slice(first, last + 1) if contiguous else positions})


def sort_by_roi(dataset: xr.Dataset) -> xr.Dataset:
    """Sort the sites so that each ROI lies as much in one piece as overlaps allow.

    Sites are ordered by the first ROI (in stored order) that they belong to; those of none come last; ties keep
    their order.

    Parameters
    ----------
    dataset
        As in `list_rois`; may be lazy.

    Returns
    -------
    Dataset
        The same sites, sorted in every variable that has them. Coordinate `source_index` on the sites, int,
        holds the position before sorting; one that is there already is kept and sorted along. A dataset without
        `roi_mask` comes back unchanged.

    Raises
    ------
    DimensionError
        If `roi_mask` or its names are malformed.

    Examples
    --------
    >>> mask = xr.DataArray([[False, False, True], [True, False, True]], dims=("roi", "voxel"))
    >>> dataset = xr.Dataset({"roi_mask": mask}, {"roi": ["V1", "V2"], "voxel": [7, 8, 9]})
    >>> sort_by_roi(dataset)["voxel"].values
    array([9, 7, 8])
    """
    if "roi_mask" not in dataset:
        return dataset
    site = _site_dim(dataset)
    if not _roi_rows(dataset):
        order = np.arange(dataset.sizes[site])
    else:
        mask = _mask_values(dataset)
        order = np.argsort(np.where(mask.any(axis=0), mask.argmax(axis=0), len(mask)), kind="stable")
    if "source_index" not in dataset.variables:
        dataset = dataset.assign_coords(source_index=(site, np.arange(dataset.sizes[site])))
    if np.array_equal(order, np.arange(len(order))):
        return dataset
    return dataset.isel({site: order})


class _Parser:
    """Where reading stands in an expression, and what was read so far in postfix order."""

    def __init__(self, expression: str) -> None:
        if not isinstance(expression, str):
            raise ParameterError(f"ROI expression: expected text such as 'V1 + V2', found {expression!r}.")
        # One space for each kind of space keeps the caret under its place when the text is shown.
        self.expression = re.sub(r"\s", " ", expression)
        self.tokens = list(self._tokenize())
        self.position = 0
        self.postfix: list[_Token] = []

    def parse(self) -> list[_Token]:
        """Return names and operators in postfix order, ready to be evaluated with a stack."""
        self._sum(0)
        if self.tokens[self.position].kind != "end":
            raise self._unexpected("an operator (+ - &) or the end")
        return self.postfix

    def _tokenize(self) -> Iterator[_Token]:
        start = 0
        while start < len(self.expression):
            if self.expression[start] == " ":
                start += 1
                continue
            match = _TOKEN.match(self.expression, start)
            if match is None or match.lastgroup is None:
                raise _syntax_error(
                    self.expression, start, "a name between two equal quotes", repr(self.expression[start:])
                )
            text = match.group(match.lastgroup)
            if match.lastgroup == "operator":
                yield _Token("operator", text, start)
            else:
                is_pattern = match.lastgroup == "bare" and not {"*", "?"}.isdisjoint(text)
                yield _Token("pattern" if is_pattern else "name", text, start)
            start = match.end()
        yield _Token("end", "", len(self.expression))

    def _sum(self, depth: int) -> None:
        self._product(depth)
        while operator := self._take("+", "-"):
            self._product(depth)
            self.postfix.append(operator)

    def _product(self, depth: int) -> None:
        self._operand(depth)
        while operator := self._take("&"):
            self._operand(depth)
            self.postfix.append(operator)

    def _operand(self, depth: int) -> None:
        token = self.tokens[self.position]
        if token.kind in ("name", "pattern"):
            self.position += 1
            self.postfix.append(token)
        elif depth < MOST_NESTED and self._take("("):
            self._sum(depth + 1)
            if not self._take(")"):
                raise self._unexpected("an operator (+ - &) or ')'")
        elif depth == MOST_NESTED:
            raise self._unexpected(f"a name, at most {MOST_NESTED} parentheses deep")
        else:
            raise self._unexpected("a name or '('")

    def _take(self, *operators: str) -> _Token | None:
        token = self.tokens[self.position]
        if token.kind != "operator" or token.text not in operators:
            return None
        self.position += 1
        return token

    def _unexpected(self, expected: str) -> ParameterError:
        token = self.tokens[self.position]
        found = "the end" if token.kind == "end" else repr(token.text)
        return _syntax_error(self.expression, token.start, expected, found)


def _syntax_error(expression: str, start: int, expected: str, found: str) -> ParameterError:
    return ParameterError(
        f"ROI expression, position {start + 1}: expected {expected}, found {found}.\n"
        f"  {expression}\n  {' ' * start}^\n"
        "Join names with + (union), - (difference) or & (intersection); quote names that hold spaces or operators."
    )


def _without(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.asarray(left & ~right)


_COMBINE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "+": np.logical_or,
    "&": np.logical_and,
    "-": _without,
}


def _named_sites(dataset: xr.Dataset, token: _Token, expression: str) -> np.ndarray:
    """Return the sites of one name or wildcard; shape (n_sites,), bool."""
    rows = _roi_rows(dataset)
    if token.kind == "pattern":
        # Only * and ? are special, so that ROI names with brackets need no care.
        pattern = re.escape(token.text).replace(r"\*", ".*").replace(r"\?", ".")
        wanted = [row for name, row in rows.items() if re.fullmatch(pattern, name, re.DOTALL)]
    else:
        wanted = [rows[token.text]] if token.text in rows else []
    if wanted:
        return np.asarray(_mask_values(dataset, wanted).any(axis=0))
    if token.text == "all":
        return np.ones(dataset.sizes[_site_dim(dataset)], dtype=bool)
    if token.text in HEMISPHERES:
        return _hemisphere(dataset, token.text)
    raise _unknown_roi(dataset, token, expression)


def _unknown_roi(dataset: xr.Dataset, token: _Token, expression: str) -> DimensionError:
    where = f"ROI expression {expression!r}"
    if "roi_mask" not in dataset:
        found = ", ".join(map(repr, dataset.data_vars)) or "no variables"
        return DimensionError(
            f"{where}: {token.text!r} needs a variable 'roi_mask' (roi, {_site_dim(dataset)}), found {found}. "
            "Import the data with ROI masks, or use all sites."
        )
    rows = _roi_rows(dataset)
    to_quote = [name for name in rows if _NEEDS_QUOTES.search(name) and name in expression]
    hint = f" To mean one ROI of that name, quote it: {max(to_quote, key=len)!r}." if to_quote else ""
    if "," in token.text:
        joined = " + ".join(part for part in token.text.split(",") if part)
        hint += f" To mean the {_site_dim(dataset)}s of several ROIs, join them with +: {joined!r}."
    known = [*rows, *(HEMISPHERES if "hemisphere" in dataset.coords else ()), "all"]
    problem = "no ROI matches" if token.kind == "pattern" else "there is no ROI"
    return DimensionError(f"{where}: {problem} {token.text!r}. {closest(token.text, known)}{hint}")


def _site_dim(dataset: xr.Dataset) -> str:
    """Return which of the dims holds the sites."""
    if "roi_mask" in dataset:
        mask = dataset["roi_mask"]
        found = [dim for dim in SITE_DIMS if dim in mask.dims]
        if set(mask.dims) != {"roi", *found[:1]} or mask.dtype != np.bool_:
            raise DimensionError(
                "roi_mask: expected dims (roi, voxel) or (roi, vertex) and dtype bool, "
                f"found {mask.dims!r} and {mask.dtype}. Transpose or convert it."
            )
        return found[0]
    for dim in SITE_DIMS:
        if dim in dataset.dims:
            return dim
    raise DimensionError(
        f"ROIs: expected a dataset with a dim 'voxel' or 'vertex', found dims {tuple(dataset.sizes)!r}. "
        "Give a dataset of responses."
    )


def _roi_rows(dataset: xr.Dataset) -> dict[str, int]:
    """Return the row of `roi_mask` of each ROI name, in stored order; empty without `roi_mask`."""
    if "roi_mask" not in dataset:
        return {}
    _site_dim(dataset)
    if "roi" not in dataset.coords:
        raise DimensionError(
            "roi_mask: expected a coordinate 'roi' with the names of the ROIs, found none. Assign one."
        )
    names = [str(name) for name in dataset["roi"].values]
    rows = {name: row for row, name in enumerate(names)}
    if len(rows) != len(names):
        repeated = next(name for row, name in enumerate(names) if rows[name] != row)
        raise DimensionError(f"coordinate 'roi': expected unique names, found {repeated!r} more than once. Rename one.")
    return rows


def _mask_values(dataset: xr.Dataset, rows: list[int] | None = None) -> np.ndarray:
    """Read `roi_mask`, or only some of its rows; shape (n_rois, n_sites), bool."""
    mask = dataset["roi_mask"].transpose("roi", _site_dim(dataset))
    values: np.ndarray = (mask if rows is None else mask.isel(roi=rows)).values
    return values


def _hemisphere(dataset: xr.Dataset, side: str) -> np.ndarray:
    site = _site_dim(dataset)
    if "hemisphere" not in dataset.coords:
        raise DimensionError(
            f"ROI {side!r}: expected a coordinate 'hemisphere' ({site}) with 'left' and 'right', found none among "
            f"{', '.join(map(repr, dataset.coords)) or 'no coordinates'}. Assign it, or leave {side!r} out."
        )
    hemisphere = dataset["hemisphere"]
    if hemisphere.dims != (site,):
        raise DimensionError(
            f"coordinate 'hemisphere': expected dims ({site},), found {hemisphere.dims!r}. Give each {site} one value."
        )
    return np.asarray(hemisphere.values == side)
