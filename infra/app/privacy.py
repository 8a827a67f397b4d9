"""The composition of privacy, each part built on first use."""

from __future__ import annotations

from collections.abc import Sequence

from domain.core.ports import Cipher, Clock, IdGenerator, SecretStore
from domain.privacy.erasing import ErasureService
from domain.privacy.exporting import ExportService
from domain.privacy.places import Place, places
from domain.privacy.suppression import SuppressionList
from infra.app.once import once
from infra.sql.transaction import SqlTransactions


class PrivacyParts:
    def __init__(
        self,
        transactions: SqlTransactions,
        secrets: SecretStore,
        cipher: Cipher,
        clock: Clock,
        ids: IdGenerator,
    ) -> None:
        self._transactions = transactions
        self._secrets = secrets
        self._cipher = cipher
        self._clock = clock
        self._ids = ids

    @once
    def suppression(self) -> SuppressionList:
        return SuppressionList(self._transactions, self._secrets)

    @once
    def places(self) -> Sequence[Place]:
        return places(self._cipher)

    @once
    def erasures(self) -> ErasureService:
        return ErasureService(
            self._transactions,
            self.suppression,
            self.places,
            cipher=self._cipher,
            clock=self._clock,
            ids=self._ids,
        )

    @once
    def exports(self) -> ExportService:
        return ExportService(self._transactions, self.places, self._clock, self._ids)
