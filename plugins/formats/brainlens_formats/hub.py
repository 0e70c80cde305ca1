"""The exporter `formats.hub`: a model as a folder that the Hugging Face hub takes.

The weights are plain safetensors, which the hub and every framework read; nothing is uploaded here.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from safetensors.numpy import save_file

import brainlens
from brainlens_formats.describe import as_text, plain
from brainlens_formats.params import HubParams

WEIGHTS = "weights.safetensors"
LABELS = "labels.safetensors"


def write(dataset: xr.Dataset, target: Path, *, params: HubParams, context: brainlens.Context) -> None:
    """Write a model: configuration, weights, labels and training statistics, provenance, card.

    Parameters
    ----------
    dataset
        A model, with what it has learnt on dims of its own.
    target
        Folder to write.
    params
        What the card says.
    context
        Not used.

    Raises
    ------
    ParameterError
        If the dataset is no model, or an array that was learnt has a dtype without a name in safetensors.

    Notes
    -----
    `config.json` has component and parameters, `labels.json` dims and the labels that are text; numbers among labels
    and statistics are in `labels.safetensors`. The licence is `unknown` unless it is given: that of the data may reach
    to what was learnt.
    """
    if not str(dataset.attrs.get("schema", "")).startswith("model."):
        raise brainlens.ParameterError(
            f"formats.hub: expected a model, found {dataset.attrs.get('schema')!r}. Export other datasets as '.zarr', "
            "'.nc' or '.parquet'."
        )
    learnt = learnt_arrays(dataset)
    if not learnt:
        raise brainlens.ParameterError(
            "formats.hub: expected a model with weights, found none. Export one that was fitted."
        )
    target.mkdir()
    save_file(learnt, target / WEIGHTS)
    frame = dataset.drop_vars(list(learnt))
    numbers = {str(name): v.values for name, v in frame.variables.items() if v.dtype.kind in "biuf"}
    if numbers:
        save_file({name: np.ascontiguousarray(values) for name, values in numbers.items()}, target / LABELS)
    attrs = plain(dataset.attrs)
    provenance = json.loads(attrs.pop("provenance", "{}"))
    sha256 = hashlib.sha256((target / WEIGHTS).read_bytes()).hexdigest()
    config = {
        "library_name": "brainlens",
        "brainlens_version": attrs.get("brainlens_version", brainlens.__version__),
        "component": attrs.get("component", ""),
        "component_version": attrs.get("component_version", ""),
        "params": provenance.get("params", {}),
        "weights": WEIGHTS,
        "weights_sha256": sha256,
        "arrays": {name: {"shape": list(array.shape), "dtype": str(array.dtype)} for name, array in learnt.items()},
        "attrs": attrs,
    }
    _write_json(target / "config.json", config)
    labels = {str(name): _describe(variable) for name, variable in frame.variables.items()}
    (target / "labels.json").write_text(json.dumps(labels, ensure_ascii=False) + "\n", "utf-8")
    _write_json(target / "provenance.json", provenance)
    (target / "README.md").write_text(make_card(attrs, provenance, learnt, params), "utf-8")


def learnt_arrays(dataset: xr.Dataset) -> dict[str, np.ndarray]:
    """Return what a model has learnt: the arrays on dims of their own, named after them.

    Examples
    --------
    >>> model = xr.Dataset({"coef_": (("coef_.0", "coef_.1"), np.eye(2)), "mean": ("voxel", np.zeros(2))})
    >>> list(learnt_arrays(model))
    ['coef_']
    """
    return {
        str(name): np.ascontiguousarray(array.values) if array.ndim else array.values
        for name, array in dataset.data_vars.items()
        if array.dims == tuple(f"{name}.{axis}" for axis in range(array.ndim))
    }


def make_card(
    attrs: dict[str, Any], provenance: dict[str, Any], learnt: dict[str, np.ndarray], params: HubParams
) -> str:
    """Return the model card: front matter that the hub reads, and what is known of the model."""
    component = str(attrs.get("component", "model"))
    subject = str(attrs.get("subject", ""))
    title = params.title or f"{component}{f' for {subject}' if subject else ''}"
    # JSON text is YAML text as well, whatever characters it holds.
    tags = ["brainlens", "neuroscience", "fmri", *params.tags]
    front = ["---", f"license: {json.dumps(params.license)}", "library_name: brainlens", "tags:"]
    front += [*(f"- {json.dumps(tag, ensure_ascii=False)}" for tag in tags), "---"]
    count = sum(array.size for array in learnt.values())
    facts = {
        "component": f"`{component}`, version {attrs.get('component_version', 'unknown')}",
        "subject": subject or "not said",
        "space": attrs.get("space", "not said"),
        "arrays": f"{len(learnt)}, {count:,} numbers",
        "parameters": f"`{json.dumps(provenance.get('params', {}), ensure_ascii=False)}`",
        "seed": attrs.get("seed", "not said"),
        "made with": f"brainlens {attrs.get('brainlens_version', 'unknown')}, {attrs.get('created', '')}",
    }
    table = [
        "| | |",
        "| --- | --- |",
        *(f"| {key} | {str(value).replace('|', chr(92) + '|')} |" for key, value in facts.items()),
    ]
    simulated = ["", "**Fitted on simulated data.**"] if attrs.get("simulated") else []
    use = [
        "```python",
        "from safetensors.numpy import load_file",
        "",
        f'weights = load_file("{WEIGHTS}")',
        "```",
        "",
        "`config.json` says how responses were standardised in training; labels and statistics of that are in",
        "`labels.json` and `labels.safetensors`. `provenance.json` says what the model was fitted on, with digests.",
    ]
    cited = [f"- {text}" for text in provenance.get("citations", [])]
    parts = [*front, "", f"# {title}", *simulated, "", params.description or "A model of brainlens.", "", *table]
    parts += ["", "## Use", "", *use, *(["", "## Cite", "", *cited] if cited else [])]
    return "\n".join(parts) + "\n"


def _describe(variable: xr.Variable) -> dict[str, Any]:
    about: dict[str, Any] = {"dims": list(map(str, variable.dims)), "attrs": plain(variable.attrs)}
    if variable.dtype.kind in "OUT":
        about["values"] = as_text(variable.values).tolist()
    elif variable.dtype.kind not in "biuf":
        about["values"] = variable.values.astype(str).tolist()
    return about


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
