-- Roles, memberships and settings of the cluster, and the properties of the database itself (under no name, as a
-- recovery may restore it beside the lost one).
-- kind, identity, definition, whether the definition holds expressions as the server prints them.
select 'role' as kind, quote_ident(rolname) as identity,
  concat_ws(' ',
    case when rolcanlogin then 'login' else 'nologin' end, case when rolsuper then 'superuser' end,
    case when rolinherit then 'inherit' else 'noinherit' end, case when rolcreaterole then 'createrole' end,
    case when rolcreatedb then 'createdb' end, case when rolreplication then 'replication' end,
    case when rolbypassrls then 'bypassrls' end, 'connection limit ' || nullif(rolconnlimit, -1),
    'valid until ' || rolvaliduntil) as definition,
  false as expressions
from pg_roles where rolname !~ '^pg_'

union all
select 'password', quote_ident(rolname), case when rolpassword is null then 'none' else 'set' end, false
from pg_authid where rolname !~ '^pg_'

union all
-- What a membership says since 16 is told where it is not what it was before: a member inherits when its role does.
select 'member', format('%I of %I', m.rolname, r.rolname),
  concat_ws(' ', 'member', case when a.admin_option then 'admin' end,
    'inherit ' || case when bool_and((to_jsonb(a) ->> 'inherit_option')::boolean) is distinct from m.rolinherit
      then bool_and((to_jsonb(a) ->> 'inherit_option')::boolean)::text end,
    case when not bool_and((to_jsonb(a) ->> 'set_option')::boolean) then 'set false' end),
  false
from pg_auth_members a join pg_roles m on m.oid = a.member join pg_roles r on r.oid = a.roleid
group by m.rolname, m.rolinherit, r.rolname, a.admin_option

union all
select 'setting',
  concat_ws(' ',
    case when s.setrole <> 0 then format('of role %I', pg_get_userbyid(s.setrole)) end,
    case when s.setdatabase <> 0 then 'of the database' end,
    split_part(c, '=', 1)),
  substr(c, strpos(c, '=') + 1), false
from pg_db_role_setting s cross join lateral unnest(s.setconfig) c
where s.setdatabase in (0, (select oid from pg_database where datname = current_database()))

union all
-- Where on a disk it is, is the machine's.
select 'tablespace', quote_ident(t.spcname),
  concat_ws('; ', 'owner ' || quote_ident(pg_get_userbyid(t.spcowner)),
    'granted ' || (select string_agg(concat_ws(' ', case g.grantee when 0 then 'PUBLIC' else quote_ident(pg_get_userbyid(g.grantee)) end,
      g.privilege_type, case when g.is_grantable then 'grantable' end), ', ' order by pg_get_userbyid(g.grantee) collate "C")
      from aclexplode(t.spcacl) g where g.grantee <> t.spcowner),
    'with ' || (select string_agg(o, ', ' order by o collate "C") from unnest(t.spcoptions) o)),
  false
from pg_tablespace t where t.oid >= 16384

union all
select 'comment tablespace', quote_ident(t.spcname), d.description, false
from pg_shdescription d join pg_tablespace t on t.oid = d.objoid where d.classoid = 'pg_tablespace'::regclass and t.oid >= 16384

union all
select 'placement', 'database', quote_ident(t.spcname), false
from pg_database d join pg_tablespace t on t.oid = d.dattablespace
where d.datname = current_database() and t.spcname <> 'pg_default'

union all
select 'comment role', quote_ident(r.rolname), d.description, false
from pg_shdescription d join pg_roles r on r.oid = d.objoid where d.classoid = 'pg_authid'::regclass

union all
select 'comment', 'database', d.description, false
from pg_shdescription d join pg_database b on b.oid = d.objoid and b.datname = current_database()
where d.classoid = 'pg_database'::regclass

union all
select 'security-label', format('%s by %s', case l.classoid when 'pg_authid'::regclass then 'role ' || quote_ident(pg_get_userbyid(l.objoid)) else 'database' end, l.provider),
  l.label, false
from pg_shseclabel l
where l.classoid = 'pg_authid'::regclass
  or l.classoid = 'pg_database'::regclass and l.objoid = (select oid from pg_database where datname = current_database())

union all
select 'database', p.name, p.value, false
from pg_database d cross join lateral (values
  ('encoding', pg_encoding_to_char(d.encoding)),
  ('collate', d.datcollate),
  ('ctype', d.datctype),
  ('locale provider', coalesce(to_jsonb(d) ->> 'datlocprovider', 'c')),
  ('locale', coalesce(to_jsonb(d) ->> 'daticulocale', to_jsonb(d) ->> 'datlocale')),
  ('locale rules', to_jsonb(d) ->> 'daticurules'),
  ('connection limit', d.datconnlimit::text),
  ('is a template', nullif(d.datistemplate, false)::text)) p (name, value)
where d.datname = current_database() and p.value is not null

union all
select 'owner database', '', quote_ident(pg_get_userbyid(datdba)), false
from pg_database where datname = current_database()

union all
select 'grant database',
  case g.grantee when 0 then 'to PUBLIC' when d.datdba then 'to (owner)' else 'to ' || quote_ident(pg_get_userbyid(g.grantee)) end,
  string_agg(distinct g.privilege_type || case when g.is_grantable then '*' else '' end, ', '
    order by g.privilege_type || case when g.is_grantable then '*' else '' end),
  false
from pg_database d cross join lateral aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) g
where d.datname = current_database()
group by d.datdba, g.grantee
