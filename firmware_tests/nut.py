"""Network UPS Tools' own driver for the Q1 family, Debian's nutdrv_qx, as an independent reader of a port."""

import asyncio
import getpass
import os
import shutil
from pathlib import Path

#: Where Debian keeps the drivers; on no PATH.
FOLDERS = ("/lib/nut", "/usr/lib/nut")
NUTDRV_QX = shutil.which("nutdrv_qx", path=os.pathsep.join(FOLDERS))


async def nut_reads(port: Path, protocol: str, folder: Path, **settings: str) -> dict[str, str]:
    """Every variable that NUT's driver shows for the UPS at `port` after one round. `folder` holds its state file."""
    options = [
        word
        for key, value in {"port": str(port), "protocol": protocol, **settings}.items()
        for word in ("-x", f"{key}={value}")
    ]
    assert NUTDRV_QX is not None
    process = await asyncio.create_subprocess_exec(
        *(NUTDRV_QX, "-s", "ups", *options, "-u", getpass.getuser(), "-d", "1"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "NUT_STATEPATH": str(folder), "NUT_ALTPIDPATH": str(folder)},
    )
    try:
        output, complaints = await asyncio.wait_for(process.communicate(), 30)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, complaints.decode()
    lines = (line.partition(": ") for line in output.decode().splitlines())
    return {name: value for name, colon, value in lines if colon}
