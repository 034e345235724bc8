"""SIGTERM and Ctrl-C: training finishes the call under way, saves a checkpoint and leaves."""

import signal
import sys
import threading


class Preemption:
    """Listens, within its context, for signals that ask training to stop.

    A second signal interrupts at once. Outside the main thread, where Python hears no signals, it listens to nothing.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self.requested = False
        self._before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._request) for number in self.SIGNALS}
        return self

    def __exit__(self, *error):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number, frame):
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        print(
            f"\n{signal.Signals(number).name}: finishing the step, then a checkpoint. Once more stops at once.",
            file=sys.stderr,
            flush=True,
        )
