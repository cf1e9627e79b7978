-- Task events: everything that happens to a task, append-only, numbered per task. A client that lost its connection asks for
-- task_events?task_id=eq.X&sequence=gt.N&order=sequence and has missed nothing.
-- Writers hold the lock on the task's row, so that max(sequence) + 1 is safe.

create table public.task_events (
  id bigint generated always as identity,
  task_id uuid not null references public.tasks (id) on delete cascade,
  sequence integer not null,
  attempt integer not null,
  type text not null,
  message text,
  data jsonb not null default '{}',
  created_at timestamptz not null default now(),
  -- Also the replay: task_id = x and sequence > n order by sequence.
  primary key (task_id, sequence),
  constraint type_is_known check (type in ('status', 'progress', 'message', 'partial', 'tool', 'log')),
  constraint data_is_an_object check (jsonb_typeof(data) = 'object' and pg_column_size(data) <= 1048576)
);

comment on table public.task_events is 'Append-only trail of a task: status, progress, message, partial (streamed text in data.text), tool, log. Kept in step with tasks by triggers.';
comment on column public.task_events.id is 'Order of writing over all tasks; an event is named by task and sequence.';
comment on column public.task_events.sequence is '1, 2, 3, … within the task, without gaps.';
comment on column public.task_events.data is 'status: {from, to, error_code?}; progress: {progress}; partial: {text}, to be joined after the last status event to in_progress.';

-- Triggers -----------------------------------------------------------------------------------------------------------

create function private.refuse_change() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  raise exception using errcode = 'PT409', message = 'append_only',
    detail = format('Rows of %s are written once.', tg_table_name), hint = 'Write a new row instead.';
end;
$$;
comment on function private.refuse_change() is 'Before update, on append-only tables: refuses, for every writer.';
revoke execute on function private.refuse_change() from public;

create trigger refuse_change before update on public.task_events
for each row execute function private.refuse_change();

-- The planner cannot know how many rows a statement changed: nested loops over them are switched off in such triggers.
create function private.record_task_changes() returns trigger
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set enable_nestloop = off set enable_hashjoin = on
as $$
begin
  if tg_op = 'INSERT' then
    insert into public.task_events (task_id, sequence, attempt, type, data)
    select n.id, 1, n.attempt, 'status', jsonb_build_object('to', n.status)
    from new_rows n;
    return null;
  end if;
  insert into public.task_events (task_id, sequence, attempt, type, message, data)
  select n.id, coalesce(last.sequence, 0) + 1, case when n.status = 'pending' then o.attempt else n.attempt end,
    case when n.status <> o.status then 'status' else 'progress' end,
    case when n.status = o.status then n.progress_message when n.status <> 'in_progress' then n.error_message end,
    case
      when o.status = 'pending' and n.status = 'in_progress' then '{"from": "pending", "to": "in_progress"}'
      when o.status = 'in_progress' and n.status = 'completed' and n.error_code is null then '{"from": "in_progress", "to": "completed"}'
      when n.status <> o.status then jsonb_strip_nulls(jsonb_build_object('from', o.status, 'to', n.status, 'error_code', case when n.status <> 'in_progress' then n.error_code end))
      else jsonb_build_object('progress', n.progress)
    end
  from new_rows n
  join old_rows o on o.id = n.id
  left join lateral (
    select e.sequence from public.task_events e where e.task_id = n.id order by e.sequence desc limit 1
  ) last on true
  where (n.status, n.progress, n.progress_message) is distinct from (o.status, o.progress, o.progress_message);
  return null;
end;
$$;
comment on function private.record_task_changes() is 'After each statement on tasks: one event for every row whose status or progress changed.';
revoke execute on function private.record_task_changes() from public;

create trigger record_task_inserts after insert on public.tasks
referencing new table as new_rows
for each statement execute function private.record_task_changes();
create trigger record_task_updates after update on public.tasks
referencing old table as old_rows new table as new_rows
for each statement execute function private.record_task_changes();

-- What goes with a task ----------------------------------------------------------------------------------------------

create function private.delete_events_of_tasks() returns trigger
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
begin
  delete from public.task_events e where e.task_id = any (array(select o.id from old_rows o));
  return null;
end;
$$;
comment on function private.delete_events_of_tasks() is 'After tasks are deleted: so are their events, all in one statement.';
revoke execute on function private.delete_events_of_tasks() from public;

create trigger delete_events after delete on public.tasks
referencing old table as old_rows
for each statement execute function private.delete_events_of_tasks();

do $$
begin
  -- Whoever writes an event holds the lock on its task. To look that up again for each cost a twentieth of what running a task costs,
  -- so that from Postgres 18 on, which can, the key is there only to be read (embedding, generated types).
  if current_setting('server_version_num')::integer >= 180000 then
    execute 'alter table public.task_events alter constraint task_events_task_id_fkey not enforced';
  end if;
end
$$;

-- Protection ---------------------------------------------------------------------------------------------------------

alter table public.task_events enable row level security;
revoke all on public.task_events from anon, authenticated, service_role;
grant select on public.task_events to authenticated;
grant select, insert, delete on public.task_events to service_role;

create policy "Whoever reads a task reads its events" on public.task_events
for select to authenticated
using (exists (select from public.tasks t where t.id = task_id));
