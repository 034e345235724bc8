"""What TF Serving is told about a model: `models.config` and `batching.config`, in protobuf's text format.

`batching.config` merges nothing. With --enable_batching TF Serving queues the requests of every signature and joins
those that wait (tensorflow/serving, tensorflow_serving/servables/tensorflow/saved_model_bundle_factory.cc and
batching/batching_session.cc), and no parameter excepts one. Joined, a string that is no image fails the requests of
others, and images of two sizes fail each other, or are padded with black where padding is on. So each image is a batch
of its own, and a bad one fails its own request.
"""

from keras_vit.errors import UserError

MODELS_CONFIG, BATCHING_CONFIG = "models.config", "batching.config"


def models_config(name: str, base_path: str) -> str:
    """The file for --model_config_file: one model, of which the newest version is served.

    Args:
        name: Name that requests call it by.
        base_path: Folder of the numbered versions, as the server sees it, such as /models/NAME in its container.

    Raises:
        UserError: if the name cannot be a part of the REST API's path, or the path is not absolute.
    """
    if not name or not all(part.isalnum() or part in "-_." for part in name):
        raise UserError(f"A model's name is made of letters, digits, and - _ . for TF Serving; got {name!r}.")
    if not base_path.startswith("/") and "://" not in base_path:
        raise UserError(f"TF Serving wants a model's base path absolute; got {base_path!r}.")
    return (
        "model_config_list {\n"
        "  config {\n"
        f"    name: {_quoted(name)}\n"
        f"    base_path: {_quoted(base_path)}\n"
        '    model_platform: "tensorflow"\n'
        "    # To stay at a version, or go back to one: specific { versions: 1 } in place of latest { ... }\n"
        "    model_version_policy { latest { num_versions: 1 } }\n"
        "  }\n"
        "}\n"
    )


def batching_config(most_images: int = 256) -> str:
    """The file for --batching_parameters_file: every image of every request is run by itself.

    Args:
        most_images: Largest number of images in one request; more are refused.
    """
    return (
        "# Merges no requests: one string that is no image would fail all it was merged with, and images of two sizes\n"
        "# fail each other. A request's images are run one by one, side by side.\n"
        f"max_batch_size {{ value: {most_images} }}  # images in a request\n"
        "enable_large_batch_splitting { value: true }\n"
        "max_execution_batch_size { value: 1 }\n"
        "batch_timeout_micros { value: 0 }\n"
        f"max_enqueued_batches {{ value: {QUEUED_REQUESTS * most_images} }}  # images that wait; more are UNAVAILABLE\n"
    )


QUEUED_REQUESTS = 4  # of the largest size


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
