-- Versions of deliverables: numbered, never changed, exactly one current. Rolling back moves the flag.
-- Lock order: the deliverable's row, then its versions.

create table public.deliverable_versions (
  id uuid primary key default gen_random_uuid(),
  deliverable_id uuid not null references public.deliverables (id) on delete cascade,
  version_number integer not null,
  content text,
  format text,
  is_current_version boolean not null default false,
  created_by_type text not null default 'ai_response',
  task_id uuid references public.tasks (id) on delete set null,
  metadata jsonb not null default '{}',
  file_attachments jsonb,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- The versions of a deliverable in order (also the foreign key).
  constraint version_number_is_unique_within_a_deliverable unique (deliverable_id, version_number),
  constraint version_number_is_positive check (version_number > 0),
  constraint created_by_type_is_known check (
    created_by_type in ('ai_response', 'manual_edit', 'ai_enhancement', 'user_request', 'llm_rerun', 'conversation_merge')
  ),
  constraint format_is_short check (length(format) <= 100),
  constraint content_is_not_huge check (octet_length(content) <= 10485760),
  constraint metadata_is_a_small_object check (jsonb_typeof(metadata) = 'object' and pg_column_size(metadata) <= 262144),
  constraint file_attachments_is_json_of_reasonable_size check (
    jsonb_typeof(file_attachments) in ('object', 'array') and pg_column_size(file_attachments) <= 1048576
  )
);

-- The current version, and only one.
create unique index deliverable_versions_current_idx on public.deliverable_versions (deliverable_id) where is_current_version;
-- What a task wrote (foreign key).
create index deliverable_versions_task_idx on public.deliverable_versions (task_id) where task_id is not null;

-- Triggers -----------------------------------------------------------------------------------------------------------

create trigger check_json before insert on public.deliverable_versions
for each row
-- Asked here, so that a large content is not turned into JSON to look at the rest.
when (not (private.json_is_plain(new.metadata) and private.json_is_plain(new.file_attachments)))
execute function private.check_json('metadata', 'file_attachments');
create trigger set_updated_at before update on public.deliverable_versions
for each row execute function public.set_updated_at();

create function private.refuse_changed_version() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  raise exception using errcode = 'PT409', message = 'version_is_immutable',
    detail = format('Version %s of deliverable %s does not change.', old.version_number, old.deliverable_id),
    hint = 'Call create_deliverable_version to add a new one.';
end;
$$;
comment on function private.refuse_changed_version() is 'Before update of what a version says: refuses, for every writer. Only is_current_version moves.';
revoke execute on function private.refuse_changed_version() from public;

create trigger refuse_changed_version
before update of id, deliverable_id, version_number, content, format, created_by_type, metadata, file_attachments, created_at
on public.deliverable_versions
for each row execute function private.refuse_changed_version();

comment on table public.deliverable_versions is 'Immutable contents of a deliverable: 1, 2, 3, …; is_current_version marks the one in force.';
comment on column public.deliverable_versions.format is 'markdown, text, json, html or a MIME type.';
comment on column public.deliverable_versions.created_by_type is 'How it came to be.';
comment on column public.deliverable_versions.metadata is 'Provenance: editedFromVersionId and editedBy for edits, llmMetadata for an agent''s work.';

-- Protection ---------------------------------------------------------------------------------------------------------

alter table public.deliverable_versions enable row level security;
revoke all on public.deliverable_versions from anon, authenticated, service_role;
grant select on public.deliverable_versions to authenticated;
grant select, insert, update, delete on public.deliverable_versions to service_role;

create policy "Whoever reads a deliverable reads its versions" on public.deliverable_versions
for select to authenticated
using (exists (select from public.deliverables d where d.id = deliverable_id));

-- Functions ----------------------------------------------------------------------------------------------------------

create function private.add_deliverable_version(version public.deliverable_versions) returns public.deliverable_versions
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_version public.deliverable_versions;
begin
  perform from public.deliverables d where d.id = version.deliverable_id for no key update;
  update public.deliverable_versions v set is_current_version = false
  where v.deliverable_id = version.deliverable_id and v.is_current_version;
  insert into public.deliverable_versions (
    deliverable_id, version_number, content, format, is_current_version, created_by_type, task_id, metadata, file_attachments
  )
  select version.deliverable_id, coalesce(max(v.version_number), 0) + 1, version.content, version.format, true,
    version.created_by_type, version.task_id, coalesce(version.metadata, '{}'), version.file_attachments
  from public.deliverable_versions v
  where v.deliverable_id = version.deliverable_id
  returning * into v_version;
  return v_version;
end;
$$;
comment on function private.add_deliverable_version(public.deliverable_versions) is
  'Adds the next version of a deliverable and makes it current. Locks the deliverable, so that numbers never collide. Callers have checked who may.';
revoke execute on function private.add_deliverable_version(public.deliverable_versions) from public;

create function private.lock_own_deliverable(deliverable_id uuid) returns public.deliverables
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_deliverable public.deliverables;
begin
  select d.* into v_deliverable
  from public.deliverables d
  where d.id = lock_own_deliverable.deliverable_id
    and (
      not private.is_client()
      or d.user_id = (select auth.uid()) and d.organization_slug in (select private.my_organizations('member'))
      or d.organization_slug in (select private.my_organizations('admin'))
    )
  for no key update of d;
  if not found then
    raise exception using errcode = 'PT404', message = 'deliverable_not_found',
      detail = format('You have no deliverable %s to change.', deliverable_id), hint = 'Check the id; only its user and the organization''s admins change a deliverable.';
  end if;
  return v_deliverable;
end;
$$;
comment on function private.lock_own_deliverable(uuid) is 'Locks and returns a deliverable the caller may change (own, or admin of its organization); PT404 deliverable_not_found otherwise.';
revoke execute on function private.lock_own_deliverable(uuid) from public;

create function private.create_deliverable_version(deliverable_id uuid, content text, format text, metadata jsonb, file_attachments jsonb)
returns public.deliverable_versions
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_deliverable public.deliverables := private.lock_own_deliverable(deliverable_id);
  v_current public.deliverable_versions;
  v_new public.deliverable_versions;
  v_constraint text;
begin
  if create_deliverable_version.content is null and create_deliverable_version.file_attachments is null then
    raise exception using errcode = '22023', message = 'content_missing',
      detail = 'A version needs content or file_attachments.', hint = 'Send the text in "content".';
  end if;
  select v.* into v_current
  from public.deliverable_versions v
  where v.deliverable_id = v_deliverable.id and v.is_current_version;
  v_new.deliverable_id := v_deliverable.id;
  v_new.content := create_deliverable_version.content;
  v_new.format := coalesce(nullif(btrim(create_deliverable_version.format), ''), v_current.format, 'text');
  v_new.created_by_type := 'manual_edit';
  v_new.metadata := coalesce(create_deliverable_version.metadata, '{}')
    || jsonb_build_object('editedFromVersionId', v_current.id, 'editedBy', (select auth.uid()));
  v_new.file_attachments := create_deliverable_version.file_attachments;
  return private.add_deliverable_version(v_new);
exception when check_violation then
  get stacked diagnostics v_constraint = constraint_name;
  perform private.refuse_value(v_constraint, 'deliverable_versions');
end;
$$;
comment on function private.create_deliverable_version(uuid, text, text, jsonb, jsonb) is 'Body of public.create_deliverable_version.';
revoke execute on function private.create_deliverable_version(uuid, text, text, jsonb, jsonb) from public;
grant execute on function private.create_deliverable_version(uuid, text, text, jsonb, jsonb) to authenticated, service_role;

create function public.create_deliverable_version(
  deliverable_id uuid, content text, format text default null, metadata jsonb default '{}', file_attachments jsonb default null
) returns public.deliverable_versions
language sql volatile security invoker set search_path = ''
as $$
  select * from private.create_deliverable_version(deliverable_id, content, format, metadata, file_attachments);
$$;
comment on function public.create_deliverable_version(uuid, text, text, jsonb, jsonb) is
  'Adds an edit (created_by_type manual_edit) as the next version, makes it current and returns it. format: as before when left out. Errors: PT404 deliverable_not_found, 22023 content_missing, value_refused.';
revoke execute on function public.create_deliverable_version(uuid, text, text, jsonb, jsonb) from public, anon, authenticated;
grant execute on function public.create_deliverable_version(uuid, text, text, jsonb, jsonb) to authenticated, service_role;

create function private.set_current_deliverable_version(deliverable_id uuid, version_number integer)
returns public.deliverable_versions
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_deliverable public.deliverables := private.lock_own_deliverable(deliverable_id);
  v_version public.deliverable_versions;
begin
  select v.* into v_version
  from public.deliverable_versions v
  where v.deliverable_id = v_deliverable.id and v.version_number = set_current_deliverable_version.version_number;
  if not found then
    raise exception using errcode = 'PT404', message = 'version_not_found',
      detail = format('Deliverable %s has no version %s.', deliverable_id, version_number), hint = 'List deliverable_versions to see which there are.';
  end if;
  if not v_version.is_current_version then
    update public.deliverable_versions v set is_current_version = false
    where v.deliverable_id = v_deliverable.id and v.is_current_version;
    update public.deliverable_versions v set is_current_version = true where v.id = v_version.id returning v.* into v_version;
  end if;
  return v_version;
end;
$$;
comment on function private.set_current_deliverable_version(uuid, integer) is 'Body of public.set_current_deliverable_version.';
revoke execute on function private.set_current_deliverable_version(uuid, integer) from public;
grant execute on function private.set_current_deliverable_version(uuid, integer) to authenticated, service_role;

create function public.set_current_deliverable_version(deliverable_id uuid, version_number integer)
returns public.deliverable_versions
language sql volatile security invoker set search_path = ''
as $$
  select * from private.set_current_deliverable_version(deliverable_id, version_number);
$$;
comment on function public.set_current_deliverable_version(uuid, integer) is
  'Rolls a deliverable back (or forward) to one of its versions and returns it; no version is made or lost. Errors: PT404 deliverable_not_found, version_not_found.';
revoke execute on function public.set_current_deliverable_version(uuid, integer) from public, anon, authenticated;
grant execute on function public.set_current_deliverable_version(uuid, integer) to authenticated, service_role;
