"""Small trained models for simulated scenes, behind the same loaders that open public checkpoints."""

from __future__ import annotations

import brainlens
from brainlens_mini.params import DecodeParams, GenerateParams, ImageParams, JudgeParams, LatentsParams, TextParams
from brainlens_mini.weights import AUTOENCODER, checkpoints

_CLIP = "Radford et al. (2021). Learning transferable visual models from natural language supervision. ICML."
_OPEN_CLIP = "Cherti et al. (2023). Reproducible scaling laws for contrastive language-image learning. CVPR."
_LATENT = "Rombach et al. (2022). High-resolution image synthesis with latent diffusion models. CVPR."
_KANDINSKY = (
    "Razzhigaev et al. (2023). Kandinsky: an improved text-to-image synthesis with image prior and latent "
    "diffusion. EMNLP demonstrations."
)
_FLOW = "Lipman et al. (2023). Flow matching for generative modeling. ICLR."


# Stimuli, or images that were made from trials: one of both.
_LOOKED_AT = {
    "stimuli": brainlens.Input("stimulus_image", optional=True),
    "images": brainlens.Input("image", optional=True),
}


@brainlens.hookimpl
def brainlens_components() -> tuple[brainlens.Component, ...]:
    """Return the embedders and generators."""
    return (
        brainlens.Component(
            name="mini.image",
            role="embedder",
            summary="images in the space of an open_clip model: pooled, or a grid of tokens",
            version="1",
            target="brainlens_mini.image_text:embed_images",
            derivative="brainlens_mini.image_text:differentiate_images",
            params=ImageParams,
            inputs=_LOOKED_AT,
            output=("embedding",),
            uses_device=True,
            checkpoints=checkpoints("image-text"),
            citations=(_CLIP, _OPEN_CLIP),
        ),
        brainlens.Component(
            name="mini.text",
            role="embedder",
            summary="texts in the space of an open_clip model",
            version="1",
            target="brainlens_mini.image_text:embed_texts",
            params=TextParams,
            inputs={"texts": "stimulus_text"},
            output=("embedding",),
            uses_device=True,
            checkpoints=checkpoints("image-text"),
            citations=(_CLIP, _OPEN_CLIP),
        ),
        brainlens.Component(
            name="mini.judge",
            role="embedder",
            summary="images as a network sees them that conditions no generator: features, or scores of names",
            version="1",
            target="brainlens_mini.judge:embed_judged",
            params=JudgeParams,
            inputs=_LOOKED_AT,
            output=("embedding",),
            uses_device=True,
            checkpoints=checkpoints("judge"),
        ),
        brainlens.Component(
            name="mini.latents",
            role="embedder",
            summary="images as latents of an autoencoder",
            version="1",
            target="brainlens_mini.autoencoder:embed_latents",
            params=LatentsParams,
            inputs=_LOOKED_AT,
            output=("embedding",),
            uses_device=True,
            checkpoints=checkpoints(AUTOENCODER),
            citations=(_LATENT,),
        ),
        brainlens.Component(
            name="mini.decode",
            role="generator",
            summary="latents of an autoencoder, true or decoded, as images",
            version="1",
            target="brainlens_mini.autoencoder:decode_latents",
            params=DecodeParams,
            inputs={"latents": "embedding"},
            output=("image",),
            uses_device=True,
            checkpoints=checkpoints(AUTOENCODER),
            citations=(_LATENT,),
        ),
        brainlens.Component(
            name="mini.generate",
            role="generator",
            summary="images from image embeddings, from noise or from an initial image",
            version="1",
            target="brainlens_mini.generator:generate",
            params=GenerateParams,
            inputs={"embedding": "embedding", "initial": brainlens.Input("image", optional=True)},
            output=("image",),
            guided=True,
            uses_device=True,
            checkpoints=checkpoints("generator"),
            citations=(_KANDINSKY, _LATENT, _FLOW),
        ),
    )
