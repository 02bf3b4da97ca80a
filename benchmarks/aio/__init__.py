"""What a call costs in asyncio, beside aiohttp and others: CPU, many tasks, the loop's gaps, and a storm."""
