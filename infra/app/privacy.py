"""Builds the use cases of privacy."""

from __future__ import annotations

from domain.privacy.erasing import ErasureService
from domain.privacy.exporting import ExportService
from domain.privacy.places import places
from domain.privacy.suppression import SuppressionList
from infra.app.hub import Hub, builds


@builds
def suppression_list(hub: Hub) -> SuppressionList:
    return SuppressionList(hub.transactions, hub.secrets)


@builds
def erasure_service(hub: Hub) -> ErasureService:
    return ErasureService(
        hub.transactions,
        hub.use(SuppressionList),
        places(hub.cipher),
        cipher=hub.cipher,
        clock=hub.clock,
        ids=hub.ids,
    )


@builds
def export_service(hub: Hub) -> ExportService:
    return ExportService(hub.transactions, places(hub.cipher), hub.clock, hub.ids)
