-- Schedules: tasks that begin by the clock. Workers compute times from cron and time zone (workers/cron.py), which SQL cannot;
-- what happens at a time stands here: once only whoever asks, catch-up, overlap, and what becomes of a broken schedule.
-- Lock order: task, then its schedule; schedules in the order of their ids.
-- Over 400 lines, because the table, what fires it and its one function of members are one subject.

create table public.schedules (
  id uuid primary key default gen_random_uuid(),
  organization_slug text not null references public.organizations (slug) on delete cascade,
  user_id uuid not null default auth.uid() references public.users (id) on delete cascade,
  name text not null,
  cron text not null,
  time_zone text not null default 'UTC',
  enabled boolean not null default true,
  overlap_policy text not null default 'skip',
  catch_up_policy text not null default 'one',
  agent_slug text references public.agents (slug) on delete set null,
  method text not null references public.task_methods (name),
  prompt text not null,
  params jsonb not null default '{}',
  next_run_at timestamptz,
  held_until timestamptz,
  last_run_at timestamptz,
  last_task_id uuid references public.tasks (id) on delete set null,
  last_error text,
  last_error_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- An organization's schedules by name (also the foreign key).
  constraint schedule_name_is_unique_within_an_organization unique (organization_slug, name),
  constraint name_is_not_blank check (btrim(name) <> '' and length(name) <= 255),
  constraint cron_has_five_or_six_fields check (btrim(cron) ~ '^\S+(\s+\S+){4,5}$' and length(cron) <= 200),
  constraint overlap_policy_is_known check (overlap_policy in ('skip', 'queue', 'cancel_previous')),
  constraint catch_up_policy_is_known check (catch_up_policy in ('none', 'one', 'all')),
  constraint prompt_is_neither_empty_nor_huge check (btrim(prompt) <> '' and octet_length(prompt) <= 1048576),
  constraint params_is_an_object check (jsonb_typeof(params) = 'object' and pg_column_size(params) <= 1048576),
  constraint next_run_at_is_in_this_age check (next_run_at between '2000-01-01T00:00:00Z' and '2200-01-01T00:00:00Z'),
  constraint errors_have_a_time check ((last_error is null) = (last_error_at is null))
);

-- What is due (schedules_are_due, claim_schedules): a schedule without a next time is, unless that cannot be computed.
create index schedules_due_idx on public.schedules ((coalesce(greatest(next_run_at, held_until), '-infinity')))
where enabled and (next_run_at is not null or last_error is null);
-- Foreign keys.
create index schedules_user_idx on public.schedules (user_id);
create index schedules_agent_idx on public.schedules (agent_slug);
create index schedules_method_idx on public.schedules (method);
create index schedules_last_task_idx on public.schedules (last_task_id);

create trigger check_json before insert or update of params on public.schedules
for each row execute function private.check_json('params');
create trigger set_updated_at before update on public.schedules
for each row execute function public.set_updated_at();

create function private.check_cron(cron text) returns void
language plpgsql immutable security invoker set search_path = ''
as $$
declare
  v_fields constant text[] := regexp_split_to_array(upper(btrim(cron)), '\s+');
  v_wrong record;
begin
  select f.name, t.term into v_wrong
  from (values
    (1, 'second', 0, 59, null, null),
    (2, 'minute', 0, 59, null, null),
    (3, 'hour', 0, 23, null, null),
    (4, 'day of month', 1, 31, null, '^LW?(?:/0*[1-9][0-9]*)?$'),
    (5, 'month', 1, 12, '{JAN,FEB,MAR,APR,MAY,JUN,JUL,AUG,SEP,OCT,NOV,DEC}', null),
    (6, 'day of week', 0, 7, '{SUN,MON,TUE,WED,THU,FRI,SAT}', '^(?:0*[0-7]L|(?:0*[0-7]|SUN|MON|TUE|WED|THU|FRI|SAT)#0*[1-5])$')
  ) f (position, name, low, high, words, special)
  -- Without seconds the fields begin one later; a field that is not there has no terms.
  cross join lateral regexp_split_to_table(v_fields[cardinality(v_fields) - 6 + f.position], ',') t (term)
  cross join lateral (select regexp_match(t.term, '^(?:\*|([0-9]+|[A-Z]{3})(?:-([0-9]+|[A-Z]{3}))?)(?:/0*[1-9][0-9]*)?$')) m (parts)
  cross join lateral (
    select array_agg(case when p.part ~ '^[0-9]+$' then p.part::numeric else array_position(f.words::text[], p.part) - 1 + f.low end order by p.number)
    from unnest(m.parts) with ordinality p (part, number)
    where p.part is not null
  ) v (numbers)
  where cardinality(v_fields) in (5, 6) -- the table's constraint says so to others
    and coalesce(t.term !~ f.special, true)
    and (
      m.parts is null or array_position(v.numbers, null) is not null
      or v.numbers[1] < f.low or v.numbers[cardinality(v.numbers)] > f.high or v.numbers[1] > v.numbers[2]
    )
  order by f.position
  limit 1;
  if found then
    raise exception using errcode = '22023', message = 'cron_invalid',
      detail = format('"%s" is no %s.', v_wrong.term, v_wrong.name),
      hint = 'Five fields: minute, hour, day of month, month, day of week, e.g. "0 6 * * MON-FRI"; with six the first is seconds.';
  end if;
end;
$$;
comment on function private.check_cron(text) is
  'Raises 22023 cron_invalid for a field that workers could not read: its form, its range, its names. Whether the days exist (30 February) they find out.';
revoke execute on function private.check_cron(text) from public;
grant execute on function private.check_cron(text) to authenticated, service_role;

create function private.prepare_schedule() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_is_new constant boolean := tg_op = 'INSERT';
begin
  if not v_is_new and private.is_client() and pg_trigger_depth() = 1 then
    new.user_id := (select auth.uid()); -- what somebody else wrote does not run in the first one's name
  end if;
  if (v_is_new or new.time_zone <> old.time_zone)
    and not exists (select from pg_catalog.pg_timezone_names z where z.name = new.time_zone) then
    raise exception using errcode = '22023', message = 'unknown_time_zone',
      detail = format('"%s" is not a time zone.', new.time_zone), hint = 'Use an IANA name, e.g. Europe/Vienna.';
  end if;
  if v_is_new or new.method <> old.method then
    perform private.check_method(new.method);
  end if;
  if v_is_new or new.cron <> old.cron then
    perform private.check_cron(new.cron);
  end if;
  if new.agent_slug is not null
    and (v_is_new or new.agent_slug is distinct from old.agent_slug or new.enabled and new.user_id <> old.user_id) then
    perform private.usable_agent(new.agent_slug, new.organization_slug, new.user_id);
  end if;
  if not v_is_new then
    new.last_error := null; -- to be tried again
    new.last_error_at := null;
    if (new.cron, new.time_zone, new.enabled) is distinct from (old.cron, old.time_zone, old.enabled) then
      new.next_run_at := null; -- to be computed anew, from now on: what was missed meanwhile is not caught up on
      new.held_until := null;
    end if;
  end if;
  return new;
end;
$$;
comment on function private.prepare_schedule() is
  'Before insert and update: time zone and cron are sound and the agent usable, a changed rhythm is computed anew, and a broken schedule is tried again.';
revoke execute on function private.prepare_schedule() from public;

create trigger prepare_schedule before insert or update of cron, time_zone, enabled, agent_slug, method, prompt, params on public.schedules
for each row execute function private.prepare_schedule();

comment on table public.schedules is
  'Tasks enqueued by cron, in a time zone. Admins write them; the tasks run for user_id, who wrote it last, one at a time (concurrency_key schedule:<id>).';
comment on column public.schedules.cron is
  'Minute, hour, day of month, month, day of week; with six fields the first is seconds. What L, LW, 5L and MON#2 mean, and what happens when clocks change: workers/cron.py.';
comment on column public.schedules.overlap_policy is 'When the previous task is unfinished: skip this time, queue another, or cancel_previous and begin the new one.';
comment on column public.schedules.catch_up_policy is
  'After downtime: none (a time that is over a minute late is left out), one for all missed times, or all of them, a hundred at a time.';
comment on column public.schedules.next_run_at is 'Computed by workers; null when it is to be computed, or cannot be (last_error).';
comment on column public.schedules.held_until is 'Until then one worker computes this schedule and no other looks at it.';
comment on column public.schedules.last_run_at is 'The last time for which there was a task.';
comment on column public.schedules.last_error is
  'Why the last time made no task, or why no next one can be computed: "token: sentence"; null when all is well. A change of the schedule makes workers try again, and so does its next time.';

alter table public.schedules enable row level security;
revoke all on public.schedules from anon, authenticated, service_role;
grant select, delete on public.schedules to authenticated;
grant insert (organization_slug, name, cron, time_zone, enabled, overlap_policy, catch_up_policy, agent_slug, method, prompt, params)
on public.schedules to authenticated;
grant update (name, cron, time_zone, enabled, overlap_policy, catch_up_policy, agent_slug, method, prompt, params)
on public.schedules to authenticated;
grant select, insert, update, delete on public.schedules to service_role;

create policy "Developers and admins read schedules" on public.schedules
for select to authenticated
using (organization_slug = any (array(select private.my_organizations('developer'))));
create policy "Admins add schedules" on public.schedules
for insert to authenticated
with check (user_id = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('admin'))));
create policy "Admins change schedules" on public.schedules
for update to authenticated
using (organization_slug = any (array(select private.my_organizations('admin'))))
with check (organization_slug = any (array(select private.my_organizations('admin'))));
create policy "Admins delete schedules" on public.schedules
for delete to authenticated
using (organization_slug = any (array(select private.my_organizations('admin'))));

-- Making tasks -----------------------------------------------------------------------------------------------------------

create function private.lock_last_task(schedule_id uuid) returns void
language sql volatile security invoker set search_path = ''
as $$
  select from public.tasks t
  join public.schedules s on s.last_task_id = t.id
  where s.id = lock_last_task.schedule_id and s.overlap_policy = 'cancel_previous' and t.status in ('pending', 'in_progress', 'paused')
  for update of t;
$$;
comment on function private.lock_last_task(uuid) is 'Locks the task that a new one of this schedule would cancel, before the schedule is locked.';
revoke execute on function private.lock_last_task(uuid) from public;
grant execute on function private.lock_last_task(uuid) to service_role;

create function private.check_scheduler(schedule public.schedules, user_id uuid) returns void
language plpgsql stable security invoker set search_path = ''
as $$
begin
  if not exists (select from public.organizations o where o.slug = schedule.organization_slug and o.is_active) then
    raise exception using errcode = 'PT409', message = 'organization_inactive',
      detail = format('Organization "%s" is not active.', schedule.organization_slug), hint = 'Ask the platform; schedules go on when it is active again.';
  end if;
  if not exists (
    select from public.organization_members m
    join public.users u on u.id = m.user_id and u.is_active
    where m.organization_slug = schedule.organization_slug and m.user_id = check_scheduler.user_id
      and private.role_rank(m.role) >= private.role_rank('member')
  ) then
    raise exception using errcode = 'PT409', message = 'schedule_without_user',
      detail = format('User %s, for whom it runs, may no longer add tasks in organization "%s".', user_id, schedule.organization_slug),
      hint = 'An admin who changes the schedule becomes its user.';
  end if;
end;
$$;
comment on function private.check_scheduler(public.schedules, uuid) is
  'Raises PT409 unless the organization is active and the user may still add tasks there: servers fire schedules, and prepare_task does not ask servers.';
revoke execute on function private.check_scheduler(public.schedules, uuid) from public;
grant execute on function private.check_scheduler(public.schedules, uuid) to service_role;

create function private.make_way(schedule public.schedules) returns boolean
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  if schedule.overlap_policy = 'queue' then
    return true;
  end if;
  if schedule.overlap_policy = 'cancel_previous' then
    update public.tasks t set status = 'cancelled'
    where t.id = schedule.last_task_id and t.status in ('pending', 'in_progress', 'paused');
    return true;
  end if;
  return not exists (
    select from public.tasks t where t.id = schedule.last_task_id and t.status in ('pending', 'in_progress', 'paused')
  );
end;
$$;
comment on function private.make_way(public.schedules) is 'Applies the overlap policy to the previous task; false when there is to be no new one.';
revoke execute on function private.make_way(public.schedules) from public;
grant execute on function private.make_way(public.schedules) to service_role;

create function private.add_scheduled_tasks(schedule public.schedules, runs timestamptz[], user_id uuid, by_hand boolean) returns uuid[]
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_ids uuid[];
begin
  with added as (
    insert into public.tasks (
      organization_slug, user_id, agent_slug, method, prompt, params, scheduled_at, idempotency_key, concurrency_key, metadata
    )
    select schedule.organization_slug, add_scheduled_tasks.user_id, schedule.agent_slug, schedule.method, schedule.prompt, schedule.params, r.run_at,
      case when not by_hand then format('schedule:%s:%s', schedule.id, i.iso) end, format('schedule:%s', schedule.id),
      jsonb_build_object('schedule_id', schedule.id, 'scheduled_for', i.iso)
    from unnest(runs) with ordinality r (run_at, number)
    cross join lateral (select to_char(r.run_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) i (iso)
    order by r.number
    on conflict (organization_slug, idempotency_key) do nothing
    returning id, scheduled_at
  )
  select coalesce(array_agg(a.id order by a.scheduled_at), '{}') into v_ids from added a;
  return v_ids;
end;
$$;
comment on function private.add_scheduled_tasks(public.schedules, timestamptz[], uuid, boolean) is
  'Inserts a task for each time, in order, and returns the ids of those that were not there yet (idempotency_key schedule:<id>:<time>; none when by hand).';
revoke execute on function private.add_scheduled_tasks(public.schedules, timestamptz[], uuid, boolean) from public;
grant execute on function private.add_scheduled_tasks(public.schedules, timestamptz[], uuid, boolean) to service_role;

create function private.runs_to_make(schedule public.schedules, runs timestamptz[]) returns timestamptz[]
language sql stable security invoker set search_path = ''
as $$
  select case
    when schedule.catch_up_policy = 'all' and schedule.overlap_policy = 'queue' then runs
    -- The others would overlap with the first.
    when schedule.catch_up_policy = 'all' and schedule.overlap_policy = 'skip' then runs[1:1]
    when schedule.catch_up_policy = 'none' and runs[cardinality(runs)] < private.clock() - interval '1 minute' then '{}'
    else runs[cardinality(runs):]
  end;
$$;
comment on function private.runs_to_make(public.schedules, timestamptz[]) is
  'Which of the times that have come, in order, get a task: the catch-up policy, and of several that would overlap the first (skip) or the last (cancel_previous).';
revoke execute on function private.runs_to_make(public.schedules, timestamptz[]) from public;
grant execute on function private.runs_to_make(public.schedules, timestamptz[]) to service_role;

-- Functions of workers -----------------------------------------------------------------------------------------------------

create function private.schedules_are_due() returns boolean
language sql stable security invoker set search_path = ''
as $$
  select exists (
    select from public.schedules s
    where s.enabled and (s.next_run_at is not null or s.last_error is null)
      and coalesce(greatest(s.next_run_at, s.held_until), '-infinity') <= private.clock()
  );
$$;
comment on function private.schedules_are_due() is 'Whether claim_schedules would give something: one probe of schedules_due_idx, for the answer of exchange_work.';
revoke execute on function private.schedules_are_due() from public;
grant execute on function private.schedules_are_due() to service_role;

create function public.claim_schedules(worker_id text, max_schedules integer default 20) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_schedules jsonb;
begin
  perform private.check_worker_id(worker_id);
  perform private.check_claim_arguments(max_schedules, 1);
  with due as materialized (
    select s.id
    from public.schedules s
    -- Asked of the row itself too: another worker may just have taken it.
    where s.enabled and coalesce(greatest(s.next_run_at, s.held_until), '-infinity') <= private.clock() and s.id in (
      -- Organizations take turns.
      select z.id
      from (
        select x.id, row_number() over (
          partition by x.organization_slug order by coalesce(greatest(x.next_run_at, x.held_until), '-infinity')
        ) as turn
        from public.schedules x
        where x.enabled and (x.next_run_at is not null or x.last_error is null)
          and coalesce(greatest(x.next_run_at, x.held_until), '-infinity') <= private.clock()
      ) z
      order by z.turn, random()
      limit max_schedules
    )
    for no key update skip locked
  ),
  held as (
    update public.schedules s set held_until = private.clock() + interval '10 seconds'
    from due
    where s.id = due.id
    returning s.*
  )
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', h.id, 'cron', h.cron, 'time_zone', h.time_zone, 'next_run_at', h.next_run_at, 'catch_up_policy', h.catch_up_policy, 'now', private.clock()
  ) order by h.next_run_at nulls first), '[]')
  into v_schedules
  from held h;
  return v_schedules;
end;
$$;
comment on function public.claim_schedules(text, integer) is
  'Schedules that are due or have no next time yet, [{id, cron, time_zone, next_run_at, catch_up_policy, now}], held for ten seconds so that no other worker computes the same. Then call fire_schedules.';
revoke execute on function public.claim_schedules(text, integer) from public, anon, authenticated;
grant execute on function public.claim_schedules(text, integer) to service_role;

create function private.check_firing(schedule public.schedules, runs timestamptz[], next_run_at timestamptz) returns void
language plpgsql stable security invoker set search_path = ''
as $$
begin
  if cardinality(runs) > 100 or runs[1] < schedule.next_run_at or runs[cardinality(runs)] > private.clock()
    or next_run_at is null or next_run_at <= coalesce(runs[cardinality(runs)], schedule.next_run_at)
    or cardinality(runs) > 0 and schedule.next_run_at is null then
    raise exception using errcode = '22023', message = 'firing_invalid',
      detail = format('Schedule %s: runs and next_run_at do not follow from what claim_schedules gave.', schedule.id),
      hint = 'runs are at most 100 times from next_run_at up to now, none for a schedule without one; the new next_run_at is later than all.';
  end if;
end;
$$;
comment on function private.check_firing(public.schedules, timestamptz[], timestamptz) is
  'Raises 22023 firing_invalid for times that cannot be: too many, before the one expected, in the future, or a next time that is none.';
revoke execute on function private.check_firing(public.schedules, timestamptz[], timestamptz) from public;
grant execute on function private.check_firing(public.schedules, timestamptz[], timestamptz) to service_role;

create function private.fire_schedule(item jsonb) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_schedule public.schedules;
  v_next constant timestamptz := item ->> 'next_run_at';
  v_runs timestamptz[] := array(
    select r.run_at::timestamptz from jsonb_array_elements_text(coalesce(nullif(item -> 'runs', 'null'), '[]')) r (run_at) order by 1
  );
  v_error text := nullif(left(item ->> 'error', 1000), '');
  v_detail text;
  v_task_ids uuid[] := '{}';
begin
  perform private.lock_last_task((item ->> 'schedule_id')::uuid);
  -- Compare and set: whoever comes second waits here and then finds the time moved on.
  select s.* into v_schedule
  from public.schedules s
  where s.id = (item ->> 'schedule_id')::uuid and s.enabled
    and s.next_run_at is not distinct from (item ->> 'expected_next_run_at')::timestamptz
    and s.cron = coalesce(item ->> 'cron', s.cron) and s.time_zone = coalesce(item ->> 'time_zone', s.time_zone)
  for no key update;
  if not found then
    return jsonb_build_object('schedule_id', item ->> 'schedule_id', 'outcome', 'lost', 'task_ids', '[]'::jsonb);
  end if;
  if v_error is null then
    perform private.check_firing(v_schedule, v_runs, v_next);
    v_runs := private.runs_to_make(v_schedule, v_runs);
    begin
      if cardinality(v_runs) > 0 then
        perform private.check_scheduler(v_schedule, v_schedule.user_id);
        if private.make_way(v_schedule) then
          v_task_ids := private.add_scheduled_tasks(v_schedule, v_runs, v_schedule.user_id, false);
        end if;
      end if;
    exception
      when transaction_rollback or insufficient_resources or operator_intervention then
        raise; -- passes by itself: the call is repeated
      when others then
        get stacked diagnostics v_detail = pg_exception_detail;
        -- Only our own refusals are quoted whole: the detail of a broken constraint would show the row.
        v_error := concat_ws(': ', sqlerrm, case when sqlstate like 'PT%' or sqlstate = '22023' then v_detail end);
    end;
  end if;
  update public.schedules s
  set next_run_at = v_next,
    -- One that is still behind lets the others have a turn.
    held_until = case when v_next <= private.clock() then private.clock() + interval '1 second' end,
    last_run_at = case when v_task_ids <> '{}' then v_runs[cardinality(v_runs)] else s.last_run_at end,
    last_task_id = coalesce(v_task_ids[cardinality(v_task_ids)], s.last_task_id),
    last_error = case when v_error is not null then v_error when v_task_ids = '{}' then s.last_error end,
    last_error_at = case when v_error is not null then private.clock() when v_task_ids = '{}' then s.last_error_at end
  where s.id = v_schedule.id;
  return jsonb_strip_nulls(
    jsonb_build_object('schedule_id', v_schedule.id, 'outcome', 'ok', 'task_ids', to_jsonb(v_task_ids), 'detail', v_error)
  );
end;
$$;
comment on function private.fire_schedule(jsonb) is
  'Fires one schedule and sets its next time, if it is still as the item expects it. What keeps it from making its tasks goes to last_error and does not keep it from going on.';
revoke execute on function private.fire_schedule(jsonb) from public;
grant execute on function private.fire_schedule(jsonb) to service_role;

create function public.fire_schedules(worker_id text, items jsonb) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_item jsonb;
  v_outcomes jsonb := '[]';
begin
  perform private.check_worker_id(worker_id);
  if jsonb_typeof(items) is distinct from 'array' or jsonb_array_length(items) > 1000 then
    raise exception using errcode = '22023', message = 'items_not_a_list',
      detail = 'The items are no JSON array of at most 1000.', hint = 'Send a list of objects, in several calls if they are many.';
  end if;
  for v_item in select i.item from jsonb_array_elements(items) i (item) order by i.item ->> 'schedule_id' loop
    begin
      v_outcomes := v_outcomes || private.fire_schedule(v_item);
    exception
      when data_exception or integrity_constraint_violation then
        v_outcomes := v_outcomes || jsonb_build_object(
          'schedule_id', v_item ->> 'schedule_id', 'outcome', 'invalid', 'task_ids', '[]'::jsonb, 'detail', sqlerrm
        );
    end;
  end loop;
  return v_outcomes;
end;
$$;
comment on function public.fire_schedules(text, jsonb) is
  'Makes the tasks of schedules whose time has come: items [{schedule_id, expected_next_run_at, runs, next_run_at, cron?, time_zone?, error?}], computed from what claim_schedules gave. Returns [{schedule_id, outcome: ok|lost|invalid, task_ids, detail?}] in the order of the ids. A time is fired once, whoever asks and however often.';
revoke execute on function public.fire_schedules(text, jsonb) from public, anon, authenticated;
grant execute on function public.fire_schedules(text, jsonb) to service_role;

-- Functions of members -------------------------------------------------------------------------------------------------

create function private.run_schedule(schedule_id uuid) returns public.tasks
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_schedule public.schedules;
  v_user_id uuid;
  v_task_ids uuid[];
  v_task public.tasks;
begin
  -- Who may not does not come as far as a lock.
  if exists (
    select from public.schedules s
    where s.id = run_schedule.schedule_id
      and (not private.is_client() or s.organization_slug in (select private.my_organizations('admin')))
  ) then
    perform private.lock_last_task(schedule_id);
    select s.* into v_schedule from public.schedules s where s.id = run_schedule.schedule_id for no key update;
  end if;
  if v_schedule.id is null then
    raise exception using errcode = 'PT404', message = 'schedule_not_found',
      detail = format('You administer no schedule %s.', schedule_id), hint = 'Check the id; only admins of the organization run a schedule by hand.';
  end if;
  -- A client adds tasks in its own name only.
  v_user_id := case when private.is_client() then (select auth.uid()) else v_schedule.user_id end;
  perform private.check_scheduler(v_schedule, v_user_id);
  if not private.make_way(v_schedule) then
    raise exception using errcode = 'PT409', message = 'previous_task_unfinished',
      detail = format('Task %s of this schedule is unfinished, and its overlap_policy is skip.', v_schedule.last_task_id),
      hint = 'Wait, cancel that task, or set overlap_policy to queue or cancel_previous.';
  end if;
  v_task_ids := private.add_scheduled_tasks(v_schedule, array[private.clock()], v_user_id, true);
  update public.schedules s set last_run_at = private.clock(), last_task_id = v_task_ids[1] where s.id = v_schedule.id;
  select t.* into v_task from public.tasks t where t.id = v_task_ids[1];
  return v_task;
end;
$$;
comment on function private.run_schedule(uuid) is 'Body of public.run_schedule. Locks the task it would cancel, then the schedule.';
revoke execute on function private.run_schedule(uuid) from public;
grant execute on function private.run_schedule(uuid) to authenticated, service_role;

create function public.run_schedule(schedule_id uuid) returns public.tasks
language sql volatile security invoker set search_path = ''
as $$
  select * from private.run_schedule(schedule_id);
$$;
comment on function public.run_schedule(uuid) is
  'Makes a task of a schedule now, also when it is not enabled, and leaves its next time as it is (admins; the task is the caller''s). The overlap policy holds. Errors: PT404 schedule_not_found, PT409 previous_task_unfinished, and those of inserting a task.';
revoke execute on function public.run_schedule(uuid) from public, anon, authenticated;
grant execute on function public.run_schedule(uuid) to authenticated, service_role;
