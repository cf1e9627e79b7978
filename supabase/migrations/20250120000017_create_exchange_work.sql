-- The exchange: a worker's whole tick in one request. It reports what happened and gets new work; the reaper runs inside.
-- Over 400 lines, because the reaper stands beside the exchange that runs it.

create table private.maintenance (
  name text primary key,
  last_run_at timestamptz not null default '-infinity',
  rests_until timestamptz not null default '-infinity',
  nothing_before timestamptz not null default '-infinity'
);
comment on table private.maintenance is 'When each piece of housekeeping last ran; the row''s lock keeps two workers from doing it at once.';
comment on column private.maintenance.rests_until is
  'A piece that had to pass over very many dead entries of an index (a long-running snapshot keeps them) rests for at least twenty times as long.';
comment on column private.maintenance.nothing_before is 'Where it begins while it rests; what lies before is looked at when it has rested.';
revoke all on private.maintenance from anon, authenticated, service_role;
grant select, update on private.maintenance to service_role;
insert into private.maintenance (name) values ('reap_tasks'), ('reap_late_tasks'), ('check_floors');

create function private.rest_after(walked bigint) returns timestamptz
language sql stable security invoker set search_path = ''
as $$
  -- An entry takes an eighth to a quarter of a microsecond; below 20,000 there is nothing to save.
  select case when walked < 20000 then '-infinity' else private.clock() + walked * interval '5 microseconds' end;
$$;
comment on function private.rest_after(bigint) is 'Until when a piece of housekeeping rests that passed so many entries of an index: at least twenty times as long as that took.';
revoke execute on function private.rest_after(bigint) from public;
grant execute on function private.rest_after(bigint) to service_role;

create function private.wake_forgotten_tasks() returns void
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off
as $$
declare
  v_walk private.queue_walk;
  v_heads record;
  v_woken uuid[];
  v_called uuid[];
begin
  -- A task may begin to wait in the moment in which the last one that it waits for ends. The heads of a thousand keys, and next time of the next.
  select w.* into v_walk from private.queue_walk w;
  with recursive heads as (
    (
      select x.organization_slug, x.concurrency_key from private.live_tasks x
      where x.state = 'waiting_for_key' and (x.organization_slug, x.concurrency_key) > (v_walk.key_organization_slug, v_walk.concurrency_key)
      order by x.organization_slug, x.concurrency_key
      limit 1
    )
    union all
    select n.organization_slug, n.concurrency_key
    from heads h
    cross join lateral (
      select x.organization_slug, x.concurrency_key from private.live_tasks x
      where x.state = 'waiting_for_key' and (x.organization_slug, x.concurrency_key) > (h.organization_slug, h.concurrency_key)
      order by x.organization_slug, x.concurrency_key
      limit 1
    ) n
  )
  select array_agg(h.organization_slug) as organizations, array_agg(h.concurrency_key) as keys, count(*) as number
  into v_heads
  from (select * from heads limit 1000) h;
  with woken as (
    update private.live_tasks l set state = 'pending'
    where l.task_id in (
      select first.task_id
      from unnest(v_heads.organizations, v_heads.keys) h (organization_slug, concurrency_key)
      cross join lateral (
        select x.* from private.live_tasks x
        where x.state = 'waiting_for_key' and x.organization_slug = h.organization_slug and x.concurrency_key = h.concurrency_key
        order by x.ticket
        limit 1
        for update skip locked
      ) first
      where private.key_has_room(first)
    )
    returning l.task_id
  )
  select array_agg(w.task_id) into v_woken from woken w;
  if v_heads.number = 1000 or v_walk.key_organization_slug <> '' then
    update private.queue_walk w
    set key_organization_slug = case when v_heads.number = 1000 then v_heads.organizations[1000] else '' end,
      concurrency_key = case when v_heads.number = 1000 then v_heads.keys[1000] else '' end
    where exists (select from private.queue_walk x for update skip locked);
  end if;
  with woken as (
    update private.live_tasks l set state = 'pending'
    where l.task_id in (
      select w.task_id
      from public.agents a
      cross join lateral private.next_of_agent(a.slug, greatest(0, least(1000, coalesce(a.max_concurrent_tasks, 1000) - (
        select count(*) from private.live_tasks r where r.state = 'running' and r.agent_slug = a.slug
      )))) w (task_id)
      where a.slug in (select distinct y.agent_slug from private.live_tasks y where y.state = 'waiting_for_agent')
    )
    returning l.task_id
  )
  select array_agg(w.task_id) into v_called from woken w;
  if exists (select from private.queue_floors) then
    perform private.lower_floors(v_woken || v_called);
  end if;
end;
$$;
comment on function private.wake_forgotten_tasks() is
  'Tasks that wait for a key or an agent although there is room: after a race, or after a limit was raised.';
revoke execute on function private.wake_forgotten_tasks() from public;
grant execute on function private.wake_forgotten_tasks() to service_role;

create function private.reap_late_tasks() returns integer
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off
as $$
declare
  v_now constant timestamptz := private.clock();
  v_turn private.maintenance;
  v_from timestamptz;
  v_walked bigint;
  v_due uuid[];
  v_first timestamptz;
  v_late uuid[];
begin
  select m.* into v_turn from private.maintenance m where m.name = 'reap_late_tasks';
  v_from := case when v_turn.rests_until > v_now then v_turn.nothing_before else '-infinity' end;
  v_walked := private.entries_walked('private.live_tasks_look_at_idx');
  select coalesce(array_agg(d.task_id), '{}'), min(d.look_at) into v_due, v_first
  from (
    select l.task_id, l.look_at from private.live_tasks l
    where l.state = 'running' and l.look_at >= v_from and l.look_at <= v_now
    order by l.look_at
    limit 500
  ) d;
  v_walked := private.entries_walked('private.live_tasks_look_at_idx') - v_walked;
  if v_from = '-infinity' then
    v_turn.rests_until := private.rest_after(v_walked);
  end if;
  -- Five seconds for a claim to commit; no lease is shorter than one.
  if v_turn.rests_until > v_now then
    update private.maintenance m set rests_until = v_turn.rests_until, nothing_before = least(v_first, v_now - interval '5 seconds')
    where m.name = 'reap_late_tasks';
  end if;
  if v_due = '{}' then
    return 0;
  end if;
  -- Five seconds for a living worker to say itself that the time is up.
  with seen as materialized (
    select t.id, t.lease_expires_at, t.started_at + make_interval(secs => t.timeout_seconds + 5) as deadline
    from public.tasks t
    where t.id = any (v_due) and t.status = 'in_progress'
    order by t.id
    for update skip locked
  ),
  looked as (
    update private.live_tasks l set look_at = least(s.deadline, s.lease_expires_at)
    from seen s
    where l.task_id = any (v_due) and l.task_id = s.id and least(s.deadline, s.lease_expires_at) > v_now
  )
  select coalesce(array_agg(s.id), '{}') into v_late from seen s where least(s.deadline, s.lease_expires_at) <= v_now;
  if v_late = '{}' then
    return 0;
  end if;
  update public.tasks t
  set status = case when t.attempt < t.max_attempts then 'pending' when t.lease_expires_at > v_now then 'timeout' else 'failed' end,
    scheduled_at = case
      when t.attempt >= t.max_attempts then t.scheduled_at
      when t.lease_expires_at > v_now then v_now + private.retry_delay(t.backoff, t.attempt)
      else v_now
    end,
    error_code = case when t.lease_expires_at > v_now then 'timeout' else 'worker_lost' end,
    error_message = case
      when t.lease_expires_at > v_now then format('The attempt took longer than its %s seconds.', t.timeout_seconds)
      else format('Worker %s stopped renewing its lease.', t.worker_id)
    end,
    error_data = null, progress_message = null
  where t.id = any (v_late);
  return cardinality(v_late);
end;
$$;
comment on function private.reap_late_tasks() is
  'Takes tasks from workers that are gone (lease run out) or too slow (timeout_seconds): back to pending while attempts remain, else failed or timeout. At most 500 a call.';
revoke execute on function private.reap_late_tasks() from public;
grant execute on function private.reap_late_tasks() to service_role;

create function private.reap_tasks() returns boolean
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  -- Not in the transaction of an organization's own worker, which decides how long it lasts.
  if private.is_scoped_worker() then
    return false;
  end if;
  perform from private.maintenance m
  where m.name = 'reap_tasks' and m.last_run_at < private.clock() - interval '1 second'
  for update skip locked;
  if not found then
    return false;
  end if;
  update private.maintenance m set last_run_at = private.clock() where m.name = 'reap_tasks';
  delete from private.worker_requests r where r.created_at < now() - interval '10 minutes';
  delete from private.cancellations c where c.created_at < private.clock() - interval '10 minutes';
  if exists (select from private.queue_floors)
    and exists (select from private.maintenance m where m.name = 'check_floors' and m.rests_until <= private.clock()) then
    update private.maintenance m set rests_until = private.rest_after(c.walked)
    from private.check_floors() c (walked)
    where m.name = 'check_floors' and m.rests_until <> private.rest_after(c.walked);
  end if;
  perform private.reap_late_tasks();
  perform private.expire_input_requests();
  perform private.settle_forgotten_calls();
  perform private.advance_forgotten_projects();
  perform private.look_after_executions();
  perform private.wake_forgotten_tasks();
  perform private.fold_costs();
  perform private.purge_webhook_deliveries();
  perform private.purge_step_payloads();
  perform private.tend_marketplaces();
  perform private.settle_forgotten_orchestrators();
  perform private.keep_retention();
  return true;
end;
$$;
comment on function private.reap_tasks() is
  'Housekeeping, once a second over all workers: late tasks, expired questions, forgotten tasks, executions of workflows, floors, budgets, old deliveries of webhooks, payloads of steps, marketplaces, orchestrators, old answers, retention. True when it was this call''s turn.';
revoke execute on function private.reap_tasks() from public;
grant execute on function private.reap_tasks() to service_role;

create function private.note_worker(worker_id text) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  insert into public.workers (id) values (note_worker.worker_id) on conflict (id) do nothing;
  -- Exchanges of one worker overlap; none waits for another's row.
  update public.workers w set last_seen_at = now(), status = 'active'
  where w.id = (select x.id from public.workers x where x.id = note_worker.worker_id for update skip locked);
end;
$$;
comment on function private.note_worker(text) is 'Says in workers that this one lives; called when last_seen_at is five seconds old.';
revoke execute on function private.note_worker(text) from public;
grant execute on function private.note_worker(text) to service_role;

create function private.take_report(worker_id text, report jsonb, lease_seconds integer) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_outcomes jsonb := '[]';
  v_busy text[] := '{}';
  v_kind text;
begin
  if jsonb_typeof(report) is distinct from 'object' then
    raise exception using errcode = '22023', message = 'report_not_an_object',
      detail = 'report must be an object with the lists heartbeats, steps, events, completed, failed, paused, released.', hint = 'Send {} when there is nothing to say.';
  end if;
  -- Steps and events go first, so that the last of a streamed text is in the trail before the end of the task.
  if report ? 'steps' then
    v_outcomes := private.take_items(worker_id, 'step', report -> 'steps');
  end if;
  if report ? 'events' then
    v_outcomes := v_outcomes || private.take_items(worker_id, 'event', report -> 'events');
  end if;
  if v_outcomes <> '[]' then
    v_busy := array(select o.outcome ->> 'task_id' from jsonb_array_elements(v_outcomes) o (outcome) where o.outcome ->> 'outcome' = 'busy');
  end if;
  if report ? 'heartbeats' then
    v_outcomes := v_outcomes || private.take_items(worker_id, 'heartbeat', report -> 'heartbeats', lease_seconds);
  end if;
  foreach v_kind in array array['completed', 'failed', 'paused', 'released'] loop
    continue when not report ? v_kind;
    if v_busy = '{}' or jsonb_typeof(report -> v_kind) is distinct from 'array' then
      v_outcomes := v_outcomes || private.take_items(worker_id, v_kind, report -> v_kind);
    else
      -- The end of a task waits for its steps and events: after it they would be lost.
      v_outcomes := v_outcomes || coalesce((
        select jsonb_agg(jsonb_build_object('task_id', i.item ->> 'task_id', 'kind', v_kind, 'outcome', 'busy'))
        from jsonb_array_elements(report -> v_kind) i (item) where i.item ->> 'task_id' = any (v_busy)
      ), '[]') || private.take_items(worker_id, v_kind, (
        select jsonb_agg(i.item) from jsonb_array_elements(report -> v_kind) i (item) where (i.item ->> 'task_id' = any (v_busy)) is not true
      ));
    end if;
  end loop;
  if v_outcomes @> '[{"outcome": "busy"}]' and not coalesce(report -> 'understands' ? 'busy', false) then
    raise exception using errcode = '40001', message = 'rows_are_locked',
      detail = 'Somebody else is just writing to tasks of this report.', hint = 'Send the same request again, or understand the outcome busy: {"understands": ["busy"]} in the report.';
  end if;
  return v_outcomes;
end;
$$;
comment on function private.take_report(text, jsonb, integer) is
  'Takes every list of a report; returns all outcomes. A worker that does not say that it understands busy gets 40001 rows_are_locked instead, and the whole is undone.';
revoke execute on function private.take_report(text, jsonb, integer) from public;
grant execute on function private.take_report(text, jsonb, integer) to service_role;

create function private.cancelled_tasks(worker_id text) returns jsonb
language sql stable security invoker set search_path = '' set enable_seqscan = off
as $$
  select coalesce(jsonb_agg(distinct c.task_id), '[]')
  from private.cancellations c
  where c.worker_id = cancelled_tasks.worker_id and c.created_at > private.clock() - interval '1 minute'
    and not exists (
      select from public.tasks t
      where t.id = c.task_id and t.status = 'in_progress' and t.worker_id = cancelled_tasks.worker_id
    );
$$;
comment on function private.cancelled_tasks(text) is
  'Tasks that people took from this worker in the last minute by cancelling them, so that each of its exchanges hears of it; without those it holds again.';
revoke execute on function private.cancelled_tasks(text) from public;
grant execute on function private.cancelled_tasks(text) to service_role;

create function private.milliseconds_until_due() returns integer
language sql stable security invoker set search_path = '' set enable_seqscan = off
as $$
  select coalesce((
    select least(greatest(ceil(extract(epoch from l.scheduled_at - private.clock()) * 1000), 100), 300000)::integer
    from (select * from private.live_tasks d where d.state = 'delayed' order by d.scheduled_at limit 20) l
    join public.organizations o on o.slug = l.organization_slug and o.is_active
    where not private.queue_is_paused(l.organization_slug, l.method)
    order by l.scheduled_at
    limit 1
  ), 300000);
$$;
comment on function private.milliseconds_until_due() is 'How long until the next task that was scheduled for later may be claimed: 100 to 300000; 300000 when there is none.';
revoke execute on function private.milliseconds_until_due() from public;
grant execute on function private.milliseconds_until_due() to service_role;

create function private.milliseconds_until_due_in(organizations text[]) returns integer
language sql stable security invoker set search_path = '' set enable_seqscan = off
as $$
  select coalesce((
    select least(greatest(ceil(extract(epoch from l.scheduled_at - private.clock()) * 1000), 100), 300000)::integer
    from public.organizations o
    cross join lateral (
      select d.method, d.scheduled_at from private.live_tasks d
      where d.state = 'delayed' and d.organization_slug = o.slug
      order by d.scheduled_at
      limit 20
    ) l
    where o.slug = any (organizations) and o.is_active and not private.queue_is_paused(o.slug, l.method)
    order by l.scheduled_at
    limit 1
  ), 300000);
$$;
comment on function private.milliseconds_until_due_in(text[]) is 'As private.milliseconds_until_due, for the tasks of these organizations.';
revoke execute on function private.milliseconds_until_due_in(text[]) from public;
grant execute on function private.milliseconds_until_due_in(text[]) to service_role;

create function public.exchange_work(
  worker_id text, request_id uuid, report jsonb default '{}', max_tasks integer default 0, lease_seconds integer default 30,
  methods text[] default null, organizations text[] default null
) returns json
language plpgsql volatile security invoker set search_path = '' set plan_cache_mode = force_generic_plan
as $$
declare
  v_begun record;
  v_outcomes jsonb;
  v_leases jsonb;
  v_undecided boolean := false;
  v_reaped boolean := false;
  v_number integer;
begin
  perform private.check_worker_id(worker_id), private.check_claim_arguments(max_tasks, lease_seconds);
  if request_id is null then
    raise exception using errcode = '22023', message = 'request_id_missing',
      detail = 'Each exchange needs a request_id.', hint = 'Send a new uuid for each exchange, and the same one when repeating it.';
  end if;
  -- Two copies of one request: the second waits here and then finds what the first one did.
  perform pg_advisory_xact_lock(hashtextextended(exchange_work.worker_id || exchange_work.request_id::text, 0));
  -- One look at what most exchanges need nothing of: each query costs a part of what a task does.
  select r.outcomes, r.leases, r.request_id is not null as known, m.last_run_at < private.clock() - interval '1 second' as reaps,
    exists (
      select from public.workers w where w.id = exchange_work.worker_id and w.last_seen_at > now() - interval '5 seconds' and w.status = 'active'
    ) as noted
  into v_begun
  from (values (true)) once (row)
  left join private.maintenance m on m.name = 'reap_tasks'
  left join private.worker_requests r on r.worker_id = exchange_work.worker_id and r.request_id = exchange_work.request_id;
  v_outcomes := v_begun.outcomes;
  v_leases := v_begun.leases;
  if not v_begun.known then
    if not v_begun.noted then
      perform private.note_worker(worker_id);
    end if;
    v_outcomes := private.take_report(worker_id, report, lease_seconds);
    if v_begun.reaps then
      v_reaped := private.reap_tasks();
    end if;
    v_leases := '[]';
    if max_tasks <> 0 then
      if exists (select from private.project_work) then
        perform private.advance_forgotten_projects();
        v_undecided := exists (select from private.project_work); -- there will be tasks as soon as somebody else has committed
      end if;
      select l.leases, v_undecided or l.undecided into v_leases, v_undecided
      from private.lease_tasks(worker_id, max_tasks, lease_seconds, methods, organizations, nullif(report -> 'slots', 'null')) l;
    end if;
    -- Also when a claim found nothing: a copy that arrives late takes no work, since nobody would do it.
    if max_tasks > 0 or v_outcomes <> '[]' then
      insert into private.worker_requests (worker_id, request_id, outcomes, leases)
      values (exchange_work.worker_id, exchange_work.request_id, v_outcomes, v_leases);
    end if;
  end if;
  v_number := jsonb_array_length(v_leases);
  return json_build_object(
    'tasks', case when v_number = 0 then '[]'::json else private.describe_leases(v_leases) end,
    'outcomes', v_outcomes,
    'cancel', case when exists (select from private.cancellations) then private.cancelled_tasks(worker_id) else '[]' end,
    'next_poll_ms', case
      when max_tasks > 0 and v_number = max_tasks then 0
      when v_undecided then 100
      when organizations is null then private.milliseconds_until_due()
      else private.milliseconds_until_due_in(organizations)
    end,
    'schedules_due', v_reaped and private.schedules_are_due() -- one worker a second is told
  );
end;
$$;
comment on function public.exchange_work(text, uuid, jsonb, integer, integer, text[], text[]) is
  'One tick of a worker: takes its report {heartbeats, steps, events, completed, failed, paused, released, slots}, claims up to max_tasks, and answers {tasks, outcomes, cancel, next_poll_ms, schedules_due}. slots {free, held?, freed?, under_way?} tells what the worker holds of its slots for each organization, and what the report frees (set_max_share). The same request_id again gives the same answer and acts once.';
revoke execute on function public.exchange_work(text, uuid, jsonb, integer, integer, text[], text[]) from public, anon, authenticated;
grant execute on function public.exchange_work(text, uuid, jsonb, integer, integer, text[], text[]) to service_role;
