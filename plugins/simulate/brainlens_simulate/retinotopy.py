"""Maps of the visual field in V1 to V4: which places of the cortex belong to them, and what each of them looks at.

V1, V2 and V3 are shells around a line along the calcarine sulcus, cut in an upper and a lower bank; V4 is a ball below
them. Size and shape of receptive fields are in `receptive_fields`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# The line of the right hemisphere, in mm: its end at the pole, and how far it rises per mm to the front.
POLE = (13.0, -102.0, -3.0)
_RISE = 0.2
LENGTH_MM = 40.0
# Distances from the line where V1, V2 and V3 end, in mm.
BORDERS = (0.0, 10.5, 16.0, 21.5)
# V2 and V3 are split along the horizontal meridian; what lies between their halves is not theirs.
_GAP = 0.25


@dataclass(frozen=True)
class Calcarine:
    """Where one subject's early areas lie: shift of the line in mm, and factor of all distances from it."""

    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0


def find_early(xyz: np.ndarray, calcarine: Calcarine) -> dict[str, np.ndarray]:
    """Find the voxels of V1, V2 and V3 of one hemisphere.

    Parameters
    ----------
    xyz
        Voxels in mm, (voxel, 3), x counted away from the midline.
    calcarine
        Of the hemisphere.

    Returns
    -------
    dict of ndarray
        For each area: (voxel,), bool.
    """
    along, height, radius = _around(xyz, calcarine)
    reached = (along > -8) & (along < LENGTH_MM)
    split = np.abs(height) > _GAP * radius
    shells = dict(zip(("V1", "V2", "V3"), zip(BORDERS, BORDERS[1:], strict=False), strict=True))
    return {
        area: reached & (radius >= inner) & (radius < outer) & (split | (area == "V1"))
        for area, (inner, outer) in shells.items()
    }


def visual_field(area: str, xyz: np.ndarray, calcarine: Calcarine, v4: tuple[np.ndarray, float]) -> np.ndarray:
    """Return what voxels of one area and hemisphere look at.

    Parameters
    ----------
    area
        V1 to V4.
    xyz
        Voxels in mm, (voxel, 3), x counted away from the midline.
    calcarine
        Of the hemisphere.
    v4
        Centre in mm, x counted away from the midline, and radius in mm of its V4.

    Returns
    -------
    ndarray
        (voxel, 2): eccentricity in degrees of visual angle, and elevation: the polar angle counted from the horizontal
        meridian on the contralateral side, in degrees, 90 straight up, -90 straight down.

    References
    ----------
    Magnification: Horton and Hoyt 1991, Arch. Ophthalmol. 109:816, 17.3 / (E + 0.75) mm per degree. Reversals at the
    meridians: Sereno et al. 1995, Science 268:889. A full hemifield in V4: Wade et al. 2002, Phil. Trans. B 357:963.
    Differs: distance is measured through the volume, not along the folded cortex.
    """
    if area == "V4":
        centre, ball = v4
        offset = (xyz - centre) / ball
        return np.stack([_eccentricity((offset[:, 1] + 1) / 2 * LENGTH_MM), 90 * np.clip(-offset[:, 0], -1, 1)], axis=1)
    along, height, radius = _around(xyz, calcarine)
    _, v1, v2, v3 = BORDERS
    share = {
        "V1": np.abs(height) / v1,
        "V2": 1 - (radius - v1) / (v2 - v1),
        "V3": (radius - v2) / (v3 - v2),
    }[area]
    # The upper bank of the sulcus sees the lower half of the field.
    return np.stack([_eccentricity(along), -np.sign(height) * 90 * np.clip(share, 0, 1)], axis=1)


def _around(xyz: np.ndarray, calcarine: Calcarine) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return distance along the line from the pole, height above it, and distance from it, in mm."""
    placed = xyz - np.array(POLE) - np.array(calcarine.shift)
    along = placed[:, 1]
    across = placed[:, 0] / calcarine.scale
    height = (placed[:, 2] - _RISE * along) / calcarine.scale
    return along, height, np.hypot(across, height)


def _eccentricity(along_mm: np.ndarray) -> np.ndarray:
    degrees: np.ndarray = 0.75 * (np.exp(np.maximum(along_mm, 1.0) / 17.3) - 1)
    return degrees
