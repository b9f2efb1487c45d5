"""The routes beside predictions: feedback, the served models, the report, model cards, metrics."""

from enum import Enum
from pathlib import Path
from typing import Any

import anyio
from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from serving.api.documentation import WITH_BODY, errors, json_body, text
from serving.api.request_bodies import parse_json, read_json_body
from serving.api.schemas import FeedbackRequest, ModelsAnswer, describe
from serving.api.state import state_of
from serving.errors import ErrorCode, JSONResponse, RequestError
from serving.telemetry.metrics import exposition

REPORT = "report.html"  # in the folder of the package, put there by the stage `package`
SERVING = Path(__file__).parent.parent
TAGS: list[str | Enum] = ["Service"]  # the group in /docs
ONE_SCRAPE = anyio.CapacityLimiter(1)  # reads the files of all workers
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
FEEDBACK_HINT = 'send JSON {"request_id": "...", "label": 7}; a label of null withdraws'
report_files = StaticFiles(directory=SERVING)


def add_information_routes(app: FastAPI) -> None:
    """Adds the routes."""
    body = json_body(FeedbackRequest)
    unknown, page = errors(404, *WITH_BODY), {**text("text/html", "The page."), **errors(404)}
    measured = {**text("text/plain", "The metrics."), **errors()}
    app.post("/feedback", tags=TAGS, status_code=204, responses=unknown, openapi_extra=body, response_class=Response)(
        feedback
    )
    app.get("/model", tags=TAGS, response_model=ModelsAnswer, responses=errors())(model)
    app.get("/report", tags=TAGS, responses=page, response_class=Response)(report)
    app.get("/cards/{name}", tags=TAGS, responses=page, response_class=Response)(card)
    app.get("/metrics", tags=TAGS, responses=measured, response_class=Response)(metrics)


async def feedback(request: Request) -> Response:
    """Submit or withdraw the correct label of an answer."""
    state = state_of(request)
    body = await read_json_body(request, state.settings.max_body_bytes, FEEDBACK_HINT)
    answer_id, label = parse_feedback(parse_json(body, FEEDBACK_HINT), state.models.current.classes)
    await state.feedback.store(state.log, answer_id, label, request.state.client)
    return Response(status_code=204)


async def model(request: Request) -> Response:
    """Describe the served models."""
    return JSONResponse(describe(state_of(request).models.current))


async def report(request: Request) -> Response:
    """Show the comparison report."""
    if not (SERVING / REPORT).is_file():
        message = "there is no report in this Bento; the stage `package` puts it there"
        raise RequestError(404, ErrorCode.NOT_FOUND, message)
    response = await report_files.get_response(REPORT, request.scope)
    response.headers["content-security-policy"] = REPORT_POLICY
    return response


async def card(request: Request, name: str) -> Response:
    """Show a model card."""
    named = state_of(request).models.current.choose(name)
    if named.card_page is None:
        message = f"version {named.version} of {named.name} was registered without a card"
        raise RequestError(404, ErrorCode.NOT_FOUND, message)
    return HTMLResponse(named.card_page, headers={"content-security-policy": REPORT_POLICY})


async def metrics() -> Response:
    """Return counts and durations for Prometheus."""
    return Response(
        await anyio.to_thread.run_sync(exposition, limiter=ONE_SCRAPE),
        media_type="text/plain; version=0.0.4; charset=utf-8",
    )


def parse_feedback(content: Any, classes: list[str]) -> tuple[str, int | None]:
    """Returns the answer's id and the label. Raises RequestError 422."""
    if not isinstance(content, dict) or content.keys() != {"request_id", "label"}:
        message = f"expected the fields request_id and label; {FEEDBACK_HINT}"
        raise RequestError(422, ErrorCode.INVALID_VALUE, message)
    answer_id, label = content["request_id"], content["label"]
    if not isinstance(answer_id, str):
        raise RequestError(422, ErrorCode.INVALID_VALUE, f"`request_id` is not a text; {FEEDBACK_HINT}")
    if isinstance(label, float) and label.is_integer():  # JSON has one kind of number
        label = int(label)
    if label is not None and (type(label) is not int or not 0 <= label < len(classes)):
        message = f"`label` is {str(label)[:20]!r}, expected 0 to {len(classes) - 1} or null"
        if isinstance(label, str) and label in classes:
            message += f"; the class {label!r} has the index {classes.index(label)}"
        raise RequestError(422, ErrorCode.INVALID_VALUE, message)
    return answer_id, label
