-- Remote tasks: which task of an A2A server does the work of a task of ours, so that an attempt that is lost with its worker
-- is followed up by the next one instead of being sent again; and in which context of the server a conversation goes on.
-- A checkpoint cannot hold this: it is written with a pause, and here the attempt still runs.
-- Lock order: task, then its remote task, then the conversation's context.

-- Tables -------------------------------------------------------------------------------------------------------------

create table private.remote_tasks (
  task_id uuid primary key references public.tasks (id) on delete cascade,
  server text not null,
  message_id text not null,
  remote_task_id text,
  context_id text,
  created_at timestamptz not null default now(),
  constraint server_is_not_huge check (octet_length(server) <= 8192),
  constraint message_id_is_short check (length(message_id) <= 200),
  constraint remote_ids_are_short check (length(remote_task_id) <= 512 and length(context_id) <= 512)
);

create table private.remote_contexts (
  agent_conversation_id uuid not null references public.agent_conversations (id) on delete cascade,
  agent_slug text not null references public.agents (slug) on delete cascade,
  server text not null,
  context_id text not null,
  updated_at timestamptz not null default now(),
  primary key (agent_conversation_id, agent_slug),
  constraint server_is_not_huge check (octet_length(server) <= 8192),
  constraint context_id_is_short check (length(context_id) <= 512)
);

-- Contexts of an agent (foreign key).
create index remote_contexts_agent_idx on private.remote_contexts (agent_slug);

comment on table private.remote_tasks is
  'The task of an A2A server that works for a task of ours. Written by the worker that holds the lease, read by the next attempt; gone with the task.';
comment on column private.remote_tasks.server is 'agents.endpoint.url when the message was sent: another server knows nothing of these ids.';
comment on column private.remote_tasks.message_id is
  'The id of the message that was sent last, or is to be sent: the same one when it must be sent again, so that the server can recognise it.';
comment on column private.remote_tasks.remote_task_id is 'The server''s id; null until it has answered.';
comment on column private.remote_tasks.context_id is 'The server''s context, the conversation''s if it has one there.';
comment on table private.remote_contexts is
  'In which context of an agent''s A2A server a conversation goes on: the next task there continues it. Only servers see it.';

-- Protection ---------------------------------------------------------------------------------------------------------

revoke all on private.remote_tasks from anon, authenticated, service_role;
revoke all on private.remote_contexts from anon, authenticated, service_role;
grant select, insert, update, delete on private.remote_tasks to service_role;
grant select, insert, update, delete on private.remote_contexts to service_role;

-- Functions of workers -------------------------------------------------------------------------------------------------

create function private.hold_leased_task(task_id uuid, attempt integer, lease_token uuid) returns public.tasks
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_task public.tasks;
begin
  select t.* into v_task
  from public.tasks t
  where t.id = hold_leased_task.task_id and t.status = 'in_progress' and t.attempt = hold_leased_task.attempt
    and t.lease_token = hold_leased_task.lease_token and t.lease_expires_at > private.clock()
  for key share;
  if not found then
    raise exception using errcode = 'PT409', message = 'lease_lost',
      detail = format('Attempt %s of task %s is not in force under this lease_token.', hold_leased_task.attempt, hold_leased_task.task_id),
      hint = 'Stop the attempt: another worker may have it.';
  end if;
  return v_task;
end;
$$;
comment on function private.hold_leased_task(uuid, integer, uuid) is
  'The fence for one task: returns it, locked against being claimed, or raises PT409 lease_lost.';
revoke execute on function private.hold_leased_task(uuid, integer, uuid) from public;
grant execute on function private.hold_leased_task(uuid, integer, uuid) to service_role;

create function public.begin_remote_task(task_id uuid, attempt integer, lease_token uuid, server text) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_task constant public.tasks := private.hold_leased_task(begin_remote_task.task_id, begin_remote_task.attempt, begin_remote_task.lease_token);
begin
  delete from private.remote_tasks r where r.task_id = v_task.id and r.server <> begin_remote_task.server;
  insert into private.remote_tasks (task_id, server, message_id, context_id)
  values (
    v_task.id, begin_remote_task.server, v_task.id || '.' || v_task.attempt,
    (
      select c.context_id from private.remote_contexts c
      where c.agent_conversation_id = v_task.agent_conversation_id and c.agent_slug = v_task.agent_slug and c.server = begin_remote_task.server
    )
  )
  on conflict on constraint remote_tasks_pkey do nothing;
  return (
    select jsonb_build_object('message_id', r.message_id, 'remote_task_id', r.remote_task_id, 'context_id', r.context_id)
    from private.remote_tasks r
    where r.task_id = v_task.id
  );
end;
$$;
comment on function public.begin_remote_task(uuid, integer, uuid, text) is
  'Before a worker sends a task to an A2A server: {message_id, remote_task_id, context_id}. With a remote_task_id the server has it already. Errors: PT409 lease_lost.';
revoke execute on function public.begin_remote_task(uuid, integer, uuid, text) from public, anon, authenticated;
grant execute on function public.begin_remote_task(uuid, integer, uuid, text) to service_role;

create function public.keep_remote_task(
  task_id uuid, attempt integer, lease_token uuid, message_id text, remote_task_id text, context_id text
) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_task constant public.tasks := private.hold_leased_task(keep_remote_task.task_id, keep_remote_task.attempt, keep_remote_task.lease_token);
  v_server text;
begin
  update private.remote_tasks r
  set message_id = keep_remote_task.message_id, remote_task_id = keep_remote_task.remote_task_id, context_id = keep_remote_task.context_id
  where r.task_id = v_task.id
  returning r.server into v_server;
  insert into private.remote_contexts (agent_conversation_id, agent_slug, server, context_id)
  select v_task.agent_conversation_id, v_task.agent_slug, v_server, keep_remote_task.context_id
  where v_server is not null and v_task.agent_conversation_id is not null and v_task.agent_slug is not null and keep_remote_task.context_id is not null
  on conflict on constraint remote_contexts_pkey do update
  set server = excluded.server, context_id = excluded.context_id, updated_at = private.clock();
end;
$$;
comment on function public.keep_remote_task(uuid, integer, uuid, text, text, text) is
  'Once an A2A server has taken a message: the ids under which it goes on, also for the next task of the conversation. Errors: PT409 lease_lost.';
revoke execute on function public.keep_remote_task(uuid, integer, uuid, text, text, text) from public, anon, authenticated;
grant execute on function public.keep_remote_task(uuid, integer, uuid, text, text, text) to service_role;

create function public.forget_remote_task(task_id uuid, attempt integer, lease_token uuid) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_task constant public.tasks := private.hold_leased_task(forget_remote_task.task_id, forget_remote_task.attempt, forget_remote_task.lease_token);
begin
  delete from private.remote_tasks r where r.task_id = v_task.id;
end;
$$;
comment on function public.forget_remote_task(uuid, integer, uuid) is
  'Before an attempt ends whose remote task is over or gone: the next attempt sends a new message. Errors: PT409 lease_lost.';
revoke execute on function public.forget_remote_task(uuid, integer, uuid) from public, anon, authenticated;
grant execute on function public.forget_remote_task(uuid, integer, uuid) to service_role;
