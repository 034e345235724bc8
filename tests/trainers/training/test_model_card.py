"""card.md and card.json of runs."""

import json
import pathlib
import shutil
import subprocess
import types

import pytest

import keras_vit
from keras_vit.cards import text as card_text
from keras_vit.cards.card import Facts, card
from trainers import files, pretrain
from trainers import run_dir as folder
from trainers.data import sources
from trainers.files import Unwritable
from trainers.training import model_card, provenance


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The folder of a finished run, and its card."""
    run_dir = tmp_path_factory.mktemp("runs") / "first"
    run_dir.mkdir()
    model = keras_vit.build("mu/16", image_size=16, depth=1, num_classes=2, class_names=["a", "b"])
    made = card(model, Facts(name="first", metrics={"test_accuracy": 0.5}))
    model_card.put(str(run_dir), made)
    for name in (folder.FLAGS, folder.RESULTS):
        (run_dir / name).write_text("")
    return str(run_dir), made


def test_a_card_is_read_as_it_was_written(first):
    run_dir, made = first
    assert (
        model_card.read(run_dir) == model_card.read(f"{run_dir}/model.keras") == model_card.read(f"{run_dir}/") == made
    )
    assert json.loads(pathlib.Path(run_dir, folder.CARD_JSON).read_text()) == made
    assert pathlib.Path(run_dir, folder.CARD).read_text(encoding="utf-8") == card_text.markdown(made)


def test_a_part_of_a_split_chosen_at_random_is_called_so():
    settings = pretrain.Settings(source="synthetic", variant="mu/16", steps=1, subset=400, train_split="train[:90%]")
    source = sources.open_source(settings)
    plan = types.SimpleNamespace(
        settings=settings,
        training=source.split(settings.train_split, settings.subset),
        validation=source.split("train[90%:]"),
        test=None,
    )
    assert model_card._splits(plan) == {
        "train": {"split": "train[:90%], 400 of them chosen at random", "examples": 400},
        "validation": {"split": "train[90%:]", "examples": 100},
    }


def test_worst_classes_leave_out_those_without_examples(tmp_path):
    rows = [f"c{number},{number / 10},1" for number in range(9, 0, -1)]
    (tmp_path / folder.PER_CLASS).write_text("\n".join(["class,average_precision,support", "none,,0", *rows]))
    worst = model_card.worst_classes(str(tmp_path))
    assert [row["class"] for row in worst] == ["c1", "c2", "c3", "c4", "c5"]
    assert worst[0] == {"class": "c1", "measure": "average_precision", "value": 0.1, "support": 1}
    (tmp_path / folder.PER_CLASS).write_text("class,f1,support\n")
    assert model_card.worst_classes(str(tmp_path)) == []
    assert model_card.worst_classes(str(tmp_path / "nothing")) == []


def test_a_new_run_begins_without_the_card_of_the_one_it_replaces(first, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(first[0], run_dir)
    with pytest.raises(KeyboardInterrupt), folder.claimed(str(run_dir), "", overwrite=True, resumed=False):
        assert model_card.read(str(run_dir)) is None and not (run_dir / folder.CARD).exists()
        assert model_card.read(folder.previous(str(run_dir))) == first[1]
        raise KeyboardInterrupt
    (run_dir / folder.CARD).write_text("of an unfinished run")
    with folder.claimed(str(run_dir), "", overwrite=False, resumed=False):
        assert not (run_dir / folder.CARD).exists()


def test_no_run_is_lost_for_a_card(first, tmp_path, monkeypatch, capsys):
    plan = types.SimpleNamespace(settings=types.SimpleNamespace(run_dir=str(tmp_path)))
    model_card.write(plan, None, {}, None)  # nothing that it asks for is there
    said = capsys.readouterr().err
    assert said.startswith(f"warning: no model card in {tmp_path}: ") and said.count("\n") == 1

    def full(*arguments):
        raise Unwritable("the disk is full")

    monkeypatch.setattr(files, "write_text", full)
    model_card.write_of_parts(types.SimpleNamespace(run_dir=str(tmp_path)), str(tmp_path), {})
    assert "card.json is not there" in capsys.readouterr().err
    with pytest.raises(Unwritable):  # who calls it otherwise wants to know
        model_card.put(str(tmp_path), first[1])
    assert not list(tmp_path.iterdir())


def test_what_is_no_card_is_told(tmp_path):
    assert model_card.read(str(tmp_path)) is model_card.read("augreg:B/16") is model_card.read("hf:a/b") is None
    (tmp_path / folder.CARD_JSON).write_text("{")
    with pytest.raises(ValueError, match=r"card.json cannot be read: .*; remove it"):
        model_card.read(str(tmp_path))
    for text in ("[]", '{"name": "x"}'):
        (tmp_path / folder.CARD_JSON).write_text(text)
        with pytest.raises(ValueError, match="is no model card; remove it"):
            model_card.read(str(tmp_path))


def test_a_card_in_an_object_store(first):
    model_card.put("ram://cards_test", first[1])
    model_card.put("ram://cards_test", first[1])
    assert model_card.read("ram://cards_test") == first[1]


def test_the_revision_of_a_checkout(tmp_path, monkeypatch):
    assert provenance.revision(tmp_path) is None
    if shutil.which("git") is None:
        pytest.skip("needs git: apt-get install git")
    environment = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "HOME": str(tmp_path)}

    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        command = ["git", *who, *arguments]
        run = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True, env=environment)
        return run.stdout.strip()

    git("init", "-q")
    assert provenance.revision(tmp_path) is None  # no commit yet
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "first")
    git("tag", "-a", "v1", "-m", "v1")
    commit = git("rev-parse", "HEAD")
    assert provenance.revision(tmp_path) == commit
    (tmp_path / "untracked").write_text("1")
    assert provenance.revision(tmp_path) == commit
    (tmp_path / "file").write_text("2")
    assert provenance.revision(tmp_path) == f"{commit}-modified"
    (tmp_path / "inside").mkdir()
    assert provenance.revision(tmp_path / "inside") is None  # what surrounds an installed package is not the project
    monkeypatch.setenv("PATH", str(tmp_path / "inside"))
    assert provenance.revision(tmp_path) is None  # no git
