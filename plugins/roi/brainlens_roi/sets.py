"""Which sites each set of a decoding has: ROIs alone, all but one ROI, or more and more ROIs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

import brainlens
from brainlens_roi.params import DecodeParams

EVERYWHERE = "all sites"
_SPECIAL = re.compile(r"""[\s+\-&()'"*?]""")


@dataclass(frozen=True, kw_only=True)
class Sets:
    """What is decoded from.

    Attributes
    ----------
    mode
        `alone`, `left_out` or `growing`.
    rois
        Names of the ROIs.
    members
        Of each ROI, positions among the sites; ascending.
    within
        Positions of the sites from which ROIs are left out; empty in other modes.
    whole
        Name of these sites; empty in other modes.
    by_score
        Whether each fold orders the ROIs by how well its training trials are decoded from them.
    """

    mode: str
    rois: tuple[str, ...]
    members: tuple[np.ndarray, ...]
    within: np.ndarray
    whole: str
    by_score: bool

    @property
    def labels(self) -> tuple[str, ...]:
        """Name of each set."""
        if self.mode == "left_out":
            return (self.whole, *self.rois)
        if self.mode == "growing":
            return tuple(f"best {n}" if self.by_score else f"+ {self.rois[n - 1]}" for n in range(1, len(self) + 1))
        return self.rois

    def __len__(self) -> int:
        return len(self.rois) + (self.mode == "left_out")

    def sites(self, number: int, order: Sequence[int] | None = None) -> np.ndarray:
        """Return the positions of a set's sites, ascending; `order` is that of the ROIs of a growing set."""
        if self.mode == "left_out":
            return self.within if number == 0 else np.setdiff1d(self.within, self.members[number - 1])
        if self.mode == "growing":
            order = range(len(self.rois)) if order is None else order
            return np.sort(np.concatenate([self.members[roi] for roi in order[: number + 1]]))
        return self.members[number]


def make_sets(response: xr.Dataset, params: DecodeParams) -> Sets:
    """Find the sites of every set.

    Parameters
    ----------
    response
        With `roi_mask`.
    params
        ROI expressions, mode and what ROIs are left out of.

    Raises
    ------
    DimensionError
        If an ROI does not exist or has no site, the response has no ROI at all, an ROI lies outside of what it is left
        out of or is all of it, or ROIs of growing sets overlap.
    ParameterError
        If an expression cannot be read, or is there twice.
    """
    names = params.rois or own_rois(response)
    if not names:
        raise brainlens.DimensionError(
            "rois: expected ROIs, found none named and none in the response. Import it with ROI masks, or attach them "
            "with roi.attach."
        )
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise brainlens.ParameterError(f"rois: expected each once, found {repeated[0]!r} twice. Leave one out.")
    members = tuple(members_of(response, name) for name in names)
    within, whole = np.empty(0, np.int64), ""
    if params.mode == "left_out":
        whole = params.within or EVERYWHERE
        within = members_of(response, params.within or "all")
        _check_rest(names, members, within, whole)
    if params.mode == "growing":
        _refuse_overlap(response, names, members)
    return Sets(
        mode=params.mode,
        rois=tuple(map(unquoted, names)),
        members=members,
        within=within,
        whole=whole,
        by_score=params.mode == "growing" and params.order == "score",
    )


def own_rois(response: xr.Dataset) -> tuple[str, ...]:
    """Return the names of all ROIs of a response that have sites, quoted where an expression needs that."""
    if "roi_mask" not in response:
        return ()
    filled = response["roi_mask"].transpose("roi", ...).values.any(axis=1)
    return tuple(quoted(str(name)) for name, has in zip(response["roi"].values, filled, strict=True) if has)


def quoted(name: str) -> str:
    """Return an ROI's name as an expression means it.

    Raises
    ------
    DimensionError
        If it holds both kinds of quotes.

    Examples
    --------
    >>> quoted("V1"), quoted("Left Cerebral Cortex")
    ('V1', "'Left Cerebral Cortex'")
    """
    if not _SPECIAL.search(name):
        return name
    if "'" in name and '"' in name:
        raise brainlens.DimensionError(
            f"ROI {name!r}: expected a name with one kind of quotes at most, found both, which no expression can name. "
            "Rename it."
        )
    return f'"{name}"' if "'" in name else f"'{name}'"


def unquoted(expression: str) -> str:
    """Return the name that an expression quotes, or the expression where it is no single quoted name.

    Examples
    --------
    >>> unquoted("'Left Cerebral Cortex'"), unquoted("'a b' + 'c d'")
    ('Left Cerebral Cortex', "'a b' + 'c d'")
    """
    mark, inner = expression[:1], expression[1:-1]
    return inner if len(inner) and mark in "'\"" and expression[-1] == mark and mark not in inner else expression


def members_of(response: xr.Dataset, expression: str) -> np.ndarray:
    """Return the positions of the sites that an expression names, ascending, int.

    Raises
    ------
    ParameterError, DimensionError
        As in `brainlens.select_roi`.
    """
    site = site_dim(response)
    place = "position of a site"
    masks = response[["roi_mask"]] if "roi_mask" in response else xr.Dataset(coords={site: response[site]})
    masks = masks.assign({place: (site, np.arange(response.sizes[site]))})
    if "hemisphere" in response.coords:
        masks = masks.assign_coords(hemisphere=response["hemisphere"].variable)
    found: np.ndarray = brainlens.select_roi(masks, expression)[place].values
    return found


def site_dim(response: xr.Dataset) -> str:
    """Return the dim of the sites, `voxel` or `vertex`."""
    return "voxel" if "voxel" in response.dims else "vertex"


def _check_rest(names: Sequence[str], members: Sequence[np.ndarray], within: np.ndarray, whole: str) -> None:
    if whole in names:
        raise brainlens.ParameterError(
            f"rois: expected parts of {whole!r}, out of which they are left, found {whole!r} itself. Leave it out."
        )
    for name, sites in zip(names, members, strict=True):
        n_inside = len(np.intersect1d(sites, within))
        if n_inside == 0:
            raise brainlens.DimensionError(
                f"rois: expected ROIs that share sites with within={whole!r}, found none shared by {name!r} "
                f"({len(sites)} sites). Leave {name!r} out, or choose another 'within'."
            )
        if n_inside == len(within):
            raise brainlens.DimensionError(
                f"rois: expected sites to remain of {whole!r} ({len(within)}) once an ROI is left out, found none "
                f"without {name!r}. Leave {name!r} out, or choose a larger 'within'."
            )


def _refuse_overlap(response: xr.Dataset, names: Sequence[str], members: Sequence[np.ndarray]) -> None:
    owner = np.full(response.sizes[site_dim(response)], -1)
    for number, sites in enumerate(members):
        taken = sites[owner[sites] >= 0]
        if len(taken):
            other = names[owner[taken[0]]]
            raise brainlens.DimensionError(
                f"rois: expected ROIs that do not overlap for mode='growing', found {len(taken)} sites of "
                f"{names[number]!r} in {other!r} already. Take the overlap off one, as in "
                f"'{names[number]} - {other}'."
            )
        owner[sites] = number
