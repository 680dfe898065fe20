"""What is particular about Django REST framework, which is not imported."""

from __future__ import annotations

from typing import Any


def plain(request: Any) -> Any:
    """Django's own request; REST framework's has it inside."""
    return getattr(request, "_request", request)


def finalized(request: Any, response: Any) -> Any:
    """The response of an ``@api_view``, which could not be rendered yet."""
    context = getattr(request, "parser_context", None)
    if context and hasattr(response, "render") and not response.is_rendered:
        response = context["view"].finalize_response(request, response)
    return response
