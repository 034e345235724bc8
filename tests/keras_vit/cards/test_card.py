"""The card of a model: its fields, its judgements, its Markdown."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest

import keras_vit
from keras_vit.cards import markup
from keras_vit.cards import text as card_text
from keras_vit.cards.card import Facts, card, card_of_model, plain, provenance, revised, with_export

NAMES = ["cat|dog", "*bold* <b>", "two\nlines", "`code` [x](y)", "$x_1$ 鹤"]
TRAINING = {
    "command": "pretrain",
    "objective": "softmax",
    "weights": None,
    "teacher": None,
    "steps": 5000,
    "examples": 80000,
    "seconds": 12.5,
    "precision": "float32",
    "hardware": "2 CPU cores (x86_64)",
    "seed": 3,
    "git_revision": "0123abc-modified",
    "versions": {"python": "3.11.7", "keras": "3.15.1"},
    "flags": "--source=animals\n--seed=3\n",
}
SPLITS = {
    "train": {"split": "train[:90%]", "examples": 1234},
    "validation": {"split": "train[90%:]", "examples": 100},
    "test": {"split": "test", "examples": 200},
}
DATA = {"source": "animals", "fingerprint": "feed1234", "splits": SPLITS}
METRICS = {"val_accuracy": 0.875, "val_loss": 0.51234, "test_accuracy": 0.8125}
WORST = [{"class": "cat|dog", "measure": "f1", "value": 0.25, "support": 1200}]
FACTS = Facts(name="runs_1", data=DATA, training=TRAINING, metrics=METRICS, worst_classes=WORST, licence="Apache-2.0")


@pytest.fixture(scope="module")
def model():
    return keras_vit.build("mu/16", image_size=(32, 48), depth=1, num_classes=5, class_names=NAMES)


@pytest.fixture(scope="module")
def made(model):
    return card(model, FACTS)


def read_yaml(text):
    """The subset that front matter is written in: words and quoted texts, and lists of them, by name."""

    def scalar(value):
        if value.startswith('"'):
            return json.loads(value)
        assert re.fullmatch(r"[a-z][a-z0-9._-]*", value) and value not in {"yes", "no", "true", "false", "null"}
        return value

    fields, name = {}, ""
    for line in text.splitlines():
        if line.startswith("- "):
            fields[name].append(scalar(line[2:]))
        else:
            name, _, value = line.partition(":")
            fields[name] = scalar(value.strip()) if value else []
    return fields


def front_matter(page):
    empty, matter, _ = page.split("---\n", 2)
    assert not empty
    return read_yaml(matter)


def unescaped(text):
    return re.sub(r"\\(.)", r"\1", text)


def test_a_card_tells_what_the_model_and_the_facts_have(model, made):
    assert made["model"] == {
        "family": "vit",
        "image_size": [32, 48],
        "channels": 3,
        "patch_size": 16,
        "width": 32,
        "depth": 1,
        "heads": 2,
        "mlp_width": 128,
        "position": "learned_1d",
        "pool": "token",
        "parameters": model.count_params(),
        "gflops": keras_vit.flops(model.architecture) / 1e9,
    }
    assert made["classes"] == {"number": 5, "names": NAMES}
    for field in dataclasses.fields(FACTS):
        assert made[field.name] == plain(getattr(FACTS, field.name))
    assert f"{model.count_params():,} parameters" in made["description"] and "32x48" in made["description"]
    assert "32x48 (bilinear); its aspect is not kept" in made["preprocessing"]["words"]
    assert made["export"] is None


def test_a_card_is_plain_json(made):
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert plain({"a": (np.float32(0.5), np.array([1, 2])), 3: [math.nan, math.inf, None, True]}) == {
        "a": [0.5, [1, 2]],
        "3": [None, None, None, True],
    }


def test_the_page_has_these_sections_in_this_order(made):
    page = card_text.markdown(made)
    headings = re.findall(r"^#+ .*", page, re.MULTILINE)
    assert headings == [
        *("# runs_1", "## Intended use", "## Limits", "## Classes", "## Input", "## Results", "## Data"),
        *("## Training", "## Licence", "## Citation"),
    ]
    for line in (
        "| test accuracy | 81.25 % |",
        "| validation loss | 0.5123 |",
        "| cat\\|dog | 25.00 % | 1,200 |",
        "Source animals, fingerprint feed1234.",
        "| train | train\\[:90%\\] | 1,234 |",
        "| began from | random weights |",
        "| length | 5,000 steps, 80,000 examples, 12 s |",
        "| project's revision | 0123abc-modified |",
        "| versions | python 3.11.7, keras 3.15.1 |",
        "```\n--source=animals\n--seed=3\n```",
        "Of the model: Apache-2.0. The data",
        "[arXiv:2010.11929](https://arxiv.org/abs/2010.11929)",
    ):
        assert line in page, line


def test_no_class_name_breaks_out(made):
    section = card_text.markdown(made).split("## Classes")[1].split("##")[0].strip()
    assert "\n" not in section
    for bare in ("*bold*", "<b>", "`code`", "[x](", "cat|dog", "$x_1$"):
        assert bare not in section
    shown = ["cat|dog", "*bold* <b>", "two lines", "`code` [x](y)", "$x_1$ 鹤"]
    assert unescaped(section) == f"5: {', '.join(shown)}."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b val_", r"a_b val\_"),
        ("_a_", r"\_a\_"),
        ("a\\b", r"a\\b"),
        ("~~x~~ &lt; #1", r"\~\~x\~\~ \&lt; \#1"),
        ("  a\t b\u2028c\x00d\ud800 ", "a b c d"),
    ],
)
def test_escapes(text, expected):
    assert markup.escaped(text) == expected
    markup.escaped(text).encode()


def test_code_keeps_its_fence():
    assert markup.fenced("a\n````\nb\n") == "`````\na\n````\nb\n`````"


def test_only_some_of_many_classes_are_listed(model):
    names = [f"class {number}" for number in range(1200)]
    made = card(keras_vit.build("mu/16", image_size=16, num_classes=1200, class_names=names), FACTS)
    assert made["classes"] == {"number": 1200, "names": names[:20]}
    assert "class 18, class 19 and 1,180 more." in card_text.markdown(made)
    unnamed = card(keras_vit.build("mu/16", image_size=16, num_classes=1200), FACTS)
    assert "1,200, which have no names." in card_text.markdown(unnamed)


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("CC BY 4.0", {"license": "cc-by-4.0"}),
        ("", {"license": "unknown"}),
        ('My: own "licence"\n- x', {"license": "other", "license_name": "my-own-licence-x"}),
    ],
)
def test_front_matter(made, licence, expected):
    matter = front_matter(card_text.markdown(revised(made, licence=licence)))
    assert matter == expected | {
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["keras-vit", "vision-transformer", "arxiv:2010.11929"],
        "metrics": ["accuracy"],
    }


def test_front_matter_is_yaml_whatever_it_is_given():
    fields = {"a": 'quo"te: #x', "b": ["no", "-", "鹤 \n x", "1.5", "fine-word"], "c": "", "d": []}
    matter = markup.front_matter(fields)
    assert matter.startswith("---\n") and matter.endswith("\n---")
    assert read_yaml(matter[4:-4]) == {"a": 'quo"te: #x', "b": ["no", "-", "鹤 x", "1.5", "fine-word"]}
    assert '"no"' in matter and '"1.5"' in matter and "- fine-word" in matter


def limits_of(made, **changes):
    return " ".join(revised(made, **changes)["limits"])


def test_limits_say_what_is_known_and_no_more(made):
    limits = limits_of(made)
    assert "Trained on 1,234 images of animals (train[:90%])." in limits
    assert "Accuracy: 81.25 % of the 200 images of test." in limits and "flatter" not in limits
    assert "its 5 classes only" in limits and "EXIF" in limits and "Not tested" in limits
    assert "began from" not in limits
    without_test = {"data": DATA | {"splits": {name: SPLITS[name] for name in ("train", "validation")}}}
    limits = limits_of(made, metrics={"val_accuracy": 0.875}, **without_test)
    assert "87.50 % of the 100 images of train[90%:]." in limits and "may flatter" in limits
    assert "has not been measured" in limits_of(made, metrics={})
    assert "the mean over 3 seeds" in limits_of(made, seeds=3)
    weights = {"name": "hf:someone/vit", "source": None, "licence": None}
    limits = limits_of(made, training=TRAINING | {"weights": weights})
    assert "began from the weights hf:someone/vit; what those were trained on" in limits
    limits = limits_of(made, training=TRAINING | {"weights": weights | {"source": "zoo"}})
    assert "hf:someone/vit, trained on zoo." in limits


def test_of_several_labels_each_has_its_probability(made):
    several = revised(made, training=TRAINING | {"objective": "sigmoid"})
    assert "may be several" in several["intended_use"][0]
    assert "a probability for each" in " ".join(several["limits"])


def test_starting_weights_of_a_hub_are_the_base_model(made):
    weights = {"name": "hf:someone/vit-base", "source": None, "licence": "mit"}
    page = card_text.markdown(revised(made, training=TRAINING | {"weights": weights, "teacher": "augreg:B/16"}))
    assert front_matter(page)["base_model"] == "someone/vit-base"
    assert "| began from | hf:someone/vit-base, licence mit |" in page
    assert "| learned from | augreg:B/16 |" in page


def test_a_model_without_a_head_makes_features():
    model = keras_vit.build("mu/16", image_size=16, num_classes=0)
    made = card(model, dataclasses.replace(FACTS, metrics={}, training=TRAINING | {"objective": "masked_patches"}))
    page = card_text.markdown(made)
    matter = front_matter(page)
    assert matter["pipeline_tag"] == "image-feature-extraction" and "metrics" not in matter
    assert "without a head" in made["description"] and "whose labels it never saw" in page
    assert "None: the model has no head." in page and "None are known." in page
    assert "has not been measured" not in page


@pytest.mark.parametrize(
    ("variant", "changes", "family", "words", "papers"),
    [
        ("BiT-R50x1", {"units": (1, 1)}, "bit", "BiT ResNet that tells 5 classes", ["1912.11370"]),
        ("R50+B/16", {"stem": (), "root_width": 32, "width": 32, "depth": 1, "heads": 2, "mlp_width": 64}, "hybrid",
         "(hybrid)", ["2010.11929", "1912.11370"]),
    ],
)  # fmt: skip
def test_other_families(variant, changes, family, words, papers):
    model = keras_vit.build(variant, image_size=32, num_classes=5, **changes)
    made = card(model, FACTS)
    assert made["model"]["family"] == family and words in made["description"]
    assert [paper["arxiv"] for paper in made["citations"]] == papers
    assert front_matter(card_text.markdown(made))["tags"][2:] == [f"arxiv:{paper}" for paper in papers]


def test_of_a_model_without_a_run_little_is_known(model):
    made = card_of_model(model, "google:ViT-B_16")
    page = card_text.markdown(made)
    assert (
        made["name"] == "google:ViT-B_16" and card_of_model(model, "/some/where/model.keras")["name"] == "model.keras"
    )
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    for words in ("Others trained it (google:ViT-B_16)", "Not known.", "None are known.", "has not been measured"):
        assert words in unescaped(page), words
    assert provenance(made) == {
        "source": None,
        "source_fingerprint": None,
        "git_revision": None,
        "versions": None,
        "weights_from": "google:ViT-B_16",
        "metrics": {},
    }


def test_provenance(made):
    weights = {"name": "augreg:B/16", "source": None, "licence": None}
    assert provenance(revised(made, training=TRAINING | {"weights": weights})) == {
        "source": "animals",
        "source_fingerprint": "feed1234",
        "git_revision": "0123abc-modified",
        "versions": TRAINING["versions"],
        "weights_from": "augreg:B/16",
        "metrics": METRICS,
    }
    assert provenance(made)["weights_from"] is None


def test_an_export_adds_a_table_of_its_files(made):
    finding = {"difference": 1.2e-6, "agreement": 0.995, "accuracy": None, "model_accuracy": None}
    report = {
        "images": "64 images of animals, test",
        "temperature": np.float32(1.5),
        "refused": {},
        "formats": {
            "model (Keras)": {"file": "model.keras", "size": 2_000_000, "milliseconds": 3.25, "finding": None},
            "tflite (LiteRT)": {"file": "model.tflite", "size": 512_000, "milliseconds": None, "finding": finding},
        },
    }
    exported = with_export(made, report)
    assert json.loads(json.dumps(exported, allow_nan=False)) == exported and made["export"] is None
    section = card_text.markdown(exported).split("## Exported files")[1].split("##")[0].strip()
    assert section.splitlines() == [
        "| artefact | file | size | ms per image | largest difference | same best class |",
        "|---|---|---|---|---|---|",
        "| model (Keras) | model.keras | 2.00 MB | 3.2 | - | - |",
        "| tflite (LiteRT) | model.tflite | 0.51 MB | - | 1.2e-06 | 99.50 % |",
        "",
        "- images: 64 images of animals, test",
        "- temperature: 1.5",
    ]


def test_seeds_have_a_spread(made):
    metrics = {"test_accuracy": 0.8125, "test_accuracy_spread": 0.0125}
    page = card_text.markdown(revised(made, metrics=metrics, seeds=3))
    assert "Means over 3 seeds; the model is the first one's." in page
    assert "| test accuracy | 81.25 % ± 1.25 % |" in page and "spread" not in page
