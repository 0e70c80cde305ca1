"""What is said of each data set."""

import pytest
import xarray as xr
from brainlens_public import terms

import brainlens

ALL = [value for value in vars(terms).values() if isinstance(value, terms.Terms)]


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.title)
def test_terms_are_shown_and_kept(one, capsys):
    terms.announce(one, brainlens.Context(quiet=False))
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err.splitlines() == [one.title, f"  licence: {one.licence}", f"  cite: {one.citation}"]
    kept = terms.stamp(xr.Dataset(attrs={"subject": "S1"}), one).attrs
    assert kept == {"subject": "S1", "citation": one.citation, "licence": one.licence, "source": one.source}


def test_a_quiet_import_shows_nothing(capsys):
    terms.announce(ALL[0], brainlens.Context(quiet=True))
    assert capsys.readouterr().err == ""
