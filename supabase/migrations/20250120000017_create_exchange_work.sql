-- The exchange: a worker's whole tick in one request. It reports what happened and gets new work; the reaper runs inside.

create table private.maintenance (
  name text primary key,
  last_run_at timestamptz not null default '-infinity'
);
comment on table private.maintenance is 'When each piece of housekeeping last ran; the row''s lock keeps two workers from doing it at once.';
revoke all on private.maintenance from anon, authenticated, service_role;
grant select, update on private.maintenance to service_role;
insert into private.maintenance (name) values ('reap_tasks');

create function private.reap_tasks() returns integer
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_count integer;
begin
  perform from private.maintenance m
  where m.name = 'reap_tasks' and m.last_run_at < private.clock() - interval '1 second'
  for update skip locked;
  if not found then
    return 0;
  end if;
  update private.maintenance m set last_run_at = private.clock() where m.name = 'reap_tasks';
  delete from private.worker_requests r where r.created_at < now() - interval '10 minutes';
  with late as materialized (
    select t.id, t.lease_expires_at > private.clock() as alive
    from public.tasks t
    where t.status = 'in_progress'
      -- Five seconds for a living worker to say itself that the time is up.
      and (t.lease_expires_at <= private.clock() or t.started_at + make_interval(secs => t.timeout_seconds + 5) <= private.clock())
    order by t.lease_expires_at
    limit 500
    for update skip locked
  )
  update public.tasks t
  set status = case when t.attempt < t.max_attempts then 'pending' when late.alive then 'timeout' else 'failed' end,
    scheduled_at = case
      when t.attempt >= t.max_attempts then t.scheduled_at
      when late.alive then private.clock() + private.retry_delay(t.backoff, t.attempt)
      else private.clock()
    end,
    error_code = case when late.alive then 'timeout' else 'worker_lost' end,
    error_message = case
      when late.alive then format('The attempt took longer than its %s seconds.', t.timeout_seconds)
      else format('Worker %s stopped renewing its lease.', t.worker_id)
    end,
    error_data = null, progress_message = null
  from late
  where t.id = late.id;
  get diagnostics v_count = row_count;
  return v_count;
end;
$$;
comment on function private.reap_tasks() is
  'Takes tasks from workers that are gone (lease run out) or too slow (timeout_seconds): back to pending while attempts remain, else failed or timeout. At most 500 a call and one call a second over all workers.';
revoke execute on function private.reap_tasks() from public;
grant execute on function private.reap_tasks() to service_role;

create function private.note_worker(worker_id text) returns void
language sql volatile security invoker set search_path = ''
as $$
  insert into public.workers (id) values (note_worker.worker_id) on conflict (id) do nothing;
  -- Exchanges of one worker overlap; none waits for another's row.
  update public.workers w set last_seen_at = now(), status = 'active'
  where w.id = (
    select x.id from public.workers x
    where x.id = note_worker.worker_id and (x.last_seen_at < now() - interval '5 seconds' or x.status <> 'active')
    for update skip locked
  );
$$;
comment on function private.note_worker(text) is 'Keeps workers.last_seen_at, to within five seconds.';
revoke execute on function private.note_worker(text) from public;
grant execute on function private.note_worker(text) to service_role;

create function private.take_report(worker_id text, report jsonb, lease_seconds integer) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  if jsonb_typeof(report) is distinct from 'object' then
    raise exception using errcode = '22023', message = 'report_not_an_object',
      detail = 'report must be an object with the lists heartbeats, events, completed, failed, released.', hint = 'Send {} when there is nothing to say.';
  end if;
  -- Events go first, so that the last of a streamed text is in the trail before the end of the task.
  return private.take_items(worker_id, 'event', report -> 'events')
    || private.take_items(worker_id, 'heartbeat', report -> 'heartbeats', lease_seconds)
    || private.take_items(worker_id, 'completed', report -> 'completed')
    || private.take_items(worker_id, 'failed', report -> 'failed')
    || private.take_items(worker_id, 'released', report -> 'released');
end;
$$;
comment on function private.take_report(text, jsonb, integer) is 'Takes every list of a report; returns all outcomes.';
revoke execute on function private.take_report(text, jsonb, integer) from public;
grant execute on function private.take_report(text, jsonb, integer) to service_role;

create function private.cancelled_tasks(worker_id text) returns jsonb
language sql stable security invoker set search_path = ''
as $$
  select coalesce(jsonb_agg(distinct r.task_id), '[]')
  from public.runs r
  where r.worker_id = cancelled_tasks.worker_id and r.status = 'cancelled' and r.completed_at > private.clock() - interval '1 minute'
    and not exists (
      select from public.tasks t
      where t.id = r.task_id and t.status = 'in_progress' and t.worker_id = cancelled_tasks.worker_id
    );
$$;
comment on function private.cancelled_tasks(text) is
  'Tasks that people took from this worker in the last minute by cancelling them, so that each of its exchanges hears of it; without those it holds again.';
revoke execute on function private.cancelled_tasks(text) from public;
grant execute on function private.cancelled_tasks(text) to service_role;

create function public.exchange_work(
  worker_id text, request_id uuid, report jsonb default '{}', max_tasks integer default 0, lease_seconds integer default 30,
  methods text[] default null, organizations text[] default null
) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_outcomes jsonb;
  v_tasks jsonb := '[]';
  v_answer jsonb;
begin
  perform private.check_worker_id(worker_id);
  perform private.check_claim_arguments(max_tasks, lease_seconds);
  if request_id is null then
    raise exception using errcode = '22023', message = 'request_id_missing',
      detail = 'Each exchange needs a request_id.', hint = 'Send a new uuid for each exchange, and the same one when repeating it.';
  end if;
  -- Two copies of one request: the second waits here and then finds the first one's answer.
  perform pg_advisory_xact_lock(hashtextextended(exchange_work.worker_id || exchange_work.request_id::text, 0));
  select r.answer into v_answer
  from private.worker_requests r
  where r.worker_id = exchange_work.worker_id and r.request_id = exchange_work.request_id;
  if found then
    return v_answer;
  end if;
  perform private.note_worker(worker_id);
  v_outcomes := private.take_report(worker_id, report, lease_seconds);
  perform private.reap_tasks();
  if max_tasks <> 0 then
    v_tasks := public.claim_tasks(worker_id, max_tasks, lease_seconds, methods, organizations);
  end if;
  v_answer := jsonb_build_object(
    'tasks', v_tasks,
    'outcomes', v_outcomes,
    'cancel', private.cancelled_tasks(worker_id),
    'next_poll_ms', case when max_tasks > 0 and jsonb_array_length(v_tasks) = max_tasks then 0 else 1000 end
  );
  if v_tasks <> '[]' or v_outcomes <> '[]' then
    insert into private.worker_requests (worker_id, request_id, answer) values (exchange_work.worker_id, exchange_work.request_id, v_answer);
  end if;
  return v_answer;
end;
$$;
comment on function public.exchange_work(text, uuid, jsonb, integer, integer, text[], text[]) is
  'One tick of a worker: takes its report {heartbeats, events, completed, failed, released}, claims up to max_tasks, and answers {tasks, outcomes, cancel, next_poll_ms}. The same request_id again gives the same answer and acts once.';
revoke execute on function public.exchange_work(text, uuid, jsonb, integer, integer, text[], text[]) from public, anon, authenticated;
grant execute on function public.exchange_work(text, uuid, jsonb, integer, integer, text[], text[]) to service_role;
