"""The first image of a GIF file, found by walking the file's blocks (GIF89a specification, sections 15 to 27).

TensorFlow's decoder reads all frames of an animation even where only the first is wanted, however much memory they
take, cuts off part of a first frame that does not begin at the canvas's corner, and makes transparent pixels black. So
it is given the first frame alone, at the corner, and opaque.
"""

from typing import NamedTuple

import tensorflow as tf

EXTENSION, GRAPHIC_CONTROL, IMAGE = 0x21, 0xF9, 0x2C
# Enough for any file that an encoder writes; a made-up one could keep us walking for minutes.
MAX_STEPS = 10_000


class Frame(NamedTuple):
    """Where the first image lies, all int32.

    Args:
        position: Position of its descriptor in the file.
        control: Position of the block that tells which colour is transparent; 0 where there is none.
        box: (4,): top, left, height and width on the canvas.
        canvas: (2,): height and width of the file's canvas, grown where the frame goes beyond.
    """

    position: tf.Tensor
    control: tf.Tensor
    box: tf.Tensor
    canvas: tf.Tensor


def first_frame(encoded) -> Frame:
    """Finds the first image.

    Args:
        encoded: String scalar that begins as a GIF does.

    Raises:
        tf.errors.InvalidArgumentError: in the graph, if there is none.
    """
    data = _bytes(encoded)

    def pass_extension(position, control):
        is_control = _byte(data, position + 1) == GRAPHIC_CONTROL
        return _after_chain(data, position + 2), tf.where(is_control, position, control)

    position, control = tf.while_loop(
        lambda position, control: _byte(data, position) == EXTENSION,
        pass_extension,
        (13 + _table_size(data, 10), tf.constant(0)),
        maximum_iterations=MAX_STEPS,
    )
    has_image = tf.raw_ops.Assert(
        condition=(_byte(data, position) == IMAGE) & (position + 10 < tf.size(data)), data=["the GIF holds no image"]
    )
    with tf.control_dependencies([has_image]):
        left, top, width, height = tf.unstack(_shorts(data, position + 1, 4))
        canvas_width, canvas_height = tf.unstack(_shorts(data, 6, 2))
    canvas = tf.stack([tf.maximum(canvas_height, top + height), tf.maximum(canvas_width, left + width)])
    return Frame(position, control, tf.stack([top, left, height, width]), canvas)


def alone(encoded, frame: Frame):
    """String scalar: a GIF of this one image, at the canvas's corner, white where it was transparent.

    Raises:
        tf.errors.InvalidArgumentError: in the graph, if the file ends within the image.
    """
    data = _bytes(encoded)
    own_table = _table_size(data, frame.position + 9)
    # The descriptor is followed by the table, by one byte with the size of codes, and by the pixels.
    end = _after_chain(data, frame.position + 11 + own_table)
    complete = tf.raw_ops.Assert(condition=end < tf.size(data), data=["the GIF ends within its first image"])
    with tf.control_dependencies([complete]):
        cut = tf.strings.join([tf.strings.substr(encoded, 0, end), b";"])
    cut = _replaced(cut, frame.position + 1, b"\0\0\0\0")
    table = tf.where(own_table > 0, frame.position + 10, 13)
    size = tf.where(own_table > 0, own_table, _table_size(data, 10))
    entry = 3 * _byte(data, frame.control + 6)
    transparent = (frame.control > 0) & (_byte(data, frame.control + 3) & 1 > 0) & (entry < size)
    return tf.cond(
        transparent,
        lambda: _replaced(_replaced(cut, frame.control + 3, b"\0"), table + entry, b"\xff\xff\xff"),
        lambda: cut,
    )


def _replaced(encoded, position, new: bytes):
    rest = tf.strings.substr(encoded, position + len(new), -1)
    return tf.strings.join([tf.strings.substr(encoded, 0, position), new, rest])


def _bytes(encoded):
    """uint8 (bytes + 1,); the 0 that is added ends a chain that the file leaves open."""
    return tf.io.decode_raw(tf.strings.join([encoded, b"\0"]), tf.uint8)


def _byte(data, position):
    return tf.cast(data[tf.minimum(position, tf.size(data) - 1)], tf.int32)


def _shorts(data, position, count: int):
    """int32 (count,) of unsigned 16-bit numbers, the low byte first."""
    pairs = tf.cast(tf.reshape(data[position : position + 2 * count], (count, 2)), tf.int32)
    return pairs[:, 0] + 256 * pairs[:, 1]


def _table_size(data, position):
    """Bytes of the colour table that the flags at `position` announce."""
    flags = _byte(data, position)
    return tf.where(flags & 0x80 > 0, 3 * tf.bitwise.left_shift(2, flags & 7), 0)


def _after_chain(data, position):
    """Position after a chain of sub-blocks: each begins with its length, and the last has length 0.

    Sub-blocks of the same length that follow each other, 255 as a rule, are passed in one step.
    """

    def step(position):
        length = _byte(data, position)
        same = data[position : position + 1024 * (length + 1) : length + 1] == tf.cast(length, tf.uint8)
        count = tf.argmin(tf.cast(tf.concat([same, [False]], axis=0), tf.int32), output_type=tf.int32)
        return [position + count * (length + 1)]

    return (
        1 + tf.while_loop(lambda position: _byte(data, position) > 0, step, [position], maximum_iterations=MAX_STEPS)[0]
    )
