-- Workers: who runs tasks. Rows are information for operators; no rule depends on them (leases are on the tasks).

create table public.workers (
  id text primary key,
  hostname text,
  pid integer,
  version text,
  concurrency integer,
  methods text[],
  organizations text[],
  status text not null default 'active',
  started_at timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint id_is_short_and_not_blank check (btrim(id) <> '' and length(id) <= 200),
  constraint status_is_known check (status in ('active', 'stopped'))
);

create trigger set_updated_at before update on public.workers
for each row execute function public.set_updated_at();

comment on table public.workers is 'Worker processes, as they reported themselves. Only servers see them.';
comment on column public.workers.last_seen_at is 'Last exchange, to within five seconds.';
comment on column public.workers.methods is 'Methods it asks for; null for all.';
comment on column public.workers.organizations is 'Organizations it asks for; null for all.';

create table private.worker_requests (
  worker_id text not null,
  request_id uuid not null,
  outcomes jsonb not null,
  leases jsonb not null,
  created_at timestamptz not null default now(),
  primary key (worker_id, request_id)
);
-- Read once, if ever: not worth compressing.
alter table private.worker_requests alter column outcomes set storage external, alter column leases set storage external;

-- Answers old enough to forget (private.reap_tasks).
create index worker_requests_created_at_idx on private.worker_requests (created_at);

comment on table private.worker_requests is 'What exchange_work did in the last minutes, so that a repeated request gets the same answer and acts once. Tasks are named, not kept: no prompt stands here.';
comment on column private.worker_requests.leases is '[{task_id, attempt, lease_token, lease_expires_at}], as private.describe_leases takes it.';

alter table public.workers enable row level security;
revoke all on public.workers from anon, authenticated, service_role;
grant select, insert, update, delete on public.workers to service_role;
revoke all on private.worker_requests from anon, authenticated, service_role;
grant select, insert, update, delete on private.worker_requests to service_role;

create policy "Only servers see workers" on public.workers for select to authenticated using (false);

-- Functions ----------------------------------------------------------------------------------------------------------

create function private.check_worker_id(worker_id text) returns void
language plpgsql stable security invoker set search_path = ''
as $$
begin
  if worker_id is null or btrim(worker_id) = '' or length(worker_id) > 200 then
    raise exception using errcode = '22023', message = 'worker_id_invalid',
      detail = 'worker_id must be a text of 1 to 200 characters.', hint = 'Give each worker process a name of its own (WORKER_ID).';
  end if;
end;
$$;
comment on function private.check_worker_id(text) is 'Raises 22023 worker_id_invalid for a missing, blank or long worker_id.';
revoke execute on function private.check_worker_id(text) from public;
grant execute on function private.check_worker_id(text) to service_role;

create function private.check_claim_arguments(max_tasks integer, lease_seconds integer) returns void
language plpgsql stable security invoker set search_path = ''
as $$
begin
  if max_tasks is null or max_tasks not between 0 and 1000 or lease_seconds is null or lease_seconds not between 1 and 3600 then
    raise exception using errcode = '22023', message = 'argument_out_of_range',
      detail = format('max_tasks is %s (0 to 1000), lease_seconds is %s (1 to 3600).', max_tasks, lease_seconds), hint = 'Correct the arguments.';
  end if;
end;
$$;
comment on function private.check_claim_arguments(integer, integer) is 'Raises 22023 argument_out_of_range for max_tasks outside 0 to 1000 or lease_seconds outside 1 to 3600.';
revoke execute on function private.check_claim_arguments(integer, integer) from public;
grant execute on function private.check_claim_arguments(integer, integer) to service_role;

create function public.register_worker(worker_id text, info jsonb default '{}') returns public.workers
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_info record;
  v_worker public.workers;
begin
  perform private.check_worker_id(worker_id);
  select * into v_info
  from jsonb_to_record(info) as i (hostname text, pid integer, version text, concurrency integer, methods text[], organizations text[]);
  insert into public.workers as w (id, hostname, pid, version, concurrency, methods, organizations)
  values (worker_id, v_info.hostname, v_info.pid, v_info.version, v_info.concurrency, v_info.methods, v_info.organizations)
  on conflict (id) do update
  set hostname = excluded.hostname, pid = excluded.pid, version = excluded.version, concurrency = excluded.concurrency,
    methods = excluded.methods, organizations = excluded.organizations, status = 'active', started_at = now(), last_seen_at = now()
  returning w.* into v_worker;
  return v_worker;
end;
$$;
comment on function public.register_worker(text, jsonb) is 'A worker says who it is when it starts: info {hostname, pid, version, concurrency, methods, organizations}.';
revoke execute on function public.register_worker(text, jsonb) from public, anon, authenticated;
grant execute on function public.register_worker(text, jsonb) to service_role;

create function public.stop_worker(worker_id text) returns void
language sql volatile security invoker set search_path = ''
as $$
  update public.workers w set status = 'stopped', last_seen_at = now() where w.id = stop_worker.worker_id;
$$;
comment on function public.stop_worker(text) is 'A worker says that it has stopped on purpose.';
revoke execute on function public.stop_worker(text) from public, anon, authenticated;
grant execute on function public.stop_worker(text) to service_role;
