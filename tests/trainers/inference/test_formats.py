"""Tables for people, JSON and CSV for programs."""

import csv
import io
import json
import os

import numpy as np
import pytest

from trainers.inference import formats
from trainers.inference.predictions import Guess, Prediction

LONG = "photos/of the whole summer/in the mountains/and of the autumn by the sea/number {}.jpg"
SOME = [
    Prediction("a.jpg", (Guess("tabby", 1, 0.75), Guess("日本", 0, 0.25))),
    Prediction('odd "name",\n.png', (Guess("crane, a bird", 2, 1.0), Guess("tabby", 1, 0.0))),
    Prediction("bad.jpg", error="no image"),
]
FEATURES = [Prediction("a.jpg", features=np.array([0.5, -2], "float32")), Prediction("bad.jpg", error="no image")]


def test_the_table():
    assert formats.as_table(SOME, None).splitlines() == [
        "file               class               %",
        "a.jpg              tabby           75.00",
        "                   日本            25.00",
        'odd "name",\\n.png  crane, a bird  100.00',
        "                   tabby            0.00",
    ]
    assert formats.as_table(SOME[2:], 80) == ""


@pytest.mark.parametrize("count", [1, 1000])
@pytest.mark.parametrize("width", [40, 80])
def test_lines_fit_the_terminal_and_are_aligned(count, width):
    predictions = [Prediction(LONG.format(n), (Guess("x" * (n % 7 + 1), n, n / 1000),)) for n in range(count)]
    lines = formats.as_table(predictions, width).splitlines()
    assert len(lines) == count + 1 and {len(line) for line in lines} == {len(lines[0])} and len(lines[0]) <= width
    assert all(f"number {n}.jpg" in line and "…" in line for n, line in enumerate(lines[1:]))


def test_wide_letters_and_what_a_terminal_would_obey():
    predictions = [Prediction("写真" * 40 + ".jpg", (Guess("a\x1b[2J", 0, 0.5),))]
    line = formats.as_table(predictions, 60).splitlines()[1]
    assert formats.columns(line) <= 60 and "\x1b" not in line and "\\x1b[2J" in line
    assert formats.columns("é日") == 3


def test_long_labels_are_shortened():
    table = formats.as_table([Prediction("a.jpg", (Guess("x" * 100, 0, 0.5),))], None)
    assert max(map(len, table.splitlines())) < 70


def test_json_is_one_array():
    assert json.loads(formats.as_json(SOME)) == [
        {
            "file": "a.jpg",
            "top": [
                {"label": "tabby", "index": 1, "probability": 0.75},
                {"label": "日本", "index": 0, "probability": 0.25},
            ],
        },
        {
            "file": 'odd "name",\n.png',
            "top": [
                {"label": "crane, a bird", "index": 2, "probability": 1.0},
                {"label": "tabby", "index": 1, "probability": 0.0},
            ],
        },
        {"file": "bad.jpg", "error": "no image"},
    ]
    assert json.loads(formats.as_json(FEATURES))[0] == {"file": "a.jpg", "features": [0.5, -2.0]}
    assert json.loads(formats.as_json([])) == []


def test_csv_has_a_line_for_each_class():
    rows = list(csv.DictReader(io.StringIO(formats.as_csv(SOME), newline="")))
    assert [(row["file"], row["rank"], row["label"], row["index"]) for row in rows] == [
        ("a.jpg", "1", "tabby", "1"),
        ("a.jpg", "2", "日本", "0"),
        ('odd "name",\n.png', "1", "crane, a bird", "2"),
        ('odd "name",\n.png', "2", "tabby", "1"),
        ("bad.jpg", "", "", ""),
    ]
    assert rows[0]["probability"] == "0.75" and rows[4]["error"] == "no image"
    assert formats.as_csv(FEATURES) == "file,error,0,1\na.jpg,,0.5,-2.0\nbad.jpg,no image,,\n"


def test_names_that_are_no_text():
    odd = [Prediction(os.fsdecode(b"\xff.jpg"), (Guess("a", 0, 1.0),))]
    for write in formats.FORMATS.values():
        assert "\\xff.jpg" in write(odd, None).encode().decode().replace("\\\\", "\\")
