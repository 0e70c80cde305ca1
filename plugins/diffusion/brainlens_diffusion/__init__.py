"""Images from embeddings, by public diffusion pipelines that are loaded from local files."""

from __future__ import annotations

from typing import Any

import brainlens
from brainlens_diffusion.params import KandinskyParams

_KANDINSKY = (
    "Razzhigaev et al. (2023). Kandinsky: an improved text-to-image synthesis with image prior and latent "
    "diffusion. EMNLP demonstrations."
)
_LATENT = "Rombach et al. (2022). High-resolution image synthesis with latent diffusion models. CVPR."
_GUIDANCE = "Ho and Salimans (2022). Classifier-free diffusion guidance. arXiv:2207.12598."

_STARTS = {
    "initial": brainlens.Input("image", optional=True),
    "latents": brainlens.Input("embedding", optional=True),
}


@brainlens.hookimpl
def brainlens_components() -> tuple[brainlens.Component, ...]:
    """Return the generators."""
    return (
        _generator(
            "kandinsky",
            "images from pooled embeddings of open_clip's ViT-bigG/14, by a Kandinsky 2.2 decoder",
            params=KandinskyParams,
            inputs={"unconditional": brainlens.Input("embedding", optional=True)},
            citations=(_KANDINSKY, _LATENT, _GUIDANCE),
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
        **more,
    )
