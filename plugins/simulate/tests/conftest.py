"""Scenes that several test files look at; a context draws them from seed 0."""

from __future__ import annotations

import numpy as np
import pytest
from brainlens_simulate.scene import Scene, sample_scene

import brainlens


@pytest.fixture
def context() -> brainlens.Context:
    return brainlens.Context(seed=0)


@pytest.fixture(scope="session")
def scenes() -> list[Scene]:
    return [sample_scene(np.random.default_rng([0, number])) for number in range(400)]
