"""What is to be known of a source: what the checks find, counts, sizes and formats, as numbers and as text."""

import time
from typing import Any

import numpy as np

from trainers.data.pipeline import TrainingData
from trainers.inspection import duplicate_checks, image_checks, image_kinds, label_checks
from trainers.inspection.findings import LEVELS, Finding, by_severity, counted, listed
from trainers.inspection.subject import Part, Subject, class_name

CLASSES_SHOWN = 10  # of more, the commonest and the rarest
SECONDS = 3.0  # for which the speed of the training pipeline is measured


def findings(subject: Subject) -> list[Finding]:
    """What all checks find, the most severe first."""
    return by_severity(finding for check in CHECKS.values() for finding in check(subject))


def of_part(part: Part) -> dict[str, Any]:
    """A split's numbers, as plain values."""
    sizes = part.scan.sizes[part.scan.readable]
    shapes = {}
    if len(sizes):
        heights, widths = (
            {"min": int(side.min()), "median": float(np.median(side)), "max": int(side.max())} for side in sizes.T
        )
        shapes = {
            "height": heights,
            "width": widths,
            "longest_aspect": round(float(image_checks.aspects(part).max()), 3),
        }
    return {
        "images": part.split.size,
        "bad": len(part.scan.unreadable),
        "blank": int(part.scan.blank.sum()),
        **shapes,
        "formats": _kinds(part, 0, image_kinds.FORMATS),
        "modes": _kinds(part, 1, image_kinds.MODES),
        "examples_by_class": {
            class_name(part.source, label): int(count) for label, count in enumerate(part.counts.tolist())
        },
        "seconds": round(part.scan.seconds, 2),
    }


def _kinds(part: Part, column: int, names: tuple[str, ...]) -> dict[str, int]:
    counts = np.bincount(part.scan.kinds[part.scan.readable, column], minlength=len(names))
    return {name: int(count) for name, count in zip(names, counts, strict=True) if count}


def text(subject: Subject, findings: list[Finding], shown: int) -> str:
    """The whole report, findings first.

    Args:
        subject: Subject that was looked at.
        findings: Findings in the order to be printed.
        shown: Images of a finding, at most.
    """
    counts = [counted(sum(finding.level == level for finding in findings), level) for level in LEVELS]
    images = sum(part.split.size for part in subject.parts)
    head = (
        f"{subject.source.name}: {counted(images, 'image')} in {counted(len(subject.parts), 'split')}, "
        f"{counted(subject.source.num_classes, 'class')}; {', '.join(counts)}"
    )
    tables = f"Images\n{images_table(subject)}\n\nExamples by class\n{classes_table(subject)}"
    return f"{head}\n\n{findings_text(findings, shown)}\n\n{tables}"


def images_table(subject: Subject) -> str:
    """Sizes and formats of every split, a row each."""
    rows: list[tuple[str, ...]] = [("split", "images", "bad", "height", "width", "kinds", "looked at in")]
    for part in (*subject.parts, *subject.against):
        facts = of_part(part)
        sides = [
            f"{facts[side]['min']} / {facts[side]['median']:.0f} / {facts[side]['max']}" if side in facts else "-"
            for side in ("height", "width")
        ]
        kinds = listed(f"{count:,} {name}" for name, count in (facts["formats"] | _unusual(facts["modes"])).items())
        title = part.name if part.source is subject.source else part.title
        rows.append((title, f"{part.split.size:,}", f"{facts['bad']:,}", *sides, kinds, f"{part.scan.seconds:,.0f} s"))
    return _aligned(rows)


def _unusual(modes: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in modes.items() if name != "colour"}


def classes_table(subject: Subject) -> str:
    """Examples of every class in each split, with the share that it has of all; of many classes, the extremes."""
    counts = np.stack([part.counts for part in subject.parts])
    totals = counts.sum(axis=0)
    size = sum(part.split.size for part in subject.parts)
    order = np.argsort(-totals, kind="stable")
    half = CLASSES_SHOWN // 2
    shown = order if len(order) <= CLASSES_SHOWN else np.concatenate([order[:half], order[-half:]])
    rows = [("class", *(part.name for part in subject.parts), "share")]
    for label in shown.tolist():
        share = f"{totals[label] / max(size, 1):.1%}"
        rows.append((class_name(subject.source, label), *(f"{count:,}" for count in counts[:, label]), share))
    if len(shown) < len(order):
        rows.insert(1 + half, (f"... {counted(len(order) - len(shown), 'class')} between", *[""] * (len(rows[0]) - 1)))
    return _aligned(rows)


def findings_text(findings: list[Finding], shown: int) -> str:
    """Findings with their first few images."""
    lines = []
    for finding in findings:
        lines += ["", f"{finding.level.upper()}  {finding.check}: {finding.text}", f"    {finding.advice}"]
        for split, place, detail in finding.first(shown):
            lines.append(
                f"    - {place if place.startswith(split) else f'{split}: {place}'}" + f" ({detail})" * bool(detail)
            )
        if finding.count > shown:
            lines.append(f"    - and {finding.count - shown:,} more")
    return "\n".join(lines[1:]) or "nothing to complain of"


def _aligned(rows: list[tuple[str, ...]]) -> str:
    """Columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            f"{cell:<{width}}" if place == 0 else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def images_per_second(data: TrainingData, batch_size: int) -> float:
    """How many the input pipeline of training gives by itself, as fast as they come for a while after the first.

    Args:
        data: Data that a run would train on.
        batch_size: Size of its batches.
    """
    batches = iter(data.batches())
    next(batches)
    begin, count = time.perf_counter(), 0
    while (seconds := time.perf_counter() - begin) < SECONDS or not count:
        next(batches)
        count += 1
    return count * batch_size / seconds


# Each is `f(subject)` and yields `Finding`s.
CHECKS = {
    "has no labels": label_checks.hidden,
    "bad images": image_checks.bad_images,
    "leakage": duplicate_checks.leakage,
    "overlap with another source": duplicate_checks.overlap,
    "two labels": duplicate_checks.two_labels,
    "duplicates": duplicate_checks.within,
    "missing classes": label_checks.missing,
    "empty classes": label_checks.never_used,
    "no label": label_checks.unlabelled,
    "skewed classes": label_checks.skewed,
    "few examples": label_checks.few,
    "class names alike": label_checks.alike,
    "blank images": image_checks.blank,
    "wrong extension": image_checks.misnamed,
    "small images": image_checks.small,
    "long images": image_checks.long,
    "unusual modes": image_checks.modes,
}
