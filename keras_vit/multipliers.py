"""Learning-rate multipliers by regular expression over weight paths; 0 freezes."""

import math
import re

from keras_vit.errors import UserError


def parse(rules, variables):
    """The learning-rate multiplier of each variable, by regular expressions over their paths.

    A path is Keras's `variable.path`: names of layers, then the weight's, such as `block_0/mlp/dense_0/kernel`. The
    models of `keras_vit.build` do not put their own name in front.

    Args:
        rules: `REGEX=NUMBER;REGEX=NUMBER`, the last = of a rule dividing it; "" means 1 for every variable. Of the
            rules whose expression matches a whole path the first counts, so general ones come last.
        variables: Keras variables.

    Returns:
        One float for each variable, in their order.

    Raises:
        UserError: for a rule that cannot be read, one that counts for no variable, and a variable without a rule.
    """
    if not rules:
        return [1.0] * len(variables)
    parsed = [_parsed(rule) for rule in rules.split(";")]
    counting = [_first_match(parsed, variable.path) for variable in variables]
    for number, (pattern, _) in enumerate(parsed):
        if number not in counting:
            raise UserError(
                f"The multiplier rule for {pattern.pattern!r} counts for no weight: it must match a whole path, and "
                f"stand before rules that match the same. Paths are such as {_examples(variables)}."
            )
    return [parsed[number][1] for number in counting]


def _parsed(rule):
    """REGEX=NUMBER as (compiled pattern, float)."""
    pattern, _, number = rule.strip().rpartition("=")
    if not pattern:
        raise UserError(f"Expected multiplier rules REGEX=NUMBER, divided by semicolons; got {rule!r}.")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(f"The multiplier in rule {rule!r} must be a finite number, 0 or more; got {number!r}.")
    try:
        return re.compile(pattern), value
    except re.error as error:
        raise UserError(f"The multiplier rule {rule!r} does not begin with a regular expression: {error}.") from error


def _first_match(parsed, path):
    """Number of the first rule that matches a path."""
    for number, (pattern, _) in enumerate(parsed):
        if pattern.fullmatch(path):
            return number
    raise UserError(
        f"No multiplier rule matches the whole path of the weight {path}; rules that end with .*=1 cover the rest."
    )


def _examples(variables):
    """Two or three of the paths, far apart."""
    return ", ".join(variable.path for variable in variables[:: len(variables) // 2 or 1])


def freeze(model, rules):
    """Freezes the weights of a model whose multiplier is 0. Comes before its optimizer is made.

    They leave `model.trainable_variables`, so they have no gradient and no part in its norm. Files do not record it.

    Args:
        model: Keras model.
        rules: Rules as of `parse`; every trainable variable must be covered.

    Returns:
        The multipliers of the variables that are still trainable, in the order of `model.trainable_variables`.

    Raises:
        UserError: as `parse`, and if nothing would be left to train.
    """
    variables = model.trainable_variables
    multipliers = parse(rules, variables)
    if not any(multipliers):
        raise UserError(f"The multiplier rules {rules!r} freeze every weight; leave some above 0 to train.")
    for variable, multiplier in zip(variables, multipliers, strict=True):
        variable.trainable = multiplier > 0
    return [multiplier for multiplier in multipliers if multiplier > 0]
