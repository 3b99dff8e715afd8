"""Folders that the program writes into: claims, links, and what a killed process leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from avatar.base.errors import OutputError
from avatar.base.files import (
    claim_folder,
    distinct_names,
    refuse_links,
    remove_leftovers,
    withdraw_claim,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_links_are_refused_wherever_they_stand(tmp_path):
    (tmp_path / "run" / "eval" / "val").mkdir(parents=True)
    (tmp_path / "run" / "log.jsonl").write_text("{}")
    refuse_links(tmp_path / "run")
    (tmp_path / "run" / "eval" / "val" / "gt").symlink_to(tmp_path)
    (tmp_path / "run" / "nowhere").symlink_to(tmp_path / "none")
    with pytest.raises(OutputError, match=r"a link stands where files are written \(.*nowhere\)"):
        refuse_links(tmp_path / "run", "nowhere")
    with pytest.raises(OutputError, match=rf"eval/val/gt\)\n.*\n  found: a link to {tmp_path}\n"):
        refuse_links(tmp_path / "run", "log.jsonl", "eval")
    refuse_links(tmp_path / "run", "log.jsonl", "missing")


def test_a_folder_that_is_itself_a_link_was_chosen(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    refuse_links(tmp_path / "run")
    assert claim_folder(tmp_path / "run", "run", {})


@pytest.mark.parametrize("below", ["o.json", "folder/o.json"])
def test_what_lies_below_a_file_is_told_by_one_error(tmp_path, below):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError) as caught:
        write_text(tmp_path / "notes.txt" / below, "{}")
    assert caught.value.what == "the file cannot be written"
    assert caught.value.found == f"{tmp_path / 'notes.txt'} is a file, and no folder"
    assert caught.value.__context__ is caught.value.__cause__, "nothing failed after it"
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_only_temporary_files_of_ours_are_removed(tmp_path):
    ours = ("checkpoints/.step_000100.4711.part.safetensors", "checkpoints/.latest.12.part", "..avatar.3.part.json")
    theirs = (".notes.part.txt", ".a.b.part.png", "x.12.part.png", "holiday.png", "other/.avatar.json")
    theirs += ("other/.clip.5.part.mp4",)  # a folder of another command
    for name in (*ours, *theirs):
        write_text(tmp_path / name, "")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted(theirs)


def test_a_claim_that_was_cut_short_is_no_obstacle(tmp_path):
    (tmp_path / "..avatar.123.part.json").write_text("{")
    assert claim_folder(tmp_path, "run", {"a": 1})
    assert not claim_folder(tmp_path, "run", {"a": 1})


def test_a_claim_is_taken_back_only_from_an_empty_folder(tmp_path):
    claim_folder(tmp_path / "run", "run", {})
    (tmp_path / "run" / "notes.txt").write_text("mine")
    withdraw_claim(tmp_path / "run")
    assert names(tmp_path / "run") == [".avatar.json", "notes.txt"]
    (tmp_path / "run" / "notes.txt").unlink()
    withdraw_claim(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    withdraw_claim(tmp_path / "run")


def test_folders_are_told_apart_by_as_many_parents_as_it_takes(tmp_path):
    runs = [tmp_path / "a" / "ann" / "capture", tmp_path / "a" / "ben" / "capture"]
    assert distinct_names(runs) == ["ann/capture", "ben/capture"]
    assert distinct_names([*runs, tmp_path / "b" / "ben" / "capture"])[1:] == ["a/ben/capture", "b/ben/capture"]
    assert distinct_names([tmp_path / "one", tmp_path / "two"]) == ["one", "two"]
    assert distinct_names([]) == []
