-- Schedules: tasks that begin by the clock. Workers compute next_run_at (cron with time zone) and enqueue.

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
  last_run_at timestamptz,
  last_task_id uuid references public.tasks (id) on delete set null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- An organization's schedules by name (also the foreign key).
  constraint schedule_name_is_unique_within_an_organization unique (organization_slug, name),
  constraint name_is_not_blank check (btrim(name) <> '' and length(name) <= 255),
  constraint cron_has_five_or_six_fields check (btrim(cron) ~ '^\S+(\s+\S+){4,5}$' and length(cron) <= 200),
  constraint overlap_policy_is_known check (overlap_policy in ('skip', 'queue', 'cancel_previous')),
  constraint catch_up_policy_is_known check (catch_up_policy in ('none', 'one', 'all')),
  constraint prompt_is_neither_empty_nor_huge check (btrim(prompt) <> '' and octet_length(prompt) <= 1048576),
  constraint params_is_an_object check (jsonb_typeof(params) = 'object' and pg_column_size(params) <= 1048576)
);

-- What is due.
create index schedules_due_idx on public.schedules (next_run_at) where enabled;
-- Foreign keys.
create index schedules_user_idx on public.schedules (user_id);
create index schedules_agent_idx on public.schedules (agent_slug);
create index schedules_method_idx on public.schedules (method);
create index schedules_last_task_idx on public.schedules (last_task_id);

create trigger check_json before insert or update of params on public.schedules
for each row execute function private.check_json('params');
create trigger set_updated_at before update on public.schedules
for each row execute function public.set_updated_at();

create function private.prepare_schedule() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  if not exists (select from pg_catalog.pg_timezone_names z where z.name = new.time_zone) then
    raise exception using errcode = '22023', message = 'unknown_time_zone',
      detail = format('"%s" is not a time zone.', new.time_zone), hint = 'Use an IANA name, e.g. Europe/Vienna.';
  end if;
  if new.agent_slug is not null then
    perform private.usable_agent(new.agent_slug, new.organization_slug, new.user_id);
  end if;
  if tg_op = 'UPDATE' and private.is_client() then
    new.user_id := (select auth.uid()); -- what somebody else wrote does not run in the first one's name
  end if;
  if tg_op = 'UPDATE' and (new.cron, new.time_zone, new.enabled) is distinct from (old.cron, old.time_zone, old.enabled) then
    new.next_run_at := null; -- to be computed anew
  end if;
  return new;
end;
$$;
comment on function private.prepare_schedule() is 'Before insert and update: the time zone exists, the agent is usable, and a changed rhythm is computed anew.';
revoke execute on function private.prepare_schedule() from public;

create trigger prepare_schedule before insert or update of cron, time_zone, enabled, agent_slug, method, prompt, params on public.schedules
for each row execute function private.prepare_schedule();

comment on table public.schedules is 'Tasks enqueued by cron, in a time zone. Admins write them; the tasks run for user_id, who wrote it last.';
comment on column public.schedules.overlap_policy is 'When the previous task still runs: skip this time, queue another, or cancel_previous.';
comment on column public.schedules.catch_up_policy is 'After downtime: none, one for all missed times, or all of them.';
comment on column public.schedules.next_run_at is 'Computed by workers; null when it is to be computed.';

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
