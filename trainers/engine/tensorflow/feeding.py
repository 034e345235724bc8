"""Global batches, dealt out to hosts and replicas."""

import tensorflow as tf

from trainers.engine.protocols import Feed


def distribute(feed: Feed, strategy: tf.distribute.Strategy, batch_size: int, autotune: bool = True):
    """The feed's batches over the strategy's replicas; replica i of n gets the i-th n-th of each global batch.

    Args:
        feed: Feed of global batches.
        strategy: tf.distribute strategy.
        batch_size: Global batch size.
        autotune: Whether tf.data tunes itself. Its tuning thread, one per replica and iterator, sometimes takes up to a
            minute to end, for which everything waits: not what iterators want that live for seconds.
    """
    rows = batch_size // strategy.num_replicas_in_sync
    options = tf.data.Options()
    options.autotune.enabled = autotune
    return strategy.distribute_datasets_from_function(
        lambda context: feed(context.input_pipeline_id, context.num_input_pipelines, rows).with_options(options)
    )
