from __future__ import annotations

import pytest
from brainlens_retrieval.extras import load_extra

import brainlens


def test_a_library_that_is_missing_is_named_with_its_extra():
    with pytest.raises(brainlens.PluginError) as caught:
        load_extra("no_such_library.part", extra="faiss", purpose="for index='faiss'")
    assert str(caught.value) == (
        "library 'no_such_library': expected it to be installed for index='faiss', found none. "
        "Run: pip install 'brainlens-retrieval[faiss]'."
    )


def test_a_library_that_lacks_another_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "half_a_library.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        load_extra("half_a_library", extra="faiss", purpose="")
