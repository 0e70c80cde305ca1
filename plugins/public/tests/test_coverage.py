"""The page that says what is read, and real data beside the repository that other importers read already."""

from pathlib import Path

import numpy as np
import pytest
from brainlens_public import brainlens_components, terms
from click.testing import CliRunner

import brainlens
from brainlens.cli import main

PAGE = Path(__file__).parents[3] / "docs" / "coverage.md"


@pytest.mark.parametrize("component", brainlens_components(), ids=lambda component: component.name)
def test_every_importer_has_a_section_with_its_citation(component):
    section = PAGE.read_text("utf-8").split(f"## `{component.name}`\n")[1].split("\n## ")[0]
    for row in ("layout", "read", "not read", "comes from", "licence", "cite"):
        assert f"| {row} |" in section
    for citation in component.citations:
        for word in citation.split():
            if word.startswith(("doi:", "arXiv:")):
                assert word.strip(";,") in section


def test_the_command_line_shows_licence_and_citation(tmp_path, shared):
    path = shared("nsd_shared1000_labels") / "shared1000_HED.tsv"
    given = ["--registry", str(tmp_path / "study.zarr"), "ingest", "public.nsd_labels", "hed", "--file", str(path)]
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 0, done.output
    assert f"licence: {terms.HED.licence}" in done.stderr
    assert f"cite: {terms.HED.citation}" in done.stderr
    assert done.stdout.split()[-2:] == ["hed/text", "hed/tags"]
    quiet = CliRunner().invoke(main, ["-q", *given[:4], "again", *given[5:]])
    assert "licence" not in quiet.stderr


def test_finger_patterns_are_read_by_arrays_and_decoded_as_their_page_says(tmp_path, shared):
    """Seven people, 35 or 40 patterns each; a linear classifier reaches 0.747 on average, chance is 0.2."""
    pytest.importorskip("brainlens_arrays")
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_score
    from sklearn.svm import SVC

    path = shared("finger7T_patterns") / "data_recipe_finger7T.mat"
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    scores = []
    for person in range(7):
        keys = {"key": f"Y/{person}", "labels_key": f"condVec/{person}", "runs_key": f"partVec/{person}"}
        about = {"citation": "Ejaz et al. 2015, Nat. Neurosci. 18:1034", "licence": "MIT (PcmPy)"}
        name = f"finger/s{person}"
        registry.ingest("arrays", name, subject=f"s{person}", responses=str(path), **keys, **about)
        response = registry[name]
        assert 1589 <= response.sizes["voxel"] <= 1946
        assert response.sizes["trial"] in (35, 40)
        assert response.attrs["licence"] == "MIT (PcmPy)"
        x, y, run = (response[part].values for part in ("response", "stimulus_id", "run"))
        scores.append(cross_val_score(SVC(kernel="linear"), x, y, groups=run, cv=LeaveOneGroupOut()).mean())
    assert np.mean(scores) == pytest.approx(0.747, abs=0.02)
    assert min(scores) > 0.4
