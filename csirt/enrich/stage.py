"""The enrichment stage: a batch and the register give the same rows with more columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from csirt.enrich import agreed, edi, mail
from csirt.enrich.columns import Classes, boolean
from csirt.enrich.indicators.marker import Marker
from csirt.enrich.indicators.values import Indicator
from csirt.enrich.kernels import cross
from csirt.enrich.register import Register
from csirt.enrich.spaces import Spaces
from csirt.model.batch import Batch

_ENRICHED = frozenset({"flow", "dns", "tls", "http", "mail", "edi"})


class _Compiled:
    """A register with everything the columns need, made once per register."""

    def __init__(self, register: Register, vrfs: Mapping[str, str], indicators: Iterable[Indicator]) -> None:
        self.register = register
        self.marker = Marker(indicators)
        self.spaces = Spaces(register, vrfs)
        self.classes = Classes(register)
        self.agreements = agreed.Agreements(register, self.classes)
        self.domains = mail.Domains(register, self.classes)


class Enricher:
    """Adds the columns of `ecs.ENRICHED`. Safe to use from several threads while `replace` runs."""

    def __init__(
        self, register: Register, *, vrfs: Mapping[str, str] | None = None, indicators: Iterable[Indicator] = ()
    ) -> None:
        """`vrfs`: exporter address -> VRF, for exporters whose flows belong to another VRF than their source's.
        `indicators`: what events may meet."""
        self._vrfs, self._indicators = dict(vrfs or {}), list(indicators)
        self._compiled = _Compiled(register, self._vrfs, self._indicators)

    @property
    def register(self) -> Register:
        """The register in use."""
        return self._compiled.register

    @property
    def version(self) -> str:
        """The version of the register in use, for the record of what enriched a batch."""
        return self._compiled.register.version

    def replace(self, register: Register) -> None:
        """Use another register from the next batch on; a batch under way keeps the one it began with."""
        self._compiled = _Compiled(register, self._vrfs, self._indicators)

    def apply(self, batch: Batch, *, vrf: str = "") -> Batch:
        """The batch with enrichment columns; datasets without ends are returned as they are. Where no member is
        registered, nothing is claimed of an end: mail rows get what is said of domains, the others nothing. Events that
        meet an indicator say which.

        `vrf`: the VRF of addresses whose exporter and interface have no space of their own.
        """
        if batch.dataset not in _ENRICHED:
            return batch
        use = self._compiled
        met = use.marker.columns(batch.dataset, batch.table)
        if met:
            batch = Batch(batch.dataset, _with(batch.table, met))
        nobody = use.register.knows_nobody
        if nobody and batch.dataset != "mail":
            return batch
        table = batch.table
        source = use.spaces.classes(table, "source", vrf)
        destination = use.spaces.classes(table, "destination", vrf)
        columns: dict[str, pa.Array] = {}
        if batch.dataset == "mail":
            source, destination, more = mail.ends(use.domains, table, source, destination)
            if nobody:
                return Batch(batch.dataset, _with(table, more))
            columns |= more
        elif batch.dataset == "edi":
            source, destination, more = edi.ends(use.register, use.classes, table, source, destination)
            columns |= more
        columns |= use.classes.columns("source", source)
        columns |= use.classes.columns("destination", destination)
        crossing = np.empty(batch.rows, np.int8)
        cross(source, destination, use.classes.member, crossing)
        columns["csirt.cross_member"] = boolean(crossing)
        if "destination.port" in table.column_names:
            columns["csirt.agreement"] = use.agreements.column(table, source, destination)
            columns["csirt.supplier_window"] = agreed.windows(use.register, use.classes, table, source, destination)
        return Batch(batch.dataset, _with(table, columns))


def _with(table: pa.Table, columns: dict[str, pa.Array]) -> pa.Table:
    """The table with columns added, or replaced where an earlier enrichment left them."""
    names = [name for name in table.column_names if name not in columns]
    arrays = [table.column(name) for name in names]
    return pa.Table.from_arrays([*arrays, *columns.values()], names=[*names, *columns])
