"""What was found out about files is found out once, and again when they have changed."""

import os

import numpy as np
import pytest

from trainers import files as whole_files
from trainers.data.records import cached_index


class Finder:
    """Counts how often it was asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self, sizes):
        self.calls += 1
        return {"sizes": np.array(sizes)}


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "data"
    folder.mkdir()
    for name, size in {"a": 3, "b": 5}.items():
        (folder / name).write_bytes(b"x" * size)
    return [str(folder / "a"), str(folder / "b")]


def test_it_is_found_out_once_and_kept_beside_the_files(files, tmp_path):
    finder = Finder()
    for _ in range(2):
        assert cached_index.cached(files, "key", finder)["sizes"].tolist() == [3, 5]
    assert finder.calls == 1
    assert len(list((tmp_path / "data").glob(".index-*.npz"))) == 1 and not (tmp_path / "cache").exists()


def test_another_key_or_other_files_are_other_things(files):
    finder = Finder()
    cached_index.cached(files, "key", finder)
    cached_index.cached(files, "other", finder)
    cached_index.cached(files[:1], "key", finder)
    assert finder.calls == 3


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_changed_file_is_looked_at_again(files, change):
    finder = Finder()
    cached_index.cached(files, "key", finder)
    with open(files[1], "r+b") as file:
        file.write(b"y" * (6 if change == "size" else 5))
    os.utime(files[1], (1, 1))
    cached_index.cached(files, "key", finder)
    assert finder.calls == 2


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:50], lambda data: data[:-200] + b"!" * 200])
def test_a_damaged_index_is_built_again(files, tmp_path, damage):
    finder = Finder()
    cached_index.cached(files, "key", finder)
    (index,) = (tmp_path / "data").glob(".index-*.npz")
    index.write_bytes(damage(index.read_bytes()))
    assert cached_index.cached(files, "key", finder)["sizes"].tolist() == [3, 5]
    assert finder.calls == 2
    cached_index.cached(files, "key", finder)
    assert finder.calls == 2


def test_it_moves_with_the_files(files, tmp_path):
    finder = Finder()
    cached_index.cached(files, "key", finder)
    (tmp_path / "data").rename(tmp_path / "moved")
    cached_index.cached([file.replace("/data/", "/moved/") for file in files], "key", finder)
    assert finder.calls == 1


def test_files_named_from_where_one_is(files, tmp_path, monkeypatch):
    finder = Finder()
    cached_index.cached(files, "key", finder)
    monkeypatch.chdir(tmp_path / "data")
    cached_index.cached(["a", "b"], "key", finder)
    assert finder.calls == 1
    cached_index.cached(["b"], "key", finder)
    assert len(list((tmp_path / "data").glob(".index-*.npz"))) == 2


def read_only(place, monkeypatch):
    """As a folder that may not be written; permissions would not stop root."""
    write = whole_files.replace_with

    def refuse(path, fill):
        if path.startswith(str(place)):
            raise whole_files.Unwritable("Permission denied")
        write(path, fill)

    monkeypatch.setattr(whole_files, "replace_with", refuse)


def test_beside_files_that_may_not_be_written_the_cache_keeps_it(files, tmp_path, monkeypatch):
    read_only(tmp_path / "data", monkeypatch)
    finder = Finder()
    for _ in range(2):
        cached_index.cached(files, "key", finder)
    assert finder.calls == 1
    assert len(list((tmp_path / "cache" / "keras_vit").glob("index-*.npz"))) == 1


def test_where_nothing_may_be_written_it_is_said_and_works(files, tmp_path, monkeypatch, capsys):
    read_only(tmp_path, monkeypatch)
    assert cached_index.cached(files, "key", Finder())["sizes"].tolist() == [3, 5]
    assert "will be built again" in capsys.readouterr().err


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere is missing"):
        cached_index.cached([str(tmp_path / "nowhere")], "key", Finder())
