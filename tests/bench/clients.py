"""The clients: `load/` does what a plan says, on a processor of its own, and tells what it saw."""

import json
import os
import subprocess
import sys

from servers import BOTH, ONE, OTHER, on


class Clients:
    def __init__(self, load, seconds, warm):
        self.load, self.seconds, self.warm = load, seconds, warm
        # Of all windows but those whose errors are a figure of their own.
        self.errors = 0

    def measure(self, server, groups, seconds=None, warm=None, meanwhile=None, may_fail=False):
        """One window. `meanwhile` is called at its end, while all connections are still there."""
        has_own_processor = server.processors == ONE
        plan = {
            "port": server.port, "spins": has_own_processor, "seconds": seconds or self.seconds, "warm": warm or self.warm,
            "processes": server.processes, "groups": [{"fields": server.fields, **group} for group in groups],
        }
        with on(OTHER if has_own_processor else BOTH):
            load = subprocess.Popen([self.load, "measure"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            load.stdin.write(json.dumps(plan) + "\n")
            load.stdin.flush()
            line = load.stdout.readline()
            if not line:
                sys.exit(f"the load on {server.name} ended with {load.wait()}; its log ends with\n{server.log_end()}")
            seen = json.loads(line)
            if meanwhile:
                seen["meanwhile"] = meanwhile()
        except BaseException:
            load.kill()
            raise
        finally:
            load.stdin.close()
            load.wait()
        if server.process.poll() is not None:
            sys.exit(f"{server.name} has ended; its log ends with\n{server.log_end()}")
        errors = sum(group["errors"] for group in seen["groups"])
        if errors and not may_fail:
            self.errors += errors
            print(f"{server.name}: {errors} errors", file=sys.stderr)
        return seen
