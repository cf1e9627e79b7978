-- Wake-up: a worker that listens hears at once of a task that may be claimed now; the others find it when they poll.
-- NOTIFY makes the commits of its senders wait for each other, so it is sent only while somebody listens. Who listens says so with
-- a shared advisory lock on the channel's name, held by the session that listens: it ends with the session, however that ends.

create function private.somebody_listens() returns boolean
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  -- Nobody: the lock can be had whole, and is given back at once. Two who ask at the same moment may see each other, which costs
  -- one NOTIFY that nobody hears.
  if pg_try_advisory_lock(hashtextextended('orchestrator_tasks', 0)) then
    return not pg_advisory_unlock(hashtextextended('orchestrator_tasks', 0));
  end if;
  return true;
end;
$$;
comment on function private.somebody_listens() is
  'Whether a worker listens. It does: listen orchestrator_tasks; select pg_advisory_lock_shared(hashtextextended(''orchestrator_tasks'', 0)); then it claims once, and again after each notification.';
revoke execute on function private.somebody_listens() from public;
grant execute on function private.somebody_listens() to authenticated, service_role;

create function private.wake_workers() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  if private.somebody_listens() then
    perform pg_notify('orchestrator_tasks', '');
  end if;
  return null;
end;
$$;
comment on function private.wake_workers() is 'Tells the workers that listen, when this transaction commits, to look for tasks.';
revoke execute on function private.wake_workers() from public;

-- A queue that goes on after a pause.
create trigger wake_workers after delete on public.queue_pauses
for each statement execute function private.wake_workers();

create function private.announce_tasks() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  if not private.somebody_listens() then
    return null; -- asked first, because it costs less than to look at the rows
  end if;
  if tg_op = 'INSERT' then
    -- The same words each time, so that Postgres sends one notification for a transaction, however many tasks it makes.
    if exists (select from new_rows n where n.status = 'pending' and n.scheduled_at <= (select private.clock())) then
      perform pg_notify('orchestrator_tasks', '');
    end if;
  elsif exists (
    select from new_rows n
    join old_rows o on o.id = n.id
    where n.status = 'pending' and n.scheduled_at <= (select private.clock()) and (o.status <> 'pending' or o.scheduled_at > n.scheduled_at)
  ) then
    perform pg_notify('orchestrator_tasks', '');
  end if;
  return null;
end;
$$;
comment on function private.announce_tasks() is
  'After each statement on tasks that makes a task claimable now: inserted, given back, retried, resumed, brought forward. Tasks for later are found by polling (next_poll_ms).';
revoke execute on function private.announce_tasks() from public;

create trigger announce_new_tasks after insert on public.tasks
referencing new table as new_rows
for each statement execute function private.announce_tasks();
create trigger announce_pending_tasks after update on public.tasks
referencing old table as old_rows new table as new_rows
for each statement execute function private.announce_tasks();
