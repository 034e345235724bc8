"""The table of the data doctor's checks."""

from trainers.inspection import duplicate_checks, image_checks, label_checks
from trainers.inspection.findings import Finding, by_severity
from trainers.inspection.subject import Subject


def findings(subject: Subject, settings) -> list[Finding]:
    """What all checks find, the most severe first.

    Args:
        subject: What was seen.
        settings: Needs image_size, on_bad_image and max_bad_share.
    """
    return by_severity(finding for check in CHECKS.values() for finding in check(subject, settings))


# Each is `f(subject, settings)` and yields `Finding`s.
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
