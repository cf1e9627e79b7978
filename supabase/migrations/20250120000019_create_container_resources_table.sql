-- Container resources of agents (document E): what an agent's container may use follows from its owner's tier, for every writer.
-- Lock order: whoever changes a tier holds the row of the organization or user, then waits for transactions that add agents.

create table public.container_resources (
  id uuid primary key default gen_random_uuid(),
  agent_slug text not null unique references public.agents (slug) on delete cascade,
  subscription_tier text not null,
  cpu_limit integer not null,
  memory_limit_mb integer not null,
  network_isolation text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint subscription_tier_is_known check (subscription_tier in ('basic', 'pro', 'enterprise')),
  constraint network_isolation_is_known check (network_isolation in ('shared', 'isolated')),
  constraint check_resource_limits check (
    (subscription_tier = 'basic' and cpu_limit = 1 and memory_limit_mb = 2048)
    or (subscription_tier = 'pro' and cpu_limit = 4 and memory_limit_mb = 8192)
    or (subscription_tier = 'enterprise' and cpu_limit = 16 and memory_limit_mb = 32768)
  ),
  constraint check_network_isolation check (
    (subscription_tier = 'enterprise' and network_isolation = 'isolated')
    or (subscription_tier in ('basic', 'pro') and network_isolation = 'shared')
  )
);

-- Reports by tier.
create index idx_container_resources_tier on public.container_resources (subscription_tier);

create trigger set_updated_at before update on public.container_resources
for each row execute function public.set_updated_at();

create function private.set_container_resources(slugs text[]) returns void
language sql volatile security definer set search_path = ''
as $$
  insert into public.container_resources as r (agent_slug, subscription_tier, cpu_limit, memory_limit_mb, network_isolation)
  select t.slug, t.tier,
    case t.tier when 'basic' then 1 when 'pro' then 4 else 16 end,
    case t.tier when 'basic' then 2048 when 'pro' then 8192 else 32768 end,
    case t.tier when 'enterprise' then 'isolated' else 'shared' end
  from (
    select a.slug, coalesce(
      (select u.subscription_tier from public.users u where u.id = a.owner_user_id),
      (
        select o.subscription_tier from public.organizations o where o.slug = any (a.organization_slug)
        order by array_position(array['enterprise', 'pro', 'basic'], o.subscription_tier) limit 1
      ),
      'basic'
    ) as tier
    from public.agents a
    where a.slug = any (slugs)
    order by a.slug
  ) t
  on conflict (agent_slug) do update
  set subscription_tier = excluded.subscription_tier, cpu_limit = excluded.cpu_limit,
    memory_limit_mb = excluded.memory_limit_mb, network_isolation = excluded.network_isolation
  where r.subscription_tier <> excluded.subscription_tier;
$$;
comment on function private.set_container_resources(text[]) is 'Derives the resources of agents from their owners'' tiers; of several organizations the highest counts.';
revoke execute on function private.set_container_resources(text[]) from public;

create function private.follow_owner() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  -- Until this transaction ends no tier changes; whoever just changes one is waited for, and then read as it is.
  perform pg_advisory_xact_lock_shared(hashtext('container_resources'), 0);
  if tg_op = 'INSERT' then
    perform private.set_container_resources(array(select n.slug from new_rows n));
  else
    perform private.set_container_resources(array[new.slug]);
  end if;
  return null;
end;
$$;
comment on function private.follow_owner() is 'After agents are added or change owners: their container_resources.';
revoke execute on function private.follow_owner() from public;

create function private.follow_tier() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  -- One at a time: of two organizations that share an agent each would else see the other's old tier.
  perform pg_advisory_xact_lock(hashtext('container_resources'), 0);
  if tg_table_name = 'users' then
    perform private.set_container_resources(array(select a.slug from public.agents a where a.owner_user_id = new.id));
  else
    perform private.set_container_resources(array(select a.slug from public.agents a where a.organization_slug @> array[new.slug]));
  end if;
  return null;
end;
$$;
comment on function private.follow_tier() is 'After the tier of an organization or a user changes: the container_resources of all their agents, in one statement.';
revoke execute on function private.follow_tier() from public;

create trigger follow_owner_on_insert after insert on public.agents
referencing new table as new_rows
for each statement execute function private.follow_owner();
create trigger follow_owner_on_update after update of organization_slug, owner_user_id on public.agents
for each row execute function private.follow_owner();
create trigger follow_tier after update of subscription_tier on public.organizations
for each row when (old.subscription_tier <> new.subscription_tier) execute function private.follow_tier();
create trigger follow_tier after update of subscription_tier on public.users
for each row when (old.subscription_tier <> new.subscription_tier) execute function private.follow_tier();

-- Agents from before this migration get theirs.
select private.set_container_resources(array(select a.slug from public.agents a));

comment on table public.container_resources is 'What an agent''s container may use; one row per agent, derived from its owner''s subscription tier.';
comment on column public.container_resources.cpu_limit is 'Cores.';

alter table public.container_resources enable row level security;
revoke all on public.container_resources from anon, authenticated, service_role;
grant select on public.container_resources to authenticated;
grant select, insert, update, delete on public.container_resources to service_role;

create policy "Whoever reads an agent reads its resources" on public.container_resources
for select to authenticated
using (exists (select from public.agents a where a.slug = agent_slug));

-- Less than the tier allows --------------------------------------------------------------------------------------------

create function private.resource_limits_are_valid(resource_limits jsonb) returns boolean
language sql immutable set search_path = ''
as $$
  select coalesce(
    resource_limits - array['cpu_limit', 'memory_limit_mb'] = '{}'
    and not jsonb_path_exists(resource_limits, 'strict $.* ? (!(@.type() == "number" && @ >= 1 && @ <= 1000000 && @ == @.floor()))', '{}', true), false);
$$;
comment on function private.resource_limits_are_valid(jsonb) is 'True for {cpu_limit?: cores, memory_limit_mb?: megabytes}, whole numbers from 1 to 1000000, and nothing else.';
revoke execute on function private.resource_limits_are_valid(jsonb) from public;
grant execute on function private.resource_limits_are_valid(jsonb) to authenticated, service_role;

alter table public.agents
add constraint resource_limits_are_cpu_limit_and_memory_limit_mb check (resource_limits is null or private.resource_limits_are_valid(resource_limits));
comment on column public.agents.resource_limits is
  'What operators allow this agent less than its tier: {cpu_limit, memory_limit_mb}. More than the tier counts for nothing; see agent_containers.';

create view public.agent_containers with (security_invoker = true) as
select a.slug as agent_slug, a.organization_slug, a.owner_user_id, a.status, a.version, a.framework, a.build_type, a.container_id, a.deployed_at,
  r.subscription_tier,
  least(r.cpu_limit, (a.resource_limits ->> 'cpu_limit')::integer) as cpu_limit,
  least(r.memory_limit_mb, (a.resource_limits ->> 'memory_limit_mb')::integer) as memory_limit_mb,
  r.network_isolation,
  jsonb_build_object(
    'AGENT_SLUG', a.slug, 'AGENT_VERSION', a.version, 'SUBSCRIPTION_TIER', r.subscription_tier,
    'CPU_LIMIT', least(r.cpu_limit, (a.resource_limits ->> 'cpu_limit')::integer)::text,
    'MEMORY_LIMIT_MB', least(r.memory_limit_mb, (a.resource_limits ->> 'memory_limit_mb')::integer)::text,
    'NETWORK_ISOLATION', r.network_isolation
  ) as environment
from public.agents a
join public.container_resources r on r.agent_slug = a.slug;
comment on view public.agent_containers is
  'For whoever starts the containers of agents: the limits that hold, the lower of tier and resource_limits, and the container''s environment, which has no secrets.';
comment on column public.agent_containers.cpu_limit is 'Cores.';
revoke all on public.agent_containers from anon, authenticated, service_role;
grant select on public.agent_containers to authenticated, service_role;
