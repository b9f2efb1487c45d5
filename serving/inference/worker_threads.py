"""A few threads for work that takes more than 10 ms, so that the event loop stays free for other requests."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

THREADS = 2  # limits the memory for decoded pictures: at most so many are processed at a time
Result = TypeVar("Result")


class WorkerThreads:
    """Runs functions in THREADS threads, in the order of their arrival."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="inference")

    async def run(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Returns `function(*arguments)`. If the request is cancelled before its turn, the function does not run."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)

    def close(self) -> None:
        """Drops the waiting work."""
        self._executor.shutdown(wait=False, cancel_futures=True)
