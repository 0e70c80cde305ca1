"""NIfTI in and out of brainlens: 4-D BOLD with mask, labels and ROIs in; maps on the original grid out.

Only the parameters and the component records are here; the work is done in the other modules of this package.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

import brainlens

CITATIONS = (
    "Abraham et al. 2014, Machine learning for neuroimaging with scikit-learn, Front. Neuroinform. 8:14, "
    "doi:10.3389/fninf.2014.00014",
    "Brett et al., nibabel, doi:10.5281/zenodo.591597",
)


def _as_texts(value: Any) -> Any:
    """Let one path or text stand for a tuple of one; keep a mapping, with its paths as text."""
    if isinstance(value, str | os.PathLike):
        return (os.fspath(value),) if os.fspath(value) else ()
    if isinstance(value, Mapping):
        return {name: os.fspath(path) if isinstance(path, os.PathLike) else path for name, path in value.items()}
    if isinstance(value, Iterable):
        return tuple(os.fspath(item) if isinstance(item, os.PathLike) else item for item in value)
    return value


def _as_path(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


PathText = Annotated[str, BeforeValidator(_as_path)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_as_texts)]
NamedPaths = Annotated[dict[str, str] | tuple[str, ...], BeforeValidator(_as_texts)]


class NiftiParams(brainlens.Params):
    """Parameters of the importer `nifti`."""

    bold: Texts = Field(min_length=1, description="4-D BOLD image (.nii, .nii.gz), or a list with one image per run.")
    mask: PathText = Field(min_length=1, description="3-D binary mask on the grid of the BOLD; its voxels are read.")
    subject: str = Field(min_length=1, description="Person scanned, as the source labels them, such as 'sub-01'.")
    space: str = Field(min_length=1, description="Space of the voxels, such as 'MNI152NLin2009cAsym'; never guessed.")
    labels: Texts = Field(
        (), description="Text or table with one row per volume: label and run; or a list, one per image."
    )
    events: Texts = Field((), description="BIDS events.tsv files (onset and duration in s), one per image.")
    label_column: str = Field(
        "", description="Column of the labels; '' is 'label' in `labels` and 'trial_type' in `events`."
    )
    run_column: str = Field("run", description="Column of `labels` that names the scanner run.")
    rest: Texts = Field(("rest",), description="Labels that are no stimulus.")
    delay: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Haemodynamic delay added to every event, in s; `events` only."
    )
    event_gap: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="Events of one label that lie at most this far apart, in s, are one.",
    )
    t_r: float = Field(0.0, ge=0, allow_inf_nan=False, description="Repetition time in s; 0 reads it from the header.")
    units: str = Field("arbitrary units", min_length=1, description="Unit of the values in the files.")
    bad_voxels: Literal["error", "drop"] = Field(
        "error", description="What to do with voxels that are not finite, or constant within a run."
    )
    smoothing_fwhm: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Full width at half maximum of the smoothing, in mm; 0 is none."
    )
    detrend: Literal["none", "linear"] = Field("none", description="Trend removed within each run (its mean with it).")
    high_pass: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Cut-off of the high-pass filter within each run, in Hz; 0 is none."
    )
    confounds: Texts = Field((), description="Confound tables (fMRIPrep .tsv), one per image, regressed out.")
    confound_columns: Texts = Field((), description="Columns of the confound tables that are used.")
    confound_gaps: Literal["error", "next"] = Field(
        "error", description="'n/a' in a used confound: refuse, or take the next value, as nilearn does for fMRIPrep."
    )
    standardize_runs: Literal["none", "zscore_sample", "psc"] = Field(
        "none", description="Standardisation within each run: none, z-score, or % signal change."
    )
    average_over: Literal["volume", "block", "run"] = Field(
        "volume", description="One trial per labelled volume, per block of one label, or per run and label."
    )
    rois: NamedPaths = Field(
        (), description="ROI masks: a folder, files (<ROI>.nii.gz or BIDS label-<ROI>_mask), or name: file."
    )
    atlas: PathText = Field("", description="3-D image of whole-number labels, 0 for background.")
    atlas_labels: PathText = Field(
        "", description="Names of the atlas labels: table with index and name, or one name per line from label 1."
    )
    empty_rois: Literal["error", "drop"] = Field(
        "error", description="What to do with ROIs without a voxel in the mask."
    )
    hemispheres: Literal["none", "from_x"] = Field(
        "none", description="'from_x' calls x_mm < 0 left and all else right; only sensible in a RAS+ space."
    )


class MapParams(brainlens.Params):
    """Parameters of the exporter `nifti.map`."""

    variable: str = Field("", description="Variable to write; '' takes the only one with a dim voxel beside roi_mask.")
    label: Texts = Field(
        (), description="Which of several maps, by their labels along the other dim; none: all, a volume each."
    )
    fill: float = Field(0.0, description="Value outside the dataset's voxels, in the unit of the variable.")
    sidecar: bool = Field(
        True, description="Write what each volume is, with units, beside the image: maps.json for maps.nii.gz."
    )


@brainlens.hookimpl
def brainlens_components() -> tuple[brainlens.Component, ...]:
    """Return the importer and the exporter."""
    return (
        brainlens.Component(
            name="nifti",
            role="importer",
            summary="4-D BOLD in NIfTI with mask, labels or BIDS events, ROIs and atlas",
            version="1",
            target="brainlens_nifti.bold:read",
            params=NiftiParams,
            output=("bold", "response", "embedding"),
            citations=CITATIONS,
        ),
        brainlens.Component(
            name="nifti.map",
            role="exporter",
            summary="one variable as NIfTI, exactly on the grid that it came from, with its names beside it in JSON",
            version="1",
            target="brainlens_nifti.map:write",
            params=MapParams,
            suffixes=(".nii", ".nii.gz"),
        ),
    )
