-- What hosted Supabase gives before the first migration: roles, schemas, extensions, the auth helpers.
-- Run by the superuser supabase_admin on an empty cluster, and again whenever this file changes: every line repeats safely.
-- The passwords are set by the caller, not here.

-- Roles. postgres owns the project's objects but is no superuser, as on hosted Supabase.
do $$
declare
  v_role text;
begin
  foreach v_role in array array[
    'postgres', 'anon', 'authenticated', 'service_role', 'authenticator', 'supabase_auth_admin'
  ] loop
    if not exists (select from pg_catalog.pg_roles where rolname = v_role) then
      execute format('create role %I', v_role);
    end if;
  end loop;
end $$;

alter role postgres with login createdb createrole replication bypassrls;
alter role anon with nologin noinherit;
alter role authenticated with nologin noinherit;
alter role service_role with nologin noinherit bypassrls;
alter role authenticator with login noinherit;
alter role supabase_auth_admin with login noinherit createrole;

grant anon, authenticated, service_role to authenticator;
grant anon, authenticated, service_role to postgres with admin option;
grant pg_monitor, pg_read_all_data, pg_signal_backend to postgres;

alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';
alter role supabase_auth_admin set search_path = 'auth';
alter role supabase_auth_admin set idle_in_transaction_session_timeout = '60s';
alter role postgres set search_path = '$user', 'public', 'extensions';

-- The database and public belong to postgres. No default privileges: new tables there are unreachable until granted.
alter database postgres owner to postgres;
alter schema public owner to postgres;
grant usage on schema public to anon, authenticated, service_role;

-- Extensions get a schema of their own. None is made here: `db reset` drops all, so a migration creates what it needs,
-- as postgres (vector is marked as trusted: see postgres.py). The embedded Postgres has no pgcrypto and no uuid-ossp.
create schema if not exists extensions authorization postgres;
grant usage on schema extensions to anon, authenticated, service_role;

-- auth: the schema is supabase_admin's (`db reset` drops a schema owned by anyone else), its tables are
-- supabase_auth_admin's (made by auth.mjs), and postgres may do everything to them: foreign keys, triggers, truncate.
create schema if not exists auth authorization supabase_admin;
grant usage, create on schema auth to supabase_auth_admin;
grant create on database postgres to supabase_auth_admin;
grant usage on schema auth to anon, authenticated, service_role;
grant usage, create on schema auth to postgres;
alter default privileges for role supabase_auth_admin in schema auth grant all on tables to postgres;
alter default privileges for role supabase_auth_admin in schema auth grant all on sequences to postgres;
alter default privileges for role supabase_auth_admin in schema auth grant all on routines to postgres;

-- The caller's token. PostgREST sets the whole of it in request.jwt.claims; older servers set request.jwt.claim.<name>.
create or replace function auth.jwt() returns jsonb
language sql stable
as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')
  )::jsonb
$$;

create or replace function auth.uid() returns uuid
language sql stable
as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.sub', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
  )::uuid
$$;

create or replace function auth.role() returns text
language sql stable
as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.role', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
  )
$$;

create or replace function auth.email() returns text
language sql stable
as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.email', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email'
  )
$$;

grant execute on function auth.jwt(), auth.uid(), auth.role(), auth.email() to public;
grant all on function auth.jwt(), auth.uid(), auth.role(), auth.email() to postgres;

-- Realtime is not among the services, but a migration may publish a table to it.
do $$
begin
  if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
    create publication supabase_realtime;
    alter publication supabase_realtime owner to postgres;
  end if;
end $$;
