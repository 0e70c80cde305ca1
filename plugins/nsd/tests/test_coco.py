"""Entries of lists against the json module, with pieces of the file so small that every token is torn."""

import json

import pytest
from brainlens_nsd import coco
from brainlens_nsd.coco import iterate_lists
from hypothesis import HealthCheck, given, settings, strategies as st

import brainlens

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
ENTRIES = st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=3), max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entries=ENTRIES,
    other=VALUES,
    piece=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
    last=st.booleans(),
)
def test_entries_are_those_of_the_json_module(tmp_path, entries, other, piece, indent, ascii_only, last):
    parts = {"annotations": entries, "info": other, "images": [1, [2], {"annotations": [3]}]}
    parts = dict(reversed(parts.items())) if last else parts
    path = tmp_path / "file.json"
    path.write_text(json.dumps(parts, indent=indent, ensure_ascii=ascii_only), "utf-8", errors="surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coco, "_PIECE", piece)
        assert [entry for _, entry in iterate_lists(path, ("annotations",))] == entries


def refused(tmp_path, content):
    path = tmp_path / "captions.json"
    path.write_bytes(content)
    with pytest.raises(brainlens.ParameterError) as caught:
        list(iterate_lists(path, ("annotations",)))
    assert str(caught.value).startswith(f"annotations {str(path)!r}: expected ")
    return str(caught.value)


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = json.dumps(
        {"info": {"year": 2017}, "annotations": [{"image_id": 7, "caption": "a – b"}, {"id": 12}]}
    ).encode()
    assert not [end for end in range(len(whole)) if "expected a whole JSON file" not in refused(tmp_path, whole[:end])]


@pytest.mark.parametrize("content", [b"[1, 2]", b"<html>", b"\xff\xfe{}", b'{"a" 1}'])
def test_something_else_is_refused(tmp_path, content):
    assert "expected a whole JSON file" in refused(tmp_path, content)


def test_a_file_without_the_list_is_refused(tmp_path):
    assert "a list 'annotations', found none. Closest: 'annotation'" in refused(tmp_path, b'{"annotation": []}')
