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
