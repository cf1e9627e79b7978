-- Synchronising agents from git (docs/git-agents.md). A sync is a task of the method sync_repository, made by a developer, a
-- schedule or a push; a worker reads the repository and says here what it found. SQL never calls git.
-- At most one sync of a repository runs and one more waits: its tasks share a concurrency_key, and who asks meanwhile joins the
-- one that waits. Whoever makes one holds the repository's advisory lock and waits for no task.
-- Over 400 lines, because who makes syncs, what they write and who may announce a push are one subject.

insert into public.task_methods (name, description, needs_agent) values
('sync_repository', 'Bring the agents of a git repository in step with its branch; params: {"repository_id", "force"?}.', false);

-- One sync at a time -------------------------------------------------------------------------------------------------------

create function private.sync_key(repository_id uuid) returns text
language sql immutable set search_path = ''
as $$
  select 'sync_repository:' || repository_id;
$$;
comment on function private.sync_key(uuid) is 'The concurrency_key of a repository''s syncs.';
revoke execute on function private.sync_key(uuid) from public;
grant execute on function private.sync_key(uuid) to authenticated, service_role;

create function private.waiting_sync(organization_slug text, repository_id uuid, force boolean) returns uuid
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  -- What this caller sees as waiting has not been claimed by now, so it will see what has been pushed by now.
  perform pg_advisory_xact_lock(hashtext('sync_repository'), hashtext(waiting_sync.repository_id::text));
  return (
    select l.task_id from private.live_tasks l
    where l.organization_slug = waiting_sync.organization_slug and l.concurrency_key = private.sync_key(waiting_sync.repository_id)
      and (l.state in ('pending', 'waiting_for_key', 'waiting_for_agent') or l.state = 'delayed' and l.attempt > 0)
      and (not waiting_sync.force or exists (select from public.tasks t where t.id = l.task_id and t.params @> '{"force": true}'))
    order by l.ticket
    limit 1
  );
end;
$$;
comment on function private.waiting_sync(text, uuid, boolean) is
  'The sync of a repository that waits to be claimed, also for its next attempt; null when there is none, or none that reads everything where force asks for that. Holds the lock under which another is made.';
revoke execute on function private.waiting_sync(text, uuid, boolean) from public;
grant execute on function private.waiting_sync(text, uuid, boolean) to authenticated, service_role;

create function private.prepare_sync() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_by_client constant boolean := private.is_client()
    and current_user::regrole <> (select c.relowner from pg_catalog.pg_class c where c.oid = tg_relid);
  v_repository_id constant uuid := private.uuid_or_null(new.params ->> 'repository_id');
  v_waiting uuid;
begin
  if v_by_client then
    perform private.require_role(new.organization_slug, 'developer');
  end if;
  if not exists (select from public.agent_repositories r where r.id = v_repository_id and r.organization_slug = new.organization_slug) then
    raise exception using errcode = 'PT404', message = 'repository_not_found',
      detail = format('Organization "%s" has no repository "%s".', new.organization_slug, left(new.params ->> 'repository_id', 100)),
      hint = 'Send params {"repository_id": …} with an id of agent_repositories.';
  end if;
  v_waiting := private.waiting_sync(new.organization_slug, v_repository_id, new.params @> '{"force": true}');
  if v_waiting is not null and v_by_client then
    raise exception using errcode = 'PT409', message = 'sync_waiting',
      detail = format('A sync of repository %s waits already.', v_repository_id), hint = 'Nothing is to be done; sync_repository joins it without an error.';
  elsif v_waiting is not null then
    return null; -- the one that waits does for both
  end if;
  new.concurrency_key := private.sync_key(v_repository_id);
  new.concurrency_limit := 1;
  return new;
end;
$$;
comment on function private.prepare_sync() is
  'Before insert of a sync: its repository is of the organization, and of several that wait only the first is kept; a client is told so, a schedule goes on.';
revoke execute on function private.prepare_sync() from public;

create trigger prepare_sync before insert on public.tasks
for each row when (new.method = 'sync_repository') execute function private.prepare_sync();

create function private.note_failed_sync() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  update public.agent_repositories r
  set last_sync_status = 'failure', last_sync_at = private.clock(),
    last_sync_errors = jsonb_build_array(jsonb_build_object(
      'level', 'error', 'code', coalesce(new.error_code, new.status), 'message', coalesce(new.error_message, 'The sync was stopped.')
    ))
  where r.id = (
    -- Within an exchange nobody waits for a row that a member is changing.
    select x.id from public.agent_repositories x
    where x.id = private.uuid_or_null(new.params ->> 'repository_id') and x.organization_slug = new.organization_slug
    for no key update skip locked
  );
  return null;
end;
$$;
comment on function private.note_failed_sync() is 'After an attempt at a sync ended without success: last_sync_status and last_sync_errors say so.';
revoke execute on function private.note_failed_sync() from public;

create trigger note_failed_sync after update of status on public.tasks
for each row
when (
  new.method = 'sync_repository' and old.status = 'in_progress'
  and (new.status in ('failed', 'timeout', 'cancelled') or new.status = 'pending' and new.error_code is not null)
)
execute function private.note_failed_sync();

create function private.queue_sync(repository public.agent_repositories, user_id uuid, cause text, force boolean) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_id uuid := private.waiting_sync(repository.organization_slug, repository.id, force);
  v_is_new constant boolean := v_id is null;
begin
  if v_is_new then
    insert into public.tasks (organization_slug, user_id, method, prompt, params, metadata, max_attempts, backoff, timeout_seconds)
    values (
      repository.organization_slug, queue_sync.user_id, 'sync_repository', 'Sync ' || repository.name,
      jsonb_strip_nulls(jsonb_build_object('repository_id', repository.id, 'force', nullif(force, false))),
      jsonb_build_object('cause', cause), 5, interval '30 seconds', 1800
    )
    returning id into v_id;
  else
    -- One that waits for its next attempt is tried at once; whoever holds it is about to do so.
    update public.tasks t set scheduled_at = private.clock()
    where t.id = (
      select x.id from public.tasks x where x.id = v_id and x.status = 'pending' and x.scheduled_at > private.clock() for update skip locked
    );
  end if;
  return jsonb_build_object('task_id', v_id, 'is_new', v_is_new);
end;
$$;
comment on function private.queue_sync(public.agent_repositories, uuid, text, boolean) is
  'Makes a sync of a repository, or joins the one that waits; {task_id, is_new}. Called after the caller was checked.';
revoke execute on function private.queue_sync(public.agent_repositories, uuid, text, boolean) from public;

create function private.sync_repository(repository_id uuid, force boolean) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_repository public.agent_repositories;
  v_user_id uuid;
begin
  select r.* into v_repository from public.agent_repositories r
  where r.id = sync_repository.repository_id
    and (not private.is_client() or r.organization_slug in (select private.my_organizations('developer')));
  v_user_id := case when private.is_client() then (select auth.uid()) else private.user_of_syncs(v_repository) end;
  if v_repository.id is null then
    raise exception using errcode = 'PT404', message = 'repository_not_found',
      detail = format('You develop in no organization with a repository %s.', sync_repository.repository_id),
      hint = 'List agent_repositories; developers of its organization sync one.';
  end if;
  return private.queue_sync(v_repository, v_user_id, 'request', coalesce(force, false));
end;
$$;
comment on function private.sync_repository(uuid, boolean) is 'Body of public.sync_repository.';
revoke execute on function private.sync_repository(uuid, boolean) from public;
grant execute on function private.sync_repository(uuid, boolean) to authenticated, service_role;

create function public.sync_repository(repository_id uuid, force boolean default false) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.sync_repository(repository_id, force);
$$;
comment on function public.sync_repository(uuid, boolean) is
  'Queues a sync of a repository (developer and higher), or joins the one that waits: {task_id, is_new}. force reads every file again, although nothing changed. Errors: PT404 repository_not_found, PT409 repository_without_user.';
revoke execute on function public.sync_repository(uuid, boolean) from public, anon, authenticated;
grant execute on function public.sync_repository(uuid, boolean) to authenticated, service_role;

create function private.user_of_syncs(repository public.agent_repositories) returns uuid
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_user_id uuid;
begin
  select m.user_id into v_user_id
  from public.organization_members m
  where m.organization_slug = repository.organization_slug and private.role_rank(m.role) >= private.role_rank('developer')
  order by m.user_id is not distinct from repository.created_by desc, private.role_rank(m.role) desc, m.joined_at, m.user_id
  limit 1;
  if not found and repository.id is not null then
    raise exception using errcode = 'PT409', message = 'repository_without_user',
      detail = format('Organization "%s" has no developer for whom repository %s could be synced.', repository.organization_slug, repository.id),
      hint = 'Make somebody developer, admin or owner there.';
  end if;
  return v_user_id;
end;
$$;
comment on function private.user_of_syncs(public.agent_repositories) is
  'For whom a sync runs that no member asked for: who added the repository while they are developer, else the first of the highest members.';
revoke execute on function private.user_of_syncs(public.agent_repositories) from public;

-- The functions of workers -------------------------------------------------------------------------------------------------

create function private.repository_of_sync(task_id uuid, attempt integer, lease_token uuid) returns public.agent_repositories
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_repository public.agent_repositories;
begin
  perform private.check_lease(task_id, attempt, lease_token);
  select r.* into v_repository
  from public.tasks t
  join public.agent_repositories r on r.id = private.uuid_or_null(t.params ->> 'repository_id') and r.organization_slug = t.organization_slug
  where t.id = repository_of_sync.task_id and t.method = 'sync_repository';
  if not found then
    raise exception using errcode = 'PT404', message = 'repository_not_found',
      detail = format('Task %s syncs no repository, or one that is gone.', task_id), hint = 'There is nothing to do.';
  end if;
  return v_repository;
end;
$$;
comment on function private.repository_of_sync(uuid, integer, uuid) is 'The repository that an attempt syncs, for the worker that holds its lease. PT409 lease_lost, PT404 repository_not_found.';
revoke execute on function private.repository_of_sync(uuid, integer, uuid) from public;
grant execute on function private.repository_of_sync(uuid, integer, uuid) to service_role;

create function public.read_repository_sync(task_id uuid, attempt integer, lease_token uuid) returns jsonb
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_repository constant public.agent_repositories := private.repository_of_sync(task_id, attempt, lease_token);
begin
  return jsonb_build_object(
    'id', v_repository.id, 'git_url', v_repository.git_url, 'branch', v_repository.branch,
    'agent_directory', case when v_repository.is_root then '' else coalesce(v_repository.agent_directory, 'agents') end,
    'last_commit', v_repository.last_sync_commit_hash, 'is_settled', v_repository.last_sync_status = 'success'
  );
end;
$$;
comment on function public.read_repository_sync(uuid, integer, uuid) is
  'For the worker that holds a sync: {id, git_url, branch, agent_directory ('''' for the root), last_commit, is_settled}. is_settled: the last sync was a success, so that last_commit needs nothing. Errors: PT409 lease_lost, PT404 repository_not_found.';
revoke execute on function public.read_repository_sync(uuid, integer, uuid) from public, anon, authenticated;
grant execute on function public.read_repository_sync(uuid, integer, uuid) to service_role;

create function public.begin_repository_sync(task_id uuid, attempt integer, lease_token uuid) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_repository constant public.agent_repositories := private.repository_of_sync(task_id, attempt, lease_token);
begin
  update public.agent_repositories r set last_sync_status = 'in_progress' where r.id = v_repository.id and r.last_sync_status <> 'in_progress';
  -- A file whose agent somebody deleted is not known: its agent is made again.
  return jsonb_build_object(
    'files', (
      select coalesce(jsonb_object_agg(g.file_path, case when g.agent_slug is not null then g.content_hash else '' end), '{}')
      from public.git_agents g
      where g.agent_repository_id = v_repository.id and g.is_active
    ),
    'problems', case when v_repository.last_sync_commit_hash is not null then coalesce(v_repository.last_sync_errors, '[]') else '[]' end
  );
end;
$$;
comment on function public.begin_repository_sync(uuid, integer, uuid) is
  'For the worker that holds a sync and found another commit: says so in last_sync_status, and answers what is known, {files: {file_path: content_hash}, problems: last_sync_errors}. Errors: PT409 lease_lost, PT404 repository_not_found.';
revoke execute on function public.begin_repository_sync(uuid, integer, uuid) from public, anon, authenticated;
grant execute on function public.begin_repository_sync(uuid, integer, uuid) to service_role;

-- A file as a worker read it, and what is to become of it.
create type private.git_file as (
  path text, hash text, commit_hash text, slug text, name text, description text, version text, tags text[], frontmatter jsonb,
  body text, context text, llm_config jsonb, metadata jsonb, row_id uuid, holder_id uuid, agent_exists boolean, problem text
);
comment on type private.git_file is
  'An agent''s file. row_id: the row of git_agents that becomes it; holder_id: another row of the repository that gives its agent up; problem: a token, when the file cannot be used.';

create function private.plan_git_files(repository public.agent_repositories, files jsonb) returns private.git_file[]
language sql stable security invoker set search_path = '' set enable_seqscan = off
as $$
  with given as materialized (
    select f.*, row_number() over (partition by f.slug order by f.path) as turn
    from jsonb_populate_recordset(null::private.git_file, files) f
  ),
  looked_up as materialized (
    select g.path, g.turn, a.slug is not null as agent_exists, p.id as path_row, h.id as holder_row, h.is_active as holder_is_active,
      h.file_path as holder_path,
      a.slug is null or a.organization_slug = array[repository.organization_slug] and a.metadata #>> '{git,repository_id}' is not null and (
        a.metadata #>> '{git,repository_id}' = repository.id::text
        -- Of a repository that was removed, and perhaps added again.
        or not exists (select from public.agent_repositories r where r.id = private.uuid_or_null(a.metadata #>> '{git,repository_id}'))
      ) as is_ours
    from given g
    left join public.agents a on a.slug = g.slug
    left join public.git_agents p on p.agent_repository_id = repository.id and p.file_path = g.path
    left join public.git_agents h on h.agent_repository_id = repository.id and h.agent_slug = g.slug and h.file_path <> g.path
  ),
  judged as (
    select l.*, case
        when not l.is_ours then 'slug_taken'
        when l.turn > 1 then 'name_repeated'
        when l.holder_is_active and not exists (select from given o where o.path = l.holder_path) then 'name_repeated'
      end as problem
    from looked_up l
  ),
  counted as (
    select j.*, count(*) filter (where not j.agent_exists and j.problem is null) over (order by j.path) as number_of_new,
      (
        select (o.settings #>> '{limits,max_agents}')::numeric - (select count(*) from public.agents a where a.organization_slug @> array[o.slug])
        from public.organizations o
        where o.slug = repository.organization_slug and o.settings #> '{limits,max_agents}' is not null
      ) as room
    from judged j
  )
  select coalesce(array_agg(row(
    g.path, g.hash, g.commit_hash, g.slug, g.name, g.description, g.version, g.tags, g.frontmatter, g.body, g.context, g.llm_config,
    coalesce(g.metadata, '{}') || jsonb_build_object('git', jsonb_build_object('repository_id', repository.id)),
    -- A file that moved keeps its row.
    coalesce(c.path_row, case when not c.holder_is_active then c.holder_row end),
    case when c.path_row is not null or c.holder_is_active then c.holder_row end, c.agent_exists,
    coalesce(c.problem, case when not c.agent_exists and c.number_of_new > c.room then 'over_limit' end)
  )::private.git_file order by g.path), '{}')
  from given g
  join counted c on c.path = g.path;
$$;
comment on function private.plan_git_files(public.agent_repositories, jsonb) is
  'Says what becomes of each file. slug_taken: the agent is not of this repository alone; name_repeated: another of its files has the name; over_limit: the organization may have no more agents.';
revoke execute on function private.plan_git_files(public.agent_repositories, jsonb) from public;
grant execute on function private.plan_git_files(public.agent_repositories, jsonb) to service_role;

create function private.write_git_files(repository public.agent_repositories, files jsonb) returns jsonb
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off
as $$
declare
  v_plan constant private.git_file[] := private.plan_git_files(repository, files);
  v_files private.git_file[];
begin
  select coalesce(array_agg(f), '{}') into v_files from unnest(v_plan) f where f.problem is null;
  -- Agents change hands within the batch: first everybody lets go.
  update public.git_agents g set agent_slug = null
  from unnest(v_files) f
  where g.id = f.holder_id or g.id = f.row_id and g.agent_slug is distinct from f.slug;
  delete from public.git_agents g using unnest(v_files) f where g.id = f.holder_id and not g.is_active and g.agent_slug is null;
  insert into public.agents (
    slug, organization_slug, name, description, version, agent_type, department, tags, io_schema, capabilities, context, llm_config, metadata
  )
  select f.slug, array[repository.organization_slug], f.name, f.description, coalesce(f.version, '1.0.0'), 'context', 'git', f.tags, '{}', f.tags,
    f.context, f.llm_config, f.metadata
  from unnest(v_files) f
  where not f.agent_exists;
  update public.agents a
  set name = f.name, description = f.description, tags = f.tags, capabilities = f.tags, context = f.context, llm_config = f.llm_config,
    metadata = a.metadata || f.metadata,
    -- What somebody turned off stays off; what the repository had taken away is back.
    status = case when g.is_active and g.agent_slug is not null then a.status else 'active' end,
    version = case when string_to_array(f.version, '.')::integer[] > string_to_array(a.version, '.')::integer[] then f.version else a.version end
  from unnest(v_files) f
  left join public.git_agents g on g.id = f.row_id
  where a.slug = f.slug and f.agent_exists;
  update public.git_agents g
  set file_path = f.path, name = f.name, description = f.description, content_hash = f.hash, frontmatter = f.frontmatter, body = f.body,
    tags = f.tags, is_active = true, last_modified_commit_hash = f.commit_hash, agent_slug = f.slug
  from unnest(v_files) f
  where g.id = f.row_id;
  insert into public.git_agents (
    agent_repository_id, name, description, file_path, content_hash, frontmatter, body, tags, last_modified_commit_hash, agent_slug
  )
  select repository.id, f.name, f.description, f.path, f.hash, f.frontmatter, f.body, f.tags, f.commit_hash, f.slug
  from unnest(v_files) f
  where f.row_id is null;
  return (
    select coalesce(jsonb_agg(jsonb_build_object('path', f.path, 'level', 'error', 'code', f.problem, 'message', case f.problem
      when 'slug_taken' then format('An agent "%s" exists that is not of this repository alone: choose another name.', f.slug)
      when 'name_repeated' then format('Another file of the repository is the agent "%s" already: choose another name.', f.slug)
      else 'The organization may have no more agents (settings.limits.max_agents).'
    end) order by f.path), '[]')
    from unnest(v_plan) f
    where f.problem is not null
  );
end;
$$;
comment on function private.write_git_files(public.agent_repositories, jsonb) is 'Writes files to git_agents and agents, and returns those that cannot be: [{path, level, code, message}].';
revoke execute on function private.write_git_files(public.agent_repositories, jsonb) from public;
grant execute on function private.write_git_files(public.agent_repositories, jsonb) to service_role;

create function private.write_git_file(repository public.agent_repositories, file jsonb) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_constraint text;
begin
  return private.write_git_files(repository, jsonb_build_array(file));
exception when data_exception or integrity_constraint_violation or raise_exception or program_limit_exceeded or sqlstate 'PT429' then
  get stacked diagnostics v_constraint = constraint_name;
  return jsonb_build_array(jsonb_build_object(
    'path', file ->> 'path', 'level', 'error', 'code', 'refused', 'message', case
      when v_constraint <> '' then format('It breaks the rule "%s".', replace(v_constraint, '_', ' '))
      else format('The database does not take it (%s).', sqlerrm)
    end
  ));
end;
$$;
comment on function private.write_git_file(public.agent_repositories, jsonb) is 'As write_git_files, for one file; whatever is wrong with it is its own error.';
revoke execute on function private.write_git_file(public.agent_repositories, jsonb) from public;
grant execute on function private.write_git_file(public.agent_repositories, jsonb) to service_role;

create function public.apply_git_files(task_id uuid, attempt integer, lease_token uuid, files jsonb, removed jsonb default '[]') returns jsonb
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off
as $$
declare
  v_repository constant public.agent_repositories := private.repository_of_sync(task_id, attempt, lease_token);
  v_file jsonb;
  v_problems jsonb := '[]';
begin
  if jsonb_typeof(files) is distinct from 'array' or jsonb_typeof(removed) is distinct from 'array'
    or jsonb_array_length(files) > 1000 or jsonb_array_length(removed) > 10000 then
    raise exception using errcode = '22023', message = 'items_not_a_list',
      detail = 'files is no list of at most 1000, or removed none of at most 10000.', hint = 'Send lists, in several calls if need be.';
  end if;
  update public.git_agents g set is_active = false
  where g.agent_repository_id = v_repository.id and g.is_active and g.file_path in (select r.path from jsonb_array_elements_text(removed) r (path));
  begin
    return private.write_git_files(v_repository, files);
  exception when data_exception or integrity_constraint_violation or raise_exception or program_limit_exceeded or sqlstate 'PT429' then
    for v_file in select f.file from jsonb_array_elements(files) with ordinality f (file, number) order by f.number loop
      v_problems := v_problems || private.write_git_file(v_repository, v_file);
    end loop;
  end;
  return v_problems;
end;
$$;
comment on function public.apply_git_files(uuid, integer, uuid, jsonb, jsonb) is
  'For the worker that holds a sync: takes away the files in removed, then writes up to 1000 files [{path, hash, commit_hash, slug, name, description, version, tags, frontmatter, body, context, llm_config, metadata}]; repeated, it changes nothing. Returns those that could not be written: [{path, level, code, message}]. Errors: PT409 lease_lost, PT404 repository_not_found, 22023 items_not_a_list.';
revoke execute on function public.apply_git_files(uuid, integer, uuid, jsonb, jsonb) from public, anon, authenticated;
grant execute on function public.apply_git_files(uuid, integer, uuid, jsonb, jsonb) to service_role;

create function public.finish_repository_sync(task_id uuid, attempt integer, lease_token uuid, commit_hash text, problems jsonb default '[]') returns jsonb
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off
as $$
declare
  v_repository constant public.agent_repositories := private.repository_of_sync(task_id, attempt, lease_token);
  v_deactivated integer;
begin
  update public.agents a set status = 'inactive'
  where a.slug in (
    select x.slug from public.agents x
    where x.metadata @> jsonb_build_object('git', jsonb_build_object('repository_id', v_repository.id))
      and x.organization_slug = array[v_repository.organization_slug] and x.status = 'active'
      and not exists (
        select from public.git_agents g where g.agent_slug = x.slug and g.is_active and g.agent_repository_id = v_repository.id
      )
    limit 1000
  );
  get diagnostics v_deactivated = row_count;
  if v_deactivated = 1000 then
    return jsonb_build_object('deactivated', v_deactivated, 'is_done', false);
  end if;
  -- The place may have changed meanwhile: then what was read says nothing about it.
  update public.agent_repositories r
  set last_sync_status = 'success', last_sync_at = private.clock(),
    last_sync_commit_hash = case when (r.git_url, r.branch, r.is_root, r.agent_directory)
      is not distinct from (v_repository.git_url, v_repository.branch, v_repository.is_root, v_repository.agent_directory) then finish_repository_sync.commit_hash end,
    last_sync_errors = case when jsonb_array_length(problems) > 0 then (
      select jsonb_agg(p.problem order by p.number)
      from jsonb_array_elements(problems) with ordinality p (problem, number)
      where p.number <= 1000
    ) end
  where r.id = v_repository.id;
  return jsonb_build_object('deactivated', v_deactivated, 'is_done', true);
end;
$$;
comment on function public.finish_repository_sync(uuid, integer, uuid, text, jsonb) is
  'For the worker that holds a sync and has said all files: deactivates up to 1000 agents whose file is gone, and once there are no more notes the commit and up to 1000 problems. Returns {deactivated, is_done}; call it until it is done. Errors: PT409 lease_lost, PT404 repository_not_found.';
revoke execute on function public.finish_repository_sync(uuid, integer, uuid, text, jsonb) from public, anon, authenticated;
grant execute on function public.finish_repository_sync(uuid, integer, uuid, text, jsonb) to service_role;

-- Pushes -------------------------------------------------------------------------------------------------------------------

create table private.push_secrets (
  repository_id uuid primary key references public.agent_repositories (id) on delete cascade,
  secret text not null,
  created_at timestamptz not null default now(),
  constraint secret_is_64_hex_digits check (secret ~ '^[0-9a-f]{64}$')
);

create table private.repository_pushes (
  repository_id uuid not null references private.push_secrets (repository_id) on delete cascade,
  digest bytea not null,
  received_at timestamptz not null,
  primary key (repository_id, digest)
);

comment on table private.push_secrets is 'With which git hosts sign pushes. The database makes them and shows each once; no role of the API reads them.';
comment on table private.repository_pushes is 'Pushes of the last day that were accepted, so that one that is sent again does nothing.';
revoke all on private.push_secrets, private.repository_pushes from anon, authenticated, service_role;

create function private.plain_git_url(git_url text) returns text
language sql immutable set search_path = ''
as $$
  select regexp_replace(regexp_replace(lower(left(git_url, 1100)), '^https?://(www\.)?', ''), '/*(\.git)?/*$', '');
$$;
comment on function private.plain_git_url(text) is 'An address as far as it tells repositories apart: without scheme, .git and final slash, in lower case.';
revoke execute on function private.plain_git_url(text) from public;
grant execute on function private.plain_git_url(text) to authenticated, service_role; -- for the index

-- Whose push it is (receive_git_push).
create index agent_repositories_plain_url_idx on public.agent_repositories (private.plain_git_url(git_url));

create function private.renew_push_secret(repository_id uuid) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_secret constant text := replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '');
begin
  if not exists (
    select from public.agent_repositories r
    where r.id = renew_push_secret.repository_id and (not private.is_client() or r.organization_slug in (select private.my_organizations('admin')))
  ) then
    raise exception using errcode = 'PT404', message = 'repository_not_found',
      detail = format('You administer no repository %s.', renew_push_secret.repository_id), hint = 'Only admins of its organization set up pushes.';
  end if;
  insert into private.push_secrets as s (repository_id, secret) values (renew_push_secret.repository_id, v_secret)
  on conflict on constraint push_secrets_pkey do update set secret = excluded.secret, created_at = excluded.created_at;
  return jsonb_build_object('repository_id', renew_push_secret.repository_id, 'secret', v_secret);
end;
$$;
comment on function private.renew_push_secret(uuid) is 'Body of public.renew_push_secret.';
revoke execute on function private.renew_push_secret(uuid) from public;
grant execute on function private.renew_push_secret(uuid) to authenticated, service_role;

create function public.renew_push_secret(repository_id uuid) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.renew_push_secret(repository_id);
$$;
comment on function public.renew_push_secret(uuid) is
  'Makes the secret with which a git host signs pushes of a repository (admin and higher), shown this once: {repository_id, secret}. The one before is no longer good. Errors: PT404 repository_not_found.';
revoke execute on function public.renew_push_secret(uuid) from public, anon, authenticated;
grant execute on function public.renew_push_secret(uuid) to authenticated, service_role;

create function private.push_is_signed(secret text, body text, headers json) returns boolean
language plpgsql volatile set search_path = ''
as $$
declare
  v_nonce constant bytea := convert_to(gen_random_uuid()::text, 'UTF8');
  v_right constant text := 'sha256=' || encode(private.hmac_sha256(convert_to(secret, 'UTF8'), convert_to(body, 'UTF8')), 'hex');
  v_token constant text := headers ->> 'x-gitlab-token';
begin
  -- Hashes with a nonce are compared, so that the time that takes says nothing about the right one.
  return sha256(v_nonce || convert_to(case when v_token is null then v_right else secret end, 'UTF8'))
    = sha256(v_nonce || convert_to(left(coalesce(v_token, headers ->> 'x-hub-signature-256', headers ->> 'x-hub-signature', ''), 200), 'UTF8'));
end;
$$;
comment on function private.push_is_signed(text, text, json) is
  'Whether a push is signed with the secret: HMAC-SHA256 of the body in X-Hub-Signature-256 (GitHub, Gitea, Forgejo) or X-Hub-Signature (Bitbucket), or the secret itself in X-Gitlab-Token.';
revoke execute on function private.push_is_signed(text, text, json) from public;

create function private.pushed_repository(body json, headers json) returns public.agent_repositories
language plpgsql volatile set search_path = ''
as $$
declare
  v_urls constant text[] := array(
    select private.plain_git_url(u.url)
    from (values
      (body #>> '{repository,clone_url}'), (body #>> '{repository,git_http_url}'), (body #>> '{project,git_http_url}'),
      (body #>> '{repository,html_url}'), (body #>> '{project,web_url}'), (body #>> '{repository,links,html,href}')
    ) u (url)
    where u.url is not null
  );
  v_found uuid;
  v_repository public.agent_repositories;
begin
  -- One signature is computed for everybody, also where there is no such repository.
  select c.id into v_found
  from (
    select r.id, s.secret from public.agent_repositories r
    join private.push_secrets s on s.repository_id = r.id
    where private.plain_git_url(r.git_url) = any (v_urls)
    -- No organization keeps others out by naming one address many times.
    order by row_number() over (partition by r.organization_slug order by s.created_at), s.created_at
    -- A signature costs what the body is long, and anybody may send one: a hundred, but no more than 20 MB together.
    limit greatest(10, least(100, 20000000 / greatest(octet_length(body::text), 1)))
  ) c
  where private.push_is_signed(c.secret, body::text, headers)
  limit 1;
  if v_found is null then
    perform private.push_is_signed(repeat('0', 64), body::text, headers);
    raise exception using errcode = 'PT401', message = 'push_not_accepted',
      detail = 'The push is not signed with the secret of a repository of that address.',
      hint = 'Content type application/json, and the secret of renew_push_secret: see docs/git-agents.md.';
  end if;
  select r.* into v_repository from public.agent_repositories r where r.id = v_found;
  return v_repository;
end;
$$;
comment on function private.pushed_repository(json, json) is
  'The repository whose address the body names and whose secret signed it; PT401 push_not_accepted, always the same, otherwise.';
revoke execute on function private.pushed_repository(json, json) from public;

create function private.receive_git_push(body json) returns json
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_headers constant json := coalesce(nullif(current_setting('request.headers', true), ''), '{}')::json;
  v_digest constant bytea := sha256(convert_to(body::text, 'UTF8'));
  v_repository public.agent_repositories;
  v_branch text;
begin
  if octet_length(body::text) > 2000000 then
    raise exception using errcode = 'PT413', message = 'push_too_large',
      detail = 'A push has at most 2000000 bytes.', hint = 'Nothing is lost: the next push, a schedule or sync_repository finds what was pushed.';
  end if;
  v_repository := private.pushed_repository(body, v_headers);
  -- One push at a time.
  perform from private.push_secrets s where s.repository_id = v_repository.id for no key update;
  delete from private.repository_pushes p where p.repository_id = v_repository.id and p.received_at < private.clock() - interval '1 day';
  if (select count(*) from private.repository_pushes p where p.repository_id = v_repository.id and p.received_at > private.clock() - interval '10 minutes') >= 120 then
    raise exception using errcode = 'PT429', message = 'too_many_pushes',
      detail = 'A repository tells of at most 120 pushes in ten minutes.', hint = 'Nothing is lost: the sync that waits finds all of them.';
  end if;
  insert into private.repository_pushes (repository_id, digest, received_at) values (v_repository.id, v_digest, private.clock())
  on conflict (repository_id, digest) do nothing;
  v_branch := coalesce(body ->> 'ref', 'refs/heads/' || (body #>> '{push,changes,0,new,name}'));
  if not found or v_branch is distinct from 'refs/heads/' || v_repository.branch then
    return json_build_object('accepted', true, 'queued', false); -- sent again, a ping, or another branch
  end if;
  perform private.queue_sync(v_repository, private.user_of_syncs(v_repository), 'push', false);
  return json_build_object('accepted', true, 'queued', true);
end;
$$;
comment on function private.receive_git_push(json) is 'Body of public.receive_git_push.';
revoke execute on function private.receive_git_push(json) from public;
grant execute on function private.receive_git_push(json) to anon;

-- The body is bound when the function is made: anon may call what it names, and cannot look into private.
create function public.receive_git_push(json) returns json
language sql volatile security invoker set search_path = ''
return private.receive_git_push($1);
comment on function public.receive_git_push(json) is
  'For webhooks of git hosts, with the anon key: the JSON of a push, signed as GitHub does (X-Hub-Signature-256), or with the secret in X-Gitlab-Token. {accepted, queued}; a push that is sent again, or to another branch, queues nothing. Errors: PT401 push_not_accepted, PT413 push_too_large, PT429 too_many_pushes, PT409 repository_without_user.';
revoke execute on function public.receive_git_push(json) from public, anon, authenticated;
grant execute on function public.receive_git_push(json) to anon;
