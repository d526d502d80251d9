"""What is masked in the words of a command line, or of a list of mounts. Pure.

The words that say who and where a machine is, and what opens it: kernel-parameters.txt ("ip=",
"nfsroot="), nfsroot.rst, netconsole.rst, zfcp of s390; dracut.cmdline(7) ("netroot=", "rd.iscsi.*",
"rd.nvmf.*", "rd.zfcp="), initramfs-tools(7) and Debian's nbd-client and open-iscsi; systemd's
kernel-command-line(7), systemd(1), crypttab(5); cloud-init ("ds=nocloud;h=...", "network-config="),
Ignition; anaconda ("inst.*") and debian-installer ("netcfg/*", "url="); mount.cifs(8),
mount.nfs(5), mount.ceph(8), glusterfs. Masked is what may be one of these: too much harms nobody,
as the text keeps its length and plans read none of these words.
"""

from __future__ import annotations

import re
from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Kind(Enum):
    """What a masked piece of text is, for the list of what was masked."""

    SECRET = "secret"
    USER = "user"
    HOST = "host"
    SERIAL = "serial or id"


_WORD = re.compile(rb'(?:"[^"]*(?:"|\Z)|[^\s"])+')
"""A word as the kernel takes it (lib/cmdline.c, "next_arg"): blanks may stand in quotes."""
_KEY = re.compile(rb'"?([\w./-]+)=')
_ITEM = re.compile(rb"(?<![\w.:-])([\w.:-]+)=")
"""A word in the value of another: options of a mount, the query of a URL."""
_NEXT_ITEM = re.compile(rb"[,;?&][\w.:-]+=")

_SECRET_PARTS = (b"passw", b"passphr", b"secret", b"token", b"credential", b"cookie")
_SECRET_ENDS = (b"pass", b"pwd", b"pw", b"psk", b"key", b"keys", b"keyfile", b"wep", b"wpa")
_NO_SECRET = b"bypass"
"""``spec_store_bypass_disable=``, ``arm-smmu.disable_bypass=``"""
_SECRETS = frozenset({b"pin", b"otp", b"auth", b"sig", b"signature", b"wifi", b"seed"})
_SECRET_WORDS = (b"setenv", b"network_config", b"user_data", b"config_data")
"""They may carry anything, also in base64."""
_USER_ENDS = (b"user", b"username", b"login")
_HOST_ENDS = (
    *(b"hostname", b"host", b"server", b"gateway", b"domain", b"realm", b"initiator", b"proxy"),
    *(b"addr", b"target_name"),
)
_HOSTS = frozenset(
    b"dns gw ntp peer syslog remotelog ks kickstart vncconnect nbdroot discover dom workgroup "
    b"netbiosname servern".split()
)
_SERIAL_PARTS = (
    *(b"serialno", b"serialnumber", b"serial_number", b"machine_id", b"instance_id", b"hostid"),
    *(b"imei", b"meid", b"wwid", b"wwpn", b"wwnn", b"zfcp"),
)
_DATA_SOURCE = {b"h": Kind.HOST, b"i": Kind.SERIAL}
"""What cloud-init's ``ds=`` has for ``local-hostname`` and ``instance-id``."""
_NUMBER = re.compile(rb"0x[0-9a-fA-F]+|\d+")

_SCHEMES = rb"(?:iscsi|nbd|nfs4?|cifs|smb3?|fcoe|aoe|nvmf?|ceph)"
_KEPT = frozenset(
    b"iscsi nbd nfs nfs4 cifs smb live file block zfs hd cdrom disk nvme nvmf http https ftp tftp "
    b"dhcp on any none off auto6 dhcp6 ibft tmpfs overlay rootfs".split()
)
"""Words in front of a colon that are no host."""
_URL = re.compile(rb'[A-Za-z][A-Za-z0-9+.-]*://([^\s/,"?#]*)')
_BEFORE_AT = re.compile(rb'[^\s"=/,@](@)')
_USER_START = re.compile(rb"(?:.*://)|(?:" + _SCHEMES + rb":)", re.DOTALL)
_PLACE_OF_MEMORY = re.compile(
    rb"(?:0x[0-9a-fA-F]+|\d+)[KMGTPEkmgtpe]?@(?:0x[0-9a-fA-F]+|\d+)[KMGTPEkmgtpe]?(?=[,:;\s\"]|\Z)"
)
"""``256M@16M``, as crashkernel= and memmap= have it."""
_HOST_PATTERNS = (
    # Behind the user, or where one could be.
    re.compile(rb'(?:[^\s"=/,@]|' + _SCHEMES + rb':)@([^\s:/,"\[\]@]+)'),
    # netroot=iscsi:SERVER…, root=nfs:SERVER:/path
    re.compile(rb"(?<![\w/])" + _SCHEMES + rb':(?://)?([^\s:/,"@\[\]]+)'),
    # SERVER:/path, and //SERVER/share
    re.compile(rb'(?:^|[=,@"\s])([^\s:/,="@\[\]()]+):(?=/)'),
    # MONITOR:PORT,MONITOR:PORT:/ of ceph, SERVER:volume of glusterfs: words of their own.
    re.compile(rb'(?:\A|,)([^\s:/,="@\[\]()]+):\d+(?=(?:,[^\s=/]*)?:/)'),
    re.compile(rb"\A([A-Za-z][\w.-]*):(?=\w)(?![^\s]*=)"),
    # url=SERVER/path
    re.compile(rb'\burl=(?![A-Za-z][\w+.-]*://)([^\s/,"]+)'),
    re.compile(rb'(?<![:\w/])//([^\s/,"@]+)'),
    # The names of iSCSI and NVMe hosts have a domain in them.
    re.compile(rb'\b((?:iqn|nqn)\.[^\s,;"]+)'),
    re.compile(
        rb"(?:(?<![\w.-])|(?<=\bip-))((?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3})(?![\w.])"
    ),
    re.compile(
        rb"(?<![\w:])((?=[0-9A-Fa-f:.]*[0-9A-Fa-f])(?=[0-9A-Fa-f]*:(?:[0-9A-Fa-f]*:)*?(?::|(?:[0-9A-Fa-f]+:){5}))"
        rb"(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?:\d*\.\d+){0,3})(?![\w:])"
    ),
)
_HOME = re.compile(rb'(?:\A|(?<=[=:,"]))/(?:home|media|run/media|Users)/([^\s/,:"]+)')
_ADDRESS_KEYS = frozenset({b"ip", b"nfsaddrs"})
_ADDRESS_COLON = re.compile(rb":(?![^\[]*\])")
"""Not one in an address of IPv6, which stands in brackets."""
_CLIENT_NAME = 4
"""Of the fields of ip=: client, server, gateway, netmask, the client's name …"""

_TEXT_MAX = 16 << 10
_WORD_MAX = 512

Span = tuple[int, int, Kind]


def mask_words(text: bytes, found: Counter[Kind] | None = None) -> bytes:
    """Mask a text word by word; it keeps its length. ``found`` counts what was masked.

    What is longer than any command line is masked as a whole, and so is what is longer than any
    word that is known: looking for each form in it would take time by the square of its length.
    """
    if len(text) > _TEXT_MAX:
        return _crossed(text, (0, len(text), Kind.SECRET))
    return _WORD.sub(lambda word: _mask_word(word[0], found), text)


def words_left(text: bytes, masked: bytes) -> tuple[str, ...]:
    """Return what stands in front of each word's ``=``, or the word, of those left as they are."""
    keys = []
    for match in _WORD.finditer(text):
        word = match[0]
        if masked[match.start() : match.end()] == word:
            key = _KEY.match(word)
            keys.append((key[1] if key else word).decode("utf-8", "surrogateescape"))
    return tuple(dict.fromkeys(keys))


def _mask_word(word: bytes, found: Counter[Kind] | None) -> bytes:
    for span in _spans(word):
        masked = _crossed(word, span)
        if masked != word and found is not None:
            found[span[2]] += 1
        word = masked
    return word


def _crossed(word: bytes, span: Span) -> bytes:
    start, end, kind = span
    # What is secret does not even show its punctuation; bytes of other letters count as letters.
    visible = rb'[^\s"]' if kind is Kind.SECRET else rb"[0-9A-Za-z\x80-\xff]"
    return word[:start] + re.sub(visible, b"x", word[start:end]) + word[end:]


def _spans(word: bytes) -> Iterator[Span]:
    if len(word) > _WORD_MAX:
        yield 0, len(word), Kind.SECRET
        return
    key = _KEY.match(word)
    value = key.end() if key else 0
    if key and (kind := _kind_of_key(key[1])) in (Kind.SECRET, Kind.SERIAL):
        yield value, len(word), kind
        return
    for item in _ITEM.finditer(word):
        kind = _kind_of_key(item[1])
        if key and key[1] == b"ds":
            kind = _DATA_SOURCE.get(item[1], kind)
        if kind is not None and not _is_harmless(kind, word, item.end()):
            following = _NEXT_ITEM.search(word, item.end())
            yield item.end(), following.start() if following else len(word), kind
    if key and key[1] in _ADDRESS_KEYS:
        fields = _ADDRESS_COLON.split(word[value:])
        if len(fields) > _CLIENT_NAME:
            start = value + sum(len(field) + 1 for field in fields[:_CLIENT_NAME])
            yield start, start + len(fields[_CLIENT_NAME]), Kind.HOST
    memory = [match.span() for match in _PLACE_OF_MEMORY.finditer(word)]
    yield from _spans_of_users(word, value, memory)
    for pattern in _HOST_PATTERNS:
        for match in pattern.finditer(word):
            if match[1].lower() not in _KEPT and not _is_in(match.start(1), memory):
                yield (*match.span(1), Kind.HOST)
    for match in _URL.finditer(word):
        yield (*match.span(1), Kind.HOST)
    for match in _HOME.finditer(word):
        yield (*match.span(1), Kind.USER)


def _is_in(place: int, spans: list[tuple[int, int]]) -> bool:
    return any(start < place < end for start, end in spans)


def _spans_of_users(word: bytes, value: int, memory: list[tuple[int, int]]) -> Iterator[Span]:
    """Yield ``user:password`` in front of an ``@``, whatever is in the password."""
    ends = [
        match.start(1)
        for match in _BEFORE_AT.finditer(word, value)
        if not _is_in(match.start(1), memory)
    ]
    if ends:
        prefix = _USER_START.match(word[value : ends[-1]])
        start = value + (prefix.end() if prefix else 0)
        yield start, ends[-1], Kind.SECRET


def _kind_of_key(key: bytes) -> Kind | None:
    parts = re.split(rb"[._:-]", key.lower())
    last, whole = parts[-1], b"_".join(parts)
    if last == b"serial" or any(part in whole for part in _SERIAL_PARTS):
        return Kind.SERIAL
    if last in _SECRETS or whole.endswith(_SECRET_WORDS):
        return Kind.SECRET
    if any(part in whole for part in _SECRET_PARTS):
        return Kind.SECRET
    if any(part.endswith(_SECRET_ENDS) and part != _NO_SECRET for part in parts):
        return Kind.SECRET
    if last.endswith(_USER_ENDS):
        return Kind.USER
    if last in _HOSTS or whole.endswith(_HOST_ENDS):
        return Kind.HOST
    return None


def _is_harmless(kind: Kind, word: bytes, value: int) -> bool:
    """Tell whether a host's name is but a number, such as an address of a register."""
    return kind is Kind.HOST and _NUMBER.fullmatch(word[value:].strip(b'"')) is not None
