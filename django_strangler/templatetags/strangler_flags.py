"""
``{% ifflag %}``: parts of a page behind a flag.

    {% load strangler_flags %}
    {% ifflag "notifications-v2" %}…{% else %}…{% endifflag %}
    {% ifflag "notifications-v2" payment.user_id %}…{% endifflag %}

The subject is the one that is named, else ``request.user``; a variable ``user`` is left
alone, because on many pages that is the user who is shown.
"""

from __future__ import annotations

from typing import Any

from django import template
from django.template.base import FilterExpression, NodeList, Parser, Token
from django.template.context import Context
from django.utils.safestring import SafeString

from django_strangler import feature_flags

register = template.Library()


class IfFlagNode(template.Node):
    child_nodelists = ("on", "off")

    def __init__(
        self,
        name: FilterExpression,
        subject: FilterExpression | None,
        on: NodeList,
        off: NodeList,
    ) -> None:
        self.name = name
        self.subject = subject
        self.on = on
        self.off = off

    def render(self, context: Context) -> SafeString:
        enabled = feature_flags.is_enabled(
            str(self.name.resolve(context)), self._user(context)
        )
        return (self.on if enabled else self.off).render(context)

    def _user(self, context: Context) -> Any:
        if self.subject is not None:
            # A variable that is missing is nobody, and not the text "".
            return self.subject.resolve(context, ignore_failures=True)
        return getattr(context.get("request"), "user", None)


@register.tag
def ifflag(parser: Parser, token: Token) -> IfFlagNode:
    """Show the block if the flag is on for the user."""
    tag, *arguments = token.split_contents()
    if len(arguments) not in (1, 2):
        raise template.TemplateSyntaxError(
            f"{{% {tag} %}} takes a flag's name and, if it is not request.user, a user "
            'or an id: {% ifflag "notifications-v2" payment.user_id %}.'
        )
    name, *subject = [parser.compile_filter(each) for each in arguments]
    on, off = parser.parse(("else", "endifflag")), NodeList()
    if parser.next_token().contents == "else":
        off = parser.parse(("endifflag",))
        parser.delete_first_token()
    return IfFlagNode(name, subject[0] if subject else None, on, off)
