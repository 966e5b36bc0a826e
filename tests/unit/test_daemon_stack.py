"""Whatever thread a thread state is used on, Python frees what nobody needs any more."""

import ctypes
import sys
import threading
import weakref

from mailnotary.daemon.stack import on_any_thread


class Thing:
    """What may refer to others."""


def frees() -> int:
    thing = Thing()
    gone = weakref.ref(thing)
    del thing
    return gone() is None


def test_what_a_callback_lets_go_of_is_freed_on_any_threads_stack() -> None:
    found: list[int] = []

    def on_a_stack_far_below() -> None:
        if sys.version_info >= (3, 14):
            api = ctypes.pythonapi
            api.PyThreadState_Get.restype = ctypes.c_void_p
            api.PyUnstable_ThreadState_SetStackProtection.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
            state = ctypes.c_void_p(api.PyThreadState_Get())
            api.PyUnstable_ThreadState_SetStackProtection(state, ctypes.c_void_p(1 << 52), 1 << 20)
            found.append(frees())
        found.append(on_any_thread(frees)())

    thread = threading.Thread(target=on_a_stack_far_below)
    thread.start()
    thread.join()
    assert found[-1:] == [True]
    assert found[:-1] == ([False] if sys.version_info >= (3, 14) else [])


def test_arguments_and_result_are_those_of_the_callback() -> None:
    assert on_any_thread(lambda first, second: first - second)(7, second=2) == 5
