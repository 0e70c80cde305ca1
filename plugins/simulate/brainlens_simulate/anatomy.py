"""Where the voxels of a simulated subject lie: grey matter of the MNI template, in named and partly overlapping ROIs.

Subjects differ in where their areas lie, how large they are, and which voxels were measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import xarray as xr

import brainlens
from brainlens_simulate.areas import AREAS, CONTROL, EARLY, VISUAL, Point
from brainlens_simulate.retinotopy import Calcarine, find_early, visual_field

# nilearn packages ICBM 2009a nonlinear symmetric, which TemplateFlow and BIDS call so.
SPACE = "MNI152NLin2009aSym"
RESOLUTION_MM = 2
_GREY = 0.35
_SHIFT_MM = 2.0
_SIZE_SD = 0.12
FEWEST = 4
SIDES = ("left", "right")


@dataclass(frozen=True)
class Grid:
    """Grey matter that may be measured: the affine, the shape of the volume, and its voxels (voxel, 3), in mm too."""

    affine: np.ndarray
    shape: tuple[int, int, int]
    ijk: np.ndarray
    xyz: np.ndarray


def draw_sites(rng: np.random.Generator, *, n_voxels: int, rois: Sequence[str]) -> xr.Dataset:
    """Draw the anatomy of one subject.

    Parameters
    ----------
    rng
        Its state alone decides the anatomy.
    n_voxels
        Voxels that are measured; spread over ROIs and hemispheres by their sizes, but with a few in each.
    rois
        Names of ROIs, in stored order; `visual` among them.

    Returns
    -------
    Dataset
        Dims (voxel,), sorted by ROI: `i`, `j`, `k`, `x_mm`, `y_mm`, `z_mm`, `hemisphere`; `area`: the ROI that decides
        what the voxel does, one of those that it belongs to; `eccentricity` and `elevation` in degrees, NaN outside V1
        to V4, see `retinotopy`. `roi_mask` (roi, voxel), bool. `voxel` is the position in the flattened volume, so that
        one place has one label in every subject.

    Raises
    ------
    ParameterError
        If there are not so many voxels, or so few that an ROI would be left without.
    """
    grid = load_grid()
    everything = _whole_brain(rng, grid, rois)
    chosen = np.sort(_choose(rng, everything, n_voxels))
    sites = brainlens.sort_by_roi(everything.isel(voxel=chosen)).drop_vars("source_index")
    return sites.assign_attrs(
        space=SPACE, affine=grid.affine.ravel().tolist(), volume_shape=list(grid.shape), simulated=1
    )


@cache
def load_grid() -> Grid:
    """Return the grey matter of visual cortex, and of the control, on nilearn's MNI template."""
    # Takes seconds to import; listing components must not.
    from nilearn.datasets import load_mni152_gm_template

    image = load_mni152_gm_template(resolution=RESOLUTION_MM)
    ijk = np.argwhere(np.asarray(image.dataobj) > _GREY)
    xyz = ijk @ image.affine[:3, :3].T + image.affine[:3, 3]
    kept = _is_visual(xyz) | _in_ball(xyz, AREAS[CONTROL].left, 15) | _in_ball(xyz, AREAS[CONTROL].right, 15)
    # The plane between the hemispheres belongs to neither.
    kept &= xyz[:, 0] != 0
    first, second, third = image.shape
    return Grid(affine=image.affine, shape=(first, second, third), ijk=ijk[kept].astype(np.int32), xyz=xyz[kept])


def _is_visual(xyz: np.ndarray) -> np.ndarray:
    """Whether places are occipital or posterior temporal, and above the tentorium, a smooth surface here."""
    x, y, z = xyz.T
    middle = -20 + 22 * np.clip((y + 85) / 37, 0, 1)
    tentorium = -24 + (middle + 24) * np.exp(-((x / 24) ** 2))
    top = 34 - 0.9 * np.maximum(0, y + 70)
    inside: np.ndarray = (y < -36) & (z > tentorium) & (z < top)
    return inside


def _in_ball(xyz: np.ndarray, centre: Point | np.ndarray, radius: float) -> np.ndarray:
    inside: np.ndarray = np.linalg.norm(xyz - np.asarray(centre), axis=1) < radius
    return inside


def _whole_brain(rng: np.random.Generator, grid: Grid, rois: Sequence[str]) -> xr.Dataset:
    """Return all voxels that could be measured, with their ROIs and what they look at."""
    right = grid.xyz[:, 0] > 0
    mask = {name: np.zeros(len(right), bool) for name in rois}
    field = {name: np.full((len(right), 2), np.nan) for name in EARLY}
    for side, here in zip(SIDES, (~right, right), strict=True):
        away = grid.xyz[here] * (1 if side == "right" else -1, 1, 1)
        found, fields = _one_side(rng, away, side)
        for name in set(rois) & set(found):
            mask[name][here] = found[name]
        for name in EARLY:
            field[name][here] = fields[name]
    mask[VISUAL] = _is_visual(grid.xyz)
    roi_mask = np.stack(list(mask.values()))
    measurable = roi_mask.any(axis=0)
    area = _pick_area(rng, roi_mask, tuple(rois))
    seen = np.full((len(right), 2), np.nan)
    for name in EARLY:
        seen[area == name] = field[name][area == name]
    coords = {
        "voxel": np.ravel_multi_index(tuple(grid.ijk.T), grid.shape),
        **dict(zip("ijk", grid.ijk.T, strict=True)),
        **dict(zip(("x_mm", "y_mm", "z_mm"), grid.xyz.T.astype(np.float32), strict=True)),
        "hemisphere": np.where(right, "right", "left"),
        "area": area,
        "eccentricity": seen[:, 0].astype(np.float32),
        "elevation": seen[:, 1].astype(np.float32),
    }
    sites = xr.Dataset(
        {"roi_mask": (("roi", "voxel"), roi_mask)},
        {"roi": list(rois), **{name: ("voxel", values) for name, values in coords.items()}},
    )
    return sites.isel(voxel=measurable)


def _one_side(
    rng: np.random.Generator, xyz: np.ndarray, side: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Place the areas of one hemisphere; return their voxels, and what they look at; x away from the midline."""
    shift = rng.normal(0, _SHIFT_MM, 3)
    calcarine = Calcarine((shift[0], shift[1], shift[2]), float(np.exp(rng.normal(0, _SIZE_SD))))
    balls = {}
    for name, area in AREAS.items():
        x, y, z = area.left if side == "left" else area.right
        radius = area.radius[SIDES.index(side)] * np.exp(rng.normal(0, _SIZE_SD))
        balls[name] = (rng.normal((abs(x), y, z), _SHIFT_MM), float(radius))
    found = {name: _in_ball(xyz, *ball) for name, ball in balls.items()} | find_early(xyz, calcarine)
    visual = _is_visual(xyz)
    found = {name: voxels & (visual | (name == CONTROL)) for name, voxels in found.items()}
    return found, {name: visual_field(name, xyz, calcarine, balls["V4"]) for name in EARLY}


def _pick_area(rng: np.random.Generator, roi_mask: np.ndarray, rois: tuple[str, ...]) -> np.ndarray:
    """Pick for each voxel one of the named ROIs that it belongs to; `visual` where there is none."""
    named = [number for number, name in enumerate(rois) if name != VISUAL]
    chances = roi_mask[named] * rng.random((len(named), roi_mask.shape[1]))
    picked = np.array([rois[number] for number in named] or [VISUAL])[chances.argmax(axis=0) if named else 0]
    return np.where(roi_mask[named].any(axis=0), picked, VISUAL)


def _choose(rng: np.random.Generator, everything: xr.Dataset, n_voxels: int) -> np.ndarray:
    """Choose voxels at random within each area and hemisphere: a few in each, and the others by size."""
    groups, member = np.unique(
        [everything["area"].values, everything["hemisphere"].values], axis=1, return_inverse=True
    )
    available = np.bincount(member)
    fewest = np.minimum(FEWEST, available)
    if not fewest.sum() <= n_voxels <= available.sum():
        raise brainlens.ParameterError(
            f"n_voxels: expected {fewest.sum()} to {available.sum()}, from {FEWEST} in each of {groups.shape[1]} areas "
            f"and hemispheres to all grey matter of the ROIs in this subject, found {n_voxels}. Ask for another number."
        )
    wanted = _allot(n_voxels, available, fewest)
    order = rng.permutation(len(member))
    rank = np.empty(len(member), int)
    for group, count in enumerate(available):
        rank[order[member[order] == group]] = np.arange(count)
    return np.flatnonzero(rank < wanted[member])


def _allot(total: int, available: np.ndarray, fewest: np.ndarray) -> np.ndarray:
    """Divide a total in proportion to what is available beyond the fewest, to the last one."""
    room = available - fewest
    exact = room * ((total - fewest.sum()) / max(1, room.sum()))
    wanted = np.floor(exact).astype(int)
    rest = np.argsort(wanted - exact, kind="stable")[: total - fewest.sum() - wanted.sum()]
    wanted[rest] += 1
    allotted: np.ndarray = fewest + wanted
    return allotted
