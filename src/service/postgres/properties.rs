//! What belongs to a database as a whole, as a psql script: owner, grants, settings (also those of roles in it), connection
//! limit, whether it is a template, comment, security labels. `pg_dump` keeps these only for a restore that creates the database under its old
//! name; here they name the database that psql is connected to, so that they can be put on one restored beside it.
//!
//! Not here: encoding and locale, which only a new database can be given.

use crate::context::Context;
use crate::error::Result;
use crate::service::Running;
use crate::service::postgres::session::Session;

/// The script for a database: `ALTER DATABASE :"DBNAME" …`, deterministic. It wants the psql variables `owner` and `acl`
/// (true or false), which say whether these are put back too.
pub async fn script(ctx: &Context, server: &dyn Running, database: &str) -> Result<String> {
    let session = Session::open(ctx, server, database).await?;
    let mut script = String::new();
    for row in session.rows(ctx, STATEMENTS).await? {
        for statement in row.into_iter().flatten() {
            let only_if = match statement.split_whitespace().next() {
                Some("GRANT" | "REVOKE") => "acl",
                _ if statement.starts_with(OWNER) => "owner",
                _ => "",
            };
            script.push_str(&match only_if {
                "" => format!("{statement};\n"),
                variable => format!("\\if :{variable}\n{statement};\n\\endif\n"),
            });
        }
    }
    Ok(script)
}

/// How the statement about the owner begins.
const OWNER: &str = "ALTER DATABASE :\"DBNAME\" OWNER TO ";

/// Values of settings that are lists of names are stored quoted as names (GUC_LIST_QUOTE in guc_tables.c) and go in as they
/// are; a colon could be taken for a psql variable outside of quotes only, where these values have none.
const STATEMENTS: &str = r#"
with here as (select * from pg_database where datname = current_database())
select s from (
  select 1, format('ALTER DATABASE :"DBNAME" OWNER TO %I', pg_get_userbyid(datdba)) from here
  union all
  select 2, format('ALTER DATABASE :"DBNAME" CONNECTION LIMIT %s', datconnlimit) from here where datconnlimit >= 0
  union all
  select 3, format('COMMENT ON DATABASE :"DBNAME" IS %L', shobj_description(oid, 'pg_database')) from here
  where shobj_description(oid, 'pg_database') is not null
  union all
  select 4, format('SECURITY LABEL FOR %I ON DATABASE :"DBNAME" IS %L', l.provider, l.label)
  from here join pg_shseclabel l on l.objoid = here.oid and l.classoid = 'pg_database'::regclass
  union all
  select 5, format('REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC, %I', pg_get_userbyid(datdba)) from here where datacl is not null
  union all
  select 6, format('GRANT %s ON DATABASE :"DBNAME" TO %s%s', string_agg(g.privilege_type, ', ' order by g.privilege_type),
    case g.grantee when 0 then 'PUBLIC' else quote_ident(pg_get_userbyid(g.grantee)) end,
    case when g.is_grantable then ' WITH GRANT OPTION' end)
  from (select distinct g.grantee, g.privilege_type, g.is_grantable from here, aclexplode(datacl) g) g
  group by g.grantee, g.is_grantable
  union all
  select 8, 'ALTER DATABASE :"DBNAME" IS_TEMPLATE true' from here where datistemplate
  union all
  select 7, format('ALTER %s SET %s TO %s',
    case c.setrole when 0 then 'DATABASE :"DBNAME"' else format('ROLE %I IN DATABASE :"DBNAME"', pg_get_userbyid(c.setrole)) end,
    quote_ident(c.name),
    case when c.name in ('local_preload_libraries', 'search_path', 'session_preload_libraries', 'shared_preload_libraries',
        'temp_tablespaces', 'unix_socket_directories')
      then case c.value when '' then '''''' else replace(c.value, '""', '''''') end
      else quote_literal(c.value) end)
  from (select setrole, split_part(v, '=', 1) as name, substr(v, strpos(v, '=') + 1) as value
    from pg_db_role_setting s cross join lateral unnest(s.setconfig) v where s.setdatabase = (select oid from here)) c
) statements (n, s)
order by n, s collate "C""#;
