-- Code workflows: what a worker needs to hand an execution to the server of its framework (docs/frameworks.md). Their tasks have the
-- internal method run_workflow and are made with their execution. Nothing is locked here.

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
