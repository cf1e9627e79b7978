-- What the benches of the queue work with: one organization with a user who owns it, 1,000 numbered organizations, two methods whose
-- handlers are in worker.py, and an agent for the tasks that write into conversations.

insert into public.organizations (slug, name) values ('bench', 'Bench');
insert into public.organizations (slug, name)
select 'org-' || lpad(i::text, 4, '0'), 'Organization ' || i from generate_series(0, 999) i;

insert into auth.users (id, email) values ('00000000-0000-4000-8000-000000000001', 'bench@bench.example.com');
insert into public.organization_members (organization_slug, user_id, role)
values ('bench', '00000000-0000-4000-8000-000000000001', 'owner');

insert into public.task_methods (name, description, needs_agent)
values ('bench_noop', 'Does nothing.', false), ('bench_write', 'Writes a deliverable and a message.', false);

insert into public.agents (slug, organization_slug, name, description, agent_type, department, io_schema, capabilities, context, llm_config)
values (
  'bench-agent', array['bench'], 'Bench', 'For measuring.', 'context', 'bench', '{}', '{}', 'None.', '{"provider": "ollama", "model": "none"}'
);
