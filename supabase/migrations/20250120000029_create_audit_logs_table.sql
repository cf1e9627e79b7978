-- Audit: who changed what in tenancy, agents, credentials and limits. Written by triggers, read by admins, changed by nobody.

create table public.audit_logs (
  id bigint generated always as identity,
  organization_slug text not null,
  actor_user_id uuid,
  actor_role text not null,
  action text not null,
  table_name text not null,
  row_key text not null,
  changes jsonb not null default '{}',
  created_at timestamptz not null default now(),
  constraint action_is_known check (action in ('insert', 'update', 'delete')),
  primary key (id, created_at)
) partition by range (created_at);
select private.partition_by_month('public.audit_logs', 'created_at');

-- An organization's log, newest first (policies).
create index audit_logs_organization_time_idx on public.audit_logs (organization_slug, created_at desc);
-- What is old enough for the archive.
create index audit_logs_created_at_idx on public.audit_logs (created_at);
-- What a user did.
create index audit_logs_actor_idx on public.audit_logs (actor_user_id, created_at desc);

create trigger refuse_change before update on public.audit_logs
for each row execute function private.refuse_change();

create function private.without_secrets(changed jsonb) returns jsonb
language sql immutable set search_path = ''
as $$
  select case jsonb_typeof(changed)
    when 'object' then (
      select coalesce(jsonb_object_agg(
        e.key, case when e.key in ('token_hash', 'encrypted_token', 'ciphertext', 'authentication', 'headers') then '"[redacted]"' else private.without_secrets(e.value) end
      ), '{}')
      from jsonb_each(changed) e
    )
    when 'array' then (
      select coalesce(jsonb_agg(private.without_secrets(e.value) order by e.position), '[]')
      from jsonb_array_elements(changed) with ordinality as e (value, position)
    )
    else changed
  end;
$$;
comment on function private.without_secrets(jsonb) is 'The same JSON with tokens, authentication and headers redacted.';
revoke execute on function private.without_secrets(jsonb) from public;

create function private.audit() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_old constant jsonb := case when tg_op = 'INSERT' then '{}' else to_jsonb(old) end;
  v_new constant jsonb := case when tg_op = 'DELETE' then '{}' else to_jsonb(new) end;
  v_row constant jsonb := v_old || v_new;
  v_changes jsonb;
begin
  select jsonb_object_agg(k.key, jsonb_build_array(v_old -> k.key, v_new -> k.key)) into v_changes
  from jsonb_object_keys(v_row) k (key)
  where k.key <> all (array['updated_at', 'next_run_at', 'held_until', 'last_run_at', 'last_task_id', 'last_error', 'last_error_at', 'last_used_at'])
    and v_old -> k.key is distinct from v_new -> k.key;
  if v_changes is null then
    return null; -- nothing changed
  end if;
  insert into public.audit_logs (organization_slug, actor_user_id, actor_role, action, table_name, row_key, changes)
  select s.slug, (select auth.uid()), coalesce(nullif(current_setting('role', true), 'none'), session_user), lower(tg_op), tg_table_name,
    coalesce(v_row ->> tg_argv[0], ''),
    (
      select jsonb_object_agg(c.key, case
        when c.key in ('token_hash', 'encrypted_token', 'ciphertext') then '["[redacted]"]'
        else jsonb_build_array(private.without_secrets(c.value -> 0), private.without_secrets(c.value -> 1))
      end)
      from jsonb_each(v_changes) c
    )
  from (
    select case when tg_table_name = 'organizations' then v_row ->> 'slug' else v_row ->> 'organization_slug' end as slug
    where tg_table_name not in ('agents', 'git_credentials')
    union
    select x.slug
    from jsonb_array_elements_text(
      case when tg_table_name = 'agents' then coalesce(v_old -> 'organization_slug', '[]') || coalesce(v_new -> 'organization_slug', '[]') else '[]' end
    ) x (slug)
    union
    select r.organization_slug from public.agent_repositories r where tg_table_name = 'git_credentials' and r.id::text = v_row ->> 'repository_id'
  ) s
  where s.slug is not null;
  return null;
end;
$$;
comment on function private.audit() is
  'After a row of an audited table changes: one entry for each organization it belongs to, with the changed columns as [old, new] and secrets redacted. The argument names the column that identifies the row.';
revoke execute on function private.audit() from public;

create trigger audit after insert or update or delete on public.organizations
for each row execute function private.audit('slug');
create trigger audit after insert or update or delete on public.organization_members
for each row execute function private.audit('user_id');
create trigger audit after insert or update or delete on public.organization_invitations
for each row execute function private.audit('email');
create trigger audit after insert or update or delete on public.agents
for each row execute function private.audit('slug');
create trigger audit after insert or update or delete on public.agent_repositories
for each row execute function private.audit('name');
create trigger audit after insert or update or delete on public.git_credentials
for each row execute function private.audit('repository_id');
create trigger audit after insert or update or delete on public.schedules
for each row execute function private.audit('name');

comment on table public.audit_logs is 'Who changed what in tenancy, agents, repositories, credentials, secrets, schedules, pauses of queues, and what people decided. Outlives the organization.';
comment on column public.audit_logs.actor_user_id is 'The signed-in user; null for servers. No foreign key: the entry outlives the account.';
comment on column public.audit_logs.actor_role is 'Database role: authenticated, service_role, postgres, …';
comment on column public.audit_logs.changes is '{column: [old, new]}, secrets redacted.';

alter table public.audit_logs enable row level security;
revoke all on public.audit_logs from anon, authenticated, service_role;
grant select on public.audit_logs to authenticated;
grant select, insert, delete on public.audit_logs to service_role;

create policy "Admins read their organization's audit log" on public.audit_logs
for select to authenticated
using (
  organization_slug = any (array(select private.my_organizations('admin')))
  -- Not what an earlier organization of the same slug left behind.
  and created_at >= (select o.created_at from public.organizations o where o.slug = organization_slug)
);
