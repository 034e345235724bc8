"""Flags and settings: one dataclass, read and written the same."""

import ast
import dataclasses
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_vit.choices import POSITIONS
from keras_vit.errors import UserError
from trainers import benchmark, convert, doctor, evaluate, export, finetune, predict, prepare, pretrain
from trainers.settings import flags
from trainers.settings.fields import flag_fields
from trainers.settings.model import ModelSettings

COMMANDS = {
    "pretrain": pretrain.Settings,
    "finetune": finetune.Settings,
    "evaluate": evaluate.Settings,
    "benchmark": benchmark.Settings,
    "prepare": prepare.Settings,
    "doctor": doctor.Settings,
    "convert": convert.Settings,
    "predict": predict.Settings,
    "export": export.Settings,
}


def write(path, text):
    path.write_text(text)
    return f"--flagfile={path}"


def test_flag_file_then_command_line_the_later_wins(tmp_path):
    file = write(tmp_path / "a.cfg", "# a comment\n--steps=7\n--noshuffle\n--image_size=32x48\n--variant=S/8\n")
    settings = flags.read([file, "--variant=B/32"], pretrain.Settings)
    assert (settings.steps, settings.shuffle, settings.image_size, settings.variant) == (7, False, (32, 48), "B/32")


def test_nested_flag_files(tmp_path):
    inner = write(tmp_path / "inner.cfg", "--steps=3\n")
    outer = write(tmp_path / "outer.cfg", f"{inner}\n--seed=4\n")
    settings = flags.read([outer], pretrain.Settings)
    assert (settings.steps, settings.seed) == (3, 4)


def test_a_flag_file_is_looked_for_beside_the_one_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts" / "inner.cfg", "--steps=3\n--flagfile=other.cfg\n")
    write(tmp_path / "parts" / "other.cfg", "// a comment\n\n--seed=5\n")
    outer = write(tmp_path / "outer.cfg", "--flagfile=parts/inner.cfg\n")
    monkeypatch.chdir(tmp_path / "parts")
    settings = flags.read([outer], pretrain.Settings)
    assert (settings.steps, settings.seed) == (3, 5)
    # As from the command line, where there is none beside it.
    (tmp_path / "parts" / "outer.cfg").write_text("--flagfile=inner.cfg\n")
    assert flags.read(["--flagfile", "outer.cfg"], pretrain.Settings) == settings
    assert flags.read(["--model=m", "--", "--flagfile=a.cfg"], predict.Settings).paths == ("--flagfile=a.cfg",)


def test_a_flag_file_that_includes_itself_is_refused(tmp_path):
    write(tmp_path / "b.cfg", "--flagfile=a.cfg\n")
    with pytest.raises(UserError, match=r"a\.cfg includes itself, by .*b\.cfg"):
        flags.read([write(tmp_path / "a.cfg", "--flagfile=b.cfg\n")], pretrain.Settings)


def test_command_line_goes_before_flag_file_and_that_before_the_recipe(tmp_path):
    file = write(tmp_path / "a.cfg", "--recipe=paper/in1k_b32\n--learning_rate=0.5\n--dropout=0.25\n")
    settings = flags.read([file, "--dropout=0.75", "--steps=9"], pretrain.Settings)
    assert (settings.dropout, settings.learning_rate, settings.weight_decay) == (0.75, 0.5, 0.3)
    assert (settings.steps, settings.epochs, settings.run_dir) == (9, None, "saved_models/paper_in1k_b32")
    again = flags.read([write(tmp_path / "flags.cfg", flags.to_flagfile(settings))], pretrain.Settings)
    assert again == settings and "recipe" not in flags.to_flagfile(settings)


def test_one_learning_rate_takes_the_place_of_a_recipes_choice():
    given = ["--recipe=paper/finetune_imagenet", "--weights=x"]
    settings = flags.read([*given, "--learning_rate=0.1"], finetune.Settings)
    assert (settings.learning_rate, settings.learning_rates) == (0.1, "")
    assert flags.read(given, finetune.Settings).learning_rates == "0.003,0.01,0.03"


def test_flag_files_that_cannot_be_read_say_why(tmp_path):
    (tmp_path / "bom.cfg").write_bytes(b"\xef\xbb\xbf--steps=3\r\n")
    assert flags.read([f"--flagfile={tmp_path}/bom.cfg"], pretrain.Settings).steps == 3
    (tmp_path / "wide.cfg").write_bytes("--steps=3".encode("utf-16"))
    for name, why in ((tmp_path, "cannot be read: Is a directory"), ("x" * 300, "no such file"), ("wide.cfg", "text")):
        with pytest.raises(UserError, match=why):
            flags.read([f"--flagfile={tmp_path / name}"], pretrain.Settings)


def test_recipes_are_of_one_command_and_one_only():
    arguments = ["--recipe=paper/in1k_b32"]
    assert flags.read(arguments * 2, pretrain.Settings) == flags.read(arguments, pretrain.Settings)
    with pytest.raises(UserError, match="Two recipes, --recipe=paper/in1k_b32 and --recipe=bit/in1k"):
        flags.read([*arguments, "--recipe=bit/in1k"], pretrain.Settings)
    with pytest.raises(UserError, match=r"paper/in1k_b32 is one of trainers\.pretrain, not of trainers\.finetune"):
        flags.read(arguments, finetune.Settings)
    with pytest.raises(UserError, match="nearest are paper/in1k_b32"):
        flags.read(["--recipe=paper/in1k_b3"], pretrain.Settings)
    with pytest.raises(UserError, match="recipe"):
        flags.read(arguments, evaluate.Settings)


def test_old_names_of_flags_are_taken_and_the_new_ones_said(capsys):
    old = flags.read(["--weights=x", "--train=head", "--licence=mit", "--steps=1"], finetune.Settings)
    assert (old.trainable, old.license) == ("head", "mit")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["note: --train is called --trainable now.", "note: --licence is called --license now."]
    assert flags.read(flags.to_flagfile(old).split(), finetune.Settings) == old
    assert not capsys.readouterr().err


@given(
    steps=st.integers(1, 10**9),
    learning_rate=st.floats(1e-9, 10, allow_nan=False),
    shuffle=st.booleans(),
    ema=st.none() | st.floats(1e-9, 0.99999),
    clip_norm=st.floats(0, 10),
    image_size=st.integers(1, 1000) | st.tuples(st.integers(1, 999), st.integers(1, 999)),
    position=st.sampled_from(POSITIONS),
    run_dir=st.text("abc/_-. 12é", min_size=1).filter(lambda text: " #" not in text and text == text.strip()),
)
def test_settings_survive_the_flag_file(tmp_path_factory, **values):
    settings = pretrain.Settings(**values)
    file = write(tmp_path_factory.mktemp("cfg") / "flags.cfg", flags.to_flagfile(settings))
    assert flags.read([file], pretrain.Settings) == settings


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--varient=B/16"], ["varient", "variant"]),
        (["--steps=many"], ["steps", "many"]),
        (["--position=polar", "--steps=1"], ["polar", "learned_1d", "sincos2d"]),
        (["--steps=1", "B/16"], ["Unexpected argument 'B/16'", "--name=value"]),
        (["--flagfile=nowhere.cfg"], ["nowhere.cfg", "no such file", "looked for from"]),
        (["--steps=1", "--run_dir=a # the folder"], ["comment", "run_dir"]),
        (["--steps=1", "--image_size=224x"], ["image_size", "224x160"]),
        (["--steps=1", "--image_size=1x2x3"], ["image_size", "1x2x3"]),
        ([], ["exactly one of --steps, --epochs, --examples", "none"]),
        (["--steps=1", "--epochs=2"], ["--steps=1", "--epochs=2.0", "cleared by 0"]),
        (["--steps=-1"], ["--steps", "positive", "-1"]),
        (["--steps=1", "--batch_size=0"], ["--batch_size", "positive"]),
        (["--steps=1", "--label_smoothing=1"], ["--label_smoothing", "[0, 1)"]),
        (["--steps=1", "--end_learning_rate=1"], ["--end_learning_rate=1.0", "--learning_rate=0.001"]),
        (["--steps=1", "--optimizer=adam", "--weight_decay=0.1"], ["adam", "adamw", "0.1"]),
        (["--steps=1", "--early_stopping=3", "--validation_split=none"], ["--early_stopping=3", "none"]),
        (["--steps=1", "--seed=-1"], ["--seed", "-1"]),
        (["--epochs=inf"], ["--epochs", "finite", "inf"]),
        (["--steps=1", "--learning_rate=nan"], ["--learning_rate", "finite"]),
        (["--steps=1", "--shuffle=maybe"], ["shuffle", "maybe", "true or false"]),
        (["--steps=1", "--clip_norm=-1"], ["--clip_norm", "negative"]),
        (["--steps=9", "--decay_at=0.5"], ["--decay_at=0.5", "staircase", "not cosine"]),
        (["--steps=9", "--schedule=staircase"], ["--decay_at", "0.3,0.6,0.9"]),
        (["--steps=9", "--schedule=staircase", "--decay_at=0.6,0.3"], ["rising", "'0.6,0.3'"]),
        (["--steps=9", "--schedule=staircase", "--decay_at=1/0"], ["--decay_at", "'1/0'"]),
        (["--steps=9", "--schedule=staircase", "--decay_at=0.3,1"], ["between 0 and 1", "'0.3,1'"]),
        (
            ["--steps=9", "--schedule=staircase", "--decay_at=0.3", "--end_learning_rate=1e-5"],
            ["--end_learning_rate=1e-05", "staircase"],
        ),
        (["--steps=1", "--units=3,four"], ["--units", "3,4,6,3", "'3,four'"]),
        (["--steps=1", "--stem=3,0"], ["--stem", "3,4,6,3", "'3,0'"]),
    ],
)
def test_mistakes_get_one_line_with_both_values(arguments, fragments):
    with pytest.raises(UserError) as error:
        flags.read(arguments, pretrain.Settings)
    assert "\n" not in str(error.value)
    assert all(fragment in str(error.value) for fragment in fragments), str(error.value)


def test_zero_clears_what_a_flag_file_set(tmp_path):
    file = write(tmp_path / "a.cfg", "--steps=7\n--early_stopping=20\n--representation=768\n--ema=0.9\n")
    cleared = ["--steps=0", "--epochs=2", "--early_stopping=0", "--representation=0", "--ema=0"]
    settings = flags.read([file, *cleared], pretrain.Settings)
    values = (settings.steps, settings.epochs, settings.early_stopping, settings.representation, settings.ema)
    assert values == (None, 2.0, None, None, None)


def test_a_binary_flag_file_is_a_mistake(tmp_path):
    (tmp_path / "model.keras").write_bytes(bytes(range(128, 256)))
    with pytest.raises(UserError, match="not text"):
        flags.read([f"--flagfile={tmp_path}/model.keras"], pretrain.Settings)


@pytest.mark.parametrize(
    ("given_flags", "expected"),
    [
        ({}, {}),
        ({"stem": "3, 4,9", "root_width": 32}, {"stem": (3, 4, 9), "root_width": 32}),
        ({"stem": "root"}, {"stem": ()}),
        ({"stem": "none"}, {"stem": None}),
        ({"units": "1"}, {"units": (1,)}),
    ],
)
def test_stages_of_resnets_become_fields_of_the_architecture(given_flags, expected):
    assert pretrain.Settings(steps=1, **given_flags).overrides == {"image_size": 224} | expected


@pytest.mark.parametrize(
    ("fields_given", "fragments"),
    [
        ({"augment": "foo"}, ["augment=foo", "inception"]),
        ({"precision": "bf16"}, ["bf16", "mixed_bfloat16"]),
        ({"steps": "5"}, ["--steps", "int", "'5'"]),
        ({"steps": 2.5}, ["--steps", "int", "2.5"]),
        ({"steps": 1, "batch_size": None}, ["--batch_size", "int", "None"]),
        ({"steps": 1, "seed": True}, ["--seed", "True"]),
    ],
)
def test_python_callers_get_the_same_checks(fields_given, fragments):
    with pytest.raises(UserError) as error:
        pretrain.Settings(**{"steps": 1, **fields_given})
    assert all(fragment in str(error.value) for fragment in fragments), str(error.value)


def test_a_list_is_a_size_too_and_the_moment_is_not_recorded():
    settings = pretrain.Settings(steps=1, image_size=[32, 48], overwrite=True)
    assert settings.image_size == (32, 48)
    assert "overwrite" not in flags.to_flagfile(settings) and "--image_size=32x48" in flags.to_flagfile(settings)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_field_has_help(command):
    for field in dataclasses.fields(COMMANDS[command]):
        assert field.metadata["help"].endswith((".", ")")), field.name


def test_every_field_has_a_reader():
    read, means = attributes_read()
    read |= {name for property in means.keys() & read for name in means[property]}
    # These are read by name, all in one loop, and become fields of the architecture.
    assert "overrides" in read
    read |= {field.name for field in dataclasses.fields(ModelSettings)} - {"variant", "weights"}
    for command, settings in COMMANDS.items():
        unread = [field.name for field in dataclasses.fields(settings) if field.name not in read]
        assert not unread, f"{command}: nobody reads {', '.join(unread)}"


def attributes_read():
    """The attributes of settings that trainers/ reads, and of each property of a group those that it reads.

    What a group's own checks read does not count: a flag that is only checked does nothing.
    """
    read, means = set(), {}
    for path in pathlib.Path(pretrain.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            arguments = [*function.args.args, *function.args.kwonlyargs]
            typed = {a.arg for a in arguments if a.annotation and ast.unparse(a.annotation).endswith("Settings")}
            read |= attributes_of(function, {"settings", *typed})
        for group in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
            for method in (node for node in group.body if isinstance(node, ast.FunctionDef) and node.decorator_list):
                means.setdefault(method.name, set()).update(attributes_of(method, {"self"}))
    return read, means


def attributes_of(function, owners):
    """Names that a function reads of one of the owners, or of something's `settings`."""
    return {
        node.attr
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and (getattr(node.value, "id", None) in owners or getattr(node.value, "attr", None) == "settings")
    }


def test_the_command_line_is_frozen(request):
    """A new, renamed or dropped flag must be meant: update tests/golden/flags.txt with the change."""
    golden = (request.config.rootpath / "tests" / "golden" / "flags.txt").read_text()
    lines = [f"{name} --{field.name}" for name, cls in COMMANDS.items() for field in flag_fields(cls)]
    assert golden.splitlines() == sorted(lines)
