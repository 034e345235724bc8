"""The report of the classes: its text, its files and its picture."""

import csv
import importlib.util

import numpy as np
import pytest
import tensorflow as tf

from trainers.reports import class_report

LABELS = np.array([0, 0, 0, 1, 1, 3])
PREDICTIONS = np.array([0, 0, 1, 1, 1, 0])
NAMES = ["cat", "dog, small", "no such", "$x_1$ 鹤"]


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_the_worst_classes_come_first_and_those_without_examples_last():
    lines = class_report.text(class_report.of_predictions(LABELS, PREDICTIONS, NAMES)).splitlines()
    assert [line[2:12].strip() for line in lines[1:5]] == ["$x_1$ 鹤", "cat", "dog, small", "no such"]
    assert lines[1].split()[2:] == ["-", "0.00", "%", "0.00", "%", "1"]
    assert lines[2].split()[1:] == ["66.67", "%", "66.67", "%", "66.67", "%", "3"]
    assert lines[4].split()[2:] == ["-", "-", "-", "0"]
    assert lines[5:] == ["most often confused:", "  cat taken for dog, small: 1", "  $x_1$ 鹤 taken for cat: 1"]


def test_a_report_in_files(tmp_path):
    report = class_report.of_predictions(LABELS, PREDICTIONS, NAMES)
    assert class_report.write(report, str(tmp_path)) == ["per_class.csv", "confusion.csv", "confusion.png"]
    table = rows_of(tmp_path / "per_class.csv")
    assert table[0] == ["class", "precision", "recall", "f1", "support"]
    assert [row[0] for row in table[1:]] == NAMES
    assert table[2] == ["dog, small", "0.666667", "1.000000", "0.800000", "2"] and table[3][1:] == ["", "", "", "0"]
    assert rows_of(tmp_path / "confusion.csv") == [
        ["class", "predicted", "examples"],
        ["cat", "cat", "2"],
        ["dog, small", "dog, small", "2"],
        ["cat", "dog, small", "1"],
        ["$x_1$ 鹤", "cat", "1"],
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"per_class.csv", "confusion.csv", "confusion.png"}


def test_of_several_classes_there_is_no_confusion(tmp_path):
    report = class_report.of_average_precisions([0.5, np.nan], [[1, 0], [1, 0]], ["a", "b"])
    assert class_report.write(report, str(tmp_path)) == ["per_class.csv"]
    assert rows_of(tmp_path / "per_class.csv")[1:] == [["a", "0.500000", "2"], ["b", "", "0"]]
    assert [line.split() for line in class_report.text(report).splitlines()[1:]] == [
        ["a", "50.00", "%", "2"],
        ["b", "-", "0"],
    ]


@pytest.mark.parametrize(("classes", "mistakes"), [(3, True), (25, True), (150, True), (150, False)])
def test_pictures_grow_with_the_classes_to_a_limit(classes, mistakes, tmp_path):
    labels = np.arange(classes)
    predictions = labels[::-1] if mistakes else labels
    report = class_report.of_predictions(labels, predictions, [f"a class called {number}" for number in labels])
    class_report.write(report, str(tmp_path))
    picture = tf.io.decode_png((tmp_path / "confusion.png").read_bytes(), channels=3).numpy()
    assert picture.min() < 100 < picture.max()
    assert 100 < picture.shape[0] < 1500 and 300 < picture.shape[1] < 1500


def test_without_matplotlib_only_the_picture_is_missing(tmp_path, monkeypatch, capsys):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find_spec(name))
    report = class_report.of_predictions(LABELS, PREDICTIONS, NAMES)
    assert class_report.write(report, str(tmp_path)) == ["per_class.csv", "confusion.csv"]
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "confusion.png is left out" in said and "pip install -e '.[plot]'" in said
    assert {path.name for path in tmp_path.iterdir()} == {"per_class.csv", "confusion.csv"}
