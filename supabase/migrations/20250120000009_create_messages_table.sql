-- Messages of a conversation. A task posted into a conversation writes the user's message; its completion the agent's.

create table public.messages (
  id uuid primary key default gen_random_uuid(),
  conversation_id uuid not null references public.agent_conversations (id) on delete cascade,
  sender_type text not null default 'user',
  receiver_type text not null default 'agent',
  sender_user_id uuid references public.users (id) on delete set null,
  sender_agent_slug text references public.agents (slug) on delete set null,
  content text not null,
  task_id uuid references public.tasks (id) on delete set null,
  metadata jsonb not null default '{}',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default now(),
  constraint sender_type_is_known check (sender_type in ('user', 'orchestrator', 'agent', 'system')),
  constraint receiver_type_is_known check (receiver_type in ('user', 'orchestrator', 'agent', 'system')),
  constraint sender_id_matches_sender_type check (
    (sender_user_id is null or sender_type = 'user') and (sender_agent_slug is null or sender_type in ('agent', 'orchestrator'))
  ),
  constraint content_is_not_huge check (octet_length(content) <= 10485760),
  constraint metadata_is_a_small_object check (jsonb_typeof(metadata) = 'object' and pg_column_size(metadata) <= 262144)
);

-- A conversation in order (also the foreign key).
create index idx_messages_conversation_time on public.messages (conversation_id, created_at);
-- Foreign keys.
create index messages_task_idx on public.messages (task_id) where task_id is not null;
create index messages_sender_user_idx on public.messages (sender_user_id) where sender_user_id is not null;
create index messages_sender_agent_idx on public.messages (sender_agent_slug) where sender_agent_slug is not null;

-- Triggers -----------------------------------------------------------------------------------------------------------

create trigger set_updated_at before update on public.messages
for each row execute function public.set_updated_at();

create function private.touch_conversations() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  -- In the order of ids, so that two writers of the same conversations never wait for each other in a circle.
  perform from public.agent_conversations c
  where c.id in (select n.conversation_id from new_rows n)
  order by c.id
  for no key update;
  update public.agent_conversations c
  set last_message_at = greatest(c.last_message_at, n.newest), last_active_at = greatest(c.last_active_at, n.newest)
  from (select conversation_id, max(created_at) as newest from new_rows group by conversation_id) n
  where c.id = n.conversation_id;
  return null;
end;
$$;
comment on function private.touch_conversations() is 'After messages are written: keeps last_message_at and last_active_at of their conversations.';
revoke execute on function private.touch_conversations() from public;

create trigger touch_conversations after insert on public.messages
referencing new table as new_rows
for each statement execute function private.touch_conversations();

create function private.record_prompts() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  insert into public.messages (conversation_id, sender_type, receiver_type, sender_user_id, content, task_id)
  select n.agent_conversation_id, 'user', 'agent', n.user_id, n.prompt, n.id
  from new_rows n
  -- What an orchestrator is told and asks for stands there already (private.take_message).
  where n.agent_conversation_id is not null and n.method <> 'orchestrate' and n.metadata ->> 'asked_by' is distinct from 'orchestrator_agent'
  order by n.agent_conversation_id;
  return null;
end;
$$;
comment on function private.record_prompts() is 'After tasks are inserted into conversations: their prompts become the user''s messages.';
revoke execute on function private.record_prompts() from public;

create trigger record_prompts after insert on public.tasks
referencing new table as new_rows
for each statement execute function private.record_prompts();

create function private.conversation_history(conversation_id uuid, before_task_id uuid) returns jsonb
language sql stable security invoker set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object('role', h.role, 'content', h.content) order by h.created_at, h.id), '[]')
  from (
    select m.id, m.created_at, m.content,
      case when m.sender_type = 'user' then 'user' else 'assistant' end as role,
      sum(octet_length(m.content)) over (order by m.created_at desc, m.id desc) as bytes
    from (
      select * from public.messages x
      where x.conversation_id = conversation_history.conversation_id
        and x.task_id is distinct from conversation_history.before_task_id
        and x.created_at <= coalesce(
          (select min(p.created_at) from public.messages p where p.task_id = conversation_history.before_task_id), 'infinity')
      order by x.created_at desc, x.id desc
      limit 50
    ) m
  ) h
  where h.bytes <= 262144;
$$;
comment on function private.conversation_history(uuid, uuid) is
  'What was said in a conversation before this task, oldest first: at most the last 50 messages and 256 KiB, as [{role: user|assistant, content}].';
revoke execute on function private.conversation_history(uuid, uuid) from public;
grant execute on function private.conversation_history(uuid, uuid) to service_role;

comment on table public.messages is 'What was said in a conversation, by whom. Clients read; tasks and workers write.';
comment on column public.messages.created_at is 'Time of the statement, so that messages of one transaction stay in order.';

-- Protection ---------------------------------------------------------------------------------------------------------

alter table public.messages enable row level security;
revoke all on public.messages from anon, authenticated, service_role;
grant select on public.messages to authenticated;
grant select, insert, update, delete on public.messages to service_role;

create policy "Whoever reads a conversation reads its messages" on public.messages
for select to authenticated
using (exists (select from public.agent_conversations c where c.id = conversation_id));
