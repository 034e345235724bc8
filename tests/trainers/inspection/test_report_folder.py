"""The folder of a doctor's report."""

import json

import numpy as np
import pytest
import tensorflow as tf

from trainers import files
from trainers.data.source import Source, Split
from trainers.files import Unwritable
from trainers.inspection import duplicates, report_folder
from trainers.inspection.subject import Part, Subject

TABLES = {"findings.csv": [("level", "image"), ("error", 'a, "b"')]}


def test_a_report_replaces_an_earlier_one(tmp_path):
    path = str(tmp_path / "new" / "report")
    report_folder.check(path)
    report_folder.make(path)
    assert [*(tmp_path / "new" / "report").iterdir()] == []
    sheets = [("train", np.zeros((2, 3, 3), "uint8")), ("gone", np.zeros((1, 1, 3), "uint8"))]
    assert report_folder.write(path, {"a": 1}, TABLES | {"old.csv": []}, sheets)[0] == "doctor.json"
    others = {"notes.txt", "mine.csv", "contact_sheet_mine.png"}
    for name in others:
        (tmp_path / "new" / "report" / name).touch()
    report_folder.check(path)
    names = report_folder.write(path, {"a": 2}, TABLES, iter(sheets[:1]))
    assert names == ["doctor.json", "findings.csv", "contact_sheet_train.png"]
    paths = {file.name: file for file in (tmp_path / "new" / "report").iterdir()}
    assert paths.keys() == {*names, *others}
    assert json.loads(paths["doctor.json"].read_text()) == {"a": 2, "files": names[1:]}
    assert paths["findings.csv"].read_text() == 'level,image\nerror,"a, ""b"""\n'
    assert tf.io.decode_png(paths["contact_sheet_train.png"].read_bytes()).shape == (2, 3, 3)


@pytest.mark.parametrize(
    "earlier", ["", "[]", "{}", '{"files": 1}', '{"files": [1]}', '{"files": ["../mine.csv", "mine.txt", "gone.csv"]}']
)
def test_nothing_else_is_removed_whatever_the_earlier_report_says(earlier, tmp_path):
    for name in ("mine.csv", "report/mine.csv", "report/mine.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "report" / "doctor.json").write_text(earlier)
    report_folder.write(str(tmp_path / "report"), {}, {}, [])
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"doctor.json", "mine.csv", "mine.txt"}
    assert (tmp_path / "mine.csv").exists()


def test_elsewhere_too(tmp_path):
    path = f"ram://{tmp_path}/report"
    report_folder.check(path)
    report_folder.make(path)
    names = report_folder.write(path, {}, TABLES, [("train", np.zeros((2, 3, 3), "uint8"))])
    assert sorted(tf.io.gfile.listdir(path)) == sorted(names)


def test_what_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        report_folder.check(f"{tmp_path}/file")
    with pytest.raises(ValueError, match=r"--output=.* cannot be written"):
        report_folder.make(f"{tmp_path}/file/report")
    with pytest.raises(Unwritable, match="cannot be written"):
        report_folder.write(f"{tmp_path}/file/report", {}, {}, [])

    def full(path, text):
        raise Unwritable(f"{path} cannot be written: No space left.")

    monkeypatch.setattr(files, "write_text", full)
    with pytest.raises(ValueError, match=r"--output=.* takes no files: .*: No space left"):
        report_folder.make(f"{tmp_path}/new")


def test_members_that_only_others_connect_are_said_to_be_connected():
    members = [duplicates.Member(0, example, pixels) for example, pixels in enumerate([5, 6, 7, 5])]
    near = duplicates.Link("near", 4)
    group = duplicates.Group((*members,), {5: {6: near}, 6: {5: near, 7: near}, 7: {6: near}})
    split = Split(4, None, None, "place {}".format, name="train")
    part = Part(Source("mine", 3, 1, ("ant",), {}), split, None, np.arange(4), np.zeros(4, int))
    rows = [row[:3] for row in report_folder.duplicates_of(Subject([part], [], [group], (8, 8)))]
    assert rows == [(1, "first", 0), (1, "near", 4), (1, "connected", ""), (1, "exact", 0)]
