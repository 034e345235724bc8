"""Masked patch prediction, end to end on generated data."""

import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from runs import At, assert_same_values, crash, rows, values

import keras_vit
from keras_vit.errors import UserError
from trainers import evaluate, finetune, pretrain
from trainers import run_dir as folder
from trainers.training import model_card
from trainers.training.callbacks.masked_pictures import BORDER, sheet

SMALL = {
    "objective": "masked_patches",
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
WITH_STATE = {"dropout": 0.1, "ema": 0.9, "remat": True, "checkpoint_every": 3, "warmup_steps": 1}


def settings(run_dir, **changes):
    return pretrain.Settings(**{**SMALL, "run_dir": str(run_dir), **changes})


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return pretrain.run(settings(tmp_path_factory.mktemp("runs") / "masked", **WITH_STATE))


def pictures(run_dir):
    return {path.name: path.read_bytes() for path in (pathlib.Path(run_dir) / "pictures").iterdir()}


def test_the_run_folder_is_complete(result):
    run_dir = pathlib.Path(result.run_dir)
    names = {path.name for path in run_dir.iterdir()}
    files = {"flags.cfg", "model.keras", "metrics.csv", "results.json", "card.md", "card.json"}
    assert names == files | {"checkpoint", "logs", "pictures"}
    card = model_card.read(result.run_dir)
    assert card["training"]["objective"] == "masked_patches" and card["classes"] == {"number": 0, "names": None}
    assert "whose labels it never saw" in card["limits"][0]
    results = json.loads((run_dir / "results.json").read_text())
    assert results == result.metrics
    assert {"val_masked_accuracy", "val_loss", "best_val_masked_accuracy", "best_step", "test_masked_accuracy"} <= {
        *results
    }
    assert not any(name.endswith("_accuracy") and "masked" not in name for name in results)
    assert results["best_val_masked_accuracy"] == max(result.history.history["val_masked_accuracy"])
    assert [bool(row["val_masked_accuracy"]) for row in rows(run_dir)] == [True, True]
    assert all(0 <= float(row["masked_accuracy"]) <= 1 for row in rows(run_dir))


def test_pictures_are_drawn_at_every_evaluation(result):
    drawn = pictures(result.run_dir)
    assert sorted(drawn) == ["step_00000002.png", "step_00000004.png"]
    first, last = (tf.io.decode_png(drawn[name]).numpy() for name in sorted(drawn))
    side = 96 + 2 * BORDER
    assert first.shape == (8 * side, 3 * 96 + 2 * BORDER, 3)
    originals_and_masked, predicted = slice(BORDER, BORDER + 2 * 96), slice(BORDER + 2 * 96, None)
    np.testing.assert_array_equal(first[:, originals_and_masked], last[:, originals_and_masked])
    assert np.any(first[:, predicted] != last[:, predicted])
    events = list((pathlib.Path(result.run_dir) / "logs" / "pictures").glob("events*"))
    tags = [value.tag for event in tf.compat.v1.train.summary_iterator(str(events[0])) for value in event.summary.value]
    assert tags == ["masked_patches"] * 2


def test_small_pictures_are_enlarged_and_framed():
    drawn = np.arange(2 * 40 * 120, dtype="uint8").reshape(2, 40, 120, 1)
    picture = sheet(drawn)
    assert picture.shape == (2 * (80 + 2 * BORDER), 240 + 2 * BORDER, 1)
    assert (picture[:BORDER] == 255).all() and (picture[:, -BORDER:] == 255).all()
    np.testing.assert_array_equal(picture[BORDER : BORDER + 80 : 2, BORDER:-BORDER:2], drawn[0])


def test_the_saved_model_is_the_supervised_one_without_a_head(result):
    for name in ("model.keras", "checkpoint/best.keras"):
        model = keras.models.load_model(pathlib.Path(result.run_dir) / name)
        assert (model.architecture.num_classes, model.class_names) == (0, None)
        expected = keras_vit.build("mu/16", image_size=32, depth=1, num_classes=0)
        assert {path: array.shape for path, array in values(model).items()} == {
            path: array.shape for path, array in values(expected).items()
        }
        images = np.zeros((2, 32, 32, 3), "float32")
        np.testing.assert_array_equal(model(images).shape, (2, model.architecture.width))


@pytest.mark.slow
def test_killed_it_ends_the_same(result, tmp_path):
    again = settings(tmp_path / "run", **WITH_STATE)
    with pytest.raises(SystemError):
        pretrain.run(again, callbacks=[At(3, crash, "on_epoch_end")])
    resumed = pretrain.run(again)
    assert_same_values(values(resumed.model), values(result.model))
    assert rows(resumed.run_dir) == rows(result.run_dir)
    assert pictures(resumed.run_dir) == pictures(result.run_dir)


def test_fine_tuning_begins_from_its_weights(result, tmp_path):
    flags = {"source": "synthetic", "batch_size": 20, "steps": 1, "learning_rate": 0.0, "baseline": False}
    flags |= {"validation_split": "none", "test_split": "none"}
    tuned = finetune.run(finetune.Settings(**flags, weights=result.run_dir, run_dir=str(tmp_path / "tuned")))
    assert tuned.model.architecture.num_classes == 10 and tuned.model.class_names[3] == "colour 3"
    tuned_values, pretrained_values = values(tuned.model), values(result.model)
    assert tuned_values.keys() - pretrained_values.keys() == {"head/kernel", "head/bias"}
    for path in pretrained_values:
        np.testing.assert_array_equal(tuned_values[path], pretrained_values[path], err_msg=path)


def test_its_accuracy_is_not_asked_for_in_vain(result):
    with pytest.raises(ValueError, match=r"trainers\.finetune"):
        evaluate.run(evaluate.Settings(model=result.run_dir, source="synthetic"))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Pictures of which nobody knows more than that they are pictures, with the splits train and val."""
    root = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(0)
    for number in range(24):
        place = root / ("val" if number < 4 else "train") / "any" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        image = np.full((20, 20, 3), 200) + generator.integers(-20, 20, (20, 20, 3))
        place.write_bytes(tf.io.encode_png(image.astype("uint8")).numpy())
    return root


@pytest.mark.slow
def test_the_pixels_as_a_target_choose_by_the_loss(photographs, tmp_path):
    """A loss that falls: what is best must be the last, and stopping early must not happen.

    Attention pooling is saved, but has no part in training.
    """
    changes = {"source": f"folder:{photographs}", "batch_size": 4, "masked_target": "pixels", "pool": "map", "steps": 6}
    more = {"early_stopping": 1, "multipliers": "patch_encoder/.*=0;.*=1", "schedule": "constant"}
    run = pretrain.run(settings(tmp_path / "run", **changes, **more))
    losses = run.history.history["val_loss"]
    assert losses == sorted(losses, reverse=True) and len(losses) == 3
    assert (run.metrics["best_val_loss"], run.metrics["best_step"]) == (losses[-1], 6)
    assert not any("accuracy" in name for name in run.metrics)
    best = keras.models.load_model(pathlib.Path(run.run_dir) / "checkpoint" / "best.keras")
    assert_same_values(values(run.model), values(best))
    image = tf.io.decode_png(pictures(run.run_dir)["step_00000006.png"])
    assert image.shape[0] == 4 * (96 + 2 * BORDER)  # there are no more than four


def test_a_single_patch_is_refused_by_the_plan(tmp_path):
    with pytest.raises(UserError, match=r"at least 2 patches; .*=16"):
        pretrain.run(settings(tmp_path / "run", variant="mu/16", image_size=16, source="synthetic", dry_run=True))


def test_the_plan_names_target_and_pictures(photographs, tmp_path, capsys):
    (tmp_path / "table.jsonl").write_text(
        "".join(
            json.dumps({"path": str(path), "labels": ["a", "b"][: n % 3], "split": "test" if n < 8 else "train"}) + "\n"
            for n in range(4, 24)
            for path in [photographs / "train" / "any" / f"{n}.png"]
        )
    )
    source = f"jsonl:{tmp_path}/table.jsonl"  # several labels each, or none
    pretrain.run(settings(tmp_path / "run", source=source, early_stopping=2, dry_run=True, validation_split="test"))
    plan = capsys.readouterr().out
    for words in ("masked_patches, target mean_color", "pictures/", "validation masked accuracy", "not saved"):
        assert words in plan, words


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        ({"label_smoothing": 0.1}, ["--label_smoothing=0.1", "looks at no labels"]),
        ({"class_weights": "balanced"}, ["--class_weights=balanced", "looks at no labels"]),
        ({"sampling": "balanced"}, ["--sampling=balanced", "looks at no labels"]),
        ({"mixup": 0.2}, ["--mixup=0.2", "no labels"]),
        ({"cutmix": 1.0}, ["--cutmix=1.0", "no labels"]),
        ({"head_bias": -10.0}, ["--head_bias=-10.0", "trains no head"]),
        ({"representation": 768}, ["--representation=768", "trains no head"]),
        ({"masked_target": "colour"}, ["--masked_target=colour", "mean_color, downsized_colors, pixels"]),
        ({"objective": "softmax", "masked_target": "pixels"}, ["--masked_target=pixels", "not softmax"]),
    ],
)
def test_flags_without_a_meaning_get_one_line(changes, fragments):
    with pytest.raises(UserError) as error:
        pretrain.Settings(**SMALL | changes)
    assert "\n" not in str(error.value)
    assert all(fragment in str(error.value) for fragment in fragments), str(error.value)


def test_fine_tuning_has_no_such_objective():
    with pytest.raises(UserError, match=r"masked_patches is unknown; choose one of softmax, sigmoid"):
        finetune.Settings(weights="any", steps=1, objective="masked_patches")


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"variant": "BiT-R26x1", "depth": None}, "--variant=BiT-R26x1 has no patches"),
        ({"multipliers": "(patch_encoder|block_.*|norm)/.*=1"}, "corruption/mask_embedding"),
    ],
)
def test_mistakes_that_only_the_model_tells(changes, fragment, tmp_path):
    with pytest.raises(ValueError, match=fragment) as error:
        pretrain.run(settings(tmp_path / "run", **changes))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_it_may_start_from_weights_whose_head_is_left_out(request):
    path = str(request.config.rootpath / "tests" / "fixtures" / "train_init.npz")
    published = keras_vit.weights.load(path)
    model = keras_vit.build(published.architecture, num_classes=0)
    pretrain.start_from(model, path)
    model_values, published_values = values(model), values(published)
    assert published_values.keys() - model_values.keys() == {"head/kernel", "head/bias"}
    for path in model_values:
        np.testing.assert_array_equal(model_values[path], published_values[path], err_msg=path)


def test_pictures_of_a_replaced_run_wait_with_it(tmp_path):
    run_dir = tmp_path / "run"
    (run_dir / "pictures").mkdir(parents=True)
    for name in ("flags.cfg", "results.json", "pictures/step_00000002.png"):
        (run_dir / name).write_text("old")
    with pytest.raises(RuntimeError), folder.claimed(str(run_dir), "--steps=1\n", overwrite=True, resumed=False):
        assert not (run_dir / "pictures").exists()
        raise RuntimeError
    assert (tmp_path / "run.previous" / "pictures" / "step_00000002.png").read_text() == "old"
