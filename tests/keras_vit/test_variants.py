"""The table of sizes, what an architecture may be, and the two formulas, against numbers published elsewhere."""

import dataclasses
import json

import hypothesis
import hypothesis.strategies as st
import pytest

from keras_vit import VARIANTS, Architecture, count_params, flops, parse
from keras_vit.bit_architecture import RESNETS
from keras_vit.variants import CHOICES, HYBRIDS, SIZES

# The paper's Table 1, AugReg, Scaling Vision Transformers (arXiv 2106.04560), big_vision's code: width, depth, MLP
# width, heads, head size.
GEOMETRY = {
    "mu": (32, 1, 128, 2, 16),
    "Ti": (192, 12, 768, 3, 64),
    "S": (384, 12, 1536, 6, 64),
    "M": (512, 12, 2048, 8, 64),
    "B": (768, 12, 3072, 12, 64),
    "L": (1024, 24, 4096, 16, 64),
    "H": (1280, 32, 5120, 16, 80),
    "g": (1408, 40, 6144, 16, 88),
    "G": (1664, 48, 8192, 16, 104),
}


def test_sizes_are_exactly_the_known_ones():
    assert list(SIZES) == list(GEOMETRY)


def test_sizes_have_their_published_geometry():
    parsed = {size: parse(f"{size}/16") for size in GEOMETRY}
    assert {size: (a.width, a.depth, a.mlp_width, a.heads, a.head_size) for size, a in parsed.items()} == GEOMETRY


PURE = [f"{size}/{patch}" for size, row in SIZES.items() for patch in row.patch_sizes]


def test_variants_are_the_published_pairs_of_size_and_patch_hybrids_and_resnets():
    assert set(VARIANTS) == {*PURE, *HYBRIDS, *(f"BiT-{net}x{x}" for net, row in RESNETS.items() for x in row.widths)}
    assert {"Ti/16", "S/16", "S/32", "B/8", "B/16", "B/32", "L/16", "L/32", "H/14", "g/14", "G/14"} <= set(VARIANTS)


def test_variants_are_what_their_names_parse_to():
    assert {name: parse(name) for name in VARIANTS} == VARIANTS


def test_number_after_the_slash_is_the_patch_size():
    assert [name for name in PURE if VARIANTS[name].patch_size != int(name.split("/")[1])] == []


# The hybrids of the paper's code: stages, side of patches on the map, side of the map at 224 px and its channels,
# tokens.
HYBRID_GEOMETRY = {
    "R+Ti/16": ((), 8, 56, 64, 50),
    "R26+S/32": ((2, 2, 2, 2), 1, 7, 2048, 50),
    "R26+B/32": ((2, 2, 2, 2), 1, 7, 2048, 50),
    "R50+B/16": ((3, 4, 9), 1, 14, 1024, 197),
    "R50+B/32": ((3, 4, 6, 3), 1, 7, 2048, 50),
    "R50+L/32": ((3, 4, 6, 3), 1, 7, 2048, 50),
    "R50+L/16": ((3, 4, 9), 1, 14, 1024, 197),
}


@pytest.mark.parametrize("name", HYBRID_GEOMETRY)
def test_hybrid_has_its_published_geometry(name):
    a = parse(name)
    assert (a.stem, a.map_patch_size, 224 // a.stem_stride, a.map_channels, a.tokens) == HYBRID_GEOMETRY[name]
    of_size = parse(f"{name.split('+')[1].split('/')[0]}/16")
    assert (a.width, a.depth, a.heads) == (of_size.width, of_size.depth, of_size.heads)


def test_hybrids_are_exactly_the_known_ones():
    assert set(HYBRIDS) == set(HYBRID_GEOMETRY)


def test_without_a_stem_patches_are_cut_from_the_image():
    a = small(patch_size=16, channels=5)
    assert (a.stem_stride, a.map_patch_size, a.map_channels) == (1, 16, 5)


def test_any_patch_size_may_follow_the_slash():
    assert parse("B/20", image_size=240).grid == (12, 12)


def test_overrides_beat_the_name():
    a = parse("B/16", patch_size=8, width=96, heads=3, num_classes=10)
    assert (a.patch_size, a.width, a.heads, a.depth, a.num_classes) == (8, 96, 3, 12, 10)


# Those that the unit tests of the paper's code hold their models to, at 224 px: backbone, + 1000 classes, + 21843
# classes, + tanh layer and 21843 classes, where known.
COUNTS = {
    "Ti/16": (5_524_416, 5_717_416, 9_740_115, 9_777_171),
    "S/32": (22_493_952, 22_878_952, 30_903_507, 31_051_347),
    "S/16": (21_665_664, 22_050_664, 30_075_219, 30_223_059),
    "B/32": (87_455_232, 88_224_232, 104_252_499, 104_843_091),
    "B/16": (85_798_656, 86_567_656, 102_595_923, 103_186_515),
    "B/8": (85_807_872, 86_576_872, 102_605_139, 103_195_731),
    "L/32": (305_510_400, 306_535_400, 327_899_475, 328_949_075),
    "L/16": (303_301_632, 304_326_632, 325_690_707, 326_740_307),
    "L/14": (303_178_752, 304_203_752, None, None),
    "H/14": (630_764_800, 632_045_800, 658_745_683, 660_385_363),
    "H/16": (630_918_400, 632_199_400, None, None),
    "g/14": (1_011_202_432, 1_012_611_432, 1_041_979_219, None),
    "G/14": (1_842_775_680, 1_844_440_680, 1_879_144_275, None),
}

HEADS = {
    "backbone": lambda a: {"num_classes": 0},
    "1000 classes": lambda a: {"num_classes": 1000},
    "21843 classes": lambda a: {"num_classes": 21843},
    "tanh and 21843 classes": lambda a: {"num_classes": 21843, "representation": a.width},
}

GAP = {"pool": "gap"}
MAP = {"pool": "map", "num_classes": 0}

# The same for other resolutions, poolings and positions, with 1000 classes unless said otherwise.
MORE_COUNTS = [
    ("Ti/16", {"image_size": 384}, 5_790_376),
    ("S/32", {"image_size": 384}, 22_915_432),
    ("S/16", {"image_size": 384}, 22_196_584),
    ("B/32", {"image_size": 384}, 88_297_192),
    ("B/16", {"image_size": 384}, 86_859_496),
    ("B/8", {"image_size": 384}, 87_744_232),
    ("L/32", {"image_size": 384}, 306_632_680),
    ("L/16", {"image_size": 384}, 304_715_752),
    ("L/16", {"image_size": 512}, 305_174_504),
    ("H/14", {"image_size": 378}, 632_651_240),
    ("H/14", {"image_size": 392}, 632_721_640),
    ("H/14", {"image_size": 518}, 633_470_440),
    ("B/16", GAP, 86_566_120),
    ("B/32", GAP, 88_222_696),
    ("S/16", GAP, 22_049_896),
    ("S/32", GAP, 22_878_184),
    ("S/16", GAP | {"position": "sincos2d", "representation": 384}, 22_122_472),
    ("B/16", MAP, 92_884_224),
    ("L/16", MAP, 315_894_784),
    ("g/14", MAP, 1_036_448_384),
    ("G/14", MAP, 1_881_132_416),
    ("g/14", MAP | {"num_classes": 29593}, 1_078_144_921),
    ("G/14", MAP | {"num_classes": 29593}, 1_930_404_761),
    ("B/16", {"image_size": 384, "num_classes": 0}, 86_090_496),
    ("B/32", {"image_size": 384, "num_classes": 0}, 87_528_192),
    ("L/16", {"image_size": 384, "num_classes": 0}, 303_690_752),
    ("L/32", {"image_size": 384, "num_classes": 0}, 305_607_680),
]


@pytest.mark.parametrize("variant", COUNTS)
def test_parameter_counts_are_the_published_ones(variant):
    known = {head: count for head, count in zip(HEADS, COUNTS[variant], strict=True) if count is not None}
    assert {head: count_params(parse(variant, **HEADS[head](parse(variant)))) for head in known} == known


def test_parameter_counts_with_overrides_are_the_published_ones():
    rows = [(variant, overrides, count_params(parse(variant, **overrides))) for variant, overrides, _ in MORE_COUNTS]
    assert rows == MORE_COUNTS


def test_a_block_of_b_has_the_known_count():
    assert count_params(parse("B/16", depth=5)) - count_params(parse("B/16", depth=4)) == 7_087_872


# By hand from the layers' shapes, with 1000 classes: GMAC and GFLOP as printed.
COMPUTE = [
    ("Ti/16", 224, "1.25", "2.5"),
    ("S/32", 224, "1.14", "2.3"),
    ("S/16", 224, "4.60", "9.2"),
    ("S/8", 224, "22.41", "44.8"),
    ("B/32", 224, "4.41", "8.8"),
    ("B/16", 224, "17.56", "35.1"),
    ("B/8", 224, "78.15", "156.3"),
    ("L/32", 224, "15.38", "30.8"),
    ("L/16", 224, "61.55", "123.1"),
    ("L/14", 224, "81.01", "162.0"),
    ("H/14", 224, "167.30", "334.6"),
    ("H/16", 224, "127.31", "254.6"),
    ("g/14", 224, "267.03", "534.1"),
    ("G/14", 224, "483.75", "967.5"),
    ("Ti/16", 384, "4.68", "9.4"),
    ("S/32", 384, "3.44", "6.9"),
    ("S/16", 384, "15.49", "31.0"),
    ("B/32", 384, "13.04", "26.1"),
    ("B/16", 384, "55.48", "111.0"),
    ("B/8", 384, "294.04", "588.1"),
    ("L/32", 384, "45.28", "90.6"),
    ("L/16", 384, "191.07", "382.1"),
    ("B/16", 512, "107.03", None),
    ("L/16", 512, "361.99", None),
    ("H/14", 378, "503.48", None),
    ("H/14", 518, "1016.72", None),
    ("g/14", 378, "797.39", None),
    ("G/14", 378, "1429.23", None),
]


def test_flops_are_the_published_ones_to_the_printed_digits():
    for variant, image_size, gmac, gflop in COMPUTE:
        count = flops(parse(variant, image_size=image_size))
        assert f"{count / 2e9:.2f}" == gmac, (variant, image_size)
        assert gflop is None or f"{count / 1e9:.1f}" == gflop, (variant, image_size)


@pytest.mark.parametrize("variant, exaflops", [("B/32", 56.3), ("B/16", 223.7), ("L/32", 195.9), ("L/16", 783.6)])
def test_flops_give_the_papers_pretraining_cost(variant, exaflops):
    # Three forward passes' worth per image, 303M images, 7 epochs, a head of 18291 classes.
    count = flops(parse(variant, num_classes=18291))
    assert 3 * count * 303e6 * 7 / 1e18 == pytest.approx(exaflops, abs=0.06)


def small(**fields):
    return Architecture(**{"width": 8, "depth": 1, "heads": 2, "mlp_width": 12, **fields})


def test_geometry_of_an_image_that_is_not_square():
    a = small(image_size=(32, 64), patch_size=16, channels=1)
    assert (a.image_shape, a.grid, a.tokens) == ((32, 64, 1), (2, 4), 9)
    assert small(image_size=(32, 64), patch_size=16, pool="gap").tokens == 8


def test_square_is_the_same_as_one_number_or_a_pair():
    assert small(image_size=224) == small(image_size=(224, 224)) == small(image_size=[224, 224])
    assert small(image_size=[224, 224]).image_size == 224
    assert small(image_size=224).to_dict() == small(image_size=(224, 224)).to_dict()
    assert hash(small(image_size=224)) == hash(small(image_size=[224, 224]))


def test_architecture_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        small().width = 16


@pytest.mark.parametrize("pool, class_token", [("token", True), ("gap", False), ("map", False)])
def test_pool_brings_its_class_token(pool, class_token):
    assert small(pool=pool).class_token is class_token
    for before in ("token", "gap", "map"):
        assert small(pool=before).replace(pool=pool) == small(pool=pool)


def test_class_token_may_be_chosen_where_the_pool_leaves_it_open():
    assert small(pool="gap", class_token=True).tokens == small(pool="gap").tokens + 1
    assert small().replace(pool="gap", class_token=True) == small(pool="gap", class_token=True)


def test_replace_keeps_everything_else():
    before = small(pool="gap", class_token=True, dropout=0.1)
    after = before.replace(num_classes=7)
    assert after == small(pool="gap", class_token=True, dropout=0.1, num_classes=7)
    assert before.num_classes == 1000


@st.composite
def architectures(draw):
    """Any valid architecture, the fields that must fit each other drawn together."""
    patch_size = draw(st.integers(1, 8))
    sides = [patch_size * draw(st.integers(1, 6)) for _ in range(2)]
    heads = draw(st.integers(1, 4))
    position = draw(st.sampled_from(CHOICES["position"]))
    sites = ("stem",) if position in ("none", "relative") else CHOICES["position_site"]
    pool = draw(st.sampled_from(CHOICES["pool"]))
    rate = st.floats(0, 1, exclude_max=True)
    return Architecture(
        image_size=draw(st.sampled_from([sides[0], tuple(sides)])),
        patch_size=patch_size,
        channels=draw(st.integers(1, 4)),
        width=4 * heads * draw(st.integers(1, 4)),
        depth=draw(st.integers(1, 4)),
        heads=heads,
        mlp_width=draw(st.integers(1, 64)),
        position=position,
        position_site=draw(st.sampled_from(sites)),
        pool=pool,
        class_token=draw(st.sampled_from([True, None] if pool == "token" else [True, False, None])),
        representation=draw(st.none() | st.integers(1, 64)),
        dropout=draw(rate),
        attention_dropout=draw(rate),
        stochastic_depth=draw(rate),
        gelu=draw(st.sampled_from(CHOICES["gelu"])),
        epsilon=draw(st.floats(1e-12, 1)),
        attention_bias=draw(st.booleans()),
        num_classes=draw(st.integers(0, 30000)),
        head_bias=draw(st.floats(-20, 20)),
        **draw(st.just({}) | stems(patch_size)),
    )


def stems(patch_size):
    """Fields of hybrids whose feature map has whole patches."""
    stages = [count for count in (0, 1, 2) if patch_size % (4 * 2 ** max(count - 1, 0)) == 0]
    if not stages:
        return st.just({})
    units = st.sampled_from(stages).flatmap(lambda count: st.tuples(*[st.integers(1, 9)] * count))
    return st.fixed_dictionaries({"stem": units, "root_width": st.sampled_from([32, 64, 96])})


@hypothesis.given(architectures())
@hypothesis.settings(max_examples=100, database=None)
def test_any_architecture_survives_json(architecture):
    fields = json.loads(json.dumps(architecture.to_dict()))
    again = Architecture.from_dict(fields)
    assert again == architecture
    assert hash(again) == hash(architecture)
    assert again.to_dict() == fields


@hypothesis.given(architectures())
@hypothesis.settings(max_examples=50, database=None)
def test_replacing_nothing_changes_nothing(architecture):
    assert architecture.replace() == architecture
    assert architecture.replace(**architecture.to_dict()) == architecture


def test_to_dict_has_every_field():
    assert list(small().to_dict()) == [field.name for field in dataclasses.fields(Architecture)]


FIELDS = ["image_size", "width", "depth", "position_site", "stochastic_depth", "head_bias"]

BAD = [
    (lambda: parse("XXL/16"), ["'XXL/16'", *SIZES, *VARIANTS]),
    (lambda: parse("b/16"), ["'b/16'", *SIZES]),
    (lambda: parse("B"), ["'B'", "SIZE/PATCH"]),
    (lambda: parse("B/0"), ["'B/0'", "SIZE/PATCH"]),
    (lambda: parse("B/-16"), ["'B/-16'", "SIZE/PATCH"]),
    (lambda: parse("B/16 "), ["'B/16 '", "SIZE/PATCH"]),
    (lambda: parse(""), ["''", "SIZE/PATCH"]),
    (lambda: parse(None), ["None", "SIZE/PATCH"]),
    (lambda: parse(16), ["16", "SIZE/PATCH"]),
    (lambda: parse("B/16", image_size=230), ["230x230", "16", "224x224"]),
    (lambda: parse("H/14", image_size=384), ["384x384", "14", "378x378"]),
    (lambda: parse("B/16", image_size=(224, 230)), ["224x230", "16", "224x224"]),
    (lambda: parse("B/16", image_size=4), ["4x4", "16", "16x16"]),
    (lambda: parse("B/16", img_size=224), ["img_size", *FIELDS]),
    (lambda: small().replace(hidden=4), ["hidden", *FIELDS]),
    (lambda: Architecture.from_dict({"hidden_size": 4}), ["hidden_size", *FIELDS]),
    (lambda: small(heads=3), ["8", "3 heads"]),
    (lambda: small(pool="cls"), ["pool", "'cls'", "token, gap, map"]),
    (lambda: small(pool="token", class_token=False), ["pool='token'", "class_token=False", "gap", "map"]),
    (lambda: small(position="rope"), ["position", "'rope'", *CHOICES["position"]]),
    (lambda: small(position_site="head"), ["position_site", "'head'", "stem, blocks, shared"]),
    (lambda: small(gelu="relu"), ["gelu", "'relu'", "tanh, erf"]),
    (lambda: small(position="relative", position_site="blocks"), ["'relative'", "'blocks'", "stem"]),
    (lambda: small(position="none", position_site="shared"), ["'none'", "'shared'", "stem"]),
    (lambda: small(position="sincos2d", width=6), ["sincos2d", "4", "6"]),
    (lambda: small(position="sincos1d", width=5, heads=1), ["sincos1d", "2", "5"]),
    (lambda: small(position="learned_2d", width=5, heads=1), ["learned_2d", "2", "5"]),
    (lambda: small(dropout=1.0), ["dropout", "[0, 1)", "1.0"]),
    (lambda: small(dropout=-0.1), ["dropout", "[0, 1)", "-0.1"]),
    (lambda: small(attention_dropout=1.5), ["attention_dropout", "[0, 1)", "1.5"]),
    (lambda: small(stochastic_depth=float("nan")), ["stochastic_depth", "[0, 1)", "nan"]),
    (lambda: small(width=0), ["width", "0"]),
    (lambda: small(depth=0), ["depth", "0"]),
    (lambda: small(heads=0), ["heads", "0"]),
    (lambda: small(mlp_width=-1), ["mlp_width", "-1"]),
    (lambda: small(patch_size=16.0), ["patch_size", "16.0"]),
    (lambda: small(channels=0), ["channels", "0"]),
    (lambda: small(width="8"), ["width", "'8'"]),
    (lambda: small(representation=0), ["representation", "0"]),
    (lambda: small(representation=2.5), ["representation", "2.5"]),
    (lambda: small(num_classes=-1), ["num_classes", "-1"]),
    (lambda: small(num_classes=2.5), ["num_classes", "2.5"]),
    (lambda: small(epsilon=0.0), ["epsilon", "0.0"]),
    (lambda: small(epsilon=float("nan")), ["epsilon", "nan"]),
    (lambda: parse("R50+B/8"), ["'R50+B/8'", *HYBRIDS]),
    (lambda: parse("BiT-R51x1"), ["'BiT-R51x1'", *RESNETS]),
    (lambda: parse("BiT-R50x0"), ["'BiT-R50x0'", *RESNETS]),
    (lambda: parse("BiT-R50x1", width=3), ["width", "units", "root_width"]),
    (lambda: parse("R50+B/16", patch_size=24, image_size=240), ["24", "(3, 4, 9)", "multiple of 16"]),
    (lambda: parse("R50+B/16", image_size=(224, 230)), ["224x230", "16", "224x224"]),
    (lambda: small(stem=(2, 0)), ["stem", "(2, 0)"]),
    (lambda: small(stem=(True,)), ["stem", "(True,)"]),
    (lambda: small(stem=3), ["stem"]),
    (lambda: small(stem=(1,), root_width=48), ["root_width", "32", "48"]),
    (lambda: small(root_width=32), ["root_width=32", "stem", "64"]),
    (lambda: small(image_size=0), ["image_size", "0"]),
    (lambda: small(image_size=(224, 224, 3)), ["image_size", "(224, 224, 3)"]),
    (lambda: small(image_size=(224.0, 224.0)), ["image_size", "(224.0, 224.0)"]),
    (lambda: small(image_size="224"), ["image_size", "'224'"]),
    (lambda: small(image_size=224.0), ["image_size", "224.0"]),
    (lambda: small(image_size=None), ["image_size", "None"]),
]


@pytest.mark.parametrize("make, fragments", BAD, ids=[" ".join(fragments[:3]) for _, fragments in BAD])
def test_bad_value_is_one_value_error_that_names_value_and_choices(make, fragments):
    with pytest.raises(ValueError) as error:
        make()
    message = str(error.value)
    assert [fragment for fragment in fragments if fragment not in message] == []
    assert "\n" not in message
    assert error.value.__cause__ is None and (error.value.__context__ is None or error.value.__suppress_context__)
