"""Reading ratings: what is bad is set aside with a reason, and touches nothing else."""

from __future__ import annotations

import pytest

from components.contracts.errors import InputError
from components.human_eval.ratings import Rating, read_ratings, write_ratings

HEAD = "task_id,rater_id,grade,seconds\n"
TASKS = ("t1", "t2")


def read(tmp_path, body, **options):
    path = tmp_path / "ratings.csv"
    path.write_bytes(body if isinstance(body, bytes) else (HEAD + body).encode())
    return read_ratings(path, tasks=TASKS, **options)


def test_what_is_written_is_read_back(tmp_path):
    given = [Rating("t1", "ann", 3, 1.5), Rating("t2", "ann", None, 0.25)]
    write_ratings(tmp_path / "r.csv", given)
    found = read_ratings(tmp_path / "r.csv", tasks=TASKS)
    assert found.valid == tuple(given)
    assert found.set_aside == ()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("t9,ann,2,1.0", "unknown_task"),
        ("t1,ann,4,1.0", "grade_out_of_range"),
        ("t1,ann,-1,1.0", "grade_out_of_range"),
        ("t1,ann,2.5,1.0", "grade_out_of_range"),
        ("t1,ann,,1.0", "grade_out_of_range"),
        ("t1,,2,1.0", "no_rater"),
        ("t1,ann,2,-1", "seconds_out_of_range"),
        ("t1,ann,2,nan", "seconds_out_of_range"),
        ("t1,ann,2,soon", "seconds_not_a_number"),
        ("t1,ann,2,", "truncated"),
        ("t1,ann,2", "truncated"),
        ("t1", "truncated"),
        ("t1,ann,2,1.0,extra", "malformed"),
        ("t1,eve,2,1.0", "banned"),
        ("t1,simulated:careful-01,2,1.0", "simulated"),
        ('"t9,ann,2,1.0', "unknown_task"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_reason(tmp_path, line, reason):
    found = read(tmp_path, f"{line}\nt2,ann,1,2.0\n", banned=["eve"])
    assert found.valid == (Rating("t2", "ann", 1, 2.0),)
    assert [(entry.row, entry.reason) for entry in found.set_aside] == [(2, reason)]
    assert found.counts() == {reason: 1}


def test_of_two_answers_the_first_counts(tmp_path):
    found = read(tmp_path, "t1,ann,0,1\nt1,ann,3,1\nt1,bob,2,1\n")
    assert [rating.grade for rating in found.valid] == [0, 2]
    assert found.counts() == {"doubled": 1}


def test_a_file_cut_off_in_the_middle_of_a_row(tmp_path):
    found = read(tmp_path, "t1,ann,3,1\nt2,an")
    assert len(found.valid) == 1
    assert found.counts() == {"truncated": 1}


def test_windows_line_ends_byte_order_marks_and_quotes_are_read(tmp_path):
    body = b"\xef\xbb\xbf" + b'task_id,rater_id,grade,seconds\r\n"t1","ann","3","1.0"\r\n'
    assert read(tmp_path, body).valid == (Rating("t1", "ann", 3, 1.0),)


def test_bytes_that_are_no_text_are_set_aside(tmp_path):
    found = read(tmp_path, HEAD.encode() + b"\xff\xfe,ann,3,1\nt1,ann,3,1\n")
    assert found.counts() == {"unknown_task": 1}
    assert len(found.valid) == 1


def test_no_file_means_no_ratings_yet(tmp_path):
    assert read_ratings(tmp_path / "none.csv", tasks=TASKS).valid == ()


def test_another_table_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected the columns task_id,rater_id,grade,seconds"):
        read(tmp_path, b"task,worker,label\nt1,ann,3\n")


def test_simulated_raters_are_read_where_they_are_allowed(tmp_path):
    found = read(tmp_path, "t1,simulated:careful-01,2,1\n", allow_simulated=True)
    assert found.valid[0].simulated
