import string
import unicodedata

import pytest
from hypothesis import given, strategies as st

from brainlens.errors import RegistryError
from brainlens.labels import COORDS, DIMS, PROVENANCE_ATTRS, ROLES, check_name

LETTERS = string.ascii_letters + string.digits
GOOD = [
    "response",
    "subj01/response",
    "clip-vit-l-14/nsd",
    "results/retrieval.rank/0a1b2c",
    "a" * 128,
    "2024+a=b_c-d.e",
    "/".join("x" * 5),
]
BAD = {
    "": "expected text, found ''",
    "..": "'..' cannot be a part",
    ".": "'.' cannot be a part",
    "a/../b": "'..' cannot be a part",
    "../outside": "'..' cannot be a part",
    "/absolute": "'' cannot be a part",
    "a/": "'' cannot be a part",
    "a//b": "'' cannot be a part",
    ".hidden": "'.hidden' cannot be a part",
    "a/.brainlens": "'.brainlens' cannot be a part",
    "a.": "'a.' cannot be a part",
    "-a": "'-a' cannot be a part",
    "a b": "'a b' cannot be a part",
    "a\\b": "cannot be a part",
    "c:d": "'c:d' cannot be a part",
    "a\n": "It holds '\\n' (control)",
    "a\0b": "It holds '\\x00' (control)",
    "subj01/r\x7f": "It holds '\\x7f' (control)",
    "subj01/respоnse": "CYRILLIC SMALL LETTER O",
    "аbc": "CYRILLIC SMALL LETTER A",
    "a\uff0fb": "FULLWIDTH SOLIDUS",
    "\uff41bc": "FULLWIDTH LATIN SMALL LETTER A",
    "a\u200bb": "ZERO WIDTH SPACE",
    unicodedata.normalize("NFC", "é"): "LATIN SMALL LETTER E WITH ACUTE",
    unicodedata.normalize("NFD", "é"): "COMBINING ACUTE ACCENT",
    "a\u2024b": "ONE DOT LEADER",
    "a" * 129: "cannot be a part",
    "a/" * 256 + "a": "at most 512 characters, found 513",
    "zarr.json": "'zarr.json' is a name that Zarr or the registry uses",
    "a/manifest.json": "'manifest.json' is a name",
    "a/Zarr.JSON": "is a name that Zarr or the registry uses",
    "a/c": "'c' is a name that Zarr",
    "~": "'~' cannot be a part",
    "a*": "'a*' cannot be a part",
    "\ud800": "It holds",
}


@pytest.mark.parametrize("name", GOOD)
def test_plain_relative_paths_are_names(name):
    assert check_name(name) == name


@pytest.mark.parametrize("name", BAD, ids=[repr(name)[:30] for name in BAD])
def test_bad_names_are_refused_with_the_rule(name):
    with pytest.raises(RegistryError) as caught:
        check_name(name)
    assert BAD[name] in str(caught.value)
    assert "Use ASCII letters, digits and . _ + = - in parts joined by '/'" in str(caught.value)


@pytest.mark.parametrize("name", [None, 3, b"a", ["a"], ("a",)])
def test_names_that_are_no_text_are_refused(name):
    with pytest.raises(RegistryError, match="expected text, found"):
        check_name(name)


@given(st.text(max_size=40))
def test_whatever_passes_stays_within_the_folder_and_is_spelt_one_way(name):
    try:
        check_name(name)
    except RegistryError:
        return
    assert name.isascii()
    assert name == unicodedata.normalize("NFKC", name)
    for part in name.split("/"):
        assert part[0] in LETTERS
        assert set(part) <= set(LETTERS + "._+=-")


@given(st.lists(st.text(LETTERS, min_size=1, max_size=8), min_size=1, max_size=4))
def test_letters_and_digits_always_make_a_name(parts):
    name = "/".join(f"x{part}" for part in parts)
    assert check_name(name) == name


def test_every_word_has_one_meaning():
    assert not set(DIMS) & set(COORDS)
    assert all(DIMS.values())
    assert all(COORDS.values())
    assert len(set(ROLES)) == 7
    assert len(set(PROVENANCE_ATTRS)) == len(PROVENANCE_ATTRS)
