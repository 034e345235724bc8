"""How a run may end before its time. Commands leave with these exit codes, and one line that says why."""


class NotFinite(FloatingPointError):
    """Gradients or metrics that are not finite ended the run."""

    exit_code = 3


class WorkerLost(RuntimeError):
    """Another worker died or does not answer."""

    exit_code = 4


class Preempted(Exception):
    """Training was asked to stop, and did so after a checkpoint."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again later
