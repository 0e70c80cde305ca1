"""Public data sets of the field, each by a named importer, from your own copy, in the layout in which it is given out.

Only the parameters and the component records are here; the work is done in the other modules of this package.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

import brainlens
from brainlens_public import terms


def _as_tuple(value: Any) -> Any:
    """Let one text stand for a tuple of one."""
    return ((value,) if value else ()) if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
AverageOver = Literal["volume", "block", "run"]
BadSites = Literal["error", "drop"]
CSI = Literal["CSI1", "CSI2", "CSI3", "CSI4"]
Betas5000 = Literal["TYPEA-ASSUMEHRF", "TYPEB-FITHRF", "TYPEC-FITHRF-GLMDENOISE", "TYPED-FITHRF-GLMDENOISE-RR"]
REPEATED = "Split of images that the subject saw more than once, all others being train; 'unsplit': no split."
BAD_SITES = "What to do with sites that are not finite, or constant"


class SeriesParams(brainlens.Params):
    """How time series become trials; the base of two importers."""

    average_over: AverageOver = Field(
        "block",
        description="One trial per labelled volume, per uninterrupted showing of a stimulus, or per run and stimulus.",
    )
    detrend: Literal["none", "linear"] = Field("none", description="Trend removed within each run, its mean with it.")
    standardize_runs: Literal["none", "zscore_sample", "psc"] = Field(
        "none", description="Standardisation of all volumes of a run: none, z-score, or % signal change."
    )
    bad_sites: BadSites = Field("error", description=f"{BAD_SITES} within a run.")


class HaxbyParams(SeriesParams):
    """Parameters of the importer `public.haxby`."""

    root: str = Field(
        min_length=1,
        description="Folder haxby2001 as nilearn.datasets.fetch_haxby leaves it; or that of PyMVPA's half slice.",
    )
    subject: Literal["subj1", "subj2", "subj3", "subj4", "subj5", "subj6"] = Field(
        description="Person scanned, as the folders are called."
    )
    sites: Texts = Field(
        ("usual",),
        min_length=1,
        description="ROIs whose voxels are imported: vt, face, house, face_little, house_little, brain (mask.nii.gz). "
        "'usual': vt, or the brain of the half slice.",
    )
    runs: str = Field("all", min_length=1, description="Runs, from 0, such as '0-9' or '0,2'; or 'all'.")
    outputs: Literal["response", "bold", "both"] = Field(
        "response", description="Trials with their categories, the time series as it is in the file, or both."
    )


class MiyawakiParams(SeriesParams):
    """Parameters of the importer `public.miyawaki`."""

    root: str = Field(
        min_length=1,
        description="Folder miyawaki2008 as nilearn.datasets.fetch_miyawaki2008 leaves it; or of V1_mean_figure.mat.",
    )
    random: str = Field(
        "all",
        min_length=1,
        description="Runs of random images, such as '1-20'; 'all', or 'none'. They are split train.",
    )
    figure: str = Field(
        "all", min_length=1, description="Runs of figures and letters, such as '1-12'; 'all', or 'none'. Split test."
    )
    delay: int = Field(
        2, ge=0, le=10, description="Haemodynamic delay in volumes: a volume shows the image of so many volumes before."
    )
    rois: Literal["all", "none"] = Field("all", description="Whether the masks of visual areas become ROIs.")


class BDataParams(brainlens.Params):
    """Parameters of the importer `public.god`."""

    files: Texts = Field(
        min_length=1, description="BData files of bdpy (.h5) of one subject, such as Subject1.h5; trials are joined."
    )
    subject: str = Field(min_length=1, description="Person scanned, such as 'Subject1'.")
    study: Literal["god", "deep_reconstruction", "other"] = Field(
        "god", description="Which study the files are of: Generic Object Decoding, Deep Image Reconstruction, another."
    )
    data_types: Texts = Field(
        ("training", "perception"),
        min_length=1,
        description="Which trials of a file with a column DataType: training, perception (test), imagery (test).",
    )
    splits: Texts = Field(
        (), description="Split of each file without a column DataType, train or test, in the order of the files."
    )
    stimulus_key: str = Field(
        "", description="Column of the stimulus; '' takes stimulus_id, stimulus_name or Label, the first that is there."
    )
    sites: Texts = Field(
        ("all",), min_length=1, description="ROIs whose voxels are imported, such as 'VC'; 'all': every voxel."
    )
    unlabelled: Literal["error", "drop"] = Field(
        "error", description="What to do with rows whose stimulus is not a number, such as rest."
    )
    units: str = Field("as published", min_length=1, description="Unit of the values, which the files do not say.")
    bad_sites: BadSites = Field("error", description=f"{BAD_SITES} over all rows.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        known = ("training", "perception", "imagery")
        strange = [name for name in self.data_types if name not in known]
        if strange:
            raise ValueError(f"data_types: expected {', '.join(known)}, found {strange[0]!r}")
        if self.splits and (len(self.splits) != len(self.files) or not {*self.splits} <= {"train", "val", "test"}):
            raise ValueError(
                f"splits: expected train, val or test for each of {len(self.files)} files, found {self.splits}"
            )
        return self


class AlgonautsParams(brainlens.Params):
    """Parameters of the importer `public.algonauts`."""

    root: str = Field(
        min_length=1,
        description="Folder of the challenge of 2023, which holds subj01 to subj08 as they were given out.",
    )
    subject: Literal["subj01", "subj02", "subj03", "subj04", "subj05", "subj06", "subj07", "subj08"] = Field(
        description="Person scanned, as the folders are called."
    )
    sites: Texts = Field(
        ("all",), min_length=1, description="ROIs whose vertices are imported, such as 'V1'; 'all': every vertex."
    )
    images: Literal["none", "training", "all"] = Field(
        "training",
        description="Whether images are imported too: those with responses, or those of the test part as well.",
    )
    size: int = Field(0, ge=0, le=1024, description="Width and height of images in pixels; 0: as published, 425.")
    resample: Literal["lanczos", "bicubic", "bilinear", "box"] = Field(
        "lanczos", description="Filter of Pillow by which images are made smaller."
    )
    bad_sites: BadSites = Field("error", description=f"{BAD_SITES}.")


class Bold5000Params(brainlens.Params):
    """Parameters of the importer `public.bold5000`."""

    root: str = Field(
        min_length=1, description="Folder of release 2.0: CSI1_GLMbetas-..._ses-01.nii.gz, imgnames, brainmask."
    )
    subject: CSI = Field(description="Person scanned.")
    betas: Betas5000 = Field(
        "TYPED-FITHRF-GLMDENOISE-RR", description="Version of the betas, as in the names of the files."
    )
    sessions: str = Field("all", min_length=1, description="Sessions, such as '1-5' or '1,3'; 'all': 15, or 9 of CSI4.")
    masks: str = Field(
        "", description="Folder with sub-CSI1 and the masks of ROIs in it (ds001499, derivatives/spm); '': in root."
    )
    sites: Texts = Field(
        ("rois",),
        min_length=1,
        description="'rois': voxels of any ROI; 'brain': of the brain mask; or names, such as 'PPA'.",
    )
    repeated: Literal["unsplit", "test", "train"] = Field("unsplit", description=REPEATED)
    bad_sites: BadSites = Field("error", description=f"{BAD_SITES} within a session.")


class Bold5000RoisParams(brainlens.Params):
    """Parameters of the importer `public.bold5000_rois`."""

    root: str = Field(
        min_length=1, description="Folder of BOLD5000_GLMsingle_ROI_betas/py with CSI1_GLMbetas-..._allses_LHPPA.npy."
    )
    subject: CSI = Field(description="Person scanned.")
    betas: Betas5000 = Field(
        "TYPED-FITHRF-GLMDENOISE-RR", description="Version of the betas, as in the names of the files."
    )
    sites: Texts = Field(("all",), min_length=1, description="ROIs that are imported, such as 'PPA'; 'all'.")
    repeated: Literal["unsplit", "test", "train"] = Field("unsplit", description=REPEATED)
    bad_sites: BadSites = Field("error", description=f"{BAD_SITES} over all trials.")


class ThingsParams(brainlens.Params):
    """Parameters of the importer `public.things`."""

    root: str = Field(min_length=1, description="Folder betas_csv with sub-01_ResponseData.h5, or one above it.")
    subject: Literal["01", "02", "03"] = Field(description="Person scanned, as in sub-01.")
    sessions: str = Field("all", min_length=1, description="Sessions, such as '1-12' or '1,3'; 'all'.")
    sites: Texts = Field(
        ("rois",),
        min_length=1,
        description="'rois': voxels of any ROI but those of the atlas; 'all': every voxel; or names, such as 'FFA'.",
    )
    atlas: bool = Field(False, description="Whether the areas of Glasser's atlas become ROIs, where the file has them.")
    mask: str = Field(
        "", description="Brain mask sub-01_space-T1w_brainmask.nii.gz, for places in mm and maps; '': indices only."
    )
    bad_sites: BadSites = Field("error", description=f"{BAD_SITES} over all trials.")


class LabelsParams(brainlens.Params):
    """Parameters of the importer `public.nsd_labels`."""

    file: str = Field(min_length=1, description="shared1000_HED.tsv of nsd_hed_labels.")


_SUMMARIES = {
    "public.haxby": "Faces and objects (Haxby 2001) as nilearn fetches them: eight categories in blocks, with ROIs",
    "public.miyawaki": "Contrast images (Miyawaki 2008) as nilearn fetches them: 10 x 10 patches, with visual areas",
    "public.algonauts": "Algonauts 2023: responses of the Natural Scenes Dataset on fsaverage, with ROIs and images",
    "public.bold5000": "BOLD5000 release 2.0: single-trial betas with image names and ROIs",
    "public.bold5000_rois": "BOLD5000 release 2.0: single-trial betas cut to ROIs, as arrays",
    "public.god": "Generic Object Decoding, Deep Image Reconstruction, any BData file of bdpy",
    "public.things": "THINGS-fMRI: single-trial responses as tables, with ROIs, noise ceilings and receptive fields",
    "public.nsd_labels": "HED labels of NSD's 1000 shared images, as texts and as tags",
}


@brainlens.hookimpl
def brainlens_components() -> tuple[brainlens.Component, ...]:
    """Return the importers."""

    def importer(
        name: str, params: type[brainlens.Params], output: tuple[str, ...], *cited: terms.Terms
    ) -> brainlens.Component:
        return brainlens.Component(
            name=name,
            role="importer",
            summary=_SUMMARIES[name],
            version="1",
            target=f"brainlens_public.{name.partition('.')[2]}:read",
            params=params,
            output=output,
            citations=tuple(dict.fromkeys(one.citation for one in cited)),
        )

    pictures = ("response", "stimulus_image")
    haxby, miyawaki = (terms.HAXBY, terms.HAXBY_SLICE), (terms.MIYAWAKI, terms.MIYAWAKI_FIGURES)
    return (
        importer("public.haxby", HaxbyParams, ("response", "bold", "embedding"), *haxby),
        importer("public.miyawaki", MiyawakiParams, (*pictures, "embedding"), *miyawaki),
        importer("public.algonauts", AlgonautsParams, pictures, terms.ALGONAUTS),
        importer("public.bold5000", Bold5000Params, ("response",), terms.BOLD5000),
        importer("public.bold5000_rois", Bold5000RoisParams, ("response",), terms.BOLD5000),
        importer("public.god", BDataParams, ("response",), terms.GOD, terms.DEEP_RECONSTRUCTION),
        importer("public.things", ThingsParams, ("response",), terms.THINGS),
        importer("public.nsd_labels", LabelsParams, ("stimulus_text", "embedding"), terms.HED),
    )
