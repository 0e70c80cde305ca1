"""Parameters of `roi.map` and `roi.plot`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

import brainlens


class MapParams(brainlens.Params):
    """Parameters of `roi.map`."""

    metrics: tuple[str, ...] = Field((), description="Metrics that become a map each; none: every one.")
    variable: str = Field("score", description="What of the scores: 'score', 'drop', 'q_value' or any other variable.")
    minus_chance: bool = Field(False, description="Take chance off; for 'score'.")
    rois: tuple[str, ...] = Field((), description="ROIs of the scores that are shown; none: all. They may not overlap.")


class PlotParams(brainlens.Params):
    """Parameters of `roi.plot`."""

    view: Literal["glass", "slices", "surface"] = Field(
        "glass",
        description="Glass brain (MNI), slices, or cortical surface (vertices, or MNI voxels at the surface). A page "
        "(.brain.html) shows slices or a surface.",
    )
    variable: str = Field("", description="Variable that is shown; '' takes the only one with sites beside roi_mask.")
    label: str = Field("", description="Which of several maps, by its label along the other dim.")
    hemisphere: Literal["", "left", "right"] = Field("", description="Of a surface; '' where the dataset has one only.")
    background: str = Field(
        "", description="NIfTI image below slices; '': nilearn's MNI152 where the space begins with MNI, else nothing."
    )
    mesh: str = Field("", description="Mesh of that hemisphere (.surf.gii) where the space is not fsaverage5.")
    centre: float | None = Field(
        None,
        allow_inf_nan=False,
        description="Value in the middle of the colours, in white; none: chance where the map knows it, else 0.",
    )
    threshold: float = Field(0.0, ge=0, description="Values no farther than this from the centre are not shown.")
    vmax: float = Field(0.0, ge=0, description="Where colours end; 0: at the value farthest from the centre.")
    symmetric: bool = Field(
        True, description="Whether colours reach to both sides of the centre; otherwise values below it are not shown."
    )
    title: str = Field("", description="Above the picture; '': the label of the map.")
