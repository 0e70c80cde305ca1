"""The schema `attention.v1`: where in each image a region or site reads."""

from __future__ import annotations

from typing import Any

READERS = ("roi", "voxel", "vertex")

ATTENTION: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "brainlens:attention.v1",
    "title": "Where in each image is read",
    "description": "Shares of each image's places in what reaches a region or site.",
    "type": "object",
    "required": ["attrs", "coords", "data_vars"],
    "properties": {
        "attrs": {
            "type": "object",
            "required": ["schema", "subject", "model"],
            "properties": {
                "schema": {"const": "attention.v1"},
                "subject": {"type": "string", "minLength": 1, "description": "Whose regions or sites they are."},
                "model": {"type": "string", "minLength": 1, "description": "Which model's space the features lie in."},
            },
        },
        "coords": {"type": "object", "required": ["y", "x"]},
        "data_vars": {
            "type": "object",
            "required": ["attention"],
            "properties": {
                "attention": {
                    "description": "Shares of places, not negative, adding up to 1 over y and x; no unit.",
                    "properties": {
                        "dims": {
                            "enum": [[shown, reader, "y", "x"] for shown in ("stimulus", "trial") for reader in READERS]
                        },
                        "dtype": {"const": "float32"},
                    },
                },
            },
        },
    },
    "x-checks": {
        "unique": ["stimulus", "trial", "roi", "voxel", "vertex", "y", "x"],
        "finite": ["attention"],
        "nonempty": ["stimulus", "trial", "roi", "voxel", "vertex"],
    },
}
