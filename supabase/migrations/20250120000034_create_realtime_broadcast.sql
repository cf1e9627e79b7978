-- Live updates: inserted and changed rows of tasks, task_events, messages, input_requests and project_steps are broadcast from the
-- database to private topics of Supabase Realtime: user:<id>, organization:<slug> (for its admins) and project:<id> (docs/realtime.md).
-- Where there is no Realtime nothing of this fires; private.enable_realtime() says so, and may be called again once there is.
-- A broadcast is a hint: ids and states, no bodies. It never fails a write, and whoever missed it reads the rows.

create view private.active_members with (security_invoker = true) as
select m.organization_slug, m.user_id, m.role
from public.organization_members m
join public.organizations o on o.slug = m.organization_slug and o.is_active
join public.users u on u.id = m.user_id and u.is_active;
comment on view private.active_members is 'Members who may read at this moment: neither they nor the organization are switched off. The same rule as private.my_organizations.';
revoke all on private.active_members from anon, authenticated, service_role;

-- Who hears what -----------------------------------------------------------------------------------------------------
-- Decided anew at each broadcast, as the policies of the tables decide it at each query.

create function private.task_topics(task_ids uuid[]) returns table (task_id uuid, topic text, to_user boolean)
language sql stable security invoker set search_path = '' rows 100
as $$
  select t.id, 'user:' || r.user_id, true
  from public.tasks t
  cross join lateral (
    select t.user_id
    union
    select p.user_id from public.conversation_participants p where p.conversation_id = t.agent_conversation_id
    union
    select c.user_id
    from public.agent_conversations c
    where c.id = t.agent_conversation_id
      and exists (select from public.conversation_participants p where p.conversation_id = c.id and p.user_id is not null)
  ) r
  join private.active_members m on m.organization_slug = t.organization_slug and m.user_id = r.user_id
  where t.id = any (task_ids) and not private.method_is_internal(t.method)
  union all
  select t.id, 'organization:' || o.slug, false
  from public.tasks t
  join public.organizations o on o.slug = t.organization_slug and o.is_active
  where t.id = any (task_ids) and not private.method_is_internal(t.method);
$$;
comment on function private.task_topics(uuid[]) is
  'Where changes of these tasks and of what hangs on them are broadcast: to everybody who may read the task, and to the organization''s admins; not those of the database''s own tasks.';
revoke execute on function private.task_topics(uuid[]) from public;

create function private.conversation_topics(conversation_ids uuid[]) returns table (conversation_id uuid, topic text)
language sql stable security invoker set search_path = '' rows 100
as $$
  select c.id, 'user:' || r.user_id
  from public.agent_conversations c
  cross join lateral (
    select c.user_id
    union
    select p.user_id from public.conversation_participants p where p.conversation_id = c.id
  ) r
  join private.active_members m on m.organization_slug = c.organization_slug and m.user_id = r.user_id
  where c.id = any (conversation_ids)
  union all
  select c.id, 'organization:' || o.slug
  from public.agent_conversations c
  join public.organizations o on o.slug = c.organization_slug and o.is_active
  where c.id = any (conversation_ids);
$$;
comment on function private.conversation_topics(uuid[]) is 'Where messages of these conversations are broadcast: to everybody who may read them, and to the organization''s admins.';
revoke execute on function private.conversation_topics(uuid[]) from public;

create function private.may_receive(topic text) returns boolean
language plpgsql stable security invoker set search_path = ''
as $$
begin
  return case split_part(topic, ':', 1)
    when 'user' then topic = 'user:' || private.my_active_id()
    when 'organization' then substr(topic, 14) = any (array(select private.my_organizations('admin')))
    when 'orchestrator' then exists (select from public.orchestrator_agents o where o.id = private.uuid_or_null(substr(topic, 14)))
    when 'project' then exists (select from public.projects p where p.id = private.uuid_or_null(substr(topic, 9))) -- as far as RLS shows it
    else false
  end;
end;
$$;
comment on function private.may_receive(text) is
  'Whether the caller may join this topic; false for topics that are not ours. Realtime asks when a channel is joined and when its token is renewed.';
revoke execute on function private.may_receive(text) from public;
grant execute on function private.may_receive(text) to authenticated;

-- Sending ------------------------------------------------------------------------------------------------------------

create function private.broadcast(table_name text, operation text, topics text[], records jsonb[]) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  perform realtime.send(
    jsonb_build_object('table', table_name, 'operation', operation, 'count', b.count, 'records', b.records), table_name, b.topic, true
  )
  from (
    select r.topic, count(*) as count, jsonb_agg(r.record order by r.position) filter (where r.total <= 100) as records
    from (
      select x.topic, x.record, x.position, count(*) over (partition by x.topic) as total,
        (row_number() over (partition by x.topic order by x.position) - 1) / 25 as part
      from unnest(topics, records) with ordinality as x (topic, record, position)
    ) r
    group by r.topic, r.total, case when r.total <= 100 then r.part end
    order by r.topic, min(r.position)
  ) b;
end;
$$;
comment on function private.broadcast(text, text, text[], jsonb[]) is
  'Sends the records of one statement, each to its topic, 25 to a message and thus below every plan''s limit of 256 KB. Above 100 for one topic: one message with their count alone (records null), and the client reads them.';
revoke execute on function private.broadcast(text, text, text[], jsonb[]) from public;

create function private.broadcast_tasks() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_ids uuid[];
begin
  if tg_op = 'INSERT' then
    select array_agg(n.id) into v_ids from new_rows n;
  else
    select array_agg(n.id) into v_ids
    from new_rows n
    join old_rows o on o.id = n.id
    where (n.status, n.progress, n.progress_message, n.attempt, n.error_code, n.priority, n.scheduled_at)
      is distinct from (o.status, o.progress, o.progress_message, o.attempt, o.error_code, o.priority, o.scheduled_at);
  end if;
  if v_ids is not null then
    perform private.broadcast('tasks', tg_op, array_agg(r.topic), array_agg(r.record))
    from (
      -- Nothing is built that private.broadcast would leave out.
      select s.topic, case when count(*) over (partition by s.topic) <= 100 then jsonb_build_object(
        'id', t.id, 'organization_slug', t.organization_slug, 'user_id', t.user_id, 'agent_conversation_id', t.agent_conversation_id,
        'agent_slug', t.agent_slug, 'method', t.method, 'status', t.status, 'progress', t.progress, 'attempt', t.attempt,
        'error_code', t.error_code, 'priority', t.priority, 'scheduled_at', t.scheduled_at, 'project_step_id', t.project_step_id,
        'parent_task_id', t.parent_task_id, 'started_at', t.started_at, 'completed_at', t.completed_at, 'created_at', t.created_at, 'updated_at', t.updated_at
      ) || case when s.to_user then jsonb_build_object('progress_message', left(t.progress_message, 500)) else '{}' end end as record
      from private.task_topics(v_ids) s
      join public.tasks t on t.id = s.task_id
      order by t.created_at, t.id
    ) r;
  end if;
  return null;
exception
  when others then
    raise warning 'tasks were not broadcast: %', sqlerrm;
    return null;
end;
$$;
comment on function private.broadcast_tasks() is 'After inserts, and updates that a person sees: tells whoever may read the tasks. Prompt, params and response are read from the table.';
revoke execute on function private.broadcast_tasks() from public;

create function private.broadcast_task_events() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform private.broadcast('task_events', tg_op, array_agg(r.topic), array_agg(r.record))
  from (
    select s.topic, case when count(*) over (partition by s.topic) <= 100 then
      case
        when s.to_user and octet_length(to_jsonb(n)::text) <= 8192 then to_jsonb(n)
        else to_jsonb(n) - 'data' - 'message'
      end
    end as record
    from new_rows n
    join private.task_topics(array(select distinct x.task_id from new_rows x)) s on s.task_id = n.task_id
    where s.to_user or n.type <> 'partial' -- streamed text is for those who watch the task
    order by n.task_id, n.sequence
  ) r
  having count(*) > 0;
  return null;
exception
  when others then
    raise warning 'task_events were not broadcast: %', sqlerrm;
    return null;
end;
$$;
comment on function private.broadcast_task_events() is
  'After inserts: the event itself, without data and message when it is above 8 KB; to the organization''s topic always without them, and no partial text.';
revoke execute on function private.broadcast_task_events() from public;

create function private.broadcast_messages() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform private.broadcast('messages', tg_op, array_agg(r.topic), array_agg(r.record))
  from (
    select s.topic, jsonb_build_object(
      'id', n.id, 'conversation_id', n.conversation_id, 'sender_type', n.sender_type, 'receiver_type', n.receiver_type, 'sender_user_id', n.sender_user_id,
      'sender_agent_slug', n.sender_agent_slug, 'task_id', n.task_id, 'created_at', n.created_at, 'updated_at', n.updated_at
    ) as record
    from new_rows n
    join private.conversation_topics(array(select distinct x.conversation_id from new_rows x)) s on s.conversation_id = n.conversation_id
    order by n.created_at, n.id
  ) r
  having count(*) > 0;
  return null;
exception
  when others then
    raise warning 'messages were not broadcast: %', sqlerrm;
    return null;
end;
$$;
comment on function private.broadcast_messages() is 'After inserts and updates: tells whoever may read the conversation; the content is read from the table.';
revoke execute on function private.broadcast_messages() from public;

create function private.broadcast_input_requests() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform private.broadcast('input_requests', tg_op, array_agg(r.topic), array_agg(r.record))
  from (
    select s.topic, jsonb_build_object(
      'id', n.id, 'organization_slug', n.organization_slug, 'task_id', n.task_id, 'project_step_id', n.project_step_id, 'request_type', n.request_type,
      'status', n.status, 'required_role', n.required_role, 'responded_by', n.responded_by, 'requested_at', n.requested_at,
      'responded_at', n.responded_at, 'expires_at', n.expires_at, 'updated_at', n.updated_at
    ) as record
    from new_rows n
    cross join lateral (
      select t.topic from private.task_topics(array[n.task_id]) t where t.to_user
      union
      select 'user:' || m.user_id
      from private.active_members m
      where n.required_role = 'developer' and m.organization_slug = n.organization_slug and m.role = 'developer'
      union
      select 'organization:' || o.slug from public.organizations o where o.slug = n.organization_slug and o.is_active
    ) s
    order by n.requested_at, n.id
  ) r
  having count(*) > 0;
  return null;
exception
  when others then
    raise warning 'input_requests were not broadcast: %', sqlerrm;
    return null;
end;
$$;
comment on function private.broadcast_input_requests() is
  'After inserts and updates: tells whoever may read the question; what is asked and answered is read from the table.';
revoke execute on function private.broadcast_input_requests() from public;

create function private.broadcast_project_steps() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform private.broadcast('project_steps', tg_op, array_agg(r.topic), array_agg(r.record))
  from (
    select s.topic, jsonb_build_object(
      'id', n.id, 'project_id', n.project_id, 'step_id', n.step_id, 'step_index', n.step_index, 'step_type', n.step_type, 'step_name', left(n.step_name, 500),
      'status', n.status, 'started_at', n.started_at, 'completed_at', n.completed_at, 'updated_at', n.updated_at
    ) as record
    from new_rows n
    join public.projects p on p.id = n.project_id
    join public.organizations o on o.slug = p.organization_slug and o.is_active
    cross join lateral (
      select 'project:' || p.id as topic
      union all
      select 'organization:' || o.slug
      union all
      select 'user:' || m.user_id from private.active_members m where m.organization_slug = o.slug and m.user_id = p.user_id
    ) s
    order by n.project_id, n.step_index
  ) r
  having count(*) > 0;
  return null;
exception
  when others then
    raise warning 'project_steps were not broadcast: %', sqlerrm;
    return null;
end;
$$;
comment on function private.broadcast_project_steps() is
  'After inserts and updates: tells the project''s user, the organization''s admins, and whoever has joined the project''s topic, as every member may. Results are read from the table.';
revoke execute on function private.broadcast_project_steps() from public;

-- Switching on -------------------------------------------------------------------------------------------------------

create function private.enable_realtime() returns boolean
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_table text;
begin
  if to_regclass('realtime.messages') is null or to_regprocedure('realtime.send(jsonb, text, text, boolean)') is null
    or to_regprocedure('realtime.topic()') is null then
    return false;
  end if;
  -- The topic is compared with the row's, too: who reads the table itself sees nothing but the topic that was asked for.
  drop policy if exists "Users hear of what they may read" on realtime.messages;
  create policy "Users hear of what they may read" on realtime.messages
  for select to authenticated
  using (extension = 'broadcast' and topic = (select realtime.topic()) and (select private.may_receive(realtime.topic())));
  -- Every table that somebody has written a broadcast for.
  for v_table in
    select substr(f.proname, 11) from pg_catalog.pg_proc f
    where f.pronamespace = 'private'::regnamespace and f.proname like 'broadcast\_%' and f.prorettype = 'pg_catalog.trigger'::regtype
    order by f.oid
  loop
    execute format(
      'create or replace trigger broadcast_new_%1$s after insert on public.%1$s'
      ' referencing new table as new_rows for each statement execute function private.broadcast_%1$s()', v_table
    );
    if v_table not in ('task_events', 'prompts', 'agent_logs') then -- append-only
      execute format(
        'create or replace trigger broadcast_changed_%1$s after update on public.%1$s'
        ' referencing old table as old_rows new table as new_rows for each statement execute function private.broadcast_%1$s()', v_table
      );
    end if;
  end loop;
  return true;
exception
  when insufficient_privilege then
    raise warning 'Realtime is there, but this role may not write policies for it: %. Nothing is broadcast.', sqlerrm;
    return false;
end;
$$;
comment on function private.enable_realtime() is
  'Makes the triggers and the policy of the broadcasts where Supabase Realtime is; false, and nothing done, where it is not. Safe to repeat: call it as postgres when Realtime came after the migrations.';
revoke execute on function private.enable_realtime() from public;

select private.enable_realtime();
