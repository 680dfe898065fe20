"""
nginx's configuration as text, from routes and flags.

Each location says all it needs: ``proxy_set_header`` is inherited only by a location
that has none of its own. Our headers are set anew in every one of them, to nothing if
need be. What nginx repeats on its own is switched off, and legacy answers in place of
the modern side only for methods that are safe.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal
from urllib.parse import urlsplit

from django_strangler.exceptions import StranglerError
from django_strangler.feature_flags import Cohort

from .access_log import format_of
from .routes import Route

Mode = Literal["accel", "auth", "split"]

BEGIN, END = "# strangler: begin", "# strangler: end"
_PLAIN = re.compile(r"[A-Za-z0-9._@+-]{1,255}")


class NotForNginx(StranglerError):
    """A route, a service or a flag cannot be written as nginx's configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that the text is made of."""

    mode: Mode
    routes: tuple[Route, ...]
    urls: Mapping[str, str]  # By service.
    cohorts: Mapping[str, Cohort]  # By flag, for "split".
    timeouts: Mapping[str, tuple[float, float]]  # By service: to connect, to answer.
    legacy_url: str
    cookie: str = "strangler_id"
    private_headers: tuple[str, ...] = ("authorization", "cookie")
    listen: str = "80"
    evidence_log: str = ""  # A file; none without it.


def render(plan: Plan) -> str:
    """The whole text, between two lines that ``--check`` finds it by."""
    body = "\n".join([*_http(plan), *_server(plan)])
    digest = hashlib.sha256(body.encode()).hexdigest()[:12]
    return f"{BEGIN} mode={plan.mode} digest={digest}\n{body}\n{END}\n"


def _http(plan: Plan) -> Iterator[str]:
    yield "# In the context http { }."
    yield from _upstream("strangler_legacy", plan.legacy_url)
    for name in sorted({route.service for route in plan.routes}):
        yield from _upstream(_service(name), plan.urls[name])
    yield "map $http_upgrade $strangler_connection {"
    yield '    default upgrade;\n    "" "";\n}'
    for header in plan.private_headers:
        _check_header(header)
    if plan.evidence_log:
        for route in plan.routes:
            yield f"log_format strangler_{_variable(route)} {format_of(route)};"
    if plan.mode == "split":
        yield "# Dots that another server may read as a way out of the prefix."
        yield "map $request_uri $strangler_odd {\n    default 0;"
        yield r'    "~*^[^?]*(/|\\|%2f|%5c)(\.|%2e){1,2}([/\\;?]|%2f|%5c|$)" 1;'
        yield r'    "~*^[^?]*(\\|%00|%0a|%0d)" 1;' + "\n}"
        yield "# Who it is: the cookie up to its signature, byte for byte."
        yield f"map $cookie_{plan.cookie} $strangler_id {{"
        yield '    default "";'
        yield '    "~^(?<strangler_key>[A-Za-z0-9._@+-]+)~" $strangler_key;\n}'
    for route in plan.routes:
        if plan.mode == "split":
            yield from _split(route, plan.cohorts[route.flag])
        yield from _target(route, plan)


def _server(plan: Plan) -> Iterator[str]:
    yield "server {"
    yield f"    listen {plan.listen};"
    yield "    # X_A and X-A are one header to Django."
    yield "    underscores_in_headers off;"
    yield "    ignore_invalid_headers on;"
    yield "    # From a decision to the modern side, and from there to the fallback."
    yield "    recursive_error_pages on;"
    if plan.mode != "accel":
        for route in plan.routes:
            yield from _indented(_location(route, plan))
    for route in plan.routes:
        yield from _indented(_named(route, plan))
        if route.fallback:
            yield from _indented(_fallback(route))
    yield from _indented(
        [
            "location @strangler_legacy {",
            *_headers({}),
            *_NO_REPEATING,
            "    proxy_pass http://strangler_legacy;",
            "}",
            "location / {",
            *_headers({"Connection": "$strangler_connection"}, upgrade=True),
            "    proxy_pass http://strangler_legacy;",
            "}",
        ]
    )
    yield "}"


_NO_REPEATING = ["    proxy_next_upstream off;"]


def _location(route: Route, plan: Plan) -> Iterator[str]:
    """Modes auth and split: legacy, unless the decision leads to the named location."""
    v = _variable(route)
    if plan.mode == "auth":
        yield f"location = /_strangler/{route.name} {{"
        yield "    internal;"
        headers = {
            "Content-Length": '""',
            "Strangler-Original-Method": "$request_method",
            "Strangler-Original-URI": "$request_uri",
        }
        yield from _headers(headers)
        yield from [*_NO_REPEATING, "    proxy_pass_request_body off;"]
        yield "    proxy_connect_timeout 1s;"
        yield "    proxy_read_timeout 2s;"
        yield f"    proxy_pass http://strangler_legacy/strangler/decide/{route.name}/;"
        yield "}"
    yield f"location {_pattern(route)} {{"
    if plan.mode == "auth":
        yield f"    auth_request /_strangler/{route.name};"
        for name in ("side", "identity"):
            yield (
                f"    auth_request_set $strangler_{name}_{v} "
                f"$upstream_http_strangler_{name};"
            )
        yield f"    error_page 403 = @strangler_{route.name};"
        yield "    # Whatever else the decision answers, or if it does not: legacy."
        yield "    error_page 401 500 = @strangler_legacy;"
    else:
        yield f"    error_page 418 = @strangler_{route.name};"
        yield f"    if ($strangler_side_{v} = modern) {{"
        yield "        return 418;"
        yield "    }"
    yield from _headers({"Connection": "$strangler_connection"}, upgrade=True)
    yield from _NO_REPEATING
    yield "    proxy_pass http://strangler_legacy;"
    yield "}"


def _named(route: Route, plan: Plan) -> Iterator[str]:
    """The modern side. The method and the body stay as they are."""
    v = _variable(route)
    connect, answer = plan.timeouts[route.service]
    yield f"location @strangler_{route.name} {{"
    identity = f"$strangler_identity_{v}"
    if plan.mode == "split":
        identity = '""'  # Nobody signs one here: the service asks for itself.
    elif plan.mode == "accel":
        # Before the next answer takes the place of Django's.
        yield f"    set {identity} $upstream_http_strangler_identity;"
    else:
        yield "    # A 403 of somebody else's on the way is no decision."
        yield "    error_page 418 = @strangler_legacy;"
        yield f"    if ($strangler_side_{v} != modern) {{"
        yield "        return 418;"
        yield "    }"
    if route.fallback:
        yield f"    error_page 502 504 = @strangler_fallback_{route.name};"
    private = [each for each in plan.private_headers if each not in route.forward]
    yield from _headers(
        {
            **{header.title(): '""' for header in private},
            "Strangler-Identity": identity,
            "Strangler-Deadline-Ms": str(int(answer * 1000)),
            "Connection": "$strangler_connection",
        },
        upgrade=True,
    )
    yield from _NO_REPEATING
    yield f"    proxy_connect_timeout {_ms(connect)};"
    yield f"    proxy_read_timeout {_ms(answer)};"
    yield "    proxy_hide_header Strangler-Side;"
    yield "    add_header Strangler-Side modern always;"
    if plan.evidence_log:
        yield f"    access_log {plan.evidence_log} strangler_{v};"
    url = urlsplit(plan.urls[route.service])
    if url.scheme == "https":
        yield "    proxy_ssl_server_name on;"
        yield f"    proxy_ssl_name {url.hostname};"
    yield f"    proxy_pass {url.scheme}://{_service(route.service)}$strangler_uri_{v};"
    yield "}"


def _fallback(route: Route) -> Iterator[str]:
    yield f"location @strangler_fallback_{route.name} {{"
    yield "    # Anything else may have been done already."
    yield "    if ($request_method !~ ^(GET|HEAD|OPTIONS)$) {"
    yield "        return 502;\n        }"
    yield from _headers({"Strangler-Fallback": route.name})
    yield from _NO_REPEATING
    yield "    proxy_pass http://strangler_legacy;"
    yield "}"


_OURS = ("Strangler-Identity", "Strangler-Fallback", "Strangler-Deadline-Ms")


def _headers(more: Mapping[str, str], *, upgrade: bool = False) -> Iterator[str]:
    """All of them, each time: one more would switch the inherited ones off."""
    found = {
        "Host": "$http_host",
        "X-Forwarded-For": "$proxy_add_x_forwarded_for",
        "X-Forwarded-Host": "$http_host",
        "X-Forwarded-Proto": "$scheme",
        "X-Accel-Redirect": '""',
        "Connection": '""',
        **({"Upgrade": "$http_upgrade"} if upgrade else {}),
        **dict.fromkeys((*_OURS, "Strangler-Original-Method"), '""'),
        "Strangler-Original-URI": '""',
        **more,
    }
    yield "    proxy_http_version 1.1;"
    for name, value in found.items():
        yield f"    proxy_set_header {name} {value};"


def _split(route: Route, cohort: Cohort) -> Iterator[str]:
    v = _variable(route)
    if route.subject is not None:
        raise NotForNginx(
            f"The route {route.name!r} has a subject= of its own, which nginx cannot "
            "ask. Use the mode auth or accel for it."
        )
    percentage = cohort.percentage if cohort.enabled else Decimal(0)
    if percentage >= 100:
        everybody, nobody = "modern", "modern"
    elif not percentage:
        everybody = nobody = "legacy"
    else:
        everybody, nobody = f"$strangler_split_{v}", "legacy"
        yield f'split_clients "{cohort.salt}:$strangler_id" $strangler_split_{v} {{'
        # The modern side first, so that who is in stays in while it grows.
        yield f"    {percentage.normalize():f}% modern;\n    * legacy;\n}}"
    yield f"map $strangler_id $strangler_cohort_{v} {{"
    yield f"    default {everybody};"
    yield f'    "" {nobody};  # Else all of them would be in the first part.'
    named = dict.fromkeys(cohort.included, "modern") if cohort.enabled else {}
    named.update(dict.fromkeys(cohort.excluded, "legacy"))
    for subject, side in sorted(named.items()):
        if _PLAIN.fullmatch(subject):  # Nobody else has a cookie.
            yield f"    {_exactly(subject)} {side};"
    yield "}"
    methods = "|".join(sorted(route.methods)) or "[A-Z]+"
    yield (
        f'map "$strangler_odd:$request_method:$strangler_cohort_{v}" '
        f"$strangler_side_{v} {{"
    )
    yield f'    default legacy;\n    "~^0:({methods}):modern$" modern;\n}}'


def _target(route: Route, plan: Plan) -> Iterator[str]:
    """The path for the service, percent signs included."""
    v = _variable(route)
    if callable(route.rewrite):
        raise NotForNginx(
            f"The route {route.name!r} is rewritten by a function, which nginx cannot "
            'call. Use a text, or data_path="proxy".'
        )
    base = urlsplit(plan.urls[route.service]).path.rstrip("/")
    yield f"map $request_uri $strangler_uri_{v} {{"
    yield "    default $request_uri;"
    if isinstance(route.rewrite, str):
        before, after = re.escape(route.raw_prefix), base + route.rewrite
    else:
        before, after = "/", f"{base}/"
    if base or route.rewrite:
        rest = f"strangler_rest_{v}"
        yield f'    "~^{before}(?<{rest}>.*)$" "{after}${rest}";'
    yield "}"


def _upstream(name: str, url: str) -> Iterator[str]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    yield f"upstream {name} {{"
    # One failure must not close it for ten seconds: the decision is made elsewhere.
    yield f"    server {host}:{port} max_fails=0;\n    keepalive 32;\n}}"


def _pattern(route: Route) -> str:
    if route.prefix:
        return f'^~ "{route.prefix}"'  # nginx compares what it has decoded.
    if route.regex is not None and not re.search(r'["{}$\\]\Z', route.regex.pattern):
        return f'~ "^(?:{route.regex.pattern})"'
    raise NotForNginx(
        f"The route {route.name!r} goes by the names of views, which only Django "
        "knows. Use the mode accel for it."
    )


def _exactly(subject: str) -> str:
    # nginx compares texts without regard to case, and some words mean something.
    return f'"{subject}"' if subject.isdecimal() else f'"~^{re.escape(subject)}$"'


def _check_header(name: str) -> None:
    if not re.fullmatch(r"[a-z0-9-]+", name):
        raise NotForNginx(f"{name!r:.80} is not the name of a header.")


def _service(name: str) -> str:
    return f"strangler_service_{_word(name)}"


def _variable(route: Route) -> str:
    return _word(route.name)


def _word(name: str) -> str:
    return name.replace("-", "_")


def _ms(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"    {line}" for line in lines)


def differences(text: str, wanted: str) -> list[str]:
    """What a configuration in force has otherwise, line by line; empty if nothing."""
    import difflib

    found = extract(text)
    if found is None:
        return ["It has no part that begins with '# strangler: begin'."]
    lines = difflib.unified_diff(
        _essence(found), _essence(wanted), "nginx", "routes and flags", "", "", 1, ""
    )
    return list(lines)


def mode_of(text: str) -> str | None:
    """The mode that a configuration was written for."""
    found = re.search(rf"{BEGIN} mode=(accel|auth|split)\b", text)
    return found[1] if found else None


def extract(text: str) -> str | None:
    """Our part of a larger configuration, such as ``nginx -T`` prints."""
    start, end = text.find(BEGIN), text.find(END)
    return text[start : end + len(END)] if 0 <= start < end else None


def _essence(text: str) -> list[str]:
    """The lines without comments and indentation, of which nothing depends."""
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line]
