-- Agents from git (document D): repositories, what was found in them, and the credentials to reach them.

create table public.agent_repositories (
  id uuid primary key default gen_random_uuid(),
  organization_slug text not null references public.organizations (slug) on delete cascade,
  name text not null,
  git_url text not null,
  branch text not null default 'main',
  is_root boolean not null default false,
  agent_directory text,
  last_sync_commit_hash text,
  last_sync_at timestamptz,
  last_sync_status text not null default 'never_synced',
  last_sync_errors jsonb,
  created_by uuid default auth.uid() references public.users (id) on delete set null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- An organization's repositories by name (also the foreign key).
  constraint name_is_unique_within_an_organization unique (organization_slug, name),
  constraint name_is_not_blank check (btrim(name) <> '' and length(name) <= 255),
  constraint git_url_is_http_without_credentials check (git_url ~ '^https?://[^/@\s]+/\S*$' and length(git_url) <= 1024),
  constraint branch_is_a_ref_name check (branch ~ '^[A-Za-z0-9][A-Za-z0-9._/-]{0,254}$' and branch !~ '\.\.'),
  constraint agent_directory_is_a_relative_path check (
    agent_directory ~ '^[^/\\]' and agent_directory !~ '(^|/)\.\.(/|$)' and length(agent_directory) <= 255
  ),
  constraint last_sync_status_is_known check (last_sync_status in ('never_synced', 'in_progress', 'success', 'failure'))
);

-- Foreign key.
create index agent_repositories_created_by_idx on public.agent_repositories (created_by);

create table public.git_agents (
  id uuid primary key default gen_random_uuid(),
  agent_repository_id uuid not null references public.agent_repositories (id) on delete cascade,
  name text not null,
  description text,
  file_path text not null,
  content_hash text not null,
  frontmatter jsonb not null default '{}',
  body text not null default '',
  is_active boolean not null default true,
  tags text[] not null default '{}',
  last_modified_commit_hash text,
  agent_slug text unique references public.agents (slug) on delete set null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- A repository's files (also the foreign key).
  constraint file_path_is_unique_within_a_repository unique (agent_repository_id, file_path),
  constraint file_path_is_relative check (file_path ~ '^[^/\\]' and file_path !~ '(^|/)\.\.(/|$)' and length(file_path) <= 1024),
  constraint frontmatter_is_an_object check (jsonb_typeof(frontmatter) = 'object')
);

create table public.git_credentials (
  id uuid primary key default gen_random_uuid(),
  repository_id uuid not null unique references public.agent_repositories (id) on delete cascade,
  provider text,
  username text,
  encrypted_token text not null,
  token_name text,
  expires_at timestamptz,
  last_used_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint encrypted_token_is_a_fernet_token check (encrypted_token ~ '^gAAAA[A-Za-z0-9_-]{70,}={0,2}$' and length(encrypted_token) <= 10000),
  constraint names_are_short check (length(provider) <= 50 and length(username) <= 255 and length(token_name) <= 255)
);

create trigger set_updated_at before update on public.agent_repositories
for each row execute function public.set_updated_at();
create trigger set_updated_at before update on public.git_agents
for each row execute function public.set_updated_at();
create trigger set_updated_at before update on public.git_credentials
for each row execute function public.set_updated_at();

create function private.delete_credentials() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  delete from public.git_credentials c where c.repository_id = old.id;
  return old;
end;
$$;
comment on function private.delete_credentials() is 'Before a repository goes: its credential goes first, while the audit log can still tell whose it was.';
revoke execute on function private.delete_credentials() from public;

create trigger delete_credentials before delete on public.agent_repositories
for each row execute function private.delete_credentials();

create function private.forget_last_sync() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  new.last_sync_commit_hash := null;
  return new;
end;
$$;
comment on function private.forget_last_sync() is 'Before a repository means another place: what was synced says nothing about it, and the next sync reads it whole.';
revoke execute on function private.forget_last_sync() from public;

create trigger forget_last_sync before update of git_url, branch, is_root, agent_directory on public.agent_repositories
for each row
when ((old.git_url, old.branch, old.is_root, old.agent_directory) is distinct from (new.git_url, new.branch, new.is_root, new.agent_directory))
execute function private.forget_last_sync();

create function private.drop_credential() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  delete from public.git_credentials c where c.repository_id = new.id;
  return null;
end;
$$;
comment on function private.drop_credential() is
  'After a repository gets another address, which developers may give it: the credential that an admin set was for the one before, and is not sent anywhere else.';
revoke execute on function private.drop_credential() from public;

create trigger drop_credential after update of git_url on public.agent_repositories
for each row when (old.git_url is distinct from new.git_url) execute function private.drop_credential();

create function private.deactivate_git_agents() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  update public.agents a set status = 'inactive'
  where a.status = 'active' and a.slug in (select g.agent_slug from public.git_agents g where g.agent_repository_id = old.id);
  return old;
end;
$$;
comment on function private.deactivate_git_agents() is 'Before a repository goes: its agents stay, and their tasks with them, but no longer run.';
revoke execute on function private.deactivate_git_agents() from public;

create trigger deactivate_agents before delete on public.agent_repositories
for each row execute function private.deactivate_git_agents();

comment on table public.agent_repositories is 'Git repositories with agents as markdown files; workers keep git_agents and agents in step with them (docs/git-agents.md).';
comment on column public.agent_repositories.agent_directory is 'Where agents are when is_root is false; null for "agents".';
comment on column public.agent_repositories.last_sync_commit_hash is 'The commit that git_agents is in step with; a sync of the same one does nothing.';
comment on column public.agent_repositories.last_sync_at is 'When a sync last changed or found something; one that found the same commit does not move it.';
comment on column public.agent_repositories.last_sync_status is
  'success: in step with last_sync_commit_hash, but for the files in last_sync_errors; failure: the last attempt failed, and the agents are as they were; in_progress: a sync reads the repository.';
comment on column public.agent_repositories.last_sync_errors is
  'Null when there is nothing to say, else [{path?, level: error|warning, code, message}]: files that could not be used or not whole, or why the sync failed; at most 1000.';
comment on column public.git_agents.content_hash is 'The id that git gives the file''s content (of its blob).';
comment on column public.git_agents.last_modified_commit_hash is 'The commit at which a sync last found it changed.';
comment on column public.agent_repositories.is_root is 'True: look for agents from the root of the repository; false: in agent_directory.';
comment on table public.git_agents is 'Agents found in repositories. Each becomes a row of agents (agent_slug); when its file is gone it is deactivated, not deleted.';
comment on column public.git_agents.body is 'The markdown below the front matter: the agent''s prompt.';
comment on table public.git_credentials is 'Tokens for private repositories, encrypted with the workers'' Fernet key before they come here. Nobody reads them through the API.';

-- Protection ---------------------------------------------------------------------------------------------------------

alter table public.agent_repositories enable row level security;
revoke all on public.agent_repositories from anon, authenticated, service_role;
grant select, delete on public.agent_repositories to authenticated;
grant insert (organization_slug, name, git_url, branch, is_root, agent_directory) on public.agent_repositories to authenticated;
grant update (name, git_url, branch, is_root, agent_directory) on public.agent_repositories to authenticated;
grant select, insert, update, delete on public.agent_repositories to service_role;

create policy "Members read repositories" on public.agent_repositories
for select to authenticated
using (organization_slug = any (array(select private.my_organizations('viewer'))));
create policy "Developers add repositories" on public.agent_repositories
for insert to authenticated
with check (organization_slug = any (array(select private.my_organizations('developer'))));
create policy "Developers change repositories" on public.agent_repositories
for update to authenticated
using (organization_slug = any (array(select private.my_organizations('developer'))))
with check (organization_slug = any (array(select private.my_organizations('developer'))));
create policy "Developers remove repositories" on public.agent_repositories
for delete to authenticated
using (organization_slug = any (array(select private.my_organizations('developer'))));

alter table public.git_agents enable row level security;
revoke all on public.git_agents from anon, authenticated, service_role;
grant select on public.git_agents to authenticated;
grant select, insert, update, delete on public.git_agents to service_role;

create policy "Whoever reads a repository reads its agents" on public.git_agents
for select to authenticated
using (exists (select from public.agent_repositories r where r.id = agent_repository_id));

alter table public.git_credentials enable row level security;
revoke all on public.git_credentials from anon, authenticated, service_role;
grant select (id, repository_id, provider, username, token_name, expires_at, last_used_at, created_at, updated_at)
on public.git_credentials to authenticated, service_role;
grant delete on public.git_credentials to authenticated, service_role;

create policy "Admins see which credentials there are" on public.git_credentials
for select to authenticated
using (exists (
  select from public.agent_repositories r
  where r.id = repository_id and r.organization_slug = any (array(select private.my_organizations('admin')))
));
create policy "Admins delete credentials" on public.git_credentials
for delete to authenticated
using (exists (
  select from public.agent_repositories r
  where r.id = repository_id and r.organization_slug = any (array(select private.my_organizations('admin')))
));

-- Functions ----------------------------------------------------------------------------------------------------------

create function private.set_git_credential(
  repository_id uuid, encrypted_token text, username text, provider text, token_name text, expires_at timestamptz
) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
#variable_conflict use_column
declare
  v_organization_slug text;
  v_credential public.git_credentials;
  v_constraint text;
begin
  select r.organization_slug into v_organization_slug
  from public.agent_repositories r
  where r.id = set_git_credential.repository_id
    and (not private.is_client() or r.organization_slug in (select private.my_organizations('admin')));
  if not found then
    raise exception using errcode = 'PT404', message = 'repository_not_found',
      detail = format('You administer no repository %s.', set_git_credential.repository_id), hint = 'Only admins of its organization set a repository''s credential.';
  end if;
  insert into public.git_credentials as c (repository_id, encrypted_token, username, provider, token_name, expires_at)
  values (
    set_git_credential.repository_id, set_git_credential.encrypted_token, set_git_credential.username,
    set_git_credential.provider, set_git_credential.token_name, set_git_credential.expires_at
  )
  on conflict (repository_id) do update
  set encrypted_token = excluded.encrypted_token, username = excluded.username, provider = excluded.provider,
    token_name = excluded.token_name, expires_at = excluded.expires_at, last_used_at = null
  returning c.* into v_credential;
  return to_jsonb(v_credential) - 'encrypted_token';
exception when check_violation then
  get stacked diagnostics v_constraint = constraint_name;
  perform private.refuse_value(v_constraint, 'git_credentials');
end;
$$;
comment on function private.set_git_credential(uuid, text, text, text, text, timestamptz) is 'Body of public.set_git_credential.';
revoke execute on function private.set_git_credential(uuid, text, text, text, text, timestamptz) from public;
grant execute on function private.set_git_credential(uuid, text, text, text, text, timestamptz) to authenticated, service_role;

create function public.set_git_credential(
  repository_id uuid, encrypted_token text, username text default null, provider text default null,
  token_name text default null, expires_at timestamptz default null
) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  if encrypted_token is null or encrypted_token !~ '^gAAAA[A-Za-z0-9_-]{70,}={0,2}$' then
    raise exception using errcode = '22023', message = 'token_not_encrypted',
      detail = 'encrypted_token is no Fernet token; a token in the clear is never stored.',
      hint = 'Encrypt it with the workers'' key first (python -m workers secrets encrypt).';
  end if;
  return private.set_git_credential(repository_id, encrypted_token, username, provider, token_name, expires_at);
end;
$$;
comment on function public.set_git_credential(uuid, text, text, text, text, timestamptz) is
  'Sets or replaces the credential of a repository (admin and higher); answers everything but the token. Errors: PT404 repository_not_found, 22023 token_not_encrypted.';
revoke execute on function public.set_git_credential(uuid, text, text, text, text, timestamptz) from public, anon, authenticated;
grant execute on function public.set_git_credential(uuid, text, text, text, text, timestamptz) to authenticated, service_role;

create function private.read_git_credential(repository_id uuid) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
#variable_conflict use_column
begin
  update public.git_credentials c set last_used_at = private.clock()
  where c.id = (
    select x.id from public.git_credentials x
    where x.repository_id = read_git_credential.repository_id
      and coalesce(x.last_used_at, '-infinity') < private.clock() - interval '1 minute'
    for no key update skip locked
  );
  return (
    select jsonb_build_object(
      'provider', c.provider, 'username', c.username, 'encrypted_token', c.encrypted_token, 'expires_at', c.expires_at, 'git_url', r.git_url
    )
    from public.git_credentials c
    join public.agent_repositories r on r.id = c.repository_id
    where c.repository_id = read_git_credential.repository_id
  );
end;
$$;
comment on function private.read_git_credential(uuid) is 'Body of public.read_git_credential.';
revoke execute on function private.read_git_credential(uuid) from public;
grant execute on function private.read_git_credential(uuid) to service_role;

create function public.read_git_credential(repository_id uuid) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.read_git_credential(repository_id);
$$;
comment on function public.read_git_credential(uuid) is
  'For workers: {provider, username, encrypted_token, expires_at, git_url} of a repository, null when it has no credential. Notes last_used_at, at most once a minute.';
revoke execute on function public.read_git_credential(uuid) from public, anon, authenticated;
grant execute on function public.read_git_credential(uuid) to service_role;
