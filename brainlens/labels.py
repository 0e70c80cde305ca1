"""The words of the suite: roles, reserved dims and coordinates, and which names a dataset may have.

Only the standard library is used here. What a schema demands of a dataset is in `schemas/`, not here.
"""

from __future__ import annotations

import re
import unicodedata
from types import MappingProxyType

from brainlens.errors import RegistryError

ROLES: tuple[str, ...] = (
    "importer",
    "embedder",
    "decoder",
    "encoder",
    "generator",
    "analysis",
    "exporter",
)

DIMS: MappingProxyType[str, str] = MappingProxyType(
    {
        "trial": "one showing of one stimulus",
        "voxel": "measurement site in a volume",
        "vertex": "measurement site on a surface",
        "stimulus": "what was shown; the coordinate of that name holds the stimulus identifiers",
        "channel": "axis of an embedding space",
        "token": "position in a token grid or sentence",
        "variant": "which of several outputs of one decoder",
        "roi": "named set of sites",
        "time": "acquisition time in s",
        "candidate": "one of several generated for one trial",
        "repetition": "which showing of the same stimulus, from 0",
        "metric": "name of a score",
        "fold": "one part of a cross-validation",
        "frame": "image of a video, from the first",
        "y": "image row, from the top",
        "x": "image column, from the left",
        "rgb": "colour channel: red, green, blue",
    }
)

COORDS: MappingProxyType[str, str] = MappingProxyType(
    {
        "stimulus_id": "identifier of the stimulus shown in a trial",
        "subject": "person scanned, as the source labels them",
        "session": "one scanner visit",
        "run": "one uninterrupted acquisition in the scanner",
        "split": "train, val or test",
        "hemisphere": "left or right",
        "i": "voxel index along the first axis of the volume",
        "j": "voxel index along the second axis of the volume",
        "k": "voxel index along the third axis of the volume",
        "x_mm": "world coordinate to the right, in mm",
        "y_mm": "world coordinate to the front, in mm",
        "z_mm": "world coordinate upwards, in mm",
        "source_index": "position of the site in the source, before sorting by ROI",
        "source_voxel": "label of a voxel in the response of its subject, in a model of several subjects",
        "source_vertex": "label of a vertex in the response of its subject, in a model of several subjects",
        "ncsnr": "noise-ceiling signal-to-noise ratio, no unit",
        "noise_seed": "seed of the noise from which an image is painted, whole number from 0",
        "noise_ceiling": "best reachable score of a site",
    }
)

SPLITS: tuple[str, ...] = ("train", "val", "test")

PROVENANCE_ATTRS: tuple[str, ...] = (
    "created",
    "brainlens_version",
    "component",
    "component_version",
    "plugin",
    "plugin_version",
    "seed",
    "device",
    "precision",
    "provenance",
)

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]*\Z")


def check_name(name: object) -> str:
    """Return a dataset name if it is a plain relative path that every file system keeps as it is.

    A name is one or more parts joined by `/`; a part starts with an ASCII letter or digit and goes on with
    letters, digits, `.`, `_`, `+`, `=` or `-`.

    Raises
    ------
    RegistryError
        If the name is not text, is empty, absolute, climbs out with `..`, ends in a dot, has a part over 128
        characters, or holds a character that looks like another one.

    Examples
    --------
    >>> check_name("subj01/response")
    'subj01/response'
    """
    rule = "Use ASCII letters, digits and . _ + = - in parts joined by '/', such as 'subj01/response'."
    if not isinstance(name, str):
        raise RegistryError(f"dataset name: expected text, found {name!r}. {rule}")
    if not name:
        raise RegistryError(f"dataset name: expected text, found ''. {rule}")
    if len(name) > 512:
        raise RegistryError(f"dataset name: expected at most 512 characters, found {len(name)}. {rule}")
    for part in name.split("/"):
        if _PART.match(part) and len(part) <= 128 and not part.endswith("."):
            continue
        strange = sorted({character for character in part if ord(character) > 126 or ord(character) < 32})
        why = ""
        if strange:
            spelt = ", ".join(f"{character!r} ({unicodedata.name(character, 'control')})" for character in strange[:3])
            why = f" It holds {spelt}."
        raise RegistryError(f"dataset name {name!r}: {part!r} cannot be a part of a name.{why} {rule}")
    # Some file systems do not tell upper from lower case.
    reserved = [part for part in name.split("/") if part.lower() in ("zarr.json", "manifest.json") or part == "c"]
    if reserved:
        raise RegistryError(f"dataset name {name!r}: {reserved[0]!r} is a name that Zarr or the registry uses. {rule}")
    return name
