"""Under which terms each data set is given out, and what to cite: shown on import, and kept in what is stored."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

    import brainlens


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What is known of a data set as such.

    `licence` says as well where that is known from, or that it is not; `source` is where copies come from.
    """

    title: str
    citation: str
    licence: str
    source: str


def announce(terms: Terms, context: brainlens.Context) -> None:
    """Say on standard error what is imported, under which terms, and what to cite; silent when the context is quiet."""
    if not context.quiet:
        sys.stderr.write(f"{terms.title}\n  licence: {terms.licence}\n  cite: {terms.citation}\n")


def stamp(dataset: xr.Dataset, terms: Terms) -> xr.Dataset:
    """Keep licence, citation and source in the attributes.

    Examples
    --------
    >>> import xarray as xr
    >>> stamp(xr.Dataset(), HED).attrs["licence"]
    'MIT (nsd_hed_labels)'
    """
    return dataset.assign_attrs(citation=terms.citation, licence=terms.licence, source=terms.source)


HAXBY = Terms(
    title="Haxby et al. 2001: faces and objects",
    citation="Haxby et al. 2001, Distributed and overlapping representations of faces and objects in ventral temporal "
    "cortex, Science 293:2425-2430, doi:10.1126/science.1063736",
    licence="not stated with these files (nilearn calls it unknown); the same recordings are CC0 as OpenNeuro ds000105",
    source="nilearn.datasets.fetch_haxby",
)
HAXBY_SLICE = Terms(
    title="Haxby et al. 2001: half a slice of one subject, from PyMVPA",
    citation=f"{HAXBY.citation}; Hanke et al. 2009, PyMVPA, Neuroinformatics 7:37-53, doi:10.1007/s12021-008-9041-y",
    licence="MIT (PyMVPA); the same recordings are CC0 as OpenNeuro ds000105",
    source="github.com/PyMVPA/PyMVPA, mvpa2/data",
)
MIYAWAKI = Terms(
    title="Miyawaki et al. 2008: contrast images of 10 x 10 patches",
    citation="Miyawaki et al. 2008, Visual image reconstruction from human brain activity using a combination of "
    "multiscale local image decoders, Neuron 60:915-929, doi:10.1016/j.neuron.2008.11.004",
    licence="not stated with these files (nilearn calls it unknown)",
    source="nilearn.datasets.fetch_miyawaki2008",
)
MIYAWAKI_FIGURES = Terms(
    title="Miyawaki et al. 2008: block means of V1 in the figure session",
    citation=f"{MIYAWAKI.citation}; Fujiwara, Miyawaki & Kamitani 2013, Modular encoding and decoding models derived "
    "from Bayesian canonical correlation analysis, Neural Comput. 25:979-1005, doi:10.1162/NECO_a_00423",
    licence="BSD-3-Clause in all but name (VBCCA)",
    source="github.com/KamitaniLab/VBCCA, sample/data",
)
ALGONAUTS = Terms(
    title="Algonauts 2023: responses of the Natural Scenes Dataset on fsaverage",
    citation="Gifford et al. 2023, The Algonauts Project 2023 challenge, arXiv:2301.03198; Allen et al. 2022, "
    "A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial intelligence, Nat. Neurosci. "
    "25:116-126, doi:10.1038/s41593-021-00962-x",
    licence="terms of the Natural Scenes Dataset, accepted through the challenge's form: not to be passed on; "
    "the images are COCO's, with licences of their own",
    source="algonauts.csail.mit.edu, after its form",
)
BOLD5000 = Terms(
    title="BOLD5000, release 2.0",
    citation="Chang et al. 2019, BOLD5000, a public fMRI dataset while viewing 5000 visual images, Sci. Data 6:49, "
    "doi:10.1038/s41597-019-0052-3; Prince et al. 2022, GLMsingle, eLife 11:e77599, doi:10.7554/eLife.77599",
    licence="CC0 for the recordings (OpenNeuro ds001499); look at the page of release 2.0 for the betas",
    source="kilthub.cmu.edu (betas, names, brain masks); OpenNeuro ds001499 (ROIs)",
)
GOD = Terms(
    title="Generic Object Decoding",
    citation="Horikawa & Kamitani 2017, Generic decoding of seen and imagined objects using hierarchical visual "
    "features, Nat. Commun. 8:15037, doi:10.1038/ncomms15037",
    licence="CC0 for the recordings (OpenNeuro ds001246); look at the page of the preprocessed files for theirs",
    source="figshare, Generic Object Decoding, 7387130",
)
DEEP_RECONSTRUCTION = Terms(
    title="Deep Image Reconstruction",
    citation="Shen et al. 2019, Deep image reconstruction from human brain activity, PLoS Comput. Biol. 15:e1006633, "
    "doi:10.1371/journal.pcbi.1006633",
    licence="not stated in the description of the recordings (OpenNeuro ds001506); look at the page of the files",
    source="figshare, Deep Image Reconstruction, 7033577",
)
BDATA = Terms(
    title="BData of another study",
    citation="that of the study, which the file does not say",
    licence="that of the study, which the file does not say",
    source="a file in bdpy's format",
)
THINGS = Terms(
    title="THINGS-fMRI, single-trial responses as tables",
    citation="Hebart et al. 2023, THINGS-data, a multimodal collection of large-scale datasets for investigating "
    "object representations in human brain and behavior, eLife 12:e82580, doi:10.7554/eLife.82580",
    licence="CC0 1.0 (THINGS-data); the images are THINGS', with licences of their own",
    source="plus.figshare.com, collection 6161151; OpenNeuro ds004192",
)
HED = Terms(
    title="HED labels of NSD's 1000 shared images",
    citation="Attia, Holmes & Hermes 2023, nsd_hed_labels; Allen et al. 2022, A massive 7T fMRI dataset to bridge "
    "cognitive neuroscience and artificial intelligence, Nat. Neurosci. 25:116-126, doi:10.1038/s41593-021-00962-x",
    licence="MIT (nsd_hed_labels)",
    source="github.com/MultimodalNeuroimagingLab/nsd_hed_labels",
)
