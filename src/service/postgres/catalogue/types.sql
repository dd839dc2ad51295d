-- Types, functions, operators and everything else that has no rows.
-- kind, identity, definition, whether the definition holds expressions as the server prints them.
with member as (select classid, objid from pg_depend where deptype = 'e'),
type as (
  select t.*, format_type(t.oid, null) as name from pg_type t
  where t.oid >= 16384 and not pg_is_other_temp_schema(t.typnamespace)
    and ('pg_type'::regclass::oid, t.oid) not in (select classid, objid from member)
),
routine as (
  select p.*, format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) as name
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace
  where p.oid >= 16384 and not pg_is_other_temp_schema(p.pronamespace)
    and ('pg_proc'::regclass::oid, p.oid) not in (select classid, objid from member)
)
select 'enum' as kind, t.name as identity,
  (select string_agg(quote_literal(e.enumlabel), ', ' order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid) as definition,
  false as expressions
from type t where t.typtype = 'e'

union all
select 'domain', t.name,
  concat_ws(' ',
    format_type(t.typbasetype, t.typtypmod),
    'collate ' || (select format('%I.%I', n.nspname, l.collname) from pg_collation l join pg_namespace n on n.oid = l.collnamespace
      where l.oid = t.typcollation and t.typcollation <> (select b.typcollation from pg_type b where b.oid = t.typbasetype)),
    case when t.typnotnull then 'not null' end,
    'default ' || pg_get_expr(t.typdefaultbin, 0)),
  true
from type t where t.typtype = 'd'

union all
select 'constraint domain', format('%s.%I', t.name, k.conname), pg_get_constraintdef(k.oid), true
from type t join pg_constraint k on k.contypid = t.oid and k.contype = 'c'

union all
select 'range', t.name,
  concat_ws(' ',
    'of ' || format_type(r.rngsubtype, null),
    'multirange ' || format_type(r.rngmultitypid, null),
    'collate ' || (select format('%I.%I', n.nspname, l.collname) from pg_collation l join pg_namespace n on n.oid = l.collnamespace
      where l.oid = r.rngcollation),
    'operator class ' || (select format('%I.%I', n.nspname, o.opcname) from pg_opclass o join pg_namespace n on n.oid = o.opcnamespace
      where o.oid = r.rngsubopc),
    'canonical ' || nullif(r.rngcanonical, 0)::regprocedure,
    'difference ' || nullif(r.rngsubdiff, 0)::regprocedure),
  false
from type t join pg_range r on r.rngtypid = t.oid

union all
select 'base-type', t.name,
  concat_ws(' ', case when t.typisdefined then 'defined' else 'shell' end, t.typlen, t.typbyval, t.typcategory, t.typispreferred, t.typdelim,
    t.typalign, t.typstorage, format_type(nullif(t.typelem, 0), null), t.typdefault, t.typcollation <> 0,
    nullif(t.typinput, 0)::regprocedure, nullif(t.typoutput, 0)::regprocedure,
    nullif(t.typreceive, 0)::regprocedure, nullif(t.typsend, 0)::regprocedure,
    nullif(t.typmodin, 0)::regprocedure, nullif(t.typmodout, 0)::regprocedure, nullif(t.typanalyze, 0)::regprocedure,
    'subscript ' || nullif(t.typsubscript, 0)::regprocedure),
  false
from type t where t.typtype in ('b', 'p') and not (t.typcategory = 'A' and t.typelem <> 0)

union all
select case p.prokind when 'p' then 'procedure' else 'function' end, p.name, pg_get_functiondef(p.oid), p.prosqlbody is not null
from routine p where p.prokind <> 'a'

union all
select 'aggregate', p.name,
  concat_ws(' ', pg_get_function_arguments(p.oid), 'returns', format_type(p.prorettype, null),
    'parallel ' || p.proparallel::text, 'kind ' || a.aggkind::text || a.aggnumdirectargs,
    'state ' || format_type(a.aggtranstype, null) || ' ' || a.aggtransspace, a.aggtransfn::regprocedure,
    'initial ' || quote_literal(a.agginitval),
    'final ' || nullif(a.aggfinalfn, 0)::regprocedure || a.aggfinalextra || a.aggfinalmodify::text,
    'combine ' || nullif(a.aggcombinefn, 0)::regprocedure,
    'serialize ' || nullif(a.aggserialfn, 0)::regprocedure, 'deserialize ' || nullif(a.aggdeserialfn, 0)::regprocedure,
    'sort operator ' || nullif(a.aggsortop, 0)::regoperator,
    'moving ' || nullif(a.aggmtransfn, 0)::regprocedure || ' ' || nullif(a.aggminvtransfn, 0)::regprocedure
      || ' ' || format_type(a.aggmtranstype, null) || a.aggmtransspace || a.aggmfinalextra || a.aggmfinalmodify::text,
    'moving final ' || nullif(a.aggmfinalfn, 0)::regprocedure, 'moving initial ' || quote_literal(a.aggminitval)),
  false
from routine p join pg_aggregate a on a.aggfnoid = p.oid

union all
select 'event-trigger', format('%I', e.evtname),
  concat_ws(' ', 'on', e.evtevent, 'tags ' || e.evttags::text, e.evtfoid::regprocedure,
    case e.evtenabled when 'O' then 'enabled' when 'D' then 'disabled' when 'R' then 'enabled on replica' else 'enabled always' end),
  false
from pg_event_trigger e
where ('pg_event_trigger'::regclass::oid, e.oid) not in (select classid, objid from member)

union all
select 'extension', format('%I', x.extname), format('version %s in schema %I', x.extversion, n.nspname), false
from pg_extension x join pg_namespace n on n.oid = x.extnamespace

union all
select 'cast', format('(%s as %s)', format_type(c.castsource, null), format_type(c.casttarget, null)),
  concat_ws(' ', 'method ' || c.castmethod::text, 'context ' || c.castcontext::text, nullif(c.castfunc, 0)::regprocedure), false
from pg_cast c
where c.oid >= 16384 and ('pg_cast'::regclass::oid, c.oid) not in (select classid, objid from member)

union all
select 'operator', o.oid::regoperator::text,
  concat_ws(' ', o.oprcode::regprocedure, 'returns ' || format_type(nullif(o.oprresult, 0), null),
    'commutator ' || nullif(o.oprcom, 0)::regoperator, 'negator ' || nullif(o.oprnegate, 0)::regoperator,
    'restrict ' || nullif(o.oprrest, 0)::regprocedure, 'join ' || nullif(o.oprjoin, 0)::regprocedure,
    case when o.oprcanmerge then 'merges' end, case when o.oprcanhash then 'hashes' end),
  false
from pg_operator o
where o.oid >= 16384 and o.oprcode <> 0 and ('pg_operator'::regclass::oid, o.oid) not in (select classid, objid from member)

union all
select 'operator-family', format('%I.%I using %I', n.nspname, f.opfname, m.amname),
  concat_ws('; ',
    (select string_agg(concat_ws(' ', a.amopstrategy, a.amopopr::regoperator, a.amoppurpose::text,
        'by ' || (select format('%I.%I', sn.nspname, sf.opfname) from pg_opfamily sf join pg_namespace sn on sn.oid = sf.opfnamespace
          where sf.oid = a.amopsortfamily)), ', '
      order by format_type(a.amoplefttype, null) collate "C", format_type(a.amoprighttype, null) collate "C", a.amopstrategy)
      from pg_amop a where a.amopfamily = f.oid),
    (select string_agg(format('%s %s', a.amprocnum, a.amproc::regprocedure), ', '
      order by format_type(a.amproclefttype, null) collate "C", format_type(a.amprocrighttype, null) collate "C", a.amprocnum)
      from pg_amproc a where a.amprocfamily = f.oid)),
  false
from pg_opfamily f join pg_namespace n on n.oid = f.opfnamespace join pg_am m on m.oid = f.opfmethod
where f.oid >= 16384 and ('pg_opfamily'::regclass::oid, f.oid) not in (select classid, objid from member)

union all
select 'operator-class', format('%I.%I using %I', n.nspname, o.opcname, m.amname),
  concat_ws(' ', 'for ' || format_type(o.opcintype, null), case when o.opcdefault then 'default' end,
    'storage ' || format_type(nullif(o.opckeytype, 0), null), format('family %I', f.opfname)),
  false
from pg_opclass o join pg_namespace n on n.oid = o.opcnamespace join pg_am m on m.oid = o.opcmethod
join pg_opfamily f on f.oid = o.opcfamily
where o.oid >= 16384 and ('pg_opclass'::regclass::oid, o.oid) not in (select classid, objid from member)

union all
-- Columns that came and went between 14 and 17 are read by name. The encoding is that of the database or any, as it was made.
select 'collation', format('%I.%I', n.nspname, c.collname),
  concat_ws(' ', 'provider ' || c.collprovider::text, c.collcollate, c.collctype,
    coalesce(to_jsonb(c) ->> 'colliculocale', to_jsonb(c) ->> 'colllocale'), 'rules ' || (to_jsonb(c) ->> 'collicurules'),
    case when c.collisdeterministic then 'deterministic' else 'nondeterministic' end),
  false
from pg_collation c join pg_namespace n on n.oid = c.collnamespace
where c.oid >= 16384 and ('pg_collation'::regclass::oid, c.oid) not in (select classid, objid from member)

union all
select 'collation-version', format('%I.%I', n.nspname, c.collname), pg_collation_actual_version(c.oid), false
from pg_collation c join pg_namespace n on n.oid = c.collnamespace
where c.oid >= 16384 and pg_collation_actual_version(c.oid) is not null
  and ('pg_collation'::regclass::oid, c.oid) not in (select classid, objid from member)

union all
select 'conversion', format('%I.%I', n.nspname, c.conname),
  concat_ws(' ', pg_encoding_to_char(c.conforencoding), pg_encoding_to_char(c.contoencoding), c.conproc::regprocedure,
    case when c.condefault then 'default' end),
  false
from pg_conversion c join pg_namespace n on n.oid = c.connamespace
where c.oid >= 16384 and ('pg_conversion'::regclass::oid, c.oid) not in (select classid, objid from member)

union all
select 'text-search-dictionary', format('%I.%I', n.nspname, d.dictname),
  concat_ws(' ', 'template ' || (select format('%I.%I', tn.nspname, t.tmplname) from pg_ts_template t
    join pg_namespace tn on tn.oid = t.tmplnamespace where t.oid = d.dicttemplate), d.dictinitoption),
  false
from pg_ts_dict d join pg_namespace n on n.oid = d.dictnamespace
where d.oid >= 16384 and ('pg_ts_dict'::regclass::oid, d.oid) not in (select classid, objid from member)

union all
select 'text-search-configuration', format('%I.%I', n.nspname, c.cfgname),
  concat_ws(' ', 'parser ' || (select format('%I.%I', pn.nspname, p.prsname) from pg_ts_parser p
      join pg_namespace pn on pn.oid = p.prsnamespace where p.oid = c.cfgparser),
    (select string_agg(format('%s: %s', m.maptokentype, m.mapdict::regdictionary), ', ' order by m.maptokentype, m.mapseqno)
      from pg_ts_config_map m where m.mapcfg = c.oid)),
  false
from pg_ts_config c join pg_namespace n on n.oid = c.cfgnamespace
where c.oid >= 16384 and ('pg_ts_config'::regclass::oid, c.oid) not in (select classid, objid from member)

union all
select 'text-search-parser', format('%I.%I', n.nspname, p.prsname),
  concat_ws(' ', p.prsstart::oid::regprocedure, p.prstoken::oid::regprocedure, p.prsend::oid::regprocedure,
    nullif(p.prsheadline::oid, 0)::regprocedure, p.prslextype::oid::regprocedure),
  false
from pg_ts_parser p join pg_namespace n on n.oid = p.prsnamespace
where p.oid >= 16384 and ('pg_ts_parser'::regclass::oid, p.oid) not in (select classid, objid from member)

union all
select 'text-search-template', format('%I.%I', n.nspname, t.tmplname),
  concat_ws(' ', nullif(t.tmplinit::oid, 0)::regprocedure, t.tmpllexize::oid::regprocedure), false
from pg_ts_template t join pg_namespace n on n.oid = t.tmplnamespace
where t.oid >= 16384 and ('pg_ts_template'::regclass::oid, t.oid) not in (select classid, objid from member)

union all
select 'access-method', format('%I', a.amname), concat_ws(' ', a.amtype, a.amhandler::oid::regprocedure), false
from pg_am a
where a.oid >= 16384 and ('pg_am'::regclass::oid, a.oid) not in (select classid, objid from member)

union all
select 'language', format('%I', l.lanname),
  concat_ws(' ', case when l.lanpltrusted then 'trusted' else 'untrusted' end, nullif(l.lanplcallfoid, 0)::regprocedure,
    nullif(l.laninline, 0)::regprocedure, nullif(l.lanvalidator, 0)::regprocedure),
  false
from pg_language l
where l.oid >= 16384 and ('pg_language'::regclass::oid, l.oid) not in (select classid, objid from member)

union all
select 'transform', format('for %s language %I', format_type(t.trftype, null), l.lanname),
  concat_ws(' ', nullif(t.trffromsql::oid, 0)::regprocedure, nullif(t.trftosql::oid, 0)::regprocedure), false
from pg_transform t join pg_language l on l.oid = t.trflang
where t.oid >= 16384 and ('pg_transform'::regclass::oid, t.oid) not in (select classid, objid from member)

union all
select 'foreign-data-wrapper', format('%I', w.fdwname),
  concat_ws(' ', nullif(w.fdwhandler, 0)::regprocedure, nullif(w.fdwvalidator, 0)::regprocedure,
    'options ' || (select string_agg(o.told, ', ' order by o.told collate "C") from unnest(w.fdwoptions) v cross join lateral (select split_part(v, '=', 1) || ' ' || hashtextextended(substr(v, strpos(v, '=') + 1), SALT) as told) o)),
  false
from pg_foreign_data_wrapper w
where w.oid >= 16384 and ('pg_foreign_data_wrapper'::regclass::oid, w.oid) not in (select classid, objid from member)

union all
-- Options may hold passwords: their values are told by a hash that says nothing outside of this run.
select 'foreign-server', format('%I', s.srvname),
  concat_ws(' ', format('wrapper %I', w.fdwname), 'type ' || s.srvtype, 'version ' || s.srvversion,
    'options ' || (select string_agg(o.told, ', ' order by o.told collate "C") from unnest(s.srvoptions) v cross join lateral (select split_part(v, '=', 1) || ' ' || hashtextextended(substr(v, strpos(v, '=') + 1), SALT) as told) o)),
  false
from pg_foreign_server s join pg_foreign_data_wrapper w on w.oid = s.srvfdw
where s.oid >= 16384 and ('pg_foreign_server'::regclass::oid, s.oid) not in (select classid, objid from member)

union all
select 'user-mapping', format('for %s server %I', case u.umuser when 0 then 'PUBLIC' else quote_ident(pg_get_userbyid(u.umuser)) end, u.srvname),
  concat_ws(' ', 'options ' || (select string_agg(o.told, ', ' order by o.told collate "C") from unnest(u.umoptions) v cross join lateral (select split_part(v, '=', 1) || ' ' || hashtextextended(substr(v, strpos(v, '=') + 1), SALT) as told) o)), false
from pg_user_mappings u

union all
select 'publication', format('%I', p.pubname),
  concat_ws('; ', case when p.puballtables then 'all tables' end,
    concat_ws(', ', case when p.pubinsert then 'insert' end, case when p.pubupdate then 'update' end,
      case when p.pubdelete then 'delete' end, case when p.pubtruncate then 'truncate' end),
    case when p.pubviaroot then 'via root' end),
  false
from pg_publication p

union all
select 'publication-table', format('%I: %s', p.pubname, r.prrelid::regclass), 'table', false
from pg_publication_rel r join pg_publication p on p.oid = r.prpubid

union all
-- Columns that came and went are read by name, and told where they are not what they are by default. Where it is from may hold a password.
select 'subscription', format('%I', s.subname),
  concat_ws(' ', 'to ' || (select string_agg(quote_ident(p), ', ' order by p collate "C") from unnest(s.subpublications) p),
    'from ' || hashtextextended(s.subconninfo, SALT), 'slot ' || quote_ident(s.subslotname), 'commit ' || s.subsynccommit,
    case when s.subbinary then 'binary' end,
    case to_jsonb(s) ->> 'substream' when 'true' then 'streaming' when 't' then 'streaming' when 'p' then 'streaming parallel' end,
    case when to_jsonb(s) ->> 'subtwophasestate' <> 'd' then 'two-phase' end,
    case when to_jsonb(s) ->> 'subdisableonerr' = 'true' then 'disabled on error' end,
    case when to_jsonb(s) ->> 'subpasswordrequired' = 'false' then 'password not required' end,
    case when to_jsonb(s) ->> 'subrunasowner' = 'true' then 'as owner' end,
    case when to_jsonb(s) ->> 'subfailover' = 'true' then 'failover' end,
    'origin ' || nullif(to_jsonb(s) ->> 'suborigin', 'any')),
  false
from pg_subscription s where s.subdbid = (select oid from pg_database where datname = current_database())

union all
-- No dump brings it back at work.
select 'subscription-enabled', format('%I', s.subname), s.subenabled::text, false
from pg_subscription s where s.subdbid = (select oid from pg_database where datname = current_database())
