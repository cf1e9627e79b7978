-- Container resources and marketplace integrations of agents (document E).

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

create function private.set_container_resources(agents public.agents[]) returns void
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
    from unnest(agents) a
  ) t
  on conflict (agent_slug) do update
  set subscription_tier = excluded.subscription_tier, cpu_limit = excluded.cpu_limit,
    memory_limit_mb = excluded.memory_limit_mb, network_isolation = excluded.network_isolation
  where r.subscription_tier <> excluded.subscription_tier;
$$;
comment on function private.set_container_resources(public.agents[]) is 'Derives the resources of agents from their owners'' tiers; of several organizations the highest counts.';
revoke execute on function private.set_container_resources(public.agents[]) from public;

create function private.follow_tier() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  if tg_table_name = 'agents' then
    perform private.set_container_resources(array[new]::public.agents[]);
  elsif tg_table_name = 'users' then
    perform private.set_container_resources(array(select a from public.agents a where a.owner_user_id = new.id));
  else
    perform private.set_container_resources(array(select a from public.agents a where a.organization_slug @> array[new.slug]));
  end if;
  return null;
end;
$$;
comment on function private.follow_tier() is 'After an agent is written, or a tier changes: brings container_resources in step.';
revoke execute on function private.follow_tier() from public;

create trigger follow_tier_on_insert after insert on public.agents
for each row execute function private.follow_tier();
create trigger follow_tier_on_update after update of organization_slug, owner_user_id on public.agents
for each row execute function private.follow_tier();
create trigger follow_tier after update of subscription_tier on public.organizations
for each row when (old.subscription_tier <> new.subscription_tier) execute function private.follow_tier();
create trigger follow_tier after update of subscription_tier on public.users
for each row when (old.subscription_tier <> new.subscription_tier) execute function private.follow_tier();

-- Agents from before this migration get theirs.
select private.set_container_resources(array(select a from public.agents a));

comment on table public.container_resources is 'What an agent''s container may use; one row per agent, derived from its owner''s subscription tier.';
comment on column public.container_resources.cpu_limit is 'Cores.';

alter table public.container_resources enable row level security;
revoke all on public.container_resources from anon, authenticated, service_role;
grant select on public.container_resources to authenticated;
grant select, insert, update, delete on public.container_resources to service_role;

create policy "Whoever reads an agent reads its resources" on public.container_resources
for select to authenticated
using (exists (select from public.agents a where a.slug = agent_slug));

-- Marketplaces -------------------------------------------------------------------------------------------------------

create table public.marketplace_integrations (
  id uuid primary key default gen_random_uuid(),
  agent_slug text not null references public.agents (slug) on delete cascade,
  marketplace_name text not null default 'hyphrki',
  marketplace_agent_id text,
  status text not null default 'pending',
  published_at timestamptz,
  unpublished_at timestamptz,
  usage_metrics jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- The integrations of an agent (also the foreign key).
  constraint agent_is_once_on_a_marketplace unique (agent_slug, marketplace_name),
  constraint status_is_known check (status in ('pending', 'published', 'unpublished', 'error')),
  constraint names_are_short check (length(marketplace_name) <= 50 and length(marketplace_agent_id) <= 255),
  constraint published_means_published_at check (status <> 'published' or published_at is not null),
  constraint unpublished_means_unpublished_at check (status <> 'unpublished' or unpublished_at is not null),
  constraint usage_metrics_is_an_object check (jsonb_typeof(usage_metrics) = 'object')
);

-- What is published, what waits.
create index idx_marketplace_status on public.marketplace_integrations (status);

create trigger set_updated_at before update on public.marketplace_integrations
for each row execute function public.set_updated_at();

comment on table public.marketplace_integrations is 'An agent on a marketplace. Developers ask for it (status pending); the adapter publishes and keeps the metrics.';

alter table public.marketplace_integrations enable row level security;
revoke all on public.marketplace_integrations from anon, authenticated, service_role;
grant select, delete on public.marketplace_integrations to authenticated;
grant insert (agent_slug, marketplace_name) on public.marketplace_integrations to authenticated;
grant select, insert, update, delete on public.marketplace_integrations to service_role;

create function private.my_changeable_agents() returns setof text
language sql stable security definer set search_path = ''
as $$
  select a.slug from public.agents a
  where a.owner_user_id = (select private.my_active_id())
    or (a.owner_user_id is null and a.organization_slug && array(select private.my_organizations('developer'))
      and a.organization_slug <@ array(select private.my_organizations('developer')));
$$;
comment on function private.my_changeable_agents() is 'Slugs of the agents that the caller may change: their own, and those whose organizations they all develop for.';
revoke execute on function private.my_changeable_agents() from public;
grant execute on function private.my_changeable_agents() to authenticated, service_role;

create policy "Whoever reads an agent sees where it is published" on public.marketplace_integrations
for select to authenticated
using (exists (select from public.agents a where a.slug = agent_slug));

create policy "Whoever changes an agent asks for its publication" on public.marketplace_integrations
for insert to authenticated
with check (agent_slug = any (array(select private.my_changeable_agents())));

create policy "Whoever changes an agent withdraws a request" on public.marketplace_integrations
for delete to authenticated
using (status in ('pending', 'error') and agent_slug = any (array(select private.my_changeable_agents())));
