"""Tables below each other whose columns differ."""

from __future__ import annotations

import pyarrow as pa

from csirt.model import ecs


def union(left: pa.Schema | None, right: pa.Schema) -> pa.Schema | None:
    """The columns of both schemas; None when a column, or the metadata, has two meanings."""
    if left is None:
        return right
    fields = {field.name: field.type for field in left}
    for field in right:
        kind = _common(fields.get(field.name), field.type)
        if kind is None:
            return None
        fields[field.name] = kind
    mine, theirs = left.metadata or {}, right.metadata or {}
    if any(theirs[key] != mine[key] for key in mine.keys() & theirs.keys()):
        return None
    return pa.schema(list(fields.items()), metadata={**mine, **theirs} or None)


def _common(left: pa.DataType | None, right: pa.DataType) -> pa.DataType | None:
    if left is None or left == right or pa.types.is_null(left):
        return right
    if pa.types.is_null(right):
        return left
    texts = (ecs.TEXT, pa.string())
    return ecs.TEXT if left in texts and right in texts else None


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly these columns; absent ones are null."""
    if table.schema.equals(schema, check_metadata=False):
        return table.replace_schema_metadata(schema.metadata)
    columns = []
    for field in schema:
        index = table.schema.get_field_index(field.name)
        if index < 0:
            columns.append(_nulls(table.num_rows, field.type))
            continue
        column = table.column(index)
        if column.type != field.type:
            column = column.dictionary_encode() if pa.types.is_string(column.type) else column.cast(field.type)
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=schema)


def _nulls(rows: int, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(pa.nulls(rows, kind.index_type), pa.array([], kind.value_type))
    return pa.nulls(rows, kind)


def stack(tables: list[pa.Table]) -> list[pa.Table]:
    """The tables below each other, in as few tables as their columns allow; order is kept within each."""
    groups: list[tuple[pa.Schema, list[pa.Table]]] = []
    for table in tables:
        for index, (schema, members) in enumerate(groups):
            wider = union(schema, table.schema)
            if wider is not None:
                groups[index] = (wider, [*members, table])
                break
        else:
            groups.append((table.schema, [table]))
    return [_concat(members, schema) for schema, members in groups]


def _concat(tables: list[pa.Table], schema: pa.Schema) -> pa.Table:
    return tables[0] if len(tables) == 1 else pa.concat_tables([conform(table, schema) for table in tables])
