"""Keeping native libraries' chatter off the screen; it writes to the file descriptors, past Python's streams."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hide_native_output(*descriptors: int) -> Iterator[None]:
    """Hold back what libraries, native ones too, write to these descriptors; on an exception it is shown.

    Without any: standard output and error.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {descriptor: os.dup(descriptor) for descriptor in descriptors or (1, 2)}
    with tempfile.TemporaryFile() as held:
        for descriptor in kept:
            os.dup2(held.fileno(), descriptor)
        try:
            yield
        except BaseException:
            sys.stdout.flush()
            held.seek(0)
            os.write(kept.get(2, 2), held.read())
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, original in kept.items():
                os.dup2(original, descriptor)
                os.close(original)
