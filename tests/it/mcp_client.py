"""Speaks to the server with the official client, and prints what it was told as one JSON object."""

import asyncio
import json
import sys

from mcp import ClientSession, StdioServerParameters, stdio_client


async def main() -> None:
    program, directory, *arguments = sys.argv[1:]
    server = StdioServerParameters(
        command=program,
        args=["mcp", *arguments],
        cwd=directory,
        env={"LOGAGENT_CONFIG": "", "PATH": "/usr/bin:/bin"},
    )
    told = {}
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        hello = await session.initialize()
        told["hello"] = hello.model_dump(mode="json", by_alias=True)
        tools = await session.list_tools()
        told["tools"] = [t.model_dump(mode="json", by_alias=True, exclude_none=True) for t in tools.tools]
        prompts = await session.list_prompts()
        told["prompts"] = [p.name for p in prompts.prompts]
        prompt = await session.get_prompt("debugging_workflow", {"key": "abc"})
        told["prompt"] = prompt.messages[0].content.text
        templates = await session.list_resource_templates()
        told["templates"] = len(templates.resource_templates if hasattr(templates, "resource_templates") else templates.resourceTemplates)
        for name, arguments in json.load(sys.stdin):
            result = await session.call_tool(name, arguments)
            error = result.is_error if hasattr(result, "is_error") else result.isError
            text = result.content[0].text
            told.setdefault("calls", []).append({"error": bool(error), "answer": text if error else json.loads(text)})
    print(json.dumps(told))


asyncio.run(main())
