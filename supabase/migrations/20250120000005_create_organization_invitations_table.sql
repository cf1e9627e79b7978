-- Invitations: how people join an organization. Only a hash of the token is kept; it works once, for one address, until it expires.

create table public.organization_invitations (
  id uuid primary key default gen_random_uuid(),
  organization_slug text not null references public.organizations (slug) on delete cascade,
  email text not null,
  role text not null default 'member',
  token_hash text not null unique,
  invited_by uuid references public.users (id) on delete set null,
  expires_at timestamptz not null,
  accepted_at timestamptz,
  accepted_by uuid references public.users (id) on delete set null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint email_is_an_address_in_lower_case check (email = lower(email) and email ~ '^[^@\s]+@[^@\s]+$' and length(email) <= 255),
  constraint role_is_known check (role in ('owner', 'admin', 'developer', 'member', 'viewer'))
);

-- One open invitation per address and organization.
create unique index organization_invitations_open_idx on public.organization_invitations (organization_slug, email) where accepted_at is null;
-- An organization's newest invitations (policies, foreign key).
create index organization_invitations_organization_idx on public.organization_invitations (organization_slug, created_at desc);
-- Foreign keys.
create index organization_invitations_invited_by_idx on public.organization_invitations (invited_by);
create index organization_invitations_accepted_by_idx on public.organization_invitations (accepted_by);

create trigger set_updated_at before update on public.organization_invitations
for each row execute function public.set_updated_at();

create function private.withdraw_invitations() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  delete from public.organization_invitations i
  where i.organization_slug = old.organization_slug and i.invited_by = old.user_id and i.accepted_at is null
    and (tg_op = 'DELETE' or private.role_rank(new.role) < greatest(private.role_rank('admin'), private.role_rank(i.role)));
  return null;
end;
$$;
comment on function private.withdraw_invitations() is 'After a member leaves or is demoted: the open invitations that they may no longer give end.';
revoke execute on function private.withdraw_invitations() from public;
create trigger withdraw_invitations after delete or update of role on public.organization_members
for each row execute function private.withdraw_invitations();

comment on table public.organization_invitations is 'Invitations by e-mail address. create_invitation gives the token once; accept_invitation turns it into a membership.';
comment on column public.organization_invitations.token_hash is 'SHA-256 of the token, hex. The token itself is stored nowhere.';

alter table public.organization_invitations enable row level security;
revoke all on public.organization_invitations from anon, authenticated, service_role;
grant select (id, organization_slug, email, role, invited_by, expires_at, accepted_at, accepted_by, created_at, updated_at)
on public.organization_invitations to authenticated;
grant delete on public.organization_invitations to authenticated;
grant select, insert, update, delete on public.organization_invitations to service_role;

create policy "Admins read invitations" on public.organization_invitations
for select to authenticated
using (organization_slug = any (array(select private.my_organizations('admin'))));

create policy "Admins withdraw invitations" on public.organization_invitations
for delete to authenticated
using (organization_slug = any (array(select private.my_organizations('admin'))));

-- Functions ----------------------------------------------------------------------------------------------------------

create function private.create_invitation(organization_slug text, email text, role text, expires_in interval) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
#variable_conflict use_column
declare
  v_token text := replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '');
  v_invitation public.organization_invitations;
  v_constraint text;
begin
  -- Under the lock of change_membership, so that a member who is just being removed invites nobody.
  perform from public.organizations o where o.slug = create_invitation.organization_slug for share;
  perform private.require_role(create_invitation.organization_slug, 'admin');
  if create_invitation.role = 'owner' or exists (
    select from public.organization_invitations i
    where i.organization_slug = create_invitation.organization_slug and i.email = lower(btrim(create_invitation.email))
      and i.accepted_at is null and i.role = 'owner'
  ) then
    perform private.require_role(create_invitation.organization_slug, 'owner');
  end if;
  insert into public.organization_invitations as i (organization_slug, email, role, token_hash, invited_by, expires_at)
  values (
    create_invitation.organization_slug, lower(btrim(create_invitation.email)), create_invitation.role,
    encode(sha256(convert_to(v_token, 'UTF8')), 'hex'), (select auth.uid()), private.clock() + expires_in
  )
  on conflict (organization_slug, email) where accepted_at is null do update
  set role = excluded.role, token_hash = excluded.token_hash, invited_by = excluded.invited_by, expires_at = excluded.expires_at
  returning i.* into v_invitation;
  return to_jsonb(v_invitation) - 'token_hash' || jsonb_build_object('token', v_token);
exception when check_violation or not_null_violation then
  get stacked diagnostics v_constraint = constraint_name;
  perform private.refuse_value(coalesce(nullif(v_constraint, ''), 'email_is_given'), 'organization_invitations');
end;
$$;
comment on function private.create_invitation(text, text, text, interval) is 'Body of public.create_invitation.';
revoke execute on function private.create_invitation(text, text, text, interval) from public;
grant execute on function private.create_invitation(text, text, text, interval) to authenticated, service_role;

create function public.create_invitation(organization_slug text, email text, role text default 'member', expires_in interval default '7 days')
returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  if private.role_rank(role) is null then
    raise exception using errcode = '22023', message = 'unknown_role',
      detail = format('"%s" is not a role.', role), hint = 'Use viewer, member, developer, admin or owner.';
  end if;
  if expires_in is null or expires_in <= interval '0' or expires_in > interval '90 days' then
    raise exception using errcode = '22023', message = 'expires_in_out_of_range',
      detail = 'An invitation lives between a moment and 90 days.', hint = 'Leave expires_in out for 7 days.';
  end if;
  return private.create_invitation(organization_slug, email, role, expires_in);
end;
$$;
comment on function public.create_invitation(text, text, text, interval) is
  'Invites an e-mail address (admin and higher; owners by owners) and returns the invitation with its token, shown this once. Called again for the same address: a new token, the old one is void.';
revoke execute on function public.create_invitation(text, text, text, interval) from public, anon, authenticated;
grant execute on function public.create_invitation(text, text, text, interval) to authenticated, service_role;

create function private.accept_invitation(token text) returns public.organization_members
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_invitation public.organization_invitations;
  v_member public.organization_members;
begin
  select i.* into v_invitation
  from public.organization_invitations i
  join public.users u on u.id = (select auth.uid()) and u.email = i.email and u.is_active
  where i.token_hash = encode(sha256(convert_to(token, 'UTF8')), 'hex')
    and (i.accepted_at is null and i.expires_at > private.clock() or i.accepted_by = u.id)
  for update of i;
  if not found then
    raise exception using errcode = 'PT404', message = 'invitation_not_found',
      detail = 'No invitation for your e-mail address has this token: it is unknown, used, replaced or expired.',
      hint = 'Ask an admin of the organization for a new invitation.';
  end if;
  if v_invitation.accepted_at is null then
    update public.organization_invitations i
    set accepted_at = private.clock(), accepted_by = (select auth.uid())
    where i.id = v_invitation.id;
    insert into public.organization_members (organization_slug, user_id, role)
    values (v_invitation.organization_slug, (select auth.uid()), v_invitation.role)
    on conflict do nothing;
  end if;
  select m.* into v_member
  from public.organization_members m
  where m.organization_slug = v_invitation.organization_slug and m.user_id = (select auth.uid());
  if not found then
    raise exception using errcode = 'PT409', message = 'invitation_used',
      detail = 'This invitation was used, and the membership it gave has ended.', hint = 'Ask an admin of the organization for a new invitation.';
  end if;
  return v_member;
end;
$$;
comment on function private.accept_invitation(text) is 'Body of public.accept_invitation. Locks the invitation, so that a token works once.';
revoke execute on function private.accept_invitation(text) from public;
grant execute on function private.accept_invitation(text) to authenticated;

create function public.accept_invitation(token text) returns public.organization_members
language sql volatile security invoker set search_path = ''
as $$
  select * from private.accept_invitation(token);
$$;
comment on function public.accept_invitation(text) is
  'Joins the organization the token invites the caller''s e-mail address to, and returns the membership (an existing one keeps its role). Called again: the same. Errors: PT404 invitation_not_found.';
revoke execute on function public.accept_invitation(text) from public, anon, authenticated;
grant execute on function public.accept_invitation(text) to authenticated;
