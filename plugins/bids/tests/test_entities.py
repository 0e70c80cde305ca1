import re

import pytest
from brainlens_bids.entities import ORDER, applicable, build, entity_of, parse
from hypothesis import given, strategies as st

import brainlens

LABELS = st.text("abcXYZ019", min_size=1, max_size=6)
ENTITIES = st.dictionaries(st.sampled_from(ORDER), LABELS, min_size=1)


@given(entities=ENTITIES, suffix=LABELS, extension=st.sampled_from([".nii.gz", ".tsv", ".json", ""]))
def test_what_is_built_is_parsed_again_whatever_the_order(entities, suffix, extension):
    name = build(entities, suffix, extension)
    found = parse(name)
    assert (dict(found.entities), found.suffix, found.extension) == (entities, suffix, extension)
    assert str(found) == name
    assert list(found.entities) == sorted(entities, key=ORDER.index)
    assert build(dict(reversed(list(entities.items()))), suffix, extension) == name
    assert all(entity_of(name, key) == label for key, label in entities.items())


@pytest.mark.parametrize(
    "name",
    [
        "sub-0001_task-workingmemory_acq-seq_desc-confounds_regressors.tsv",
        "sub-01_ses-01_task-rest_acq-a_ce-b_rec-c_dir-d_run-1_echo-2_part-mag_space-T1w_res-2_desc-preproc_bold.nii.gz",
        "sub-01_space-MNI152NLin2009cAsym_res-2_label-GM_desc-smoothed_probseg.nii.gz",
    ],
)
def test_names_of_known_software_are_in_the_standards_order(name):
    assert str(parse(name)) == name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("task-rest_sub-01_bold.nii.gz", "expected entities in the standard's order, sub, task, found task, sub"),
        ("sub-01_tsk-rest_bold.nii.gz", "expected entities of BIDS by their keys, found 'tsk'. Closest: 'task'"),
        ("sub-01_run-1_run-2_bold.nii.gz", "expected each entity once, found 'run' twice"),
        ("bold.nii.gz", "expected a name of BIDS"),
        ("sub-01_my-1-2_bold.nii.gz", "expected a name of BIDS"),
        ("sub-01_bo-ld.nii.gz", "expected a name of BIDS"),
    ],
)
def test_other_names_are_refused(name, text):
    with pytest.raises(brainlens.ParameterError, match=re.escape(f"file name {name!r}: {text}")):
        parse(name)


def test_an_unknown_entity_is_not_built():
    with pytest.raises(brainlens.ParameterError, match="found 'session'. Closest: 'space'|found 'session'"):
        build({"session": "1"}, "bold", ".nii")


@given(entities=st.dictionaries(st.sampled_from(ORDER), LABELS, max_size=6))
def test_metadata_applies_to_files_that_have_all_its_entities(entities):
    names = list(applicable(entities, "bold", ".json"))
    assert len(set(names)) == len(names) == 2 ** len(entities)
    assert names[0] == build(entities, "bold", ".json")
    assert names[-1] == "bold.json"
    sizes = [name.count("-") for name in names]
    assert sizes == sorted(sizes, reverse=True)


def test_real_names_are_parsed(shared):
    paths = [
        *shared("bids_events_haxby_god").glob("ds*/sub-*/**/*_events.tsv"),
        *shared("aomic_piop2").glob("events/*.tsv"),
        *shared("aomic_piop2").glob("confounds/*.tsv.gz"),
    ]
    assert len(paths) == 99 + 11 + 12
    # AOMIC's physiological regressors have an entity before another, as the standard does not.
    names = [path.name for path in paths if "recording-" not in path.name]
    assert [str(parse(name)) for name in names] == names
