-- Deliverables: what tasks produce. The contents are in deliverable_versions.

create table public.deliverables (
  id uuid primary key default gen_random_uuid(),
  organization_slug text not null references public.organizations (slug) on delete cascade,
  user_id uuid not null references public.users (id) on delete cascade,
  conversation_id uuid references public.agent_conversations (id) on delete set null,
  task_id uuid references public.tasks (id) on delete set null,
  project_step_id uuid,
  title text not null,
  type text not null,
  agent_name text,
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint title_is_not_blank check (btrim(title) <> '' and length(title) <= 500),
  constraint type_is_short check (btrim(type) <> '' and length(type) <= 100),
  constraint metadata_is_a_small_object check (jsonb_typeof(metadata) = 'object' and pg_column_size(metadata) <= 262144)
);

-- A user's newest deliverables (policies, foreign key).
create index deliverables_user_recent_idx on public.deliverables (user_id, created_at desc);
-- An organization's newest deliverables (policies, foreign key).
create index deliverables_organization_recent_idx on public.deliverables (organization_slug, created_at desc);
-- The deliverable of a task (foreign key).
create index deliverables_task_idx on public.deliverables (task_id) where task_id is not null;
-- Deliverables of a conversation (policies, foreign key).
create index deliverables_conversation_idx on public.deliverables (conversation_id) where conversation_id is not null;

create trigger check_json before insert or update of metadata on public.deliverables
for each row when (new.metadata <> '{}') execute function private.check_json('metadata');
create trigger set_updated_at before update on public.deliverables
for each row execute function public.set_updated_at();

comment on table public.deliverables is 'Outputs of tasks: title and type here, contents as numbered versions in deliverable_versions.';
comment on column public.deliverables.type is 'text, document, analysis, report, plan, requirements, image, …; the task''s deliverable_type.';
comment on column public.deliverables.task_id is 'The task that made the first version.';

alter table public.deliverables enable row level security;
revoke all on public.deliverables from anon, authenticated, service_role;
grant select, delete on public.deliverables to authenticated;
grant update (title, type, metadata) on public.deliverables to authenticated;
grant select, insert, update, delete on public.deliverables to service_role;

create policy "Users, participants and admins read deliverables" on public.deliverables
for select to authenticated
using (
  organization_slug = any (array(select private.my_organizations('viewer')))
  and (user_id = (select auth.uid()) or conversation_id = any (array(select private.my_shared_conversations())))
  or organization_slug = any (array(select private.my_organizations('admin')))
);

create policy "Users change their own deliverables" on public.deliverables
for update to authenticated
using (user_id = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('member'))))
with check (user_id = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('member'))));

create policy "Users delete their own deliverables" on public.deliverables
for delete to authenticated
using (user_id = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('member'))));
