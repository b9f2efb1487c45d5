"""Makes models: the stages of `dvc.yaml` and everything around them. One module per stage, one subpackage per idea."""

import sys
from types import TracebackType


def hide_interrupt(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print uncaught exceptions as Python does, except Ctrl-C during the imports, which take seconds."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = hide_interrupt
