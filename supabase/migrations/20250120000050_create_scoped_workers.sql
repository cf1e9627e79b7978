-- Scoped workers: customers run workers of their own, without a server's key. Such a worker calls as the Postgres role
-- organization_worker, with a short-lived token that names one organization; operators sign tokens (python -m workers token), admins
-- list and revoke them. The role reads no table and calls only the scoped_* functions: each asks private.worker_scope first, and
-- then does what the function of servers without that prefix does, for that organization's tasks alone.
-- Lock order: as the functions of servers; a token's row is never waited for.
-- Over 400 lines, because the role, its tokens and all that it may call are one subject.

-- The role -----------------------------------------------------------------------------------------------------------

do $$
begin
  if not exists (select from pg_catalog.pg_roles r where r.rolname = 'organization_worker') then
    create role organization_worker nologin noinherit;
  end if;
end $$;
-- PostgREST takes it on for a token that says so; postgres may, to try what it can do.
grant organization_worker to authenticator, postgres;
grant usage on schema public, private to organization_worker;

-- Table --------------------------------------------------------------------------------------------------------------

create table public.worker_tokens (
  id uuid primary key default gen_random_uuid(),
  organization_slug text not null references public.organizations (slug) on delete cascade,
  name text not null,
  expires_at timestamptz not null,
  revoked_at timestamptz,
  revoked_by uuid references public.users (id) on delete set null,
  last_used_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint name_is_not_blank check (btrim(name) <> '' and length(name) <= 100),
  constraint only_the_revoked_were_revoked_by_somebody check (revoked_by is null or revoked_at is not null)
);

-- An organization's tokens, the last to expire first (policies, foreign key).
create index worker_tokens_organization_idx on public.worker_tokens (organization_slug, expires_at desc);
-- Who revoked (foreign key).
create index worker_tokens_revoked_by_idx on public.worker_tokens (revoked_by);

create trigger set_updated_at before update on public.worker_tokens
for each row execute function public.set_updated_at();

comment on table public.worker_tokens is
  'The tokens of organizations'' own workers. The token itself is signed outside and stands nowhere; one that has no row here is refused.';
comment on column public.worker_tokens.id is 'The claim jti of the token.';
comment on column public.worker_tokens.name is 'What the worker is called where tokens are listed.';
comment on column public.worker_tokens.last_used_at is 'To within a minute.';

alter table public.worker_tokens enable row level security;
revoke all on public.worker_tokens from anon, authenticated, service_role;
grant select on public.worker_tokens to authenticated;
grant select, insert, update, delete on public.worker_tokens to service_role;

create policy "Admins list the tokens of their workers" on public.worker_tokens
for select to authenticated
using (organization_slug = any (array(select private.my_organizations('admin'))));

-- Tokens -------------------------------------------------------------------------------------------------------------

create function public.create_worker_token(organization_slug text, name text, minutes integer default 60) returns public.worker_tokens
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_token public.worker_tokens;
begin
  if minutes is null or minutes not between 1 and 1440 then
    raise exception using errcode = '22023', message = 'minutes_out_of_range',
      detail = format('minutes is %s.', coalesce(minutes::text, 'null')), hint = 'Between a minute and a day: 1 to 1440.';
  end if;
  if not exists (select from public.organizations o where o.slug = create_worker_token.organization_slug) then
    raise exception using errcode = 'PT404', message = 'organization_not_found',
      detail = format('There is no organization "%s".', create_worker_token.organization_slug), hint = 'Create it first, or correct the slug.';
  end if;
  delete from public.worker_tokens t
  where t.organization_slug = create_worker_token.organization_slug and t.expires_at < private.clock() - interval '30 days';
  insert into public.worker_tokens (organization_slug, name, expires_at)
  values (create_worker_token.organization_slug, create_worker_token.name, private.clock() + make_interval(mins => minutes))
  returning * into v_token;
  return v_token;
exception when check_violation or not_null_violation then
  perform private.refuse_value('name_is_not_blank', 'worker_tokens');
end;
$$;
comment on function public.create_worker_token(text, text, integer) is
  'Registers a token before it is signed with the project''s JWT secret: its id is the claim jti, expires_at the claim exp. Forgets the organization''s tokens that expired 30 days ago. Errors: 22023 minutes_out_of_range, value_refused, PT404 organization_not_found.';
revoke execute on function public.create_worker_token(text, text, integer) from public, anon, authenticated;
grant execute on function public.create_worker_token(text, text, integer) to service_role;

create function private.revoke_worker_token(token_id uuid) returns public.worker_tokens
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_token public.worker_tokens;
begin
  select t.* into v_token
  from public.worker_tokens t
  where t.id = revoke_worker_token.token_id
    and (not private.is_client() or t.organization_slug in (select private.my_organizations('admin')))
  for no key update;
  if not found then
    raise exception using errcode = 'PT404', message = 'worker_token_not_found',
      detail = format('You have no worker token %s.', revoke_worker_token.token_id), hint = 'List worker_tokens; only admins of its organization revoke one.';
  end if;
  if v_token.revoked_at is null then
    update public.worker_tokens t
    set revoked_at = private.clock(), revoked_by = (select u.id from public.users u where u.id = (select auth.uid()))
    where t.id = v_token.id
    returning t.* into v_token;
  end if;
  return v_token;
end;
$$;
comment on function private.revoke_worker_token(uuid) is 'Body of public.revoke_worker_token.';
revoke execute on function private.revoke_worker_token(uuid) from public;
grant execute on function private.revoke_worker_token(uuid) to authenticated, service_role;

create function public.revoke_worker_token(token_id uuid) returns public.worker_tokens
language sql volatile security invoker set search_path = ''
as $$
  select * from private.revoke_worker_token(token_id);
$$;
comment on function public.revoke_worker_token(uuid) is
  'Ends a token of an organization''s own worker at once; what that worker holds goes to others when its leases run out. Called again: the same row. Errors: PT404 worker_token_not_found.';
revoke execute on function public.revoke_worker_token(uuid) from public, anon, authenticated;
grant execute on function public.revoke_worker_token(uuid) to authenticated, service_role;

-- What a scoped worker may do --------------------------------------------------------------------------------------------

create function private.is_scoped_worker() returns boolean
language sql stable set search_path = ''
as $$
  select coalesce(current_setting('role', true), 'none') = 'organization_worker';
$$;
comment on function private.is_scoped_worker() is
  'True for a request of an organization''s own worker, also inside security definer functions. Housekeeping for everybody is not done in its transactions.';
revoke execute on function private.is_scoped_worker() from public;
grant execute on function private.is_scoped_worker() to service_role;

create function private.worker_scope() returns text
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_claims constant jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
  v_token record;
  v_why text;
begin
  select t.id, t.organization_slug, t.revoked_at, t.expires_at, t.last_used_at, o.is_active into v_token
  from public.worker_tokens t
  join public.organizations o on o.slug = t.organization_slug
  where t.id = private.uuid_or_null(v_claims ->> 'jti') and t.organization_slug = v_claims ->> 'organization_slug' and private.is_scoped_worker();
  v_why := case
    when v_token.id is null then 'is not registered for its organization'
    when v_token.revoked_at is not null then 'was revoked'
    when v_token.expires_at <= private.clock() then 'has expired'
    when not v_token.is_active then 'is of an organization that is deactivated'
  end;
  if v_why is not null then
    raise exception using errcode = 'PT401', message = 'worker_token_refused',
      detail = format('The worker''s token %s.', v_why), hint = 'Ask the operator for a new one: python -m workers token --organization SLUG.';
  end if;
  if coalesce(v_token.last_used_at, '-infinity') < private.clock() - interval '1 minute' then
    update public.worker_tokens t set last_used_at = private.clock()
    where t.id = (select x.id from public.worker_tokens x where x.id = v_token.id for no key update skip locked);
  end if;
  return v_token.organization_slug;
end;
$$;
comment on function private.worker_scope() is
  'The organization that the caller''s worker token is for, the first thing that every scoped_* function asks; PT401 worker_token_refused unless the token is registered, neither revoked nor expired, and its organization active.';
revoke execute on function private.worker_scope() from public;

create function private.scoped_worker_id(organization_slug text, worker_id text) returns text
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_id constant text := organization_slug || ':' || worker_id;
begin
  if worker_id is null or btrim(worker_id) = '' or length(worker_id) > 130 then
    raise exception using errcode = '22023', message = 'worker_id_invalid',
      detail = 'worker_id must be a text of 1 to 130 characters.', hint = 'Give each worker process a name of its own (WORKER_ID).';
  end if;
  if not exists (select from public.workers w where w.id = v_id)
    and (select count(*) from public.workers w where starts_with(w.id, scoped_worker_id.organization_slug || ':')) >= 1000 then
    raise exception using errcode = 'PT429', message = 'over_limit',
      detail = format('Organization "%s" has 1000 workers.', organization_slug),
      hint = 'Stop workers and use their names again; those not seen for a day are forgotten when another one registers.';
  end if;
  return v_id;
end;
$$;
comment on function private.scoped_worker_id(text, text) is
  'A scoped worker''s name with its organization''s before it (slugs have no colon), so that it is never taken for a worker of servers or of others, and none of those can be spoken for. Errors: 22023 worker_id_invalid, PT429 over_limit.';
revoke execute on function private.scoped_worker_id(text, text) from public;

create function private.check_scope(organization_slug text, organizations text[]) returns void
language plpgsql stable security invoker set search_path = ''
as $$
begin
  if not organizations <@ array[organization_slug] then
    raise exception using errcode = '42501', message = 'not_allowed',
      detail = format('The worker''s token is for organization "%s" only.', organization_slug), hint = 'Leave organizations out.';
  end if;
end;
$$;
comment on function private.check_scope(text, text[]) is 'Raises 42501 not_allowed when a scoped worker asks for the work of others; null asks for its own.';
revoke execute on function private.check_scope(text, text[]) from public;

create function private.scoped_methods(methods text[]) returns text[]
language sql stable security invoker set search_path = ''
as $$
  select array(select m.name from public.task_methods m where m.needs_agent and not m.is_internal and (methods is null or m.name = any (methods)));
$$;
comment on function private.scoped_methods(text[]) is
  'Of these methods, null for all, those that a scoped worker may run: the work of agents. What the database makes itself (internal methods) and what needs no agent (sync_repository) is for servers, which have the functions and keys for it.';
revoke execute on function private.scoped_methods(text[]) from public;

create function private.scoped_task(organization_slug text, task_id uuid) returns uuid
language sql stable security invoker set search_path = ''
as $$
  select t.id from public.tasks t
  where t.id = scoped_task.task_id and t.organization_slug = scoped_task.organization_slug and t.status = 'in_progress'
    and starts_with(t.worker_id, scoped_task.organization_slug || ':');
$$;
comment on function private.scoped_task(text, uuid) is 'The id of a task that a worker of this organization runs, null for every other; then the functions of servers answer as for one that does not exist.';
revoke execute on function private.scoped_task(text, uuid) from public;

create function private.check_scoped_json(given jsonb) returns void
language plpgsql immutable security invoker set search_path = ''
as $$
begin
  if given @? 'strict $.**{130}' or exists (
    select from jsonb_path_query(given, 'strict $.** ? (@.type() == "number")') n (item)
    where abs(n.item::numeric) > 1e308 or scale(n.item::numeric) > 400
  ) then
    raise exception using errcode = '22023', message = 'json_not_plain',
      detail = 'It has a number beyond 1e308 or with more than 400 decimals, or 130 levels.', hint = 'Send such numbers as text, and flatter JSON.';
  end if;
end;
$$;
comment on function private.check_scoped_json(jsonb) is
  'Raises 22023 json_not_plain for numbers that are short here and gigabytes when printed, and for nesting that others cannot read; our own workers never send either.';
revoke execute on function private.check_scoped_json(jsonb) from public;

create function private.scoped_items(organization_slug text, items jsonb) returns jsonb
language plpgsql stable security invoker set search_path = '' set enable_seqscan = off
as $$
declare
  v_own uuid[];
begin
  if jsonb_typeof(items) is distinct from 'array' then
    return items;
  end if;
  perform private.check_scoped_json(items);
  v_own := array(
    select t.id from public.tasks t
    where t.id = any (array(select private.uuid_or_null(i.item ->> 'task_id') from jsonb_array_elements(items) i (item)))
      and t.organization_slug = scoped_items.organization_slug
  );
  return coalesce((
    -- Without its lease an item is answered lost, as for a task that does not exist.
    select jsonb_agg(
      case
        when jsonb_typeof(i.item) = 'object' and private.uuid_or_null(i.item ->> 'task_id') = any (v_own) is not true
          then i.item || '{"lease_token": null}'
        else i.item
      end
      order by i.place
    )
    from jsonb_array_elements(items) with ordinality i (item, place)
  ), '[]');
end;
$$;
comment on function private.scoped_items(text, jsonb) is 'The items of a report, those about tasks of other organizations without their lease_token.';
revoke execute on function private.scoped_items(text, jsonb) from public;

create function private.scoped_report(organization_slug text, report jsonb) returns jsonb
language sql stable security invoker set search_path = ''
as $$
  select case when jsonb_typeof(report) = 'object' then report || coalesce((
    select jsonb_object_agg(k.kind, private.scoped_items(scoped_report.organization_slug, report -> k.kind))
    from unnest(array['steps', 'events', 'heartbeats', 'completed', 'failed', 'paused', 'released']) k (kind)
    where report ? k.kind
  ), '{}') else report end;
$$;
comment on function private.scoped_report(text, jsonb) is 'The report of an exchange with private.scoped_items in its lists.';
revoke execute on function private.scoped_report(text, jsonb) from public;

-- Workers ------------------------------------------------------------------------------------------------------------

create function private.scoped_register_worker(worker_id text, info jsonb) returns public.workers
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_scope constant text := private.worker_scope();
  v_worker constant text := private.scoped_worker_id(v_scope, worker_id);
begin
  if length(info::text) > 10000 then
    raise exception using errcode = '22023', message = 'argument_out_of_range',
      detail = format('info has %s characters; 10000 are the most.', length(info::text)), hint = 'Send {hostname, pid, version, concurrency, methods}.';
  end if;
  delete from public.workers w
  where starts_with(w.id, v_scope || ':') and w.id <> v_worker and w.last_seen_at < now() - interval '1 day'
    and not exists (
      select from private.live_tasks l join public.tasks t on t.id = l.task_id
      where l.organization_slug = v_scope and l.state = 'running' and t.worker_id = w.id
    );
  return public.register_worker(v_worker, coalesce(nullif(info, 'null'), '{}') || jsonb_build_object('organizations', jsonb_build_array(v_scope)));
end;
$$;
comment on function private.scoped_register_worker(text, jsonb) is 'Body of public.scoped_register_worker.';
revoke execute on function private.scoped_register_worker(text, jsonb) from public;
grant execute on function private.scoped_register_worker(text, jsonb) to organization_worker;

create function public.scoped_register_worker(worker_id text, info jsonb default '{}') returns public.workers
language sql volatile security invoker set search_path = ''
as $$
  select * from private.scoped_register_worker(worker_id, info);
$$;
comment on function public.scoped_register_worker(text, jsonb) is
  'As register_worker, for an organization''s own worker; its id is then "organization:worker_id". Forgets those of the organization that were not seen for a day. Errors: PT401 worker_token_refused, 22023 worker_id_invalid, argument_out_of_range, PT429 over_limit.';
revoke execute on function public.scoped_register_worker(text, jsonb) from public, anon, authenticated;
grant execute on function public.scoped_register_worker(text, jsonb) to organization_worker;

create function private.scoped_stop_worker(worker_id text) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_scope constant text := private.worker_scope();
  v_worker constant text := private.scoped_worker_id(v_scope, worker_id);
begin
  perform public.stop_worker(v_worker);
end;
$$;
comment on function private.scoped_stop_worker(text) is 'Body of public.scoped_stop_worker.';
revoke execute on function private.scoped_stop_worker(text) from public;
grant execute on function private.scoped_stop_worker(text) to organization_worker;

create function public.scoped_stop_worker(worker_id text) returns void
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_stop_worker(worker_id);
$$;
comment on function public.scoped_stop_worker(text) is
  'As stop_worker, for an organization''s own worker. Errors: PT401 worker_token_refused.';
revoke execute on function public.scoped_stop_worker(text) from public, anon, authenticated;
grant execute on function public.scoped_stop_worker(text) to organization_worker;

-- Claims and reports ---------------------------------------------------------------------------------------------------

create function private.scoped_claim_tasks(worker_id text, max_tasks integer, lease_seconds integer, methods text[], organizations text[], slots jsonb) returns json
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_scope constant text := private.worker_scope();
  v_worker constant text := private.scoped_worker_id(v_scope, worker_id);
begin
  perform private.check_scope(v_scope, organizations);
  return public.claim_tasks(v_worker, max_tasks, lease_seconds, private.scoped_methods(methods), array[v_scope], slots);
end;
$$;
comment on function private.scoped_claim_tasks(text, integer, integer, text[], text[], jsonb) is 'Body of public.scoped_claim_tasks.';
revoke execute on function private.scoped_claim_tasks(text, integer, integer, text[], text[], jsonb) from public;
grant execute on function private.scoped_claim_tasks(text, integer, integer, text[], text[], jsonb) to organization_worker;

create function public.scoped_claim_tasks(
  worker_id text, max_tasks integer default 1, lease_seconds integer default 30, methods text[] default null, organizations text[] default null,
  slots jsonb default null
) returns json
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_claim_tasks(worker_id, max_tasks, lease_seconds, methods, organizations, slots);
$$;
comment on function public.scoped_claim_tasks(text, integer, integer, text[], text[], jsonb) is
  'As claim_tasks, for an organization''s own worker: its organization''s tasks for agents. Errors: PT401 worker_token_refused, 42501 not_allowed when organizations names others.';
revoke execute on function public.scoped_claim_tasks(text, integer, integer, text[], text[], jsonb) from public, anon, authenticated;
grant execute on function public.scoped_claim_tasks(text, integer, integer, text[], text[], jsonb) to organization_worker;

create function private.scoped_take_items(worker_id text, kind text, items jsonb, lease_seconds integer) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_scope constant text := private.worker_scope();
  v_worker constant text := private.scoped_worker_id(v_scope, worker_id);
begin
  perform private.check_claim_arguments(0, lease_seconds);
  return private.take_items(v_worker, kind, private.scoped_items(v_scope, items), lease_seconds);
end;
$$;
comment on function private.scoped_take_items(text, text, jsonb, integer) is 'Body of public.scoped_heartbeat_tasks, scoped_add_task_events, scoped_add_run_steps, scoped_complete_tasks, scoped_fail_tasks, scoped_pause_task and scoped_release_tasks.';
revoke execute on function private.scoped_take_items(text, text, jsonb, integer) from public;
grant execute on function private.scoped_take_items(text, text, jsonb, integer) to organization_worker;

create function public.scoped_heartbeat_tasks(worker_id text, items jsonb, lease_seconds integer default 30) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_take_items(worker_id, 'heartbeat', items, lease_seconds);
$$;
comment on function public.scoped_heartbeat_tasks(text, jsonb, integer) is
  'As heartbeat_tasks, for an organization''s own worker; a task of others is answered lost. Errors: PT401 worker_token_refused.';
revoke execute on function public.scoped_heartbeat_tasks(text, jsonb, integer) from public, anon, authenticated;
grant execute on function public.scoped_heartbeat_tasks(text, jsonb, integer) to organization_worker;

create function public.scoped_add_task_events(worker_id text, items jsonb) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_take_items(worker_id, 'event', items, 30);
$$;
comment on function public.scoped_add_task_events(text, jsonb) is
  'As add_task_events, for an organization''s own worker; a task of others is answered lost. Errors: PT401 worker_token_refused.';
revoke execute on function public.scoped_add_task_events(text, jsonb) from public, anon, authenticated;
grant execute on function public.scoped_add_task_events(text, jsonb) to organization_worker;

create function public.scoped_add_run_steps(worker_id text, items jsonb) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_take_items(worker_id, 'step', items, 30);
$$;
comment on function public.scoped_add_run_steps(text, jsonb) is
  'As add_run_steps, for an organization''s own worker; a task of others is answered lost. Errors: PT401 worker_token_refused.';
revoke execute on function public.scoped_add_run_steps(text, jsonb) from public, anon, authenticated;
grant execute on function public.scoped_add_run_steps(text, jsonb) to organization_worker;

create function public.scoped_complete_tasks(worker_id text, items jsonb) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_take_items(worker_id, 'completed', items, 30);
$$;
comment on function public.scoped_complete_tasks(text, jsonb) is
  'As complete_tasks, for an organization''s own worker; a task of others is answered lost. Errors: PT401 worker_token_refused.';
revoke execute on function public.scoped_complete_tasks(text, jsonb) from public, anon, authenticated;
grant execute on function public.scoped_complete_tasks(text, jsonb) to organization_worker;

create function public.scoped_fail_tasks(worker_id text, items jsonb) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_take_items(worker_id, 'failed', items, 30);
$$;
comment on function public.scoped_fail_tasks(text, jsonb) is
  'As fail_tasks, for an organization''s own worker; a task of others is answered lost. Errors: PT401 worker_token_refused.';
revoke execute on function public.scoped_fail_tasks(text, jsonb) from public, anon, authenticated;
grant execute on function public.scoped_fail_tasks(text, jsonb) to organization_worker;

create function public.scoped_pause_task(worker_id text, items jsonb) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_take_items(worker_id, 'paused', items, 30);
$$;
comment on function public.scoped_pause_task(text, jsonb) is
  'As pause_task, for an organization''s own worker; a task of others is answered lost. Errors: PT401 worker_token_refused.';
revoke execute on function public.scoped_pause_task(text, jsonb) from public, anon, authenticated;
grant execute on function public.scoped_pause_task(text, jsonb) to organization_worker;

create function public.scoped_release_tasks(worker_id text, items jsonb) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_take_items(worker_id, 'released', items, 30);
$$;
comment on function public.scoped_release_tasks(text, jsonb) is
  'As release_tasks, for an organization''s own worker; a task of others is answered lost. Errors: PT401 worker_token_refused.';
revoke execute on function public.scoped_release_tasks(text, jsonb) from public, anon, authenticated;
grant execute on function public.scoped_release_tasks(text, jsonb) to organization_worker;

create function private.scoped_exchange_work(
  worker_id text, request_id uuid, report jsonb, max_tasks integer, lease_seconds integer, methods text[], organizations text[]
) returns json
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_scope constant text := private.worker_scope();
  v_worker constant text := private.scoped_worker_id(v_scope, worker_id);
begin
  perform private.check_scope(v_scope, organizations);
  return public.exchange_work(
    v_worker, request_id, private.scoped_report(v_scope, report), max_tasks, lease_seconds, private.scoped_methods(methods), array[v_scope]
  );
end;
$$;
comment on function private.scoped_exchange_work(text, uuid, jsonb, integer, integer, text[], text[]) is 'Body of public.scoped_exchange_work.';
revoke execute on function private.scoped_exchange_work(text, uuid, jsonb, integer, integer, text[], text[]) from public;
grant execute on function private.scoped_exchange_work(text, uuid, jsonb, integer, integer, text[], text[]) to organization_worker;

create function public.scoped_exchange_work(
  worker_id text, request_id uuid, report jsonb default '{}', max_tasks integer default 0, lease_seconds integer default 30,
  methods text[] default null, organizations text[] default null
) returns json
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_exchange_work(worker_id, request_id, report, max_tasks, lease_seconds, methods, organizations);
$$;
comment on function public.scoped_exchange_work(text, uuid, jsonb, integer, integer, text[], text[]) is
  'As exchange_work, for an organization''s own worker: only its organization''s tasks for agents, no housekeeping and no schedules. Errors: PT401 worker_token_refused, 42501 not_allowed when organizations names others.';
revoke execute on function public.scoped_exchange_work(text, uuid, jsonb, integer, integer, text[], text[]) from public, anon, authenticated;
grant execute on function public.scoped_exchange_work(text, uuid, jsonb, integer, integer, text[], text[]) to organization_worker;

-- What attempts ask ------------------------------------------------------------------------------------------------------

create function private.scoped_open_status_webhook(task_id uuid, attempt integer, lease_token uuid, ttl_seconds integer) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_scope constant text := private.worker_scope();
begin
  return public.open_status_webhook(private.scoped_task(v_scope, task_id), attempt, lease_token, ttl_seconds);
end;
$$;
comment on function private.scoped_open_status_webhook(uuid, integer, uuid, integer) is 'Body of public.scoped_open_status_webhook.';
revoke execute on function private.scoped_open_status_webhook(uuid, integer, uuid, integer) from public;
grant execute on function private.scoped_open_status_webhook(uuid, integer, uuid, integer) to organization_worker;

create function public.scoped_open_status_webhook(task_id uuid, attempt integer, lease_token uuid, ttl_seconds integer) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_open_status_webhook(task_id, attempt, lease_token, ttl_seconds);
$$;
comment on function public.scoped_open_status_webhook(uuid, integer, uuid, integer) is
  'As open_status_webhook, for an organization''s own worker. Errors: PT401 worker_token_refused, PT409 lease_lost, also for tasks of others, 22023 ttl_out_of_range.';
revoke execute on function public.scoped_open_status_webhook(uuid, integer, uuid, integer) from public, anon, authenticated;
grant execute on function public.scoped_open_status_webhook(uuid, integer, uuid, integer) to organization_worker;

create function private.scoped_read_status_webhooks(ids uuid[]) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_scope constant text := private.worker_scope();
begin
  return public.read_status_webhooks(array(
    select w.id from private.status_webhooks w where w.id = any (ids) and private.scoped_task(v_scope, w.task_id) is not null
  ));
end;
$$;
comment on function private.scoped_read_status_webhooks(uuid[]) is 'Body of public.scoped_read_status_webhooks.';
revoke execute on function private.scoped_read_status_webhooks(uuid[]) from public;
grant execute on function private.scoped_read_status_webhooks(uuid[]) to organization_worker;

create function public.scoped_read_status_webhooks(ids uuid[]) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_read_status_webhooks(ids);
$$;
comment on function public.scoped_read_status_webhooks(uuid[]) is
  'As read_status_webhooks, for an organization''s own worker; those of tasks that its workers do not run are left out. Errors: PT401 worker_token_refused.';
revoke execute on function public.scoped_read_status_webhooks(uuid[]) from public, anon, authenticated;
grant execute on function public.scoped_read_status_webhooks(uuid[]) to organization_worker;

create function private.scoped_begin_remote_task(task_id uuid, attempt integer, lease_token uuid, server text) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_scope constant text := private.worker_scope();
begin
  return public.begin_remote_task(private.scoped_task(v_scope, task_id), attempt, lease_token, server);
end;
$$;
comment on function private.scoped_begin_remote_task(uuid, integer, uuid, text) is 'Body of public.scoped_begin_remote_task.';
revoke execute on function private.scoped_begin_remote_task(uuid, integer, uuid, text) from public;
grant execute on function private.scoped_begin_remote_task(uuid, integer, uuid, text) to organization_worker;

create function public.scoped_begin_remote_task(task_id uuid, attempt integer, lease_token uuid, server text) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_begin_remote_task(task_id, attempt, lease_token, server);
$$;
comment on function public.scoped_begin_remote_task(uuid, integer, uuid, text) is
  'As begin_remote_task, for an organization''s own worker. Errors: PT401 worker_token_refused, PT409 lease_lost, also for tasks of others.';
revoke execute on function public.scoped_begin_remote_task(uuid, integer, uuid, text) from public, anon, authenticated;
grant execute on function public.scoped_begin_remote_task(uuid, integer, uuid, text) to organization_worker;

create function private.scoped_keep_remote_task(task_id uuid, attempt integer, lease_token uuid, message_id text, remote_task_id text, context_id text) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_scope constant text := private.worker_scope();
begin
  perform public.keep_remote_task(private.scoped_task(v_scope, task_id), attempt, lease_token, message_id, remote_task_id, context_id);
end;
$$;
comment on function private.scoped_keep_remote_task(uuid, integer, uuid, text, text, text) is 'Body of public.scoped_keep_remote_task.';
revoke execute on function private.scoped_keep_remote_task(uuid, integer, uuid, text, text, text) from public;
grant execute on function private.scoped_keep_remote_task(uuid, integer, uuid, text, text, text) to organization_worker;

create function public.scoped_keep_remote_task(task_id uuid, attempt integer, lease_token uuid, message_id text, remote_task_id text, context_id text) returns void
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_keep_remote_task(task_id, attempt, lease_token, message_id, remote_task_id, context_id);
$$;
comment on function public.scoped_keep_remote_task(uuid, integer, uuid, text, text, text) is
  'As keep_remote_task, for an organization''s own worker. Errors: PT401 worker_token_refused, PT409 lease_lost, also for tasks of others.';
revoke execute on function public.scoped_keep_remote_task(uuid, integer, uuid, text, text, text) from public, anon, authenticated;
grant execute on function public.scoped_keep_remote_task(uuid, integer, uuid, text, text, text) to organization_worker;

create function private.scoped_forget_remote_task(task_id uuid, attempt integer, lease_token uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_scope constant text := private.worker_scope();
begin
  perform public.forget_remote_task(private.scoped_task(v_scope, task_id), attempt, lease_token);
end;
$$;
comment on function private.scoped_forget_remote_task(uuid, integer, uuid) is 'Body of public.scoped_forget_remote_task.';
revoke execute on function private.scoped_forget_remote_task(uuid, integer, uuid) from public;
grant execute on function private.scoped_forget_remote_task(uuid, integer, uuid) to organization_worker;

create function public.scoped_forget_remote_task(task_id uuid, attempt integer, lease_token uuid) returns void
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_forget_remote_task(task_id, attempt, lease_token);
$$;
comment on function public.scoped_forget_remote_task(uuid, integer, uuid) is
  'As forget_remote_task, for an organization''s own worker. Errors: PT401 worker_token_refused, PT409 lease_lost, also for tasks of others.';
revoke execute on function public.scoped_forget_remote_task(uuid, integer, uuid) from public, anon, authenticated;
grant execute on function public.scoped_forget_remote_task(uuid, integer, uuid) to organization_worker;

create function private.scoped_agents_to_call(task_id uuid, slugs text[]) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_scope constant text := private.worker_scope();
begin
  return public.agents_to_call(private.scoped_task(v_scope, task_id), slugs);
end;
$$;
comment on function private.scoped_agents_to_call(uuid, text[]) is 'Body of public.scoped_agents_to_call.';
revoke execute on function private.scoped_agents_to_call(uuid, text[]) from public;
grant execute on function private.scoped_agents_to_call(uuid, text[]) to organization_worker;

create function public.scoped_agents_to_call(task_id uuid, slugs text[]) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_agents_to_call(task_id, slugs);
$$;
comment on function public.scoped_agents_to_call(uuid, text[]) is
  'As agents_to_call, for an organization''s own worker; nothing for a task that its workers do not run. Errors: PT401 worker_token_refused.';
revoke execute on function public.scoped_agents_to_call(uuid, text[]) from public, anon, authenticated;
grant execute on function public.scoped_agents_to_call(uuid, text[]) to organization_worker;

create function private.scoped_read_plan_request(task_id uuid, attempt integer, lease_token uuid) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_scope constant text := private.worker_scope();
begin
  return public.read_plan_request(private.scoped_task(v_scope, task_id), attempt, lease_token);
end;
$$;
comment on function private.scoped_read_plan_request(uuid, integer, uuid) is 'Body of public.scoped_read_plan_request.';
revoke execute on function private.scoped_read_plan_request(uuid, integer, uuid) from public;
grant execute on function private.scoped_read_plan_request(uuid, integer, uuid) to organization_worker;

create function public.scoped_read_plan_request(task_id uuid, attempt integer, lease_token uuid) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_read_plan_request(task_id, attempt, lease_token);
$$;
comment on function public.scoped_read_plan_request(uuid, integer, uuid) is
  'As read_plan_request, for an organization''s own worker. Errors: PT401 worker_token_refused, PT409 lease_lost, also for tasks of others.';
revoke execute on function public.scoped_read_plan_request(uuid, integer, uuid) from public, anon, authenticated;
grant execute on function public.scoped_read_plan_request(uuid, integer, uuid) to organization_worker;

create function private.scoped_write_plan(task_id uuid, attempt integer, lease_token uuid, plan jsonb, name text) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_scope constant text := private.worker_scope();
begin
  return public.write_plan(private.scoped_task(v_scope, task_id), attempt, lease_token, plan, name);
end;
$$;
comment on function private.scoped_write_plan(uuid, integer, uuid, jsonb, text) is 'Body of public.scoped_write_plan.';
revoke execute on function private.scoped_write_plan(uuid, integer, uuid, jsonb, text) from public;
grant execute on function private.scoped_write_plan(uuid, integer, uuid, jsonb, text) to organization_worker;

create function public.scoped_write_plan(task_id uuid, attempt integer, lease_token uuid, plan jsonb, name text default null) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_write_plan(task_id, attempt, lease_token, plan, name);
$$;
comment on function public.scoped_write_plan(uuid, integer, uuid, jsonb, text) is
  'As write_plan, for an organization''s own worker. Errors: PT401 worker_token_refused, PT409 lease_lost, also for tasks of others.';
revoke execute on function public.scoped_write_plan(uuid, integer, uuid, jsonb, text) from public, anon, authenticated;
grant execute on function public.scoped_write_plan(uuid, integer, uuid, jsonb, text) to organization_worker;

create function private.scoped_write_workflow_data(
  task_id uuid, attempt integer, lease_token uuid, key text, value jsonb, tags text[], data_type text
) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_scope constant text := private.worker_scope();
begin
  return public.write_workflow_data(private.scoped_task(v_scope, task_id), attempt, lease_token, key, value, tags, data_type);
end;
$$;
comment on function private.scoped_write_workflow_data(uuid, integer, uuid, text, jsonb, text[], text) is 'Body of public.scoped_write_workflow_data.';
revoke execute on function private.scoped_write_workflow_data(uuid, integer, uuid, text, jsonb, text[], text) from public;
grant execute on function private.scoped_write_workflow_data(uuid, integer, uuid, text, jsonb, text[], text) to organization_worker;

create function public.scoped_write_workflow_data(
  task_id uuid, attempt integer, lease_token uuid, key text, value jsonb, tags text[] default '{}', data_type text default null
) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_write_workflow_data(task_id, attempt, lease_token, key, value, tags, data_type);
$$;
comment on function public.scoped_write_workflow_data(uuid, integer, uuid, text, jsonb, text[], text) is
  'As write_workflow_data, for an organization''s own worker. Errors: PT401 worker_token_refused, PT409 lease_lost, also for tasks of others, PT429 too_much_data, 22023 json_not_plain.';
revoke execute on function public.scoped_write_workflow_data(uuid, integer, uuid, text, jsonb, text[], text) from public, anon, authenticated;
grant execute on function public.scoped_write_workflow_data(uuid, integer, uuid, text, jsonb, text[], text) to organization_worker;

create function private.scoped_read_workflow_data(task_id uuid, attempt integer, lease_token uuid, key text) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_scope constant text := private.worker_scope();
begin
  return public.read_workflow_data(private.scoped_task(v_scope, task_id), attempt, lease_token, key);
end;
$$;
comment on function private.scoped_read_workflow_data(uuid, integer, uuid, text) is 'Body of public.scoped_read_workflow_data.';
revoke execute on function private.scoped_read_workflow_data(uuid, integer, uuid, text) from public;
grant execute on function private.scoped_read_workflow_data(uuid, integer, uuid, text) to organization_worker;

create function public.scoped_read_workflow_data(task_id uuid, attempt integer, lease_token uuid, key text) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_read_workflow_data(task_id, attempt, lease_token, key);
$$;
comment on function public.scoped_read_workflow_data(uuid, integer, uuid, text) is
  'As read_workflow_data, for an organization''s own worker. Errors: PT401 worker_token_refused, PT409 lease_lost, also for tasks of others.';
revoke execute on function public.scoped_read_workflow_data(uuid, integer, uuid, text) from public, anon, authenticated;
grant execute on function public.scoped_read_workflow_data(uuid, integer, uuid, text) to organization_worker;
