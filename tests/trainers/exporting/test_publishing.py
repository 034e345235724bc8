"""Versions appear whole, under the next number."""

import pytest

from trainers.exporting import publishing


def publish(output, content):
    with publishing.staged(output) as folder:
        (folder / "model").write_text(content)
        return publishing.publish(folder, output)


def test_versions_are_numbered_one_after_the_other(tmp_path):
    output = tmp_path / "export"
    assert [publish(output, text).name for text in "abc"] == ["1", "2", "3"]
    assert (output / "2" / "model").read_text() == "b"
    assert sorted(path.name for path in output.iterdir()) == ["1", "2", "3"]


def test_the_next_number_is_above_the_largest(tmp_path):
    (tmp_path / "10").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "11").write_text("a file")
    assert publish(tmp_path, "x").name == "12", "a file takes its number too"


def test_a_number_taken_meanwhile_is_passed_over(tmp_path, monkeypatch):
    publish(tmp_path, "a")
    known = iter([[], [1]])  # as if another export had published its version between looking and renaming
    monkeypatch.setattr(publishing, "versions", lambda output: next(known))
    assert publish(tmp_path, "b").name == "2"
    assert (tmp_path / "1" / "model").read_text() == "a"


def test_what_was_not_published_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), publishing.staged(tmp_path / "export") as folder:
        (folder / "model").write_text("half")
        raise RuntimeError
    assert not (tmp_path / "export").exists()


def test_folders_that_were_there_stay(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(RuntimeError), publishing.staged(tmp_path / "mine" / "new" / "export"):
        raise RuntimeError
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


def test_folders_that_cannot_be_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for output, words in ((str(tmp_path / "file"), "is a file"), ("gs://bucket/export", "local folder")):
        with pytest.raises(ValueError, match=words):
            publishing.check(output)
    with pytest.raises(ValueError, match="cannot be written"), publishing.staged(tmp_path / "file" / "export"):
        pass
