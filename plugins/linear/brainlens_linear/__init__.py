"""Linear decoders: what the plugin provides and with which parameters; the work is done in `ridge`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from pydantic import Field, field_validator

import brainlens
from brainlens_linear.decode_params import DecodeParams

_BRAIN_DIFFUSER = "Ozcelik & VanRullen (2023), Scientific Reports 13:15666, doi:10.1038/s41598-023-42891-8"


class RidgeParams(brainlens.Params):
    """Penalties, inner folds and bands of a ridge regression."""

    alphas: tuple[float, ...] = Field(
        default=tuple(10.0 ** (exponent / 2) for exponent in range(-2, 13)),
        min_length=1,
        description="Penalties to choose from, positive; unit: squared response unit times trials.",
    )
    alpha_per: Literal["target", "all"] = Field(
        default="target", description="Whether each target or all targets together choose penalty and band scalings."
    )
    cv_by: str = Field(
        default="stimulus_id",
        min_length=1,
        description="Trial coordinate of the inner folds: trials with the same label stay together.",
    )
    cv_folds: int = Field(
        default=5, ge=2, description="Number of inner folds; one per label when there are fewer labels than this."
    )
    bands: tuple[str, ...] = Field(
        default=(),
        description="ROI expressions with a penalty of their own each; 'rest' is every other voxel; none: one band.",
    )
    band_scalings: tuple[float, ...] = Field(
        default=(1.0, 0.1, 0.01, 0.001),
        min_length=1,
        description="Scalings to choose from for each band, from 0; a band's penalty is alpha / scaling; no unit.",
    )

    @field_validator("alphas")
    @classmethod
    def _positive(cls, alphas: tuple[float, ...]) -> tuple[float, ...]:
        wrong = [alpha for alpha in alphas if not (alpha > 0 and math.isfinite(alpha))]
        if wrong:
            raise ValueError(f"expected positive, finite penalties, found {wrong[0]!r}")
        return alphas

    @field_validator("band_scalings")
    @classmethod
    def _from_zero(cls, scalings: tuple[float, ...]) -> tuple[float, ...]:
        wrong = [scaling for scaling in scalings if not (scaling >= 0 and math.isfinite(scaling))]
        if wrong:
            raise ValueError(f"expected finite scalings from 0, found {wrong[0]!r}")
        if not max(scalings) > 0:
            raise ValueError(f"expected at least one scaling over 0, found {scalings!r}")
        return scalings


@brainlens.hookimpl
def brainlens_components() -> Iterable[brainlens.Component]:
    """Name the components of this plugin."""
    return [
        brainlens.Component(
            name="linear",
            role="decoder",
            summary="Ridge regression from responses to embeddings, penalty per target by cross-validation, bands.",
            version="1",
            target="brainlens_linear.ridge:RidgeDecoder",
            params=RidgeParams,
            output=("embedding",),
            uses_device=True,
            citations=(
                "Hoerl & Kennard (1970), Technometrics 12:55, doi:10.1080/00401706.1970.10488634",
                "Nunez-Elizalde, Huth & Gallant (2019), NeuroImage 197:482, doi:10.1016/j.neuroimage.2019.04.012",
                "Dupre la Tour et al. (2022), NeuroImage 264:119728, doi:10.1016/j.neuroimage.2022.119728",
            ),
        ),
        brainlens.Component(
            name="linear.decode",
            role="analysis",
            summary="Embeddings of test trials by ridge with one penalty and no weights kept, however many targets.",
            version="1",
            target="brainlens_linear.streaming:decode",
            params=DecodeParams,
            inputs={"response": "response", "target": "embedding"},
            output=("embedding",),
            uses_device=True,
            citations=(
                "Hoerl & Kennard (1970), Technometrics 12:55, doi:10.1080/00401706.1970.10488634",
                _BRAIN_DIFFUSER,
            ),
        ),
        brainlens.Component(
            name="linear.transductive",
            role="analysis",
            summary="Decoded embeddings given the training targets' mean and SD over the test trials, as published.",
            version="1",
            target="brainlens_linear.transductive:restandardize",
            inputs={"decoded": "embedding"},
            output=("embedding",),
            citations=(_BRAIN_DIFFUSER,),
        ),
    ]
