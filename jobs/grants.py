"""Whose a table is and who may do what to it, carried over to another that stands in for it or has some of its rows."""

from typing import Final

from sqlalchemy import Connection, text

_OWNER: Final = """
    SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class WHERE oid = CAST(:source AS regclass)
    AND relowner <> (SELECT relowner FROM pg_class WHERE oid = CAST(:target AS regclass))
"""
_GIVEN: Final = """
    SELECT privilege_type, quote_ident(attname) AS column, is_grantable,
           CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS role
    FROM (SELECT relowner, NULL AS attname, relacl AS acl FROM pg_class WHERE oid = CAST(:of AS regclass)
          UNION ALL
          SELECT relowner, attname, attacl FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
          WHERE attrelid = CAST(:of AS regclass) AND NOT attisdropped) AS each,
         LATERAL aclexplode(acl)
    WHERE grantee <> relowner
"""


def copy_rights(connection: Connection, source: str, target: str) -> None:
    """Let the table `target` belong to whom `source` does, and others do to it what they may do to `source`, no more.

    A new table belongs to who made it, a superuser perhaps, and has that role's default privileges: without this
    everybody else is locked out, the owner of `source` too. Both have the same columns. PostgreSQL, "Privileges",
    `aclexplode` and `ALTER TABLE`.
    """
    if owner := connection.execute(text(_OWNER), {"source": source, "target": target}).scalar():
        connection.exec_driver_sql(f"ALTER TABLE {target} OWNER TO {owner}")
    for role in sorted({one.role for one in connection.execute(text(_GIVEN), {"of": target})}):
        connection.exec_driver_sql(f"REVOKE ALL ON {target} FROM {role} CASCADE")
    for one in connection.execute(text(_GIVEN), {"of": source}).all():
        what = f"{one.privilege_type} ({one.column})" if one.column else one.privilege_type
        option = " WITH GRANT OPTION" if one.is_grantable else ""
        connection.exec_driver_sql(f"GRANT {what} ON {target} TO {one.role}{option}")
