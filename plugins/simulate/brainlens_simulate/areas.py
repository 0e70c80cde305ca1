"""The visual areas of the simulated brain: where they lie, what they prefer, and how reliable their voxels are.

V1, V2 and V3 have no entry for their place: they are laid out around the calcarine sulcus, see `retinotopy`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import brainlens

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Area:
    """One visual area.

    Parameters
    ----------
    left, right
        Centre in mm, x to the right, y to the front, z upwards.
    radius
        Of a ball around the centre, in mm: left, right.
    concepts
        Concepts that its voxels prefer, and the share of each.
    ncsnr
        Median of its voxels, no unit.
    """

    left: Point
    right: Point
    radius: tuple[float, float]
    concepts: Mapping[str, float]
    ncsnr: float


EARLY = ("V1", "V2", "V3", "V4")
CONTROL, VISUAL = "control", "visual"

# Centres are set by hand, rounded, and near what localisers find on average; they are no atlas, and those published in
# Talairach space were moved by eye. hV4: Wade et al. 2002, Phil. Trans. B 357:963. FFA: Kanwisher et al. 1997,
# J. Neurosci. 17:4302. OFA: Pitcher et al. 2011, Exp. Brain Res. 209:481. EBA: Downing et al. 2001, Science 293:2470.
# FBA: Peelen and Downing 2005, J. Neurophysiol. 93:603. PPA: Epstein and Kanwisher 1998, Nature 392:598. OPA: Dilks et
# al. 2013, J. Neurosci. 33:1331. RSC: Epstein 2008, Trends Cogn. Sci. 12:388. VWFA: Cohen et al. 2000, Brain 123:291.
# Food: Jain et al. 2023, Commun. Biol. 6:175; Khosla et al. 2022, Curr. Biol. 32:4159. The control is auditory cortex.
# The ncsnr are set by hand, to give noise ceilings such as those of the NSD (Allen et al. 2022, Nat. Neurosci. 25:116);
# they were not measured.
_EARLY_NCSNR = MappingProxyType({"V1": 0.55, "V2": 0.52, "V3": 0.48})
AREAS: Mapping[str, Area] = MappingProxyType(
    {
        "V4": Area((-28, -79, -13), (29, -78, -13), (10, 10), {}, 0.45),
        "OFA": Area((-38, -80, -11), (40, -78, -11), (7, 8.5), {"face": 1.0}, 0.42),
        "FFA": Area((-40, -54, -18), (41, -52, -18), (7.5, 9), {"face": 1.0}, 0.5),
        "EBA": Area((-47, -72, 3), (48, -70, 2), (10, 11), {"body": 1.0}, 0.5),
        "FBA": Area((-41, -46, -18), (43, -45, -18), (6, 7), {"body": 1.0}, 0.42),
        "PPA": Area((-26, -47, -9), (27, -45, -9), (8.5, 9), {"outdoor": 0.5, "indoor": 0.5}, 0.45),
        "OPA": Area((-33, -82, 20), (34, -80, 20), (9, 9), {"outdoor": 0.5, "indoor": 0.5}, 0.45),
        "RSC": Area((-16, -57, 12), (17, -55, 12), (8, 8), {"outdoor": 0.7, "indoor": 0.3}, 0.38),
        "VWFA": Area((-44, -59, -14), (45, -60, -14), (8, 5.5), {"word": 1.0}, 0.4),
        "food": Area((-32, -61, -13), (33, -60, -13), (7.5, 7.5), {"food": 1.0}, 0.42),
        CONTROL: Area((-48, -20, 7), (49, -19, 7), (9, 9), {}, 0.0),
    }
)
# Every named ROI, in the order in which they are stored; `visual` holds all but the control, as nsdgeneral does.
ROIS = (*_EARLY_NCSNR, *AREAS, VISUAL)
# Concepts of the visual cortex outside the named areas: the nearest of these places decides, within its radius.
# Animals lateral, tools medial fusiform and left middle temporal: Chao et al. 1999, Nat. Neurosci. 2:913.
PATCHES: Sequence[tuple[str, Point, float]] = (
    ("animal", (-43, -68, -10), 11),
    ("animal", (43, -68, -10), 11),
    ("tool", (-28, -54, -14), 9),
    ("tool", (28, -54, -14), 9),
    ("tool", (-50, -60, -3), 10),
    ("vehicle", (-32, -72, -14), 8),
    ("vehicle", (32, -72, -14), 8),
    ("vehicle", (-40, -84, 8), 9),
    ("vehicle", (40, -84, 8), 9),
)
_VISUAL_NCSNR = 0.3


def median_ncsnr(area: str) -> float:
    """Return the median ncsnr of an area's voxels.

    Examples
    --------
    >>> median_ncsnr("FFA"), median_ncsnr("control")
    (0.5, 0.0)
    """
    if area in AREAS:
        return AREAS[area].ncsnr
    return _EARLY_NCSNR.get(area, _VISUAL_NCSNR)


def check_rois(given: Sequence[str]) -> tuple[str, ...]:
    """Return the names of ROIs in stored order, all known and each once; `visual` is always there.

    Raises
    ------
    ValueError
        If one is unknown, naming the closest, or given twice.
    """
    for name in given:
        if name not in ROIS:
            raise ValueError(f"no ROI {name!r}. {brainlens.closest(name, ROIS)}")
    if len(set(given)) < len(given):
        raise ValueError(f"expected each ROI once, found {', '.join(given)}")
    return tuple(name for name in ROIS if name in given or name == VISUAL)
