"""Answers in XML."""

from __future__ import annotations

from xml.etree.ElementTree import Element, ParseError, fromstring

from domain.providers.contract import ProviderFailure, ProviderResponse


def xml_document(response: ProviderResponse) -> Element:
    """The root element. A document type declaration is refused, and with it every entity trick (XXE, billion
    laughs); so is anything but UTF-8, in which the declaration could hide. Raises ProviderFailure (malformed)."""
    try:
        text = response.body.decode("utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise ValueError
        return fromstring(text)  # noqa: S314 - no DTD reaches the parser
    except (ValueError, ParseError, RecursionError):
        raise ProviderFailure(
            "malformed", "The provider's answer is not valid XML.", status=response.status
        ) from None


def error_code(response: ProviderResponse) -> str:
    """The text of `<Code>`, as S3 and Azure Storage name an error; "" when there is none."""
    try:
        root = xml_document(response)
    except ProviderFailure:
        return ""
    return (root.findtext("Code") or "").strip()
