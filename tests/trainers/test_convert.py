"""The conversion command: any format to any other, checked before it is kept."""

import contextlib
import json
import pathlib

import pytest

from keras_vit import weights
from trainers import convert
from trainers.settings import command_line, flags


@pytest.fixture
def fixtures(request):
    return request.config.rootpath / "tests" / "fixtures"


def settings(fixtures, tmp_path, **changes):
    defaults = {"input": str(fixtures / "vit_token.npz"), "output": str(tmp_path / "out.npz"), "format": "bigvision"}
    return convert.Settings(**{**defaults, **changes})


@pytest.mark.parametrize(
    ("format", "file"),
    [
        ("google", "w.npz"),
        ("bigvision", "w.npz"),
        ("huggingface", "w"),
        ("timm", "w.safetensors"),
        ("keras", "w.keras"),
        ("keras", "w.weights.h5"),
    ],
)
def test_every_format_is_written_and_read_again(format, file, fixtures, tmp_path, capsys):
    output = tmp_path / "new" / file
    with pytest.warns(UserWarning, match="gelu") if format == "timm" else contextlib.nullcontext():
        report = convert.run(settings(fixtures, tmp_path, format=format, output=str(output)))
    said = capsys.readouterr().out
    assert "56 matched" in said and f"{format}, loaded again" in said and len(report.matched) == 56
    assert weights.load(output).architecture == weights.load(fixtures / "vit_token.npz").architecture
    assert [path.name for path in output.parent.iterdir()] == [file]


def test_a_preset_of_kerashub_is_read(fixtures, tmp_path, capsys):
    output = tmp_path / "w.keras"
    convert.run(settings(fixtures, tmp_path, input=str(fixtures / "kerashub_vit"), output=str(output), format="keras"))
    assert "42 matched" in capsys.readouterr().out and weights.load(output).architecture.gelu == "erf"


def test_resolution_and_head_may_become_others(fixtures, tmp_path):
    run = settings(fixtures, tmp_path, change="image_size=48x64;num_classes=3;dropout=0.1;representation=none")
    convert.run(run)
    architecture = weights.load(tmp_path / "out.npz").architecture
    assert (architecture.image_size, architecture.num_classes, architecture.dropout) == ((48, 64), 3, 0.1)


def test_a_head_of_zeros_is_told(fixtures, tmp_path, capsys):
    convert.run(settings(fixtures, tmp_path, change="num_classes=3"))
    assert "all zeros" in capsys.readouterr().out


def test_a_result_that_answers_otherwise_is_not_kept(fixtures, tmp_path, monkeypatch):
    (tmp_path / "out.npz").write_text("old")
    original = weights.load

    def disturbed(path, **kwargs):
        loaded = original(path, **kwargs)
        if not kwargs:
            loaded.set_weights([value * 1.001 for value in loaded.get_weights()])
        return loaded

    monkeypatch.setattr(weights, "load", disturbed)
    with pytest.raises(ValueError, match="answers otherwise"):
        convert.run(settings(fixtures, tmp_path, overwrite=True))
    assert [path.name for path in tmp_path.iterdir()] == ["out.npz"] and (tmp_path / "out.npz").read_text() == "old"


def test_a_folder_is_replaced_as_a_whole(fixtures, tmp_path):
    output = tmp_path / "hub"
    convert.run(settings(fixtures, tmp_path, format="huggingface", output=str(output)))
    (output / "left.txt").write_text("old")
    convert.run(settings(fixtures, tmp_path, format="huggingface", output=str(output), overwrite=True))
    assert sorted(path.name for path in output.iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    assert json.loads((output / "config.json").read_text())["hidden_act"] == "gelu_pytorch_tanh"


def test_published_weights_are_listed(capsys):
    assert command_line.main(convert.Settings, convert.run, "convert", ["--list"]) == 0
    assert "augreg:B/16" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--input is needed; --list shows"),
        (["--input=a"], "--output is needed"),
        (["--input=a", "--output=b", "--format=torch"], "torch"),
        (["--input=a", "--output=b", "--change=image_size"], "FIELD=VALUE"),
        (["--input=nothing.npz", "--output=b.npz"], "nothing.npz: no such weight file"),
        (["--input={vit_token}", "--output={folder}"], "is there already; add --overwrite"),
        (["--input={vit_token}", "--output={folder}/w", "--format=google"], "ends in .npz"),
        (["--input={vit_token}", "--output={folder}/w.npz", "--change=wings=2"], "no field wings"),
        (["--input={vit_representation}", "--output={folder}/w", "--format=huggingface"], "cannot hold this model"),
        (["--input={timm_token}", "--output={folder}/w.keras"], "pass heads="),
        (["--input={vit_token}", "--output={vit_token}/w.npz"], "w.npz cannot be written: File exists"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(arguments, said, fixtures, tmp_path, capsys):
    places = {path.stem: path for path in pathlib.Path(fixtures).iterdir() if path.suffix in (".npz", ".safetensors")}
    arguments = [argument.format(folder=tmp_path, **places) for argument in arguments]
    assert command_line.main(convert.Settings, convert.run, "convert", arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and said in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("0.5", 0.5), ("48x64", (48, 64)), ("none", None), ("true", True), ("gap", "gap"), ("1e-12", 1e-12)],
)
def test_values_are_read_as_what_they_are(text, value):
    assert convert.Settings(list=True, change=f"field={text}").changes == {"field": value}


def test_settings_with_a_list_need_nothing_else():
    assert flags.read(["--list"], convert.Settings).list
