-- The deployment's database roles: <database>_owner owns the tables and migrates; <database>_web, _scheduler and _worker
-- get their rights on tables from it. Run by psql as the superuser, on the server's own socket, before each migration; safe
-- to repeat. The superuser loses its password: over the network nobody signs in as it.
\set ON_ERROR_STOP on
\if :{?secrets}
\else
    \set secrets /run/secrets
\endif
\set owner_password `cat :'secrets'/owner`
\set web_password `cat :'secrets'/web`
\set scheduler_password `cat :'secrets'/scheduler`
\set worker_password `cat :'secrets'/worker`
\set owner :DBNAME _owner
\set web :DBNAME _web
\set scheduler :DBNAME _scheduler
\set worker :DBNAME _worker

-- Passwords stay out of the server's log.
SET log_statement = none;
SET log_min_error_statement = panic;
SET log_min_duration_statement = -1;

BEGIN;
SELECT format('CREATE ROLE %I', name)
  FROM unnest(ARRAY[:'owner', :'web', :'scheduler', :'worker']) AS name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

\set nothing_more 'LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS'
ALTER ROLE :"owner" :nothing_more PASSWORD :'owner_password';
ALTER ROLE :"web" :nothing_more PASSWORD :'web_password';
ALTER ROLE :"scheduler" :nothing_more PASSWORD :'scheduler_password';
ALTER ROLE :"worker" :nothing_more PASSWORD :'worker_password';
ALTER ROLE CURRENT_USER PASSWORD NULL;

ALTER DATABASE :"DBNAME" OWNER TO :"owner";
REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO :"web", :"scheduler", :"worker";
ALTER SCHEMA public OWNER TO :"owner";
REVOKE ALL ON SCHEMA public FROM PUBLIC;

-- An earlier version's tables belong to the superuser. Their sequences follow them.
SELECT format('ALTER TABLE %I.%I OWNER TO %I', schemaname, tablename, :'owner')
  FROM pg_tables
 WHERE schemaname = 'public' AND tableowner <> :'owner' \gexec
COMMIT;
