"""Who may do what to a table, carried over to another one that stands in for it or holds a part of its rows."""

from typing import Final

from sqlalchemy import Connection, text

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


def copy_grants(connection: Connection, source: str, target: str) -> None:
    """Let everybody but the owner do to the table `target` what they may do to `source`, and nothing else.

    A new table has the owner's default privileges and no other: without this, who is not the owner is locked out of
    it. Both have the same columns. PostgreSQL, "Privileges" and `aclexplode`.
    """
    for role in sorted({one.role for one in connection.execute(text(_GIVEN), {"of": target})}):
        connection.exec_driver_sql(f"REVOKE ALL ON {target} FROM {role} CASCADE")
    for one in connection.execute(text(_GIVEN), {"of": source}).all():
        what = f"{one.privilege_type} ({one.column})" if one.column else one.privilege_type
        option = " WITH GRANT OPTION" if one.is_grantable else ""
        connection.exec_driver_sql(f"GRANT {what} ON {target} TO {one.role}{option}")
