"""What Supabase Vault puts into a database, for tests; its cryptography does not run here.

The table, the view, the signatures and the unique names follow supabase/vault's supabase_vault--0.3.0.sql, the grants
supabase/postgres's after-create.sql for it. Where Vault encrypts with libsodium, this writes base64: enough to see that
what is stored and what is read are two things. It fails with the whole row, as Postgres does, for a value that begins
with "unacceptable".
"""

VAULT = """
create schema vault;
create table vault.secrets (
  id uuid primary key default gen_random_uuid(), name text, description text not null default '', secret text not null,
  key_id uuid, nonce bytea default '\\x00', created_at timestamptz not null default current_timestamp,
  updated_at timestamptz not null default current_timestamp
);
create unique index on vault.secrets (name) where name is not null;
create view vault.decrypted_secrets as
select s.id, s.name, s.description, s.secret, convert_from(decode(s.secret, 'base64'), 'utf8') as decrypted_secret,
  s.key_id, s.nonce, s.created_at, s.updated_at
from vault.secrets s;
create function vault.create_secret(
  new_secret text, new_name text default null, new_description text default '', new_key_id uuid default null
) returns uuid language plpgsql security definer set search_path = '' as $$
declare
  v_id uuid;
begin
  if new_secret like 'unacceptable%' then
    raise exception using errcode = '23514', message = 'no', detail = 'Failing row contains (' || new_secret || ').';
  end if;
  insert into vault.secrets (secret, name, description, key_id)
  values (new_secret, new_name, new_description, new_key_id)
  returning id into v_id;
  update vault.secrets s set secret = encode(convert_to(new_secret, 'utf8'), 'base64') where s.id = v_id;
  return v_id;
end $$;
create function vault.update_secret(
  secret_id uuid, new_secret text default null, new_name text default null, new_description text default null,
  new_key_id uuid default null
) returns void language plpgsql security definer set search_path = '' as $$
begin
  update vault.secrets s
  set secret = coalesce(encode(convert_to(new_secret, 'utf8'), 'base64'), s.secret), name = coalesce(new_name, s.name),
    description = coalesce(new_description, s.description), updated_at = now()
  where s.id = secret_id;
end $$;
revoke execute on all functions in schema vault from public;
grant usage on schema vault to postgres with grant option;
grant select, delete on vault.secrets, vault.decrypted_secrets to postgres with grant option;
grant execute on all functions in schema vault to postgres with grant option;
grant usage on schema vault to service_role;
grant select, delete on vault.secrets, vault.decrypted_secrets to service_role;
grant execute on all functions in schema vault to service_role;
"""
