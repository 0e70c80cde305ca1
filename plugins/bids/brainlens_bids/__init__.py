"""BIDS into brainlens: BOLD after fMRIPrep with confounds and events, single-trial betas, and betas of other programs.

Only the parameters and the component records are here; the work is done in the other modules of this package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

import brainlens

NILEARN = (
    "Abraham et al. 2014, Machine learning for neuroimaging with scikit-learn, Front. Neuroinform. 8:14, "
    "doi:10.3389/fninf.2014.00014"
)
BIDS = (
    "Gorgolewski et al. 2016, The brain imaging data structure, Sci. Data 3:160044, doi:10.1038/sdata.2016.44",
    NILEARN,
)
FMRIPREP = (
    "Esteban et al. 2019, fMRIPrep: a robust preprocessing pipeline for functional MRI, Nat. Methods 16:111-116, "
    "doi:10.1038/s41592-018-0235-4"
)
CONFOUNDS = (
    "Wang et al. 2024, Continuous evaluation of denoising strategies in resting-state fMRI connectivity using fMRIPrep "
    "and Nilearn, PLoS Comput. Biol. 20:e1011942, doi:10.1371/journal.pcbi.1011942"
)
SINGLE_TRIALS = (
    "Rissman, Gazzaley & D'Esposito 2004, Measuring functional connectivity during distinct stages of a cognitive "
    "task, NeuroImage 23:752-763, doi:10.1016/j.neuroimage.2004.06.035",
    "Mumford et al. 2012, Deconvolving BOLD activation in event-related designs for multivoxel pattern classification "
    "analyses, NeuroImage 59:2636-2643, doi:10.1016/j.neuroimage.2011.08.076",
)
GLMSINGLE = (
    "Prince et al. 2022, Improving the accuracy of single-trial fMRI response estimates using GLMsingle, eLife "
    "11:e77599, doi:10.7554/eLife.77599"
)


def _as_tuple(value: Any) -> Any:
    """Let one text stand for a tuple of one."""
    return ((value,) if value else ()) if isinstance(value, str) else value


def _as_tuples(value: Any) -> Any:
    """Let text stand for a tuple, of each session too, and 'ses-01' for '01'."""
    if isinstance(value, dict):
        return {str(key).removeprefix("ses-"): _as_tuple(item) for key, item in value.items()}
    return _as_tuple(value)


def _as_named(value: Any) -> Any:
    return value if isinstance(value, dict) else _as_tuple(value)


def _without(prefix: str) -> BeforeValidator:
    """Let 'sub-01' stand for '01'."""

    def strip(value: Any) -> Any:
        if isinstance(value, str):
            return value.removeprefix(prefix)
        if isinstance(value, dict):
            return {key: strip(item) for key, item in value.items()}
        return tuple(map(strip, value)) if isinstance(value, Iterable) else value

    return BeforeValidator(strip)


def _is_label(value: str) -> str:
    if not re.fullmatch(r"[0-9a-zA-Z+]*", value):
        raise ValueError(f"expected letters and digits, as in the label of an entity of BIDS, found {value!r}")
    return value


def _expand(value: tuple[str, ...]) -> tuple[str, ...]:
    """Write out ranges: '01-03' is 01, 02, 03."""
    labels: list[str] = []
    for item in (part.strip() for text in value for part in text.split(",")):
        found = re.fullmatch(r"([0-9]+)-([0-9]+)", item)
        if found:
            first, last = found.groups()
            if int(last) < int(first):
                raise ValueError(f"expected a range that ascends, such as '01-12', found {item!r}")
            labels += [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
        elif item:
            labels.append(_is_label(item))
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ValueError(f"expected each label once, found {brainlens.listed(twice)} more than once")
    return tuple(labels)


def _expand_all(value: dict[str, tuple[str, ...]] | tuple[str, ...]) -> dict[str, tuple[str, ...]] | tuple[str, ...]:
    return {key: _expand(item) for key, item in value.items()} if isinstance(value, dict) else _expand(value)


Label = Annotated[str, AfterValidator(_is_label)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
NamedPaths = Annotated[dict[str, str] | tuple[str, ...], BeforeValidator(_as_named)]
Component = Literal["motion", "high_pass", "wm_csf", "global_signal", "compcor", "scrub"]
Model = Literal["basic", "power2", "derivatives", "full"]


class SitesParams(brainlens.Params):
    """Which voxels are imported, and their ROIs; the base of every importer here."""

    mask: str = Field("", description="3-D binary mask on the grid of the images; its voxels are read.")
    bad_voxels: Literal["error", "drop"] = Field(
        "error", description="What to do with voxels that are not finite, or constant within a run."
    )
    rois: NamedPaths = Field(
        (), description="ROI masks: a folder, files (<ROI>.nii.gz or BIDS label-<ROI>_mask), or name: file."
    )
    atlas: str = Field("", description="3-D image of whole-number labels (BIDS dseg), 0 for background.")
    atlas_labels: str = Field(
        "", description="Names of the atlas labels: table with index and name, or one name per line from label 1."
    )
    empty_rois: Literal["error", "drop"] = Field(
        "error", description="What to do with ROIs without a voxel in the mask."
    )


class RunsParams(brainlens.Params):
    """Which runs of which datasets; the base of the importers of time series."""

    raw: str = Field("", description="Folder of the raw BIDS dataset: events, sidecars, and BOLD without derivatives.")
    derivatives: str = Field("", description="Folder of fMRIPrep's output, which holds sub-<subject>.")
    subject: Annotated[Label, _without("sub-")] = Field(
        min_length=1, description="Label of the person scanned, '01' or 'sub-01'."
    )
    task: Annotated[Label, _without("task-")] = Field(min_length=1, description="Label of the task.")
    sessions: Annotated[Texts, _without("ses-"), AfterValidator(_expand)] = Field(
        (), description="Labels of the sessions, such as '01-03' or 'pre,post'; none for datasets without sessions."
    )
    runs: Annotated[
        dict[str, tuple[str, ...]] | tuple[str, ...],
        BeforeValidator(_as_tuples),
        _without("run-"),
        AfterValidator(_expand_all),
    ] = Field(
        (),
        description="Labels of the runs, such as '01-12' or '1,2', the same in each session, or session: labels; none "
        "for files without the entity.",
    )
    entities: dict[str, Label] = Field(
        {}, description="Further entities in the names of the runs, key: label, such as {'acq': 'seq'}."
    )
    space: Annotated[Label, _without("space-")] = Field(
        "", description="Entity space of the derivatives, such as 'MNI152NLin2009cAsym'; '' reads files without it."
    )
    desc: Annotated[Label, _without("desc-")] = Field(
        "preproc", description="Entity desc of the derivatives' volumes; '' reads files without it. Surfaces have none."
    )
    format: Literal["nifti", "gifti"] = Field(
        "nifti", description="Volumes (.nii.gz, .nii), or surfaces of both hemispheres (.func.gii)."
    )
    t_r: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Repetition time in s; 0 reads it from sidecar and header."
    )
    confounds: Texts = Field(
        (), description="Columns of fMRIPrep's confounds, by name or pattern, such as 'trans_x' or 'cosine*'."
    )
    strategy: Annotated[tuple[Component, ...], BeforeValidator(_as_tuple)] = Field(
        (), description="Confounds by kind, as in nilearn's load_confounds, instead of columns by name."
    )
    motion: Model = Field("full", description="With strategy 'motion': 6, 12, 12 or 24 columns, as in load_confounds.")
    wm_csf: Model = Field("basic", description="With strategy 'wm_csf', as in load_confounds.")
    global_signal: Model = Field("basic", description="With strategy 'global_signal', as in load_confounds.")
    compcor: Literal["anat_combined", "anat_separated", "temporal"] = Field(
        "anat_combined", description="With strategy 'compcor', as in load_confounds."
    )
    n_compcor: int = Field(0, ge=0, description="With strategy 'compcor': number of components of each mask; 0: all.")
    scrub: int = Field(5, ge=0, description="With strategy 'scrub': shortest segment that is kept, in volumes.")
    fd_threshold: float = Field(0.5, gt=0, description="With strategy 'scrub': framewise displacement, in mm.")
    std_dvars_threshold: float = Field(1.5, gt=0, description="With strategy 'scrub': standardised DVARS.")
    confound_gaps: Literal["error", "next"] = Field(
        "next", description="'n/a' in the first row of a confound: take the next value, as nilearn does, or refuse."
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not (self.raw or self.derivatives):
            raise ValueError("raw, derivatives: expected the folder of a dataset in one of them, found neither")
        if self.confounds and self.strategy:
            raise ValueError("confounds, strategy: expected columns by name or by kind, found both. Leave out one")
        if (self.confounds or self.strategy) and not self.derivatives:
            raise ValueError(
                "confounds, strategy: expected derivatives, whose tables hold them, found none. Give derivatives"
            )
        if self.format == "gifti" and not (self.derivatives and self.space):
            raise ValueError("format: expected derivatives and space with 'gifti', such as space='fsaverage6'")
        if isinstance(self.runs, dict) and set(self.runs) != set(self.sessions):
            raise ValueError(
                f"runs: expected labels for each of sessions {list(self.sessions)}, found them for {list(self.runs)}"
            )
        return self


class StudyParams(SitesParams, RunsParams):
    """Runs and sites together; the base of both importers of time series."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        given = [name for name in ("mask", "rois", "atlas", "atlas_labels") if getattr(self, name)]
        if self.format == "gifti" and given:
            raise ValueError(
                f"{given[0]}: expected none with format='gifti', which reads all vertices, found one. Name ROIs of a "
                "stored response or time series instead"
            )
        return self


class BoldParams(StudyParams):
    """Parameters of the importer `bids.bold`."""

    events: Literal["keep", "none"] = Field(
        "keep", description="Whether the events of the raw dataset are kept beside the time series, where `raw` is."
    )
    use_confounds: Literal["keep", "remove"] = Field(
        "keep", description="Keep the chosen confounds beside the time series, for a GLM, or regress them out."
    )
    detrend: Literal["none", "linear"] = Field("none", description="Trend removed within each run (its mean with it).")
    high_pass: float = Field(0.0, ge=0, allow_inf_nan=False, description="Butterworth high-pass, in Hz; 0 is none.")
    low_pass: float = Field(0.0, ge=0, allow_inf_nan=False, description="Butterworth low-pass, in Hz; 0 is none.")
    standardize_runs: Literal["none", "zscore_sample", "psc"] = Field(
        "none", description="Standardisation within each run: none, z-score, or % signal change."
    )
    units: str = Field("arbitrary units", min_length=1, description="Unit of the values in the files.")


class TrialParams(brainlens.Params):
    """Which events are trials, and what was shown; the base of everything that makes trials of events."""

    condition_column: str = Field(
        "trial_type", min_length=1, description="Column of the events that says of what kind each is."
    )
    stimulus_column: str = Field(
        "", description="Column of the events that names the stimulus; '' takes condition_column."
    )
    stimulus_ids: Literal["text", "number"] = Field(
        "text", description="Whether stimuli are named by text or by whole numbers."
    )
    trials: Texts = Field(
        (), description="Values of condition_column that are trials; none: all that are not rest or nuisance."
    )
    nuisance: Texts = Field(
        (), description="Values of condition_column that are no trials but have an effect, such as cues."
    )
    rest: Texts = Field(("rest",), description="Values of condition_column that are neither.")


class GlmParams(TrialParams):
    """Parameters of the analysis `bids.glm`: a general linear model with a beta for each trial."""

    method: Literal["lsa", "lss"] = Field(
        "lsa", description="Least squares all: one model for each run; or separate: one model for each trial."
    )
    others: Literal["condition", "one"] = Field(
        "condition",
        description="With 'lss', the regressors of the other trials: one for each value of condition_column, or one.",
    )
    hrf_model: Literal[
        "glover",
        "spm",
        "glover + derivative",
        "spm + derivative",
        "glover + derivative + dispersion",
        "spm + derivative + dispersion",
    ] = Field("glover", description="Haemodynamic response, as nilearn names it; betas are those of its first column.")
    drift_model: Literal["cosine", "polynomial", "none"] = Field("cosine", description="Slow drifts, as in nilearn.")
    drift_high_pass: float = Field(0.01, gt=0, description="With 'cosine': frequency in Hz below which is drift.")
    drift_order: int = Field(1, ge=0, description="With 'polynomial': its order.")
    noise_model: Literal["ols", "ar1"] = Field("ols", description="Ordinary least squares, or autoregressive noise.")
    scaling: Literal["psc", "none"] = Field(
        "psc", description="% signal change of the mean of each voxel in each run, or the unit of the time series."
    )
    slice_time_ref: float = Field(
        -1.0,
        ge=-1,
        le=1,
        description="Moment of a volume that its values belong to, in parts of t_r; -1: what the sidecar says, else 0.",
    )


class BetasParams(GlmParams, StudyParams):
    """Parameters of the importer `bids.betas`."""


class FilesParams(TrialParams, SitesParams):
    """Betas that another program estimated, and their events; the base of two importers."""

    betas: Texts = Field(min_length=1, description="Files of betas, in the order of the trials.")
    events: Texts = Field(min_length=1, description="Tables of events in the same order, one for each run.")
    subject: Annotated[Label, _without("sub-")] = Field(
        min_length=1, description="Label of the person scanned, '01' or 'sub-01'."
    )
    space: str = Field(min_length=1, description="Space of the voxels, such as 'MNI152NLin2009cAsym'; never guessed.")


class ImagesParams(FilesParams):
    """Parameters of the importer `bids.images`."""

    units: str = Field(min_length=1, description="Unit of the betas, such as '% signal change'.")


class GlmsingleParams(FilesParams):
    """Parameters of the importer `bids.glmsingle`."""

    variable: str = Field("betasmd", min_length=1, description="Name of the betas in a .mat or HDF5 file.")
    voxel_order: Literal["C", "F"] = Field(
        "C",
        description="Order of the mask's voxels in betas of two dims: last axis fastest, as in volume[mask], or first, "
        "as in MATLAB.",
    )


@brainlens.hookimpl
def brainlens_components() -> tuple[brainlens.Component, ...]:
    """Return the importers and the analysis."""
    return (
        brainlens.Component(
            name="bids.bold",
            role="importer",
            summary="BOLD of one subject and task from fMRIPrep or raw BIDS, with mask, confounds, events and ROIs",
            version="1",
            target="brainlens_bids.bold:read",
            params=BoldParams,
            output=("bold",),
            citations=(*BIDS, FMRIPREP, CONFOUNDS),
        ),
        brainlens.Component(
            name="bids.betas",
            role="importer",
            summary="single-trial betas straight from fMRIPrep's BOLD and BIDS events, least squares all or separate",
            version="1",
            target="brainlens_bids.betas:read",
            params=BetasParams,
            output=("response",),
            citations=(*BIDS, FMRIPREP, CONFOUNDS, *SINGLE_TRIALS),
        ),
        brainlens.Component(
            name="bids.images",
            role="importer",
            summary="single-trial betas of any program as 4-D NIfTI, a volume for each trial, with BIDS events",
            version="1",
            target="brainlens_bids.trial_images:read",
            params=ImagesParams,
            output=("response",),
            citations=BIDS,
        ),
        brainlens.Component(
            name="bids.glmsingle",
            role="importer",
            summary="GLMsingle's betas in .mat, HDF5 or .npy without pickle, with BIDS events",
            version="1",
            target="brainlens_bids.glmsingle:read",
            params=GlmsingleParams,
            output=("response",),
            citations=(*BIDS, GLMSINGLE),
        ),
        brainlens.Component(
            name="bids.glm",
            role="analysis",
            summary="single-trial betas of a stored time series with events, least squares all or separate",
            version="1",
            target="brainlens_bids.glm:compute",
            params=GlmParams,
            inputs={"bold": "bold"},
            output=("response",),
            citations=(NILEARN, *SINGLE_TRIALS),
        ),
    )
