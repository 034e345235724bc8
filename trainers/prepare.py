"""Makes data ready: writes any source as sharded record files, or downloads and builds a TensorFlow Dataset.

With --output, the examples of --source are written there as TFRecord files, with an index, so that they are read by
number: `--source=tfrecord:OUTPUT` is the same data, in few large files. With --source=tfds:NAME and no --output, that
data set is downloaded and built.
"""

import dataclasses
import functools
import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from keras_vit.errors import UserError
from trainers.settings import command_line, splits
from trainers.settings.data import SourceSettings
from trainers.settings.fields import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(SourceSettings):
    """Preparation."""

    output: str = setting("", "Folder for the record files; only --source=tfds:NAME does without, and is built.")
    splits: str = setting(
        "",
        "What to write, separated by commas: splits, or NAME=SPLIT for part of one, e.g. "
        "train=train[:98%],validation=train[98%:]. All of the source's if left out.",
    )
    shard_megabytes: int = setting(128, "Size of a record file in MiB, about.")
    verify: bool = setting(True, "Whether every image is decoded, to find broken ones now and not in training.")
    overwrite: bool = setting(False, "Whether a set in that folder may be replaced.", affects_result=False)
    dry_run: bool = setting(False, "Print what would be written and stop.", affects_result=False)

    @functools.cached_property
    def expressions(self) -> dict[str, str]:
        """By name, what is to be written of the source; empty for all."""
        expressions: dict[str, str] = {}
        for item in filter(None, self.splits.split(",")):
            name, _, expression = item.partition("=")
            if splits.parse(name) != [splits.Slice(name, None, None)]:
                raise UserError(f"--splits={self.splits}: {name!r} cannot be a name; write NAME={name}.")
            if name in expressions:
                raise UserError(f"--splits={self.splits} names {name!r} twice.")
            expressions[name] = expression or name
            splits.parse(expressions[name])
        return expressions

    def check(self) -> None:
        self.check_positive("shard_megabytes")
        kind, _, value = self.source.partition(":")
        if not self.output and kind != "tfds":
            raise UserError(f"--output is needed: a folder for the records of --source={self.source}.")
        if not self.output and self.splits:
            raise UserError(f"--splits={self.splits} needs --output: a TensorFlow Dataset is built whole.")
        # A source may be a folder, or files or a pattern in one.
        folder = value if os.path.isdir(value) else os.path.dirname(value)
        if self.output and value and os.path.realpath(self.output) in map(os.path.realpath, (value, folder)):
            raise UserError(f"--output={self.output} is where the source is; name another folder.")


def run(settings: Settings, callbacks: Sequence[Any] = ()) -> Any:
    """Writes records and returns {split: Written}, or builds a TensorFlow Dataset. Nothing for callbacks to watch."""
    return write_records(settings) if settings.output else build_dataset(settings)


def write_records(settings: Settings) -> dict[str, Any]:
    """Writes the source's splits, goes on with them, or says what would be written."""
    from keras_vit.errors import reason
    from trainers import files
    from trainers.data import sources
    from trainers.data.records import record_writer, shard_plan
    from trainers.data.records.shard_writer import Rules

    source = sources.open_source(settings)
    source.ready()
    expressions = settings.expressions or {name: name for name in source.names}
    check_disjoint(source, expressions)
    plans = [
        shard_plan.plan(source, name, expression, settings.shard_megabytes << 20)
        for name, expression in expressions.items()
    ]
    rules = Rules(settings.on_bad_image, settings.max_bad_share, settings.verify)
    record_writer.check(source, plans, settings.output, rules, settings.overwrite)
    if settings.dry_run:
        print(table({plan.name: (plan.split.size, plan.shards, plan.encoded_bytes, 0) for plan in plans}))
        print(f"would be written to {settings.output}; nothing was.")
        return {}
    try:
        written = record_writer.write(source, plans, settings.output, rules, settings.overwrite)
    except files.ERRORS as error:
        raise files.Unwritable(f"--output={settings.output} cannot be written: {reason(error)}.") from error
    print(table(written))
    if any(split.bad for split in written.values()):
        print(f"{os.path.join(settings.output, 'bad_images.csv')} lists what could not be read and was left out.")
    print(f"To use it: --source=tfrecord:{settings.output}")
    return written


def check_disjoint(source: Any, expressions: Mapping[str, str]) -> None:
    """Raises UserError if two splits would share examples, but for those that a source itself has so."""
    for (one, first), (other, second) in itertools.combinations(expressions.items(), 2):
        if splits.overlap(source.intervals(first), source.intervals(second)) and not {first, second} <= {*source.views}:
            raise UserError(f"--splits: {one}={first} and {other}={second} share examples; nobody could tell later.")


def build_dataset(settings: Settings) -> Any:
    """Downloads and builds a TensorFlow Dataset, or says how large it is; returns its builder."""
    from trainers.data.tfds import tfds_building

    builder = tfds_building.builder_of(settings.source.partition(":")[2], settings.data_dir)
    if settings.dry_run:
        size = builder.info.download_size
        print(f"{builder.info.full_name} would be downloaded ({size}) and built in {builder.data_path}.")
        return builder
    tfds_building.build(builder)
    splits = builder.info.splits.items()
    print(table({name: (split.num_examples, split.num_shards, split.num_bytes, 0) for name, split in splits}))
    print(f"{builder.info.full_name} is in {builder.data_path}")
    return builder


def table(rows: Mapping[str, tuple[int, int, int, int]]) -> str:
    """Examples, shards, bytes, and examples that could not be read, by split."""
    head = f"{'split':<16}{'examples':>12}{'shards':>8}{'MiB':>12}{'bad':>8}"
    return "\n".join(
        [
            head,
            *(
                f"{name:<16}{examples:>12,}{shards:>8,}{size / 2**20:>12,.1f}{bad:>8,}"
                for name, (examples, shards, size, bad) in rows.items()
            ),
        ]
    )


if __name__ == "__main__":
    sys.exit(command_line.main(Settings, run, "prepare"))
