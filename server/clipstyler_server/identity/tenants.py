"""The file of tenants: their limits, and the certificates by which they are known."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clipstyler_server.identity.private_files import IdentityError, read_private
from clipstyler_server.identity.roles import TENANT_RULE, Limits, Role, is_tenant_name

_Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
# Below the smallest size of a stylization there is nothing that a tenant could ask for.
_Size = Annotated[int, Field(ge=64, le=2**31 - 1)]


class _LimitsTable(BaseModel):
    """What a table of limits may have."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    max_calls: _Count | None = None
    calls_per_minute: _Count | None = None
    call_burst: _Count | None = None
    queue_share: Annotated[float, Field(gt=0, le=1)] | None = None
    max_stored_bytes: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    max_size: _Size | None = None
    max_steps: _Count | None = None
    max_output_size: _Size | None = None


class _TenantTable(_LimitsTable):
    """What the table of a tenant may have."""

    certificates: list[Annotated[str, Field(min_length=1)]] = []
    role: Annotated[Role, Field(strict=False)] = Role.USER


class _File(BaseModel):
    """What the file may have."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    default: _LimitsTable = _LimitsTable()
    tenants: dict[str, _TenantTable] = {}


@dataclass(frozen=True)
class CertificateOwner:
    """The tenant and the role that a certificate stands for."""

    tenant: str
    role: Role


@dataclass(frozen=True)
class Tenants:
    """What is known of tenants.

    Attributes
    ----------
    default
        Limits of tenants that the file does not name.
    limits
        By tenant, with the default filled in.
    certificates
        Owners of client certificates, by a name in the certificate: a URI, a DNS name, an email address, or the common
        name of one that has none of these.
    """

    default: Limits = field(default_factory=Limits)
    limits: Mapping[str, Limits] = field(default_factory=dict)
    certificates: Mapping[str, CertificateOwner] = field(default_factory=dict)

    def limits_of(self, tenant: str) -> Limits:
        """Return the limits of a tenant."""
        return self.limits.get(tenant, self.default)


def read_tenants(path: Path) -> Tenants:
    """Read the file of tenants.

    Raises
    ------
    IdentityError
        It cannot be read, others may change it, or it has bad values: all are named.
    """
    content = read_private(path)
    try:
        tables = _File.model_validate(tomllib.loads(content.decode()))
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors())
        raise IdentityError(f"{path}: {'; '.join(problems)}") from error
    except (ValueError, RecursionError) as error:  # no text, no TOML, or a number that is too long for Python
        raise IdentityError(f"{path} is not TOML: {error}") from error
    return _tenants(tables, path)


def _tenants(tables: _File, path: Path) -> Tenants:
    default = Limits(**tables.default.model_dump())
    limits: dict[str, Limits] = {}
    certificates: dict[str, CertificateOwner] = {}
    problems = []
    for tenant, table in tables.tenants.items():
        if not is_tenant_name(tenant):
            problems.append(f"tenants.{tenant}: a name has {TENANT_RULE}")
        own: dict[str, Any] = table.model_dump(exclude={"certificates", "role"}, exclude_none=True)
        limits[tenant] = replace(default, **own)
        for name in table.certificates:
            if name in certificates:
                problems.append(f"tenants.{tenant}.certificates: {name} belongs to {certificates[name].tenant} too")
            certificates[name] = CertificateOwner(tenant, table.role)
    if problems:
        raise IdentityError(f"{path}: {'; '.join(problems)}")
    return Tenants(default, limits, certificates)
