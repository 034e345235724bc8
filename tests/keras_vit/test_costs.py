"""The two formulas for hybrids and BiT ResNets, against numbers published elsewhere; pure models: test_variants.py."""

import pytest

from keras_vit import count_params, flops, parse

# The hybrids of the paper's code: backbone, + 1000 classes, + 21843 classes, + 1000 classes at 384 px, where known.
HYBRIDS = {
    "R+Ti/16": (6_144_704, 6_337_704, 10_360_403, 6_355_944),
    "R26+S/32": (36_046_912, 36_431_912, 44_456_467, 36_468_392),
    "R26+B/32": (None, 101_383_976, None, None),
    "R50+B/16": (97_890_112, 98_659_112, 114_687_379, 98_950_952),
    "R50+L/32": (327_969_856, 328_994_856, 350_358_931, 329_092_136),
    "R50+B/32": (None, 110_945_832, None, None),
    "R50+L/16": (None, 316_483_624, None, None),
}

# Big Transfer's ResNets: backbone, + 1000 classes.
RESNETS = {
    "BiT-R50x1": (23_500_352, 25_549_352),
    "BiT-R50x2": (93_891_712, 97_988_712),
    "BiT-R50x3": (211_174_080, 217_319_080),
    "BiT-R101x1": (42_492_480, 44_541_480),
    "BiT-R101x3": (381_789_888, 387_934_888),
    "BiT-R152x1": (58_136_128, 60_185_128),
    "BiT-R152x2": (232_238_208, 236_335_208),
    "BiT-R152x4": (928_340_224, 936_533_224),
    "BiT-R200x3": (562_488_000, 568_633_000),
}

OVERRIDES = ({"num_classes": 0}, {}, {"num_classes": 21843}, {"image_size": 384})

# By hand from the convolutions' shapes, with 1000 classes: GMAC.
COMPUTE = [
    ("R+Ti/16", 224, "0.43"),
    ("R26+S/32", 224, "3.46"),
    ("R26+B/32", 224, "6.71"),
    ("R50+B/16", 224, "21.54"),
    ("R50+L/32", 224, "19.41"),
    ("R50+B/32", 224, "8.46"),
    ("R50+L/16", 224, "65.54"),
    ("R+Ti/16", 384, "1.33"),
    ("R26+S/32", 384, "10.26"),
    ("R26+B/32", 384, "19.81"),
    ("R50+B/16", 384, "67.16"),
    ("R50+L/32", 384, "57.14"),
    ("BiT-R50x1", 224, "4.09"),
    ("BiT-R50x2", 224, "16.12"),
    ("BiT-R50x3", 224, "36.08"),
    ("BiT-R101x1", 224, "7.80"),
    ("BiT-R101x3", 224, "69.49"),
    ("BiT-R152x1", 224, "11.51"),
    ("BiT-R152x2", 224, "45.81"),
    ("BiT-R152x4", 224, "182.78"),
    ("BiT-R200x3", 224, "134.35"),
]


@pytest.mark.parametrize("variant", HYBRIDS | RESNETS)
def test_parameter_counts_are_the_published_ones(variant):
    published = (HYBRIDS | RESNETS)[variant]
    counts = [count_params(parse(variant, **overrides)) for overrides in OVERRIDES[: len(published)]]
    assert counts == [known or count for known, count in zip(published, counts, strict=True)]


def test_flops_are_the_published_ones_to_the_printed_digits():
    rows = [(name, size, f"{flops(parse(name, image_size=size)) / 2e9:.2f}") for name, size, _ in COMPUTE]
    assert rows == COMPUTE


# exaFLOPs of pre-training by hand, near those of the paper's Table 6, seven epochs unless said otherwise.
@pytest.mark.parametrize(
    "variant, epochs, exaflops",
    [
        *[("R50+B/16", 7, 274.2), ("R50+B/32", 7, 107.8), ("R50+L/32", 7, 247.3), ("R50+L/16", 7, 834.3)],
        *[("BiT-R50x1", 7, 52.5), ("BiT-R200x3", 14, 3422)],
    ],
)
def test_flops_give_the_papers_pretraining_cost(variant, epochs, exaflops):
    count = flops(parse(variant, num_classes=18291))
    assert 3 * count * 303e6 * epochs / 1e18 == pytest.approx(exaflops, rel=1e-3)


@pytest.mark.parametrize("image_size", [33, 64, (50, 97)])
def test_resolution_changes_what_is_computed_but_not_the_parameters(image_size):
    small, usual = parse("BiT-R50x1", image_size=image_size), parse("BiT-R50x1")
    assert count_params(small) == count_params(usual)
    assert flops(small) < flops(usual)
