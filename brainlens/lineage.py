"""What a dataset was made from, back to the raw files."""

from __future__ import annotations

from typing import Any

from brainlens.errors import RegistryError
from brainlens.store import Place, read_manifest


def trace_lineage(place: Place, name: str, digest: str | None = None) -> dict[str, Any]:
    """Return the tree of a dataset's inputs.

    Parameters
    ----------
    place
        Where it is stored.
    name
        Which dataset.
    digest
        Of the dataset that was used at the time; compared with the one that is stored now.

    Returns
    -------
    dict
        `name`, `digest`, `component`, `params`, `sources` and `inputs`, a list of such trees. An input that is no
        longer stored has `missing`, one that is another dataset by now has `replaced`.
    """
    try:
        body = read_manifest(place, name)
    except RegistryError:
        if digest is None:
            raise
        return {"name": name, "digest": digest, "missing": True, "inputs": []}
    made = body["provenance"]
    above = [item for items in made.get("inputs", {}).values() for item in items]
    tree = {
        "name": name,
        "digest": body["digest"],
        "component": made.get("component", ""),
        "params": made.get("params", {}),
        "sources": made.get("sources", []),
        "inputs": [trace_lineage(place, item["name"], item["digest"]) for item in above],
    }
    return {**tree, "replaced": True} if digest not in (None, body["digest"]) else tree
