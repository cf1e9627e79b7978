-- People around a task (document A, phase 4): who is asked to look after it, and what they say about it.

create table public.task_assignments (
  id uuid primary key default gen_random_uuid(),
  task_id uuid not null references public.tasks (id) on delete cascade,
  user_id uuid not null references public.users (id) on delete cascade,
  assigned_by uuid default auth.uid() references public.users (id) on delete set null,
  note text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- The people of a task (also the foreign key).
  constraint user_is_assigned_once unique (task_id, user_id),
  constraint note_is_short check (length(note) <= 2000)
);
-- What a user is assigned to (policies, foreign key).
create index task_assignments_user_idx on public.task_assignments (user_id);
-- Foreign key.
create index task_assignments_assigned_by_idx on public.task_assignments (assigned_by);

create table public.task_comments (
  id uuid primary key default gen_random_uuid(),
  task_id uuid not null references public.tasks (id) on delete cascade,
  user_id uuid not null default auth.uid() references public.users (id) on delete cascade,
  content text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint content_is_neither_blank_nor_huge check (btrim(content) <> '' and octet_length(content) <= 65536)
);
-- A task's comments in order (also the foreign key).
create index task_comments_task_idx on public.task_comments (task_id, created_at);
-- Foreign key.
create index task_comments_user_idx on public.task_comments (user_id);

create trigger set_updated_at before update on public.task_assignments
for each row execute function public.set_updated_at();
create trigger set_updated_at before update on public.task_comments
for each row execute function public.set_updated_at();

create function private.check_assignee() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  if not exists (
    select from public.tasks t
    join public.organization_members m on m.organization_slug = t.organization_slug and m.user_id = new.user_id
    where t.id = new.task_id
      and (
        not private.is_client()
        or t.user_id = (select auth.uid()) and t.organization_slug in (select private.my_organizations('member'))
        or t.organization_slug in (select private.my_organizations('admin'))
      )
  ) then
    raise exception using errcode = 'PT404', message = 'assignee_not_found',
      detail = format('Task %s is not yours to assign, or user %s is not a member of its organization.', new.task_id, new.user_id),
      hint = 'A task''s user and the organization''s admins assign it, to members of the same organization.';
  end if;
  return new;
end;
$$;
comment on function private.check_assignee() is 'Before insert: a task is assigned by its user or an admin, to a member of its organization.';
revoke execute on function private.check_assignee() from public;

create trigger check_assignee before insert on public.task_assignments
for each row execute function private.check_assignee();

comment on table public.task_assignments is 'Members asked to look after a task; they see that they are asked. Reading the task itself follows tasks.';
comment on table public.task_comments is 'What people say about a task; whoever reads the task reads and writes them.';

create function private.my_assigned_tasks() returns setof uuid
language sql stable security definer set search_path = '' rows 10
as $$
  select a.task_id
  from public.task_assignments a
  join public.tasks t on t.id = a.task_id
  where a.user_id = (select auth.uid()) and t.organization_slug in (select private.my_organizations('viewer'));
$$;
comment on function private.my_assigned_tasks() is 'Tasks of the caller''s organizations that the caller is assigned to; policies use it as a set.';
revoke execute on function private.my_assigned_tasks() from public;
grant execute on function private.my_assigned_tasks() to authenticated, service_role;

alter table public.task_assignments enable row level security;
revoke all on public.task_assignments from anon, authenticated, service_role;
grant select, delete on public.task_assignments to authenticated;
grant insert (task_id, user_id, note) on public.task_assignments to authenticated;
grant select, insert, update, delete on public.task_assignments to service_role;

create policy "Whoever reads the task, and the assigned, see assignments" on public.task_assignments
for select to authenticated
using (
  user_id = (select auth.uid()) and task_id = any (array(select private.my_assigned_tasks()))
  or exists (select from public.tasks t where t.id = task_id)
);
create policy "Users and admins assign tasks" on public.task_assignments
for insert to authenticated
with check (assigned_by = (select auth.uid()) and exists (select from public.tasks t where t.id = task_id));
create policy "Whoever assigned takes it back, and the assigned step down" on public.task_assignments
for delete to authenticated
using (
  user_id = (select auth.uid()) and task_id = any (array(select private.my_assigned_tasks()))
  or assigned_by = (select auth.uid()) and exists (
    select from public.tasks t where t.id = task_id and t.organization_slug = any (array(select private.my_organizations('member')))
  )
);

alter table public.task_comments enable row level security;
revoke all on public.task_comments from anon, authenticated, service_role;
grant select, delete on public.task_comments to authenticated;
grant insert (task_id, content) on public.task_comments to authenticated;
grant update (content) on public.task_comments to authenticated;
grant select, insert, update, delete on public.task_comments to service_role;

create policy "Whoever reads a task reads its comments" on public.task_comments
for select to authenticated
using (exists (select from public.tasks t where t.id = task_id));
create policy "Members who read a task comment on it" on public.task_comments
for insert to authenticated
with check (
  user_id = (select auth.uid())
  and exists (
    select from public.tasks t
    where t.id = task_id and t.organization_slug = any (array(select private.my_organizations('member')))
  )
);
create policy "Users change their own comments" on public.task_comments
for update to authenticated
using (user_id = (select auth.uid()) and exists (
  select from public.tasks t where t.id = task_id and t.organization_slug = any (array(select private.my_organizations('member')))
))
with check (user_id = (select auth.uid()));
create policy "Users delete their own comments" on public.task_comments
for delete to authenticated
using (user_id = (select auth.uid()) and exists (
  select from public.tasks t where t.id = task_id and t.organization_slug = any (array(select private.my_organizations('member')))
));
