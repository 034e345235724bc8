"""The data doctor on a folder made with known faults: each is found, and nothing else."""

import csv
import dataclasses
import json
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from keras_vit.errors import UserError
from trainers import doctor
from trainers.data import arrays, sources
from trainers.data.source import Source, Split
from trainers.inspection import contact_sheet
from trainers.settings import command_line

# By check, the images that each finding names: the one, and where it is one of two, the other.
FAULTS = {
    "bad images": {
        ("train/cat/html.jpg",),
        ("train/cat/empty.png",),
        ("train/dog/cut.jpg",),
        ("test/dog/checksum.png",),
    },
    "leakage": {
        ("test/dog/same.png", "train/dog/00.png"),
        ("test/cat/mirror.png", "train/cat/05.png"),
        ("test/cat/saved_again.jpg", "train/cat/06.png"),
    },
    "two labels": {("train/dog/also_a_cat.png", "train/cat/04.png")},
    "duplicates": {
        ("train/cat/recompressed.png", "train/cat/00.png"),
        ("train/cat/low_quality.jpg", "train/cat/01.png"),
        ("train/cat/half.png", "train/cat/02.png"),
        ("train/cat/brighter.png", "train/cat/03.png"),
        ("train/dog/also_a_cat.png", "train/cat/04.png"),
    },
    "classes missing in training": set(),
    "classes missing in evaluation": set(),
    "skewed classes": set(),
    "few examples": set(),
    "class names alike": set(),
    "blank images": {("train/dog/blank.png",)},
    "wrong extension": {("train/dog/jpeg.png",)},
    "small images": set(),
    "long images": {("test/yak/long.png",)},
    "alpha images": {("train/newt/alpha.png",)},
}
GROUPS = {
    ("train/cat/00.png", "train/cat/recompressed.png"): "exact",
    ("train/cat/01.png", "train/cat/low_quality.jpg"): "near",
    ("train/cat/02.png", "train/cat/half.png"): "near",
    ("train/cat/03.png", "train/cat/brighter.png"): "near",
    ("train/cat/04.png", "train/dog/also_a_cat.png"): "exact",
    ("train/dog/00.png", "test/dog/same.png"): "exact",
    ("train/cat/05.png", "test/cat/mirror.png"): "mirrored",
    ("train/cat/06.png", "test/cat/saved_again.jpg"): "near",
}


def picture(number, height=60, width=80):
    """A smooth picture, another one for each number."""
    generator = np.random.default_rng(number)
    coarse = generator.uniform(0, 255, (7, 8, 3)).astype("float32")
    return tf.cast(tf.clip_by_value(tf.image.resize(coarse, (height, width), "bicubic"), 0, 255), tf.uint8).numpy()


def write(root, name, encoded):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded.numpy() if hasattr(encoded, "numpy") else encoded)


def make_faulty(root):
    """72 pictures, four of them broken and others with the faults above."""
    sizes = {
        "train/cat": 30,
        "train/dog": 12,
        "train/newt": 2,
        "train/Cats": 2,
        "test/cat": 4,
        "test/dog": 4,
        "test/yak": 2,
    }
    pictures = {}
    for folder, size in sizes.items():
        for number in range(size):
            pictures[name := f"{folder}/{number:02}.png"] = picture(len(pictures))
            write(root, name, tf.io.encode_png(pictures[name]))
    cats = [pictures[f"train/cat/{number:02}.png"] for number in range(7)]
    jpeg = tf.io.encode_jpeg(picture(1000)).numpy()
    png = tf.io.encode_png(picture(1001)).numpy()
    transparent = np.concatenate([picture(1002), np.full((60, 80, 1), 200, "uint8")], axis=-1)
    brighter = np.clip(cats[3] * 1.1, 0, 255).astype("uint8")
    half = tf.image.resize(cats[2], (30, 40), "area")
    smaller = tf.cast(tf.image.resize(cats[6], (40, 54), antialias=True), tf.uint8)
    for name, encoded in {
        "train/cat/recompressed.png": tf.io.encode_png(cats[0], compression=0),
        "train/cat/low_quality.jpg": tf.io.encode_jpeg(cats[1], quality=40),
        "train/cat/half.png": tf.io.encode_png(tf.cast(half, tf.uint8)),
        "train/cat/brighter.png": tf.io.encode_png(brighter),
        "train/dog/also_a_cat.png": tf.io.encode_png(cats[4]),
        "test/dog/same.png": tf.io.encode_png(pictures["train/dog/00.png"]),
        "test/cat/mirror.png": tf.io.encode_png(cats[5][:, ::-1]),
        "test/cat/saved_again.jpg": tf.io.encode_jpeg(smaller, quality=80),
        "train/cat/html.jpg": b"<html>not found</html>",
        "train/cat/empty.png": b"",
        "train/dog/cut.jpg": jpeg[: len(jpeg) // 2],
        "test/dog/checksum.png": png[:-30] + bytes([png[-30] ^ 1]) + png[-29:],
        "train/dog/jpeg.png": tf.io.encode_jpeg(picture(1003)),
        "train/dog/blank.png": tf.io.encode_png(np.full((50, 50, 3), 240, "uint8")),
        "train/newt/alpha.png": tf.io.encode_png(transparent),
        "test/yak/long.png": tf.io.encode_png(picture(1004, 40, 300)),
    }.items():
        write(root, name, encoded)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    root = tmp_path_factory.mktemp("faulty") / "photos"
    make_faulty(root)
    return root


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("trainers.inspection.report.SECONDS", 0.01)


def run(*arguments):
    return command_line.main(doctor.Settings, doctor.run, "doctor", arguments)


def rows(path):
    with path.open(newline="") as file:
        return [*csv.DictReader(file)]


@pytest.fixture(scope="module")
def report(faulty):
    """The folder of a report, and what was printed, of one run for several tests."""
    output = faulty.parent / "report"
    arguments = [f"--source=folder:{faulty}", f"--output={output}", "--image_size=32", "--augment=inception", "--flip"]
    with pytest.MonkeyPatch.context() as patch:
        said = []
        patch.setattr("builtins.print", lambda *words, **_: said.append(" ".join(map(str, words))))
        patch.setattr("trainers.inspection.report.SECONDS", 0.01)
        assert run(*arguments, "--batch_size=8") == 0
    return output, "\n".join(said)


def test_every_fault_is_found_and_nothing_else(faulty, report):
    by_check = {name: set() for name in FAULTS}
    for row in rows(report[0] / "findings.csv"):
        names = re.findall(rf"{faulty}/(\S+\.(?:png|jpg))", f"{row['image']} {row['detail']}")
        by_check[row["check"]].add(frozenset(names))
        assert names[0].startswith(row["split"])
    assert by_check == {name: set(map(frozenset, images)) for name, images in FAULTS.items()}
    checks = {finding["check"] for finding in json.loads((report[0] / "doctor.json").read_text())["findings"]}
    assert checks == FAULTS.keys()


def test_groups_are_the_ones_that_were_made(faulty, report):
    groups = {}
    for row in rows(report[0] / "duplicates.csv"):
        groups.setdefault(row["group"], []).append(row)
    kinds = {}
    for members in groups.values():
        names = {pathlib.Path(row["image"]).relative_to(faulty).as_posix() for row in members}
        kinds[frozenset(names)] = {row["kind"] for row in members} - {"first"}
    assert kinds == {frozenset(names): {kind} for names, kind in GROUPS.items()}


def test_the_report_can_be_read(faulty, report):
    said = report[1]
    assert said.index("ERROR") < said.index("WARNING") < said.index("NOTE")
    assert "3 images of the 15 of test that train has too" in said
    assert "1 with the same pixels, 1 nearly the same, 1 nearly mirror images" in said
    assert f"{faulty}/train/cat/html.jpg (neither of JPEG, PNG, GIF, BMP, WebP: it looks like HTML)" in said
    assert "1 class of test without an example in train: yak" in said
    assert "'Cats' (2) and 'cat' (42) differ only in case" in said
    assert re.search("labels (dog and cat|cat and dog)", said) and "images/s" in said


def test_what_is_written(report):
    output, _ = report
    written = json.loads((output / "doctor.json").read_text())
    assert {path.name for path in output.iterdir()} == {"doctor.json", *written["files"]}
    assert written["splits"]["train"]["images"] == 57 and written["splits"]["train"]["bad"] == 3
    assert written["splits"]["train"]["examples_by_class"] == {"Cats": 2, "cat": 36, "dog": 16, "newt": 3, "yak": 0}
    assert written["splits"]["test"]["width"] == {"min": 54, "median": 80, "max": 300}
    reasons = {pathlib.Path(row["image"]).name: row["reason"] for row in rows(output / "bad_images.csv")}
    assert reasons.keys() == {"html.jpg", "empty.png", "cut.jpg", "checksum.png"} and all(reasons.values())
    for name, bands, versions in (("train", 2, 1 + contact_sheet.DRAWS), ("test", 2, 1)):
        sheet = tf.io.decode_png((output / f"contact_sheet_{name}.png").read_bytes()).numpy()
        below = contact_sheet.WORDS * contact_sheet.captioned()
        side = contact_sheet.LEAST + contact_sheet.GAP
        assert sheet.shape == (bands * (versions * side + below), contact_sheet.COLUMNS * side, 3)


def test_another_source_and_several_of_them(tmp_path, capsys):
    saved_again = tf.io.decode_jpeg(tf.io.encode_jpeg(picture(4), quality=80)).numpy()
    for name, train, test in (
        ("mine", range(10), []),
        ("theirs", range(20, 30), [picture(3)]),
        ("others", range(40, 50), [saved_again, picture(45)]),  # the last is twice in others alone
    ):
        pictures = np.stack([*map(picture, train)])
        held_out = {"test_images": np.stack(test), "test_labels": np.zeros(len(test), int)} if test else {}
        np.savez(tmp_path / f"{name}.npz", images=pictures, labels=np.zeros(10, int), **held_out)
    against = f"--against=npz:{tmp_path}/theirs.npz,npz:{tmp_path}/others.npz"
    output = tmp_path / "report"
    assert run(f"--source=npz:{tmp_path}/mine.npz", against, f"--output={output}", "--image_size=16") == 0
    overlaps = [row for row in rows(output / "findings.csv") if row["check"] == "overlap with another source"]
    assert [(pathlib.Path(row["split"]).name, row["image"], row["detail"]) for row in overlaps] == [
        ("theirs.npz test", "test[0]", "exact: train[3]"),
        ("others.npz test", "test[0]", "near, 1 bit: train[4]"),
    ]
    assert [row["source"][-8:] for row in rows(output / "duplicates.csv")] == [
        "mine.npz",
        "eirs.npz",
        "mine.npz",
        "hers.npz",
    ]
    assert "1 image of the 2 of npz" in capsys.readouterr().out


def test_digits(capsys):
    report = doctor.run(doctor.Settings(source="digits", image_size=8, augment="affine"))
    said = capsys.readouterr().out
    assert "digits: 1,797 images in 3 splits, 10 classes; 0 errors, 0 warnings, 0 notes" in said
    assert report["findings"] == [] and report["images_per_second"] > 0


def test_several_labels(tmp_path):
    table = [
        ("path", "labels"),
        *((f"{number}.png", "a|b" if number % 2 else "a") for number in range(6)),
        ("6.png", ""),
    ]
    for number in range(6):
        write(tmp_path, f"data/{number}.png", tf.io.encode_png(picture(number)))
    write(tmp_path, "data/6.png", tf.io.encode_png(picture(1)))
    (tmp_path / "data" / "table.csv").write_text(
        "\n".join(f"{path},{labels},train" for path, labels in table).replace(",train", ",split", 1)
    )
    report = doctor.run(doctor.Settings(source=f"csv:{tmp_path}/data/table.csv", image_size=16))
    assert report["splits"]["train"]["examples_by_class"] == {"a": 6, "b": 3}
    checks = {finding["check"]: finding["text"] for finding in report["findings"]}
    assert "1 example of train without a class" in checks["no label"]
    assert "1 image with the same pixels as another, under another label" in checks["two labels"]


# Synthetic noise of one mean colour is smooth once it is reduced, but not the same.
@pytest.mark.parametrize(("source", "checks"), [("synthetic", []), ("npz", ["few examples"])])
def test_other_sources(source, checks, tmp_path):
    pictures = np.stack([picture(number, 20, 24) for number in range(12)])
    np.savez(tmp_path / "data.npz", images=pictures.astype("float32") / 127.5 - 1, labels=np.arange(12) % 2)
    value = f":{tmp_path}/data.npz" if source == "npz" else ""
    report = doctor.run(doctor.Settings(source=source + value, image_size=16))
    assert [finding["check"] for finding in report["findings"]] == checks


def test_what_is_found_is_printed_before_the_pipeline_is_measured(monkeypatch, capsys):
    """Also of a split without labels, which does not keep the doctor from looking at others."""

    def fail(*_):
        raise OSError

    def source(value, settings):
        pictures = np.stack([picture(number, 20, 24) for number in range(9)])
        train = arrays.from_arrays("train", pictures, np.zeros(9, "int32"))

        def labels():
            raise UserError("test[0] has no label; name a split whose examples all have one.")

        test = dataclasses.replace(train, positives=labels)
        return Source("digits", 3, 1, ("ant",), {"train": train, "test": test})

    monkeypatch.setitem(sources.SOURCES, "digits", source)
    monkeypatch.setattr("trainers.inspection.report.images_per_second", fail)
    with pytest.raises(OSError):
        doctor.run(doctor.Settings(source="digits", image_size=16))
    said = capsys.readouterr().out
    assert "ERROR  has no labels: test was not looked at: test[0] has no label" in said
    assert "9 images in 1 split, 1 class; 1 error, 1 warning, 0 notes" in said and "few examples" in said


def test_this_machine(tmp_path, capsys):
    assert run("--data_dir=gs://bucket/data") == 0
    assert "Nothing was written" in capsys.readouterr().out
    assert run(f"--output={tmp_path}/report", "--data_dir=gs://bucket/data") == 0
    said = capsys.readouterr().out
    assert all(f"\n{title}\n" in f"\n{said}" for title in ("Versions", "Devices", "XLA", "Precision", "Disk", "Hints"))
    environment = json.loads((tmp_path / "report" / "doctor.json").read_text())["environment"]
    assert environment["versions"]["tensorflow"] == tf.__version__
    assert environment["precision"]["auto"].startswith(("float32", "mixed_"))
    assert environment["disk"]["data sets, gs://bucket/data (GiB free)"] == "not known: not on this machine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--against=digits"], "--against=digits needs --source"),
        (["--source=digits", "--against=synthetic,digits"], "is the --source itself"),
        (["--source=nonsense"], "Unknown source 'nonsense'"),
        (["--source=digits", "--against=nonsense"], "Unknown source 'nonsense'"),
        (["--source=digits", "--image_size=0"], "--image_size must be positive"),
        (["--source=digits", "--batch_size=0"], "--batch_size"),
        (["--source=digits", "--seed=-1"], "--seed"),
        (["--source=digits", "--flip", "--crop_area=0"], "--crop_area"),
        (
            ["--source=digits", "--train_split=train[:50%]", "--test_split=train"],
            "--test_split=train holds examples of",
        ),
        (["--source=digits", "--train_split=nowhere"], "no split 'nowhere'"),
        (["--source=folder:nowhere_at_all"], "--source=folder:nowhere_at_all"),
    ],
)
def test_mistakes(arguments, words, capsys):
    assert run(*arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and words in said


@pytest.fixture
def unread(monkeypatch):
    """What is read of --source=digits, whose images here are noted when they are."""
    read = []
    png = tf.io.encode_png(picture(0)).numpy()

    def note(index):
        read.append(int(index))
        return png

    def source(value, settings):
        def example(index):
            return tf.ensure_shape(tf.numpy_function(note, [index], tf.string), ()), tf.constant(0)

        split = Split(5, example, lambda: (np.arange(5), np.zeros(5, int)), str, encoded_bytes=1000)
        return Source("digits", 3, 1, ("ant",), {"train": split})

    monkeypatch.setitem(sources.SOURCES, "digits", source)
    return read


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--subset=999", "--subset=999 is more than the 5 examples"),
        ("--class_weights=zebra=2", "'zebra=2' is not NAME=NUMBER"),
        ("--augment_layers=keras.layers.RandomGrayscal(0.2)", "RandomGrayscal"),
        ("--output={}/file/report", "file/report cannot be written"),
    ],
)
def test_mistakes_are_told_before_an_image_is_read(flag, words, unread, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert run("--source=digits", flag.format(tmp_path)) == 2
    assert words in capsys.readouterr().err and unread == []


def test_a_source_is_known_under_another_name(faulty, capsys):
    for name in (f"{faulty}/", f"{faulty.parent}/./photos"):
        assert run(f"--source=folder:{faulty}", f"--against=folder:{name}") == 2
        assert "is the --source itself" in capsys.readouterr().err


def test_sources_whose_files_are_called_the_same_are_two(tmp_path):
    settings = doctor.Settings(source="digits")
    for name, number in (("one", 1), ("two", 2)):
        write(tmp_path, f"{name}/train/ant/0.png", tf.io.encode_png(picture(number)))
    one, two, again = (
        sources.open_source(dataclasses.replace(settings, source=f"folder:{tmp_path}/{name}"))
        for name in ("one", "two", "one/")
    )
    assert one.fingerprint == two.fingerprint and not doctor.is_same(one, two) and doctor.is_same(one, again)


def test_output_is_never_put_among_images_or_other_peoples_files(faulty, tmp_path, capsys):
    (tmp_path / "thesis.txt").touch()
    assert run("--source=digits", f"--output={tmp_path}") == 2
    assert "holds thesis.txt" in capsys.readouterr().err
    assert run("--source=digits", f"--output={tmp_path}/thesis.txt") == 2
    for inside in (faulty, faulty / "train" / "report"):
        with pytest.raises(UserError, match="would become a part"):
            doctor.Settings(source=f"folder:{faulty}", output=str(inside))
        with pytest.raises(UserError, match="would become a part"):
            doctor.Settings(source="digits", against=f"synthetic,folder:{faulty}", output=str(inside))


def test_splits_that_are_looked_at(tmp_path):
    def of(**flags):
        settings = doctor.Settings(source="digits", **flags)
        return doctor.splits_of(settings, sources.open_source(settings))

    assert of() == ["train", "validation", "test"]
    assert of(train_split="train[:90%]", validation_split="train[90%:]") == [
        "train[:90%]",
        "train[90%:]",
        "validation",
        "test",
    ]
    assert of(test_split="none") == ["train", "validation"]
    assert of(train_split="train+validation") == ["train+validation", "test"]
