"""Images from embeddings, by public diffusion pipelines that are loaded from local files."""

from __future__ import annotations

from typing import Any

import brainlens
from brainlens_diffusion.params import KandinskyParams, UnclipParams, VariationsParams, VersatileParams
from brainlens_diffusion.reconstruct_params import PictureParams, ReconstructParams

_KANDINSKY = (
    "Razzhigaev et al. (2023). Kandinsky: an improved text-to-image synthesis with image prior and latent "
    "diffusion. EMNLP demonstrations."
)
_LATENT = "Rombach et al. (2022). High-resolution image synthesis with latent diffusion models. CVPR."
_GUIDANCE = "Ho and Salimans (2022). Classifier-free diffusion guidance. arXiv:2207.12598."
_UNCLIP = "Ramesh et al. (2022). Hierarchical text-conditional image generation with CLIP latents. arXiv:2204.06125."
_VERSATILE = "Xu et al. (2023). Versatile Diffusion: text, images and variations all in one diffusion model. ICCV."
_MINDEYE = (
    "Scotti et al. (2023). Reconstructing the mind's eye: fMRI-to-image with contrastive learning and diffusion "
    "priors. NeurIPS."
)
_BRAIN_DIFFUSER = (
    "Ozcelik and VanRullen (2023). Natural scene reconstruction from fMRI signals using generative latent diffusion. "
    "Scientific Reports 13."
)

_STARTS = {
    "initial": brainlens.Input("image", optional=True),
    "latents": brainlens.Input("embedding", optional=True),
}


@brainlens.hookimpl
def brainlens_components() -> tuple[brainlens.Component, ...]:
    """Return generators and analyses."""
    return (
        _generator(
            "kandinsky",
            "images from pooled embeddings of open_clip's ViT-bigG/14, by a Kandinsky 2.2 decoder",
            params=KandinskyParams,
            inputs={"unconditional": brainlens.Input("embedding", optional=True)},
            citations=(_KANDINSKY, _LATENT, _GUIDANCE),
        ),
        _generator(
            "unclip",
            "images from pooled embeddings of open_clip's ViT-H/14, by Stable unCLIP",
            params=UnclipParams,
            citations=(_UNCLIP, _LATENT, _GUIDANCE),
        ),
        _generator(
            "variations",
            "images from pooled embeddings of CLIP's ViT-L/14, by Stable Diffusion image variations",
            params=VariationsParams,
            citations=(_LATENT, _GUIDANCE, _MINDEYE),
        ),
        _generator(
            "versatile",
            "images from all tokens of CLIP's ViT-L/14, and of a text if there is one, by Versatile Diffusion",
            params=VersatileParams,
            inputs={"text": brainlens.Input("embedding", optional=True)},
            citations=(_VERSATILE, _GUIDANCE, _MINDEYE, _BRAIN_DIFFUSER),
        ),
        brainlens.Component(
            name="diffusion.reconstruct",
            role="analysis",
            summary="Images from decoded embeddings by any generator, the best of several candidates.",
            version="1",
            target="brainlens_diffusion.reconstruct:reconstruct",
            params=ReconstructParams,
            inputs={"decoded": "embedding", "initial": brainlens.Input("image", optional=True)},
            output=("image",),
            uses_device=True,
            calls={"generator": "generator", "embedder": "embedder"},
            citations=(_MINDEYE,),
        ),
        brainlens.Component(
            name="diffusion.pictures",
            role="analysis",
            summary="What was seen above initial image, reconstruction and candidates, for a contact sheet.",
            version="1",
            target="brainlens_diffusion.pictures:draw_reconstructions",
            params=PictureParams,
            inputs={
                "reconstructed": "image",
                "stimuli": "stimulus_image",
                "initial": brainlens.Input("image", optional=True),
            },
            output=("image",),
        ),
    )


def _generator(verb: str, summary: str, *, inputs: dict[str, Any] | None = None, **more: Any) -> brainlens.Component:
    return brainlens.Component(
        name=f"diffusion.{verb}",
        role="generator",
        summary=summary,
        version="1",
        target=f"brainlens_diffusion.{verb}:generate",
        inputs={"embedding": "embedding", **_STARTS, **(inputs or {})},
        output=("image",),
        uses_device=True,
        guided=True,
        **more,
    )
