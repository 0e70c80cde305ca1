"""Parameters of the generators; what they have in common is called the same everywhere."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

import brainlens

Scheduler = Literal["published", "ddim", "ddpm", "unipc"]

_STEPS = "Denoising steps of the whole way from noise."
_GUIDANCE = "Guidance scale; 1 for none."
_STRENGTH = (
    "With an initial image or latents: share of the denoising steps that are done, the first ones skipped; 1 starts "
    "from noise alone, 0 gives the initial image as the autoencoder returns it."
)
_SCHEDULER = "How steps are taken: published is what the checkpoint was published with."
_MODEL = "Pipeline in diffusers' layout: a local folder, or an id of the hub, looked for in the local cache only."


class GeneratorParams(brainlens.Params):
    """What all generators have in common."""

    model: str = Field("", min_length=1, description=_MODEL)
    revision: str = Field("", description="Branch, tag or commit of the id of the hub; '' for the usual one.")
    embedding_model: str = Field(
        "",
        description="Model that embeddings have to be of; '' for the one of the public checkpoint where that is "
        "loaded by its id, and else any of the right width.",
    )
    variant: str = Field(
        "", description="Which variant of the decoded embedding, where its decoder gave several; '' where it has none."
    )
    n_candidates: int = Field(1, ge=1, le=1000, description="Images for each embedding, from different noise.")
    n_steps: int = Field(50, ge=2, le=1000, description=_STEPS)
    guidance: float = Field(7.5, ge=1, le=30, description=_GUIDANCE)
    strength: float = Field(0.85, ge=0, le=1, description=_STRENGTH)
    scheduler: Scheduler = Field("published", description=_SCHEDULER)
    batch_size: int = Field(
        8, ge=1, le=1024, description="Images that are computed together; changes memory and speed, not results."
    )
    attention_slicing: bool = Field(
        False, description="Whether attention is computed head by head and images are decoded one by one: less memory."
    )
    cpu_offload: bool = Field(
        False, description="Whether each network is on the device only while it is needed: less memory."
    )


class KandinskyParams(GeneratorParams):
    """Parameters of the generator `diffusion.kandinsky`: steps and guidance are the defaults of its pipeline."""

    model: str = Field("kandinsky-community/kandinsky-2-2-decoder", min_length=1, description=_MODEL)
    n_steps: int = Field(100, ge=2, le=1000, description=_STEPS)
    guidance: float = Field(4.0, ge=1, le=30, description=_GUIDANCE)


class UnclipParams(GeneratorParams):
    """Parameters of the generator `diffusion.unclip`: steps, guidance and noise level are the pipeline's defaults."""

    model: str = Field("stabilityai/stable-diffusion-2-1-unclip", min_length=1, description=_MODEL)
    n_steps: int = Field(20, ge=2, le=1000, description=_STEPS)
    guidance: float = Field(10.0, ge=1, le=30, description=_GUIDANCE)
    prompt: str = Field("", description="Text for all images beside the embedding; '' for none.")
    noise_level: int = Field(
        0,
        ge=0,
        le=999,
        description="Step up to which noise is added to embeddings before use; 0: hardly any.",
    )


class VariationsParams(GeneratorParams):
    """Parameters of the generator `diffusion.variations`.

    Guidance is that of MindEye's variant with pooled embeddings; steps, scheduler and strength are those of its main
    pipeline, since none are given for the variant.
    """

    model: str = Field("lambdalabs/sd-image-variations-diffusers", min_length=1, description=_MODEL)
    revision: str = Field("", description="Branch, tag or commit of the id of the hub; '' for the usual, v2.0.")
    n_steps: int = Field(20, ge=2, le=1000, description=_STEPS)
    guidance: float = Field(7.5, ge=1, le=30, description=_GUIDANCE)
    scheduler: Scheduler = Field("unipc", description=_SCHEDULER)


class VersatileParams(GeneratorParams):
    """Parameters of the generator `diffusion.versatile`: the defaults are those of MindEye.

    Brain-Diffuser gives `text`, and has n_steps 50, guidance 7.5, scheduler ddim, strength 0.75, unconditional empty
    and normalise False.
    """

    model: str = Field("shi-labs/versatile-diffusion", min_length=1, description=_MODEL)
    n_steps: int = Field(20, ge=2, le=1000, description=f"{_STEPS[:-1]} (Brain-Diffuser: 50).")
    guidance: float = Field(3.5, ge=1, le=30, description=f"{_GUIDANCE[:-1]} (Brain-Diffuser: 7.5).")
    strength: float = Field(0.85, ge=0, le=1, description=f"{_STRENGTH[:-1]} (Brain-Diffuser: 0.75).")
    scheduler: Scheduler = Field("unipc", description=f"{_SCHEDULER[:-1]} (Brain-Diffuser: ddim).")
    text_weight: float = Field(
        0.4, ge=0, le=1,
        description="With text: its share in every cross-attention layer, the rest is the image's (Brain-Diffuser).",
    )  # fmt: skip
    unconditional: Literal["zeros", "empty"] = Field(
        "zeros",
        description="What the unconditional prediction is conditioned on: zeros (MindEye), or an empty text and a "
        "mid-gray image (Brain-Diffuser).",
    )
    normalise: bool = Field(
        True,
        description="Whether all tokens of an image are divided by the length of the first, the class token (MindEye); "
        "true tokens are already.",
    )
