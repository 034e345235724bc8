"""Which files paths, folders, patterns and stdin name."""

import io
import os
import pathlib
import sys

import pytest

from keras_vit.errors import UserError
from trainers.inference import image_files
from trainers.inference.predictor import Unreadable

ODD = ["a b.jpg", "日本.png", "new\nline.JPG", "[1].jpeg", "-.gif", os.fsdecode(b"\xff.bmp")]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder: images, a text, and folders."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.PNG", "notes.txt", "sub/c.webp", "sub/deep/d.jpg", "sub/.hidden/e.jpg", "empty/notes.txt"):
        path = pathlib.Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def piped(monkeypatch, content, terminal=False):
    stdin = io.BytesIO(content)
    stdin.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": stdin}))


@pytest.mark.parametrize(
    ("paths", "files"),
    [
        (["b.jpg", "a.PNG"], ["b.jpg", "a.PNG"]),
        (["notes.txt"], ["notes.txt"]),
        (["b.jpg", "b.jpg", "."], ["b.jpg", "./a.PNG", "./b.jpg", "./sub/c.webp", "./sub/deep/d.jpg"]),
        (["sub"], ["sub/c.webp", "sub/deep/d.jpg"]),
        (["*.*"], ["a.PNG", "b.jpg", "notes.txt"]),
        (["**/*.jpg"], ["b.jpg", "sub/deep/d.jpg"]),
        (["s*", "sub/deep"], ["sub/c.webp", "sub/deep/d.jpg"]),
    ],
)
def test_files_folders_and_patterns(paths, files, here):
    assert image_files.named(paths) == dict.fromkeys(files)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("none.jpg", "there is no such file"),
        ("empty", "the folder holds no image (jpg, jpeg, png, gif, bmp, webp)"),
        ("*.tiff", "nothing matches this pattern"),
        ("https://host/a.jpg", "files are read from disks and buckets; download it first"),
    ],
)
def test_what_cannot_be_read_is_told(path, reason, here):
    assert image_files.named([path, "b.jpg"]) == {path: Unreadable(reason), "b.jpg": None}


def test_a_link_that_leads_back_is_told(here):
    (here / "sub" / "back").symlink_to(here / "sub")
    files = image_files.named(["sub", "b.jpg"])
    assert files["b.jpg"] is None and "remove the link" in files["sub"].reason


def test_odd_names_are_taken_as_they_are(here):
    for name in ODD:
        pathlib.Path("odd", name).parent.mkdir(exist_ok=True)
        pathlib.Path("odd", name).write_bytes(b"content")
    assert set(image_files.named(["odd"])) == {f"odd/{name}" for name in ODD}
    assert all(image_files.read(path) == b"content" for path in image_files.named(["odd"]))
    assert image_files.named(["odd/[1].jpeg"]) == {"odd/[1].jpeg": None}, "what is there is no pattern"


@pytest.mark.parametrize("content", [b"b.jpg\r\n\nsub\n", b"b.jpg\nsub", b"b.jpg\0sub\0"])
@pytest.mark.parametrize("paths", [[], ["-"]])
def test_paths_from_stdin(paths, content, here, monkeypatch):
    piped(monkeypatch, content)
    assert list(image_files.named(paths)) == ["b.jpg", "sub/c.webp", "sub/deep/d.jpg"]


def test_names_with_line_breaks_come_as_find_prints_them(here, monkeypatch):
    pathlib.Path("new\nline.jpg").write_bytes(b"")
    piped(monkeypatch, b"new\nline.jpg\0b.jpg\0")
    assert image_files.named(["-"]) == {"new\nline.jpg": None, "b.jpg": None}


def test_a_terminal_is_not_read(monkeypatch):
    piped(monkeypatch, b"", terminal=True)
    with pytest.raises(UserError, match="No image is named"):
        image_files.named([])


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_a_stdin_without_paths_is_a_mistake(content, monkeypatch):
    piped(monkeypatch, content)
    with pytest.raises(UserError, match="stdin held no path"):
        image_files.named([])


def test_reading(here, monkeypatch):
    assert image_files.read("b.jpg") == b"b.jpg"
    assert image_files.read("gone.jpg") == Unreadable("No such file or directory")
    assert image_files.read("nul\0.jpg") == Unreadable("embedded null byte")
    monkeypatch.setattr(image_files, "LIMIT", 4)
    assert image_files.read("b.jpg") == Unreadable("it has more than 4 bytes")
