"""Parameters of the importer `simulate`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

import brainlens
from brainlens_simulate.areas import ROIS, check_rois
from brainlens_simulate.concepts import OBJECTS
from brainlens_simulate.params import check_concepts

_FAMILIES = ("mixture", "route", "text", "null")


class SubjectParams(brainlens.Params):
    """Parameters of the importer `simulate`."""

    subject: str = Field(
        "sim01", min_length=1, description="Name of the simulated subject; each name is another brain."
    )
    population: int = Field(
        0, ge=0, lt=2**32, description="Population whose axes and shared stimuli the subject has; another is unrelated."
    )
    n_stimuli: int = Field(600, ge=0, le=100_000, description="Stimuli of the subject's own; split train.")
    n_shared: int = Field(
        200, ge=0, le=100_000, description="Stimuli that all subjects of the population see; split test."
    )
    n_repetitions: int = Field(3, ge=1, le=100, description="Trials of each stimulus.")
    n_sessions: int = Field(4, ge=1, le=1000, description="Scanner visits over which the trials are spread.")
    n_voxels: int = Field(2000, ge=1, description="Voxels of 2 mm, spread over the ROIs by their sizes.")
    rois: tuple[str, ...] = Field(
        ROIS, description="Named ROIs; 'visual', which holds them all but 'control', is added."
    )
    size: int = Field(64, ge=64, le=224, description="Width and height of the stored images in pixels, 64 to 224.")
    concepts: tuple[str, ...] = Field(
        tuple(OBJECTS), min_length=1, description="Concepts of the objects in the scenes."
    )
    n_objects: Literal[0, 1, 2, 3] | None = Field(
        None, description="Objects in each scene, 0 to 3; left out: 0 to 3 with shares .07, .45, .32, .16."
    )
    co_occurrence: float = Field(
        0.3, ge=0, le=1, description="Share of objects whose concept is at home in the place; 0: independent."
    )
    spread: float = Field(1.0, ge=0, le=1, description="How far positions vary: 0 not at all, 1 over the whole image.")
    annotate: bool = Field(False, description="Also store object maps and depth of the images.")
    signal: Literal["full", "linear", "none"] = Field(
        "full", description="'linear': sums of features, nothing bent or routed; 'none': noise alone, for controls."
    )
    mixture: float = Field(0.25, ge=0, le=1, description="Share of higher voxels tuned to several concepts.")
    route: float = Field(
        0.1, ge=0, le=1, description="Share of higher voxels that read a feature at an object's place."
    )
    text: float = Field(0.06, ge=0, le=1, description="Share of higher voxels driven by what only text tells.")
    null: float = Field(0.1, ge=0, le=1, description="Share of voxels without signal.")
    private: float = Field(
        0.3, ge=0, le=10, description="Size of the weights that are a voxel's own, in sizes of a shared axis."
    )
    snr: float = Field(1.0, ge=0, le=100, description="Factor of all ncsnr; 1 is like the Natural Scenes Dataset.")
    noise_smooth: float = Field(0.25, ge=0, le=0.9, description="Share of noise variance that neighbours share.")
    noise_smooth_mm: float = Field(10.0, gt=0, le=200, description="How far that reaches: SD of a Gaussian, in mm.")
    noise_echo: float = Field(
        0.2, ge=0, le=10, description="Variance of noise that looks like signal, in shares of the signal's variance."
    )
    noise_gain: float = Field(0.0, ge=0, le=1, description="SD of the gain of a trial, no unit.")
    noise_tail: float = Field(0.0, ge=0, description="Degrees of freedom of the noise, above 2; 0: normal.")
    drift: float = Field(0.5, ge=0, le=100, description="SD of the drift between sessions, in SDs of the noise.")
    bold: bool = Field(False, description="Also make BOLD time series with events.")
    t_r: float = Field(1.6, ge=0.2, le=10, description="Repetition time of the BOLD series in s.")
    noise_bold: float = Field(1.0, ge=0, le=100, description="SD of scanner noise in a volume, in % of the baseline.")

    @field_validator("concepts")
    @classmethod
    def _known_concepts(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return check_concepts(given)

    @field_validator("rois")
    @classmethod
    def _known_rois(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return check_rois(given)

    @field_validator("noise_tail")
    @classmethod
    def _finite_variance(cls, given: float) -> float:
        if 0 < given <= 2:
            raise ValueError(f"expected 0 or more than 2, whose variance is finite, found {given}")
        return given

    @model_validator(mode="after")
    def _possible(self) -> Self:
        n_trials = self.n_repetitions * (self.n_stimuli + self.n_shared)
        if self.n_stimuli + self.n_shared < 2:
            raise ValueError(
                f"n_stimuli and n_shared: expected at least 2 together, found {self.n_stimuli + self.n_shared}"
            )
        if self.n_sessions > n_trials:
            raise ValueError(f"n_sessions: expected at most one for each of {n_trials} trials, found {self.n_sessions}")
        total = sum(getattr(self, name) for name in _FAMILIES)
        if total > 1:
            raise ValueError(f"{', '.join(_FAMILIES)}: expected shares of at most 1 together, found {total:g}")
        return self
