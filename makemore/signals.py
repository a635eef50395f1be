"""SIGINT, SIGTERM and SIGHUP, turned into a value to ask for.

The first one is answered at once, by a thread of its own, also while the program is inside a long
call of a library; the program itself stops where it can save. The second one does not wait.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from makemore.errors import InterruptedRun, StorageError

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Is told the number of the signal and how many have come: 1, then 2.
Announce = Callable[[int, int], None]

_Handler = Callable[[int, FrameType | None], object] | int


class StopRequested(BaseException):
    """Somebody asked the program to stop, and it has come to where it can.

    Like KeyboardInterrupt no Exception, so that no library takes it for a fault of its own.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """What came, to be asked for between two pieces of work."""

    def __init__(self, previous: Mapping[signal.Signals, _Handler]) -> None:
        self._previous = previous
        self._received: int | None = None
        self._is_waiting = True
        self._is_impatient = False

    @property
    def received(self) -> int | None:
        """The number of the first signal, or None."""
        return self._received

    def stop_if_asked(self) -> None:
        """Raise StopRequested where a signal came."""
        if self._received is not None:
            raise StopRequested(self._received)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """While there is nothing that could be saved: the first signal raises InterruptedRun where
        the program stands."""
        self._is_waiting = False
        try:
            if self._received is not None:
                raise _interrupted(self._received)
            yield
        finally:
            self._is_waiting = True
        # A library may have taken the exception for a fault of its own.
        if self._received is not None:
            raise _interrupted(self._received)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_impatient:
            self._act_as_before(number, frame)
        elif self._received is None:
            self._received = number
            if not self._is_waiting:
                raise _interrupted(number)

    def _act_as_before(self, number: int, frame: FrameType | None) -> None:
        handler = self._previous[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _watch(self, receiver: socket.socket, announce: Announce) -> None:
        """Tell who listens what came. Where the second one finds nobody who ends the program, it
        does what it would have done without us."""
        count = 0
        while numbers := receiver.recv(16):
            for number in numbers:
                if number not in self._previous or self._is_impatient:
                    continue
                count += 1
                announce(number, min(count, 2))
                if count == 2:
                    self._is_impatient = True
                    signal.pthread_kill(threading.main_thread().ident or 0, number)


def _interrupted(number: int) -> InterruptedRun:
    return InterruptedRun("stopped before there was anything to save", number)


@contextmanager
def catch_signals(announce: Announce = lambda number, count: None) -> Iterator[Signals]:
    """Catch the signals that ask a program to stop.

    A signal that the process was started to ignore stays ignored. Only the main thread can receive
    signals: elsewhere none is ever received.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Signals({})
        return
    handlers = {number: signal.getsignal(number) for number in _STOPPING}
    # None: a handler that was not set from Python, and cannot be given back.
    previous = {n: h for n, h in handlers.items() if h is not None and h != signal.SIG_IGN}
    signals = Signals(previous)
    try:
        receiver, sender = socket.socketpair()
    except OSError as error:
        what = f"no signals can be watched for: {error.strerror}"
        raise StorageError(what, hint="close other programs, or raise `ulimit -n`") from error
    sender.setblocking(False)
    # Written to by the system's own handler, before Python's, which waits for the main thread.
    previous_descriptor = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=signals._watch, args=(receiver, announce), daemon=True)
    watcher.start()
    for number in previous:
        signal.signal(number, signals._handle)
    try:
        yield signals
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous_descriptor)
        sender.close()
        watcher.join()
        receiver.close()
