-- Webhooks out: what happens in an organization is told to URLs of its own, in the form of Standard Webhooks (docs/webhooks.md).
-- An event is written down in the transaction of the change, by statement triggers, and sent by workers as a task of the
-- internal method deliver_webhook, so that leases, retries and lost workers are the queue's business. SQL never calls HTTP.
-- Lock order: task, then its delivery, then its webhook. Nobody who records an event or an attempt waits for a webhook.
-- Over 400 lines, because the tables, what records an event, what follows its task and the functions of admins are one subject.

insert into public.task_methods (name, description, needs_agent, is_internal) values
('deliver_webhook', 'Send an event to a webhook. The database makes these tasks.', false, true);

create table public.webhooks (
  id uuid primary key default gen_random_uuid(),
  organization_slug text not null references public.organizations (slug) on delete cascade,
  url text not null,
  events text[] not null,
  description text,
  enabled boolean not null default true,
  disabled_reason text,
  failing_since timestamptz,
  created_by uuid default auth.uid() references public.users (id) on delete set null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint url_is_http_without_credentials check (url ~ '^https?://[^/?#@\s[:cntrl:]]+([/?#][^\s[:cntrl:]]*)?$' and length(url) <= 2048),
  constraint events_are_known check (cardinality(events) between 1 and 20 and events <@ array[
    'task.completed', 'task.failed', 'task.cancelled', 'input_request.created',
    'project.*', 'project.created', 'project.planning', 'project.awaiting_approval', 'project.running', 'project.paused',
    'project.completed', 'project.failed', 'project.cancelled'
  ]),
  constraint description_is_short check (length(description) <= 500),
  constraint only_what_is_disabled_has_a_reason check (not enabled or disabled_reason is null)
);

-- An organization's webhooks (recording events, policies, foreign key).
create index webhooks_organization_idx on public.webhooks (organization_slug);
-- Foreign key.
create index webhooks_created_by_idx on public.webhooks (created_by);

create table public.webhook_deliveries (
  id uuid primary key default gen_random_uuid(),
  webhook_id uuid not null references public.webhooks (id) on delete cascade,
  organization_slug text not null references public.organizations (slug) on delete cascade,
  -- The delivery of a task (following tasks, foreign key).
  task_id uuid unique references public.tasks (id) on delete set null,
  event_type text not null,
  payload jsonb not null,
  status text not null default 'pending',
  attempts integer not null default 0,
  last_response_code integer,
  last_error text,
  next_attempt_at timestamptz,
  completed_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint status_is_known check (status in ('pending', 'delivered', 'failed', 'dead')),
  constraint completed_at_matches_final_status check ((completed_at is not null) = (status in ('delivered', 'dead'))),
  constraint event_type_is_short check (event_type ~ '^[a-z_]+\.[a-z_]+$' and length(event_type) <= 100),
  constraint payload_is_a_small_object check (jsonb_typeof(payload) = 'object' and pg_column_size(payload) <= 65536)
);

-- The newest deliveries of a webhook (also the foreign key).
create index webhook_deliveries_webhook_idx on public.webhook_deliveries (webhook_id, created_at desc);
-- An organization's newest deliveries (policies, foreign key).
create index webhook_deliveries_organization_idx on public.webhook_deliveries (organization_slug, created_at desc);
-- Those that are over, the oldest first, and those of them that still have a task (private.purge_webhook_deliveries).
create index webhook_deliveries_over_idx on public.webhook_deliveries (completed_at) where completed_at is not null;
create index webhook_deliveries_task_over_idx on public.webhook_deliveries (completed_at) where completed_at is not null and task_id is not null;

-- A table of its own, which no role of the API reads: the database makes these secrets and shows each once, while what
-- git_credentials keeps is encrypted by somebody else with a key that the database does not have.
create table private.webhook_secrets (
  id bigint generated always as identity primary key,
  webhook_id uuid not null references public.webhooks (id) on delete cascade,
  secret text not null,
  expires_at timestamptz,
  constraint secret_is_in_the_form_of_standard_webhooks check (secret ~ '^whsec_[A-Za-z0-9+/]{43}=$')
);

-- The secrets of a webhook (also the foreign key), and its current one.
create index webhook_secrets_webhook_idx on private.webhook_secrets (webhook_id, id);
create unique index webhook_secrets_current_idx on private.webhook_secrets (webhook_id) where expires_at is null;

-- Triggers -----------------------------------------------------------------------------------------------------------

create trigger set_updated_at before update on public.webhooks
for each row execute function public.set_updated_at();
create trigger set_updated_at before update on public.webhook_deliveries
for each row execute function public.set_updated_at();
create trigger audit after insert or delete or update of url, events, description, enabled on public.webhooks
for each row execute function private.audit('id');

create function private.begin_anew_when_enabled() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  new.disabled_reason := null;
  new.failing_since := null;
  return new;
end;
$$;
comment on function private.begin_anew_when_enabled() is 'Before a webhook is enabled again: why it was disabled, and since when it fails, is forgotten.';
revoke execute on function private.begin_anew_when_enabled() from public;

create trigger begin_anew_when_enabled before update of enabled on public.webhooks
for each row when (new.enabled and not old.enabled) execute function private.begin_anew_when_enabled();

create function private.add_webhook_secret() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform private.new_webhook_secret(new.id, interval '0');
  return null;
end;
$$;
comment on function private.add_webhook_secret() is 'After a webhook is made, by whatever hand: its first secret.';
revoke execute on function private.add_webhook_secret() from public;

create trigger add_webhook_secret after insert on public.webhooks
for each row execute function private.add_webhook_secret();

create function private.new_webhook_secret(webhook_id uuid, overlap interval) returns text
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_secret constant text := 'whsec_' || encode(decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'), 'base64');
begin
  update private.webhook_secrets s set expires_at = private.clock() + overlap where s.webhook_id = new_webhook_secret.webhook_id and s.expires_at is null;
  -- The header holds a signature by each: the two before the last are enough.
  delete from private.webhook_secrets s
  where s.webhook_id = new_webhook_secret.webhook_id and (s.expires_at <= private.clock() or s.id not in (
    select x.id from private.webhook_secrets x where x.webhook_id = new_webhook_secret.webhook_id order by x.id desc limit 2
  ));
  insert into private.webhook_secrets (webhook_id, secret) values (new_webhook_secret.webhook_id, v_secret);
  return v_secret;
end;
$$;
comment on function private.new_webhook_secret(uuid, interval) is
  'Makes and returns a webhook''s next secret (32 bytes of the server''s strong randomness); the one before goes on signing beside it for the overlap.';
revoke execute on function private.new_webhook_secret(uuid, interval) from public;

create function private.bury_delivery() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  new.status := 'dead';
  new.completed_at := private.clock();
  new.next_attempt_at := null;
  new.last_error := 'task_deleted: The user for whom it was sent is gone.';
  return new;
end;
$$;
comment on function private.bury_delivery() is 'Before a delivery loses the task that was to send it: it is dead, and may be replayed.';
revoke execute on function private.bury_delivery() from public;

create trigger bury_delivery before update of task_id on public.webhook_deliveries
for each row when (new.task_id is null and old.task_id is not null and new.status in ('pending', 'failed'))
execute function private.bury_delivery();

comment on table public.webhooks is 'URLs of an organization that are told what happens in it, signed. Made by create_webhook, which shows the secret once.';
comment on column public.webhooks.events is 'What it is told: task.completed, task.failed (also timeout and rejected), task.cancelled, input_request.created, project.created and project.<status>, or all of these as project.*.';
comment on column public.webhooks.disabled_reason is 'Why the platform disabled it; null when an admin did, and once it is enabled again.';
comment on column public.webhooks.failing_since is 'The first attempt that failed since the last one that did not. After three days the next failure disables the webhook.';
comment on column public.webhooks.created_by is 'For whom its tasks run while they are a member; else for an owner.';
comment on table public.webhook_deliveries is 'Events told to webhooks, or to be told; kept for 30 days. The id is the header webhook-id, the same at every attempt.';
comment on column public.webhook_deliveries.task_id is 'The task that sends it; null ten minutes after it is over.';
comment on column public.webhook_deliveries.payload is 'The body: {type, timestamp, data}.';
comment on column public.webhook_deliveries.status is 'pending: not tried yet; delivered: answered with 2xx; failed: tried, and to be tried again at next_attempt_at; dead: given up, see replay_webhook_delivery.';
comment on column public.webhook_deliveries.last_error is 'token: sentence, of the last attempt; null once it is delivered.';
comment on table private.webhook_secrets is 'What webhooks sign with. Nobody reads it but private.read_webhook_delivery and, once, who makes or rotates a secret.';
comment on column private.webhook_secrets.expires_at is 'Until when a secret that was rotated signs beside the current one; null for the current one.';

-- Protection ---------------------------------------------------------------------------------------------------------

revoke all on private.webhook_secrets from anon, authenticated, service_role;
alter table public.webhooks enable row level security;
revoke all on public.webhooks from anon, authenticated, service_role;
grant select, delete on public.webhooks to authenticated;
grant update (url, events, description, enabled) on public.webhooks to authenticated;
grant select, insert, update, delete on public.webhooks to service_role;

create policy "Admins read webhooks" on public.webhooks
for select to authenticated
using (organization_slug = any (array(select private.my_organizations('admin'))));
create policy "Admins change webhooks" on public.webhooks
for update to authenticated
using (organization_slug = any (array(select private.my_organizations('admin'))))
with check (organization_slug = any (array(select private.my_organizations('admin'))));
create policy "Admins delete webhooks" on public.webhooks
for delete to authenticated
using (organization_slug = any (array(select private.my_organizations('admin'))));

alter table public.webhook_deliveries enable row level security;
revoke all on public.webhook_deliveries from anon, authenticated, service_role;
grant select on public.webhook_deliveries to authenticated;
grant select, insert, update, delete on public.webhook_deliveries to service_role;

create policy "Admins read deliveries" on public.webhook_deliveries
for select to authenticated
using (organization_slug = any (array(select private.my_organizations('admin'))));

-- Recording events ---------------------------------------------------------------------------------------------------

create function private.small_json(value jsonb) returns jsonb
language sql immutable set search_path = ''
as $$
  select case when octet_length(value::text) <= 8192 then value end;
$$;
comment on function private.small_json(jsonb) is 'JSON of at most 8 KiB; null when it is larger: an event says what happened, and the rest is read from the API.';
revoke execute on function private.small_json(jsonb) from public;

create function private.queue_deliveries(ids uuid[]) returns void
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = on set enable_seqscan = off
as $$
declare
  v_now constant timestamptz := private.clock();
  v_uuid_head constant text := private.uuid_head();
begin
  with chosen as materialized (
    -- The webhook's creator while they belong to the organization, else the first of its highest members.
    select d.id, coalesce(
      (select m.user_id from public.organization_members m where m.organization_slug = d.organization_slug and m.user_id = w.created_by),
      (
        select m.user_id from public.organization_members m
        where m.organization_slug = d.organization_slug order by private.role_rank(m.role) desc, m.joined_at, m.user_id limit 1
      ),
      w.created_by
    ) as user_id
    from public.webhook_deliveries d
    join public.webhooks w on w.id = d.webhook_id
    where d.id = any (ids)
  ),
  present as materialized (
    select u.id from public.users u where u.id in (select c.user_id from chosen c) order by u.id for key share skip locked
  ),
  planned as materialized (
    select d.id, d.organization_slug, d.webhook_id, d.event_type, p.id as user_id,
      case when p.id is not null then (v_uuid_head || substr(gen_random_uuid()::text, 16))::uuid end as task_id
    from public.webhook_deliveries d
    join chosen c on c.id = d.id
    left join present p on p.id = c.user_id
    order by array_position(ids, d.id)
  ),
  queued as (
    -- Before other tasks, but never more than five at once for a webhook, so that one that hangs holds up nobody else.
    insert into public.tasks (
      id, organization_slug, user_id, method, prompt, params, priority, max_attempts, backoff, timeout_seconds, concurrency_key, concurrency_limit,
      scheduled_at
    )
    select p.task_id, p.organization_slug, p.user_id, 'deliver_webhook', 'Deliver ' || p.event_type, jsonb_build_object('delivery_id', p.id),
      0, 8, interval '1 minute', 30, 'webhook:' || p.webhook_id, 5, v_now
    from planned p
    where p.task_id is not null
  )
  update public.webhook_deliveries d
  set task_id = p.task_id, status = case when p.task_id is null then 'dead' else 'pending' end, completed_at = case when p.task_id is null then v_now end,
    next_attempt_at = case when p.task_id is not null then v_now end,
    last_error = case when p.task_id is null then 'nobody_to_run_for: The organization has no member for whom it could be sent.' end
  from planned p
  where d.id = p.id;
end;
$$;
comment on function private.queue_deliveries(uuid[]) is 'Makes the tasks that send these deliveries, in this order, each with all its attempts.';
revoke execute on function private.queue_deliveries(uuid[]) from public;

create function private.record_webhook_events(organizations text[], types text[], records jsonb[]) returns void
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = on set enable_seqscan = off
as $$
declare
  v_now constant timestamptz := private.clock();
  v_uuid_head constant text := private.uuid_head();
  v_ids uuid[];
begin
  -- A webhook or an organization that is just being deleted is not waited for: there will be nobody to tell.
  with listening as materialized (
    select w.id, w.organization_slug, w.events
    from public.webhooks w
    join public.organizations o on o.slug = w.organization_slug
    where w.enabled and w.organization_slug = any (organizations)
    order by w.id
    for key share of w, o skip locked
  ),
  written as (
    insert into public.webhook_deliveries (id, webhook_id, organization_slug, event_type, payload)
    select (v_uuid_head || substr(gen_random_uuid()::text, 16))::uuid, w.id, w.organization_slug, e.event_type, jsonb_build_object(
      'type', e.event_type, 'timestamp', to_char(v_now at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'data', e.record
    )
    from unnest(organizations, types, records) with ordinality as e (organization_slug, event_type, record, position)
    join listening w on w.organization_slug = e.organization_slug and w.events && array[e.event_type, split_part(e.event_type, '.', 1) || '.*']
    order by e.position, w.id
    returning id
  )
  select array_agg(w.id) into v_ids from written w;
  if v_ids is not null then
    perform private.queue_deliveries(v_ids);
  end if;
end;
$$;
comment on function private.record_webhook_events(text[], text[], jsonb[]) is
  'Writes a delivery, and the task that sends it, for each of these events and each webhook that wants it.';
revoke execute on function private.record_webhook_events(text[], text[], jsonb[]) from public;

create function private.follow_delivery_tasks(ids uuid[], released uuid[]) returns void
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = on set enable_seqscan = off
as $$
declare
  v_now constant timestamptz := private.clock();
begin
  update public.webhook_deliveries d
  set status = case
      when t.status = 'completed' and t.response_metadata ? 'status' then 'delivered'
      when t.completed_at is not null then 'dead'
      when d.attempts = 0 and t.id = any (released) then 'pending'
      else 'failed'
    end,
    attempts = d.attempts + case when t.id = any (released) then 0 else 1 end,
    last_response_code = coalesce((t.response_metadata ->> 'status')::integer, (t.error_data ->> 'status')::integer, d.last_response_code),
    last_error = case
      when t.status = 'completed' and t.response_metadata ? 'status' then null
      when t.status = 'completed' then 'webhook_disabled: The webhook was disabled before it was sent.'
      when t.status = 'cancelled' then 'cancelled: The task that was to send it was cancelled.'
      when t.error_code is null then d.last_error
      else t.error_code || ': ' || left(coalesce(t.error_message, ''), 1000)
    end,
    next_attempt_at = case when t.status = 'pending' then t.scheduled_at end,
    completed_at = case when t.completed_at is not null then v_now end
  from public.tasks t
  where t.id = any (ids) and t.id = d.task_id
    -- One that is locked is just being deleted with its webhook.
    and d.id in (select x.id from public.webhook_deliveries x where x.task_id = any (ids) order by x.id for no key update skip locked);
  with outcomes as (
    select d.webhook_id, bool_or(d.status = 'delivered') as reached, bool_or(t.error_code = 'webhook_gone') as gone,
      bool_or(d.status in ('failed', 'dead') and t.error_code is not null) as failed
    from public.webhook_deliveries d
    join public.tasks t on t.id = d.task_id and t.id = any (ids)
    where d.task_id = any (ids)
    group by d.webhook_id
  ),
  changing as (
    -- Whose row somebody else just writes: the next outcome says the same.
    select w.id, o.reached, not o.reached and (o.gone or w.failing_since < v_now - interval '3 days') as hopeless, o.gone
    from public.webhooks w
    join outcomes o on o.webhook_id = w.id
    where o.reached and w.failing_since is not null or not o.reached and o.failed and (w.failing_since is null or o.gone or w.failing_since < v_now - interval '3 days')
    order by w.id
    for no key update of w skip locked
  ),
  noted as (
    update public.webhooks w set failing_since = case when not c.reached then coalesce(w.failing_since, v_now) end
    from changing c
    where w.id = c.id and c.hopeless is not true
  )
  update public.webhooks w
  set enabled = false, failing_since = coalesce(w.failing_since, v_now),
    disabled_reason = case when c.gone then 'The receiver answered 410 Gone.' else 'Nothing was delivered for three days.' end
  from changing c
  where w.id = c.id and c.hopeless and w.enabled;
end;
$$;
comment on function private.follow_delivery_tasks(uuid[], uuid[]) is
  'After tasks that send deliveries ended an attempt, with their rows locked: the deliveries say the same, and a webhook that is gone or has failed for three days is disabled. released: those given back untried.';
revoke execute on function private.follow_delivery_tasks(uuid[], uuid[]) from public;

create function private.task_event(task public.tasks) returns jsonb
language sql stable security invoker set search_path = ''
as $$
  select jsonb_build_object(
    'id', task.id, 'organization_slug', task.organization_slug, 'user_id', task.user_id, 'status', task.status, 'method', task.method,
    'agent_slug', task.agent_slug, 'agent_name', task.agent_name, 'agent_conversation_id', task.agent_conversation_id,
    'parent_task_id', task.parent_task_id, 'project_step_id', task.project_step_id, 'idempotency_key', task.idempotency_key,
    'prompt', left(task.prompt, 500), 'attempt', task.attempt, 'error_code', task.error_code, 'error_message', left(task.error_message, 1000),
    'response_metadata', coalesce(private.small_json(task.response_metadata), jsonb_build_object('deliverable', private.small_json(task.response_metadata -> 'deliverable'))),
    'metadata', private.small_json(task.metadata), 'created_at', task.created_at, 'started_at', task.started_at, 'completed_at', task.completed_at
  );
$$;
comment on function private.task_event(public.tasks) is
  'What a webhook is told of a task: ids, state, the first 500 characters of the prompt, metadata up to 8 KiB; not the response.';
revoke execute on function private.task_event(public.tasks) from public;

create function private.tell_webhooks_of_tasks() returns trigger
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set enable_nestloop = off
as $$
declare
  v_slugs text[];
  v_moved record;
begin
  if not exists (select from public.webhooks) then
    return null; -- nearly always, and then this is all that it costs
  end if;
  v_slugs := array(
    select s.slug from (select distinct n.organization_slug as slug from new_rows n) s
    where (select w.id from public.webhooks w where w.organization_slug = s.slug limit 1) is not null
  );
  if v_slugs = '{}' then
    return null;
  end if;
  select array_agg(n.id) filter (where n.method = 'deliver_webhook' and (o.status = 'in_progress' or n.completed_at is not null or o.completed_at is not null)) as sent,
    array_agg(n.id) filter (where n.method = 'deliver_webhook' and (n.attempt < o.attempt or o.status <> 'in_progress')) as released,
    array_agg(n.id) filter (where n.completed_at is not null and n.method <> all (array(select m.name from public.task_methods m where m.is_internal))) as ended
  into v_moved
  from new_rows n
  join old_rows o on o.id = n.id
  where n.organization_slug = any (v_slugs) and n.status <> o.status;
  if v_moved.sent is not null then
    perform private.follow_delivery_tasks(v_moved.sent, coalesce(v_moved.released, '{}'));
  end if;
  if v_moved.ended is not null then
    perform private.record_webhook_events(array_agg(e.organization_slug), array_agg(e.event_type), array_agg(e.record))
    from (
      select t.organization_slug, private.task_event(t) as record,
        case t.status when 'completed' then 'task.completed' when 'cancelled' then 'task.cancelled' else 'task.failed' end as event_type
      from public.tasks t
      where t.id = any (v_moved.ended)
      order by t.id
    ) e;
  end if;
  return null;
end;
$$;
comment on function private.tell_webhooks_of_tasks() is
  'After tasks change: those that ended are events, and the deliveries of those that send events follow them. Tasks of the database''s own make no events, so that deliveries are never told of deliveries.';
revoke execute on function private.tell_webhooks_of_tasks() from public;

create trigger tell_webhooks after update on public.tasks
referencing old table as old_rows new table as new_rows
for each statement execute function private.tell_webhooks_of_tasks();

create function private.tell_webhooks_of_input_requests() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  if exists (select from public.webhooks) then
    perform private.record_webhook_events(
      array_agg(n.organization_slug), array_agg('input_request.created'::text), array_agg(jsonb_build_object(
        'id', n.id, 'organization_slug', n.organization_slug, 'task_id', n.task_id, 'project_step_id', n.project_step_id, 'status', n.status,
        'request_type', n.request_type, 'prompt', left(n.prompt, 500), 'required_role', n.required_role, 'requested_at', n.requested_at,
        'expires_at', n.expires_at
      ))
    )
    from new_rows n
    having count(*) > 0;
  end if;
  return null;
end;
$$;
comment on function private.tell_webhooks_of_input_requests() is 'After questions are asked: an event for each.';
revoke execute on function private.tell_webhooks_of_input_requests() from public;

create trigger tell_webhooks after insert on public.input_requests
referencing new table as new_rows
for each statement execute function private.tell_webhooks_of_input_requests();

create function private.tell_webhooks_of_projects() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_ids uuid[];
begin
  if not exists (select from public.webhooks) then
    return null;
  end if;
  if tg_op = 'INSERT' then
    v_ids := array(select n.id from new_rows n);
  else
    v_ids := array(select n.id from new_rows n join old_rows o on o.id = n.id where n.status <> o.status);
  end if;
  perform private.record_webhook_events(
    array_agg(p.organization_slug), array_agg('project.' || case tg_op when 'INSERT' then 'created' else p.status end), array_agg(jsonb_build_object(
      'id', p.id, 'organization_slug', p.organization_slug, 'user_id', p.user_id, 'conversation_id', p.conversation_id, 'name', p.name,
      'status', p.status, 'current_step_id', p.current_step_id, 'parent_project_id', p.parent_project_id,
      'error_details', private.small_json(p.error_details), 'metadata', private.small_json(p.metadata), 'created_at', p.created_at
    ))
  )
  from public.projects p
  where p.id = any (v_ids)
  having count(*) > 0;
  return null;
end;
$$;
comment on function private.tell_webhooks_of_projects() is 'After projects are made, and after their status changes: project.created, project.<status>.';
revoke execute on function private.tell_webhooks_of_projects() from public;

create trigger tell_webhooks_of_new after insert on public.projects
referencing new table as new_rows
for each statement execute function private.tell_webhooks_of_projects();
create trigger tell_webhooks after update on public.projects
referencing old table as old_rows new table as new_rows
for each statement execute function private.tell_webhooks_of_projects();

create function private.purge_webhook_deliveries() returns void
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off
as $$
declare
  v_tasks constant uuid[] := array(
    select d.task_id from public.webhook_deliveries d
    where d.completed_at < private.clock() - interval '10 minutes' and d.task_id is not null order by d.completed_at limit 200
  );
  v_over uuid[];
begin
  if v_tasks <> '{}' then
    v_over := array(select x.id from public.tasks x where x.id = any (v_tasks) and x.completed_at is not null order by x.id for update skip locked);
    -- Runs in one statement, so that they are counted in one go (private.count_deleted_runs).
    delete from public.runs r where r.task_id = any (v_over);
    delete from public.tasks t where t.id = any (v_over);
  end if;
  delete from public.webhook_deliveries d where d.id in (
    select x.id from public.webhook_deliveries x
    where x.completed_at < private.clock() - interval '30 days' and x.task_id is null order by x.completed_at limit 200 for update skip locked
  );
end;
$$;
comment on function private.purge_webhook_deliveries() is
  'Deletes the tasks (and runs) of deliveries that have been over for ten minutes, and deliveries that have been over for 30 days; at most 200 of each. Called by the reaper.';
revoke execute on function private.purge_webhook_deliveries() from public;
grant execute on function private.purge_webhook_deliveries() to service_role;

-- The function of workers ----------------------------------------------------------------------------------------------

create function private.read_webhook_delivery(delivery_id uuid, lease_token uuid) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
begin
  return (
    select jsonb_build_object(
      'webhook_id', w.id, 'url', w.url, 'body', d.payload::text,
      'secrets', (
        select jsonb_agg(s.secret order by s.id desc) from private.webhook_secrets s
        where s.webhook_id = w.id and (s.expires_at is null or s.expires_at > private.clock())
      )
    )
    from public.webhook_deliveries d
    join public.webhooks w on w.id = d.webhook_id and w.enabled
    join public.tasks t on t.id = d.task_id and t.status = 'in_progress' and t.lease_token = read_webhook_delivery.lease_token
      and t.lease_expires_at > private.clock()
    where d.id = read_webhook_delivery.delivery_id and d.status in ('pending', 'failed')
  );
end;
$$;
comment on function private.read_webhook_delivery(uuid, uuid) is 'Body of public.read_webhook_delivery.';
revoke execute on function private.read_webhook_delivery(uuid, uuid) from public;
grant execute on function private.read_webhook_delivery(uuid, uuid) to service_role;

create function public.read_webhook_delivery(delivery_id uuid, lease_token uuid) returns jsonb
language sql stable security invoker set search_path = ''
as $$
  select private.read_webhook_delivery(delivery_id, lease_token);
$$;
comment on function public.read_webhook_delivery(uuid, uuid) is
  'For the worker that holds the task of a delivery, and nobody else: {webhook_id, url, body, secrets}; sign with each of the secrets, the current one first. Null when there is nothing to send any more.';
revoke execute on function public.read_webhook_delivery(uuid, uuid) from public, anon, authenticated;
grant execute on function public.read_webhook_delivery(uuid, uuid) to service_role;

-- Functions of admins --------------------------------------------------------------------------------------------------

create function private.create_webhook(organization_slug text, url text, events text[], description text) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_webhook public.webhooks;
  v_constraint text;
begin
  perform private.require_role(organization_slug, 'admin');
  perform from public.organizations o where o.slug = create_webhook.organization_slug for no key update;
  if not found then
    raise exception using errcode = 'PT404', message = 'organization_not_found',
      detail = format('There is no organization "%s".', organization_slug), hint = 'Correct organization_slug.';
  end if;
  if (select count(*) from public.webhooks w where w.organization_slug = create_webhook.organization_slug) >= 20 then
    raise exception using errcode = 'PT429', message = 'over_limit',
      detail = format('Organization "%s" has 20 webhooks, and no more are allowed.', organization_slug), hint = 'Delete one, or let one take more events.';
  end if;
  insert into public.webhooks (organization_slug, url, events, description)
  values (create_webhook.organization_slug, create_webhook.url, create_webhook.events, create_webhook.description)
  returning * into v_webhook;
  return to_jsonb(v_webhook) || jsonb_build_object(
    'secret', (select s.secret from private.webhook_secrets s where s.webhook_id = v_webhook.id and s.expires_at is null)
  );
exception when check_violation or not_null_violation then
  get stacked diagnostics v_constraint = constraint_name;
  perform private.refuse_value(coalesce(nullif(v_constraint, ''), 'url_and_events_are_given'), 'webhooks');
end;
$$;
comment on function private.create_webhook(text, text, text[], text) is 'Body of public.create_webhook.';
revoke execute on function private.create_webhook(text, text, text[], text) from public;
grant execute on function private.create_webhook(text, text, text[], text) to authenticated, service_role;

create function public.create_webhook(organization_slug text, url text, events text[], description text default null) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.create_webhook(organization_slug, url, events, description);
$$;
comment on function public.create_webhook(text, text, text[], text) is
  'Adds a webhook (admin and higher) and returns its row with its secret, shown this once; rotate_webhook_secret gives a new one. Errors: 42501 not_allowed, 22023 value_refused, PT429 over_limit above 20.';
revoke execute on function public.create_webhook(text, text, text[], text) from public, anon, authenticated;
grant execute on function public.create_webhook(text, text, text[], text) to authenticated, service_role;

create function private.my_webhook(webhook_id uuid) returns public.webhooks
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_webhook public.webhooks;
begin
  select w.* into v_webhook from public.webhooks w
  where w.id = my_webhook.webhook_id and (not private.is_client() or w.organization_slug in (select private.my_organizations('admin')))
  for no key update;
  if not found then
    raise exception using errcode = 'PT404', message = 'webhook_not_found',
      detail = format('You administer no webhook %s.', webhook_id), hint = 'List webhooks; only admins of its organization see and change one.';
  end if;
  return v_webhook;
end;
$$;
comment on function private.my_webhook(uuid) is 'Locks and returns a webhook that the caller administers; PT404 webhook_not_found otherwise. Called by definer functions.';
revoke execute on function private.my_webhook(uuid) from public;

create function private.rotate_webhook_secret(webhook_id uuid, overlap_seconds integer) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_webhook constant public.webhooks := private.my_webhook(webhook_id);
begin
  if overlap_seconds is null or overlap_seconds not between 0 and 604800 then
    raise exception using errcode = '22023', message = 'argument_out_of_range',
      detail = format('overlap_seconds is %s (0 to 604800, a week).', overlap_seconds), hint = 'Correct it; 0 ends the old secret at once.';
  end if;
  return jsonb_build_object(
    'webhook_id', v_webhook.id, 'secret', private.new_webhook_secret(v_webhook.id, make_interval(secs => overlap_seconds)),
    'old_secret_signs_until', private.clock() + make_interval(secs => overlap_seconds)
  );
end;
$$;
comment on function private.rotate_webhook_secret(uuid, integer) is 'Body of public.rotate_webhook_secret.';
revoke execute on function private.rotate_webhook_secret(uuid, integer) from public;
grant execute on function private.rotate_webhook_secret(uuid, integer) to authenticated, service_role;

create function public.rotate_webhook_secret(webhook_id uuid, overlap_seconds integer default 86400) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.rotate_webhook_secret(webhook_id, overlap_seconds);
$$;
comment on function public.rotate_webhook_secret(uuid, integer) is
  'Gives a webhook a new secret (admin and higher), shown this once: {webhook_id, secret, old_secret_signs_until}. Until then both sign. Errors: PT404 webhook_not_found, 22023 argument_out_of_range.';
revoke execute on function public.rotate_webhook_secret(uuid, integer) from public, anon, authenticated;
grant execute on function public.rotate_webhook_secret(uuid, integer) to authenticated, service_role;

create function private.require_enabled(webhook public.webhooks) returns void
language plpgsql stable security invoker set search_path = ''
as $$
begin
  if not webhook.enabled then
    raise exception using errcode = 'PT409', message = 'webhook_disabled',
      detail = concat_ws(' ', format('Webhook %s is disabled.', webhook.id), webhook.disabled_reason), hint = 'Set enabled to true first.';
  end if;
end;
$$;
comment on function private.require_enabled(public.webhooks) is 'Raises PT409 webhook_disabled unless the webhook is enabled.';
revoke execute on function private.require_enabled(public.webhooks) from public;

create function private.send_test_webhook(webhook_id uuid) returns public.webhook_deliveries
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_webhook constant public.webhooks := private.my_webhook(webhook_id);
  v_delivery public.webhook_deliveries;
begin
  perform private.require_enabled(v_webhook);
  insert into public.webhook_deliveries (webhook_id, organization_slug, event_type, payload)
  values (v_webhook.id, v_webhook.organization_slug, 'webhook.test', jsonb_build_object(
    'type', 'webhook.test', 'timestamp', to_char(private.clock() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    'data', jsonb_build_object('webhook_id', v_webhook.id, 'organization_slug', v_webhook.organization_slug)
  ))
  returning * into v_delivery;
  perform private.queue_deliveries(array[v_delivery.id]);
  select d.* into v_delivery from public.webhook_deliveries d where d.id = v_delivery.id;
  return v_delivery;
end;
$$;
comment on function private.send_test_webhook(uuid) is 'Body of public.send_test_webhook.';
revoke execute on function private.send_test_webhook(uuid) from public;
grant execute on function private.send_test_webhook(uuid) to authenticated, service_role;

create function public.send_test_webhook(webhook_id uuid) returns public.webhook_deliveries
language sql volatile security invoker set search_path = ''
as $$
  select * from private.send_test_webhook(webhook_id);
$$;
comment on function public.send_test_webhook(uuid) is
  'Sends an event webhook.test (admin and higher), whatever the webhook''s events are, and returns its delivery. Errors: PT404 webhook_not_found, PT409 webhook_disabled.';
revoke execute on function public.send_test_webhook(uuid) from public, anon, authenticated;
grant execute on function public.send_test_webhook(uuid) to authenticated, service_role;

create function private.replay_webhook_delivery(delivery_id uuid) returns public.webhook_deliveries
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_delivery public.webhook_deliveries;
begin
  select d.* into v_delivery from public.webhook_deliveries d
  where d.id = replay_webhook_delivery.delivery_id and (not private.is_client() or d.organization_slug in (select private.my_organizations('admin')));
  if not found then
    raise exception using errcode = 'PT404', message = 'webhook_delivery_not_found',
      detail = format('There is no delivery %s for you to replay.', delivery_id), hint = 'List webhook_deliveries; they are kept for 30 days.';
  end if;
  perform from public.tasks t where t.id = v_delivery.task_id for update;
  -- As it is now: two who replay it at once make one task.
  select d.* into v_delivery from public.webhook_deliveries d where d.id = v_delivery.id for update;
  perform private.require_enabled(w) from public.webhooks w where w.id = v_delivery.webhook_id;
  if v_delivery.status in ('pending', 'failed') then
    update public.tasks t set scheduled_at = private.clock() where t.id = v_delivery.task_id and t.status = 'pending' and t.scheduled_at > private.clock();
    update public.webhook_deliveries d set next_attempt_at = least(d.next_attempt_at, private.clock()) where d.id = v_delivery.id;
  else
    perform private.queue_deliveries(array[v_delivery.id]);
  end if;
  select d.* into v_delivery from public.webhook_deliveries d where d.id = v_delivery.id;
  return v_delivery;
end;
$$;
comment on function private.replay_webhook_delivery(uuid) is 'Body of public.replay_webhook_delivery. Locks the task, then the delivery.';
revoke execute on function private.replay_webhook_delivery(uuid) from public;
grant execute on function private.replay_webhook_delivery(uuid) to authenticated, service_role;

create function public.replay_webhook_delivery(delivery_id uuid) returns public.webhook_deliveries
language sql volatile security invoker set search_path = ''
as $$
  select * from private.replay_webhook_delivery(delivery_id);
$$;
comment on function public.replay_webhook_delivery(uuid) is
  'Sends a delivery again (admin and higher), with the same webhook-id and body and all its attempts; one that waits for its next attempt is tried at once. Called again: the same row. Errors: PT404 webhook_delivery_not_found, PT409 webhook_disabled.';
revoke execute on function public.replay_webhook_delivery(uuid) from public, anon, authenticated;
grant execute on function public.replay_webhook_delivery(uuid) to authenticated, service_role;
