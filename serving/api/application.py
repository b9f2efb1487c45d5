"""The FastAPI application: routes, the page's files, API documentation, errors."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.staticfiles import StaticFiles

from serving import errors
from serving.api.documentation import PROBES, describe_api
from serving.api.information_routes import add_information_routes
from serving.api.prediction_routes import add_prediction_routes
from serving.api.state import ServiceState
from serving.settings import Settings

PAGE = Path(__file__).parent.parent / "page"
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
PAGE_FILES = StaticFiles(directory=PAGE)  # answers 304 to browsers that have the file
OPEN_ROUTES = ("/report", "/docs", "/docs.json")


def create_app(settings: Settings) -> FastAPI:
    """Creates the application. Its lifespan loads the models and opens the prediction log."""
    state = ServiceState(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state.start()
        yield
        state.stop()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url="/docs.json", redirect_slashes=False, lifespan=lifespan)
    app.state.service = state
    add_prediction_routes(app)
    add_information_routes(app)
    app.add_api_route("/docs", swagger_page, include_in_schema=False)
    app.mount("/swagger", StaticFiles(packages=[("fastapi_swagger", "resources")]))
    for path in page_paths():
        app.add_route(path, page_file, include_in_schema=False)
    app.add_route("/{path:path}", no_route, methods=METHODS, include_in_schema=False)
    app.openapi = partial(describe_api, app, open_paths(), lambda: len(state.models.current.classes))  # type: ignore[method-assign]
    app.add_exception_handler(errors.RequestError, errors.on_request_error)
    app.add_exception_handler(HTTPException, errors.on_http_exception)
    app.add_exception_handler(RequestValidationError, errors.on_invalid_parameter)
    app.add_exception_handler(Exception, errors.on_failure)
    return app


def page_paths() -> set[str]:
    """Paths of the page and its files."""
    return {"/", *(f"/{file.name}" for file in PAGE.iterdir())}


def open_paths() -> frozenset[str]:
    """Paths that need no key: the page with its files, the report and the documentation."""
    return frozenset({*OPEN_ROUTES, *page_paths()})


def measured_paths(app: FastAPI) -> set[str]:
    """Paths with their own metric label; those that end in `/` cover all paths below them."""
    routes = {path.split("{")[0] for route in app.routes if (path := getattr(route, "path", ""))}
    return routes | open_paths() | {"/swagger/"}


async def no_route(request: Request) -> Response:
    """Responds where no route has this path, or none of them the method. BentoML would do so without JSON."""
    routes = [route for route in request.app.routes if isinstance(route, Route) and route.endpoint is not no_route]
    matching = [route for route in routes if route.matches(request.scope)[0] is Match.PARTIAL]
    allowed = (
        {"GET"} if request.url.path in PROBES else {method for route in matching for method in route.methods or ()}
    )
    raise HTTPException(405, headers={"Allow": ", ".join(sorted(allowed))}) if allowed else HTTPException(404)


async def page_file(request: Request) -> Response:
    """The page or one of its files."""
    return await PAGE_FILES.get_response(request.url.path.lstrip("/") or "index.html", request.scope)


async def swagger_page(request: Request) -> Response:
    """Show this description. The page's only inline script is allowed by its hash."""
    page = get_swagger_ui_html(
        openapi_url="docs.json",
        title="Digits: API",
        swagger_js_url="swagger/swagger-ui-bundle.js",
        swagger_css_url="swagger/swagger-ui.css",
        swagger_favicon_url="icon.svg",
    )
    scripts = re.findall(rb"<script>(.*?)</script>", bytes(page.body), re.DOTALL)
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in scripts)
    policy = f"default-src 'self'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
    page.headers["content-security-policy"] = f"{policy}; frame-ancestors 'none'"
    return page
