"""The Natural Scenes Dataset from the user's own licensed copy: betas, images, captions.

Only the parameters and the component records are here; the work is done in the other modules of this package.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

import brainlens

CITATIONS = (
    "Allen et al. 2022, A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial intelligence, "
    "Nat. Neurosci. 25:116-126, doi:10.1038/s41593-021-00962-x",
)
COCO = "Lin et al. 2014, Microsoft COCO: Common Objects in Context, ECCV, doi:10.1007/978-3-319-10602-1_48"

SUBJECTS = ("subj01", "subj02", "subj03", "subj04", "subj05", "subj06", "subj07", "subj08")

Subject = Literal["subj01", "subj02", "subj03", "subj04", "subj05", "subj06", "subj07", "subj08"]
Space = Literal["func1pt8mm", "func1mm", "fsaverage", "nativesurface"]
ROI_FILES = ("nsdgeneral", "prf-visualrois", "floc-bodies", "floc-faces", "floc-places", "floc-words", "streams")


def _as_tuple(value: Any) -> Any:
    """Let one text stand for a tuple of one."""
    return ((value,) if value else ()) if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
SESSIONS = "such as '1-37' or '1,2,5'"


class BetasParams(brainlens.Params):
    """Parameters of the importer `nsd`."""

    root: str = Field(
        min_length=1, description="Folder of the copy, which holds nsddata and nsddata_betas as they were published."
    )
    subject: Subject = Field(description="Person scanned, 'subj01' to 'subj08'.")
    space: Space = Field(
        "func1pt8mm", description="Volume (func1pt8mm, func1mm) or surface (fsaverage, nativesurface)."
    )
    betas: Literal["betas_fithrf_GLMdenoise_RR", "betas_fithrf", "betas_assumehrf"] = Field(
        "betas_fithrf_GLMdenoise_RR", description="Version of the single-trial betas, as its folder is called."
    )
    format: Literal["hdf5", "nifti"] = Field(
        "hdf5", description="Which files of a volume are read: .hdf5 or .nii.gz; both hold the same numbers."
    )
    sessions: str = Field(
        "all", min_length=1, description=f"Sessions, {SESSIONS}; 'all': every one that was released for the subject."
    )
    sites: Texts = Field(
        ("nsdgeneral",),
        min_length=1,
        description="Files of ROIs whose labelled sites are imported; 'all': the brain mask, or all vertices.",
    )
    rois: Texts = Field(
        ("usual",),
        description="Files of ROIs that become named ROIs, as they are called without ending; 'usual': nsdgeneral, "
        "prf-visualrois, floc-* and streams, where they are published in this space.",
    )
    hemispheres: Literal["none", "rois"] = Field(
        "none",
        description="'rois' adds ROIs left and right to a volume: cortex in lh.nsdgeneral and rh.nsdgeneral. Vertices "
        "have a hemisphere anyway.",
    )
    shared: Literal["test", "train", "leave_out"] = Field(
        "test", description="What trials of the 1000 shared images are: split test, split train, or not imported."
    )
    standardize: Literal["none", "session_train", "train", "session_all_transductive"] = Field(
        "none",
        description="z-score of each site by the training trials of the session, by all training trials, or by all "
        "trials of the session, test trials among them.",
    )
    dtype: Literal["float32", "float16"] = Field(
        "float32", description="Of the stored responses; what float16 loses at most is in attrs/float16_error_max."
    )
    ncsnr: Literal["file", "none"] = Field("file", description="Whether the published ncsnr of each site is read.")
    bad_sites: Literal["error", "drop"] = Field(
        "error", description="What to do with sites that are not finite, or constant within a session."
    )


class ImageParams(brainlens.Params):
    """Which stimuli; the base of two importers."""

    root: str = Field(
        min_length=1, description="Folder of the copy, which holds nsddata and nsddata_stimuli as they were published."
    )
    images: Literal["subject", "shared1000"] = Field(
        "subject", description="The images of `subject`, shared ones among them, or the 1000 shared images."
    )
    subject: Literal["", Subject] = Field("", description="Person whose images are meant, with images='subject'.")
    sessions: str = Field(
        "",
        description=f"Only images that the subject saw in these sessions, {SESSIONS}; '' takes all 10,000.",
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if (self.images == "subject") != bool(self.subject):
            raise ValueError(
                f"subject: expected one with images='subject' and none with 'shared1000', found {self.subject!r}"
            )
        if self.sessions and not self.subject:
            raise ValueError(f"sessions: expected '' without a subject, found {self.sessions!r}")
        return self


class StimuliParams(ImageParams):
    """Parameters of the importer `nsd.stimuli`."""

    size: int = Field(0, ge=0, le=425, description="Width and height in pixels; 0: as published, 425.")
    resample: Literal["lanczos", "bicubic", "bilinear", "box"] = Field(
        "lanczos", description="Filter of Pillow by which images are made smaller."
    )


class CaptionsParams(ImageParams):
    """Parameters of the importer `nsd.captions`."""

    captions: Texts = Field(
        min_length=1, description="Files of COCO captions, captions_train2017.json and captions_val2017.json."
    )
    instances: Texts = Field(
        (), description="Files of COCO objects, instances_train2017.json and instances_val2017.json; '': no categories."
    )
    n_captions: int = Field(5, ge=1, le=20, description="Captions of each image, the first ones in the files.")
    missing: Literal["error", "drop"] = Field(
        "error", description="What to do with images that have fewer captions: refuse, or leave the images out."
    )


@brainlens.hookimpl
def brainlens_components() -> tuple[brainlens.Component, ...]:
    """Return the three importers."""
    return (
        brainlens.Component(
            name="nsd",
            role="importer",
            summary="Single-trial betas of the Natural Scenes Dataset with ROIs, ncsnr, trial order and split",
            version="1",
            target="brainlens_nsd.betas:read",
            params=BetasParams,
            output=("response",),
            citations=CITATIONS,
        ),
        brainlens.Component(
            name="nsd.stimuli",
            role="importer",
            summary="Images of the Natural Scenes Dataset, of one subject or the shared ones",
            version="1",
            target="brainlens_nsd.stimuli:read",
            params=StimuliParams,
            output=("stimulus_image",),
            citations=(*CITATIONS, COCO),
        ),
        brainlens.Component(
            name="nsd.captions",
            role="importer",
            summary="COCO captions, and categories of objects, of images of the Natural Scenes Dataset",
            version="1",
            target="brainlens_nsd.captions:read",
            params=CaptionsParams,
            output=("stimulus_text", "embedding"),
            citations=(*CITATIONS, COCO),
        ),
    )
