#!/usr/bin/env python3
"""Many runs at a time in one process: each asyncio task is a run of its own. Needs nothing but loguru.

`logger.contextualize` belongs to the task that enters it, so that what is logged anywhere below carries the right id.
"""

import asyncio
import os

from loguru import logger

logger.remove()
logger.add("logs/asyncio_tasks.jsonl", serialize=True, rotation="10 MB", retention=5, compression="gz")


async def fetch(page):
    await asyncio.sleep(0.01 * (page % 3))
    if page == 7:
        raise TimeoutError(f"page {page} took too long")
    logger.bind(page=page).info("page {} fetched", page)


async def crawl(site, batch):
    with logger.contextualize(execution_id=f"crawl_{batch}_{site}", script_name="crawl", tags=["crawl"]):
        logger.bind(event="run_start", metadata={"site": site}).info("crawling {}", site)
        try:
            for page in range(site, site + 3):
                await fetch(page)
        except TimeoutError as e:
            logger.exception("gave up {}", site)
            logger.bind(event="run_end", status="failed", error=str(e)).error("site {} failed", site)
        else:
            logger.bind(event="run_end", status="success").success("site {} done", site)


async def main():
    batch = os.urandom(4).hex()
    await asyncio.gather(*(crawl(site, batch) for site in range(6)))


asyncio.run(main())
