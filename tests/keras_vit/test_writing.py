"""Files are there whole, or not at all."""

import pytest

from keras_vit import writing


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "model.tflite"
    writing.whole(path, lambda temporary: temporary.write_bytes(b"before"))

    def fail(temporary):
        temporary.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(ValueError, match=r"model\.tflite cannot be written: No space left"):
        writing.whole(path, fail)
    assert [file.read_bytes() for file in path.parent.iterdir()] == [b"before"]
    with pytest.raises(ValueError, match="cannot be written: File exists"):
        writing.whole(path / "model.tflite", lambda temporary: temporary.write_bytes(b""))
