"""Parameters of the importer `simulate.world`, and the worlds that have names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Literal

from pydantic import Field, model_validator

import brainlens

N_CURVED = 64


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """What makes a world easy or hard; all are described in `WorldParams`."""

    n_concepts: int = 10
    n_attributes: int = 20
    n_low_level: int = 9
    n_private: int = 16
    curve: float = 0.0
    nonlinear: float = 0.0
    even: float = 0.0
    signal_share: float = 0.1
    spatial: float = 0.0
    common: float = 0.0
    kappa2: float = 0.0
    gain: float = 0.0
    tail: float = 0.0
    scale: float = 1.0

    def turned(self, knob: Literal["scale", "kappa2"], value: float) -> Knobs:
        """Return the same knobs with one of the two that can be calibrated at another value."""
        return replace(self, scale=value) if knob == "scale" else replace(self, kappa2=value)


Name = Literal["A", "N1", "N2", "E", "K", "F", "custom"]
_FEW = Knobs(n_concepts=5, n_attributes=6, n_low_level=4, n_private=8)

WORLDS: Mapping[Name, Knobs] = MappingProxyType(
    {
        "A": Knobs(),
        "N1": _FEW,
        "N2": Knobs(kappa2=3.4),
        "E": replace(_FEW, nonlinear=1.0, even=0.9, signal_share=0.2, kappa2=0.3, spatial=0.3, common=0.1, gain=0.3),
        "K": replace(_FEW, curve=1.0, kappa2=0.3, spatial=0.3, common=0.1, gain=0.3, tail=5.0),
        "F": Knobs(curve=0.6, nonlinear=0.7, even=0.3, kappa2=1.0, spatial=0.3, common=0.1, gain=0.3, tail=5.0),
        "custom": Knobs(),
    }
)
CEILINGS: Mapping[Name, float] = MappingProxyType({"N1": 0.95})


class WorldParams(brainlens.Params):
    """Parameters of the importer `simulate.world`; a knob that is left out is as the world says."""

    world: Name = Field(
        default="N1",
        description="A: as easy as NSD's noise ceilings suggest; N1: linear, white noise, ceiling .95; N2: linear, "
        "noise that looks like signal; E: energy voxels; K: curved embedding; F: everything; custom: A to start from.",
    )
    n_voxels: int = Field(default=800, ge=20, le=200_000, description="Number of voxels.")
    n_train: int = Field(default=3000, ge=2, le=1_000_000, description="Stimuli of the split `train`.")
    n_test: int = Field(default=1000, ge=2, le=1_000_000, description="Stimuli of the split `test`.")
    n_repetitions: int = Field(default=3, ge=1, le=100, description="Trials of each stimulus.")
    n_channels: int = Field(default=256, ge=8, le=100_000, description="Channels of the embedding.")
    n_concepts: int | None = Field(default=None, ge=1, le=500, description="Sparse latents (C).")
    n_attributes: int | None = Field(default=None, ge=1, le=500, description="Normal latents of falling size (F).")
    n_low_level: int | None = Field(default=None, ge=1, le=500, description="Low-level latents (L).")
    n_private: int | None = Field(default=None, ge=0, le=500, description="Latents that the brain does not see (P).")
    curve: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of what the brain sees of the embedding that is a nonlinear code; 0 to 1.",
    )
    nonlinear: float | None = Field(default=None, ge=0, le=1, description="Share of nonlinear voxels (nl); 0 to 1.")
    even: float | None = Field(
        default=None, ge=0, le=1, description="Share of nonlinear voxels that are blind to the sign of latents; 0 to 1."
    )
    signal_share: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Median share of signal in a trial's variance, before kappa2, gain, tail and scale.",
    )
    spatial: float | None = Field(
        default=None, ge=0, le=1, description="Share of noise in 40 smooth maps (spat); 0 to 1."
    )
    common: float | None = Field(
        default=None, ge=0, le=1, description="Share of noise that all voxels share (glob); 0 to 1."
    )
    kappa2: float | None = Field(
        default=None,
        ge=0,
        le=1e4,
        description="Size of the noise that has the covariance of the signal, in its variance.",
    )
    gain: float | None = Field(default=None, ge=0, le=10, description="SD of the gain of a trial, no unit.")
    tail: float | None = Field(
        default=None, ge=0, le=1e6, description="Degrees of freedom of the noise, above 2; 0: normal noise (nu)."
    )
    scale: float | None = Field(
        default=None, ge=1e-6, le=1e6, description="Factor of the variance of all additive noise."
    )
    target_ceiling: float | None = Field(
        default=None, gt=0, lt=1, description="Image top-1 in pools of 300 that the known forward model shall reach."
    )
    calibrate: Literal["scale", "kappa2"] = Field(
        default="scale", description="The knob that is set to reach that ceiling."
    )

    @model_validator(mode="after")
    def _fit_together(self) -> WorldParams:
        knobs = self.knobs()
        if knobs.spatial + knobs.common >= 1:
            raise ValueError(
                f"expected spatial and common to leave some noise to each voxel, below 1 together, found "
                f"{knobs.spatial} and {knobs.common}"
            )
        if 0 < knobs.tail <= 2:
            raise ValueError(f"tail: expected 0 or more than 2, where noise has a variance, found {knobs.tail}")
        if self.n_latents() >= self.n_channels:
            raise ValueError(
                f"n_channels: expected more than the {self.n_latents()} latents, found {self.n_channels}; each needs "
                "a direction of its own"
            )
        return self

    def knobs(self) -> Knobs:
        """Return the knobs of the world, and those given instead."""
        world = WORLDS[self.world]
        given = {each.name: getattr(self, each.name) for each in fields(Knobs)}
        return Knobs(**{name: getattr(world, name) if value is None else value for name, value in given.items()})

    def n_latents(self) -> int:
        """Return the number of directions that the embedding needs beside its offset."""
        knobs = self.knobs()
        seen = knobs.n_concepts + knobs.n_attributes + knobs.n_low_level
        return seen + knobs.n_private + (N_CURVED if knobs.curve else 0)

    def ceiling(self) -> float | None:
        """Return the ceiling to calibrate to, None for none: a knob that is given stays as it is."""
        if self.target_ceiling is None and getattr(self, self.calibrate) is not None:
            return None
        return CEILINGS.get(self.world) if self.target_ceiling is None else self.target_ceiling
