"""Libraries that only some components need: imported late, with an error that says what to install."""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType

import brainlens

_DISTRIBUTION = "brainlens-retrieval"


def load_extra(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import a library that is no dependency of the plugin.

    Parameters
    ----------
    module
        Such as `"pyarrow.parquet"`.
    extra
        The optional extra of this plugin that installs it.
    purpose
        What it is needed for, for the message.

    Returns
    -------
    module
        The library.

    Raises
    ------
    PluginError
        If it is not installed, naming the extra.

    Examples
    --------
    >>> load_extra("json", extra="json", purpose="to read JSON").__name__
    'json'
    """
    library = module.partition(".")[0]
    try:
        with warnings.catch_warnings():
            # faiss is wrapped by a generator whose types Python 3.12 warns of; nobody here can change that.
            warnings.filterwarnings("ignore", message="builtin type .* has no __module__", category=DeprecationWarning)
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != library:
            raise
        raise brainlens.PluginError(
            f"library {library!r}: expected it to be installed {purpose}, found none. "
            f"Run: pip install '{_DISTRIBUTION}[{extra}]'."
        ) from error
