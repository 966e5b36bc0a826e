"""One configuration out of the drafts of several programs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mailnotary.config.settings import Mode
from mailnotary.importing.draft import THIS_HOST, Draft, Setting, ignores_this_host
from mailnotary.importing.entries import Entry, keystore_text
from mailnotary.importing.source import Note, SourceError
from mailnotary.importing.text import comment, flow


@dataclass(slots=True)
class Combined:
    """What is to be written, by the keys of mailnotary.yaml. `notes`: what the admin should read; `key_notes`: those of
    them that are about keys."""

    source: str
    settings: dict[str, Setting]
    entries: list[Entry]
    notes: list[Note]
    key_notes: list[Note]
    safe: bool

    def settings_text(self) -> str:
        """mailnotary.yaml."""
        about_keys = {*self.key_notes, *(note for entry in self.entries for note in entry.notes)}
        others = [note for note in self.notes if note not in about_keys]
        lines = [f"# From {comment(self.source)}. SPF and DMARC are checked too, and reject only what is written here."]
        if others:
            lines += ["#", "# Without a match, or not needed:", *(f"#   {comment(str(note))}" for note in others)]
        lines.append("")
        sections: dict[str, list[str]] = {}
        for key, setting in self.settings.items():
            section, _, name = key.rpartition(".")
            sections.setdefault(section, []).append(f"{name}: {setting.value}  # {comment(setting.origin)}")
        lines += sections.pop("", [])
        for section, values in sections.items():
            lines += [f"{section}:", *(f"  {value}" for value in values)]
        return "\n".join(lines) + "\n"

    def keystore_text(self) -> str:
        """keystore.yaml."""
        return keystore_text(self.source, self.entries, self.key_notes, safe=self.safe)


def combine(drafts: Sequence[Draft]) -> Combined:
    """What all of them grant and ask for. Where two want another value of one key, the one that signs decides, else the
    first. Raises SourceError for two that sign: neither's list of trusted clients may count for the other's keys."""
    signers = [draft for draft in drafts if draft.signs]
    if len(signers) > 1:
        first, second = signers[:2]
        raise SourceError(
            f"{second.path}: {second.program} signs too, as {first.program} of {first.path} does, each for clients of "
            "its own: import the one whose keys are in use, and add keys of the other by hand"
        )
    ordered = sorted(drafts, key=lambda draft: not draft.signs)  # stable: the order of the command line otherwise
    notes = [note for draft in ordered for note in draft.all_notes]
    listening = next((draft for draft in ordered if "listen" in draft.settings), ordered[0])
    settings = _settings(ordered, notes)
    notes[:0] = listening.socket_notes
    if not signers and (len(_filters(drafts)) > 1 or "sign_for.networks" not in settings):
        _trust_this_host_alone(ordered, settings)
    notes += [note for draft in drafts if signers and draft is not signers[0] for note in _unchecked(signers[0], draft)]
    settings = {"mode": _mode(ordered), **settings}
    files = (" ".join(map(str, (draft.path, *draft.others))) for draft in ordered)
    source = ", ".join(f"{names} ({draft.program})" for names, draft in zip(files, ordered, strict=True))
    return Combined(
        source,
        settings,
        [entry for draft in signers or ordered for entry in draft.entries],
        notes,
        [note for draft in ordered for note in draft.key_notes],
        all(draft.safe for draft in ordered),
    )


def _filters(drafts: Sequence[Draft]) -> list[Draft]:
    """Those that are not Postfix's own files."""
    return [draft for draft in drafts if draft.program != "Postfix"]


def _settings(ordered: Sequence[Draft], notes: list[Note]) -> dict[str, Setting]:
    settings: dict[str, Setting] = {}
    owner: dict[str, Draft] = {}
    several, signer = len(_filters(ordered)) > 1, ordered[0] if ordered[0].signs else None
    for draft in ordered:
        for key, setting in draft.settings.items():
            if key == "exempt.networks" and several:
                why = f"not taken over: {setting.value} would be exempt from what the other programs do as well"
            elif key.startswith("sign_for.") and signer is not None and draft is not signer:
                why = f"not taken over: {signer.program} signs, and its own clients count"
            elif key == "socket" and owner.get("listen", draft) is not draft:
                continue  # of a socket that is not ours
            elif key not in settings:
                settings[key], owner[key] = setting, draft
                continue
            elif settings[key].value == setting.value:
                continue
            else:
                first = settings[key]
                why = f"{key} is {first.value}, for {owner[key].program} ({first.place}: {first.origin})"
            notes.append(Note(setting.place, f"{setting.origin}: {why}"))
    return settings


def _unchecked(signer: Draft, checker: Draft) -> Iterator[Note]:
    """A note on mail that is signed here, and so not checked, although a program did check it."""
    if checker.program == "Postfix" or (networks := signer.settings.get("sign_for.networks")) is None:
        return
    signed = {address for address in signer.ignored if address not in {*THIS_HOST, *checker.ignored}}
    if signed:
        why = (
            f"mail of these is signed, and not checked as {checker.program} did: leave out whom you would not vouch for"
        )
        yield Note(networks.place, f"{networks.origin}: {why}")


def _mode(drafts: Sequence[Draft]) -> Setting:
    filters = _filters(drafts)
    wanted = {draft.mode for draft in filters}
    mode = wanted.pop() if len(wanted) == 1 else Mode.BOTH
    return Setting(mode.value, "what " + " and ".join(draft.program for draft in filters) + " did", "")


def _trust_this_host_alone(drafts: Sequence[Draft], settings: dict[str, Setting]) -> None:
    """Mail from `sign_for` is not checked: what each of several programs checks must be, but for mail of this host that
    none of them judges."""
    for key in ("sign_for.networks", "sign_for.daemon_names"):
        settings.pop(key, None)
    judged = [ignores_this_host(draft) for draft in _filters(drafts)]
    networks = [address for address in THIS_HOST if all(address in ignored for ignored in judged)]
    settings["sign_for.networks"] = Setting(flow(networks), "whose mail none of them judged", "")
