"""JMESPath within bounds: a tenant's expression works in proportion to the record, whatever it says.

The language only ever reads, but `[@,@]|[@,@]|...` doubles with each stage: 143 characters of it make 200 MB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.parser import ParsedResult
from jmespath.visitor import Options, TreeInterpreter

#: What the expressions of one record may come to together: steps taken, and values made on the way.
MOST_EFFORT: Final = 200_000
_CHARACTERS = 64
_OPTIONS = Options(custom_functions=Functions())
#: What makes new values; everything else takes one out of another.
_MAKERS = frozenset(
    (
        "filter_projection",
        "flatten",
        "function_expression",
        "multi_select_dict",
        "multi_select_list",
        "projection",
        "value_projection",
    )
)


class TooMuch(JMESPathError):  # type: ignore[misc]  # the library has no types
    """The expressions of a record ask for more than a record is worth."""


class Evaluation(TreeInterpreter):  # type: ignore[misc]
    """Evaluates the expressions of one record. Raises JMESPathError, TooMuch among them."""

    def __init__(self, most: int = MOST_EFFORT) -> None:
        super().__init__(_OPTIONS)
        self._left = most

    def search(self, expression: ParsedResult, document: Any) -> Any:
        return self.visit(expression.parsed, document)

    def visit(self, node: Any, *values: Any) -> Any:
        self._left -= 1
        result = super().visit(node, *values)
        if self._left < 0 or node["type"] in _MAKERS:
            self._spend(_effort(result, self._left))
        return result

    def visit_function_expression(self, node: Any, value: Any) -> Any:
        arguments = [self.visit(child, value) for child in node["children"]]
        if node["value"] == "join":  # the one function that makes more than it is given
            self._spend(_joined(arguments))
        return self._functions.call_function(node["value"], arguments)

    def _spend(self, effort: int) -> None:
        self._left -= effort
        if self._left < 0:
            raise TooMuch("The expressions ask for more than a record is worth.")


def _effort(value: Any, most: int) -> int:
    """Values in a value, and one more for every 64 characters; counts no further than beyond `most`."""
    count, waiting = 1, [value]
    while waiting and count <= most:
        one = waiting.pop()
        if isinstance(one, str):
            count += len(one) // _CHARACTERS
        elif isinstance(one, list | dict):
            count += len(one)
            if count <= most:
                waiting.extend(one.values() if isinstance(one, dict) else one)
    return count


def _joined(arguments: Sequence[Any]) -> int:
    match arguments:
        case [str() as glue, list() as parts]:
            return len(glue) * len(parts) // _CHARACTERS
    return 0
