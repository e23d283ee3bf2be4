"""Tables of the database. A change needs a migration."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

METADATA = MetaData()
STYLIZATIONS = Table(
    "stylizations",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("request_id", String(36), unique=True),
    Column("payload_digest", String(64), nullable=False),
    Column("address", String(100), nullable=False, server_default=""),
    Column("client", String(200), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("one_shot", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("deadline_at", Double, nullable=False),
    Column("spec", Text, nullable=False),
    Column("content", String(64), nullable=False),
    Column("content_metadata", Text, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("attempts", Integer, nullable=False),
    Column("crashes", Integer, nullable=False, server_default="0"),
    Column("sequence", BigInteger, nullable=False),
    Column("result", String(64)),
    Column("end", Text),
    Column("stored_bytes", BigInteger, nullable=False),
    Column("lease_owner", String(36)),
    Column("lease_until", Double),
    Index("stylizations_newest", "created_at", "id"),
    Index("stylizations_state", "state", "created_at"),
    Index("stylizations_ended", "ended_at"),
    Index("stylizations_content", "content"),
    Index("stylizations_result", "result"),
    Index("stylizations_address", "address", "ended_at"),
)
UPLOADS = Table(
    "uploads",
    METADATA,
    Column("digest", String(64), primary_key=True),
    Column("expires_at", Double, nullable=False),
    Column("address", String(100), nullable=False, server_default=""),
    Column("size_bytes", BigInteger, nullable=False, server_default="0"),
    Column("used_at", Double, nullable=False, server_default="0"),
)
