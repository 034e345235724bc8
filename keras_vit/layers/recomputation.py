"""Recomputation: activations are computed again for the backward pass instead of kept for it (arXiv 1604.06174)."""

import contextlib

import keras
from keras import ops


def recomputed(function, seed_generators):
    """Wraps a function of tokens so that of its activations only the tokens are kept for the gradient.

    `keras.remat` alone runs the function twice and so draws every dropout mask twice: the gradient would be that of
    another function. Here each generator advances once, at this call, and inside the function hands out in both runs
    the seed that it would have handed out without recomputation: masks are the same with it and without.

    Args:
        function: Maps tokens (B, T, D) to a tensor or a tuple of tensors; may draw once from each generator.
        seed_generators: The `keras.random.SeedGenerator`s that `function` draws from.

    Returns:
        The function to call in place of `function`, once.
    """
    seeds = [generator.next() for generator in seed_generators]

    def with_seeds(tokens):
        # A compiler merges equal expressions. TensorFlow keeps the second run apart by adding to the tokens a zero that
        # depends on the incoming gradient. Masks depend on seeds alone: merged, they would be kept after all (of 690
        # MiB, 200 would stay instead of 60). So seeds depend on the tokens: isnan is 0 here, and cannot be folded away.
        zero = ops.isnan(ops.reshape(tokens, (-1,))[0])
        with _holding(seed_generators, [seed + ops.cast(zero, seed.dtype) for seed in seeds]):
            return function(tokens)

    return keras.remat(with_seeds)


@contextlib.contextmanager
def _holding(seed_generators, seeds):
    """Within this context each generator hands out its seed, however often it is asked, and does not advance."""
    for generator, seed in zip(seed_generators, seeds, strict=True):
        generator.next = lambda seed=seed: seed
    try:
        yield
    finally:
        for generator in seed_generators:
            del generator.next
