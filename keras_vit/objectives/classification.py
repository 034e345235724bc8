"""Objectives of supervised training.

An objective is called as `objective(model, batch, training=False)`. `batch` holds `images` (B, H, W, C), `labels`, (B,)
integers or (B, Y) shares, and `weights` (B,), 0 for rows that only fill up a batch. It returns the losses per example
(B,), unweighted, and sums as `{name: (sum, count)}`, weighted, so that any split of the data adds up to the same.
"""

import dataclasses

from keras import ops


@dataclasses.dataclass(frozen=True)
class Softmax:
    """Cross-entropy over mutually exclusive classes.

    Args:
        num_classes: Y.
        label_smoothing: Share of each target that is spread evenly over all classes.
    """

    num_classes: int
    label_smoothing: float = 0.0

    def __call__(self, model, batch, training=False):
        logits_BY = ops.cast(model(batch["images"], training=training), "float32")
        targets_BY = targets(batch["labels"], self.num_classes)
        smoothed_BY = smoothed(targets_BY, self.label_smoothing)
        losses_B = -ops.sum(smoothed_BY * ops.log_softmax(logits_BY), axis=-1)
        return losses_B, metric_sums(losses_B, logits_BY, targets_BY, batch["weights"])


@dataclasses.dataclass(frozen=True)
class Sigmoid:
    """Independent cross-entropies per class, summed over classes (the paper's ImageNet-21k and JFT pre-training).

    Args:
        num_classes: Y.
        label_smoothing: Share of each target that is spread evenly over all classes.
    """

    num_classes: int
    label_smoothing: float = 0.0

    def __call__(self, model, batch, training=False):
        logits_BY = ops.cast(model(batch["images"], training=training), "float32")
        targets_BY = targets(batch["labels"], self.num_classes)
        smoothed_BY = smoothed(targets_BY, self.label_smoothing)
        losses_BY = ops.relu(logits_BY) - logits_BY * smoothed_BY + ops.log1p(ops.exp(-ops.abs(logits_BY)))
        losses_B = ops.sum(losses_BY, axis=-1)
        return losses_B, metric_sums(losses_B, logits_BY, targets_BY, batch["weights"])


def targets(labels, num_classes):
    """(B, Y) float32 shares from integer labels (B,) or from shares themselves."""
    if len(labels.shape) == 1:
        return ops.one_hot(labels, num_classes, dtype="float32")
    return ops.cast(labels, "float32")


def smoothed(targets_BY, share):
    """Targets with a share of each spread evenly over all classes."""
    return targets_BY * (1 - share) + share / targets_BY.shape[-1]


def metric_sums(losses_B, logits_BY, targets_BY, weights_B):
    """Loss and top-1 accuracy; with several positive labels any of the largest counts as right.

    Examples without a label have no part in the accuracy, as in the evaluation on ReaL labels (Beyer et al. 2020).
    """
    best_B = ops.argmax(logits_BY, axis=-1)
    share_B = ops.take_along_axis(targets_BY, best_B[:, None], axis=-1)[:, 0]
    largest_B = ops.max(targets_BY, axis=-1)
    right_B = ops.cast(ops.equal(share_B, largest_B), "float32")
    labelled_B = weights_B * ops.cast(largest_B > 0, "float32")
    return {
        "loss": (ops.sum(losses_B * weights_B), ops.sum(weights_B)),
        "accuracy": (ops.sum(right_B * labelled_B), ops.sum(labelled_B)),
    }


OBJECTIVES = {"softmax": Softmax, "sigmoid": Sigmoid}
