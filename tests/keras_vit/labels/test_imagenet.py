"""Names of the classes of ImageNet-1k and ImageNet-21k."""

import re

import pytest

from keras_vit.labels import imagenet

TABLES = {"imagenet_1k": (imagenet.imagenet_1k, 1000), "imagenet_21k": (imagenet.imagenet_21k, 21_843)}
KNOWN = {0: "tench", 1: "goldfish", 207: "golden retriever", 281: "tabby", 850: "teddy", 999: "toilet tissue"}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_whole_and_in_the_order_of_synsets(name):
    table, size = TABLES[name]
    assert len(table()) == size and list(table()) == sorted(table())
    for synset, lemmas in table().items():
        assert re.fullmatch(r"n\d{8}", synset) and lemmas.strip() == lemmas != ""


def test_one_class_of_imagenet_1k_is_not_in_21k():
    assert imagenet.imagenet_1k().keys() - imagenet.imagenet_21k().keys() == {"n04399382"}


def test_both_tables_give_the_same_lemmas():
    both = imagenet.imagenet_1k().keys() & imagenet.imagenet_21k().keys()
    assert all(imagenet.imagenet_1k()[synset] == imagenet.imagenet_21k()[synset] for synset in both)


def test_known_classes_have_their_known_numbers():
    names = imagenet.readable(imagenet.imagenet_1k())
    assert {number: names[number] for number in KNOWN} == KNOWN
    assert imagenet.imagenet_1k()["n01440764"] == "tench, Tinca tinca"
    assert next(iter(imagenet.imagenet_21k().items())) == ("n00004475", "organism, being")


@pytest.mark.parametrize("name", TABLES)
def test_no_two_names_are_the_same(name):
    table, size = TABLES[name]
    assert len(set(imagenet.readable(table()))) == size


def test_equal_lemmas_carry_their_synset():
    names = dict(zip(imagenet.imagenet_1k(), imagenet.readable(imagenet.imagenet_1k()), strict=True))
    assert {name for name in names.values() if "(" in name} == {
        "crane (n02012849)", "crane (n03126707)", "maillot (n03710637)", "maillot (n03710721)",
    }  # fmt: skip
    assert imagenet.readable(["n02012849"]) == ("crane",)  # the only one among those given


def test_unknown_synsets_keep_their_number():
    assert imagenet.readable(["n99999999", "n01440764"]) == ("n99999999", "tench")
