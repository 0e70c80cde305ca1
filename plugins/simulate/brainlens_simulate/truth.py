"""What is known of a simulated brain: the schema `forward_model.v1`, and responses drawn from it.

A forward model says what every site answers to every stimulus without noise, and how the noise is distributed:

    y = m(x) (1 + gain g) + s (noise_map' z + noise_std e) + drift,    s = sqrt(tail / chi2(tail)), or 1 for tail 0

where g, z and e are standard normal, new in every trial, and s is one number for each trial.
"""

from __future__ import annotations

from typing import Any

FORWARD_MODEL: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "brainlens:forward_model.v1",
    "title": "Forward model of a simulated brain",
    "description": "Noiseless responses to every stimulus, and the law of the noise.",
    "type": "object",
    "required": ["attrs", "coords", "data_vars"],
    "properties": {
        "attrs": {
            "type": "object",
            "required": ["schema", "subject", "units", "gain", "tail", "simulated"],
            "properties": {
                "schema": {"const": "forward_model.v1"},
                "subject": {"type": "string", "minLength": 1, "description": "Name of the simulated subject."},
                "units": {"type": "string", "minLength": 1, "description": "Unit of the responses."},
                "gain": {"type": "number", "minimum": 0, "description": "SD of the trial-wise gain, no unit."},
                "tail": {"type": "number", "minimum": 0, "description": "Degrees of freedom of the noise; 0: normal."},
                "simulated": {"const": 1},
            },
        },
        "coords": {
            "type": "object",
            "required": ["stimulus", "voxel"],
            "properties": {
                "stimulus": {
                    "description": "Stimulus identifier, unique.",
                    "properties": {"dims": {"const": ["stimulus"]}},
                },
                "voxel": {"description": "Site identifier, unique.", "properties": {"dims": {"const": ["voxel"]}}},
            },
        },
        "data_vars": {
            "type": "object",
            "required": ["drive", "noise_std", "noise_map"],
            "properties": {
                "drive": {
                    "description": "Noiseless response m; unit in attrs/units.",
                    "properties": {"dims": {"const": ["stimulus", "voxel"]}},
                },
                "noise_std": {
                    "description": "SD of the noise that is independent between sites.",
                    "properties": {"dims": {"const": ["voxel"]}},
                },
                "noise_map": {
                    "description": "Patterns of the noise that sites share; factor by site.",
                    "properties": {"dims": {"const": ["noise_factor", "voxel"]}},
                },
                "drift_map": {
                    "description": "Patterns of the drift.",
                    "properties": {"dims": {"const": ["drift", "voxel"]}},
                },
                "drift_course": {
                    "description": "Size of each pattern of the drift in each trial.",
                    "properties": {"dims": {"const": ["trial", "drift"]}},
                },
            },
        },
    },
    "x-checks": {
        "unique": ["stimulus", "voxel", "trial"],
        "finite": ["drive", "noise_std", "noise_map", "drift_map", "drift_course"],
        "nonempty": ["stimulus", "voxel"],
    },
}
