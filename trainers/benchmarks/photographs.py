"""Many JPEGs of one size, made from the few photographs that come with scikit-image."""

import os

import tensorflow as tf
from tqdm import tqdm

from keras_vit.errors import MissingPackage

SIZE = (375, 500)  # ImageNet's median height and width
QUALITY = 95
LEAST_SIDE = 0.7  # of the largest window; smaller ones, enlarged, would be smoother than photographs are


def write(folder: str, count: int) -> None:
    """Writes `count` JPEGs (4:2:0): random windows of the photographs, half of them mirrored, one in four upright.

    They lie in folder/train/PHOTOGRAPH/, for --source=folder:FOLDER, and are the same every time.

    Raises:
        MissingPackage: naming the extra to install, if scikit-image is missing.
    """
    images = photographs()
    for name in images:
        os.makedirs(os.path.join(folder, "train", name), exist_ok=True)
    names = list(images)
    for number in tqdm(range(count), desc="making JPEGs", unit="image", delay=2, leave=False):
        name = names[number % len(names)]
        size = SIZE[::-1] if number // len(names) % 4 == 3 else SIZE
        path = os.path.join(folder, "train", name, f"{number:05d}.jpg")
        tf.io.write_file(path, _jpeg(images[name], [0, number], size))


def photographs() -> dict[str, tf.Tensor]:
    """Photographs of ordinary things, uint8 (H, W, 3) by name.

    Raises:
        MissingPackage: naming the extra to install, if scikit-image is missing.
    """
    try:
        from skimage import data
    except ModuleNotFoundError as error:
        raise MissingPackage(
            "--benchmarks=input makes its images from photographs of scikit-image, which is not installed; from a "
            "clone, install it with pip install -e '.[benchmark]', or name images of your own by --source=folder:DIR.",
            name=error.name,
        ) from None
    left, right, _ = data.stereo_motorcycle()
    images = {
        "astronaut": data.astronaut(),
        "chelsea": data.chelsea(),
        "coffee": data.coffee(),
        "motorcycle_left": left,
        "motorcycle_right": right,
        "rocket": data.rocket(),
    }
    return {name: tf.constant(pixels) for name, pixels in images.items()}


def _jpeg(photograph, seed, size):
    """An encoded window of a photograph, resized to (height, width)."""
    share, mirrored, *corner = tf.unstack(tf.random.stateless_uniform((4,), seed))
    whole, size = tf.cast(tf.shape(photograph)[:2], tf.float32), tf.constant(size, tf.float32)
    window = tf.floor(size * tf.reduce_min(whole / size) * (LEAST_SIDE + (1 - LEAST_SIDE) * share))
    begin = tf.floor(tf.stack(corner) * (whole - window))
    top, left, height, width = tf.unstack(tf.cast(tf.concat([begin, window], axis=0), tf.int32))
    image = tf.image.resize(
        photograph[top : top + height, left : left + width], tf.cast(size, tf.int32), antialias=True
    )
    image = image[:, ::-1] if mirrored < 0.5 else image
    return tf.io.encode_jpeg(tf.saturate_cast(tf.round(image), tf.uint8), quality=QUALITY)
