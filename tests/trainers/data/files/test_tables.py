"""The `csv` and `jsonl` sources: what they read, and what they say of tables that are wrong."""

import csv
import io
import json

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies

from trainers.data.files import paths, table_rows, tables
from trainers.settings.data import SourceSettings

KINDS = {"csv": tables.csv_table, "jsonl": tables.jsonl_table}
CSV = "path,label,split\na.jpg,cat,train\nb.jpg,dog,train\nc.jpg,cat,val\n"


@pytest.fixture
def opened(tmp_path):
    """Writes a table, images that hold their own names, and perhaps classes.txt; opens the table as a source."""

    def open_table(content, kind="csv", images=(), classes=None):
        for name in images:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(name)
        if classes is not None:
            (tmp_path / "classes.txt").write_text(classes)
        file = tmp_path / f"table.{kind}"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return KINDS[kind](str(file), SourceSettings(source=f"{kind}:{file}"))

    return open_table


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def whole(source):
    """All own splits one after the other."""
    return source.split("+".join(source.splits))


def examples(split):
    """(image, label) of all examples, read in a graph."""
    return [*tf.data.Dataset.range(split.size).map(split.read).as_numpy_iterator()]


def labels(split):
    """Classes of each example; the images need not be there."""
    examples, classes = split.positives()
    return [classes[examples == index].tolist() for index in range(split.size)]


def test_rows_are_read_in_the_tables_order(opened):
    source = opened(CSV, images=["a.jpg", "b.jpg", "c.jpg"])
    rows = {name: examples(split) for name, split in source.splits.items()}
    assert rows == {"train": [(b"a.jpg", 0), (b"b.jpg", 1)], "validation": [(b"c.jpg", 0)]}
    assert (source.num_classes, source.class_names, source.channels) == (2, ("cat", "dog"), 3)
    assert not source.several_labels and source.splits["train"].encoded_bytes is None
    assert source.ready() is None
    assert source.splits["train"].read(tf.constant(0, tf.int64))[1].dtype == tf.int32


def test_json_lines_are_the_same_table(opened):
    rows = [dict(zip(("path", "label", "split"), row.split(","), strict=True)) for row in CSV.splitlines()[1:]]
    of_csv, of_jsonl = opened(CSV), opened(lines(*rows), "jsonl")
    assert of_jsonl.fingerprint == of_csv.fingerprint and len(of_jsonl.fingerprint) == 16
    assert of_jsonl.class_names == of_csv.class_names
    assert [whole(of_jsonl).locate(i) for i in range(3)] == [whole(of_csv).locate(i) for i in range(3)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_spreadsheets_write_tables_in_many_ways(encoding, newline, delimiter, opened):
    rows = ['"Path"| LABEL', f'"a{delimiter}.jpg"|Käse ', "", "b.jpg| Brot", ""]
    content = newline.join(rows).replace("|", delimiter)
    source = opened(content.encode(encoding))
    assert source.class_names == ("Brot", "Käse")
    assert {whole(source).locate(index).rpartition("/")[2] for index in (0, 1)} == {f"a{delimiter}.jpg", "b.jpg"}


@pytest.mark.parametrize("path", table_rows.PATH)
@pytest.mark.parametrize("label", table_rows.LABEL)
@pytest.mark.parametrize("kind", KINDS)
def test_columns_have_several_names(path, label, kind, opened):
    value = ["cat"] if kind == "jsonl" and label == "labels" else "cat"
    content = f"id,{label},{path}\n7,cat,a.jpg\n" if kind == "csv" else lines({"id": 7, label: value, path: "a.jpg"})
    source = opened(content, kind)
    assert source.class_names == ("cat",) and source.several_labels == (label == "labels")
    assert whole(source).locate(0).endswith("/a.jpg")


TEXT = strategies.text(strategies.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
ROWS = strategies.lists(
    strategies.tuples(TEXT.filter(str.strip), TEXT.map(str.strip).filter(bool)), min_size=1, max_size=8
)


@hypothesis.settings(max_examples=100)
@hypothesis.given(ROWS, strategies.sampled_from(",\t;"), strategies.booleans())
def test_odd_names_survive_csv_and_json(rows, delimiter, unix):
    file = io.StringIO()
    # Quotes what is not its own line end only where it quotes everything.
    style = {"lineterminator": "\n", "quoting": csv.QUOTE_ALL} if unix else {}
    writer = csv.writer(file, delimiter=delimiter, **style)
    writer.writerows([("path", "label"), *rows])
    table = table_rows.csv_table(file.getvalue().encode(), "here")
    assert [(row.path, *row.labels) for row in table.rows] == rows and (table.several, table.typed) == (False, False)
    objects = lines(*({"path": path, "label": label} for path, label in rows))
    table = table_rows.jsonl_table(objects.encode(), "here")
    assert [(row.path, *row.labels) for row in table.rows] == rows and table.typed


@hypothesis.settings(max_examples=200)
@hypothesis.given(strategies.sampled_from([*KINDS]), strategies.one_of(strategies.binary(), TEXT.map(str.encode)))
def test_nothing_but_value_errors_comes_of_any_bytes(kind, data):
    read = {"csv": table_rows.csv_table, "jsonl": table_rows.jsonl_table}[kind]
    for head in (b"", b"path,label\n", b'{"path": "a", "label": 1}\n'):
        try:
            list(read(head + data, "here").rows)
        except ValueError as error:
            assert str(error).startswith("here: ") and "\n" not in str(error)


def test_paths_are_relative_to_the_table_unless_absolute(opened, tmp_path):
    source = opened("path,label,split\nx/a.jpg,0,train\n/data/b.jpg,0,train\ngs://bucket/c.jpg,0,train\n")
    locate = source.splits["train"].locate
    assert [locate(0), locate(1), locate(2)] == [f"{tmp_path}/x/a.jpg", "/data/b.jpg", "gs://bucket/c.jpg"]


def test_a_table_may_lie_where_the_command_runs(opened, tmp_path, monkeypatch):
    opened(CSV, images=["a.jpg", "b.jpg", "c.jpg"])
    monkeypatch.chdir(tmp_path)
    source = tables.csv_table("table.csv", SourceSettings(source="csv:table.csv"))
    assert source.ready() is None and source.splits["train"].locate(1) == "b.jpg"


def test_without_splits_the_hash_of_each_path_decides(opened):
    names = [f"{number} x.jpg" for number in range(200)]
    source = opened("path,label\n" + "".join(f"{name},0\n" for name in names))
    members = paths.divided(paths.places([name.encode() for name in names]))
    assert {name: split.size for name, split in source.splits.items()} == {n: len(rows) for n, rows in members.items()}
    for name, split in source.splits.items():
        located = [split.locate(index).rpartition("/")[2] for index in range(split.size)]
        assert located == [names[row] for row in members[name]]  # the table's order
    assert 140 <= source.splits["train"].size <= 180


def test_splits_may_have_names_of_their_own(opened):
    rows = [("fold_2", 3), ("Testing", 1), ("VAL", 1), ("Fold", 1), ("training", 2)]
    source = opened("path,label,split\n" + "".join(f"a.jpg,0, {name} \n" * count for name, count in rows))
    assert list(source.splits) == ["train", "validation", "test", "fold_2", "Fold"]
    assert [split.size for split in source.splits.values()] == [2, 1, 1, 3, 1]


def test_a_path_may_stand_there_twice(opened):
    source = opened("path,label,split\na.jpg,0,train\na.jpg,1,train\n")
    assert labels(source.splits["train"]) == [[0], [1]]


LABELS = {
    "names": ("csv", "b,a,b", None, [1, 0, 1], ("a", "b"), 2),
    "numbers": ("csv", "3,1,3", None, [3, 1, 3], None, 4),
    "zeros before": ("csv", "03,1,3", None, [3, 1, 3], None, 4),
    "numbers and names": ("csv", "3,x,3", None, [0, 1, 0], ("3", "x"), 2),
    "long numbers": ("csv", "1234567890123456789,1,1", None, [1, 0, 0], ("1", "1234567890123456789"), 2),
    "json numbers": ("jsonl", [3, 1, 3], None, [3, 1, 3], None, 4),
    "json digits": ("jsonl", ["3", "1", "3"], None, [1, 0, 1], ("1", "3"), 2),
    "json mixed": ("jsonl", [3, "x", 3], None, [0, 1, 0], ("3", "x"), 2),
    "order given": ("csv", "b,a,b", "c\nb\na\n", [1, 2, 1], ("c", "b", "a"), 3),
    "names for numbers": ("csv", "2,0,2", "c\r\nb \r\na", [2, 0, 2], ("c", "b", "a"), 3),
    "names of digits": ("csv", "5,3,5", "\ufeff3\n5\n7\n\n", [1, 0, 1], ("3", "5", "7"), 3),
    "json numbers, names of digits": ("jsonl", [2, 0, 2], "3\n5\n7", [2, 0, 2], ("3", "5", "7"), 3),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_are_names_or_numbers(case, opened):
    kind, column, classes, numbers, names, num_classes = LABELS[case]
    if kind == "csv":
        content = "path,label,split\n" + "".join(f"a.jpg,{label},train\n" for label in column.split(","))
    else:
        content = lines(*({"path": "a.jpg", "label": label, "split": "train"} for label in column))
    source = opened(content, kind, classes=classes)
    assert labels(source.splits["train"]) == [[number] for number in numbers]
    assert (source.class_names, source.num_classes) == (names, num_classes)


SEVERAL = [["dog", "cat"], [], ["bee"], ["dog", "dog"]]


@pytest.mark.parametrize("kind", KINDS)
def test_several_labels_become_zeros_and_ones(kind, opened):
    if kind == "csv":
        content = "path,labels,split\n" + "".join(f"a.jpg, {' | '.join(row)},train\n" for row in SEVERAL)
    else:
        content = lines(*({"path": "a.jpg", "labels": row, "split": "train"} for row in SEVERAL))
    source = opened(content, kind, images=["a.jpg"])
    split = source.splits["train"]
    label = tf.data.Dataset.range(4).map(split.read).element_spec[1]
    assert label == tf.TensorSpec((3,), tf.float32)
    np.testing.assert_array_equal([label for _, label in examples(split)], [[0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(np.stack(split.positives()), [[0, 0, 2, 3], [1, 2, 0, 2]])
    assert source.several_labels and source.class_names == ("bee", "cat", "dog")


def test_several_labels_keep_to_their_rows_in_every_split(opened):
    source = opened("path,labels,split\na.jpg,0|2,test\nb.jpg,1,train\nc.jpg,,test\nd.jpg,2|1,train\n")
    assert labels(source.splits["train"]) == [[1], [1, 2]] and labels(source.splits["test"]) == [[0, 2], []]


def test_the_fingerprint_follows_paths_labels_and_order(opened):
    rows = CSV.splitlines(keepends=True)
    same = opened(CSV).fingerprint
    assert opened("".join([rows[0], rows[3], rows[1], rows[2]])).fingerprint == same  # the same splits in that order
    assert opened("".join([rows[0], rows[2], rows[1], rows[3]])).fingerprint != same
    assert opened(CSV.replace("a.jpg,cat", "a.jpg,dog")).fingerprint != same
    assert opened(CSV.replace("a.jpg", "d.jpg")).fingerprint != same
    assert opened(CSV.replace("val", "test")).fingerprint != same


def test_missing_images_are_noticed_before_training(opened, tmp_path):
    source = opened(CSV, images=["a.jpg"])
    with pytest.raises(
        ValueError, match=f"first image of validation is looked for at {tmp_path}/c.jpg, but: there is no"
    ):
        source.ready()
    source = opened("path,label\nhttp://example.org/a.jpg,cat\n")
    with pytest.raises(ValueError, match=r"at http://example.org/a.jpg, but: .*not implemented.*relative to the table"):
        source.ready()


ROW = "path,label,split\na.jpg,cat,train\n"
WRONG_CSV = {
    "empty": ("", ["no column 'path' (or image, file, filename); there is none."]),
    "only a header": ("path,label\n", ["lists no image"]),
    "no header": ("a.jpg,cat\nb.jpg,dog\n", ["no column 'path'", "there is 'a.jpg', 'cat'."]),
    "no label": ("path;klass\na.jpg;cat\n", ["no column 'label' (or class, labels)", "'path', 'klass'"]),
    "many columns": (",".join("abcdefghijkl"), ["'h', 'i', ..."]),
    "two labels": ("path,label,label\n", ["two columns are called 'label'"]),
    "empty path": (ROW + "\n ,cat,train\n", ["row 4: a path expected", '" "']),
    "empty label": (ROW + "b.jpg,,train\n", ["row 3: label missing"]),
    "one empty label": ("path,labels\na.jpg,cat||dog\n", ["row 2: label missing"]),
    "empty split": (ROW + "b.jpg,cat, \n", ["row 3: a split expected"]),
    "odd split": (ROW + "b.jpg,cat,my split\n", ["row 3: a split is train, validation, test or", "'my split'"]),
    "split in Greek": (ROW + "b.jpg,cat,άλλο\n", ["row 3: a split is", "'άλλο'"]),
    "short row": (ROW + "b.jpg,cat\n", ["row 3 has 2 columns, but the header 3"]),
    "long row": (ROW + "b,c.jpg,cat,train\n", ["row 3 has 4 columns", "that contain ',' need quotes"]),
    "open quote": (ROW + '"b.jpg,cat,train\n', ["row 3 is not CSV: unexpected end"]),
    "negative": ("path,label\na.jpg,0\nb.jpg,-1\n", ["row 3: label '-1' is not a class", "from 0 to 2,147,483,646."]),
    "too large": ("path,label\na.jpg,2147483647\n", ["row 2: label '2147483647' is not a class"]),
    "no labels at all": ("path,labels\na.jpg,\n", ["not one row has a label"]),
    "latin-1": (ROW.encode() + b"K\xe4se.jpg,cat,train\n", ["row 3 is not UTF-8 text; save the table as UTF-8"]),
}
A = {"path": "a.jpg", "label": "cat"}
WRONG_JSON = {
    "empty": ("", ["no key 'path'"]),
    "no path": (lines({"label": "cat"}), ["no key 'path' (or image, file, filename); there is 'label'."]),
    "no label": (lines({"image": "a.jpg"}), ["no key 'label' (or class, labels)"]),
    "no label later": (lines(A, {"path": "b.jpg"}), ["row 2 and row 1, only one has 'label'"]),
    "a split later": ("\n" + lines(A, A | {"split": "train"}), ["row 3 and row 2, only one has 'split'"]),
    "bad json": (lines(A) + "{'path'", ["row 2 is not JSON: Expecting property name"]),
    "nested": (lines(A) + "[" * 100_000, ["row 2 is not JSON"]),
    "an array": (lines([A]), ["row 1 is not a JSON object"]),
    "path of another type": (lines(A | {"path": 7}), ["row 1: a path expected; got 7."]),
    "half a character": (lines(A | {"path": "\ud800"}), ["row 1: a path expected"]),
    "null split": (lines(A | {"split": None}), ["row 1: a split expected"]),
    "null label": (lines(A | {"label": None}), ["row 1: label missing"]),
    "float label": (lines(A | {"label": 1.5}), ["row 1: a label is a name or a whole number; got 1.5"]),
    "true": (lines(A | {"label": True}), ["row 1: a label is", "got true"]),
    "list for a label": (lines(A | {"label": ["cat"]}), ["row 1: a label is", "[\"cat\"]. Lists go under 'labels'"]),
    "label for a list": (lines({"path": "a.jpg", "labels": "cat"}), ["row 1: 'labels' must be a list; got \"cat\""]),
    "list in a list": (lines({"path": "a.jpg", "labels": [["cat"]]}), ["row 1: a label is"]),
    "negative": (lines(A | {"label": -1}), ["row 1: label -1 is not a class"]),
}
WRONG_CLASSES = {
    "unknown name": ("dog\nbee", ["row 2: label 'cat' is not in classes.txt"]),
    "blank line": ("cat\n\ndog", ["classes.txt, row 2 is blank"]),
    "empty": ("", ["classes.txt, row 1 is blank"]),
    "twice": ("cat\ndog\ncat\n", ["classes.txt has 'cat' in rows 1 and 3"]),
}  # fmt: skip
WRONG = {f"csv, {name}": ("csv", *case, None) for name, case in WRONG_CSV.items()}
WRONG |= {f"jsonl, {name}": ("jsonl", *case, None) for name, case in WRONG_JSON.items()}
WRONG |= {f"classes, {name}": ("csv", ROW, fragments, classes) for name, (classes, fragments) in WRONG_CLASSES.items()}
WRONG["classes, number"] = (
    "csv",
    "path,label\na,0\nb,2\nc,2\n",
    ["row 3: label '2' is", "0 to 1 in classes.txt"],
    "cat\ndog",
)


@pytest.mark.parametrize("case", WRONG)
def test_wrong_tables_are_named_in_one_line(case, opened, tmp_path):
    kind, content, fragments, classes = WRONG[case]
    with pytest.raises(ValueError) as error:
        opened(content, kind, classes=classes)
    message = str(error.value)
    assert message.startswith(f"--source={kind}:{tmp_path}/table.{kind}"), message
    assert all(fragment in message for fragment in fragments) and "\n" not in message, message


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_cannot_be_read_are_named(kind, tmp_path):
    for value, reason in {
        f"{tmp_path}/none": "No such file",
        str(tmp_path): "directory",
        "http://x/y": "not impl",
    }.items():
        with pytest.raises(ValueError, match=f"^--source={kind}:{value}: {value} cannot be read: .*{reason}"):
            KINDS[kind](value, SourceSettings())
    with pytest.raises(ValueError, match=f"--source={kind} needs a file"):
        KINDS[kind]("", SourceSettings())
