-- Users: the profile beside auth.users. Passwords, e-mail and sign-in belong to Auth; triggers keep this row in step.

create table public.users (
  id uuid primary key references auth.users (id) on delete cascade,
  email text unique,
  display_name text,
  first_name text,
  last_name text,
  role text,
  roles jsonb not null default '["user"]',
  system_role text not null default 'USER',
  namespace_access jsonb not null default '[]',
  status text not null default 'active',
  is_active boolean not null generated always as (status = 'active') stored,
  subscription_tier text not null default 'basic',
  organization_slug text references public.organizations (slug) on delete set null,
  email_verified boolean not null default false,
  last_login_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint roles_is_an_array check (jsonb_typeof(roles) = 'array'),
  constraint namespace_access_is_an_array check (jsonb_typeof(namespace_access) = 'array'),
  constraint system_role_is_known check (system_role in ('USER', 'SYSTEM_ADMIN')),
  constraint status_is_known check (status in ('active', 'suspended', 'deactivated')),
  constraint subscription_tier_is_known check (subscription_tier in ('basic', 'pro', 'enterprise')),
  constraint names_are_short check (length(display_name) <= 255 and length(first_name) <= 100 and length(last_name) <= 100)
);

-- Reports by tier.
create index idx_users_subscription_tier on public.users (subscription_tier);
-- Newest first.
create index idx_users_created_at on public.users (created_at);
-- Users whose current organization is deleted (foreign key).
create index users_organization_idx on public.users (organization_slug);

alter table public.organizations
add constraint organizations_created_by_fkey foreign key (created_by) references public.users (id) on delete set null;
alter table public.agents
add constraint agents_owner_user_id_fkey foreign key (owner_user_id) references public.users (id) on delete cascade;

-- Triggers -----------------------------------------------------------------------------------------------------------

create trigger set_updated_at before update on public.users
for each row execute function public.set_updated_at();

create function private.sync_user() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  insert into public.users as u (id, email, email_verified, last_login_at, display_name, first_name, last_name)
  values (
    new.id, nullif(lower(new.email), ''), new.email_confirmed_at is not null, new.last_sign_in_at,
    left(coalesce(new.raw_user_meta_data ->> 'display_name', new.raw_user_meta_data ->> 'full_name', new.raw_user_meta_data ->> 'name'), 255),
    left(new.raw_user_meta_data ->> 'first_name', 100), left(new.raw_user_meta_data ->> 'last_name', 100)
  )
  on conflict (id) do update
  set email = excluded.email, email_verified = excluded.email_verified, last_login_at = excluded.last_login_at;
  return null;
end;
$$;
comment on function private.sync_user() is 'Keeps public.users in step with auth.users. Names are taken from the sign-up''s data once; afterwards they are the user''s to change here.';
revoke execute on function private.sync_user() from public;

create trigger sync_user after insert or update of email, email_confirmed_at, last_sign_in_at on auth.users
for each row execute function private.sync_user();

-- People who signed up before this migration.
insert into public.users (id, email, email_verified, last_login_at)
select id, nullif(lower(email), ''), email_confirmed_at is not null, last_sign_in_at from auth.users
on conflict (id) do nothing;

create function private.check_current_organization() returns trigger
language plpgsql stable security definer set search_path = ''
as $$
begin
  if not exists (
    select from public.organization_members m where m.organization_slug = new.organization_slug and m.user_id = new.id
  ) then
    raise exception using errcode = '42501', message = 'not_allowed',
      detail = format('User %s is not a member of organization "%s".', new.id, new.organization_slug),
      hint = 'Choose one of your own: GET /rest/v1/organization_members?select=organization_slug.';
  end if;
  return new;
end;
$$;
comment on function private.check_current_organization() is 'A user''s current organization must be one of their own.';
revoke execute on function private.check_current_organization() from public;

create trigger check_current_organization before update of organization_slug on public.users
for each row when (new.organization_slug is not null and new.organization_slug is distinct from old.organization_slug)
execute function private.check_current_organization();

comment on table public.users is 'Profiles of auth.users (same id). Role, tier and status are the platform''s to set, never the user''s.';
comment on column public.users.email is 'Lower case, from auth.users; null for phone and anonymous sign-ins.';
comment on column public.users.role is 'Platform label of document B; what a user may do is organization_members.role.';
comment on column public.users.roles is 'Platform labels of document B; what a user may do is organization_members.role.';
comment on column public.users.namespace_access is 'Slugs of the user''s organizations, sorted; kept by a trigger on organization_members.';
comment on column public.users.organization_slug is 'Current organization: the default for what the user creates.';
comment on column public.users.status is 'Anything but active sees no organization at all.';

-- Protection ---------------------------------------------------------------------------------------------------------

alter table public.users enable row level security;
revoke all on public.users from anon, authenticated, service_role;
grant select on public.users to authenticated;
grant update (display_name, first_name, last_name, organization_slug) on public.users to authenticated;
grant select, insert, update, delete on public.users to service_role;

create policy "Users read themselves" on public.users
for select to authenticated
using (id = (select auth.uid()));

create policy "Users change their own profile" on public.users
for update to authenticated
using (id = (select private.my_active_id()))
with check (id = (select private.my_active_id()));
