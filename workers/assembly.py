"""Puts together what runs each method: the kinds of agents, and what they go out by."""

from __future__ import annotations

from contextlib import AsyncExitStack

from workers.agents.api import ApiAgents
from workers.agents.context import ContextAgents
from workers.agents.external import ExternalAgents
from workers.agents.frameworks import Frameworks
from workers.agents.frameworks.agents import FrameworkAgents
from workers.agents.frameworks.workflow import Workflows
from workers.agents.providers import Providers
from workers.agents.result import AgentRunner
from workers.agents.status_webhooks import StatusWebhooks
from workers.agents.transforms import Transforms
from workers.backend import Backend
from workers.door import Door
from workers.git import RepositorySyncs
from workers.handlers import build_handlers
from workers.job import Handler
from workers.marketplaces import Marketplaces
from workers.orchestrator import Orchestrators
from workers.planning import Planner
from workers.secrets import Secrets
from workers.settings import Settings
from workers.steps import StepPrograms
from workers.webhooks import Webhooks


async def assemble(
    stack: AsyncExitStack, settings: Settings, secrets: Secrets, database: Backend
) -> dict[str, Handler]:
    """Return the handler of each method; what they hold open is closed with `stack`.

    `database` is a connection on the loop on which the agents run.
    """
    door = await stack.enter_async_context(Door(allow_private=settings.allow_private_hosts))
    providers = await stack.enter_async_context(Providers(settings.providers, secrets=secrets))
    url = settings.supabase_public_url or settings.supabase_url
    jobs = await stack.enter_async_context(StatusWebhooks(database, url=url, anon_key=settings.supabase_anon_key))
    api = await stack.enter_async_context(ApiAgents(door, secrets, jobs))
    frameworks = Frameworks(door, secrets, database, jobs)
    offline_seconds = settings.offline_delay if settings.offline else None
    context = ContextAgents(providers, door=door, secrets=secrets, database=database, offline_seconds=offline_seconds)
    others: dict[str, AgentRunner] = {
        "api": api,
        "external": FrameworkAgents(frameworks, ExternalAgents(door, secrets, database)),
    }
    handlers = build_handlers({"context": context, **others})
    orchestrators = Orchestrators(context, others, database)
    steps = StepPrograms(await stack.enter_async_context(Transforms()), database)
    marketplaces = Marketplaces(door, database, secrets, settings.marketplace)
    return {
        **handlers,
        "plan_project": Planner(context, database).plan,
        "orchestrate": orchestrators.orchestrate,
        "command_agent": orchestrators.command,
        "deliver_webhook": Webhooks(door, database).deliver,
        "evaluate_step": steps.evaluate,
        "publish_agent": marketplaces.publish,
        "unpublish_agent": marketplaces.unpublish,
        "fetch_marketplace_usage": marketplaces.fetch_usage,
        "run_workflow": Workflows(frameworks, database).run,
        "sync_repository": RepositorySyncs(door, secrets, database).sync,
    }
