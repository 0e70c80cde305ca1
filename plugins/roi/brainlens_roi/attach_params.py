"""Parameters of `roi.attach`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

import brainlens

BACKGROUND = ("background", "unknown", "???", "medial_wall", "medial wall")


def _as_texts(value: Any) -> Any:
    """Let one path or text stand for a tuple of one."""
    if isinstance(value, str):
        return (value,) if value else ()
    if isinstance(value, Iterable) and not isinstance(value, dict):
        return tuple(value)
    return value


def _as_named(value: Any) -> Any:
    """Take whole numbers as labels of a mapping, as nilearn and nibabel give them."""
    if isinstance(value, dict):
        return {str(index): name for index, name in value.items()}
    return _as_texts(value)


Texts = Annotated[tuple[str, ...], BeforeValidator(_as_texts)]
NamedPaths = Annotated[dict[str, str] | tuple[str, ...], BeforeValidator(_as_texts)]
Names = Annotated[dict[str, str] | tuple[str, ...], BeforeValidator(_as_named)]


class AttachParams(brainlens.Params):
    """Parameters of `roi.attach`."""

    masks: NamedPaths = Field(
        (), description="Binary NIfTI masks: files (<ROI>.nii.gz or BIDS label-<ROI>_mask), a folder, or name: file."
    )
    atlas: str = Field("", description="NIfTI image of whole-number labels, 0 for background.")
    atlas_labels: str = Field(
        "", description="Table of the atlas's names: columns index and name, or one name per line from label 1."
    )
    atlas_names: Names = Field(
        (),
        description="Names instead of a table: label: name, or a list from label 1 (from 0 if 'Background' is first).",
    )
    left: str = Field("", description="Labels of the left hemisphere's vertices: .label.gii or FreeSurfer .annot.")
    right: str = Field("", description="The same of the right hemisphere.")
    background: Texts = Field(BACKGROUND, description="Names that are no ROI, whatever their capitals.")
    space: str = Field("", description="Space that the files lie in; must be that of the response.")
    resample: bool = Field(
        False, description="Take the nearest voxel of images on another grid in the same space; 'space' says so."
    )
    empty: Literal["error", "drop"] = Field(
        "error", description="ROIs without a site of the response: refuse, or leave out and name them."
    )
    keep: bool = Field(True, description="Keep the ROIs that the response has, in front of the new ones.")
