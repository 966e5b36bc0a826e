"""Tells Python on which stack a callback of libmilter runs.

pymilter has a thread state of Python's for each session, and libmilter's pool serves a session on one thread now and on
another then. Since 3.14 Python notes in a thread state how far the stack of the thread reaches that first used it, and
asks before it frees an object how much of that is left. On a thread whose stack lies below, nothing seems to be left:
Python puts off freeing whatever may refer to others, for as long as the session is served there. So the whole body of a
message stayed in memory, and the descriptors stayed open of configurations that reloads had replaced."""

import ctypes
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, ParamSpec

P = ParamSpec("P")

# https://docs.python.org/3/c-api/threads.html; there is no such function where nothing has to be told.
_PROTECT: Final = getattr(ctypes.pythonapi, "PyUnstable_ThreadState_SetStackProtection", None)
if _PROTECT is not None:
    _PROTECT.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    ctypes.pythonapi.PyThreadState_Get.restype = ctypes.c_void_p
_ATTRIBUTES: Final = 128  # octets that hold a pthread_attr_t: it has 64 at most


class _ThreadState(threading.local):
    """What is known of a thread state (not of a thread: Python keeps it there)."""

    used_on = 0  # the thread


_state = _ThreadState()


def on_any_thread(callback: Callable[P, int]) -> Callable[P, int]:
    """The callback, for threads that share a thread state; itself where Python does not ask for the stack."""
    if _PROTECT is None:
        return callback
    protect, libc = _PROTECT, ctypes.CDLL(None)

    def on_this_thread(*args: P.args, **kwargs: P.kwargs) -> int:
        thread = threading.get_ident()
        if _state.used_on != thread:
            _state.used_on = thread
            with suppress(ValueError):  # it is smaller than Python wants one
                protect(ctypes.pythonapi.PyThreadState_Get(), *_stack(libc, thread))
        return callback(*args, **kwargs)

    return on_this_thread


def _stack(libc: ctypes.CDLL, thread: int) -> tuple[int, int]:
    """Where the stack of a thread begins and how large it is, see pthread_getattr_np(3)."""
    attributes = ctypes.create_string_buffer(_ATTRIBUTES)
    start, size = ctypes.c_void_p(), ctypes.c_size_t()
    libc.pthread_getattr_np(ctypes.c_ulong(thread), attributes)
    libc.pthread_attr_getstack(attributes, ctypes.byref(start), ctypes.byref(size))
    libc.pthread_attr_destroy(attributes)
    return start.value or 0, size.value
