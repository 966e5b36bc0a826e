"""`mailnotary rotate --due`: one run of the keys that replace themselves."""

import argparse
import shlex
import subprocess
import time

from mailnotary.cli import CommandError
from mailnotary.cli.common import counted, print_json, read_configuration
from mailnotary.config.publishing import RotationSettings
from mailnotary.config.settings import Mode
from mailnotary.errors import SetupError
from mailnotary.escape import printable
from mailnotary.keys.create import owner_of
from mailnotary.publish.publisher import Publishers
from mailnotary.publish.rotation import Run, problems
from mailnotary.resolver.authority import Authority

RELOAD_SECONDS = 120


def rotate_due(args: argparse.Namespace) -> int:
    """Does what is due and prints it; 1 if something could not be done."""
    settings = read_configuration(args.config).settings
    if settings.mode is Mode.VERIFY:
        raise CommandError("mode is verify, so no key signs, and there is nothing to replace")
    authority = Authority(settings.dns.nameservers, timeout=settings.dns.timeout)
    done: list[tuple[str, str]] = []

    def say(domain: str, text: str) -> None:
        done.append((domain, text))
        if not args.json:
            print(f"{domain}: {printable(text, 1000)}", flush=True)

    owner, _ = owner_of(settings.user)
    run = Run(
        load=lambda: read_configuration(args.config),
        publishers=Publishers(settings.publish, authority),
        owner=owner,
        reload=lambda: _reload(settings.rotation),
        say=say,
    )
    after = run.run()
    failed = list(problems(after))
    if args.json:
        actions = [{"domain": domain, "text": text} for domain, text in done]
        print_json({"done": actions, "steps": after.steps, "next": after.next_domain, "due": after.next_due})
        return 1 if failed or run.failed else 0
    for step in after.steps:
        print(f"{step.entry}: {step.selector}: {printable(step.text, 1000)}")
    if after.overdue:
        print(f"{counted(after.overdue, 'domain')} more {'is' if after.overdue == 1 else 'are'} due, for the next run")
    elif after.next_due is not None:
        print(f"next: {after.next_domain} on {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(after.next_due))}")
    return 1 if failed or run.failed else 0


def _reload(rotation: RotationSettings) -> None:
    """Has the daemon read its files. Raises SetupError."""
    if not rotation.reload:
        return
    shown = shlex.join(rotation.reload)
    try:
        done = subprocess.run(  # noqa: S603 - the administrator's own, without a shell
            rotation.reload, stdin=subprocess.DEVNULL, capture_output=True, timeout=RELOAD_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"`{shown}` failed, and is tried again in the next run: {error}") from error
    if done.returncode != 0:
        said = printable(done.stderr.decode("utf-8", "replace").strip(), 300)
        raise SetupError(f"`{shown}` failed with status {done.returncode}, and is tried again in the next run: {said}")
