-- Code workflows: what a worker needs to hand an execution to the server of its framework (docs/frameworks.md). Their tasks have the
-- internal method run_workflow and are made with their execution. Nothing is locked here.

create function private.refuse_literal_credentials_in_workflow() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_field constant text := private.literal_credential(new.workflow_data -> 'endpoint');
begin
  if private.is_client() and v_field is not null then
    raise exception using errcode = '22023', message = 'credential_is_literal',
      detail = format('workflow_data.endpoint.%s of workflow "%s" holds a credential, and everybody who sees the workflow reads it.', v_field, new.name),
      hint = 'Keep it among the organization''s secrets and write its name here, e.g. "${API_TOKEN}".';
  end if;
  return new;
end;
$$;
comment on function private.refuse_literal_credentials_in_workflow() is
  'Before insert of a workflow with an endpoint of its own: viewers read it, so that what a client writes there names secrets and holds none.';
revoke execute on function private.refuse_literal_credentials_in_workflow() from public;

create trigger refuse_literal_credentials before insert on public.workflows
for each row when (new.workflow_data ? 'endpoint') execute function private.refuse_literal_credentials_in_workflow();

create function public.read_workflow_execution(task_id uuid, attempt integer, lease_token uuid) returns jsonb
language plpgsql stable security invoker set search_path = ''
as $$
begin
  perform private.check_lease(task_id, attempt, lease_token);
  return (
    select jsonb_build_object(
      'execution_id', e.id, 'correlation_id', e.correlation_id, 'workflow_id', w.id, 'name', w.name, 'version', w.version,
      'framework', w.framework, 'workflow_type', w.workflow_type, 'workflow_data', w.workflow_data
    )
    from public.tasks t
    join public.workflow_executions e on e.id = t.execution_id
    join public.workflows w on w.id = e.workflow_id
    where t.id = read_workflow_execution.task_id
  );
end;
$$;
comment on function public.read_workflow_execution(uuid, integer, uuid) is
  'For the worker that holds a task of the method run_workflow: {execution_id, correlation_id, workflow_id, name, version, framework, workflow_type, workflow_data}; null once the execution is gone. Errors: PT409 lease_lost.';
revoke execute on function public.read_workflow_execution(uuid, integer, uuid) from public, anon, authenticated;
grant execute on function public.read_workflow_execution(uuid, integer, uuid) to service_role;
