-- A little of everything that a database can hold, for the cases in cases.rs. Each table is there for what its name says.
DO $$ BEGIN
  PERFORM pg_advisory_lock(1);
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'case_owner') THEN
    CREATE ROLE case_owner NOLOGIN;
    CREATE ROLE case_reader LOGIN CONNECTION LIMIT 5 PASSWORD 'not a secret';
    CREATE ROLE "case ""odd""" NOLOGIN CREATEDB;
    GRANT case_owner TO "case ""odd""";
    ALTER ROLE case_reader SET statement_timeout = '30s';
  END IF;
END $$;

CREATE SCHEMA app;
CREATE SCHEMA "Odd ""Schéma"", – ünï";
GRANT USAGE ON SCHEMA app TO case_reader;

CREATE TYPE app.state AS ENUM ('new', 'used', 'it''s gone');
ALTER TYPE app.state ADD VALUE 'almost new' BEFORE 'used';
CREATE DOMAIN app.score AS integer CONSTRAINT score_range CHECK (VALUE BETWEEN 0 AND 1000);
CREATE TYPE app.place AS (street text, town text);
CREATE TYPE app.span AS RANGE (subtype = numeric, multirange_type_name = app.spans);
CREATE COLLATION app.bytewise FROM "C";
CREATE SEQUENCE app.tickets INCREMENT BY 5 MINVALUE 5 START WITH 5 CYCLE;
CREATE SEQUENCE app.down INCREMENT BY -1 MINVALUE -100 MAXVALUE -1;

CREATE FUNCTION app.double(n integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
CREATE FUNCTION app.atomic(n integer) RETURNS boolean LANGUAGE sql IMMUTABLE
  BEGIN ATOMIC SELECT n::text::varchar IN ('1', '2'); END;
CREATE PROCEDURE app.nothing() LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE FUNCTION app.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE FUNCTION app.note_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE AGGREGATE app.total (integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0');
CREATE FUNCTION app.near(a app.place, b app.place) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT (a).town = (b).town';
CREATE OPERATOR app.~~~ (FUNCTION = app.near, LEFTARG = app.place, RIGHTARG = app.place, COMMUTATOR = OPERATOR(app.~~~));
CREATE FUNCTION app.as_text(p app.place) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT (p).street';
CREATE CAST (app.place AS text) WITH FUNCTION app.as_text(app.place);
CREATE TEXT SEARCH CONFIGURATION app.words (COPY = pg_catalog.simple);
CREATE TEXT SEARCH PARSER app.splitter (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype);
CREATE TEXT SEARCH TEMPLATE app.lexer (INIT = dsimple_init, LEXIZE = dsimple_lexize);
CREATE TEXT SEARCH DICTIONARY app.plain (TEMPLATE = pg_catalog.simple, ACCEPT = true);

CREATE TYPE app.later;
CREATE TYPE app.code;
CREATE FUNCTION app.code_in(cstring) RETURNS app.code LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION app.code_out(app.code) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
CREATE TYPE app.code (INPUT = app.code_in, OUTPUT = app.code_out, LIKE = pg_catalog.int4);
CREATE FUNCTION app.plpgsql_again() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE LANGUAGE case_language HANDLER app.plpgsql_again;
CREATE TRANSFORM FOR integer LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal), TO SQL WITH FUNCTION int4recv(internal));
CREATE ACCESS METHOD case_heap TYPE TABLE HANDLER heap_tableam_handler;
CREATE OPERATOR FAMILY app.numbers USING btree;
CREATE OPERATOR CLASS app.by_number FOR TYPE integer USING btree FAMILY app.numbers AS
  OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 btint4cmp(integer, integer);
CREATE OPERATOR FAMILY app.nearness USING gist;
ALTER OPERATOR FAMILY app.nearness USING gist ADD OPERATOR 15 <-> (point, point) FOR ORDER BY pg_catalog.float_ops;
CREATE CONVERSION app.from_latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE FOREIGN DATA WRAPPER case_wrapper OPTIONS (mode 'quick');
CREATE SERVER case_server FOREIGN DATA WRAPPER case_wrapper OPTIONS (host 'elsewhere', dbname 'prices');
CREATE USER MAPPING FOR case_reader SERVER case_server OPTIONS (user 'reader', password 'not a secret');
CREATE FOREIGN TABLE app.far (id integer OPTIONS (field 'a', pad 'b'), body text) SERVER case_server OPTIONS (place 'x', form 'y');

CREATE TABLE app.player (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text COLLATE app.bytewise NOT NULL,
  nick varchar(20) DEFAULT 'nobody',
  status varchar NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'shut')),
  state app.state DEFAULT 'new' NOT NULL,
  score app.score,
  doubled integer GENERATED ALWAYS AS (app.double(score)) STORED,
  rating double precision, exact numeric, at timestamptz, doc json, docb jsonb, data bytea, tags text[], home app.place, spent interval,
  CONSTRAINT sane CHECK (length(name) > 0)
) WITH (fillfactor = 90);
INSERT INTO app.player (name, nick, state, score, rating, exact, at, doc, docb, data, tags, home, spent)
SELECT 'player ' || i, CASE WHEN i % 3 = 0 THEN NULL ELSE 'nick' || i END, 'used', i,
  CASE i WHEN 1 THEN 'NaN' WHEN 2 THEN '-0' WHEN 3 THEN 'infinity' ELSE i / 3.0::float8 END, i + 0.50, '2025-01-12 03:00:00+00'::timestamptz + i * interval '1 s',
  ('{"a":  ' || i || ', "a": 2}')::json, jsonb_build_object('i', i), decode(md5(i::text), 'hex'), ARRAY['x', NULL, 'y"' || i], ROW('s' || i, NULL)::app.place, i * interval '1 day 1 min'
FROM generate_series(1, 500) i;
CREATE INDEX player_name ON app.player (name) WHERE status IN ('open', 'shut');
CREATE INDEX player_nick ON app.player (nick) WITH (fillfactor = 80, deduplicate_items = off) WHERE nick IS NOT NULL;
CREATE UNIQUE INDEX player_docb ON app.player ((docb ->> 'i'));
CREATE STATISTICS app.player_stats ON status, state FROM app.player;
ALTER TABLE app.player ALTER name SET STATISTICS 500;
ALTER TABLE app.player CLUSTER ON player_docb;

CREATE TABLE app.plays (
  id serial PRIMARY KEY, player bigint NOT NULL CONSTRAINT plays_player REFERENCES app.player ON DELETE CASCADE,
  ticket bigint DEFAULT nextval('app.tickets'), points integer, UNIQUE (player, ticket) DEFERRABLE INITIALLY DEFERRED
);
INSERT INTO app.plays (player, points) SELECT 1 + i % 500, i FROM generate_series(1, 900) i;
ALTER TABLE app.plays ADD CONSTRAINT few CHECK (points < 10000) NOT VALID;
ALTER TABLE app.plays VALIDATE CONSTRAINT few;
CREATE TRIGGER noted BEFORE UPDATE ON app.plays FOR EACH ROW WHEN (OLD.points IS DISTINCT FROM NEW.points) EXECUTE FUNCTION app.note();
CREATE RULE no_delete AS ON DELETE TO app.plays WHERE OLD.points > 800 DO INSTEAD NOTHING;

CREATE TABLE app.twins (a integer, b text);
INSERT INTO app.twins SELECT 1, 'same' FROM generate_series(1, 6);
CREATE TABLE app.empties (a text, b text);
INSERT INTO app.empties VALUES (NULL, ''), ('', NULL);
CREATE TABLE app.nothing ();
INSERT INTO app.nothing DEFAULT VALUES;
CREATE TABLE app.large (id integer, body text);
ALTER TABLE app.large ALTER body SET STORAGE EXTERNAL;
INSERT INTO app.large SELECT i, repeat(md5(i::text), 1000) FROM generate_series(1, 20) i;
CREATE UNLOGGED TABLE app.cache (k text, v text);
INSERT INTO app.cache VALUES ('a', 'b');
CREATE TABLE app.secret (owner text, body text);
INSERT INTO app.secret VALUES ('case_reader', 'mine'), ('x', 'theirs');
ALTER TABLE app.secret ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.secret FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON app.secret FOR SELECT TO case_reader USING (owner = CURRENT_USER AND owner::varchar NOT IN ('p', 'q'));

CREATE TABLE app.event (id bigint, at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE app.event_1 PARTITION OF app.event FOR VALUES FROM ('2025-01-01') TO ('2025-02-01');
CREATE TABLE app.event_2 (what text, at date NOT NULL, id bigint);
ALTER TABLE app.event ATTACH PARTITION app.event_2 DEFAULT;
CREATE INDEX event_at ON app.event (at);
INSERT INTO app.event SELECT i, '2025-01-01'::date + i, 'e' || i FROM generate_series(1, 60) i;
CREATE TABLE app.base (id integer, kind text);
CREATE TABLE app.derived (extra integer) INHERITS (app.base);
INSERT INTO app.base VALUES (1, 'base');
INSERT INTO app.derived VALUES (2, 'derived', 3);

CREATE TABLE "Odd ""Schéma"", – ünï"."sel ect'" ("a""b" integer, "from" text, "名前" text, t text);
INSERT INTO "Odd ""Schéma"", – ünï"."sel ect'" VALUES (1, 'x', '明', 't');

CREATE VIEW app.open_players WITH (security_barrier) AS SELECT id, name FROM app.player WHERE status IN ('open', 'x');
CREATE MATERIALIZED VIEW app.totals AS SELECT player, sum(points) AS points FROM app.plays GROUP BY player;
CREATE UNIQUE INDEX totals_player ON app.totals (player);
CREATE EVENT TRIGGER case_ddl ON ddl_command_end EXECUTE FUNCTION app.note_ddl();
CREATE PUBLICATION case_pub FOR TABLE app.player WITH (publish = 'insert');

GRANT SELECT ON app.player TO case_reader;
GRANT UPDATE (name) ON app.player TO case_reader;
GRANT ALL ON app.plays TO case_owner WITH GRANT OPTION;
REVOKE EXECUTE ON FUNCTION app.double(integer) FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO case_reader;
ALTER TABLE app.large OWNER TO case_owner;
ALTER FUNCTION app.note() OWNER TO case_owner;
COMMENT ON TABLE app.player IS 'Who plays';
COMMENT ON COLUMN app.player.name IS 'As they said it';

SELECT lo_from_bytea(90001, decode(repeat('00ff41', 3000), 'hex')), lo_from_bytea(90002, ''), lo_from_bytea(90003, '\x01');
GRANT SELECT ON LARGE OBJECT 90001 TO case_reader;
SELECT lo_put(90003, 5000, '\x02'), setval('app.tickets', 9005);
DO $$ BEGIN
  EXECUTE format('ALTER DATABASE %I SET work_mem = ''5MB''', current_database());
  EXECUTE format('ALTER DATABASE %I SET search_path = app, "$user", public', current_database());
  EXECUTE format('ALTER ROLE case_reader IN DATABASE %I SET lock_timeout = ''1s''', current_database());
  EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('COMMENT ON DATABASE %I IS E''two\nlines''', current_database());
END $$;
ANALYZE app.player;
