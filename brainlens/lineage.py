"""What a dataset was made from, back to the raw files."""

from __future__ import annotations

from typing import Any

from brainlens.manifest import FILE
from brainlens.store import Place, read_manifest


def trace_lineage(place: Place, name: str, digest: str | None = None, *, below: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the tree of a dataset's inputs.

    Parameters
    ----------
    place
        Where it is stored.
    name
        Which dataset.
    digest
        Of the dataset that was used at the time; compared with the one that is stored now.
    below
        Names of what was made from it, which it cannot have been made from itself.

    Returns
    -------
    dict
        `name`, `digest`, `component`, `params`, `sources` and `inputs`, a list of such trees. An input that is no
        longer stored has `missing`, one that is another dataset by now has `replaced`; what such a one was made
        from is not known any more.

    Raises
    ------
    RegistryError
        If there is no such dataset, or a manifest on the way is damaged.
    """
    if digest is not None and place.read(name, FILE) is None:
        return {"name": name, "digest": digest, "missing": True, "inputs": []}
    body = read_manifest(place, name)
    if name in below or digest not in (None, body["digest"]):
        return {"name": name, "digest": digest, "replaced": True, "inputs": []}
    made = body["provenance"]
    above = [item for items in made.get("inputs", {}).values() for item in items]
    return {
        "name": name,
        "digest": body["digest"],
        "component": made.get("component", ""),
        "params": made.get("params", {}),
        "sources": made.get("sources", []),
        "inputs": [trace_lineage(place, item["name"], item["digest"], below=(*below, name)) for item in above],
    }
