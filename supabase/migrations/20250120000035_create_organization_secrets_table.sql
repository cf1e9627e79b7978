-- Secrets of organizations: keys of model providers, and what `${NAME}` means in their agents' endpoints. They go in and
-- come out only to workers (service_role), by read_organization_secrets. A value is in Supabase Vault where that exists,
-- else here as ciphertext of the workers' Fernet key. Lock order: rows in the order of their ids; what is held is skipped.

create table public.organization_secrets (
  id uuid primary key default gen_random_uuid(),
  organization_slug text not null references public.organizations (slug) on delete cascade,
  name text not null,
  description text,
  ciphertext text,
  vault_id uuid,
  version integer not null default 1,
  rotated_at timestamptz not null default private.clock(),
  last_used_at timestamptz,
  created_by uuid references public.users (id) on delete set null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- An organization's secrets by name (also the foreign key, policies).
  constraint secret_is_unique_within_an_organization unique (organization_slug, name),
  constraint name_is_like_stripe_key check (name ~ '^[A-Z][A-Z0-9_]{0,62}$'),
  constraint description_is_short_and_not_blank check (btrim(description) <> '' and length(description) <= 500),
  constraint value_is_in_one_place check (num_nonnulls(ciphertext, vault_id) = 1),
  -- 87480 characters hold 64 KiB.
  constraint ciphertext_is_a_fernet_token check (ciphertext ~ '^gAAAA[A-Za-z0-9_-]{70,}={0,2}$' and length(ciphertext) <= 87480)
);

-- Foreign key.
create index organization_secrets_created_by_idx on public.organization_secrets (created_by);

create trigger set_updated_at before update of ciphertext, vault_id, description, version on public.organization_secrets
for each row execute function public.set_updated_at();
create trigger audit after insert or update or delete on public.organization_secrets
for each row execute function private.audit('name');

create function private.drop_vault_secret() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  if to_regclass('vault.secrets') is not null then
    execute 'delete from vault.secrets where id = $1' using old.vault_id;
  end if;
  return null;
end;
$$;
comment on function private.drop_vault_secret() is 'After a secret is deleted, with its organization too, or moved out of Vault: nothing of it stays in Vault.';
revoke execute on function private.drop_vault_secret() from public;

create trigger drop_vault_secret after delete on public.organization_secrets
for each row when (old.vault_id is not null) execute function private.drop_vault_secret();
create trigger drop_moved_vault_secret after update of vault_id on public.organization_secrets
for each row when (old.vault_id is not null and old.vault_id is distinct from new.vault_id) execute function private.drop_vault_secret();

comment on table public.organization_secrets is
  'Secrets of organizations by name. Admins see that they are there, nobody reads them through the API, workers get them from read_organization_secrets.';
comment on column public.organization_secrets.ciphertext is 'The value as a Fernet token of the workers'' key (ORCHESTRATOR_SECRETS_KEY); null when it is in Vault.';
comment on column public.organization_secrets.vault_id is 'Where the value stands in vault.secrets; null when it is in ciphertext.';
comment on column public.organization_secrets.version is 'Counts the values it has had.';
comment on column public.organization_secrets.rotated_at is 'When it got its present value.';
comment on column public.organization_secrets.last_used_at is 'When a worker last asked for it, to the minute.';
comment on column public.organization_secrets.created_by is 'The user who first set it; null for servers.';

-- Protection -----------------------------------------------------------------------------------------------------------

alter table public.organization_secrets enable row level security;
revoke all on public.organization_secrets from anon, authenticated, service_role;
grant select (id, organization_slug, name, description, version, rotated_at, last_used_at, created_by, created_at, updated_at)
on public.organization_secrets to authenticated, service_role;

create policy "Admins see which secrets there are" on public.organization_secrets
for select to authenticated
using (organization_slug = any (array(select private.my_organizations('admin'))));

-- Setting and deleting -------------------------------------------------------------------------------------------------

create function private.vault_exists() returns boolean
language sql stable set search_path = ''
as $$
  select to_regprocedure('vault.create_secret(text, text, text, uuid)') is not null
    and to_regprocedure('vault.update_secret(uuid, text, text, text, uuid)') is not null;
$$;
comment on function private.vault_exists() is 'Whether this database has Supabase Vault.';
revoke execute on function private.vault_exists() from public;

create function private.check_secret(value text, ciphertext text) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if num_nonnulls(value, ciphertext) <> 1 or value = '' then
    raise exception using errcode = '22023', message = 'secret_value_missing',
      detail = 'Exactly one of value and ciphertext must be given, and not be empty.',
      hint = 'Send value where the database has Supabase Vault, else ciphertext.';
  end if;
  if octet_length(value) > 65536 or length(ciphertext) > 87480 then
    raise exception using errcode = 'PT413', message = 'secret_too_large',
      detail = 'The secret is over 64 KiB.', hint = 'Keep such a document elsewhere, and the key to it here.';
  end if;
  if value is not null and not private.vault_exists() then
    raise exception using errcode = '22023', message = 'vault_missing',
      detail = 'This database has no Supabase Vault, so a value in the clear is not taken; nothing was stored.',
      hint = 'Send ciphertext instead: python -m workers secrets encrypt makes it with the workers'' key.';
  end if;
  if ciphertext !~ '^gAAAA[A-Za-z0-9_-]{70,}={0,2}$' then
    raise exception using errcode = '22023', message = 'token_not_encrypted',
      detail = 'ciphertext is no Fernet token; a secret in the clear is never stored.',
      hint = 'Encrypt it with the workers'' key first: python -m workers secrets encrypt.';
  end if;
end;
$$;
comment on function private.check_secret(text, text) is 'Raises unless one of the two is given and can be stored here; no message repeats it.';
revoke execute on function private.check_secret(text, text) from public;

create function private.keep_in_vault(secret_id uuid, vault_id uuid, value text) returns uuid
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_id uuid := vault_id;
begin
  if v_id is not null then
    execute 'select vault.update_secret($1, $2)' using v_id, value;
  else
    execute 'select vault.create_secret($1, $2, $3)' into v_id
    using value, 'organization_secret_' || secret_id, 'A row of public.organization_secrets';
  end if;
  return v_id;
exception when others then
  -- Its own message may show the row, and with it the value.
  raise exception using errcode = 'PT503', message = 'vault_failed',
    detail = format('Supabase Vault did not take the secret (%s); nothing was stored.', sqlstate), hint = 'Try again, or ask the platform.';
end;
$$;
comment on function private.keep_in_vault(uuid, uuid, text) is 'Puts a value into Vault, over the one that is there if a vault_id is given; returns where it is. Called after the caller was checked.';
revoke execute on function private.keep_in_vault(uuid, uuid, text) from public;

create function private.set_organization_secret(organization_slug text, name text, value text, ciphertext text, description text) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
#variable_conflict use_column
declare
  v_old public.organization_secrets;
  v_new public.organization_secrets;
  v_id uuid;
  v_vault_id uuid;
  v_constraint text;
begin
  perform private.require_role(set_organization_secret.organization_slug, 'admin');
  perform private.check_secret(set_organization_secret.value, set_organization_secret.ciphertext);
  -- One at a time in an organization, so that the count holds and a value that goes to Vault goes there once.
  perform pg_advisory_xact_lock(hashtext('organization_secrets'), hashtext(set_organization_secret.organization_slug));
  select s.* into v_old from public.organization_secrets s
  where s.organization_slug = set_organization_secret.organization_slug and s.name = set_organization_secret.name
  for update;
  if v_old.id is null and 200 <= (
    select count(*) from public.organization_secrets s where s.organization_slug = set_organization_secret.organization_slug
  ) then
    raise exception using errcode = 'PT429', message = 'over_limit',
      detail = format('Organization "%s" has 200 of at most 200 secrets.', set_organization_secret.organization_slug),
      hint = 'Delete what is not needed: delete_organization_secret.';
  end if;
  v_id := coalesce(v_old.id, gen_random_uuid());
  if set_organization_secret.value is not null then
    v_vault_id := private.keep_in_vault(v_id, v_old.vault_id, set_organization_secret.value);
  end if;
  insert into public.organization_secrets as s (id, organization_slug, name, description, ciphertext, vault_id, created_by)
  values (
    v_id, set_organization_secret.organization_slug, set_organization_secret.name, set_organization_secret.description,
    set_organization_secret.ciphertext, v_vault_id, (select auth.uid())
  )
  on conflict on constraint secret_is_unique_within_an_organization do update
  set ciphertext = excluded.ciphertext, vault_id = excluded.vault_id, description = coalesce(excluded.description, s.description),
    version = s.version + 1, rotated_at = excluded.rotated_at, last_used_at = null
  returning s.* into v_new;
  return to_jsonb(v_new) - 'ciphertext' - 'vault_id';
exception
  when check_violation or not_null_violation then
    get stacked diagnostics v_constraint = constraint_name;
    perform private.refuse_value(coalesce(nullif(v_constraint, ''), 'name_is_like_stripe_key'), 'organization_secrets');
  when foreign_key_violation then
    raise exception using errcode = 'PT404', message = 'organization_not_found',
      detail = format('There is no organization "%s".', set_organization_secret.organization_slug), hint = 'Correct organization_slug.';
end;
$$;
comment on function private.set_organization_secret(text, text, text, text, text) is 'Body of public.set_organization_secret.';
revoke execute on function private.set_organization_secret(text, text, text, text, text) from public;
grant execute on function private.set_organization_secret(text, text, text, text, text) to authenticated, service_role;

create function public.set_organization_secret(
  organization_slug text, name text, value text default null, ciphertext text default null, description text default null
) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.set_organization_secret(organization_slug, name, value, ciphertext, description);
$$;
comment on function public.set_organization_secret(text, text, text, text, text) is
  'Sets a secret, or gives it a new value (admin and higher): value goes to Supabase Vault, ciphertext is a Fernet token of the workers'' key. Answers everything but the value; a description that is not given stays. Errors: 42501 not_allowed, 22023 secret_value_missing, vault_missing, token_not_encrypted, value_refused, PT413 secret_too_large, PT429 over_limit, PT503 vault_failed.';
revoke execute on function public.set_organization_secret(text, text, text, text, text) from public, anon, authenticated;
grant execute on function public.set_organization_secret(text, text, text, text, text) to authenticated, service_role;

create function private.delete_organization_secret(organization_slug text, name text) returns void
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform private.require_role(organization_slug, 'admin');
  delete from public.organization_secrets s
  where s.organization_slug = delete_organization_secret.organization_slug and s.name = delete_organization_secret.name;
  if not found then
    raise exception using errcode = 'PT404', message = 'secret_not_found',
      detail = format('Organization "%s" has no secret "%s".', organization_slug, left(name, 63)),
      hint = 'List the secrets you administer: GET /rest/v1/organization_secrets?select=name.';
  end if;
end;
$$;
comment on function private.delete_organization_secret(text, text) is 'Body of public.delete_organization_secret.';
revoke execute on function private.delete_organization_secret(text, text) from public;
grant execute on function private.delete_organization_secret(text, text) to authenticated, service_role;

create function public.delete_organization_secret(organization_slug text, name text) returns void
language sql volatile security invoker set search_path = ''
as $$
  select private.delete_organization_secret(organization_slug, name);
$$;
comment on function public.delete_organization_secret(text, text) is
  'Deletes a secret, in Vault too (admin and higher). Errors: 42501 not_allowed, PT404 secret_not_found.';
revoke execute on function public.delete_organization_secret(text, text) from public, anon, authenticated;
grant execute on function public.delete_organization_secret(text, text) to authenticated, service_role;

-- For workers ----------------------------------------------------------------------------------------------------------

create function private.vault_values(vault_ids uuid[]) returns table (vault_id uuid, value text)
language plpgsql stable security definer set search_path = ''
as $$
begin
  if cardinality(vault_ids) > 0 and private.vault_exists() then
    return query execute 'select d.id, d.decrypted_secret::text from vault.decrypted_secrets d where d.id = any ($1)' using vault_ids;
  end if;
end;
$$;
comment on function private.vault_values(uuid[]) is 'What stands in Vault under these ids; nothing where there is no Vault.';
revoke execute on function private.vault_values(uuid[]) from public;

create function private.read_organization_secrets(organization_slug text, names text[]) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
begin
  if cardinality(names) > 100 then
    raise exception using errcode = '22023', message = 'argument_out_of_range',
      detail = 'names holds more than 100 names.', hint = 'Ask for at most 100 secrets at once.';
  end if;
  with used as (
    select s.id from public.organization_secrets s
    where s.organization_slug = read_organization_secrets.organization_slug and s.name = any (read_organization_secrets.names)
      and coalesce(s.last_used_at, '-infinity') < private.clock() - interval '1 minute'
    order by s.id
    for no key update skip locked
  )
  update public.organization_secrets s set last_used_at = private.clock() from used u where s.id = u.id;
  return coalesce((
    with found as materialized (
      select s.name, s.ciphertext, s.vault_id, s.version from public.organization_secrets s
      where s.organization_slug = read_organization_secrets.organization_slug and s.name = any (read_organization_secrets.names)
    )
    select jsonb_agg(jsonb_strip_nulls(
      jsonb_build_object('name', f.name, 'version', f.version, 'value', v.value, 'ciphertext', f.ciphertext)
    ) order by f.name)
    from found f
    left join private.vault_values(array(select x.vault_id from found x where x.vault_id is not null)) v on v.vault_id = f.vault_id
  ), '[]');
end;
$$;
comment on function private.read_organization_secrets(text, text[]) is 'Body of public.read_organization_secrets.';
revoke execute on function private.read_organization_secrets(text, text[]) from public;
grant execute on function private.read_organization_secrets(text, text[]) to service_role;

create function public.read_organization_secrets(organization_slug text, names text[]) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.read_organization_secrets(organization_slug, names);
$$;
comment on function public.read_organization_secrets(text, text[]) is
  'For workers: up to 100 secrets of an organization as [{name, version, value | ciphertext}]; a name that it does not have is left out, and one that is gone from Vault has neither. Notes last_used_at, at most once a minute. Errors: 22023 argument_out_of_range.';
revoke execute on function public.read_organization_secrets(text, text[]) from public, anon, authenticated;
grant execute on function public.read_organization_secrets(text, text[]) to service_role;

-- A new key ------------------------------------------------------------------------------------------------------------

create function private.read_ciphertexts(source text, after uuid, max_rows integer) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
begin
  if max_rows is null or max_rows not between 1 and 100 then
    raise exception using errcode = '22023', message = 'argument_out_of_range',
      detail = 'max_rows is not between 1 and 100.', hint = 'Ask for 1 to 100 rows at once.';
  end if;
  return coalesce((
    select jsonb_agg(to_jsonb(c) order by c.id)
    from (
      select x.id, x.ciphertext
      from (
        select s.id, s.ciphertext from public.organization_secrets s where source = 'organization_secrets' and s.ciphertext is not null
        union all
        select g.id, g.encrypted_token from public.git_credentials g where source = 'git_credentials'
      ) x
      where read_ciphertexts.after is null or x.id > read_ciphertexts.after
      order by x.id
      limit max_rows
    ) c
  ), '[]');
end;
$$;
comment on function private.read_ciphertexts(text, uuid, integer) is 'Body of public.read_ciphertexts.';
revoke execute on function private.read_ciphertexts(text, uuid, integer) from public;
grant execute on function private.read_ciphertexts(text, uuid, integer) to service_role;

create function public.read_ciphertexts(source text, after uuid default null, max_rows integer default 20) returns jsonb
language sql stable security invoker set search_path = ''
as $$
  select private.read_ciphertexts(source, after, max_rows);
$$;
comment on function public.read_ciphertexts(text, uuid, integer) is
  'For python -m workers secrets rotate: what of organization_secrets or git_credentials is encrypted with the workers'' key, as [{id, ciphertext}] in the order of ids, after the one given. Errors: 22023 argument_out_of_range.';
revoke execute on function public.read_ciphertexts(text, uuid, integer) from public, anon, authenticated;
grant execute on function public.read_ciphertexts(text, uuid, integer) to service_role;

create function private.replace_ciphertexts(source text, items jsonb) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_ids uuid[];
  v_constraint text;
begin
  if jsonb_typeof(items) is distinct from 'array' or jsonb_array_length(items) > 100 then
    raise exception using errcode = '22023', message = 'items_not_a_list',
      detail = 'items is no JSON array of at most 100.', hint = 'Send [{id, old, new}].';
  end if;
  with wanted as materialized (
    select i.id, i.old, i.new from jsonb_to_recordset(items) as i (id uuid, old text, new text)
  ),
  secrets as materialized (
    select s.id from public.organization_secrets s join wanted w on w.id = s.id and w.old = s.ciphertext
    where source = 'organization_secrets' order by s.id for update of s skip locked
  ),
  credentials as materialized (
    select g.id from public.git_credentials g join wanted w on w.id = g.id and w.old = g.encrypted_token
    where source = 'git_credentials' order by g.id for update of g skip locked
  ),
  changed_secrets as (
    update public.organization_secrets s set ciphertext = w.new from secrets l join wanted w on w.id = l.id where s.id = l.id returning s.id
  ),
  changed_credentials as (
    update public.git_credentials g set encrypted_token = w.new from credentials l join wanted w on w.id = l.id where g.id = l.id returning g.id
  )
  select array_agg(c.id order by c.id) into v_ids
  from (select x.id from changed_secrets x union all select x.id from changed_credentials x) c;
  return to_jsonb(coalesce(v_ids, '{}'));
exception when check_violation or not_null_violation then
  get stacked diagnostics v_constraint = constraint_name;
  perform private.refuse_value(coalesce(nullif(v_constraint, ''), 'value_is_in_one_place'), source);
end;
$$;
comment on function private.replace_ciphertexts(text, jsonb) is 'Body of public.replace_ciphertexts.';
revoke execute on function private.replace_ciphertexts(text, jsonb) from public;
grant execute on function private.replace_ciphertexts(text, jsonb) to service_role;

create function public.replace_ciphertexts(source text, items jsonb) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.replace_ciphertexts(source, items);
$$;
comment on function public.replace_ciphertexts(text, jsonb) is
  'For python -m workers secrets rotate: puts the same values under another key, given as [{id, old, new}], and returns the ids that were changed. What is no longer as it was read, or is being written by somebody, is left as it is. Errors: 22023 items_not_a_list, value_refused.';
revoke execute on function public.replace_ciphertexts(text, jsonb) from public, anon, authenticated;
grant execute on function public.replace_ciphertexts(text, jsonb) to service_role;
