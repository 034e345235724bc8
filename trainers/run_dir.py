"""The folder of a run: what is in it, and who may run there.

It may be any path that tf.io.gfile understands, such as gs://bucket/run.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

from keras_vit.errors import UserError, reason
from trainers import files

FLAGS, MODEL, METRICS, RESULTS, LOGS = "flags.cfg", "model.keras", "metrics.csv", "results.json", "logs"
BAD_IMAGES, PICTURES = "bad_images.csv", "pictures"
PER_CLASS, CONFUSION, CONFUSION_PICTURE = "per_class.csv", "confusion.csv", "confusion.png"
CURVES, CARD, CARD_JSON = "curves.png", "card.md", "card.json"
EXPORT = "export"  # versions of the model in other formats, of which a new model must not inherit any
REPORTS = (PER_CLASS, CONFUSION, CONFUSION_PICTURE, CURVES, PICTURES, CARD, CARD_JSON, EXPORT)
PARTS = ("rate_", "seed_")  # beginnings of names of runs within a run; see trainers/finetuning/protocol.py
CHECKPOINTS, BEST = "checkpoint", "best.keras"  # the best lies in the folder of checkpoints
LOCK, SET_ASIDE = ".lock", ".set_aside"


def check(path: str, overwrite: bool) -> None:
    """Raises UserError if a folder holds a finished run and `overwrite` is false, or something that no run wrote."""
    present = names_in(path, "run_dir")
    if present and FLAGS not in present:
        raise UserError(f"--run_dir={path} holds {', '.join(sorted(present)[:3])}, which no run wrote; name another.")
    if RESULTS in present and not overwrite:
        raise UserError(f"--run_dir={path} holds a finished run; add --overwrite to replace it, or name another.")


def names_in(path: str, flag: str) -> set[str]:
    """What lies in the folder that a flag names, but for hidden files; nothing where there is no folder.

    Raises:
        UserError: if it is a file, or cannot be read.
    """
    try:
        if files.exists(path) and not files.is_folder(path):
            raise UserError(f"--{flag}={path} is a file; name a folder.")
        return {name for name in files.names(path) if not name.startswith(".")}
    except files.ERRORS as error:
        raise UserError(f"--{flag}={path} cannot be read: {reason(error)}.") from error


def unfinished(path: str) -> str | None:
    """The flag file of the unfinished run in a folder, or None where there is none."""
    if files.exists(os.path.join(path, RESULTS)) or not files.exists(os.path.join(path, FLAGS)):
        return None
    return files.read_text(os.path.join(path, FLAGS))


def previous(path: str) -> str:
    """Where the finished run of a folder waits while another is replacing it."""
    return f"{path.rstrip('/')}.previous"


@contextlib.contextmanager
def claimed(path: str, flagfile: str, overwrite: bool, resumed: bool) -> Iterator[str]:
    """A run's folder, for as long as the run lasts; nobody else may run in it meanwhile.

    A finished run in it is moved to `previous(path)`, where it stays until this one has finished as well.

    Args:
        path: The folder, made if need be.
        flagfile: The flag file that repeats the run.
        overwrite: Whether a finished run may be replaced.
        resumed: Whether the unfinished run that is there goes on; otherwise its files are removed.

    Raises:
        UserError: if the folder cannot be written, or a run is under way in it.
    """
    with contextlib.ExitStack() as lock:
        try:
            files.make_folder(path)
            taken = f"--run_dir={path}: another process is training there; name another folder."
            lock.enter_context(files.locked(os.path.join(path, LOCK), taken))
            check(path, overwrite)  # again, now that nobody else can finish a run there
            if files.exists(os.path.join(path, RESULTS)):
                _set_aside(path)
            if not resumed:
                for name in (*_parts(path), CHECKPOINTS, MODEL, METRICS, LOGS, BAD_IMAGES, *REPORTS):
                    files.remove(os.path.join(path, name))
            if not resumed or flagfile != unfinished(path):
                files.write_text(os.path.join(path, FLAGS), flagfile)
        except files.ERRORS as error:
            raise UserError(f"--run_dir={path} cannot be written: {reason(error)}.") from error
        try:
            yield path
        except BaseException:
            if _is_set_aside(path):
                print(f"The finished run that was in {path} is in {previous(path)}.", file=sys.stderr)
            raise
        if _is_set_aside(path):
            files.remove(previous(path))


def _set_aside(path: str) -> None:
    """Moves a finished run, what says that it is one last.

    Raises:
        UserError: if something else is where it should go.
    """
    aside = previous(path)
    if files.exists(aside) and not _is_set_aside(path):
        raise UserError(f"{aside} is in the way: the run that is replaced would wait there. Move it or remove it.")
    files.remove(aside)
    files.make_folder(aside)
    files.write_text(
        os.path.join(aside, SET_ASIDE),
        f"The run that another is replacing in {path}; removed when that has finished.\n",
    )
    for name in (*_parts(path), LOGS, CHECKPOINTS, METRICS, BAD_IMAGES, *REPORTS, MODEL, FLAGS, RESULTS):
        files.move(os.path.join(path, name), os.path.join(aside, name))


def _parts(path: str) -> list[str]:
    """Folders of the runs that a protocol of several consists of."""
    return sorted(name for name in names_in(path, "run_dir") if name.startswith(PARTS))


def _is_set_aside(path: str) -> bool:
    """Whether what lies in `previous(path)` was put there by us."""
    return files.exists(os.path.join(previous(path), SET_ASIDE))
