"""What the plugin provides and with which parameters; the work is done in `decoder`.

Only light imports here: this file is read by every listing. Libraries such as torch go to the top of `decoder`.
"""

from __future__ import annotations

from pydantic import Field

import brainlens


class DecoderParams(brainlens.Params):
    """Parameters of the decoder: they become options of `brainlens fit`, and part of every result's provenance."""

    # Add a field for each choice that the user has; say the unit and the range.
    alpha: float = Field(
        default=100.0, gt=0, allow_inf_nan=False, description="Penalty; unit: squared response unit times trials."
    )


@brainlens.hookimpl
def brainlens_components() -> list[brainlens.Component]:
    """Return one record for each component."""
    return [
        brainlens.Component(
            name="template",
            role="decoder",
            summary="Ridge regression from responses to embeddings, in plain numpy.",
            # Raise it whenever the same input would give other numbers.
            version="1",
            target="brainlens_template.decoder:Decoder",
            params=DecoderParams,
            output=("embedding",),
            # Set uses_device=True if it works on context.device, such as "cuda:0".
            citations=("Hoerl & Kennard (1970), Technometrics 12:55, doi:10.1080/00401706.1970.10488634",),
        )
    ]
