"""Hides the output of native libraries, which write to the file descriptors and bypass Python's streams."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hide_native_output(*descriptors: int) -> Iterator[None]:
    """Discards output to these file descriptors (default: 1 and 2). If the block raises, shows it on standard error."""
    sys.stdout.flush()
    sys.stderr.flush()
    originals = {descriptor: os.dup(descriptor) for descriptor in descriptors or (1, 2)}
    with tempfile.TemporaryFile() as hidden:
        for descriptor in originals:
            os.dup2(hidden.fileno(), descriptor)
        try:
            yield
        except BaseException:
            sys.stdout.flush()
            hidden.seek(0)
            os.write(originals.get(2, 2), hidden.read())
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, original in originals.items():
                os.dup2(original, descriptor)
                os.close(original)
