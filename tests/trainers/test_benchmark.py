"""The benchmarks run; what they measure is for people to read, not for tests to judge."""

import math
import sys

import pytest
import tensorflow as tf

from keras_vit.errors import UserError
from trainers import benchmark
from trainers.benchmarks import input as input_benchmark
from trainers.benchmarks import photographs, timing
from trainers.benchmarks import weights as weights_benchmark
from trainers.exporting import formats
from trainers.settings import command_line


@pytest.mark.slow
def test_every_row_of_engine_and_checkpoint_is_measured(capsys):
    values = benchmark.run(
        benchmark.Settings(source="synthetic", variant="mu/16", image_size=32, batch_size=8, updates=2, rounds=1)
    )
    rows = [f"{who}{xla}" for who in ("engine", "fit") for xla in ("", ", XLA")]
    assert {*rows, "checkpoint_wait", "checkpoint_cost"} <= values.keys()
    assert all(values[name] > 0 for name in rows) and all(map(math.isfinite, values.values()))
    said = capsys.readouterr().out
    assert "x the fastest fit" in said and "A checkpoint of" in said and "tensorflow" in said


def measured(**changes):
    return benchmark.run(
        benchmark.Settings(benchmarks="input", image_size=32, batch_size=4, images=8, rounds=1, **changes)
    )


@pytest.mark.slow
def test_every_row_of_the_input_pipeline_is_measured(capsys):
    values = measured()
    memory = [f"memory {when}" for when in ("at first", "after 8 images", "after 80 images")]
    assert values.keys() == {*input_benchmark.ROWS, *memory}
    assert all(value > 0 for value in values.values())
    said = capsys.readouterr().out
    assert "8 images of" in said and "JPEGs of photographs, 500x375" in said and "CPU cores" in said
    assert f"1.00 x {input_benchmark.BOUND}" in said and said.count("ms of CPU time") == len(input_benchmark.ROWS)


def test_images_of_ones_own_are_taken(tmp_path, capsys, monkeypatch):
    photographs.write(str(tmp_path), 6)
    monkeypatch.setattr(photographs, "write", None)
    one = "train recipe"
    monkeypatch.setattr(
        input_benchmark, "ROWS", {name: input_benchmark.ROWS[name] for name in (input_benchmark.BOUND, one)}
    )
    assert measured(source=f"folder:{tmp_path}")[one] > 0
    assert f"folder:{tmp_path}" in capsys.readouterr().out


def test_made_images_are_what_they_are_said_to_be(tmp_path):
    for name in ("one", "other"):
        photographs.write(str(tmp_path / name), 24)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.jpg"))
    assert len(files) == 24 and {file.parts[0] for file in files} == {"train"}
    encoded = [(tmp_path / "one" / file).read_bytes() for file in files]
    shapes = [tuple(tf.io.extract_jpeg_shape(image).numpy()) for image in encoded]
    assert (shapes.count((375, 500, 3)), shapes.count((500, 375, 3))) == (18, 6)
    assert len(set(encoded)) == 24
    assert encoded == [(tmp_path / "other" / file).read_bytes() for file in files]


@pytest.mark.slow
def test_every_row_of_weights_is_measured(capsys):
    values = benchmark.run(benchmark.Settings(benchmarks="weights", variant="mu/16", image_size=32, rounds=1))
    rows = [f"{what} {row}" for row in weights_benchmark.FILES for what in ("load", "memory")]
    assert sorted(values) == sorted(rows) and all(values[f"load {row}"] > 0 for row in weights_benchmark.FILES)
    said = capsys.readouterr().out
    assert "Loading mu/16, 32 px" in said and said.count("x the file") == len(weights_benchmark.FILES)


@pytest.mark.slow
def test_every_exported_file_is_measured(capsys):
    values = benchmark.run(benchmark.Settings(benchmarks="exported", variant="mu/16", image_size=32, depth=1, rounds=1))
    installed = [name for name in formats.FORMATS if not formats.missing(name)]
    for row in ("keras", "saved_model, from pixels", *installed):
        assert values[f"ms {row}"] > 0 and values[f"MB {row}"] > 0, row
    said = capsys.readouterr().out
    assert "One image of mu/16, 32 px" in said and "KerasHub" in said


def test_without_scikit_image_the_error_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "skimage", None)
    arguments = ["--benchmarks=input", "--images=8"]
    assert command_line.main(benchmark.Settings, benchmark.run, "benchmark", arguments) == command_line.BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "'.[benchmark]'" in line and "--source=folder:" in line


def test_rows_take_turns_and_the_first_turn_does_not_count():
    seconds = {"a": iter([100, 1, 5, 3]), "b": iter([200, 2, 2, 9])}
    order = []

    def row(name):
        def measure():
            order.append(name)
            return next(seconds[name])

        return measure

    assert timing.in_turns({name: row(name) for name in seconds}, 3) == {"a": 3, "b": 2}
    assert order == ["a", "b"] * 4


@pytest.mark.parametrize("changes", [{"benchmarks": "engine,luck"}, {"rounds": 0}, {"images": 0}, {"benchmarks": ""}])
def test_flags_are_checked(changes):
    with pytest.raises(UserError, match=r"luck|rounds|images|benchmarks"):
        benchmark.Settings(**changes)
