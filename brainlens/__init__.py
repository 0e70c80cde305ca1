"""Plugin-based neuroscience analysis: labelled brain data in, labelled results out.

Everything public is named here and imported when it is first used, so that `import brainlens` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "brainlens.errors": (
        "BrainlensError", "CheckpointError", "DeviceError", "DimensionError", "ParameterError", "PluginError",
        "RegistryError", "SchemaError", "closest", "listed",
    ),
    "brainlens.context": ("Context",),
    "brainlens.derivatives": ("Differentiated", "Encoder"),
    "brainlens.records": ("Checkpoint", "Component", "Entry", "Input", "Params", "Result", "Schema"),
    "brainlens.hookspecs": ("hookimpl",),
    "brainlens.trainable": ("Trainable",),
    "brainlens.schema": ("validate",),
    "brainlens.rois": ("list_rois", "select_roi", "sort_by_roi"),
    "brainlens.averages": ("average_trials", "standardize"),
    "brainlens.selection": ("folds", "split_trials"),
    "brainlens.scoring": (
        "bootstrap_interval", "chance_top_k", "correlate", "permutation_p_value", "rank_of_true",
        "two_way_identification", "wilson_interval",
    ),
    "brainlens.variants": ("choose_variant",),
    "brainlens.lazy_rows": ("made_rows",),
    "brainlens.pools": ("hit_rates", "over_marginal", "pool_rates"),
    "brainlens.ridge": ("Ridge", "fit_ridge"),
    "brainlens.shrinkage": ("shrink_covariance",),
    "brainlens.likelihood": ("NoiseLaw", "log_likelihood", "noise_law", "prepare_stimuli"),
    "brainlens.batches": ("Batches", "MappedArray"),
    "brainlens.device": ("resolve_device",),
    "brainlens.pictures": ("contact_sheet", "image_sheet"),
    "brainlens.registry": ("Registry", "open"),
    "brainlens.workers": ("spread",),
}  # fmt: skip
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]

if TYPE_CHECKING:
    from brainlens.averages import average_trials as average_trials, standardize as standardize
    from brainlens.batches import Batches as Batches, MappedArray as MappedArray
    from brainlens.context import Context as Context
    from brainlens.derivatives import Differentiated as Differentiated, Encoder as Encoder
    from brainlens.device import resolve_device as resolve_device
    from brainlens.errors import (
        BrainlensError as BrainlensError,
        CheckpointError as CheckpointError,
        DeviceError as DeviceError,
        DimensionError as DimensionError,
        ParameterError as ParameterError,
        PluginError as PluginError,
        RegistryError as RegistryError,
        SchemaError as SchemaError,
        closest as closest,
        listed as listed,
    )
    from brainlens.hookspecs import hookimpl as hookimpl
    from brainlens.lazy_rows import made_rows as made_rows
    from brainlens.likelihood import (
        NoiseLaw as NoiseLaw,
        log_likelihood as log_likelihood,
        noise_law as noise_law,
        prepare_stimuli as prepare_stimuli,
    )
    from brainlens.pictures import contact_sheet as contact_sheet, image_sheet as image_sheet
    from brainlens.pools import (
        hit_rates as hit_rates,
        over_marginal as over_marginal,
        pool_rates as pool_rates,
    )
    from brainlens.records import (
        Checkpoint as Checkpoint,
        Component as Component,
        Entry as Entry,
        Input as Input,
        Params as Params,
        Result as Result,
        Schema as Schema,
    )
    from brainlens.registry import Registry as Registry, open as open
    from brainlens.ridge import Ridge as Ridge, fit_ridge as fit_ridge
    from brainlens.rois import list_rois as list_rois, select_roi as select_roi, sort_by_roi as sort_by_roi
    from brainlens.schema import validate as validate
    from brainlens.scoring import (
        bootstrap_interval as bootstrap_interval,
        chance_top_k as chance_top_k,
        correlate as correlate,
        permutation_p_value as permutation_p_value,
        rank_of_true as rank_of_true,
        two_way_identification as two_way_identification,
        wilson_interval as wilson_interval,
    )
    from brainlens.selection import folds as folds, split_trials as split_trials
    from brainlens.shrinkage import shrink_covariance as shrink_covariance
    from brainlens.trainable import Trainable as Trainable
    from brainlens.variants import choose_variant as choose_variant
    from brainlens.workers import spread as spread


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'brainlens' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
