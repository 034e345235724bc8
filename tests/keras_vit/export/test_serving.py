import pytest
import stub_server
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from keras_vit.export import serving


def test_models_config_is_what_tf_serving_reads():
    text = serving.models_config("digits", "/models/digits")
    (model,) = text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("digits", "/models/digits", "tensorflow")
    assert model.model_version_policy.latest.num_versions == 1


def test_a_path_with_quotes():
    text = serving.models_config("a", '/m/"a"\\b')
    (model,) = text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config
    assert model.base_path == '/m/"a"\\b'


@pytest.mark.parametrize("name", ["", "a/b", "a:predict", "a b"])
def test_a_name_that_no_url_can_hold(name):
    with pytest.raises(ValueError, match="letters, digits"):
        serving.models_config(name, "/models/a")


def test_a_relative_base_path():
    with pytest.raises(ValueError, match="absolute; got 'runs/a'"):
        serving.models_config("a", "runs/a")
    serving.models_config("a", "gs://bucket/a")


def test_batching_config_runs_each_image_by_itself():
    parameters = stub_server.batching_parameters(serving.batching_config(16))
    assert parameters.max_batch_size.value == 16
    assert parameters.enable_large_batch_splitting.value
    assert parameters.max_execution_batch_size.value == 1
    assert parameters.max_enqueued_batches.value >= 16  # or a request of 16 would find the queue full
    assert not parameters.pad_variable_length_inputs and not parameters.allowed_batch_sizes
