-- Marketplaces: an agent is published by its developers, and the adapter of a marketplace is a row of configuration.
-- publish_agent and unpublish_agent write down what is wanted, with a task of an internal method in the same transaction; a worker
-- says it to the marketplace's HTTP API, and the reaper takes over what became of the task. SQL never calls HTTP.
-- Lock order: agent, then its integration, then (skipped when locked) the integration's old task.
-- Over 400 lines, because the tables, the state machine, the functions of developers and what the reaper does are one subject.

insert into public.task_methods (name, description, needs_agent, is_internal) values
('publish_agent', 'Publish an agent on a marketplace. The database makes these tasks.', false, true),
('unpublish_agent', 'Take an agent off a marketplace. The database makes these tasks.', false, true),
('fetch_marketplace_usage', 'Fetch what a marketplace counts of an agent. The database makes these tasks.', false, true);

-- Marketplaces -------------------------------------------------------------------------------------------------------

create function private.marketplace_operations_are_valid(operations jsonb) returns boolean
language sql immutable set search_path = ''
as $$
  select coalesce(
    jsonb_typeof(operations) = 'object'
    and operations ?& array['publish', 'unpublish']
    and operations - array['publish', 'update', 'unpublish', 'usage'] = '{}'
    and not exists (
      select from jsonb_each(operations) o
      where (
        jsonb_typeof(o.value) = 'object' and o.value - array['method', 'path'] = '{}'
        and o.value ->> 'method' in ('GET', 'POST', 'PUT', 'PATCH', 'DELETE')
        and jsonb_typeof(o.value -> 'path') = 'string' and length(o.value ->> 'path') <= 1000
        and o.value ->> 'path' ~ '^(/([^\s#{}\\[:cntrl:]]|\{(id|integration_id|slug)\})*)$'
        and o.value ->> 'path' !~ '^//|(^|/)\.\.?(/|\?|$)'
      ) is not true
    ), false);
$$;
comment on function private.marketplace_operations_are_valid(jsonb) is
  'True for {publish, unpublish, update?, usage?}, each {method, path}; a path begins with / and may hold {id}, {integration_id} and {slug}.';
revoke execute on function private.marketplace_operations_are_valid(jsonb) from public;
grant execute on function private.marketplace_operations_are_valid(jsonb) to authenticated, service_role;

create function private.marketplace_fields_are_valid(fields jsonb) returns boolean
language sql immutable set search_path = ''
as $$
  select coalesce(
    jsonb_typeof(fields) = 'object' and fields - array['request', 'id', 'usage'] = '{}'
    and coalesce(jsonb_typeof(fields -> 'id') = 'string' and fields ->> 'id' ~ '^[^.\s]{1,100}(\.[^.\s]{1,100}){0,9}$', fields -> 'id' is null)
    and coalesce(jsonb_typeof(fields -> 'usage') = 'string' and fields ->> 'usage' ~ '^[^.\s]{1,100}(\.[^.\s]{1,100}){0,9}$', fields -> 'usage' is null)
    and coalesce(jsonb_typeof(fields -> 'request') = 'object', fields -> 'request' is null)
    and not exists (
      select from jsonb_each(case when jsonb_typeof(fields -> 'request') = 'object' then fields -> 'request' else '{}' end) r
      where (
        r.key ~ '^[^.\s]{1,100}(\.[^.\s]{1,100}){0,9}$' and jsonb_typeof(r.value) = 'string'
        and r.value #>> '{}' ~ '^((external_id|slug|name|description|version|department|tags|capabilities)|card(\.[A-Za-z]{1,60}){0,9})$'
      ) is not true
    ), false);
$$;
comment on function private.marketplace_fields_are_valid(jsonb) is
  'True for {request?: {their field: ours}, id?: field of the answer, usage?: field of the answer}; dots lead into objects; ours are external_id, slug, name, description, version, department, tags, capabilities, card and what is below it.';
revoke execute on function private.marketplace_fields_are_valid(jsonb) from public;
grant execute on function private.marketplace_fields_are_valid(jsonb) to authenticated, service_role;

create table public.marketplaces (
  id uuid primary key default gen_random_uuid(),
  organization_slug text references public.organizations (slug) on delete cascade,
  name text not null,
  base_url text not null,
  headers jsonb not null default '{}',
  operations jsonb not null default '{
    "publish": {"method": "POST", "path": "/agents"}, "update": {"method": "PUT", "path": "/agents/{id}"},
    "unpublish": {"method": "DELETE", "path": "/agents/{id}"}, "usage": {"method": "GET", "path": "/agents/{id}/usage"}
  }',
  fields jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- A marketplace by name (publish_agent; also the foreign key, policies).
  constraint marketplace_is_unique_within_an_organization unique nulls not distinct (organization_slug, name),
  constraint name_is_lower_case_words check (name ~ '^[a-z0-9][a-z0-9_.-]{0,49}$'),
  constraint base_url_is_http_or_a_secret check (
    base_url ~ '^(https?://[^/?#@\s$[:cntrl:]]+|\$\{[A-Z][A-Z0-9_]{0,62}\})(/[^?#\s[:cntrl:]]*)?$' and length(base_url) <= 1000
  ),
  constraint headers_are_texts check (
    jsonb_typeof(headers) = 'object' and not jsonb_path_exists(headers, 'strict $.* ? (@.type() != "string")') and pg_column_size(headers) <= 16384
  ),
  constraint operations_name_method_and_path check (private.marketplace_operations_are_valid(operations)),
  constraint fields_are_known check (private.marketplace_fields_are_valid(fields) and pg_column_size(fields) <= 16384)
);

create trigger set_updated_at before update on public.marketplaces
for each row execute function public.set_updated_at();
create trigger check_json before insert or update of headers, operations, fields on public.marketplaces
for each row execute function private.check_json('headers', 'operations', 'fields');
create trigger audit after insert or delete or update of base_url, headers, operations, fields on public.marketplaces
for each row execute function private.audit('name');

create function private.check_marketplace() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_field constant text := private.literal_credential(jsonb_build_object('url', new.base_url, 'headers', new.headers));
begin
  if private.is_client() and v_field is not null then
    raise exception using errcode = '22023', message = 'credential_is_literal',
      detail = format('%s of marketplace "%s" holds a credential, and developers read it.', case v_field when 'url' then 'base_url' else v_field end, new.name),
      hint = 'Keep it among the organization''s secrets and write its name here, e.g. "Bearer ${MARKET_TOKEN}".';
  end if;
  if tg_op = 'INSERT' and new.organization_slug is not null then
    perform from public.organizations o where o.slug = new.organization_slug for no key update;
    if (select count(*) from public.marketplaces m where m.organization_slug = new.organization_slug) > 20 then
      raise exception using errcode = 'PT429', message = 'over_limit',
        detail = format('Organization "%s" has 20 marketplaces, and no more are allowed.', new.organization_slug), hint = 'Delete one.';
    end if;
  end if;
  return new;
end;
$$;
comment on function private.check_marketplace() is
  'Before a marketplace is written: a client names secrets and writes none, and an organization has at most 20.';
revoke execute on function private.check_marketplace() from public;

-- After the policies have spoken: a definer that ran before them would count for strangers.
create trigger check_marketplace after insert or update of base_url, headers on public.marketplaces
for each row execute function private.check_marketplace();

comment on table public.marketplaces is
  'Adapters: how to publish on a marketplace by HTTP. Those without organization are the platform''s, and their ${NAME} are MARKETPLACE_* of the worker''s environment; those of an organization use its secrets, and go before the platform''s of the same name.';
comment on column public.marketplaces.base_url is 'https://host/path, or ${NAME} for all of it or its beginning.';
comment on column public.marketplaces.headers is 'Sent with each request, e.g. {"Authorization": "Bearer ${MARKET_TOKEN}"}.';
comment on column public.marketplaces.operations is
  '{publish, unpublish, update?, usage?}, each {method, path}: {id} is the marketplace''s id of the agent, {integration_id} and {slug} are ours. Without update what changed is published again, without usage nothing is fetched.';
comment on column public.marketplaces.fields is
  '{request: {their field: ours}, id, usage}: what of the listing is sent as what (all of it unless said), where the answer has the agent''s id ("id") and its usage (the whole answer).';

insert into public.marketplaces (name, base_url, headers)
values ('hyphrki', '${MARKETPLACE_HYPHRKI_URL}', '{"Authorization": "Bearer ${MARKETPLACE_HYPHRKI_TOKEN}"}');

alter table public.marketplaces enable row level security;
revoke all on public.marketplaces from anon, authenticated, service_role;
grant select, delete on public.marketplaces to authenticated;
grant insert (organization_slug, name, base_url, headers, operations, fields) on public.marketplaces to authenticated;
grant update (base_url, headers, operations, fields) on public.marketplaces to authenticated;
grant select, insert, update, delete on public.marketplaces to service_role;

create policy "Developers read marketplaces, everybody the platform's" on public.marketplaces
for select to authenticated
using (organization_slug is null or organization_slug = any (array(select private.my_organizations('developer'))));
create policy "Admins add marketplaces" on public.marketplaces
for insert to authenticated
with check (organization_slug = any (array(select private.my_organizations('admin'))));
create policy "Admins change marketplaces" on public.marketplaces
for update to authenticated
using (organization_slug = any (array(select private.my_organizations('admin'))))
with check (organization_slug = any (array(select private.my_organizations('admin'))));
create policy "Admins delete marketplaces" on public.marketplaces
for delete to authenticated
using (organization_slug = any (array(select private.my_organizations('admin'))));

-- Integrations -------------------------------------------------------------------------------------------------------

create table public.marketplace_integrations (
  id uuid primary key default gen_random_uuid(),
  agent_slug text not null references public.agents (slug) on delete cascade,
  organization_slug text references public.organizations (slug) on delete cascade,
  marketplace_name text not null default 'hyphrki',
  marketplace_id uuid not null references public.marketplaces (id) on delete cascade,
  marketplace_agent_id text,
  status text not null default 'pending',
  action text default 'publish',
  revision integer not null default 1,
  agent_version text,
  listing_hash text,
  requested_by uuid references public.users (id) on delete set null,
  requested_at timestamptz not null default private.clock(),
  published_at timestamptz,
  unpublished_at timestamptz,
  error_code text,
  error_message text,
  usage_metrics jsonb not null default '{}',
  usage_fetched_at timestamptz,
  usage_error text,
  -- The integration of a task (foreign key).
  task_id uuid unique references public.tasks (id) on delete set null,
  look_at timestamptz default private.clock(),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- The integrations of an agent (also the foreign key).
  constraint agent_is_once_on_a_marketplace unique (agent_slug, marketplace_name),
  constraint status_is_known check (status in ('pending', 'published', 'unpublished', 'error')),
  constraint names_are_short check (length(marketplace_name) <= 50 and length(marketplace_agent_id) <= 255),
  constraint action_is_known check (action in ('publish', 'unpublish', 'fetch_usage')),
  constraint pending_says_what_for check ((status = 'pending') = coalesce(action in ('publish', 'unpublish'), false)),
  constraint usage_is_fetched_of_what_is_published check (action is distinct from 'fetch_usage' or status = 'published'),
  constraint published_has_id_and_published_at check (status <> 'published' or marketplace_agent_id is not null and published_at is not null),
  constraint unpublished_has_unpublished_at_and_no_id check (status <> 'unpublished' or marketplace_agent_id is null and unpublished_at is not null),
  constraint only_an_error_says_why check ((status = 'error') = (error_code is not null) and (error_message is null or error_code is not null)),
  constraint error_is_short check (length(error_code) <= 100 and length(error_message) <= 2000 and length(usage_error) <= 2000),
  constraint usage_metrics_is_an_object check (jsonb_typeof(usage_metrics) = 'object'),
  constraint usage_metrics_are_small check (octet_length(usage_metrics::text) <= 32768)
);

-- What is published, what waits.
create index idx_marketplace_status on public.marketplace_integrations (status);
-- An organization's (agents that change organizations, foreign key).
create index marketplace_integrations_organization_idx on public.marketplace_integrations (organization_slug);
-- Foreign keys.
create index marketplace_integrations_marketplace_idx on public.marketplace_integrations (marketplace_id);
create index marketplace_integrations_requested_by_idx on public.marketplace_integrations (requested_by);
-- What the reaper looks at next.
create index marketplace_integrations_look_at_idx on public.marketplace_integrations (look_at) where look_at is not null;

create trigger set_updated_at before update on public.marketplace_integrations
for each row execute function public.set_updated_at();
create trigger check_json before insert or update of usage_metrics on public.marketplace_integrations
for each row execute function private.check_json('usage_metrics');
create trigger audit after insert or delete or update of status on public.marketplace_integrations
for each row execute function private.audit('id');

create function private.guard_integration() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  if tg_op = 'INSERT' and new.status <> 'pending' or tg_op = 'UPDATE' and new.status <> old.status and not (case old.status
    when 'pending' then true
    when 'published' then new.status in ('pending', 'unpublished')
    when 'error' then new.status in ('pending', 'unpublished')
    else new.status = 'pending'
  end) then
    raise exception using errcode = 'PT409', message = 'illegal_move',
      detail = format('Integration %s is %s and cannot become %s.', new.id, case when tg_op = 'INSERT' then 'new' else old.status end, new.status),
      hint = 'Use publish_agent and unpublish_agent; a new integration is pending.';
  end if;
  -- What a state implies follows from it, whoever writes.
  if new.status not in ('pending', 'published') or new.status = 'published' and new.action <> 'fetch_usage' then
    new.action := null;
  end if;
  if new.status <> 'error' then
    new.error_code := null;
    new.error_message := null;
  end if;
  if tg_op = 'UPDATE' and new.status <> old.status and new.status = 'published' then
    new.published_at := private.clock();
  elsif tg_op = 'UPDATE' and new.status <> old.status and new.status = 'unpublished' then
    new.unpublished_at := private.clock();
    new.marketplace_agent_id := null;
  end if;
  return new;
end;
$$;
comment on function private.guard_integration() is
  'Before insert and update: the legal moves of integrations, for every writer: new -> pending; pending -> published, unpublished, error; published, error -> pending, unpublished; unpublished -> pending.';
revoke execute on function private.guard_integration() from public;

create trigger guard_integration before insert or update on public.marketplace_integrations
for each row execute function private.guard_integration();

create function private.refuse_while_listed() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  if private.is_client() and (old.status = 'pending' or old.marketplace_agent_id is not null) then
    raise exception using errcode = 'PT409', message = 'agent_published',
      detail = format('Agent "%s" is on marketplace "%s" (%s).', old.agent_slug, old.marketplace_name, old.status),
      hint = 'Call unpublish_agent first, and wait until the integration is unpublished.';
  end if;
  return old;
end;
$$;
comment on function private.refuse_while_listed() is
  'Before an integration goes, with its agent, its organization or its marketplace: a client takes the agent off the marketplace first, since nobody could afterwards. What servers delete stays listed; audit_logs has its id.';
revoke execute on function private.refuse_while_listed() from public;

create trigger refuse_while_listed before delete on public.marketplace_integrations
for each row execute function private.refuse_while_listed();

create function private.leave_marketplaces() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  delete from public.marketplace_integrations i
  where i.agent_slug = new.slug and (i.organization_slug = any (new.organization_slug) or i.organization_slug is null and new.owner_user_id is not null) is not true;
  return null;
end;
$$;
comment on function private.leave_marketplaces() is 'After an agent changes owners: what it was to marketplaces for an organization that it left is over; PT409 agent_published while it is listed.';
revoke execute on function private.leave_marketplaces() from public;

create trigger leave_marketplaces after update of organization_slug, owner_user_id on public.agents
for each row when (old.organization_slug <> new.organization_slug or old.owner_user_id is distinct from new.owner_user_id)
execute function private.leave_marketplaces();

comment on table public.marketplace_integrations is
  'An agent on a marketplace: asked for by publish_agent and unpublish_agent (pending), done by a worker. One row for an agent and a marketplace''s name.';
comment on column public.marketplace_integrations.organization_slug is 'For which of the agent''s organizations; null for a private agent.';
comment on column public.marketplace_integrations.marketplace_agent_id is 'The marketplace''s id of the agent; null while it is not listed.';
comment on column public.marketplace_integrations.action is 'What is under way: publish, unpublish, or fetch_usage; null for nothing.';
comment on column public.marketplace_integrations.revision is 'Counts what was asked for; the header Idempotency-Key is <id>.<revision>, the same at every attempt.';
comment on column public.marketplace_integrations.agent_version is 'The agent''s version when it was last asked to be published.';
comment on column public.marketplace_integrations.listing_hash is 'MD5 of what was last sent; null after an unpublication was asked for.';
comment on column public.marketplace_integrations.requested_by is 'For whom it is done: who asked last, or, when a server did, a private agent''s owner or the first of the organization''s highest members. Null when they are gone.';
comment on column public.marketplace_integrations.error_code is 'Why it is in error: a task''s error_code, cancelled or task_deleted.';
comment on column public.marketplace_integrations.usage_metrics is 'What the marketplace counts, as it says it, of usage_fetched_at; at most 32 KiB, fetched every hour.';
comment on column public.marketplace_integrations.usage_error is 'token: sentence, when usage could not be fetched the last time.';
comment on column public.marketplace_integrations.task_id is 'The task of the action, or the last one.';
comment on column public.marketplace_integrations.look_at is 'When the reaper looks at it next: whether its task is over, whether usage is to be fetched.';

alter table public.marketplace_integrations enable row level security;
revoke all on public.marketplace_integrations from anon, authenticated, service_role;
grant select on public.marketplace_integrations to authenticated;
grant select, insert, update, delete on public.marketplace_integrations to service_role;

create policy "Whoever reads an agent sees where it is published" on public.marketplace_integrations
for select to authenticated
using (exists (select from public.agents a where a.slug = agent_slug));

-- What is sent -------------------------------------------------------------------------------------------------------

create function private.agent_listing(agent public.agents, integration_id uuid) returns jsonb
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_listing constant jsonb := jsonb_build_object(
    'external_id', integration_id, 'slug', agent.slug, 'name', agent.name, 'description', agent.description, 'version', agent.version,
    'department', agent.department, 'tags', to_jsonb(coalesce(agent.tags, '{}')), 'capabilities', to_jsonb(agent.capabilities),
    'card', public.agent_card(agent.slug)
  );
begin
  if octet_length(v_listing::text) > 262144 then
    raise exception using errcode = 'PT413', message = 'listing_too_large',
      detail = format('The listing of agent "%s" has %s bytes; 262144 are the most.', agent.slug, octet_length(v_listing::text)),
      hint = 'Shorten its description, or metadata.usage_examples.';
  end if;
  return v_listing;
end;
$$;
comment on function private.agent_listing(public.agents, uuid) is
  'All that a marketplace is told of an agent: its card and what describes it; no context, endpoint, llm_config, io_schema or metadata. PT413 listing_too_large.';
revoke execute on function private.agent_listing(public.agents, uuid) from public;

create function private.queue_marketplace_task(integration_id uuid, organization_slug text, user_id uuid, method text, params jsonb) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_now constant timestamptz := private.clock();
  v_old uuid;
  v_new constant uuid := (private.uuid_head() || substr(gen_random_uuid()::text, 16))::uuid;
begin
  select i.task_id into v_old from public.marketplace_integrations i where i.id = queue_marketplace_task.integration_id;
  -- One at a time for a marketplace, in order, so that one that hangs holds up nobody else.
  insert into public.tasks (
    id, organization_slug, user_id, method, prompt, params, priority, max_attempts, backoff, timeout_seconds, concurrency_key, concurrency_limit, scheduled_at
  )
  select v_new, queue_marketplace_task.organization_slug, queue_marketplace_task.user_id, queue_marketplace_task.method,
    initcap(replace(queue_marketplace_task.method, '_', ' ')) || ' ' || i.agent_slug,
    jsonb_build_object('integration_id', i.id, 'revision', i.revision) || queue_marketplace_task.params,
    50, case queue_marketplace_task.method when 'fetch_marketplace_usage' then 2 else 6 end, interval '1 minute', 60,
    'marketplace:' || i.marketplace_id, 1, v_now
  from public.marketplace_integrations i
  where i.id = queue_marketplace_task.integration_id;
  update public.marketplace_integrations i set task_id = v_new, look_at = v_now where i.id = queue_marketplace_task.integration_id;
  delete from public.tasks t
  where t.id = (select x.id from public.tasks x where x.id = v_old and x.completed_at is not null for update skip locked);
end;
$$;
comment on function private.queue_marketplace_task(uuid, text, uuid, text, jsonb) is
  'Makes the task that does an integration''s action, in place of its last one. Called by definer functions, with the integration locked.';
revoke execute on function private.queue_marketplace_task(uuid, text, uuid, text, jsonb) from public;

-- What became of it --------------------------------------------------------------------------------------------------

create function private.settle_integrations(ids uuid[]) returns void
language sql volatile security invoker set search_path = ''
as $$
  update public.marketplace_integrations i
  set status = case when o.problem is not null then 'error' when i.action = 'publish' then 'published' else 'unpublished' end,
    marketplace_agent_id = case
      when o.problem = 'marketplace_listing_gone' then null
      when o.problem is null and i.action = 'publish' then t.response_metadata ->> 'marketplace_agent_id'
      else i.marketplace_agent_id
    end,
    error_code = left(o.problem, 100), error_message = left(case
      when t.id is null then 'The user for whom it was done is gone: ask for it again.'
      when t.status = 'cancelled' then 'The task that was to do it was cancelled.'
      when t.status = 'completed' then 'The worker did not say under which id the marketplace has it.'
      else t.error_message
    end, 2000),
    action = null, look_at = private.clock() + interval '1 hour'
  from public.marketplace_integrations x
  left join public.tasks t on t.id = x.task_id
  cross join lateral (
    select case
      when t.id is null then 'task_deleted'
      when t.status = 'cancelled' then 'cancelled'
      when t.status <> 'completed' then coalesce(t.error_code, t.status)
      when x.action = 'publish' and coalesce(length(t.response_metadata ->> 'marketplace_agent_id'), 0) not between 1 and 255 then 'result_invalid'
    end as problem
  ) o
  where x.id = any (ids) and i.id = x.id and i.status = 'pending' and (t.id is null or t.completed_at is not null);
$$;
comment on function private.settle_integrations(uuid[]) is
  'Of these integrations, locked by the caller, those whose publication or unpublication is over: published, unpublished, or error and why.';
revoke execute on function private.settle_integrations(uuid[]) from public;

create function private.settle_usage(ids uuid[]) returns void
language sql volatile security invoker set search_path = ''
as $$
  update public.marketplace_integrations i
  set usage_metrics = case when o.arrived then t.response_metadata -> 'usage' else i.usage_metrics end,
    usage_fetched_at = case when o.arrived then t.completed_at else i.usage_fetched_at end,
    usage_error = case
      when o.arrived then null
      when t.status = 'completed' then 'result_invalid: The worker brought no plain object of at most 32 KiB.'
      else left(coalesce(t.error_code || ': ' || t.error_message, 'cancelled: The task that was to fetch it was cancelled.'), 2000)
    end,
    action = null, look_at = private.clock() + interval '1 hour'
  from public.marketplace_integrations x
  left join public.tasks t on t.id = x.task_id
  cross join lateral (
    select coalesce(t.status = 'completed' and jsonb_typeof(t.response_metadata -> 'usage') = 'object' and private.json_is_plain(t.response_metadata -> 'usage')
      and octet_length((t.response_metadata -> 'usage')::text) <= 32768, false) as arrived
  ) o
  where x.id = any (ids) and i.id = x.id and i.action = 'fetch_usage' and (t.id is null or t.completed_at is not null);
$$;
comment on function private.settle_usage(uuid[]) is 'Of these integrations, locked by the caller, those whose usage was fetched, or could not be.';
revoke execute on function private.settle_usage(uuid[]) from public;

create function private.fetch_usage(ids uuid[]) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_due record;
begin
  for v_due in
    with chosen as (
      -- Who asked last while they belong to the organization, else the first of its highest members; of a private agent its owner.
      select i.id, coalesce(i.organization_slug, u.organization_slug) as organization_slug, coalesce(
        a.owner_user_id,
        (select m.user_id from public.organization_members m where m.organization_slug = i.organization_slug and m.user_id = i.requested_by),
        (
          select m.user_id from public.organization_members m
          where m.organization_slug = i.organization_slug order by private.role_rank(m.role) desc, m.joined_at, m.user_id limit 1
        )
      ) as user_id
      from public.marketplace_integrations i
      join public.marketplaces p on p.id = i.marketplace_id and p.operations ? 'usage'
      join public.agents a on a.slug = i.agent_slug
      left join public.users u on u.id = a.owner_user_id
      where i.id = any (ids) and i.status = 'published' and i.action is null
    )
    select c.* from chosen c
    join public.users u on u.id = c.user_id
    join public.organizations o on o.slug = c.organization_slug
    order by c.id
    for key share of u, o skip locked
  loop
    update public.marketplace_integrations i set action = 'fetch_usage' where i.id = v_due.id;
    perform private.queue_marketplace_task(v_due.id, v_due.organization_slug, v_due.user_id, 'fetch_marketplace_usage', '{}');
  end loop;
end;
$$;
comment on function private.fetch_usage(uuid[]) is 'Makes the tasks that fetch the usage of these integrations, locked by the caller, where they are published.';
revoke execute on function private.fetch_usage(uuid[]) from public;

create function private.tend_marketplaces() returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_now constant timestamptz := private.clock();
  v_due constant uuid[] := array(
    select i.id from public.marketplace_integrations i where i.look_at <= v_now order by i.look_at limit 200 for update skip locked
  );
  v_idle uuid[];
begin
  if v_due = '{}' then
    return;
  end if;
  v_idle := array(select i.id from public.marketplace_integrations i where i.id = any (v_due) and i.action is null);
  perform private.settle_integrations(v_due);
  perform private.settle_usage(v_due);
  perform private.fetch_usage(v_idle);
  update public.marketplace_integrations i
  set look_at = case
    when i.action is not null then greatest(v_now + interval '1 second', (select t.scheduled_at from public.tasks t where t.id = i.task_id))
    when i.status = 'published' then v_now + interval '1 hour'
  end
  where i.id = any (v_due);
end;
$$;
comment on function private.tend_marketplaces() is
  'Takes over what became of the tasks of integrations, and asks for the usage of what is published, at most every hour; at most 200 a call. Called by the reaper; waits for nobody.';
revoke execute on function private.tend_marketplaces() from public;
grant execute on function private.tend_marketplaces() to service_role;

-- The function of workers ----------------------------------------------------------------------------------------------

create function private.read_marketplace_job(integration_id uuid, lease_token uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'action', i.action, 'agent_slug', i.agent_slug, 'marketplace_agent_id', i.marketplace_agent_id,
    'marketplace_name', p.name, 'is_platform', p.organization_slug is null, 'base_url', p.base_url, 'headers', p.headers, 'fields', p.fields,
    'operation', case
      when i.action = 'publish' and i.marketplace_agent_id is not null and p.operations ? 'update' then p.operations -> 'update'
      when i.action = 'publish' then p.operations -> 'publish'
      when i.action = 'unpublish' then p.operations -> 'unpublish'
      else p.operations -> 'usage'
    end,
    'updates', i.action = 'publish' and i.marketplace_agent_id is not null and p.operations ? 'update',
    'idempotency_key', i.id || '.' || i.revision, 'listing', t.params -> 'listing'
  )
  from public.marketplace_integrations i
  join public.marketplaces p on p.id = i.marketplace_id
  join public.tasks t on t.id = i.task_id and t.status = 'in_progress' and t.lease_token = read_marketplace_job.lease_token
    and t.lease_expires_at > private.clock()
  where i.id = read_marketplace_job.integration_id and i.action is not null;
$$;
comment on function private.read_marketplace_job(uuid, uuid) is 'Body of public.read_marketplace_job.';
revoke execute on function private.read_marketplace_job(uuid, uuid) from public;
grant execute on function private.read_marketplace_job(uuid, uuid) to service_role;

create function public.read_marketplace_job(integration_id uuid, lease_token uuid) returns jsonb
language sql stable security invoker set search_path = ''
as $$
  select private.read_marketplace_job(integration_id, lease_token);
$$;
comment on function public.read_marketplace_job(uuid, uuid) is
  'For the worker that holds the task of an integration, and nobody else: {action, operation, updates, base_url, headers, fields, is_platform, marketplace_name, marketplace_agent_id, agent_slug, idempotency_key, listing}. Null when there is nothing to do any more.';
revoke execute on function public.read_marketplace_job(uuid, uuid) from public, anon, authenticated;
grant execute on function public.read_marketplace_job(uuid, uuid) to service_role;

-- Functions of developers ----------------------------------------------------------------------------------------------

create function private.my_changeable_agents() returns setof text
language sql stable security definer set search_path = ''
as $$
  select a.slug from public.agents a
  where a.owner_user_id = (select private.my_active_id())
    or (a.owner_user_id is null and a.organization_slug && array(select private.my_organizations('developer'))
      and a.organization_slug <@ array(select private.my_organizations('developer')));
$$;
comment on function private.my_changeable_agents() is 'Slugs of the agents that the caller may change: their own, and those whose organizations they all develop for.';
revoke execute on function private.my_changeable_agents() from public;
grant execute on function private.my_changeable_agents() to authenticated, service_role;

create function private.agent_to_publish(agent_slug text) returns public.agents
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_agent public.agents;
begin
  select a.* into v_agent from public.agents a
  where a.slug = agent_to_publish.agent_slug and (
    not private.is_client() or a.owner_user_id = (select private.my_active_id())
    or a.organization_slug && array(select private.my_organizations('viewer'))
  )
  for no key update;
  if not found then
    raise exception using errcode = 'PT404', message = 'agent_not_found',
      detail = format('You see no agent "%s".', agent_slug), hint = 'List the agents you can use: GET /rest/v1/agents?select=slug,name.';
  end if;
  if private.is_client() and v_agent.slug not in (select private.my_changeable_agents()) then
    raise exception using errcode = '42501', message = 'not_allowed',
      detail = format('Only developers of all its organizations publish agent "%s".', agent_slug), hint = 'Ask one of them.';
  end if;
  return v_agent;
end;
$$;
comment on function private.agent_to_publish(text) is 'Locks and returns an agent that the caller may change; PT404 agent_not_found, 42501 not_allowed. Called by definer functions.';
revoke execute on function private.agent_to_publish(text) from public;

create function private.publishing_organization(agent public.agents, organization_slug text, known text) returns text
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_user constant uuid := coalesce((select auth.uid()), agent.owner_user_id);
  v_current constant text := (select u.organization_slug from public.users u where u.id = v_user);
  v_slug constant text := coalesce(
    organization_slug, known,
    case
      when agent.owner_user_id is not null or v_current = any (agent.organization_slug) then v_current
      when cardinality(agent.organization_slug) = 1 then agent.organization_slug[1]
    end
  );
begin
  if v_slug is null then
    raise exception using errcode = '22023', message = 'organization_missing',
      detail = format('Agent "%s" has %s organizations, and none was named.', agent.slug, cardinality(agent.organization_slug)),
      hint = 'Send organization_slug: whose marketplaces and secrets are used.';
  end if;
  if agent.owner_user_id is null then
    if v_slug <> all (agent.organization_slug) then
      raise exception using errcode = 'PT404', message = 'organization_not_found',
        detail = format('Agent "%s" is not of an organization "%s".', agent.slug, v_slug), hint = 'Correct organization_slug.';
    end if;
  else
    perform private.require_role(v_slug, 'member');
  end if;
  return v_slug;
end;
$$;
comment on function private.publishing_organization(public.agents, text, text) is
  'For which organization an agent is published: the one given, the one so far, the caller''s current one, or the only one. Of a private agent: in whose queue its task stands.';
revoke execute on function private.publishing_organization(public.agents, text, text) from public;

create function private.person_for(organization_slug text, agent public.agents) returns uuid
language sql stable security invoker set search_path = ''
as $$
  select coalesce((select auth.uid()), agent.owner_user_id, (
    select m.user_id from public.organization_members m
    where m.organization_slug = person_for.organization_slug order by private.role_rank(m.role) desc, m.joined_at, m.user_id limit 1
  ));
$$;
comment on function private.person_for(text, public.agents) is 'In whose name a marketplace task runs: the caller''s; for servers the owner''s of a private agent, else that of an organization''s highest member.';
revoke execute on function private.person_for(text, public.agents) from public;

create function private.refuse_while_pending(integration public.marketplace_integrations) returns void
language plpgsql stable security invoker set search_path = ''
as $$
begin
  raise exception using errcode = 'PT409', message = 'integration_pending',
    detail = format('Marketplace "%s" is just asked to %s agent "%s".', integration.marketplace_name, integration.action, integration.agent_slug),
    hint = format('Wait until the integration''s status is another one, or have an admin cancel task %s.', integration.task_id);
end;
$$;
comment on function private.refuse_while_pending(public.marketplace_integrations) is 'Raises PT409 integration_pending.';
revoke execute on function private.refuse_while_pending(public.marketplace_integrations) from public;

create function private.marketplace_for(
  agent public.agents, marketplace_name text, organization_slug text, integration public.marketplace_integrations
) returns public.marketplaces
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_marketplace public.marketplaces;
begin
  -- A private agent gets no secrets of organizations, and so only the platform's marketplaces.
  select p.* into v_marketplace from public.marketplaces p
  where p.name = marketplace_for.marketplace_name
    and (p.organization_slug is null or p.organization_slug = marketplace_for.organization_slug and agent.owner_user_id is null)
  order by p.organization_slug nulls last limit 1;
  if not found then
    raise exception using errcode = 'PT404', message = 'marketplace_not_found',
      detail = format('There is no marketplace "%s" for agent "%s".', marketplace_name, agent.slug),
      hint = 'List marketplaces, or have an admin add it; private agents go to the platform''s only.';
  end if;
  -- An id that one marketplace gave may be somebody else's at another.
  if integration.marketplace_agent_id is not null and integration.marketplace_id <> v_marketplace.id then
    raise exception using errcode = 'PT409', message = 'agent_published',
      detail = format('Agent "%s" is listed on another marketplace "%s", of the platform or another organization.', agent.slug, marketplace_name),
      hint = 'Call unpublish_agent first.';
  end if;
  return v_marketplace;
end;
$$;
comment on function private.marketplace_for(public.agents, text, text, public.marketplace_integrations) is
  'The marketplace of that name, the organization''s before the platform''s; PT404 marketplace_not_found, PT409 agent_published while the agent is listed on another one.';
revoke execute on function private.marketplace_for(public.agents, text, text, public.marketplace_integrations) from public;

create function private.publish_agent(agent_slug text, marketplace_name text, organization_slug text) returns public.marketplace_integrations
language plpgsql volatile security definer set search_path = ''
as $$
#variable_conflict use_column
declare
  v_agent constant public.agents := private.agent_to_publish(publish_agent.agent_slug);
  v_old public.marketplace_integrations;
  v_marketplace public.marketplaces;
  v_slug text;
  v_id uuid;
  v_listing jsonb;
  v_hash text;
begin
  if v_agent.status <> 'active' then
    raise exception using errcode = 'PT409', message = 'agent_inactive',
      detail = format('Agent "%s" is %s.', v_agent.slug, v_agent.status), hint = 'Set its status to active first.';
  end if;
  select i.* into v_old from public.marketplace_integrations i
  where i.agent_slug = v_agent.slug and i.marketplace_name = publish_agent.marketplace_name for update;
  perform private.settle_integrations(array[v_old.id]);
  select i.* into v_old from public.marketplace_integrations i where i.id = v_old.id;
  v_slug := private.publishing_organization(v_agent, publish_agent.organization_slug, v_old.organization_slug);
  v_marketplace := private.marketplace_for(v_agent, publish_agent.marketplace_name, v_slug, v_old);
  v_id := coalesce(v_old.id, gen_random_uuid());
  v_listing := private.agent_listing(v_agent, v_id);
  v_hash := md5(v_marketplace.id || v_listing::text);
  if v_old.status = 'pending' then
    if v_old.action = 'publish' and v_old.listing_hash = v_hash then
      return v_old;
    end if;
    perform private.refuse_while_pending(v_old);
  end if;
  insert into public.marketplace_integrations as i (
    id, agent_slug, organization_slug, marketplace_name, marketplace_id, listing_hash, agent_version, requested_by
  )
  values (
    v_id, v_agent.slug, case when v_agent.owner_user_id is null then v_slug end, v_marketplace.name, v_marketplace.id, v_hash, v_agent.version,
    private.person_for(v_slug, v_agent)
  )
  on conflict (id) do update
  set status = 'pending', action = 'publish', organization_slug = excluded.organization_slug, marketplace_id = excluded.marketplace_id,
    -- Where it is not known whether the marketplace took it, the same is asked under the same key.
    revision = i.revision + case when i.status = 'error' and i.error_code <> 'marketplace_refused' and i.listing_hash = excluded.listing_hash then 0 else 1 end,
    listing_hash = excluded.listing_hash, agent_version = excluded.agent_version, requested_by = excluded.requested_by, requested_at = private.clock();
  perform private.queue_marketplace_task(v_id, v_slug, private.person_for(v_slug, v_agent), 'publish_agent', jsonb_build_object('listing', v_listing));
  select i.* into v_old from public.marketplace_integrations i where i.id = v_id;
  return v_old;
end;
$$;
comment on function private.publish_agent(text, text, text) is 'Body of public.publish_agent.';
revoke execute on function private.publish_agent(text, text, text) from public;
grant execute on function private.publish_agent(text, text, text) to authenticated, service_role;

create function public.publish_agent(agent_slug text, marketplace_name text default 'hyphrki', organization_slug text default null)
returns public.marketplace_integrations
language sql volatile security invoker set search_path = ''
as $$
  select * from private.publish_agent(agent_slug, marketplace_name, organization_slug);
$$;
comment on function public.publish_agent(text, text, text) is
  'Publishes an active agent on a marketplace, or what changed since (developers of all its organizations; the owner of a private agent), and returns its integration, pending. Called again: the same row. Errors: PT404 agent_not_found, marketplace_not_found, organization_not_found, 42501 not_allowed, PT409 agent_inactive, agent_published, integration_pending, 22023 organization_missing, PT413 listing_too_large.';
revoke execute on function public.publish_agent(text, text, text) from public, anon, authenticated;
grant execute on function public.publish_agent(text, text, text) to authenticated, service_role;

create function private.unpublish_agent(agent_slug text, marketplace_name text) returns public.marketplace_integrations
language plpgsql volatile security definer set search_path = ''
as $$
#variable_conflict use_column
declare
  v_agent constant public.agents := private.agent_to_publish(unpublish_agent.agent_slug);
  v_row public.marketplace_integrations;
  v_slug text;
begin
  select i.* into v_row from public.marketplace_integrations i
  where i.agent_slug = v_agent.slug and i.marketplace_name = unpublish_agent.marketplace_name for update;
  if not found then
    raise exception using errcode = 'PT404', message = 'integration_not_found',
      detail = format('Agent "%s" was never published on marketplace "%s".', v_agent.slug, unpublish_agent.marketplace_name),
      hint = 'List marketplace_integrations.';
  end if;
  perform private.settle_integrations(array[v_row.id]);
  select i.* into v_row from public.marketplace_integrations i where i.id = v_row.id;
  if v_row.status = 'unpublished' or v_row.status = 'pending' and v_row.action = 'unpublish' then
    return v_row;
  end if;
  if v_row.status = 'pending' then
    perform private.refuse_while_pending(v_row);
  end if;
  if v_row.marketplace_agent_id is null then -- in error before it was listed: there is nothing to take off
    update public.marketplace_integrations i set status = 'unpublished', look_at = null where i.id = v_row.id returning i.* into v_row;
    return v_row;
  end if;
  v_slug := private.publishing_organization(v_agent, null, v_row.organization_slug);
  update public.marketplace_integrations i
  set status = 'pending', action = 'unpublish', revision = i.revision + 1, listing_hash = null, requested_by = private.person_for(v_slug, v_agent),
    requested_at = private.clock()
  where i.id = v_row.id;
  perform private.queue_marketplace_task(v_row.id, v_slug, private.person_for(v_slug, v_agent), 'unpublish_agent', '{}');
  select i.* into v_row from public.marketplace_integrations i where i.id = v_row.id;
  return v_row;
end;
$$;
comment on function private.unpublish_agent(text, text) is 'Body of public.unpublish_agent.';
revoke execute on function private.unpublish_agent(text, text) from public;
grant execute on function private.unpublish_agent(text, text) to authenticated, service_role;

create function public.unpublish_agent(agent_slug text, marketplace_name text default 'hyphrki') returns public.marketplace_integrations
language sql volatile security invoker set search_path = ''
as $$
  select * from private.unpublish_agent(agent_slug, marketplace_name);
$$;
comment on function public.unpublish_agent(text, text) is
  'Takes an agent off a marketplace (developers of all its organizations; the owner of a private agent), and returns its integration, pending or, when nothing is listed, unpublished. Called again: the same row. Errors: PT404 agent_not_found, integration_not_found, 42501 not_allowed, PT409 integration_pending.';
revoke execute on function public.unpublish_agent(text, text) from public, anon, authenticated;
grant execute on function public.unpublish_agent(text, text) to authenticated, service_role;
