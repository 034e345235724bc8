"""What may stand in --augment_layers, and that nothing of it is run."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_vit.errors import UserError
from trainers.settings import layer_calls

SHORT = st.text(max_size=6)
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | SHORT
    | st.binary(max_size=6)
)
LITERALS = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(SHORT, inner, max_size=3)
    ),
    max_leaves=5,
)
NAMES = st.text("abcxyz_", min_size=1, max_size=4)
CALLS = st.tuples(
    st.lists(NAMES, min_size=1, max_size=3).map(".".join),
    NAMES,
    st.lists(LITERALS, max_size=3),
    st.dictionaries(NAMES, LITERALS, max_size=3),
)


def written(module, name, arguments, keywords):
    parts = [repr(argument) for argument in arguments] + [f"{key}={value!r}" for key, value in keywords.items()]
    return f"{module}.{name}({', '.join(parts)})"


@given(st.lists(CALLS, max_size=3), st.sampled_from([";", " ; ", ";  "]))
def test_literal_arguments_come_back(calls, joint):
    parsed = layer_calls.parse(joint.join(written(*call) for call in calls))
    read_back = [(call.module, call.name, list(call.arguments), call.keywords) for call in parsed]
    assert read_back == [(module, name, arguments, keywords) for module, name, arguments, keywords in calls]
    assert layer_calls.parse(";".join(call.text for call in parsed)) == parsed


@given(st.text(alphabet="kx.(),;=*[]{}'\"\\ 01-@:#\n\0", max_size=40) | st.text(max_size=40))
def test_any_text_is_calls_or_a_usage_error(text):
    try:
        assert all(isinstance(call, layer_calls.LayerCall) for call in layer_calls.parse(text))
    except UserError as error:
        assert str(error).startswith("--augment_layers")


def test_nothing_is_no_layer_and_a_last_separator_is_harmless():
    assert layer_calls.parse("") == layer_calls.parse("  ") == ()
    assert len(layer_calls.parse("keras.layers.RandomInvert(0.1);")) == 1


def test_calls_that_differ_only_in_spaces_and_quotes_are_equal():
    one, other = layer_calls.parse("a.B( (1,2),c = 'd' )"), layer_calls.parse('a.B((1, 2), c="d")')
    assert one == other and hash(one) == hash(other)
    assert one != layer_calls.parse("a.B((1, 3), c='d')")


@pytest.mark.parametrize(
    "text",
    [
        "keras.layers.RandomFlip",
        "RandomFlip()",
        "keras.layers.RandomFlip()()",
        "().__class__.__base__.__subclasses__()",
        "'a'.join(('b',))",
        "keras.layers['RandomFlip']()",
        "(lambda: keras.layers)().RandomFlip()",
        "(lambda: open('touched', 'w'))()",
        "x.y(open('touched', 'w'))",
        "x.y(seed=open('touched', 'w'))",
        "x.y(__import__('os').mkdir('touched'))",
        "x.y(lambda: 1)",
        "x.y([n for n in (1,)])",
        "x.y(f'{open(1)}')",
        "x.y(1/255)",
        "x.y(9**9**9)",
        "x.y(float('nan'))",
        "x.y(keras.backend)",
        "x.y({[]: 1})",
        "x.y(*(1, 2))",
        "x.y(**{'a': 1})",
        "x.y(a=1, a=2)",
        "x.y(a:=1)",
        "import os",
        "os = 1",
        "x.y() if 1 else x.z()",
        "await x.y()",
        "x.y(1)\nx.z(2)",
        "x.y(",
        "x.y()\0",
        "x.y('\udc80')",
        "x.y(" + "(" * 500 + ")" * 500 + ")",
        "x.y(" + "-" * 5000 + "1)",
        "x" + ".y" * 20000 + "()",
        "x.y(" + "9" * 5000 + ")",
    ],
    ids=lambda text: ascii(text[:40]),
)
def test_all_else_is_refused_and_not_run(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^--augment_layers"):
        layer_calls.parse(text)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("layer", "flag"),
    [("keras.layers.MixUp(0.2)", "--mixup"), ("keras_cv.layers.CutMix()", "--cutmix")],
)
def test_layers_that_mix_a_batch_name_the_flag_to_use(layer, flag):
    with pytest.raises(UserError, match=f"use {flag}"):
        layer_calls.parse(layer)
    assert layer_calls.parse("mine.MixUp()")


def test_reading_does_not_import_what_is_named():
    layer_calls.parse("this.Layer()")
    assert "this" not in sys.modules
