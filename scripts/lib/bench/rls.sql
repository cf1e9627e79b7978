-- A million tasks of 1,000 organizations and 10,000 users, in sets: org-0000 has 100,000 of them, 20,000 its third user's;
-- org-0001 has five; the rest is even. Triggers rest meanwhile, and the secondary indexes of tasks are made afterwards.
-- Users are numbered: user n of organization o is 10 * o + n; number 0 owns, 1 administers, the others are members.

create function pg_temp.bench_user(number integer) returns uuid
language sql immutable
as $$ select ('00000000-0000-4000-8000-' || lpad(to_hex(number), 12, '0'))::uuid $$;

create function pg_temp.bench_organization(number integer) returns text
language sql immutable
as $$ select 'org-' || lpad(number::text, 4, '0') $$;

insert into public.organizations (slug, name)
select pg_temp.bench_organization(i), 'Organization ' || i from generate_series(0, 999) i;

insert into auth.users (id, email)
select pg_temp.bench_user(i), 'user' || i || '@bench.example.com' from generate_series(0, 9999) i;

alter table public.organization_members disable trigger user;
insert into public.organization_members (organization_slug, user_id, role)
select pg_temp.bench_organization(i / 10), pg_temp.bench_user(i), case i % 10 when 0 then 'owner' when 1 then 'admin' else 'member' end
from generate_series(0, 9999) i;
alter table public.organization_members enable trigger user;

insert into public.agents (slug, organization_slug, name, description, agent_type, department, io_schema, capabilities, context, llm_config)
values (
  'bench-agent', array(select pg_temp.bench_organization(i) from generate_series(0, 999) i), 'Bench', 'For measuring.', 'context',
  'bench', '{}', '{}', 'None.', '{"provider": "ollama", "model": "none"}'
);

alter table public.agent_conversations disable trigger user;
insert into public.agent_conversations (id, organization_slug, user_id, agent_slug, agent_name, agent_type, title, last_message_at)
select pg_temp.bench_user(i), pg_temp.bench_organization(o), pg_temp.bench_user(o * 10 + u), 'bench-agent', 'Bench', 'context',
  'Conversation ' || i, now() - i * interval '1 minute'
from (
  select i, case when i < 10000 then 0 else i % 1000 end as o, case when i < 10000 then 2 + i % 5 else i / 1000 % 10 end as u
  from generate_series(0, 109999) i
) s;
alter table public.agent_conversations enable trigger user;

alter table public.messages disable trigger user;
insert into public.messages (conversation_id, sender_type, receiver_type, content)
select pg_temp.bench_user(i % 110000), 'user', 'agent', 'Message ' || i from generate_series(0, 219999) i;
alter table public.messages enable trigger user;

alter table public.projects disable trigger user;
insert into public.projects (organization_slug, user_id, conversation_id, name, status, created_at)
select c.organization_slug, c.user_id, c.id, c.title, 'planning', c.last_message_at from public.agent_conversations c;
alter table public.projects enable trigger user;

create temporary table bench_indexes as
select i.indexdef from pg_indexes i
where i.schemaname = 'public' and i.tablename = 'tasks' and i.indexname <> 'tasks_pkey';
do $$
declare
  v_name text;
begin
  for v_name in
    select i.indexname from pg_indexes i where i.schemaname = 'public' and i.tablename = 'tasks' and i.indexname <> 'tasks_pkey'
  loop
    execute format('drop index public.%I', v_name);
  end loop;
end;
$$;

alter table public.tasks disable trigger user;
insert into public.tasks (organization_slug, user_id, agent_slug, agent_name, method, prompt, status, progress, completed_at, created_at)
select pg_temp.bench_organization(o), pg_temp.bench_user(o * 10 + u), 'bench-agent', 'Bench', 'process', 'Write about number ' || i,
  case when i % 50 = 0 then 'pending' else 'completed' end, case when i % 50 = 0 then 0 else 100 end,
  case when i % 50 <> 0 then now() end, now() - i * interval '5 seconds'
from (
  select i,
    case when i < 100000 then 0 when i < 100005 then 1 else 2 + i % 998 end as o,
    case when i < 100000 then 2 + i % 5 when i < 100005 then 2 else i / 998 % 10 end as u
  from generate_series(0, 999999) i
) s;
alter table public.tasks enable trigger user;
select private.rebuild_live_tasks();

do $$
declare
  v_index text;
begin
  for v_index in select indexdef from bench_indexes loop
    execute v_index;
  end loop;
end;
$$;
