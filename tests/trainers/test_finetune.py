"""Fine-tuning, end to end on generated data."""

import csv
import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vit
from trainers import finetune
from trainers import run_dir as folder
from trainers.engine.endings import Preempted
from trainers.reports import pictures
from trainers.settings import flags
from trainers.training import model_card

ROOT = pathlib.Path(__file__).parents[2]
DIGITS = ROOT / "saved_models" / "digits"
SMALL = {"source": "synthetic", "batch_size": 20, "steps": 4, "evaluate_every": 2, "log_every": 2, "steps_per_call": 2}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A finished run on the digits, whose model is one for 7 other classes, at 16 pixels."""
    run_dir = tmp_path_factory.mktemp("runs") / "start"
    shutil.copytree(DIGITS, run_dir, ignore=shutil.ignore_patterns("export", "model.keras"))
    model = keras_vit.build("mu/8", image_size=16, depth=2, num_classes=7, representation=12)
    model.save(run_dir / "model.keras")
    return str(run_dir / "model.keras")


def settings_for(start, tmp_path, **changes):
    return finetune.Settings(**{**SMALL, "weights": start, "run_dir": str(tmp_path / "run"), **changes})


@pytest.fixture(scope="module")
def result(start, tmp_path_factory):
    changes = {"image_size": 32, "warm_head": True, "ema": 0.9, "lora_rank": 2, "optimizer": "adamw"}
    changes |= {"steps": 2, "batch_size": 100}
    return finetune.run(settings_for(start, tmp_path_factory.mktemp("whole"), **changes))


def test_the_run_folder_has_curves_and_classes_besides(result):
    names = {path.name for path in pathlib.Path(result.run_dir).iterdir()}
    assert names >= {"flags.cfg", "model.keras", "metrics.csv", "results.json", "checkpoint", "logs"}
    assert names >= {"curves.png", "per_class.csv", "confusion.csv", "confusion.png"}
    results = json.loads((pathlib.Path(result.run_dir) / "results.json").read_text())
    assert {
        "baseline_val_accuracy",
        "baseline_test_accuracy",
        "test_accuracy",
        "test_top_5_accuracy",
        "test_macro_f1",
        "val_accuracy",
    } <= set(results)


def test_the_card_names_where_it_began_and_its_own_source(result, start):
    card, page = model_card.read(result.run_dir), (pathlib.Path(result.run_dir) / "card.md").read_text(encoding="utf-8")
    assert card["training"]["command"] == "finetune"
    assert card["training"]["weights"] == {"name": start, "source": "digits", "licence": None}
    assert card["data"]["source"] == "synthetic" and "model.keras, trained on digits |" in page
    assert card["metrics"]["baseline_test_accuracy"] == result.metrics["baseline_test_accuracy"]
    worst = [row["value"] for row in card["worst_classes"]]
    assert len(worst) == 5 and worst == sorted(worst) and "The classes that it does worst on" in page


def test_the_model_has_the_classes_and_resolution_of_the_source(result):
    model = keras.models.load_model(pathlib.Path(result.run_dir) / "model.keras")
    assert (model.architecture.num_classes, model.architecture.image_size) == (10, 32)
    assert model.architecture.representation is None
    assert model.class_names[3] == "colour 3" and model.preprocessing.size == (32, 32)


@pytest.mark.slow
def test_flags_cfg_repeats_the_run(result):
    again = finetune.run(flags.read([f"--flagfile={result.run_dir}/flags.cfg", "--overwrite"], finetune.Settings))
    for one, other in zip(again.model.get_weights(), result.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_without_training_the_weights_are_the_given_ones(start, tmp_path):
    """A learning rate of zero: body resampled as weights.load does it, head zero."""
    run = finetune.run(settings_for(start, tmp_path, learning_rate=0.0, image_size=32, baseline=False))
    expected = keras_vit.weights.load(start, image_size=32, num_classes=10, representation=None)
    for variable, other in zip(run.model.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(variable, other, err_msg=variable.path)
    assert not np.any(run.model.get_layer("head").get_weights()[0])
    assert not any(name.startswith("baseline") for name in run.metrics)


def changed(model, start):
    """Paths of weights that differ from those fine-tuning began with."""
    size = model.architecture.image_size
    before = keras_vit.weights.load(start, num_classes=10, representation=None, image_size=size)
    pairs = zip(model.weights, before.weights, strict=True)
    return [variable.path for variable, other in pairs if not np.array_equal(variable, other)]


def layers(paths):
    return {path.split("/")[0] for path in paths}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ("all", {"patch_encoder", "block_0", "block_1", "norm", "head"}),
        ("head", {"head"}),
        ("block_0/attention/.*", {"block_0", "head"}),
    ],
)
def test_train_says_what_is_trained(start, tmp_path, train, expected):
    run = finetune.run(settings_for(start, tmp_path, trainable=train, baseline=False, warm_head=True))
    assert layers(changed(run.model, start)) == expected


def test_adapters_leave_the_kernels_and_are_merged_on_saving(result, start):
    paths = changed(result.model, start)
    assert layers(paths) == {"block_0", "block_1", "head"}
    assert all(path.endswith("kernel") for path in paths if not path.startswith("head"))
    assert not any("lora" in variable.path for variable in result.model.weights)
    best = keras.models.load_model(pathlib.Path(result.run_dir) / "checkpoint" / "best.keras")
    assert [variable.path for variable in best.weights] == [variable.path for variable in result.model.weights]


class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations.numpy()) == 3:
            raise Preempted("stopped")


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_weights(start, tmp_path):
    whole = finetune.run(settings_for(start, tmp_path / "whole", lora_rank=2, checkpoint_every=1, steps_per_call=1))
    settings = settings_for(start, tmp_path / "cut", lora_rank=2, checkpoint_every=1, steps_per_call=1)
    with pytest.raises(Preempted):
        finetune.run(settings, [Stop()])
    resumed = finetune.run(settings)
    for one, other in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert resumed.metrics["baseline_val_accuracy"] == whole.metrics["baseline_val_accuracy"]


@pytest.mark.slow
def test_momentum_in_bfloat16_is_nearly_the_same_and_resumed_exactly(start, tmp_path):
    changes = {"baseline": False, "checkpoint_every": 1, "steps_per_call": 1}
    exact = finetune.run(settings_for(start, tmp_path / "exact", **changes)).model.get_weights()
    settings = settings_for(start, tmp_path / "cut", momentum_dtype="bfloat16", **changes)
    whole = finetune.run(dataclasses.replace(settings, run_dir=str(tmp_path / "whole"))).model.get_weights()
    with pytest.raises(Preempted):
        finetune.run(settings, [Stop()])
    for one, other in zip(finetune.run(settings).model.get_weights(), whole, strict=True):
        np.testing.assert_array_equal(one, other)
    assert any(not np.array_equal(one, other) for one, other in zip(exact, whole, strict=True))
    assert all(np.allclose(one, other, atol=2e-3) for one, other in zip(exact, whole, strict=True))


PROTOCOL = {"learning_rates": "0.1,0.00001", "seeds": "0,1", "held_out": 0.2, "baseline": False, "trainable": "last:1"}
PROTOCOL |= {"steps": 2}


@pytest.fixture(scope="module")
def chosen(start, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "write", lambda *arguments: False)
        return finetune.run(settings_for(start, tmp_path_factory.mktemp("protocol"), **PROTOCOL))


class TestProtocol:
    def test_the_best_rate_on_held_out_examples_is_tested(self, chosen):
        of_rates = chosen.metrics["val_accuracy_of_rates"]
        assert set(of_rates) == {"0.1", "1e-05"}
        assert of_rates[str(chosen.metrics["learning_rate"])] == max(of_rates.values())
        tested = [run["test_accuracy"] for run in chosen.metrics["runs"].values()]
        assert chosen.metrics["test_accuracy"] == pytest.approx(np.mean(tested))
        assert chosen.metrics["test_accuracy_spread"] == pytest.approx(np.std(tested, ddof=1))

    def test_each_part_has_a_card_and_the_whole_one_of_all(self, chosen):
        whole = model_card.read(chosen.run_dir)
        assert whole["name"] == "run" and whole["seeds"] == 2
        assert whole["metrics"]["test_accuracy_spread"] == chosen.metrics["test_accuracy_spread"]
        assert "--seeds=0,1\n" in whole["training"]["flags"] and "the mean over 2 seeds" in " ".join(whole["limits"])
        for part in ("rate_0.1", "rate_1e-05", "seed_0", "seed_1"):
            card = model_card.read(f"{chosen.run_dir}/{part}")
            assert card["name"] == f"run/{part}" and card["seeds"] == 1
            assert "--seeds" not in card["training"]["flags"]

    def test_nothing_of_the_test_split_takes_part_in_the_choice(self, chosen):
        for rate in ("0.1", "1e-05"):
            part = pathlib.Path(chosen.run_dir) / f"rate_{rate}"
            assert "test_accuracy" not in json.loads((part / "results.json").read_text())
            text = (part / "flags.cfg").read_text()
            assert "--train_split=train[0:800]" in text and "--validation_split=train[800:1000]" in text

    def test_what_train_names_is_trained(self, chosen, start):
        assert layers(changed(chosen.model, start)) == {"block_1", "norm", "head"}

    def test_the_folder_holds_the_first_seeds_model(self, chosen):
        model = keras.models.load_model(pathlib.Path(chosen.run_dir) / "model.keras")
        first = keras.models.load_model(pathlib.Path(chosen.run_dir) / "seed_0" / "model.keras")
        for one, other in zip(model.get_weights(), first.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.slow
    def test_one_that_was_killed_while_replacing_another_reads_nothing_of_that(self, start, tmp_path):
        changes = {"seeds": "0,1", "steps_per_call": 1}
        finetune.run(settings_for(start, tmp_path, **changes, steps=2))
        settings = settings_for(start, tmp_path, **changes, steps=4, overwrite=True)
        with pytest.raises(Preempted):
            finetune.run(settings, [Stop()])
        again = finetune.run(dataclasses.replace(settings, overwrite=False))
        assert [run["step"] for run in again.metrics["runs"].values()] == [4, 4]

    @pytest.mark.slow
    def test_a_rate_that_diverges_is_passed_over(self, start, tmp_path):
        changes = {"learning_rates": "0.01,1e30", "clip_norm": 0.0, "baseline": False, "held_out": 0.2}
        run = finetune.run(settings_for(start, tmp_path, **changes))
        assert run.metrics["learning_rate"] == 0.01
        assert run.metrics["val_accuracy_of_rates"]["1e+30"] is None

    def test_the_final_runs_are_checked_before_the_searches(self, start, tmp_path):
        with pytest.raises(ValueError, match="has no split 'tset'"):
            finetune.run(settings_for(start, tmp_path, **PROTOCOL, test_split="tset"))
        assert not (tmp_path / "run").exists()

    @pytest.mark.slow
    def test_what_was_finished_is_not_done_again(self, chosen, start, monkeypatch):
        run_dir = pathlib.Path(chosen.run_dir)
        (run_dir / folder.RESULTS).unlink()  # as if killed before the end
        trained = []
        original = finetune.train
        monkeypatch.setattr(
            finetune, "train", lambda part, *rest: trained.append(part.run_dir) or original(part, *rest)
        )
        (run_dir / "seed_1" / folder.RESULTS).unlink()
        again = finetune.run(settings_for(start, run_dir.parent, **PROTOCOL))
        assert trained == [str(run_dir / "seed_1")]
        assert again.metrics["test_accuracy"] == pytest.approx(chosen.metrics["test_accuracy"])


@pytest.mark.slow
def test_a_budget_becomes_steps_that_flags_cfg_records(start, tmp_path, capsys):
    settings = settings_for(start, tmp_path, steps=None, budget="8s", evaluate_every=None, baseline=False)
    run = finetune.run(settings)
    recorded = flags.read([f"--flagfile={run.run_dir}/flags.cfg", "--overwrite"], finetune.Settings)
    assert not recorded.budget and recorded.steps == run.metrics["step"] > 0
    assert "--budget=8s: an update takes" in capsys.readouterr().out


def test_a_budget_does_not_take_over_a_run_of_another_length(start, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "flags.cfg").write_text(f"--weights={start}\n--source=synthetic\n--epochs=1\n")
    with pytest.raises(ValueError, match="begun without --budget"):
        finetune.run(settings_for(start, tmp_path, steps=None, budget="8s"))


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        ({"weights": ""}, ["--weights is needed", "pretrain"]),
        ({"weights": "{tmp}/nothing.npz"}, ["--weights=", "nothing.npz"]),
        ({"weights": "{digits}"}, ["1 channels", "has 3"]),
        ({"trainable": "last:9"}, ["--trainable=last:9", "2"]),
        ({"trainable": "("}, ["--trainable", "regular expression"]),
        ({"trainable": "lastt"}, ["--train", "last:N"]),
        ({"trainable": "head", "lora_rank": 4}, ["--trainable=head", "--lora_rank=4"]),
        ({"layer_decay": 0.0}, ["--layer_decay", "(0, 1]"]),
        ({"layer_decay": 0.7, "trainable": "head"}, ["--layer_decay=0.7", "--trainable=head"]),
        ({"learning_rates": "0.1,x"}, ["--learning_rates", "0.1,x"]),
        ({"learning_rates": "0.1,0.1"}, ["--learning_rates", "twice"]),
        ({"seeds": "-1"}, ["--seeds"]),
        ({"learning_rates": "0.1,0.2", "subset": 5}, ["--subset=5", "--train_split"]),
        ({"trainable": "blok_1/.*"}, ["--trainable=blok_1/.*", "counts for no weight"]),
        ({"learning_rates": "0.1,0.2", "held_out": 0.0001}, ["--held_out=0.0001", "empty"]),
        ({"budget": "20 minutes", "steps": None}, ["--budget", "20m"]),
        ({"budget": "20m"}, ["--budget=20m", "--steps"]),
        ({"budget": "20m", "steps": None, "seeds": "0,1"}, ["--budget", "single"]),
        ({"momentum_dtype": "bfloat16", "optimizer": "adamw"}, ["--momentum_dtype", "sgd"]),
        ({"image_size": 20}, ["20", "8"]),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(start, tmp_path, changes, fragments):
    changes = {
        name: value.format(tmp=tmp_path, digits=DIGITS) if isinstance(value, str) else value
        for name, value in changes.items()
    }
    with pytest.raises(ValueError) as caught:
        finetune.run(settings_for(start, tmp_path, **changes))
    assert all(fragment in str(caught.value) for fragment in fragments), caught.value
    assert not (tmp_path / "run").exists()


def test_a_dry_run_tells_all_parts_and_writes_nothing(start, tmp_path, capsys):
    settings = settings_for(start, tmp_path, learning_rates="0.1,0.01", seeds="0,1,2", dry_run=True)
    finetune.run(settings)
    output = capsys.readouterr().out
    assert "5 runs" in output and "rate_0.01" in output and "seed_2" in output and "trains" in output
    assert not (tmp_path / "run").exists()


def test_metrics_begin_with_the_fixed_columns(result):
    with (pathlib.Path(result.run_dir) / "metrics.csv").open() as file:
        assert next(csv.reader(file))[:5] == ["step", "examples", "loss", "learning_rate", "gradient_norm"]


@pytest.mark.slow
def test_two_replicas_train_to_the_same_weights(start, tmp_path):
    """Features, baseline and training; a process of its own, for this one has its devices already."""
    one = finetune.run(settings_for(start, tmp_path / "one", lora_rank=2))
    flagfile = pathlib.Path(one.run_dir) / "flags.cfg"
    arguments = [f"--flagfile={flagfile}", f"--run_dir={tmp_path}/two", "--logical_cpus=2", "--distribution=mirrored"]
    subprocess.run([sys.executable, "-m", "trainers.finetune", *arguments], check=True, timeout=400, cwd=ROOT)
    two = keras.models.load_model(tmp_path / "two" / "model.keras")
    for ours, other in zip(one.model.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(ours, other, atol=1e-5)
    results = json.loads((tmp_path / "two" / "results.json").read_text())
    assert results["baseline_test_accuracy"] == pytest.approx(one.metrics["baseline_test_accuracy"])


@pytest.mark.slow
def test_shares_of_classes_have_a_baseline_too(start, tmp_path):
    random = np.random.default_rng(0)
    labels = np.eye(3, dtype="float32")[np.arange(60) % 3] * 0.9 + 0.1 / 3
    images = random.integers(0, 255, (60, 16, 16, 3)).astype("uint8")
    np.savez(tmp_path / "shares.npz", images=images, labels=labels, test_images=images, test_labels=labels)
    run = finetune.run(settings_for(start, tmp_path, source=f"npz:{tmp_path}/shares.npz"))
    assert 0 <= run.metrics["baseline_test_accuracy"] <= 1


@pytest.mark.slow
def test_bad_images_count_once_and_by_their_own_split(start, tmp_path):
    """2 of 40 training images are under the limit, though they would not be of 20 to choose by."""
    for split, count in (("train", 40), ("validation", 20)):
        for number in range(count):
            place = tmp_path / "photos" / split / "ab"[number % 2] / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((16, 16, 3), 40 + 100 * (number % 2), "uint8")
            place.write_bytes(tf.io.encode_png(pixels).numpy())
            if split == "train" and number < 2:
                place.write_bytes(b"no image")
    source = {"source": f"folder:{tmp_path}/photos", "on_bad_image": "skip", "max_bad_share": 0.06}
    run = finetune.run(settings_for(start, tmp_path, **source, warm_head=True))
    assert (pathlib.Path(run.run_dir) / "bad_images.csv").read_text().count("train") >= 2
    assert "some" not in (pathlib.Path(run.run_dir) / "bad_images.csv").read_text()


def test_what_chooses_does_not_report(start, tmp_path, capsys):
    finetune.run(settings_for(start, tmp_path, validation_split="test", dry_run=True))
    assert "chooses on test, reports on nothing" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"--test_split=test\[:50%\] holds examples of --validation_split=test"):
        finetune.run(settings_for(start, tmp_path, validation_split="test", test_split="test[:50%]"))


def test_defaults_are_the_papers():
    fields = {field.name: field.default for field in dataclasses.fields(finetune.Settings)}
    assert (fields["optimizer"], fields["batch_size"], fields["clip_norm"]) == ("sgd", 512, 1.0)
    assert (fields["weight_decay"], fields["schedule"], fields["dropout"]) == (0.0, "cosine", 0.0)


PLANNED = ("cifar10", "cifar100", "pets", "flowers102", "imagenet", "folder", "cats_vs_dogs", "beans", "digits")


@pytest.mark.parametrize("config", PLANNED)
def test_every_config_plans(config, start, capsys, request):
    path = request.config.rootpath / "configs" / f"finetune_{config}.cfg"
    lines = path.read_text().splitlines()
    assert any(line.startswith("# Command:") for line in lines) and any("Expected:" in line for line in lines)
    weights = DIGITS if config == "digits" else start
    # A user may have run it here before.
    flagfile = [f"--flagfile={path}", f"--weights={weights}", "--dry_run", "--overwrite", "--resume=never"]
    finetune.run(flags.read(flagfile + ["--source=synthetic"] * (config == "folder"), finetune.Settings))
    assert "parameters" in capsys.readouterr().out


def test_every_config_is_tested(request):
    configs = {path.stem for path in (request.config.rootpath / "configs").glob("finetune_*.cfg")}
    assert configs == {f"finetune_{config}" for config in PLANNED}
