import numpy as np
import pandas as pd
import pytest
from brainlens_nifti.labels import number_trials
from hypothesis import given, strategies as st


def rows(labels, runs, mark=" "):
    return "".join(f"{label}{mark}{run}\n" for label, run in zip(labels, runs, strict=True))


@pytest.mark.parametrize("mark", [" ", "\t", ","])
def test_a_header_names_the_columns_in_any_order(study, mark):
    plain = study.read()
    text = f"extra{mark}chunks{mark}labels\n" + "".join(
        f"x{mark}{run}{mark}{label}\n" for label, run in zip(study.labels, study.runs, strict=True)
    )
    study.write("labels.txt", text)
    made = study.read(label_column="labels", run_column="chunks")
    assert made["response"].identical(plain["response"])


def test_a_header_with_the_usual_names_is_found_by_itself(study):
    plain = study.read()
    study.write("labels.txt", "run label\n" + rows(study.runs, study.labels))
    assert study.read()["response"].identical(plain["response"])


def test_labels_without_runs_are_one_run_per_image(study):
    study.write("labels.txt", "\n".join(study.labels))
    assert set(study.read()["bold"]["run"].values) == {0}
    files = [study.save(f"{run}.nii", study.bold[..., study.runs == run]) for run in (0, 1)]
    np.testing.assert_array_equal(study.read(bold=files)["bold"]["run"], study.runs)


def test_one_label_table_per_image_is_read_in_order(study):
    plain = study.read()
    tables = [study.write(f"{run}.txt", rows(study.labels[:10], [run] * 10)) for run in (0, 1)]
    assert study.read(labels=tables)["response"].identical(plain["response"])


@pytest.mark.parametrize(("names", "kind"), [(["3", "12"], "i"), (["01", "02"], "U"), (["run-1", "run-2"], "U")])
def test_names_of_runs_are_kept_as_they_are(study, names, kind):
    study.write("labels.txt", rows(study.labels, np.repeat(names, 10)))
    run = study.read()["response"]["run"]
    assert run.dtype.kind == kind
    assert list(dict.fromkeys(run.values.astype(str))) == names


def test_another_number_of_labels_is_refused_with_both_numbers_and_files(study):
    path = study.write("labels.txt", "labels chunks\n" + rows(study.labels, study.runs))
    assert study.error() == (
        f"labels {path!r}: expected one row per volume, 20 in BOLD {study.params()['bold']!r}, found 21. "
        "The first row is 'labels chunks'; if it names the columns, say so with label_column and run_column."
    )


def test_runs_that_come_back_are_refused(study):
    study.write("labels.txt", rows(study.labels, np.tile([0, 1], 10)))
    assert "expected the volumes of each run one after another, found run 0, 1 in several pieces" in study.error()


def test_images_that_are_not_one_run_each_are_refused(study):
    files = [study.save("a.nii", study.bold[..., :8]), study.save("b.nii", study.bold[..., 8:])]
    assert "since there are 2 images, found a change of run or image at volume 8 of all" in study.error(bold=files)


def test_tables_with_and_without_runs_are_not_mixed(study):
    tables = [
        study.write("a.txt", rows(study.labels[:10], [0] * 10)),
        study.write("b.txt", "\n".join(study.labels[10:])),
    ]
    assert "expected column 'run' in all of them or in none, found it in some" in study.error(labels=tables)


def test_more_than_two_columns_need_names(study):
    study.write("labels.txt", "".join(f"{label} 0 x\n" for label in study.labels))
    assert "found 3 columns starting with ['rest', '0', 'x']. Name the columns" in study.error()


def test_a_misspelt_column_is_refused_with_the_closest(study):
    study.write("labels.txt", "category run\n" + rows(study.labels, study.runs))
    assert "expected a column 'categry', found none. Closest: 'category'" in study.error(label_column="categry")
    assert "expected a column 'rum', found none. Closest: 'run'" in study.error(
        label_column="category", run_column="rum"
    )


@pytest.mark.parametrize("rest", ["Rest", "resst", ["rest", "blank"]])
def test_a_misspelt_rest_is_refused_lest_it_become_a_stimulus(study, rest):
    assert "rest: expected labels that occur in labels" in study.error(rest=rest)


def test_rest_in_other_capitals_is_refused_even_by_default(study):
    study.write("labels.txt", rows(np.char.replace(study.labels, "rest", "Rest"), study.runs))
    assert "found 'rest'. Closest: 'Rest'." in study.error()


def test_there_may_be_no_rest_or_several(study):
    assert set(study.read(rest="")["response"]["stimulus_id"].values) == {"rest", "face", "house"}
    assert set(study.read(rest=["rest", "house"])["response"]["stimulus_id"].values) == {"face"}
    study.write("labels.txt", rows(np.char.replace(study.labels, "rest", "shoe"), study.runs))
    assert set(study.read()["response"]["stimulus_id"].values) == {"face", "house", "shoe"}


def test_nothing_but_rest_is_refused(study):
    study.write("labels.txt", "rest 0\n" * 20)
    assert "expected at least one volume with a label that is not rest, found only 'rest'" in study.error()


@given(st.lists(st.tuples(st.sampled_from("abr"), st.booleans()), min_size=1, max_size=30))
def test_trials_hold_each_labelled_volume_once_and_in_order(sequence):
    labels = np.array([label for label, _ in sequence])
    runs = np.cumsum([new for _, new in sequence])
    fresh = np.r_[True, (labels[1:] != labels[:-1]) | (runs[1:] != runs[:-1])]
    table = pd.DataFrame({"label": labels, "run": runs, "block": np.where(labels == "r", -1, np.cumsum(fresh))})
    for average_over in ("volume", "block", "run"):
        trials = number_trials(table, average_over=average_over)
        assert ((trials >= 0) == (labels != "r")).all()
        used = trials[trials >= 0]
        assert list(dict.fromkeys(used)) == list(range(len(set(used))))
        for trial in set(used):
            assert len(set(zip(labels[trials == trial], runs[trials == trial], strict=True))) == 1
    assert len(set(trials) - {-1}) == len(set(zip(labels, runs, strict=True)) - {("r", run) for run in runs})
