"""The folder of a doctor's report."""

import json

import numpy as np
import pytest
import tensorflow as tf

from trainers.engine.checkpoint import Unwritable
from trainers.runs import doctor_folder

TABLES = {"findings.csv": [("level", "image"), ("error", 'a, "b"')]}


def test_a_report_replaces_an_earlier_one(tmp_path):
    path = str(tmp_path / "new" / "report")
    doctor_folder.check(path)
    sheets = [("train", np.zeros((2, 3, 3), "uint8")), ("gone", np.zeros((1, 1, 3), "uint8"))]
    assert doctor_folder.write(path, {"a": 1}, TABLES | {"old.csv": []}, sheets)[0] == "doctor.json"
    (tmp_path / "new" / "report" / "notes.txt").touch()
    doctor_folder.check(path)
    names = doctor_folder.write(path, {"a": 2}, TABLES, iter(sheets[:1]))
    assert names == ["doctor.json", "findings.csv", "contact_sheet_train.png"]
    found = {file.name: file for file in (tmp_path / "new" / "report").iterdir()}
    assert found.keys() == {*names, "notes.txt"}
    assert json.loads(found["doctor.json"].read_text()) == {"a": 2, "files": names[1:]}
    assert found["findings.csv"].read_text() == 'level,image\nerror,"a, ""b"""\n'
    assert tf.io.decode_png(found["contact_sheet_train.png"].read_bytes()).shape == (2, 3, 3)


def test_elsewhere_too(tmp_path):
    path = f"ram://{tmp_path}/report"
    doctor_folder.check(path)
    names = doctor_folder.write(path, {}, TABLES, [("train", np.zeros((2, 3, 3), "uint8"))])
    assert sorted(tf.io.gfile.listdir(path)) == sorted(names)


def test_what_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        doctor_folder.check(f"{tmp_path}/file")
    with pytest.raises((ValueError, Unwritable), match="cannot be written"):
        doctor_folder.write(f"{tmp_path}/file/report", {}, {}, [])
