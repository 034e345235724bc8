import dataclasses
import json

import pytest

from keras_vit import Preprocessing, build
from keras_vit.preprocessing import RESIZES

EVERY_FIELD = {
    "size": (32, 48),
    "resize": "bicubic",
    "antialias": True,
    "crop": 0.875,
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}


def test_default_is_a_plain_resize_to_minus_one_to_one():
    fields = dataclasses.asdict(Preprocessing(size=(224, 224)))
    expected = {"resize": "bilinear", "antialias": False, "crop": None, "mean": (0.5,), "std": (0.5,)}
    assert fields == {"size": (224, 224), **expected}


@pytest.mark.parametrize("fields", [EVERY_FIELD, {"size": (8, 8)}], ids=["every field", "defaults"])
def test_description_survives_json(fields):
    description = Preprocessing(**fields)
    again = Preprocessing(**json.loads(json.dumps(description.to_dict())))
    assert again == description
    assert hash(again) == hash(description)


def test_every_field_of_the_table_is_set_to_something_else_than_its_default():
    defaults = dataclasses.asdict(Preprocessing(size=(1, 1)))
    assert set(EVERY_FIELD) == set(defaults)
    assert [name for name, value in EVERY_FIELD.items() if value == defaults[name]] == []


def test_description_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Preprocessing(size=(8, 8)).crop = 0.5


def test_model_describes_its_own_image_size_by_default():
    model = build("mu/16", image_size=(16, 32))
    assert model.preprocessing == Preprocessing(size=(16, 32))


def test_model_carries_the_description_it_was_given():
    description = Preprocessing(**EVERY_FIELD)
    model = build("mu/16", image_size=(32, 48), preprocessing=description)
    assert model.preprocessing == description
    assert type(model).from_config(model.get_config()).preprocessing == description


BAD = [
    ({"size": (0, 8)}, ["size", "(0, 8)"]),
    ({"size": (8, 8, 3)}, ["size", "(8, 8, 3)"]),
    ({"size": (8.0, 8.0)}, ["size", "(8.0, 8.0)"]),
    ({"size": 224}, ["size", "224"]),
    ({"resize": "lanczos"}, ["resize", "'lanczos'", *RESIZES]),
    ({"crop": 0}, ["crop", "(0, 1]", "0"]),
    ({"crop": 1.5}, ["crop", "(0, 1]", "1.5"]),
    ({"crop": float("nan")}, ["crop", "(0, 1]", "nan"]),
    ({"mean": (), "std": ()}, ["mean", "std"]),
    ({"mean": (0.5, 0.5, 0.5)}, ["mean", "(0.5, 0.5, 0.5)", "(0.5,)"]),
    ({"std": (0.0,)}, ["std", "(0.0,)"]),
]


@pytest.mark.parametrize("fields, fragments", BAD, ids=[str(fields) for fields, _ in BAD])
def test_bad_value_is_one_value_error_that_names_it(fields, fragments):
    with pytest.raises(ValueError) as error:
        Preprocessing(**{"size": (8, 8), **fields})
    assert [fragment for fragment in fragments if fragment not in str(error.value)] == []
