-- Agent versions: a snapshot of an agent's configuration at each change of it. The version number only rises; a change that
-- does not raise it gets the next patch number. The last ten stay here, older ones go to the archive.

create schema if not exists archive;
comment on schema archive is 'Rows that retention has taken out of public. Not exposed by PostgREST.';
revoke all on schema archive from public;

-- Partitions by month ------------------------------------------------------------------------------------------------

create schema if not exists partitions;
comment on schema partitions is 'Months of the large append-only tables. Not exposed by PostgREST; rows are read and written by their tables in public and archive.';
revoke all on schema partitions from public;

create table private.partitioned_tables (
  name text primary key,
  time_column text not null,
  months_ahead integer not null default 2,
  constraint months_ahead_are_few check (months_ahead between 2 and 24)
);
comment on table private.partitioned_tables is 'Tables that are partitioned by month: schema.table, the column that decides, and how many months are made ahead.';
revoke all on private.partitioned_tables from anon, authenticated, service_role;

create function private.make_partition(name text, month date) returns boolean
language plpgsql volatile security definer set search_path = '' set timezone = 'UTC'
as $$
declare
  v_default constant text := regexp_replace(replace(make_partition.name, '.', '_'), '^public_', '');
  v_partition constant text := case when month is null then v_default || '_default' else v_default || to_char(month, '_YYYY_MM') end;
  v_from constant timestamptz := month::timestamptz;
  v_to constant timestamptz := (month + interval '1 month')::timestamptz;
  v_column constant text := (select p.time_column from private.partitioned_tables p where p.name = make_partition.name);
  v_is_taken boolean;
begin
  if to_regclass('partitions.' || quote_ident(v_partition)) is not null then
    return false;
  end if;
  if month is null then
    execute format('create table partitions.%I partition of %s default', v_partition, make_partition.name::regclass);
  else
    -- What came while there was no month for it stays where it is.
    execute format('select exists (select from partitions.%I where %I >= %L and %I < %L)', v_default || '_default', v_column, v_from, v_column, v_to)
    into v_is_taken;
    if v_is_taken then
      return false;
    end if;
    execute format('create table partitions.%I partition of %s for values from (%L) to (%L)', v_partition, make_partition.name::regclass, v_from, v_to);
  end if;
  execute format('alter table partitions.%I enable row level security', v_partition);
  execute format('revoke all on partitions.%I from public, anon, authenticated, service_role', v_partition);
  execute format('create policy "Only through its table" on partitions.%I for all to authenticated using (false)', v_partition);
  return true;
end;
$$;
comment on function private.make_partition(text, date) is
  'Makes the partition of a table for the month that begins on this day (UTC), or its default partition (null), with row-level security and no rights. False when it is there, or when the default holds rows of that month.';
revoke execute on function private.make_partition(text, date) from public;
grant execute on function private.make_partition(text, date) to service_role;

create function private.make_months(name text) returns integer
language sql volatile security invoker set search_path = ''
as $$
  select count(*) filter (where private.make_partition(p.name, (date_trunc('month', private.clock() at time zone 'UTC') + make_interval(months => m.ahead))::date))::integer
  from private.partitioned_tables p
  cross join lateral generate_series(0, p.months_ahead) m (ahead)
  where p.name = make_months.name;
$$;
comment on function private.make_months(text) is 'Makes the partitions of this month and of those ahead that are not there; returns how many it made.';
revoke execute on function private.make_months(text) from public;

create function private.partition_by_month(name text, time_column text, months_ahead integer default 2) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  insert into private.partitioned_tables (name, time_column, months_ahead)
  values (partition_by_month.name, partition_by_month.time_column, partition_by_month.months_ahead);
  perform private.make_partition(partition_by_month.name, null);
  perform private.make_months(partition_by_month.name);
end;
$$;
comment on function private.partition_by_month(text, text, integer) is
  'Called once by the migration that makes a table partitioned by range of a time: its default partition, and the first months. Retention makes and drops the others (migration 53).';
revoke execute on function private.partition_by_month(text, text, integer) from public;

create table public.agent_versions (
  id uuid primary key default gen_random_uuid(),
  agent_slug text not null references public.agents (slug) on delete cascade,
  version text not null,
  configuration jsonb not null,
  created_by uuid references public.users (id) on delete set null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- The versions of an agent (also the foreign key).
  constraint version_is_unique_within_an_agent unique (agent_slug, version)
);

-- Foreign key.
create index agent_versions_created_by_idx on public.agent_versions (created_by);

create table archive.agent_versions (like public.agent_versions including defaults);
alter table archive.agent_versions add column archived_at timestamptz not null default now(), add primary key (id);
-- Deleted after a year.
create index agent_versions_archived_at_idx on archive.agent_versions (archived_at);
-- What goes with its agent.
create index agent_versions_agent_idx on archive.agent_versions (agent_slug);
comment on table archive.agent_versions is 'Versions of agents beyond the last ten.';

-- Triggers -----------------------------------------------------------------------------------------------------------

create trigger refuse_change before update of id, agent_slug, version, configuration, created_at on public.agent_versions
for each row execute function private.refuse_change();
create trigger set_updated_at before update on public.agent_versions
for each row execute function public.set_updated_at();

create function private.agent_configuration(agent public.agents) returns jsonb
language sql immutable set search_path = ''
as $$
  select to_jsonb(agent) - array['slug', 'organization_slug', 'owner_user_id', 'owner_type', 'version', 'status', 'deployed_at',
    'container_id', 'resource_limits', 'created_at', 'updated_at'];
$$;
comment on function private.agent_configuration(public.agents) is 'What a version of an agent consists of: everything but who has it, its state and its times.';
revoke execute on function private.agent_configuration(public.agents) from public;
grant execute on function private.agent_configuration(public.agents) to authenticated, service_role;

create function private.raise_agent_version() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_old constant integer[] := string_to_array(old.version, '.')::integer[];
  v_new constant integer[] := string_to_array(new.version, '.')::integer[];
begin
  if v_new < v_old then
    raise exception using errcode = '22023', message = 'version_must_rise',
      detail = format('Agent "%s" is at version %s; %s is lower.', old.slug, old.version, new.version),
      hint = 'Leave version out for the next patch number, or send a higher one. restore_agent_version brings an old configuration back.';
  end if;
  if v_new = v_old and private.agent_configuration(new) is distinct from private.agent_configuration(old) then
    new.version := format('%s.%s.%s', v_old[1], v_old[2], v_old[3] + 1);
  end if;
  return new;
end;
$$;
comment on function private.raise_agent_version() is 'Before update: an agent''s version never falls, and each change of configuration has one of its own.';
revoke execute on function private.raise_agent_version() from public;

create trigger raise_version before update on public.agents
for each row execute function private.raise_agent_version();

create function private.keep_agent_version() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  insert into public.agent_versions (agent_slug, version, configuration, created_by)
  values (new.slug, new.version, private.agent_configuration(new), (select u.id from public.users u where u.id = (select auth.uid())));
  with old_versions as (
    delete from public.agent_versions v
    where v.id in (
      select x.id from public.agent_versions x
      where x.agent_slug = new.slug
      order by string_to_array(x.version, '.')::integer[] desc
      offset 10
    )
    returning v.*
  )
  insert into archive.agent_versions (id, agent_slug, version, configuration, created_by, created_at, updated_at)
  select o.id, o.agent_slug, o.version, o.configuration, o.created_by, o.created_at, o.updated_at from old_versions o;
  return null;
end;
$$;
comment on function private.keep_agent_version() is 'After an agent is written with a new version: keeps the snapshot, and moves all but the last ten to the archive.';
revoke execute on function private.keep_agent_version() from public;

create trigger keep_first_version after insert on public.agents
for each row execute function private.keep_agent_version();
create trigger keep_version after update on public.agents
for each row when (old.version is distinct from new.version) execute function private.keep_agent_version();

-- Agents from before this migration get their first version.
insert into public.agent_versions (agent_slug, version, configuration)
select a.slug, a.version, private.agent_configuration(a) from public.agents a;

comment on table public.agent_versions is 'Snapshots of agents'' configurations; the last ten of each.';
comment on column public.agent_versions.configuration is 'The agent''s columns but for slug, owners, version, status and times.';
comment on column public.agent_versions.created_by is 'Who made the change; null for servers and migrations.';

-- Protection ---------------------------------------------------------------------------------------------------------

alter table public.agent_versions enable row level security;
revoke all on public.agent_versions from anon, authenticated, service_role;
grant select on public.agent_versions to authenticated;
grant select, insert, update, delete on public.agent_versions to service_role;

create policy "Whoever reads an agent reads its versions" on public.agent_versions
for select to authenticated
using (exists (select from public.agents a where a.slug = agent_slug));

-- Functions ----------------------------------------------------------------------------------------------------------

create function public.restore_agent_version(agent_slug text, version text) returns public.agents
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_saved public.agents;
  v_agent public.agents;
  v_type text;
begin
  -- As the caller: reading and updating under RLS decide what exists and who may.
  select (jsonb_populate_record(a, v.configuration)).* into v_saved
  from public.agent_versions v
  join public.agents a on a.slug = v.agent_slug
  where v.agent_slug = restore_agent_version.agent_slug and v.version = restore_agent_version.version;
  if not found then
    raise exception using errcode = 'PT404', message = 'version_not_found',
      detail = format('You see no version %s of an agent "%s".', version, agent_slug), hint = 'List agent_versions to see which there are.';
  end if;
  select a.agent_type into v_type from public.agents a where a.slug = restore_agent_version.agent_slug;
  if v_saved.agent_type <> v_type then
    raise exception using errcode = 'PT409', message = 'agent_type_changed',
      detail = format('Version %s of agent "%s" is of type %s; the agent is now of type %s.', version, agent_slug, v_saved.agent_type, v_type),
      hint = 'Create a new agent with the old configuration.';
  end if;
  update public.agents a
  set name = v_saved.name, description = v_saved.description, department = v_saved.department, tags = v_saved.tags,
    io_schema = v_saved.io_schema, capabilities = v_saved.capabilities, context = v_saved.context, endpoint = v_saved.endpoint,
    llm_config = v_saved.llm_config, metadata = v_saved.metadata, framework = v_saved.framework, build_type = v_saved.build_type
  where a.slug = restore_agent_version.agent_slug
  returning a.* into v_agent;
  if not found then
    raise exception using errcode = '42501', message = 'not_allowed',
      detail = format('You may read agent "%s" but not change it.', agent_slug), hint = 'A developer of all its organizations restores a version.';
  end if;
  return v_agent;
end;
$$;
comment on function public.restore_agent_version(text, text) is
  'Brings back the configuration of an earlier version, as a new version, and returns the agent. Called again: nothing changes. Errors: PT404 version_not_found, 42501 not_allowed, PT409 agent_type_changed.';
revoke execute on function public.restore_agent_version(text, text) from public, anon, authenticated;
grant execute on function public.restore_agent_version(text, text) to authenticated, service_role;
