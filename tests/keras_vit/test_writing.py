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


def test_a_folder_takes_the_place_of_another(tmp_path):
    for name in ("old", "new"):
        writing.whole(tmp_path / "model", lambda temporary, name=name: (temporary / name).mkdir(parents=True))
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["model", "model/new"]
    with pytest.raises(ZeroDivisionError):
        writing.whole(tmp_path / "model", lambda temporary: (temporary / "half").mkdir(parents=True) or 1 / 0)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
