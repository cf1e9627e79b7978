-- Organizations: the tenants. Also the few helpers that every later room uses (schema private, clock, roles).
-- The helpers that read public.organization_members are plpgsql, so that they may stand before the table does.

create schema if not exists private;
comment on schema private is 'Helpers of policies, triggers and RPCs. Not exposed by PostgREST; security definer functions live only here.';
revoke all on schema private from public;
grant usage on schema private to authenticated, service_role;

-- Helpers ------------------------------------------------------------------------------------------------------------

create function private.clock() returns timestamptz
language plpgsql stable set search_path = ''
as $$
begin
  -- In plpgsql, where an expression costs a third of a query: an exchange of a worker asks ten times.
  return now() + coalesce(nullif(current_setting('orchestrator.clock_offset', true), ''), '0')::interval;
end;
$$;
comment on function private.clock() is
  'The one source of time for rules (leases, schedules, expiry): the transaction''s start, moved by the setting orchestrator.clock_offset, which only tests set.';
revoke execute on function private.clock() from public;
grant execute on function private.clock() to authenticated, service_role;

create function private.is_client() returns boolean
language sql stable set search_path = ''
as $$
  select coalesce(current_setting('role', true), 'none') in ('anon', 'authenticated');
$$;
comment on function private.is_client() is
  'True for a request from a browser or app (roles anon and authenticated), also inside security definer functions; false for service_role, migrations, psql and organization_worker, which calls nothing but scoped_* functions.';
revoke execute on function private.is_client() from public;
grant execute on function private.is_client() to authenticated, service_role;

create function private.uuid_or_null(value text) returns uuid
language sql immutable set search_path = ''
as $$
  select (substring(value from '(?i)^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$'))::uuid;
$$;
comment on function private.uuid_or_null(text) is 'The uuid that a text spells, null when it spells none.';
revoke execute on function private.uuid_or_null(text) from public;
grant execute on function private.uuid_or_null(text) to authenticated, service_role;

create function private.uuid_head() returns text
language sql volatile set search_path = ''
as $$
  select substr(h.milliseconds, 1, 8) || '-' || substr(h.milliseconds, 9, 4) || '-7'
  from (select lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0')) h (milliseconds);
$$;
comment on function private.uuid_head() is
  'The first 15 characters of a version 7 uuid (RFC 9562) of this moment; the rest is substr(gen_random_uuid()::text, 16). Rows with such keys stand together in their indexes, which keeps writing cheap.';
revoke execute on function private.uuid_head() from public;
grant execute on function private.uuid_head() to authenticated, service_role;

create function private.role_rank(role text) returns integer
language sql immutable set search_path = ''
as $$
  select array_position(array['viewer', 'member', 'developer', 'admin', 'owner'], role);
$$;
comment on function private.role_rank(text) is 'Rank of a role in an organization: viewer 1 < member 2 < developer 3 < admin 4 < owner 5; null for anything else.';
revoke execute on function private.role_rank(text) from public;
grant execute on function private.role_rank(text) to authenticated, service_role;

create function private.my_organizations(minimum_role text default 'viewer') returns setof text
language plpgsql stable security definer set search_path = '' rows 5
as $$
begin
  return query
  select m.organization_slug
  from public.organization_members m
  join public.organizations o on o.slug = m.organization_slug and o.is_active
  join public.users u on u.id = m.user_id and u.is_active
  where m.user_id = (select auth.uid())
    and private.role_rank(m.role) >= private.role_rank(minimum_role);
end;
$$;
comment on function private.my_organizations(text) is
  'Slugs of the active organizations where the caller has at least this role. Policies use it as a set: organization_slug = any (array(select private.my_organizations(''member''))). Read from the table at each request, so that a change of membership acts at once.';
revoke execute on function private.my_organizations(text) from public;
grant execute on function private.my_organizations(text) to authenticated, service_role;

create function private.my_active_id() returns uuid
language plpgsql stable security definer set search_path = ''
as $$
begin
  return (select u.id from public.users u where u.id = (select auth.uid()) and u.is_active);
end;
$$;
comment on function private.my_active_id() is 'The caller''s id, null for a suspended or deactivated user. For policies on rows that belong to a user outside every organization.';
revoke execute on function private.my_active_id() from public;
grant execute on function private.my_active_id() to authenticated, service_role;

create function private.require_role(organization_slug text, minimum_role text) returns void
language plpgsql stable security invoker set search_path = ''
as $$
begin
  if not private.is_client() or organization_slug in (select private.my_organizations(minimum_role)) then
    return;
  end if;
  raise exception using errcode = '42501', message = 'not_allowed',
    detail = format('This needs the role %s or higher in organization "%s".', minimum_role, organization_slug),
    hint = 'Check the slug, or ask an admin of that organization for an invitation or a higher role.';
end;
$$;
comment on function private.require_role(text, text) is
  'Raises 42501 not_allowed unless the caller is a server or has at least this role there. An unknown organization gives the same answer as a foreign one.';
revoke execute on function private.require_role(text, text) from public;
grant execute on function private.require_role(text, text) to authenticated, service_role;

create function public.set_updated_at() returns trigger
language plpgsql security invoker set search_path = ''
as $$
begin
  new.updated_at := now();
  return new;
end;
$$;
comment on function public.set_updated_at() is 'Before update: keeps updated_at. One function for every table.';
revoke execute on function public.set_updated_at() from public, anon, authenticated;

create function private.refuse_value(constraint_name text, table_name text) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  raise exception using errcode = '22023', message = 'value_refused',
    detail = format('A value breaks the rule "%s" of %s.', replace(constraint_name, '_', ' '), table_name),
    hint = 'Correct the arguments; docs/errors.md lists the rules.';
end;
$$;
comment on function private.refuse_value(text, text) is
  'Raises 22023 value_refused for a broken constraint. Functions that write with more rights than their caller use it, since Postgres''s own message would show the whole row.';
revoke execute on function private.refuse_value(text, text) from public;
grant execute on function private.refuse_value(text, text) to authenticated, service_role;

create function private.limits_are_numbers(settings jsonb) returns boolean
language sql immutable set search_path = ''
as $$
  select case jsonb_typeof(settings -> 'limits')
    when 'object' then not exists (
      select from jsonb_each(settings -> 'limits') l
      where jsonb_typeof(l.value) <> 'number' or (l.value #>> '{}')::numeric < 0
    )
    else settings -> 'limits' is null
  end;
$$;
comment on function private.limits_are_numbers(jsonb) is 'True when settings.limits is absent or an object of numbers that are not negative.';
revoke execute on function private.limits_are_numbers(jsonb) from public;
grant execute on function private.limits_are_numbers(jsonb) to authenticated, service_role;

create function private.allowed_hosts_are_patterns(settings jsonb) returns boolean
language sql immutable set search_path = ''
as $$
  select case
    when settings -> 'network' is null then true
    when jsonb_typeof(settings -> 'network') <> 'object' then false
    when settings #> '{network,allowed_hosts}' is null then true
    when jsonb_typeof(settings #> '{network,allowed_hosts}') <> 'array' then false
    else jsonb_array_length(settings #> '{network,allowed_hosts}') <= 100 and not exists (
      select from jsonb_array_elements(settings #> '{network,allowed_hosts}') h (host)
      where jsonb_typeof(h.host) <> 'string'
        or length(h.host #>> '{}') > 253
        or (h.host #>> '{}') !~* '^(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$'
    )
  end;
$$;
comment on function private.allowed_hosts_are_patterns(jsonb) is
  'True when settings.network is absent or an object whose allowed_hosts is absent or a list of at most 100 hosts: api.acme.com, or *.acme.com for all below it; IDNs in their xn-- form.';
revoke execute on function private.allowed_hosts_are_patterns(jsonb) from public;
grant execute on function private.allowed_hosts_are_patterns(jsonb) to authenticated, service_role;

create function private.check_settings() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_group text;
  v_name text;
  v_known text[];
begin
  select g.name, k.name, g.known into v_group, v_name, v_known
  from (
    values
      ('limits', array['max_agents', 'max_conversations', 'max_concurrent_tasks', 'max_monthly_cost']),
      ('network', array['allowed_hosts'])
  ) g (name, known)
  cross join lateral jsonb_object_keys(
    case when jsonb_typeof(new.settings -> g.name) = 'object' then new.settings -> g.name else '{}' end
  ) k (name)
  where k.name <> all (g.known)
  limit 1;
  if found then
    raise exception using errcode = '22023', message = 'unknown_setting',
      detail = format('settings.%s has no "%s": it would limit nothing.', v_group, left(v_name, 100)),
      hint = format('Known are: %s.', array_to_string(v_known, ', '));
  end if;
  return new;
end;
$$;
comment on function private.check_settings() is
  'Before insert and update: refuses names in settings.limits and settings.network that nothing reads, since a misspelt limit limits nothing.';
revoke execute on function private.check_settings() from public;

create function private.json_is_plain(value jsonb) returns boolean
language sql immutable set search_path = ''
as $$
  select value is null or (
    not value @? 'strict $.**{65}'
    and not exists (
      select from jsonb_path_query(value, 'strict $.** ? (@.type() == "number")') n (item)
      where abs(n.item::numeric) > 1e308 or scale(n.item::numeric) > 400
    )
  );
$$;
comment on function private.json_is_plain(jsonb) is
  'True for JSON at most 64 levels deep whose numbers are at most 1e308 with at most 400 decimals: others are short here and gigabytes when printed.';
revoke execute on function private.json_is_plain(jsonb) from public;
grant execute on function private.json_is_plain(jsonb) to authenticated, service_role;

create function private.check_json() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_row constant jsonb := to_jsonb(new);
  v_column text;
begin
  foreach v_column in array tg_argv loop
    if not private.json_is_plain(v_row -> v_column) then
      raise exception using errcode = '22023', message = 'json_not_plain',
        detail = format('%s has a number beyond 1e308 or with more than 400 decimals, or more than 64 levels.', v_column),
        hint = 'Send such numbers as text, and flatter JSON.';
    end if;
  end loop;
  return new;
end;
$$;
comment on function private.check_json() is 'Before insert and update: refuses JSON that is not plain (private.json_is_plain) in the columns that the arguments name.';
revoke execute on function private.check_json() from public;

-- Table --------------------------------------------------------------------------------------------------------------

create table public.organizations (
  slug text primary key,
  id uuid not null default gen_random_uuid() unique,
  name text not null,
  description text,
  url text,
  settings jsonb not null default '{}',
  subscription_tier text not null default 'basic',
  subscription_info jsonb not null default '{}',
  created_by uuid,
  is_active boolean not null default true,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint slug_is_lower_case_words check (slug ~ '^[a-z0-9][a-z0-9_-]{1,62}$'),
  constraint name_is_not_blank check (btrim(name) <> '' and length(name) <= 255),
  constraint settings_is_a_small_object check (jsonb_typeof(settings) = 'object' and pg_column_size(settings) <= 65536),
  constraint limits_are_numbers check (private.limits_are_numbers(settings)),
  constraint allowed_hosts_are_host_patterns check (private.allowed_hosts_are_patterns(settings)),
  constraint subscription_info_is_an_object check (jsonb_typeof(subscription_info) = 'object'),
  constraint subscription_tier_is_known check (subscription_tier in ('basic', 'pro', 'enterprise'))
);

-- Lookup by name.
create index idx_organizations_name on public.organizations (name);
-- Newest first.
create index idx_organizations_created_at on public.organizations (created_at);
-- settings @> '{"features": ["api-agents"]}'.
create index idx_organizations_settings on public.organizations using gin (settings);
-- Reports by tier.
create index idx_organizations_subscription_tier on public.organizations (subscription_tier);
-- Organizations a user created (foreign key).
create index organizations_created_by_idx on public.organizations (created_by);

create trigger check_json before insert or update of settings on public.organizations
for each row execute function private.check_json('settings');
create trigger check_settings before insert or update of settings on public.organizations
for each row execute function private.check_settings();
create trigger set_updated_at before update on public.organizations
for each row execute function public.set_updated_at();

comment on table public.organizations is 'Tenants. Everything of a tenant carries its slug; members see it by their role in organization_members.';
comment on column public.organizations.slug is 'Human-readable key, e.g. acme-corp. Never changes.';
comment on column public.organizations.id is 'Stable uuid for systems that want one.';
comment on column public.organizations.settings is
  'theme, features[], preferences, limits {max_agents, max_conversations, max_concurrent_tasks, max_monthly_cost}, network {allowed_hosts: the only hosts that agents may call, e.g. ["api.acme.com", "*.acme.com"]}. A missing limit means none; over a limit is PT429. max_monthly_cost is in US dollars for each calendar month (UTC). Admins set limits (set_organization_limits).';
comment on column public.organizations.subscription_info is 'plan, status, currentPeriodStart, currentPeriodEnd, cancelAtPeriodEnd; written by the platform.';
comment on column public.organizations.is_active is 'False: members see and do nothing there, and no task of it is claimed.';

-- Protection ---------------------------------------------------------------------------------------------------------

alter table public.organizations enable row level security;
revoke all on public.organizations from anon, authenticated, service_role;
grant select, delete on public.organizations to authenticated;
grant update (name, description, url, settings) on public.organizations to authenticated;
grant select, insert, update, delete on public.organizations to service_role;

create policy "Members read their organizations" on public.organizations
for select to authenticated
using (slug = any (array(select private.my_organizations('viewer'))));

create policy "Owners change their organization" on public.organizations
for update to authenticated
using (slug = any (array(select private.my_organizations('owner'))))
with check (slug = any (array(select private.my_organizations('owner'))));

create policy "Owners delete their organization" on public.organizations
for delete to authenticated
using (slug = any (array(select private.my_organizations('owner'))));
