-- Owners, grants, comments and security labels of every class of object.
-- kind, identity, definition, whether the definition holds expressions as the server prints them.
with member as (select classid, objid from pg_depend where deptype = 'e'),
thing (classid, objid, subid, owner, acl, sort) as (
  select 'pg_class'::regclass::oid, oid, 0, relowner, relacl, (case relkind when 'S' then 's' else 'r' end)::"char"
  from pg_class where relkind in ('r', 'p', 'v', 'm', 'S', 'f') and relpersistence <> 't'
  union all select 'pg_class'::regclass, attrelid, attnum::int, c.relowner, attacl, 'c'
  from pg_attribute a join pg_class c on c.oid = a.attrelid where a.attacl is not null and not a.attisdropped
  union all select 'pg_proc'::regclass, oid, 0, proowner, proacl, 'f' from pg_proc
  union all select 'pg_namespace'::regclass, oid, 0, nspowner, nspacl, 'n' from pg_namespace where nspname !~ '^pg_(toast_)?temp_'
  union all select 'pg_type'::regclass, t.oid, 0, t.typowner, t.typacl, 'T' from pg_type t
  where (t.typtype in ('e', 'd', 'r') or t.typtype = 'b' and not (t.typcategory = 'A' and t.typelem <> 0)
    or exists (select from pg_class c where c.oid = t.typrelid and c.relkind = 'c'))
  union all select 'pg_language'::regclass, oid, 0, lanowner, lanacl, 'l' from pg_language
  union all select 'pg_foreign_data_wrapper'::regclass, oid, 0, fdwowner, fdwacl, 'F' from pg_foreign_data_wrapper
  union all select 'pg_foreign_server'::regclass, oid, 0, srvowner, srvacl, 'S' from pg_foreign_server
  union all select 'pg_collation'::regclass, oid, 0, collowner, null, null from pg_collation
  union all select 'pg_conversion'::regclass, oid, 0, conowner, null, null from pg_conversion
  union all select 'pg_operator'::regclass, oid, 0, oprowner, null, null from pg_operator
  union all select 'pg_opclass'::regclass, oid, 0, opcowner, null, null from pg_opclass
  union all select 'pg_opfamily'::regclass, oid, 0, opfowner, null, null from pg_opfamily
  union all select 'pg_ts_config'::regclass, oid, 0, cfgowner, null, null from pg_ts_config
  union all select 'pg_ts_dict'::regclass, oid, 0, dictowner, null, null from pg_ts_dict
  union all select 'pg_statistic_ext'::regclass, oid, 0, stxowner, null, null from pg_statistic_ext
  union all select 'pg_event_trigger'::regclass, oid, 0, evtowner, null, null from pg_event_trigger
  union all select 'pg_publication'::regclass, oid, 0, pubowner, null, null from pg_publication
  union all select 'pg_subscription'::regclass, oid, 0, subowner, null, null from pg_subscription
  where subdbid = (select oid from pg_database where datname = current_database())
),
-- The objects of the database itself, and those of the system and of extensions whose grants were changed.
named as (
  select i.type || ' ' || i.identity as name, o.*
  from (
    select t.*, (t.objid >= 16384 or t.classid = 'pg_namespace'::regclass and t.objid = 'public'::regnamespace)
      and (t.classid, t.objid) not in (select classid, objid from member) as ours
    from thing t
    left join pg_init_privs p on p.classoid = t.classid and p.objoid = t.objid and p.objsubid = t.subid
    where t.objid >= 16384 and (t.classid, t.objid) not in (select classid, objid from member)
      or t.classid = 'pg_namespace'::regclass and t.objid = 'public'::regnamespace
      or t.acl is distinct from p.initprivs
        and (select array_agg(a::text order by a::text) from unnest(coalesce(t.acl, acldefault(t.sort, t.owner))) a)
          is distinct from (select array_agg(a::text order by a::text) from unnest(coalesce(p.initprivs, acldefault(t.sort, t.owner))) a)
  ) o cross join lateral pg_identify_object(o.classid, o.objid, o.subid) i
)
select 'owner ' || n.name, '' as identity, quote_ident(pg_get_userbyid(n.owner)) as definition, false as expressions
from named n where n.ours and n.subid = 0

union all
-- Privileges that come with ownership are those of "(owner)", whoever that is. All that there are is ALL, as it was granted:
-- newer versions have more of them.
select 'grant ' || n.name,
  case g.grantee when 0 then 'to PUBLIC' when n.owner then 'to (owner)' else 'to ' || quote_ident(pg_get_userbyid(g.grantee)) end,
  case when count(distinct g.privilege_type) = (select count(*) from aclexplode(acldefault(n.sort, n.owner)) a where a.grantee = n.owner)
      and bool_and(g.is_grantable) = bool_or(g.is_grantable)
    then case when bool_and(g.is_grantable) then 'ALL*' else 'ALL' end
    else string_agg(distinct g.privilege_type || case when g.is_grantable then '*' else '' end, ', '
      order by g.privilege_type || case when g.is_grantable then '*' else '' end)
  end,
  false
from named n cross join lateral aclexplode(coalesce(n.acl, acldefault(n.sort, n.owner))) g
where n.sort is not null
group by n.name, n.sort, g.grantee, n.owner

union all
-- Large objects can be many: they are told together, by owner and by grantee.
select 'owner large objects', quote_ident(pg_get_userbyid(lomowner)),
  format('%s, %s', count(*), sum(hashint8extended(oid::bigint, 1))), false
from pg_largeobject_metadata group by lomowner

union all
select 'grant large objects',
  case g.grantee when 0 then 'to PUBLIC' when lomowner then 'to (owner)' else 'to ' || quote_ident(pg_get_userbyid(g.grantee)) end,
  format('%s, %s', count(*), sum(hashtextextended(concat(m.oid, g.privilege_type, g.is_grantable), 1))), false
from pg_largeobject_metadata m cross join lateral aclexplode(coalesce(m.lomacl, acldefault('L', m.lomowner))) g
group by 2

union all
select 'default-grant',
  format('of %I in %s on %s', pg_get_userbyid(a.defaclrole), coalesce(quote_ident(n.nspname), 'every schema'),
    case a.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' when 'T' then 'types' when 'n' then 'schemas'
      else a.defaclobjtype::text end),
  coalesce((select string_agg(x, ', ' order by x) from (
    select format('%s to %s',
      case when count(distinct g.privilege_type) = (select count(*)
          from aclexplode(acldefault(case a.defaclobjtype when 'S' then 's' else a.defaclobjtype end, a.defaclrole)) d
          where d.grantee = a.defaclrole)
          and bool_and(g.is_grantable) = bool_or(g.is_grantable)
        then case when bool_and(g.is_grantable) then 'ALL*' else 'ALL' end
        else string_agg(distinct g.privilege_type || case when g.is_grantable then '*' else '' end, ' '
          order by g.privilege_type || case when g.is_grantable then '*' else '' end)
      end,
      case g.grantee when 0 then 'PUBLIC' when a.defaclrole then '(owner)' else quote_ident(pg_get_userbyid(g.grantee)) end) as x
    from aclexplode(a.defaclacl) g group by g.grantee) e), 'nothing'),
  false
from pg_default_acl a left join pg_namespace n on n.oid = a.defaclnamespace

union all
select 'comment ' || i.type, i.identity, d.description, false
from pg_description d cross join lateral pg_identify_object(d.classoid, d.objoid, d.objsubid) i
where (d.objoid >= 16384 or d.classoid = 'pg_namespace'::regclass and d.objoid = 'public'::regnamespace)
  and d.classoid not in ('pg_largeobject'::regclass, 'pg_extension'::regclass)
  and (d.classoid, d.objoid) not in (select classid, objid from member)

union all
select 'comment extension', format('%I', x.extname), d.description, false
from pg_description d join pg_extension x on x.oid = d.objoid and d.classoid = 'pg_extension'::regclass

union all
select 'comment', 'large objects', format('%s, %s', count(*), sum(hashtextextended(objoid || ' ' || description, 1))), false
from pg_description where classoid = 'pg_largeobject'::regclass having count(*) > 0

union all
select 'security-label ' || i.type, format('%s by %s', i.identity, l.provider), l.label, false
from pg_seclabel l cross join lateral pg_identify_object(l.classoid, l.objoid, l.objsubid) i
where (l.classoid, l.objoid) not in (select classid, objid from member)
