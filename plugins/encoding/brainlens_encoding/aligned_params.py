"""Parameters of `encoding.aligned`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from brainlens_encoding.params import TrainedParams


class AlignedParams(TrainedParams):
    """What is trained, how much it is held to the captions, and how responses are read."""

    tower: Literal["adapter", "convolutional", "timm"] = Field(
        default="adapter",
        description="adapter: a small network on frozen features; convolutional: convolutions from pixels, such as "
        "encoding.pixels makes them; timm: a model of timm that was trained before, from pixels.",
    )
    model: str = Field(
        default="",
        description="timm: folder with config.json and model.safetensors, as 'hf download timm/MODEL --local-dir "
        "FOLDER' makes it.",
    )
    sha256: str = Field(default="", description="timm: what the SHA-256 of its weights has to be; any when left out.")
    trained_blocks: int = Field(
        default=2, ge=-1, description="timm: how many of its blocks are trained, from the last; 0: none; -1: all."
    )
    tower_rate: float = Field(
        default=0.03, gt=0, le=1, description="timm: step size of these blocks, as a share of learning_rate."
    )
    resize: bool = Field(
        default=False,
        description="timm: whether images of another size than the model's are resampled to it, bicubic with "
        "antialiasing.",
    )
    width: int = Field(default=128, ge=1, description="Channels of the image embedding that responses are read from.")
    token_width: int = Field(default=16, ge=1, description="adapter: channels that are kept of each token.")
    channels: tuple[int, ...] = Field(
        default=(32, 64, 64),
        min_length=1,
        description="convolutional: channels of each convolution; each halves the image.",
    )
    dropout: float = Field(default=0.2, ge=0, lt=1, description="Share of hidden units that training leaves out.")
    alignment: float = Field(
        default=0.03,
        ge=0,
        allow_inf_nan=False,
        description="Weight of the contrastive loss between image embedding and caption, beside the mean squared error "
        "over sites; 0: captions are not looked at.",
    )
    align_epochs: int = Field(
        default=0, ge=0, description="How many of the epochs, the first ones, learn from captions alone."
    )
    temperature: float = Field(
        default=0.1, gt=0, description="What cosines of image and caption are divided by, in that loss."
    )
    head: Literal["direct", "pca"] = Field(
        default="direct",
        description="direct: each site has weights of its own; pca: principal components of the training responses are "
        "predicted, as published.",
    )
    refit: bool = Field(
        default=True,
        description="direct: fit the weights of sites once more, by ridge with a penalty for each, when all else is "
        "trained.",
    )
    n_components: int = Field(default=64, ge=1, description="pca: how many; no more than sites.")
    learning_rate: float = Field(
        default=0.003, gt=0, description="Step size of Adam at first; it falls to 0 by a cosine over all epochs."
    )

    @model_validator(mode="after")
    def _leaves_epochs(self) -> Self:
        if self.align_epochs >= self.epochs:
            raise ValueError(
                f"align_epochs: expected fewer than epochs={self.epochs}, so that responses are learnt, found "
                f"{self.align_epochs}"
            )
        if self.align_epochs and not self.alignment:
            raise ValueError("alignment: expected more than 0 with align_epochs, found 0")
        if bool(self.model) != (self.tower == "timm"):
            raise ValueError(
                f"model: expected a folder with tower='timm' and none without, found {self.model!r} with "
                f"tower={self.tower!r}"
            )
        if min(self.channels) < 1:
            raise ValueError(f"channels: expected at least 1 in each convolution, found {min(self.channels)}")
        return self
