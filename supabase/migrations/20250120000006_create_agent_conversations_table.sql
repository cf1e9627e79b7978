-- Conversations between a user and an agent, and who else takes part.

create table public.agent_conversations (
  id uuid primary key default gen_random_uuid(),
  organization_slug text not null references public.organizations (slug) on delete cascade,
  user_id uuid not null default auth.uid() references public.users (id) on delete cascade,
  agent_slug text references public.agents (slug) on delete set null,
  agent_name text not null,
  agent_type text not null,
  title text,
  status text not null default 'active',
  started_at timestamptz not null default now(),
  ended_at timestamptz,
  last_active_at timestamptz not null default now(),
  last_message_at timestamptz,
  metadata jsonb not null default '{}',
  primary_work_product_type text,
  primary_work_product_id uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint status_is_known check (status in ('active', 'archived', 'ended')),
  constraint ended_conversations_have_ended_at check ((status = 'ended') = (ended_at is not null)),
  constraint title_and_agent_are_short check (length(title) <= 500 and length(agent_name) <= 255 and length(agent_type) <= 50),
  constraint metadata_is_a_small_object check (jsonb_typeof(metadata) = 'object' and pg_column_size(metadata) <= 262144),
  constraint primary_work_product_type_is_known check (primary_work_product_type in ('deliverable', 'project')),
  constraint primary_work_product_has_type_and_id check ((primary_work_product_type is null) = (primary_work_product_id is null))
);

-- A user's recent conversations; also serves the policy's user_id.
create index idx_conversations_user_recent on public.agent_conversations (user_id, last_message_at desc);
-- An organization's recent conversations, as its admins list them (policies, foreign key).
create index agent_conversations_organization_recent_idx on public.agent_conversations (organization_slug, last_message_at desc);
-- Conversations with an agent (foreign key).
create index agent_conversations_agent_idx on public.agent_conversations (agent_slug);
-- The conversation whose work product this is.
create index agent_conversations_work_product_idx on public.agent_conversations (primary_work_product_type, primary_work_product_id)
where primary_work_product_id is not null;

create table public.conversation_participants (
  id uuid primary key default gen_random_uuid(),
  conversation_id uuid not null references public.agent_conversations (id) on delete cascade,
  participant_type text not null generated always as (case when user_id is null then 'agent' else 'user' end) stored,
  user_id uuid references public.users (id) on delete cascade,
  agent_slug text references public.agents (slug) on delete cascade,
  joined_at timestamptz not null default now(),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint participant_is_one_user_or_one_agent check ((user_id is null) <> (agent_slug is null)),
  constraint user_takes_part_once unique (conversation_id, user_id),
  constraint agent_takes_part_once unique (conversation_id, agent_slug)
);

-- Conversations a user takes part in (private.my_shared_conversations, foreign key).
create index conversation_participants_user_idx on public.conversation_participants (user_id) where user_id is not null;
-- Conversations an agent takes part in (foreign key).
create index conversation_participants_agent_idx on public.conversation_participants (agent_slug) where agent_slug is not null;

-- Helpers ------------------------------------------------------------------------------------------------------------

create function private.my_shared_conversations() returns setof uuid
language sql stable security definer set search_path = '' rows 10
as $$
  select p.conversation_id from public.conversation_participants p where p.user_id = (select auth.uid())
  union
  select c.id
  from public.agent_conversations c
  where c.user_id = (select auth.uid())
    and exists (select from public.conversation_participants p where p.conversation_id = c.id and p.user_id is not null);
$$;
comment on function private.my_shared_conversations() is 'Conversations that the caller shares with others, as participant or as owner; policies use it as a set, always together with membership of the organization.';
revoke execute on function private.my_shared_conversations() from public;
grant execute on function private.my_shared_conversations() to authenticated, service_role;

create function private.my_organization_or_default(organization_slug text) returns text
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_slug text := coalesce(
    organization_slug, (select u.organization_slug from public.users u where u.id = (select auth.uid()))
  );
begin
  if v_slug is null then
    raise exception using errcode = '22023', message = 'organization_missing',
      detail = 'No organization_slug was given, and the caller has no current organization.',
      hint = 'Send organization_slug, or join or create an organization first (accept_invitation, create_organization).';
  end if;
  perform private.require_role(v_slug, 'member');
  return v_slug;
end;
$$;
comment on function private.my_organization_or_default(text) is 'The slug given, else the caller''s current organization; 42501 unless the caller may create things there.';
revoke execute on function private.my_organization_or_default(text) from public;
grant execute on function private.my_organization_or_default(text) to authenticated, service_role;

create function private.require_own_user_id(user_id uuid) returns void
language plpgsql stable security invoker set search_path = ''
as $$
begin
  if private.is_client() and user_id is distinct from (select auth.uid()) then
    raise exception using errcode = '42501', message = 'user_id_is_not_yours',
      detail = format('user_id is %s, but the caller is %s.', user_id, (select auth.uid())),
      hint = 'Leave user_id out: it is taken from the access token.';
  end if;
end;
$$;
comment on function private.require_own_user_id(uuid) is 'Raises 42501 user_id_is_not_yours when a client writes a row in another user''s name.';
revoke execute on function private.require_own_user_id(uuid) from public;
grant execute on function private.require_own_user_id(uuid) to authenticated, service_role;

create function private.usable_agent(agent_slug text, organization_slug text, user_id uuid) returns public.agents
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_agent public.agents;
begin
  select a.* into v_agent
  from public.agents a
  where a.slug = usable_agent.agent_slug
    and (a.organization_slug @> array[usable_agent.organization_slug] or a.owner_user_id = usable_agent.user_id);
  if not found then
    raise exception using errcode = 'PT404', message = 'agent_not_found',
      detail = format('Organization "%s" has no agent "%s".', organization_slug, agent_slug),
      hint = 'List the agents you can use: GET /rest/v1/agents?select=slug,name&status=eq.active.';
  end if;
  if v_agent.status <> 'active' then
    raise exception using errcode = 'PT409', message = 'agent_inactive',
      detail = format('Agent "%s" is %s.', agent_slug, v_agent.status), hint = 'A developer sets its status to active.';
  end if;
  return v_agent;
end;
$$;
comment on function private.usable_agent(text, text, uuid) is
  'The active agent that this user may run in this organization. PT404 agent_not_found (also for agents of others), PT409 agent_inactive.';
revoke execute on function private.usable_agent(text, text, uuid) from public;
grant execute on function private.usable_agent(text, text, uuid) to authenticated, service_role;

create function private.agent_by_name(agent_name text, organization_slug text, user_id uuid) returns text
language sql stable security invoker set search_path = ''
as $$
  select coalesce((
    select a.slug from public.agents a
    where agent_by_name.agent_name in (a.slug, a.name)
      and (a.organization_slug @> array[agent_by_name.organization_slug] or a.owner_user_id = agent_by_name.user_id)
    order by a.slug = agent_by_name.agent_name desc, a.status = 'active' desc, a.slug
    limit 1
  ), agent_by_name.agent_name);
$$;
comment on function private.agent_by_name(text, text, uuid) is
  'Slug of the agent that document B''s agent_name means: a slug or a name in this organization; the name itself when there is none, null for null.';
revoke execute on function private.agent_by_name(text, text, uuid) from public;
grant execute on function private.agent_by_name(text, text, uuid) to authenticated, service_role;

-- Triggers -----------------------------------------------------------------------------------------------------------

create trigger set_updated_at before update on public.agent_conversations
for each row execute function public.set_updated_at();
create trigger check_json before insert or update of metadata on public.agent_conversations
for each row execute function private.check_json('metadata');
create trigger set_updated_at before update on public.conversation_participants
for each row execute function public.set_updated_at();

create function private.prepare_conversation() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_agent public.agents;
begin
  perform private.require_own_user_id(new.user_id);
  new.organization_slug := private.my_organization_or_default(new.organization_slug);
  new.agent_slug := coalesce(new.agent_slug, private.agent_by_name(new.agent_name, new.organization_slug, new.user_id));
  if new.agent_slug is not null then
    v_agent := private.usable_agent(new.agent_slug, new.organization_slug, new.user_id);
    new.agent_name := v_agent.name;
    new.agent_type := v_agent.agent_type;
  else
    raise exception using errcode = '22023', message = 'agent_missing',
      detail = 'A conversation is with an agent, and this one names none.', hint = 'Send agent_slug, e.g. "blog-post-writer" (agent_name is looked up too).';
  end if;
  perform private.enforce_limit(new.organization_slug, 'max_conversations');
  return new;
end;
$$;
comment on function private.prepare_conversation() is 'Before insert: fills organization, agent_name and agent_type, and refuses what the caller may not use or what is over the limit.';
revoke execute on function private.prepare_conversation() from public;

create trigger prepare_conversation before insert on public.agent_conversations
for each row execute function private.prepare_conversation();

create function private.stamp_conversation_end() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  new.ended_at := case when new.status = 'ended' then private.clock() end;
  return new;
end;
$$;
comment on function private.stamp_conversation_end() is 'Keeps ended_at in step with status.';
revoke execute on function private.stamp_conversation_end() from public;

create trigger stamp_conversation_end before update of status on public.agent_conversations
for each row when (old.status is distinct from new.status) execute function private.stamp_conversation_end();

create function private.check_participant() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_conversation public.agent_conversations;
begin
  select c.* into v_conversation from public.agent_conversations c where c.id = new.conversation_id;
  if private.is_client() and (
    v_conversation.id is null or v_conversation.user_id <> (select auth.uid())
    or v_conversation.organization_slug not in (select private.my_organizations('member'))
  ) then
    raise exception using errcode = 'PT404', message = 'conversation_not_found',
      detail = format('You have no conversation %s.', new.conversation_id), hint = 'Only the user who began a conversation adds participants.';
  end if;
  if new.user_id is not null and not exists (
    select from public.organization_members m
    where m.user_id = new.user_id and m.organization_slug = v_conversation.organization_slug
  ) or new.agent_slug is not null and not exists (
    select from public.agents a
    where a.slug = new.agent_slug
      and (a.organization_slug @> array[v_conversation.organization_slug] or a.owner_user_id = v_conversation.user_id)
  ) then
    raise exception using errcode = 'PT404', message = 'participant_not_found',
      detail = format('Organization "%s" has no such user or agent.', v_conversation.organization_slug),
      hint = 'Participants are members or agents of the conversation''s organization.';
  end if;
  return new;
end;
$$;
comment on function private.check_participant() is 'Before insert: only the conversation''s owner adds participants, and only from the same organization.';
revoke execute on function private.check_participant() from public;

create trigger check_participant before insert on public.conversation_participants
for each row execute function private.check_participant();

comment on table public.agent_conversations is 'Conversations with an agent; private to their user, the participants, and the organization''s admins.';
comment on column public.agent_conversations.agent_name is 'The agent''s name when the conversation began; filled from agent_slug.';
comment on column public.agent_conversations.agent_type is 'The agent''s type when the conversation began; filled from agent_slug.';
comment on column public.agent_conversations.last_active_at is 'Last task or message.';
comment on column public.agent_conversations.primary_work_product_id is 'The deliverable or project (primary_work_product_type) this conversation is about.';
comment on table public.conversation_participants is 'Further users and agents in a conversation. Users here read the conversation and may post tasks into it.';

-- Protection ---------------------------------------------------------------------------------------------------------

alter table public.agent_conversations enable row level security;
revoke all on public.agent_conversations from anon, authenticated, service_role;
grant select, delete on public.agent_conversations to authenticated;
grant insert (
  id, organization_slug, user_id, agent_slug, agent_name, agent_type, title, metadata, primary_work_product_type, primary_work_product_id
) on public.agent_conversations to authenticated;
grant update (title, status, metadata, primary_work_product_type, primary_work_product_id) on public.agent_conversations to authenticated;
grant select, insert, update, delete on public.agent_conversations to service_role;

create policy "Users, participants and admins read conversations" on public.agent_conversations
for select to authenticated
using (
  organization_slug = any (array(select private.my_organizations('viewer')))
  and (user_id = (select auth.uid()) or id = any (array(select private.my_shared_conversations())))
  or organization_slug = any (array(select private.my_organizations('admin')))
);

create policy "Members begin conversations" on public.agent_conversations
for insert to authenticated
with check (user_id = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('member'))));

create policy "Users change their own conversations" on public.agent_conversations
for update to authenticated
using (user_id = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('member'))))
with check (user_id = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('member'))));

create policy "Users delete their own conversations" on public.agent_conversations
for delete to authenticated
using (user_id = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('member'))));

alter table public.conversation_participants enable row level security;
revoke all on public.conversation_participants from anon, authenticated, service_role;
grant select, delete on public.conversation_participants to authenticated;
grant insert (conversation_id, user_id, agent_slug) on public.conversation_participants to authenticated;
grant select, insert, update, delete on public.conversation_participants to service_role;

create policy "Whoever reads a conversation sees who takes part" on public.conversation_participants
for select to authenticated
using (exists (select from public.agent_conversations c where c.id = conversation_id));

create policy "Users add participants to their own conversations" on public.conversation_participants
for insert to authenticated
with check (exists (select from public.agent_conversations c where c.id = conversation_id and c.user_id = (select auth.uid())));

create policy "Users remove participants, and participants leave" on public.conversation_participants
for delete to authenticated
using (exists (
  select from public.agent_conversations c
  where c.id = conversation_id and (
    conversation_participants.user_id = (select auth.uid())
    or c.user_id = (select auth.uid()) and c.organization_slug = any (array(select private.my_organizations('member')))
  )
));
