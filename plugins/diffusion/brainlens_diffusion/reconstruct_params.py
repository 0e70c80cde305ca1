"""Parameters of reconstruction: what paints, what chooses, and how many candidates there are."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

import brainlens


class ReconstructParams(brainlens.Params):
    """Parameters of `diffusion.reconstruct`."""

    generator: str = Field("mini.generate", description="Generator that paints, such as 'diffusion.versatile'.")
    generator_params: dict[str, Any] = Field(
        {}, description="Its parameters, such as {'strength': 0.85}; not 'variant' and 'n_candidates'."
    )
    embedder: str = Field(
        "mini.image", description="Embedder by which candidates are compared with what was decoded, of the same model."
    )
    embedder_params: dict[str, Any] = Field({}, description="Its parameters.")
    n_candidates: int = Field(16, ge=1, description="Images painted for each trial, of which the best is chosen.")
    painted: str = Field(
        "reconstruction", description="Variant that is painted, where the decoder gave several; it has to be there."
    )
    compared: str = Field(
        "retrieval", description="Variant that candidates are compared with, where the decoder gave several."
    )
    metric: Literal["cosine", "centred-cosine"] = Field(
        "cosine", description="Similarity of a candidate to what was decoded; centred: about the decoder's target_mean."
    )
    keep_candidates: bool = Field(False, description="Keep all candidates, with their similarities.")
    trials_at_once: int = Field(
        16, ge=1, description="Trials painted by one call of the generator; what is lost when the process is killed."
    )


class PictureParams(brainlens.Params):
    """Parameters of `diffusion.pictures`."""

    n_trials: int = Field(12, ge=1, description="Trials to show, from the first.")
    n_candidates: int = Field(3, ge=0, description="Other candidates to show of each, where they were kept.")
