"""The Bicep templates, parsed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pycep import BicepParser

from tests import ROOT

BICEP = ROOT / "deploy" / "bicep"


FILES = sorted(BICEP.rglob("*.bicep"))


_PARSER = BicepParser()


def parsed(path: Path) -> dict[str, Any]:
    return dict(_PARSER.parse(text=path.read_text()))


TREE = {path: parsed(path) for path in FILES}


TEXT = {path: path.read_text() for path in FILES}
