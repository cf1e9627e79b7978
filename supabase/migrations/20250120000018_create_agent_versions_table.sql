-- Agent versions: a snapshot of an agent's configuration at each change of it. The version number only rises; a change that
-- does not raise it gets the next patch number. The last ten stay here, older ones go to the archive.

create schema if not exists archive;
comment on schema archive is 'Rows that retention has taken out of public. Not exposed by PostgREST.';
revoke all on schema archive from public;

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
