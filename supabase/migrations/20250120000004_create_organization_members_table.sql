-- Membership: who may do what in which organization. Rows change only through the functions below.
-- Lock order: the organization's row, then members.

create table public.organization_members (
  organization_slug text not null references public.organizations (slug) on delete cascade,
  user_id uuid not null references public.users (id) on delete cascade,
  role text not null default 'member',
  permissions jsonb not null default '[]',
  joined_at timestamptz not null default now(),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (organization_slug, user_id),
  constraint role_is_known check (role in ('owner', 'admin', 'developer', 'member', 'viewer')),
  constraint permissions_is_an_array check (jsonb_typeof(permissions) = 'array')
);

-- Organizations of a user (private.my_organizations, foreign key).
create index idx_org_members_user_id on public.organization_members (user_id);

-- Triggers -----------------------------------------------------------------------------------------------------------

create trigger set_updated_at before update on public.organization_members
for each row execute function public.set_updated_at();

create function private.keep_an_owner() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_successor uuid;
begin
  -- Everybody who removes an owner waits here, so two owners cannot leave at the same moment.
  perform from public.organizations o where o.slug = old.organization_slug for no key update;
  if not found or exists (
    select from public.organization_members m
    where m.organization_slug = old.organization_slug and m.role = 'owner' and m.user_id <> old.user_id
  ) then
    return coalesce(new, old);
  end if;
  if tg_op = 'DELETE' and not exists (select from public.users u where u.id = old.user_id) then
    -- The account itself is being deleted: the most senior member takes over.
    select m.user_id into v_successor
    from public.organization_members m
    join public.users u on u.id = m.user_id
    where m.organization_slug = old.organization_slug and m.user_id <> old.user_id
    order by u.is_active desc, private.role_rank(m.role) desc, m.joined_at, m.user_id
    limit 1;
    update public.organization_members m set role = 'owner'
    where m.organization_slug = old.organization_slug and m.user_id = v_successor;
    return old;
  end if;
  raise exception using errcode = 'PT409', message = 'last_owner',
    detail = format('User %s is the last owner of organization "%s".', old.user_id, old.organization_slug),
    hint = 'Make somebody else owner first (set_member_role), or delete the organization.';
end;
$$;
comment on function private.keep_an_owner() is 'Before an owner is removed or demoted: the last one must stay. When the account is deleted, the most senior member becomes owner.';
revoke execute on function private.keep_an_owner() from public;

create trigger keep_an_owner_on_update before update of role on public.organization_members
for each row when (old.role = 'owner' and new.role <> 'owner') execute function private.keep_an_owner();
create trigger keep_an_owner_on_delete before delete on public.organization_members
for each row when (old.role = 'owner') execute function private.keep_an_owner();

create function private.sync_namespace_access() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_user_id uuid := case when tg_op = 'DELETE' then old.user_id else new.user_id end;
begin
  update public.users u
  set namespace_access = (
      select coalesce(jsonb_agg(m.organization_slug order by m.organization_slug), '[]')
      from public.organization_members m where m.user_id = v_user_id
    ),
    organization_slug = (
      -- The current organization stays while the user is in it; a first membership becomes it.
      select m.organization_slug from public.organization_members m
      where m.user_id = v_user_id
      order by m.organization_slug is not distinct from u.organization_slug desc, m.joined_at, m.organization_slug
      limit 1
    )
  where u.id = v_user_id;
  return null;
end;
$$;
comment on function private.sync_namespace_access() is 'Derives users.namespace_access from membership and keeps users.organization_slug one of them.';
revoke execute on function private.sync_namespace_access() from public;

create trigger sync_namespace_access after insert or delete on public.organization_members
for each row execute function private.sync_namespace_access();

comment on table public.organization_members is 'Role of each user in each organization: viewer < member < developer < admin < owner.';
comment on column public.organization_members.permissions is 'Further permissions by name (document D); no policy reads it yet.';

-- Protection ---------------------------------------------------------------------------------------------------------

alter table public.organization_members enable row level security;
revoke all on public.organization_members from anon, authenticated, service_role;
grant select on public.organization_members to authenticated;
grant select, insert, update, delete on public.organization_members to service_role;

create policy "Members see who is in their organizations" on public.organization_members
for select to authenticated
using (organization_slug = any (array(select private.my_organizations('viewer'))));

-- Functions of members -----------------------------------------------------------------------------------------------

create function private.create_organization(slug text, name text, description text, url text, settings jsonb)
returns public.organizations
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_user_id uuid := (select auth.uid());
  v_organization public.organizations;
  v_constraint text;
begin
  if not exists (select from public.users u where u.id = v_user_id and u.is_active) then
    raise exception using errcode = '42501', message = 'not_signed_in',
      detail = 'Only an active, signed-in user creates an organization.', hint = 'Sign in through /auth/v1 and send the access token.';
  end if;
  insert into public.organizations (slug, name, description, url, settings, created_by)
  values (
    create_organization.slug, create_organization.name, create_organization.description, create_organization.url,
    coalesce(create_organization.settings, '{}'), v_user_id
  )
  on conflict on constraint organizations_pkey do nothing
  returning * into v_organization;
  if v_organization.slug is null then
    -- A repeated call of the same user finds what the first one made.
    select o.* into v_organization
    from public.organizations o
    where o.slug = create_organization.slug and o.created_by = v_user_id
      and o.slug in (select private.my_organizations('owner'));
    if not found then
      raise exception using errcode = 'PT409', message = 'slug_taken',
        detail = format('The slug "%s" is taken.', slug), hint = 'Choose another slug.';
    end if;
    return v_organization;
  end if;
  insert into public.organization_members (organization_slug, user_id, role)
  values (v_organization.slug, v_user_id, 'owner');
  return v_organization;
exception when check_violation or not_null_violation then
  get stacked diagnostics v_constraint = constraint_name;
  perform private.refuse_value(coalesce(nullif(v_constraint, ''), 'slug_and_name_are_given'), 'organizations');
end;
$$;
comment on function private.create_organization(text, text, text, text, jsonb) is 'Body of public.create_organization.';
revoke execute on function private.create_organization(text, text, text, text, jsonb) from public;
grant execute on function private.create_organization(text, text, text, text, jsonb) to authenticated;

create function public.create_organization(
  slug text, name text, description text default null, url text default null, settings jsonb default '{}'
) returns public.organizations
language sql volatile security invoker set search_path = ''
as $$
  select * from private.create_organization(slug, name, description, url, settings);
$$;
comment on function public.create_organization(text, text, text, text, jsonb) is
  'Creates an organization with the caller as owner and returns it. Called again by the same user: the same row. Errors: PT409 slug_taken, 22023 value_refused for a malformed slug or name.';
revoke execute on function public.create_organization(text, text, text, text, jsonb) from public, anon, authenticated;
grant execute on function public.create_organization(text, text, text, text, jsonb) to authenticated;

create function private.change_membership(organization_slug text, user_id uuid, role text)
returns public.organization_members
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_member public.organization_members;
  v_my_rank integer;
begin
  perform private.require_role(organization_slug, case when user_id = (select auth.uid()) then 'viewer' else 'admin' end);
  perform from public.organizations o where o.slug = change_membership.organization_slug for no key update;
  -- Again under the lock: the caller's own role may have changed while this waited.
  perform private.require_role(organization_slug, case when user_id = (select auth.uid()) then 'viewer' else 'admin' end);
  select m.* into v_member from public.organization_members m
  where m.organization_slug = change_membership.organization_slug and m.user_id = change_membership.user_id;
  if not found then
    raise exception using errcode = 'PT404', message = 'member_not_found',
      detail = format('User %s is not a member of "%s".', user_id, organization_slug), hint = 'List organization_members to see who is.';
  end if;
  if private.is_client() then
    select private.role_rank(m.role) into v_my_rank from public.organization_members m
    where m.organization_slug = change_membership.organization_slug and m.user_id = (select auth.uid());
    if v_my_rank < private.role_rank(v_member.role) or v_my_rank < private.role_rank(coalesce(change_membership.role, 'viewer')) then
      raise exception using errcode = '42501', message = 'role_too_high',
        detail = 'Nobody changes a member above their own role, or raises one above it.', hint = 'Ask an owner.';
    end if;
  end if;
  if change_membership.role is null then
    delete from public.organization_members m
    where m.organization_slug = change_membership.organization_slug and m.user_id = change_membership.user_id;
  else
    update public.organization_members m set role = change_membership.role
    where m.organization_slug = change_membership.organization_slug and m.user_id = change_membership.user_id
    returning m.* into v_member;
  end if;
  return v_member;
end;
$$;
comment on function private.change_membership(text, uuid, text) is 'Sets a member''s role, or removes the member when role is null. Admins act on others up to their own role; everybody on themselves, downwards.';
revoke execute on function private.change_membership(text, uuid, text) from public;
grant execute on function private.change_membership(text, uuid, text) to authenticated, service_role;

create function public.set_member_role(organization_slug text, user_id uuid, role text) returns public.organization_members
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  if private.role_rank(role) is null then
    raise exception using errcode = '22023', message = 'unknown_role',
      detail = format('"%s" is not a role.', role), hint = 'Use viewer, member, developer, admin or owner.';
  end if;
  return private.change_membership(organization_slug, user_id, role);
end;
$$;
comment on function public.set_member_role(text, uuid, text) is
  'Sets a member''s role (admin and higher, never above the caller''s own). Errors: 42501, PT404 member_not_found, PT409 last_owner, 22023 unknown_role.';
revoke execute on function public.set_member_role(text, uuid, text) from public, anon, authenticated;
grant execute on function public.set_member_role(text, uuid, text) to authenticated, service_role;

create function public.remove_member(organization_slug text, user_id uuid) returns public.organization_members
language sql volatile security invoker set search_path = ''
as $$
  select * from private.change_membership(organization_slug, user_id, null);
$$;
comment on function public.remove_member(text, uuid) is 'Removes a member (admin and higher) and returns the row that was. Errors: 42501, PT404 member_not_found, PT409 last_owner.';
revoke execute on function public.remove_member(text, uuid) from public, anon, authenticated;
grant execute on function public.remove_member(text, uuid) to authenticated, service_role;

create function public.leave_organization(organization_slug text) returns public.organization_members
language sql volatile security invoker set search_path = ''
as $$
  select * from private.change_membership(organization_slug, (select auth.uid()), null);
$$;
comment on function public.leave_organization(text) is 'The caller leaves. Errors: 42501 when not a member, PT409 last_owner.';
revoke execute on function public.leave_organization(text) from public, anon, authenticated;
grant execute on function public.leave_organization(text) to authenticated;

create function private.set_organization_limits(organization_slug text, limits jsonb) returns public.organizations
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_organization public.organizations;
  v_constraint text;
begin
  perform private.require_role(organization_slug, 'admin');
  update public.organizations o
  set settings = jsonb_set(o.settings, '{limits}', limits)
  where o.slug = set_organization_limits.organization_slug
  returning o.* into v_organization;
  return v_organization;
exception when check_violation or not_null_violation then
  get stacked diagnostics v_constraint = constraint_name;
  perform private.refuse_value(coalesce(nullif(v_constraint, ''), 'limits_are_given'), 'organizations');
end;
$$;
comment on function private.set_organization_limits(text, jsonb) is 'Body of public.set_organization_limits.';
revoke execute on function private.set_organization_limits(text, jsonb) from public;
grant execute on function private.set_organization_limits(text, jsonb) to authenticated, service_role;

create function public.set_organization_limits(organization_slug text, limits jsonb) returns public.organizations
language sql volatile security invoker set search_path = ''
as $$
  select * from private.set_organization_limits(organization_slug, limits);
$$;
comment on function public.set_organization_limits(text, jsonb) is
  'Replaces settings.limits, e.g. {"max_agents": 100} (admin and higher), and returns the organization. Errors: 42501, 22023 value_refused, unknown_setting.';
revoke execute on function public.set_organization_limits(text, jsonb) from public, anon, authenticated;
grant execute on function public.set_organization_limits(text, jsonb) to authenticated, service_role;
