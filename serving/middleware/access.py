"""Who may send which request: allowed hosts and origins, the rate limit per client and minute, and API keys."""

import math
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import ErrorCode, RequestError
from serving.middleware.api_keys import ApiKeys
from serving.middleware.rates import rates_of
from serving.settings import Settings

PROBES = frozenset({"/livez", "/readyz", "/healthz"})
METRICS = "/metrics"
OPEN_FOLDERS = ("/cards/", "/swagger/")  # without a key, like the page's files


class AccessMiddleware:
    """Rejects requests with a foreign host or origin, above the rate limit, or without a key. Probes always pass.

    The client's identity is stored in `request.state.client`: the API key, or without a key the address.
    """

    def __init__(self, app: ASGIApp, settings: Settings, open_paths: frozenset[str]) -> None:
        """`open_paths`: paths that need no key. Raises ValueError if the key file cannot be read."""
        self._app = app
        self._keys = ApiKeys(settings)
        self._open_paths = open_paths
        self._hosts, self._origins = settings.host_names, settings.origins
        self._rate, self._rates = settings.rate_per_minute, rates_of(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in PROBES:
            try:
                await self._check(scope)
            except RequestError as error:
                await error.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _check(self, scope: Scope) -> None:
        """Raises RequestError 401, 403, 404, 429 or 503."""
        path, headers = scope["path"], Headers(scope=scope)
        self._check_host(headers)
        if "\n" in path:  # it matches no pattern of Starlette's router, not even that for all other paths
            raise RequestError(404, ErrorCode.NOT_FOUND, "there is no such path; /docs.json lists what there is")
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            self._check_origin(headers)
        known = self._keys.identify(bearer_token(scope)) if self._keys.required else None
        client = known or f"address {client_address(scope)}"
        scope["state"]["client"] = client
        if path in self._open_paths or path.startswith(OPEN_FOLDERS):
            return
        denied = self._keys.required and known is None
        if path != METRICS or denied:  # before the answer, to slow down attempts to guess a key
            await self._check_rate(client)
        if denied:
            message = "a key is needed and this is missing or wrong; send the header `Authorization: Bearer KEY`"
            raise RequestError(401, ErrorCode.UNAUTHORIZED, message, {"www-authenticate": "Bearer"})

    def _check_host(self, headers: Headers) -> None:
        """A page that resolves its own name to this machine (DNS rebinding) sends that name as the host."""
        name = host_name(headers.get("host", ""))
        if not any(name == allowed or matches_wildcard(name, allowed) for allowed in self._hosts):
            message = f"the host {name[:60]!r} is not allowed; name it in DIGITS_ALLOWED_HOSTS"
            raise RequestError(403, ErrorCode.HOST_NOT_ALLOWED, message)

    def _check_origin(self, headers: Headers) -> None:
        """Browsers send these headers; other clients send neither. The page itself is of the same origin."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if "*" in self._origins or (origin is not None and origin in self._origins):
            return
        same = origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
        if site not in (None, "same-origin", "none") or (site is None and not same):
            message = f"the origin {(origin or site or '')[:60]!r} is not allowed; name it in DIGITS_ALLOW_ORIGINS"
            raise RequestError(403, ErrorCode.ORIGIN_NOT_ALLOWED, message)

    async def _check_rate(self, client: str) -> None:
        if self._rates is not None and (wait := await self._rates.seconds_to_wait(client)):
            message = f"more than {self._rate} requests in a minute; wait until Retry-After has passed"
            raise RequestError(429, ErrorCode.RATE_LIMITED, message, {"retry-after": str(math.ceil(wait))})


def client_address(scope: Scope) -> str:
    """The client's address. Behind a proxy, uvicorn takes it from the headers (FORWARDED_ALLOW_IPS)."""
    return str(scope["client"][0]) if scope.get("client") else "unknown"


def bearer_token(scope: Scope) -> bytes:
    """The key in the header `Authorization: Bearer KEY`; empty without one."""
    value: bytes = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    scheme, _, key = value.partition(b" ")
    return key.strip(b" \t") if scheme.lower() == b"bearer" else b""


def host_name(host: str) -> str:
    """A host header's name in lower case, without port and brackets: `[::1]:3000` is `::1`."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def matches_wildcard(name: str, allowed: str) -> bool:
    """Whether `allowed` is `*`, or `*.example.org` for a name below it."""
    return allowed == "*" or (allowed.startswith("*.") and name.endswith(allowed[1:]))
