"""The first command, end to end on generated data."""

import csv
import json
import pathlib

import keras
import numpy as np
import pytest

import keras_vit
from keras_vit.errors import UserError
from trainers import evaluate, pretrain
from trainers import run_dir as folder
from trainers.data import sources
from trainers.settings import flags
from trainers.training import model_card, provenance
from trainers.training import plan as planning

SMALL = {
    "source": "synthetic",
    "variant": "mu/16",
    "image_size": 32,
    "depth": 1,
    "batch_size": 16,
    "steps": 6,
    "evaluate_every": 3,
    "log_every": 2,
    "steps_per_call": 2,
}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    run_dir = str(tmp_path_factory.mktemp("runs") / "small")
    return pretrain.run(pretrain.Settings(**SMALL, run_dir=run_dir, ema=0.9, dropout=0.1, license="CC0-1.0"))


def test_the_run_folder_is_complete(result):
    names = {path.name for path in pathlib.Path(result.run_dir).iterdir()}
    files = {"flags.cfg", "model.keras", "metrics.csv", "results.json", "card.md", "card.json"}
    assert names == files | {"checkpoint", "logs"}
    assert any((pathlib.Path(result.run_dir) / "logs").rglob("events*"))
    results = json.loads(pathlib.Path(result.run_dir, "results.json").read_text())
    assert results == result.metrics
    assert {"val_accuracy", "val_loss", "best_val_accuracy", "best_step", "step", "examples", "seconds"} <= set(results)
    assert {"images_per_second", "seed", "versions", "test_accuracy", "test_loss"} <= set(results)
    assert (results["step"], results["examples"], results["best_step"] % 3) == (6, 96, 0)


def test_the_card_tells_of_the_run(result):
    run_dir = pathlib.Path(result.run_dir)
    card, page = model_card.read(result.run_dir), (run_dir / folder.CARD).read_text(encoding="utf-8")
    assert (card["name"], card["licence"]) == ("small", "CC0-1.0") and page.startswith("---\nlicense: cc0-1.0\n")
    assert card["data"] == {
        "source": "synthetic",
        "fingerprint": None,
        "splits": {
            "train": {"split": "train", "examples": 1000},
            "validation": {"split": "validation", "examples": 100},
            "test": {"split": "test", "examples": 100},
        },
    }
    training = card["training"]
    assert training["flags"] == (run_dir / folder.FLAGS).read_text() and training["flags"] in page
    assert (training["command"], training["weights"], training["steps"]) == ("pretrain", None, 6)
    assert training["git_revision"] == provenance.revision() and "CPU" in training["hardware"]
    for name in ("versions", "seconds", "seed", "precision", "examples"):
        assert training[name] == result.metrics[name]
    measures = {"val_accuracy", "val_loss", "best_val_accuracy", "test_accuracy", "test_loss"}
    assert card["metrics"] == {name: result.metrics[name] for name in measures}
    assert f"| test accuracy | {100 * result.metrics['test_accuracy']:.2f} % |" in page
    assert (card["classes"]["names"][3], card["worst_classes"], card["export"]) == ("colour 3", [], None)


@pytest.mark.slow
def test_flags_cfg_repeats_the_run(result):
    again = flags.read([f"--flagfile={result.run_dir}/flags.cfg", "--overwrite"], pretrain.Settings)
    repeated = pretrain.run(again)
    for name, values in result.history.history.items():
        assert repeated.history.history[name] == values or name == "input_wait"
    for one, other in zip(repeated.model.get_weights(), result.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_metrics_csv_has_a_row_per_interval_and_evaluation(result):
    with (pathlib.Path(result.run_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:5] == ["step", "examples", "loss", "learning_rate", "gradient_norm"]
    assert [int(row["step"]) for row in rows] == [2, 3, 4, 6]
    assert [bool(row["val_accuracy"]) for row in rows] == [False, True, False, True]
    assert [int(row["examples"]) for row in rows] == [32, 48, 64, 96]
    weights = [2, 1, 1, 2]
    first = np.average([float(row["loss"]) for row in rows[:2]], weights=weights[:2])
    assert first == pytest.approx(result.history.history["loss"][0], rel=1e-6)


def test_the_saved_model_is_the_average_and_small(result):
    """No optimizer travels with it: the file holds little more than the weights."""
    path, weights = pathlib.Path(result.run_dir) / "model.keras", result.model.get_weights()
    assert path.stat().st_size < sum(weight.nbytes for weight in weights) + 200_000
    saved = keras.models.load_model(path)
    assert not saved.compiled
    assert saved.class_names[3] == "colour 3" and saved.preprocessing.size == (32, 32)
    images = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(saved(images), result.model(images))


def test_evaluate_repeats_the_reported_accuracy(result, capsys):
    rows = evaluate.run(evaluate.Settings(model=str(result.run_dir), source="synthetic"))
    assert rows["vision transformer"] == pytest.approx(result.metrics["test_accuracy"], abs=1e-6)
    assert "synthetic, test, 100 examples" in capsys.readouterr().out


def test_baselines_train_on_everything_but_the_evaluated_split():
    settings = evaluate.Settings(model="any", source="digits", evaluations="baselines")
    rows = evaluate.baselines(settings, None, sources.open_source(settings), None)
    assert {name: round(100 * accuracy, 2) for name, accuracy in rows.items()} == {
        "logistic regression": 96.67,
        "1-nearest neighbour": 98.61,
        "RBF support vectors": 99.44,
    }


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        ({"model": "{tmp}/nothing"}, ["nothing"]),
        ({"source": "digits"}, ["images of 3 channels", "--source=digits has 1"]),
        ({"split": "dev"}, ["dev", "validation"]),
        ({"evaluations": "baselines", "split": "test[:50%]"}, ["test[:50%]", "whole split"]),
        ({"model": "{tmp}/text.keras"}, ["text.keras", "Keras cannot read it"]),
        ({"model": "{tmp}/dense.keras"}, ["dense.keras", "Sequential"]),
    ],
)
def test_evaluates_mistakes(result, changes, fragments, tmp_path):
    (tmp_path / "text.keras").write_text("text")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "dense.keras")
    base = {"model": str(result.run_dir), "source": "synthetic"}
    base |= {name: value.format(tmp=tmp_path) for name, value in changes.items()}
    with pytest.raises(ValueError) as error:
        evaluate.run(evaluate.Settings(**base))
    assert all(fragment in str(error.value) for fragment in fragments), error.value


@pytest.mark.parametrize("arguments", [{}, {"model": "x", "evaluations": "accuracy,luck"}])
def test_evaluates_flags_are_checked(arguments):
    with pytest.raises(UserError, match=r"model is needed|luck"):
        evaluate.Settings(**arguments)


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path, capsys):
    run_dir = tmp_path / "run"
    settings = flags.read(
        ["--flagfile=configs/vit_b16.cfg", f"--run_dir={run_dir}", "--dry_run"],
        pretrain.Settings,
    )
    assert pretrain.run(settings).model is None
    plan = capsys.readouterr().out
    for fact in ("86,567,656", "35.13", "197", "14x14", "1,268,355", "92,898 steps", "4096", "results.json"):
        assert fact in plan
    assert not run_dir.exists()


PLANNED = (
    *("vit_digits", "vit_b16", "vit_b16_in1k", "vit_b16_in21k", "vit_s16_in1k", "vit_fashion_mnist"),
    *("masked_patches_b16", "masked_patches_fashion_mnist", "distill_digits"),
)


@pytest.mark.parametrize("config", PLANNED)
def test_every_config_plans(config, capsys, request):
    path = request.config.rootpath / "configs" / f"{config}.cfg"
    lines = path.read_text().splitlines()
    assert any(line.startswith("# Command:") for line in lines) and any("Expected:" in line for line in lines)
    # A user may have run it here before.
    pretrain.run(flags.read([f"--flagfile={path}", "--dry_run", "--overwrite", "--resume=never"], pretrain.Settings))
    assert "parameters" in capsys.readouterr().out


def test_every_config_is_tested(request):
    configs = {path.stem for path in (request.config.rootpath / "configs").glob("[!f]*.cfg")}
    assert configs == {*PLANNED, "pretrain_multilabel"}  # the last needs images: tests/trainers/test_own_images.py


@pytest.mark.parametrize(
    ("duration", "steps"),
    [
        ({"steps": 7}, 7),
        ({"epochs": 2.5}, 157),
        ({"examples": 100}, 7),
        ({"epochs": 0.001}, 1),
        ({"epochs": 1.1, "batch_size": 10}, 110),
    ],
)
def test_durations(duration, steps):
    settings = pretrain.Settings(**{**SMALL, "steps": None, **duration})
    assert planning.loop_plan_for(settings, 1000).total_steps == steps


@pytest.mark.slow
def test_early_stopping_restores_the_best_weights(tmp_path):
    """A learning rate far too high ruins the model after the first evaluation; the best evaluation is what is saved."""
    settings = pretrain.Settings(
        **{**SMALL, "steps": 60, "evaluate_every": 5},
        run_dir=str(tmp_path / "run"),
        early_stopping=2,
        learning_rate=0.02,
        schedule="constant",
        optimizer="adam",
    )
    result = pretrain.run(settings)
    again = evaluate.run(evaluate.Settings(model=str(result.run_dir), source="synthetic", split="validation"))
    assert again["vision transformer"] == pytest.approx(result.metrics["best_val_accuracy"], abs=1e-6)


def test_starting_from_given_weights_keeps_the_head(tmp_path, request):
    fixtures = request.config.rootpath / "tests" / "fixtures"
    published = keras_vit.weights.load(str(fixtures / "train_init.npz"))
    model = keras_vit.build(published.architecture)
    pretrain.start_from(model, str(fixtures / "train_init.npz"))
    for one, other in zip(model.get_weights(), published.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="num_classes=7, but the flags ask for 5"):
        pretrain.start_from(keras_vit.build(published.architecture, num_classes=5), str(fixtures / "train_init.npz"))


@pytest.mark.slow
def test_any_keras_callback_can_be_passed(tmp_path):
    class Recorder(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.seen = []

        def on_epoch_end(self, epoch, logs=None):
            self.seen.append((epoch, sorted(logs)))

    recorder = Recorder()
    pretrain.run(pretrain.Settings(**SMALL, run_dir=str(tmp_path / "run")), callbacks=[recorder])
    names = ["accuracy", "gradient_norm", "input_wait", "loss", "skipped", "val_accuracy", "val_loss"]
    assert recorder.seen == [(0, names), (1, names)]


@pytest.mark.slow
def test_an_unfinished_run_without_checkpoints_is_begun_again_a_finished_one_is_kept(tmp_path):
    settings = pretrain.Settings(**SMALL, run_dir=str(tmp_path / "run"))
    with pytest.raises(RuntimeError), folder.claimed(settings.run_dir, "--steps=1\n", overwrite=False, resumed=False):
        raise RuntimeError
    pretrain.run(settings)
    with pytest.raises(ValueError, match="finished run"):
        pretrain.run(settings)
    pretrain.run(pretrain.Settings(**SMALL, run_dir=str(tmp_path / "run"), overwrite=True))


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"validation_split": "vaildation"}, "vaildation"),
        ({"test_split": "tset"}, "tset"),
        ({"validation_split": "train[:10%]"}, "train_split=train"),
        ({"batch_size": 15, "accumulate": 2}, "14 or 16"),
        ({"batch_size": 1, "accumulate": 2}, "nearest that do: 2"),
    ],
)
def test_mistakes_that_only_the_source_or_the_devices_tell(changes, fragment, tmp_path):
    settings = pretrain.Settings(**{**SMALL, "run_dir": str(tmp_path / "run"), **changes})
    with pytest.raises(ValueError, match=fragment):
        pretrain.run(settings)
    assert not (tmp_path / "run").exists()


def test_early_stopping_wants_a_validation_split():
    settings = pretrain.Settings(
        source="tfds:imagenet21k", train_split="full", variant="mu/16", steps=9, early_stopping=2
    )
    with pytest.raises(ValueError, match="no validation split"):
        pretrain.run(settings)


@pytest.mark.slow
def test_a_run_without_evaluation(tmp_path):
    settings = pretrain.Settings(
        **SMALL, run_dir=str(tmp_path / "run"), validation_split="none", test_split="none", accumulate=4
    )
    assert not [name for name in pretrain.run(settings).metrics if name.startswith(("val", "best", "test"))]


@pytest.mark.parametrize("clip_norm", [0.0, pytest.param(1.0, marks=pytest.mark.slow)])
def test_a_step_with_non_finite_gradients_is_not_applied(clip_norm, tmp_path, capsys):
    from trainers.settings import command_line

    arguments = [f"--{name}={value}" for name, value in SMALL.items()]
    arguments += [
        f"--run_dir={tmp_path}/run",
        f"--clip_norm={clip_norm}",
        "--learning_rate=1e38",
        "--schedule=constant",
    ]
    assert command_line.main(pretrain.Settings, pretrain.run, "pretrain", arguments) == 3
    assert "not finite" in capsys.readouterr().err
    assert not (tmp_path / "run" / "results.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "architecture"),
    [
        ({"variant": "mu/8", "stem": "1,1", "root_width": 32}, {"family": "vit", "stem": (1, 1), "root_width": 32}),
        ({"variant": "BiT-R26x1", "depth": None, "units": "1,1", "root_width": 32}, {"family": "bit", "units": (1, 1)}),
    ],
)
def test_small_hybrids_and_resnets_train(changes, architecture, tmp_path):
    settings = pretrain.Settings(**SMALL | {"steps": 2, "evaluate_every": 2} | changes, run_dir=str(tmp_path / "run"))
    model = pretrain.run(settings).model
    assert {name: getattr(model.architecture, name) for name in architecture} == architecture


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        ({"variant": "mu/16", "units": "1,1"}, ["--units=1,1", "--variant=mu/16", "leave it out"]),
        ({"variant": "BiT-R26x1", "depth": None, "stem": "root"}, ["--stem=root", "--variant=BiT-R26x1"]),
        ({"variant": "mu/16", "root_width": 32}, ["root_width=32", "without a stem"]),
        ({"variant": "R26+S/32", "root_width": 40}, ["root_width", "multiple of 32", "40"]),
        ({"variant": "mu/2", "stem": "1"}, ["Patches of 2", "stem=(1,)", "multiple of 4"]),
    ],
)
def test_fields_of_another_family_are_mistakes(changes, fragments, tmp_path):
    with pytest.raises(ValueError) as error:
        pretrain.run(pretrain.Settings(**SMALL | changes, dry_run=True, run_dir=str(tmp_path)))
    assert all(fragment in str(error.value) for fragment in fragments), str(error.value)


@pytest.mark.slow
def test_relative_positions_train(tmp_path):
    """Their gradient comes as sparse slices."""
    settings = pretrain.Settings(**SMALL, run_dir=str(tmp_path / "run"), position="relative", accumulate=2)
    assert np.isfinite(pretrain.run(settings).metrics["test_loss"])


@pytest.mark.parametrize("changes", [{"gelu": "erf"}, {"position_site": "shared"}, {"position_site": "blocks"}])
def test_given_weights_of_another_function_are_refused(changes, request):
    path = str(request.config.rootpath / "tests" / "fixtures" / "train_init.npz")
    architecture = keras_vit.weights.load(path).architecture
    with pytest.raises(ValueError, match=next(iter(changes))):
        pretrain.start_from(keras_vit.build(architecture, **changes), path)
