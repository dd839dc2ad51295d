//! Single changes to a database, and exactly what must be seen of each.

/// One change: made by `change`, seen as `seen` and nothing else; `twin` touches the same thing and changes nothing.
pub struct Case {
    pub name: &'static str,
    pub change: &'static str,
    pub twin: &'static str,
    pub seen: &'static [&'static str],
}

const fn case(
    name: &'static str,
    change: &'static str,
    twin: &'static str,
    seen: &'static [&'static str],
) -> Case {
    Case {
        name,
        change,
        twin,
        seen,
    }
}

/// Changes within a database.
pub const CASES: &[Case] = &[
    // Rows.
    case(
        "a changed row",
        "update app.player set name = 'Player 7' where id = 7",
        "update app.player set name = name where id = 7",
        &["content app.player"],
    ),
    case(
        "values swapped between two rows",
        "update app.plays set points = case id when 1 then 2 else 1 end where id in (1, 2)",
        "update app.plays set points = case id when 1 then 1 else 2 end where id in (1, 2)",
        &["content app.plays"],
    ),
    case(
        "a lost row",
        "delete from app.plays where id = 500",
        "begin; delete from app.plays where id = 500; rollback",
        &["content app.plays"],
    ),
    case(
        "a duplicate among equal rows",
        "insert into app.twins values (1, 'same')",
        "delete from app.twins where ctid = (select min(ctid) from app.twins); insert into app.twins values (1, 'same')",
        &["content app.twins"],
    ),
    case(
        "two duplicates among equal rows",
        "insert into app.twins values (1, 'same'), (1, 'same')",
        "vacuum full app.twins",
        &["content app.twins"],
    ),
    case(
        "one equal row replaced by another pair",
        "update app.twins set b = 'other' where ctid in (select ctid from app.twins limit 2)",
        "update app.twins set b = 'same'",
        &["content app.twins"],
    ),
    case(
        "NULL instead of the empty string",
        "update app.empties set b = null",
        "update app.empties set b = b",
        &["content app.empties"],
    ),
    case(
        "NULL and the empty string in each other's place",
        "update app.empties set a = b, b = a where a is null",
        "update app.empties set a = b, b = a",
        &["content app.empties"],
    ),
    case(
        "zero instead of minus zero",
        "update app.player set rating = 0 where id = 2",
        "update app.player set rating = '-0' where id = 2; update app.player set rating = 'nan' where id = 1",
        &["content app.player"],
    ),
    case(
        "the last bit of a float",
        "update app.player set rating = 1.3333333333333335 where id = 4",
        "update app.player set rating = 4 / 3.0::float8 where id = 4",
        &["content app.player"],
    ),
    case(
        "the scale of a numeric",
        "update app.player set exact = 1.5 where id = 1",
        "update app.player set exact = 1.50 where id = 1",
        &["content app.player"],
    ),
    case(
        "a microsecond",
        "update app.player set at = at + interval '1 us' where id = 1",
        "update app.player set at = at at time zone 'Asia/Dhaka' at time zone 'Asia/Dhaka' where id = 1",
        &["content app.player"],
    ),
    case(
        "an hour written as minutes is no change, a minute is",
        "update app.player set spent = spent + interval '1 min' where id = 1",
        "update app.player set spent = '1 day 60 s' where id = 1",
        &["content app.player"],
    ),
    case(
        "white space in json",
        "update app.player set doc = '{\"a\": 1, \"a\": 2}' where id = 1",
        "update app.player set docb = '{ \"i\":  1 }' where id = 1",
        &["content app.player"],
    ),
    case(
        "a NULL within an array",
        "update app.player set tags[2] = '' where id = 1",
        "update app.player set tags[2] = null where id = 1",
        &["content app.player"],
    ),
    case(
        "the last byte of a value stored out of line",
        "update app.large set body = overlay(body placing 'x' from 32000) where id = 20",
        "update app.large set body = body || ''",
        &["content app.large"],
    ),
    case(
        "a row of a partition",
        "delete from app.event where id = 3",
        "vacuum full app.event_1",
        &["content app.event_1"],
    ),
    case(
        "a row moved to another partition",
        "update app.event set at = '2026-01-01' where id = 3",
        "update app.event set at = '2025-01-04' where id = 3",
        &["content app.event_1", "content app.event_2"],
    ),
    case(
        "a row of an inheriting table",
        "update app.derived set id = 3",
        "update app.base set id = id",
        &["content app.derived"],
    ),
    case(
        "a row moved to the parent",
        "insert into app.base select id, kind from app.derived; delete from app.derived",
        "cluster app.player",
        &["content app.base", "content app.derived"],
    ),
    case(
        "a row without columns",
        "insert into app.nothing default values",
        "delete from app.nothing; insert into app.nothing default values",
        &["content app.nothing"],
    ),
    case(
        "a row of an unlogged table",
        "truncate app.cache",
        "vacuum app.cache",
        &["content app.cache"],
    ),
    case(
        "a row that row security hides",
        "delete from app.secret where owner = 'x'",
        "update app.secret set body = body",
        &["content app.secret"],
    ),
    case(
        "a row under odd names",
        r#"update "Odd ""Schéma"", – ünï"."sel ect'" set t = 'T'"#,
        r#"update "Odd ""Schéma"", – ünï"."sel ect'" set t = 't'"#,
        &[r#"content "Odd ""Schéma"", – ünï"."sel ect'""#],
    ),
    case(
        "a large object's byte",
        "select lo_put(90001, 8999, '\\x42')",
        "select lo_put(90001, 8999, '\\x41')",
        &["content large objects"],
    ),
    case(
        "a large object's length",
        "select lo_put(90003, 5001, '\\x00')",
        "select lo_put(90003, 100, '\\x0000')",
        &["content large objects"],
    ),
    case(
        "a lost large object",
        "select lo_unlink(90002)",
        "select lo_unlink(90002), lo_from_bytea(90002, '')",
        &[
            "content large objects",
            "grant large objects to (owner)",
            "owner large objects postgres",
        ],
    ),
    // Sequences.
    case(
        "a sequence behind its column",
        "select setval('app.plays_id_seq', 10)",
        "select setval('app.plays_id_seq', 900)",
        &["sequence app.plays_id_seq"],
    ),
    case(
        "a sequence set but not called",
        "select setval('app.plays_id_seq', 900, false)",
        "select setval('app.plays_id_seq', 901, false)",
        &["sequence app.plays_id_seq"],
    ),
    case(
        "an identity's sequence",
        "alter table app.player alter id restart with 5",
        "alter table app.player alter id restart with 501",
        &["sequence app.player_id_seq"],
    ),
    case(
        "a sequence's step",
        "alter sequence app.tickets increment by 6",
        "alter sequence app.tickets increment by 5",
        &["definition sequence app.tickets", "sequence app.tickets"],
    ),
    // Definitions.
    case(
        "a dropped index",
        "drop index app.player_name",
        "reindex index app.player_name",
        &["definition index app.player_name"],
    ),
    case(
        "an index on something else",
        "drop index app.player_docb; create unique index player_docb on app.player ((docb ->> 'j')); alter table app.player cluster on player_docb",
        "drop index app.player_docb; create unique index player_docb on app.player ((docb ->> 'i')); alter table app.player cluster on player_docb",
        &["definition index app.player_docb"],
    ),
    case(
        "an invalid index",
        "update pg_index set indisvalid = false where indexrelid = 'app.player_docb'::regclass",
        "update pg_index set indisvalid = true where indexrelid = 'app.player_docb'::regclass",
        &["definition index app.player_docb"],
    ),
    case(
        "a lost primary key",
        "alter table app.player drop constraint player_pkey cascade",
        "alter table app.plays drop constraint plays_pkey; alter table app.plays add primary key (id)",
        &[
            "definition constraint app.player.player_pkey",
            "definition constraint app.plays.plays_player",
            "definition index app.player_pkey",
        ],
    ),
    case(
        "a foreign key that cascades no more",
        "alter table app.plays drop constraint plays_player, add constraint plays_player foreign key (player) references app.player",
        "alter table app.plays drop constraint plays_player, add constraint plays_player foreign key (player) references app.player on delete cascade",
        &["definition constraint app.plays.plays_player"],
    ),
    case(
        "a constraint that is not validated",
        "alter table app.plays drop constraint few, add constraint few check (points < 10000) not valid",
        "alter table app.plays drop constraint few, add constraint few check (points < 10000)",
        &["definition constraint app.plays.few"],
    ),
    case(
        "a unique constraint that is checked at once",
        "alter table app.plays alter constraint plays_player deferrable",
        "alter table app.plays alter constraint plays_player not deferrable",
        &["definition constraint app.plays.plays_player"],
    ),
    case(
        "a lost default",
        "alter table app.player alter nick drop default",
        "alter table app.player alter nick set default 'nobody'",
        &["definition column app.player.nick"],
    ),
    case(
        "a lost NOT NULL",
        "alter table app.player alter name drop not null",
        "alter table app.player alter name set not null",
        &["definition column app.player.name"],
    ),
    case(
        "a longer column",
        "alter table app.player alter nick type varchar(21)",
        "alter table app.player alter nick type varchar(20)",
        &["definition column app.player.nick"],
    ),
    case(
        "a column's collation",
        "alter table app.empties alter a type text collate app.bytewise",
        "alter table app.empties alter a type text collate pg_catalog.\"default\"",
        &["definition column app.empties.a"],
    ),
    case(
        "an identity that may be overwritten",
        "alter table app.player alter id set generated by default",
        "alter table app.player alter id set generated always",
        &["definition column app.player.id"],
    ),
    case(
        "a generated column that is none any more",
        "alter table app.player alter doubled drop expression",
        "alter table app.player alter doubled set not null; alter table app.player alter doubled drop not null",
        &["definition column app.player.doubled"],
    ),
    case(
        "a column's storage",
        "alter table app.large alter body set storage main",
        "alter table app.large alter body set storage external",
        &["definition column app.large.body"],
    ),
    case(
        "an added column",
        "alter table app.twins add c integer",
        "alter table app.twins add c integer; alter table app.twins drop c",
        &[
            "content app.twins",
            "definition column app.twins.c",
            "definition column-order app.twins",
        ],
    ),
    case(
        "a renamed column",
        "alter table app.twins rename b to c",
        "alter table app.twins rename b to c; alter table app.twins rename c to b",
        &[
            "definition column app.twins.b",
            "definition column app.twins.c",
            "definition column-order app.twins",
        ],
    ),
    case(
        "a lost table",
        "drop table app.empties",
        "create table app.extra (); drop table app.extra",
        &[
            "content app.empties",
            "definition column app.empties.a",
            "definition column app.empties.b",
            "definition column-order app.empties",
            "definition table app.empties",
            "grant table app.empties to (owner)",
            "owner table app.empties",
        ],
    ),
    case(
        "an unlogged table that is logged",
        "alter table app.cache set logged",
        "alter table app.cache set unlogged",
        &["definition table app.cache"],
    ),
    case(
        "a detached partition",
        "alter table app.event detach partition app.event_2",
        "alter table app.event detach partition app.event_2; alter table app.event attach partition app.event_2 default",
        &[
            "definition column app.event_2.at",
            "definition column app.event_2.id",
            "definition column app.event_2.what",
            "definition index app.event_2_at_idx",
            "definition table app.event_2",
        ],
    ),
    case(
        "a lost inheritance",
        "alter table app.derived no inherit app.base",
        "alter table app.derived add constraint c check (id > 0); alter table app.derived drop constraint c",
        &[
            "definition column app.derived.id",
            "definition column app.derived.kind",
            "definition column-order app.derived",
            "definition table app.derived",
        ],
    ),
    case(
        "a replica identity",
        "alter table app.twins replica identity full",
        "alter table app.twins replica identity default",
        &["definition table app.twins"],
    ),
    case(
        "a changed view",
        "create or replace view app.open_players with (security_barrier) as select id, name from app.player where status in ('open')",
        "create or replace view app.open_players with (security_barrier) as select id, name from app.player where status in ('open', 'x')",
        &["definition view app.open_players"],
    ),
    case(
        "a view's security barrier",
        "alter view app.open_players reset (security_barrier)",
        "alter view app.open_players set (security_barrier = true)",
        &["definition view app.open_players"],
    ),
    case(
        "a materialized view without its data",
        "refresh materialized view app.totals with no data",
        "refresh materialized view app.totals",
        &["definition materialized-view app.totals"],
    ),
    case(
        "a function's body",
        "create or replace function app.double(n integer) returns integer language sql immutable as 'SELECT n * 3'",
        "create or replace function app.double(n integer) returns integer language sql immutable as 'SELECT n * 2'",
        &["definition function app.double(n integer)"],
    ),
    case(
        "a function's volatility",
        "alter function app.near(app.place, app.place) volatile",
        "alter function app.near(app.place, app.place) immutable",
        &["definition function app.near(a app.place, b app.place)"],
    ),
    case(
        "a function that runs as its owner",
        "alter function app.note() security definer",
        "alter function app.note() security invoker",
        &["definition function app.note()"],
    ),
    case(
        "a lost procedure",
        "drop procedure app.nothing()",
        "create or replace procedure app.nothing() language plpgsql as $$ BEGIN NULL; END $$",
        &[
            "definition procedure app.nothing()",
            "grant procedure app.nothing() to (owner)",
            "grant procedure app.nothing() to PUBLIC",
            "owner procedure app.nothing()",
        ],
    ),
    case(
        "an aggregate's start",
        "create or replace aggregate app.total (integer) (sfunc = int4pl, stype = integer, initcond = '1')",
        "create or replace aggregate app.total (integer) (sfunc = int4pl, stype = integer, initcond = '0')",
        &["definition aggregate app.total(integer)"],
    ),
    case(
        "a disabled trigger",
        "alter table app.plays disable trigger noted",
        "alter table app.plays disable trigger noted; alter table app.plays enable trigger noted",
        &["definition trigger app.plays.noted"],
    ),
    case(
        "a lost trigger",
        "drop trigger noted on app.plays",
        "create or replace trigger noted before update on app.plays for each row when (old.points is distinct from new.points) execute function app.note()",
        &["definition trigger app.plays.noted"],
    ),
    case(
        "a lost rule",
        "drop rule no_delete on app.plays",
        "create or replace rule no_delete as on delete to app.plays where old.points > 800 do instead nothing",
        &["definition rule app.plays.no_delete"],
    ),
    case(
        "a disabled event trigger",
        "alter event trigger case_ddl disable",
        "alter event trigger case_ddl enable",
        &["definition event-trigger case_ddl"],
    ),
    case(
        "a policy that lets more through",
        "alter policy own on app.secret using (true)",
        "alter policy own on app.secret to case_reader",
        &["definition policy app.secret.own"],
    ),
    case(
        "row security switched off",
        "alter table app.secret disable row level security",
        "alter table app.secret enable row level security",
        &["definition row-security app.secret"],
    ),
    case(
        "row security that spares the owner",
        "alter table app.secret no force row level security",
        "alter table app.secret force row level security",
        &["definition row-security app.secret"],
    ),
    case(
        "an enum's label",
        "alter type app.state rename value 'new' to 'brand new'",
        "alter type app.state rename value 'new' to 'n'; alter type app.state rename value 'n' to 'new'",
        &[
            "definition column app.player.state",
            "definition enum app.state",
        ],
    ),
    case(
        "an enum's further label",
        "alter type app.state add value 'lost'",
        "alter type app.state add value if not exists 'new'",
        &["definition enum app.state"],
    ),
    case(
        "a range's subtype difference",
        "update pg_range set rngsubdiff = 'numrange_subdiff'::regproc where rngtypid = 'app.span'::regtype",
        "alter type app.span rename to s; alter type app.s rename to span",
        &["definition range app.span"],
    ),
    case(
        "a collation that is not deterministic",
        "update pg_collation set collisdeterministic = false where oid = 'app.bytewise'::regcollation",
        "alter collation app.bytewise rename to b; alter collation app.b rename to bytewise",
        &["definition collation app.bytewise"],
    ),
    case(
        "a domain's check",
        "alter domain app.score drop constraint score_range",
        "alter domain app.score drop constraint score_range; alter domain app.score add constraint score_range check (value between 0 and 1000)",
        &["definition constraint domain app.score.score_range"],
    ),
    case(
        "a composite type's column",
        "alter type app.place add attribute zip text",
        "alter type app.place rename attribute town to city; alter type app.place rename attribute city to town",
        &[
            "content app.player",
            "definition column app.place.zip",
            "definition column-order app.place",
        ],
    ),
    case(
        "an operator's commutator",
        "drop operator app.~~~ (app.place, app.place)",
        "alter operator app.~~~ (app.place, app.place) owner to postgres",
        &[
            "definition operator app.~~~(app.place,app.place)",
            "owner operator app.~~~(app.place,app.place)",
        ],
    ),
    case(
        "a lost cast",
        "drop cast (app.place as text)",
        "drop cast (app.place as text); create cast (app.place as text) with function app.as_text(app.place)",
        &["definition cast (app.place as text)"],
    ),
    case(
        "a text search mapping",
        "alter text search configuration app.words drop mapping for email",
        "alter text search configuration app.words alter mapping for email with pg_catalog.simple",
        &["definition text-search-configuration app.words"],
    ),
    case(
        "lost extended statistics",
        "drop statistics app.player_stats",
        "analyze app.player",
        &[
            "definition statistics app.player_stats",
            "owner statistics object app.player_stats",
        ],
    ),
    case(
        "what a publication publishes",
        "alter publication case_pub set (publish = 'insert, delete')",
        "alter publication case_pub set (publish = 'insert')",
        &["definition publication case_pub"],
    ),
    case(
        "a publication's table",
        "alter publication case_pub drop table app.player",
        "alter publication case_pub set table app.player",
        &["definition publication-table case_pub: app.player"],
    ),
    case(
        "a lost extension",
        "drop extension plpgsql cascade",
        "create extension if not exists plpgsql",
        &[
            "comment extension plpgsql",
            "definition event-trigger case_ddl",
            "definition extension plpgsql",
            "definition function app.note()",
            "definition function app.note_ddl()",
            "definition procedure app.nothing()",
            "definition trigger app.plays.noted",
            "grant function app.note() to (owner)",
            "grant function app.note() to PUBLIC",
            "grant function app.note_ddl() to (owner)",
            "grant function app.note_ddl() to PUBLIC",
            "grant procedure app.nothing() to (owner)",
            "grant procedure app.nothing() to PUBLIC",
            "owner event trigger case_ddl",
            "owner function app.note()",
            "owner function app.note_ddl()",
            "owner procedure app.nothing()",
        ],
    ),
    // Access.
    case(
        "a lost grant",
        "revoke select on app.player from case_reader",
        "grant select on app.player to case_reader",
        &["grant table app.player to case_reader"],
    ),
    case(
        "a lost grant on a column",
        "revoke update (name) on app.player from case_reader",
        "grant update (name) on app.player to case_reader",
        &["grant table column app.player.name to case_reader"],
    ),
    case(
        "a lost grant option",
        "revoke grant option for select on app.plays from case_owner",
        "grant select on app.plays to case_owner",
        &["grant table app.plays to case_owner"],
    ),
    case(
        "a function that everybody may call again",
        "grant execute on function app.double(integer) to public",
        "revoke execute on function app.double(integer) from public",
        &["grant function app.double(integer) to PUBLIC"],
    ),
    case(
        "a lost grant on a schema",
        "revoke usage on schema app from case_reader",
        "grant usage on schema app to case_reader",
        &["grant schema app to case_reader"],
    ),
    case(
        "a lost grant on a large object",
        "revoke select on large object 90001 from case_reader",
        "grant select on large object 90001 to case_reader",
        &["grant large objects to case_reader"],
    ),
    case(
        "a grant on a system function",
        "revoke execute on function pg_catalog.pg_sleep(double precision) from public",
        "grant execute on function pg_catalog.pg_sleep(double precision) to public",
        &["grant function pg_catalog.pg_sleep(double precision) to (owner)"],
    ),
    case(
        "lost default privileges",
        "alter default privileges in schema app revoke select on tables from case_reader",
        "alter default privileges in schema app grant select on tables to case_reader",
        &["default-grant of postgres in app on tables"],
    ),
    case(
        "another owner",
        "alter table app.large owner to postgres",
        "alter table app.large owner to case_owner",
        &["owner table app.large"],
    ),
    // Warnings.
    case(
        "a lost comment",
        "comment on table app.player is null",
        "comment on table app.player is 'Who plays'",
        &["comment table app.player"],
    ),
    case(
        "a storage parameter",
        "alter table app.player reset (fillfactor)",
        "alter table app.player set (fillfactor = 90)",
        &["option table app.player"],
    ),
    case(
        "a statistics target",
        "alter table app.player alter name set statistics -1",
        "alter table app.player alter name set statistics 500",
        &["option column app.player.name"],
    ),
    // The database itself.
    case(
        "a database setting",
        "alter database :db set work_mem = '6MB'",
        "alter database :db set work_mem = '5MB'",
        &["setting of the database work_mem"],
    ),
    case(
        "a role's setting in the database",
        "alter role case_reader in database :db reset all",
        "alter role case_reader in database :db set lock_timeout = '1s'",
        &["setting of role case_reader of the database lock_timeout"],
    ),
    case(
        "a grant on the database",
        "grant temporary on database :db to public",
        "revoke temporary on database :db from public",
        &["grant database to PUBLIC"],
    ),
    case(
        "the database's connection limit",
        "alter database :db connection limit 7",
        "alter database :db connection limit -1",
        &["definition database connection limit"],
    ),
    // What a database rarely has.
    case(
        "an option of a foreign-data wrapper",
        "alter foreign data wrapper case_wrapper options (set mode 'slow')",
        "alter foreign data wrapper case_wrapper options (set mode 'quick')",
        &["definition foreign-data-wrapper case_wrapper"],
    ),
    case(
        "the value of a foreign server's option",
        "alter server case_server options (set host 'here')",
        "alter server case_server options (drop host, set dbname 'prices'); alter server case_server options (add host 'elsewhere')",
        &["definition foreign-server case_server"],
    ),
    case(
        "the password of a user mapping",
        "alter user mapping for case_reader server case_server options (set password 'another')",
        "alter user mapping for case_reader server case_server options (drop password); \
         alter user mapping for case_reader server case_server options (add password 'not a secret')",
        &["definition user-mapping for case_reader server case_server"],
    ),
    case(
        "an option of a foreign table, in whichever order they stand",
        "alter foreign table app.far options (set place 'z')",
        "alter foreign table app.far options (drop place); alter foreign table app.far options (add place 'x')",
        &["definition foreign-table app.far"],
    ),
    case(
        "an option of a foreign table's column",
        "alter foreign table app.far alter id options (set field 'c')",
        "alter foreign table app.far alter id options (drop field); alter foreign table app.far alter id options (add field 'a')",
        &["definition column app.far.id"],
    ),
    case(
        "a text search dictionary's option",
        "alter text search dictionary app.plain (accept = false)",
        "alter text search dictionary app.plain (accept = true)",
        &["definition text-search-dictionary app.plain"],
    ),
    case(
        "a lost text search parser",
        "drop text search parser app.splitter",
        "alter text search parser app.splitter rename to s; alter text search parser app.s rename to splitter",
        &["definition text-search-parser app.splitter"],
    ),
    case(
        "a lost text search template",
        "drop text search template app.lexer",
        "alter text search template app.lexer rename to l; alter text search template app.l rename to lexer",
        &["definition text-search-template app.lexer"],
    ),
    case(
        "a language that is trusted",
        "update pg_language set lanpltrusted = true where lanname = 'case_language'",
        "alter language case_language rename to l; alter language l rename to case_language",
        &["definition language case_language"],
    ),
    case(
        "a lost transform",
        "drop transform for integer language sql",
        "create or replace transform for integer language sql (from sql with function prsd_lextype(internal), to sql with function int4recv(internal))",
        &["definition transform for integer language sql"],
    ),
    case(
        "a lost access method",
        "drop access method case_heap",
        "comment on access method case_heap is null",
        &["definition access-method case_heap"],
    ),
    case(
        "a lost operator class",
        "drop operator class app.by_number using btree",
        "alter operator class app.by_number using btree owner to postgres",
        &[
            "definition operator-class app.by_number using btree",
            "definition operator-family app.numbers using btree",
            "owner operator class app.by_number USING btree",
        ],
    ),
    case(
        "an operator family's further operator",
        "alter operator family app.numbers using btree add operator 1 < (integer, bigint)",
        "alter operator family app.numbers using btree add operator 1 < (integer, bigint); \
         alter operator family app.numbers using btree drop operator 1 (integer, bigint)",
        &["definition operator-family app.numbers using btree"],
    ),
    case(
        "the order that an operator sorts by",
        "alter operator family app.nearness using gist drop operator 15 (point, point); \
         alter operator family app.nearness using gist add operator 15 <-> (point, point) for order by app.numbers",
        "alter operator family app.nearness using gist drop operator 15 (point, point); \
         alter operator family app.nearness using gist add operator 15 <-> (point, point) for order by pg_catalog.float_ops",
        &["definition operator-family app.nearness using gist"],
    ),
    case(
        "a lost conversion",
        "drop conversion app.from_latin",
        "alter conversion app.from_latin owner to postgres",
        &[
            "definition conversion app.from_latin",
            "owner conversion app.from_latin",
        ],
    ),
    case(
        "a base type's delimiter",
        "update pg_type set typdelim = ';' where oid = 'app.code'::regtype",
        "alter type app.code set (storage = plain)",
        &["definition base-type app.code"],
    ),
    case(
        "how a base type takes subscripts",
        "alter type app.code set (subscript = raw_array_subscript_handler)",
        "alter type app.code rename to c; alter type app.c rename to code",
        &["definition base-type app.code"],
    ),
    case(
        "a lost shell type",
        "drop type app.later",
        "alter type app.later owner to postgres",
        &["definition base-type app.later"],
    ),
    case(
        "an extension of another version",
        "update pg_extension set extversion = '0.9' where extname = 'plpgsql'",
        "alter extension plpgsql update",
        &["definition extension plpgsql"],
    ),
    case(
        "a publication's schema",
        "alter publication case_pub add tables in schema app",
        "alter publication case_pub add tables in schema app; alter publication case_pub drop tables in schema app",
        &["definition publication-schema case_pub: app"],
    ),
    case(
        "a publication's filter",
        "alter publication case_pub set table app.player where (id > 5)",
        "alter publication case_pub set table app.player",
        &["definition publication-filter case_pub: app.player"],
    ),
    case(
        "lost default privileges of every schema",
        "alter default privileges for role case_owner grant select on tables to case_reader",
        "alter default privileges for role case_owner grant select on tables to case_owner",
        &["default-grant of case_owner in every schema on tables"],
    ),
    case(
        "a large object's comment",
        "comment on large object 90001 is 'What it is'",
        "comment on large object 90001 is null",
        &["comment large objects"],
    ),
    case(
        "an index's storage parameter",
        "alter index app.player_nick reset (fillfactor)",
        "alter index app.player_nick set (fillfactor = 80)",
        &["option index app.player_nick"],
    ),
    case(
        "a database that is a template",
        "alter database :db is_template true",
        "alter database :db is_template false",
        &["definition database is a template"],
    ),
];

/// Changes of the whole cluster, with what undoes them.
pub const CLUSTER_CASES: &[(Case, &str)] = &[
    (
        case(
            "a role's attribute",
            "alter role case_reader bypassrls",
            "alter role case_reader nobypassrls",
            &["definition role case_reader"],
        ),
        "alter role case_reader nobypassrls",
    ),
    (
        case(
            "a lost password",
            "alter role case_reader password null",
            "alter role case_reader password 'another'",
            &["password case_reader"],
        ),
        "alter role case_reader password 'not a secret'",
    ),
    (
        case(
            "a lost membership",
            "revoke case_owner from \"case \"\"odd\"\"\"",
            "grant case_owner to \"case \"\"odd\"\"\"",
            &["definition member \"case \"\"odd\"\"\" of case_owner"],
        ),
        "grant case_owner to \"case \"\"odd\"\"\"",
    ),
    (
        case(
            "a role's setting",
            "alter role case_reader reset statement_timeout",
            "alter role case_reader set statement_timeout = '30s'",
            &["setting of role case_reader statement_timeout"],
        ),
        "alter role case_reader set statement_timeout = '30s'",
    ),
    (
        case(
            "a tablespace, and what lies in it",
            "set allow_in_place_tablespaces = on; create tablespace case_space location ''; alter table app.twins set tablespace case_space; \
             alter index app.player_name set tablespace case_space",
            "alter table app.twins set tablespace pg_default",
            &[
                "definition placement index app.player_name",
                "definition placement table app.twins",
                "definition tablespace case_space",
            ],
        ),
        "drop tablespace case_space",
    ),
    (
        case(
            "a comment on a role",
            "comment on role case_reader is 'Reads'",
            "comment on role case_reader is null",
            &["comment role case_reader"],
        ),
        "comment on role case_reader is null",
    ),
    (
        case(
            "a grant on a parameter",
            "grant set on parameter work_mem to case_reader",
            "grant set on parameter work_mem to case_reader; revoke set on parameter work_mem from case_reader",
            &[
                "grant parameter work_mem to case_reader",
                "grant parameter work_mem to postgres",
            ],
        ),
        "revoke set on parameter work_mem from case_reader",
    ),
];

/// What shows that a catalogue of the server is read.
pub enum Read {
    /// A case above sees a difference of it under this kind.
    As(&'static str),
    /// It is read elsewhere, or is none of a backup's business.
    No(&'static str),
}

/// Every catalogue that PostgreSQL 14 to 17 has, and what shows that it is read.
pub const CATALOGUES: &[(&str, Read)] = &[
    ("pg_aggregate", Read::As("definition aggregate ")),
    ("pg_am", Read::As("definition access-method ")),
    ("pg_amop", Read::As("definition operator-family ")),
    ("pg_amproc", Read::As("definition operator-family ")),
    ("pg_attrdef", Read::As("definition column ")),
    ("pg_attribute", Read::As("definition column ")),
    ("pg_auth_members", Read::As("definition member ")),
    ("pg_authid", Read::As("definition role ")),
    ("pg_cast", Read::As("definition cast ")),
    ("pg_class", Read::As("definition table ")),
    ("pg_collation", Read::As("definition collation ")),
    ("pg_constraint", Read::As("definition constraint ")),
    ("pg_conversion", Read::As("definition conversion ")),
    ("pg_database", Read::As("definition database ")),
    ("pg_db_role_setting", Read::As("setting of role ")),
    ("pg_default_acl", Read::As("default-grant of ")),
    (
        "pg_depend",
        Read::No("what it says is said by the definitions"),
    ),
    ("pg_description", Read::As("comment table ")),
    ("pg_enum", Read::As("definition enum ")),
    ("pg_event_trigger", Read::As("definition event-trigger ")),
    ("pg_extension", Read::As("definition extension ")),
    (
        "pg_foreign_data_wrapper",
        Read::As("definition foreign-data-wrapper "),
    ),
    ("pg_foreign_server", Read::As("definition foreign-server ")),
    ("pg_foreign_table", Read::As("definition foreign-table ")),
    ("pg_index", Read::As("definition index ")),
    ("pg_inherits", Read::As("definition column-order ")),
    (
        "pg_init_privs",
        Read::No("what the server and its extensions grant themselves"),
    ),
    ("pg_language", Read::As("definition language ")),
    ("pg_largeobject", Read::As("content large objects")),
    ("pg_largeobject_metadata", Read::As("grant large objects ")),
    ("pg_namespace", Read::As("grant schema ")),
    ("pg_opclass", Read::As("definition operator-class ")),
    ("pg_operator", Read::As("definition operator ")),
    ("pg_opfamily", Read::As("definition operator-family ")),
    ("pg_parameter_acl", Read::As("grant parameter ")),
    ("pg_partitioned_table", Read::As("definition table ")),
    ("pg_policy", Read::As("definition policy ")),
    ("pg_proc", Read::As("definition function ")),
    ("pg_publication", Read::As("definition publication ")),
    (
        "pg_publication_namespace",
        Read::As("definition publication-schema "),
    ),
    (
        "pg_publication_rel",
        Read::As("definition publication-table "),
    ),
    ("pg_range", Read::As("definition range ")),
    (
        "pg_replication_origin",
        Read::No("how far a subscription is: of the running server"),
    ),
    ("pg_rewrite", Read::As("definition rule ")),
    (
        "pg_seclabel",
        Read::No("labels take a library that gives them: no case can make one"),
    ),
    ("pg_sequence", Read::As("definition sequence ")),
    (
        "pg_shdepend",
        Read::No("what it says is said by owners and grants"),
    ),
    ("pg_shdescription", Read::As("comment role ")),
    (
        "pg_shseclabel",
        Read::No("labels take a library that gives them: no case can make one"),
    ),
    ("pg_statistic", Read::No("the server gathers it anew")),
    ("pg_statistic_ext", Read::As("definition statistics ")),
    (
        "pg_statistic_ext_data",
        Read::No("the server gathers it anew"),
    ),
    (
        "pg_subscription",
        Read::No("no copy of a database has one: they have a test of their own"),
    ),
    (
        "pg_subscription_rel",
        Read::No("how far a subscription is: of the running server"),
    ),
    ("pg_tablespace", Read::As("definition tablespace ")),
    ("pg_transform", Read::As("definition transform ")),
    ("pg_trigger", Read::As("definition trigger ")),
    (
        "pg_ts_config",
        Read::As("definition text-search-configuration "),
    ),
    (
        "pg_ts_config_map",
        Read::As("definition text-search-configuration "),
    ),
    ("pg_ts_dict", Read::As("definition text-search-dictionary ")),
    ("pg_ts_parser", Read::As("definition text-search-parser ")),
    (
        "pg_ts_template",
        Read::As("definition text-search-template "),
    ),
    ("pg_type", Read::As("definition base-type ")),
    ("pg_user_mapping", Read::As("definition user-mapping ")),
];
