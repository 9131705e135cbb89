"""What all tests need."""

import signal

import pytest


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_counts():
    """Makes Ctrl-C an exception, as it is at a terminal: a shell starts programs in the background with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
