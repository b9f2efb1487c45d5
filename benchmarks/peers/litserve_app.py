"""LitServe with one worker process. Requests pass from its web server to the worker and back."""

import sys
from typing import Any

import litserve
import numpy as np
from fastapi import Request
from numpy.typing import NDArray

from benchmarks.peers.work import MAX_BODY_BYTES, Pixels, load, results


class Digits(litserve.LitAPI):  # type: ignore[misc]
    """The work of every server, as a LitServe API."""

    def setup(self, device: str) -> None:
        self.served = load()

    def decode_request(self, request: Request, **_: Any) -> NDArray[np.uint8]:
        # LitServe passes the parsed JSON, although the annotation is Request.
        return np.array(Pixels.model_validate(request).images, np.uint8)

    def predict(self, x: NDArray[np.uint8], **_: Any) -> list[dict[str, Any]]:
        return results(self.served, x)

    def encode_response(self, output: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
        return {"results": output}


if __name__ == "__main__":
    server = litserve.LitServer(
        Digits(api_path="/predict_pixels"),
        accelerator="cpu",
        healthcheck_path="/readyz",
        max_payload_size=MAX_BODY_BYTES,
        fast_queue=True,
    )
    server.run(
        "127.0.0.1",
        int(sys.argv[1]),
        num_api_servers=1,
        log_level="error",
        access_log=False,
        generate_client_file=False,
    )
