"""Who is who among registrations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from avatar.base.errors import InputError
from capture_tools.model_learning.subjects import people_from_file, people_from_names


def told(people):
    return {
        p.name: ([folder.name for folder in p.folders], None if p.neutral is None else p.neutral.name) for p in people
    }


def test_folders_of_subject_and_frame():
    folders = [Path("r/anna/neutral"), Path("r/anna/smile_wide"), Path("r/ben/b1"), Path("r/ben/b2_neutral")]
    assert told(people_from_names(folders)) == {
        "anna": (["neutral", "smile_wide"], "neutral"),
        "ben": (["b1", "b2_neutral"], "b2_neutral"),
    }


def test_flat_names_are_split_where_neutral_says():
    folders = [
        Path(f"r/{n}") for n in ("anna_neutral", "anna_smile_wide", "ben_k_neutral", "ben_k_01", "cleo_a_7", "dora")
    ]
    assert told(people_from_names(folders)) == {
        "anna": (["anna_neutral", "anna_smile_wide"], "anna_neutral"),
        "ben_k": (["ben_k_01", "ben_k_neutral"], "ben_k_neutral"),
        "cleo_a": (["cleo_a_7"], None),
        "dora": (["dora"], None),
    }


def test_a_file_says_it_otherwise(tmp_path):
    folders = [Path("r/anna/a"), Path("r/anna/b"), Path("r/ben/a"), Path("r/ben/c")]
    file = tmp_path / "who.json"
    file.write_text(json.dumps({"one": ["b", "anna/a"], "two": ["c"]}))
    people = people_from_file(file, folders)
    assert told(people) == {"one": (["b", "a"], "b"), "two": (["c"], "c")}
    assert people[0].folders[1] == Path("r/anna/a")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "damaged"),
        ("[1]", "another form"),
        ("{}", "another form"),
        ('{"a": []}', "another form"),
        ('{"a": [3]}', "another form"),
        ('{"a": ["nobody"]}', "not there"),
        ('{"a": ["x"]}', "several of"),
        ('{"a": ["r/x"], "b": ["r/x"]}', "two people"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path, content, said):
    file = tmp_path / "who.json"
    file.write_text(content)
    with pytest.raises(InputError, match=said):
        people_from_file(file, [Path("r/x"), Path("s/x")])
