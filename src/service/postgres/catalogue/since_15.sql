-- What came with PostgreSQL 15.
-- kind, identity, definition, whether the definition holds expressions as the server prints them.
select 'publication-schema' as kind, format('%I: %I', p.pubname, n.nspname) as identity, 'schema' as definition, false as expressions
from pg_publication_namespace s join pg_publication p on p.oid = s.pnpubid join pg_namespace n on n.oid = s.pnnspid

union all
select 'publication-filter', format('%I: %s', p.pubname, r.prrelid::regclass),
  concat_ws(' ',
    'columns ' || (select string_agg(format('%I', a.attname), ', ' order by a.attname collate "C")
      from pg_attribute a where a.attrelid = r.prrelid and a.attnum = any (r.prattrs::int2[])),
    'where ' || pg_get_expr(r.prqual, r.prrelid)),
  true
from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
where r.prattrs is not null or r.prqual is not null

union all
select 'grant parameter ' || a.parname,
  case g.grantee when 0 then 'to PUBLIC' else 'to ' || quote_ident(pg_get_userbyid(g.grantee)) end,
  string_agg(distinct g.privilege_type || case when g.is_grantable then '*' else '' end, ', '
    order by g.privilege_type || case when g.is_grantable then '*' else '' end),
  false
from pg_parameter_acl a cross join lateral aclexplode(a.paracl) g
group by a.parname, g.grantee

union all
select 'database', 'collation version', pg_database_collation_actual_version(oid), false
from pg_database where datname = current_database() and pg_database_collation_actual_version(oid) is not null
