"""Distillation, end to end on generated data: the teacher teaches, and nothing else becomes of it."""

import json
import pathlib

import keras
import numpy as np
import pytest
from runs import At, assert_same_values, crash, rows, values

import keras_vit
from keras_vit.errors import UserError
from trainers import finetune, pretrain
from trainers.engine.checkpoint import Checkpoints
from trainers.training import task

SMALL = {
    "source": "synthetic",
    "variant": "mu/16",
    "image_size": 32,
    "depth": 1,
    "batch_size": 16,
    "steps": 4,
    "evaluate_every": 2,
    "log_every": 2,
    "steps_per_call": 1,
}
WITH_STATE = {"dropout": 0.1, "ema": 0.9, "remat": True, "checkpoint_every": 3, "warmup_steps": 1, "mixup": 0.2}
NAMES = [f"colour {i}" for i in range(10)]


def settings(run_dir, **changes):
    return pretrain.Settings(**{**SMALL, "run_dir": str(run_dir), **changes})


def randomised(model, seed=0):
    """Weights that tell one image from another, the zero head's included."""
    generator = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(variable + generator.normal(0, 0.1, variable.shape))
    return model


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A ResNet that takes other images, with another scale, than the student."""
    scale = keras_vit.Preprocessing(size=(48, 40), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), antialias=True)
    fields = {"units": (1,), "root_width": 32, "image_size": (48, 40), "num_classes": 10}
    model = keras_vit.build("BiT-R26x1", class_names=NAMES, preprocessing=scale, **fields)
    path = tmp_path_factory.mktemp("teacher") / "model.keras"
    randomised(model).save(path)
    return path


@pytest.fixture(scope="module")
def result(tmp_path_factory, teacher):
    return pretrain.run(settings(tmp_path_factory.mktemp("runs") / "run", teacher=str(teacher), **WITH_STATE))


def test_what_is_left_behind_is_the_student_alone(result, teacher):
    run_dir = pathlib.Path(result.run_dir)
    expected = keras_vit.build("mu/16", image_size=32, depth=1, num_classes=10, dropout=0.1)
    shapes = {path: array.shape for path, array in values(expected).items() if "seed_generator" not in path}
    for name in ("model.keras", "checkpoint/best.keras"):
        model = keras.models.load_model(run_dir / name)
        held = {path: array.shape for path, array in values(model).items() if "seed_generator" not in path}
        assert held == shapes
        assert model.class_names == NAMES
    state = Checkpoints(str(run_dir / "checkpoint")).newest()["steps"]
    assert {path for path in state["weights"] if "seed_generator" not in path} == {*shapes}
    assert {*state["averages"]} == {*shapes}
    assert len(state["optimizer"]) == 1 + 2 * len(shapes)


def test_it_tells_how_often_they_agree_and_evaluates_by_the_labels(result):
    results = json.loads((pathlib.Path(result.run_dir) / "results.json").read_text())
    assert {"val_accuracy", "val_loss", "test_accuracy"} <= {*results}
    assert not any("agreement" in name for name in results)
    assert all(0 <= float(row["agreement"]) <= 1 for row in rows(result.run_dir))


@pytest.mark.slow
def test_the_teacher_stays_as_it_was_in_file_and_memory(teacher, tmp_path, monkeypatch):
    before, placed, teachers = teacher.read_bytes(), task.place_teacher, []
    monkeypatch.setattr(task, "place_teacher", lambda plan: teachers.append(placed(plan)) or teachers[0])
    result = pretrain.run(settings(tmp_path / "run", teacher=str(teacher), weight_decay=0.1, distillation="soft"))
    assert teacher.read_bytes() == before
    assert_same_values(values(teachers[0].model), values(keras.models.load_model(teacher)))
    untrained = keras_vit.build("mu/16", image_size=32, depth=1, num_classes=10)
    assert any(np.any(array != values(untrained)[path]) for path, array in values(result.model).items())


@pytest.mark.slow
def test_killed_it_ends_the_same(result, teacher, tmp_path):
    again = settings(tmp_path / "run", teacher=str(teacher), **WITH_STATE)
    with pytest.raises(SystemError):
        pretrain.run(again, callbacks=[At(3, crash, "on_epoch_end")])
    resumed = pretrain.run(again)
    assert_same_values(values(resumed.model), values(result.model))
    assert rows(resumed.run_dir) == rows(result.run_dir)


@pytest.mark.slow
def test_a_share_of_next_to_nothing_trains_as_without_a_teacher(teacher, tmp_path):
    """The student has the same first weights, order and dropout."""
    plain = pretrain.run(settings(tmp_path / "plain", dropout=0.1, steps=2))
    taught = pretrain.run(
        settings(tmp_path / "taught", dropout=0.1, steps=2, teacher=str(teacher), distillation_share=1e-30)
    )
    taught_values, plain_values = values(taught.model), values(plain.model)
    for path in plain_values:
        np.testing.assert_allclose(taught_values[path], plain_values[path], atol=1e-6, err_msg=path)


def test_the_plan_names_the_teacher(teacher, tmp_path, capsys):
    pretrain.run(settings(tmp_path / "run", teacher=str(teacher), distillation="soft", dry_run=True))
    plan = capsys.readouterr().out
    parameters = f"{keras.models.load_model(teacher).count_params():,} parameters"
    for words in (f"{teacher}, {parameters}", "48x40", "0.9 of softmax", "0.1 of soft distillation at temperature 3"):
        assert words in plan, (words, plan)


@pytest.mark.slow
def test_fine_tuning_has_teachers_too(result, teacher, tmp_path):
    flags = {"source": "synthetic", "batch_size": 20, "steps": 1, "baseline": False, "evaluate_every": 1}
    tuned = finetune.run(
        finetune.Settings(**flags, weights=result.run_dir, teacher=str(teacher), run_dir=str(tmp_path / "tuned"))
    )
    assert "agreement" in rows(tuned.run_dir)[0]
    assert values(tuned.model).keys() == values(keras.models.load_model(f"{result.run_dir}/model.keras")).keys()


def test_a_distillation_token_learns_from_the_teacher_by_a_head_of_its_own(teacher, tmp_path, capsys):
    flags = {"teacher": str(teacher), "test_split": "none", "steps": 1, "evaluate_every": 1}
    run = pretrain.run(settings(tmp_path / "run", **flags, distillation_token=True, ema=0.9))
    assert "2x2 patches and a class token and a distillation token" in capsys.readouterr().out
    for name in ("model.keras", "checkpoint/best.keras"):
        model = keras.models.load_model(pathlib.Path(run.run_dir) / name)
        assert model.architecture.distillation_token and model.output_shape == (None, 10)
    heads = [np.asarray(run.model.get_layer(name).kernel) for name in ("head", "head_distillation")]
    assert all(np.any(head) for head in heads) and np.any(heads[0] != heads[1])
    flags |= {"source": "synthetic", "batch_size": 20, "learning_rate": 0.0, "baseline": False, "trainable": "head"}
    flags |= {"validation_split": "none", "weights": run.run_dir, "run_dir": str(tmp_path / "tuned")}
    again = finetune.run(finetune.Settings(**flags)).model
    assert again.architecture.distillation_token and not np.any(again.get_layer("head_distillation").kernel)
    assert "agreement" in rows(tmp_path / "tuned")[0] and values(again).keys() == values(run.model).keys()


def test_a_distillation_token_without_a_teacher_is_refused():
    with pytest.raises(UserError, match="--distillation_token learns from a --teacher"):
        pretrain.Settings(source="synthetic", steps=1, distillation_token=True)


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        ({"distillation": "soft"}, ["--distillation=soft", "without --teacher"]),
        ({"distillation_share": 0.2}, ["--distillation_share=0.2", "without --teacher"]),
        ({"distillation_temperature": 2.0}, ["--distillation_temperature=2.0", "without --teacher"]),
        ({"teacher": "any", "distillation_share": 1.5}, ["--distillation_share", "(0, 1]", "1.5"]),
        ({"teacher": "any", "distillation_temperature": 2.0}, ["--distillation=soft", "not hard"]),
        ({"teacher": "any", "distillation": "soft", "distillation_temperature": -1.0}, ["positive", "-1.0"]),
        ({"teacher": "any", "distillation": "warm"}, ["--distillation=warm", "hard, soft"]),
        ({"teacher": "saved_models/a/model.keras", "run_dir": "saved_models/a"}, ["--teacher=", "--run_dir itself"]),
        ({"teacher": "any", "objective": "sigmoid"}, ["--teacher=any", "--objective=softmax", "not sigmoid"]),
        ({"teacher": "any", "objective": "masked_patches"}, ["--teacher=any", "not masked_patches"]),
    ],
)
@pytest.mark.parametrize("command", [pretrain, finetune])
def test_flags_that_do_not_fit_together_get_one_line(command, changes, fragments):
    if command is finetune and changes.get("objective") == "masked_patches":
        pytest.skip("not an objective of fine-tuning")
    with pytest.raises(UserError) as error:
        command.Settings(**{"source": "synthetic", "steps": 1, "weights": "any"} | changes)
    assert "\n" not in str(error.value)
    assert all(fragment in str(error.value) for fragment in fragments), str(error.value)


@pytest.mark.parametrize(
    ("changes", "names", "fragments"),
    [
        ({"num_classes": 5}, None, ["knows 5 classes", "synthetic has 10"]),
        ({"num_classes": 0}, None, ["no head"]),
        ({"channels": 1}, None, ["1 channels", "has 3"]),
        ({}, [*NAMES[:3], "red", *NAMES[4:]], ["class 3 'red'", "'colour 3'"]),
        ({}, None, ["head of zeros"]),
    ],
)
def test_a_teacher_of_something_else_gets_one_line(changes, names, fragments, tmp_path):
    fields = {"image_size": 32, "num_classes": 10, "channels": 3} | changes
    keras_vit.build("mu/16", class_names=names, **fields).save(tmp_path / "teacher.keras")
    with pytest.raises(ValueError) as error:
        pretrain.run(settings(tmp_path / "run", teacher=str(tmp_path / "teacher.keras")))
    assert "\n" not in str(error.value)
    assert all(fragment in str(error.value) for fragment in ["--teacher=", *fragments]), str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_is_not_there_gets_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"--teacher=.*nothing") as error:
        pretrain.run(settings(tmp_path / "run", teacher=str(tmp_path / "nothing.keras")))
    assert "\n" not in str(error.value)
