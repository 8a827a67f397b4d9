"""The composition of privacy, each part built on first use."""

from __future__ import annotations

from collections.abc import Sequence

from domain.ports import Cipher, Clock, IdGenerator, SecretStore
from domain.privacy.erasing import ErasureService
from domain.privacy.exporting import ExportService
from domain.privacy.places import Place, places
from domain.privacy.suppression import Suppression
from domain.unit_of_work import UnitsOfWork
from infra.once import once


class PrivacyParts:
    def __init__(
        self, units: UnitsOfWork, secrets: SecretStore, cipher: Cipher, clock: Clock, ids: IdGenerator
    ) -> None:
        self._units = units
        self._secrets = secrets
        self._cipher = cipher
        self._clock = clock
        self._ids = ids

    @once
    def suppression(self) -> Suppression:
        return Suppression(self._secrets)

    @once
    def places(self) -> Sequence[Place]:
        return places(self._cipher)

    @once
    def erasures(self) -> ErasureService:
        return ErasureService(
            self._units, self.suppression, self.places, self._cipher, self._clock, self._ids
        )

    @once
    def exports(self) -> ExportService:
        return ExportService(self._units, self.places, self._clock, self._ids)
